import { Ipvs, NetlinkError, NetNs, type Service } from 'netsteer';
import type { Destination } from 'netsteer/ipvs';
import { Links } from 'netsteer/rtnetlink';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { destinationCommand, serviceCommand } from '../../src/ipvs/backends/requests.ts';
import * as C from '../../src/linux/ip_vs.ts';
import { NLM_F_DUMP } from '../../src/linux/netlink.ts';
import { errorOf } from '../support/error-of.ts';
import { freshIpvsNamespaces, ipvs, netns } from '../support/ipvs-namespace.ts';
import { type Attributes, attribute, be16, nest, RawIpvs, text, u16, u32 } from '../support/ipvs-raw.ts';
import { kernelSuite } from '../support/where.ts';

const web: Service = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' };
const web6: Service = { ...web, address: '2001:db8::1' };
const server: Destination = { address: '10.1.0.1', port: 80, forward: 'masquerade' };

const V4 = (hex: string) => hex.padEnd(32, '0');
const KEY: Attributes = { 1: u16(2), 2: u16(6), 3: V4('0a000001'), 4: be16(80) };
const KEY6: Attributes = { 1: u16(10), 2: u16(6), 3: '20010db8000000000000000000000001', 4: be16(80) };
const REST: Attributes = { 6: text('rr'), 7: u32(0) + u32(0xffffffff), 8: u32(0), 9: 'ffffffff' };
const SERVER: Attributes = { 1: V4('0a010001'), 2: be16(80), 3: u32(0), 4: u32(1), 5: u32(0), 6: u32(0) };
const service = (changes: Attributes = {}, base: Attributes = { ...KEY, ...REST }) => nest(1, { ...base, ...changes });
const destination = (changes: Attributes = {}) => nest(1, KEY) + nest(2, { ...SERVER, ...changes });
const daemon = (changes: Attributes = {}) => nest(3, { 1: u32(1), 2: text('lo'), 3: u32(1), ...changes });

kernelSuite('IPVS of a real kernel', () => {
  let raw: RawIpvs;
  freshIpvsNamespaces();

  beforeEach(() => {
    raw = new RawIpvs(netns);
  });
  afterEach(async () => {
    await raw.close();
  });

  describe('services', () => {
    const described = serviceCommand('NEW', web);

    it('rejects a service that exists with EEXIST', () => {
      ipvs.sync.addService(web);
      expect(errorOf(NetlinkError, () => ipvs.sync.addService(web))).toMatchObject({
        code: 'EEXIST',
        operation: 'ipvs.addService',
        subject: web,
        hint: expect.stringContaining('setService'),
      });
    });

    it('rejects a missing service with ESRCH in every verb', () => {
      const calls = [
        () => ipvs.sync.removeService(web),
        () => ipvs.sync.service(web),
        () => ipvs.sync.editService(web, { scheduler: 'wlc' }),
        () => ipvs.sync.zero(web),
        () => ipvs.sync.addDestination(web, server),
        () => ipvs.sync.removeDestination(web, server),
        () => ipvs.sync.editDestination(web, server, { weight: 2 }),
        () => ipvs.sync.destinations(web),
        () => raw.send(C.IPVS_CMD_SET_SERVICE, service(), { described: serviceCommand('SET', web) }),
        () => raw.send(C.IPVS_CMD_SET_DEST, destination(), { described: destinationCommand('SET', web, server) }),
      ];
      for (const call of calls)
        expect(errorOf(NetlinkError, call)).toMatchObject({ code: 'ESRCH', hint: 'there is no such service' });
    });

    it.each(['nosuch', '', 'RR'])('rejects the unknown scheduler %j with ENOENT at the scheduler', name => {
      const error = raw.refused(C.IPVS_CMD_NEW_SERVICE, service({ 6: text(name) }), { described });
      expect(error).toMatchObject({ code: 'ENOENT', attribute: 'scheduler' });
    });

    it('rejects an unknown persistence engine with ENOENT', () => {
      const unknown = { ...web, persistence: { timeoutSeconds: 60, engine: 'nosuch' } };
      const error = errorOf(NetlinkError, () => ipvs.sync.addService(unknown));
      expect(error).toMatchObject({ code: 'ENOENT', hint: expect.stringContaining('persistence engine nosuch') });
    });

    it.each<[string, string]>([
      ['a scheduler of 16 characters', service({ 6: text('0123456789abcdef') })],
      ['a scheduler without its end', service({ 6: '7272' })],
      ['no scheduler', service({ 6: undefined })],
      ['no flags', service({ 7: undefined })],
      ['no timeout', service({ 8: undefined })],
      ['no netmask', service({ 9: undefined })],
      ['no protocol', service({ 2: undefined })],
      ['no address', service({ 3: undefined })],
      ['no port', service({ 4: undefined })],
      ['an address of 20 bytes', service({ 3: '00'.repeat(20) })],
      ['nothing', ''],
      ['an IPv6 prefix of 0', service({ 9: u32(0) }, { ...KEY6, ...REST })],
      ['an IPv6 prefix of 129', service({ 9: u32(129) }, { ...KEY6, ...REST })],
      ['an IPv6 prefix in network order', service({ 9: '00000040' }, { ...KEY6, ...REST })],
    ])('rejects a service that has %s with EINVAL', (_, attributes) => {
      expect(raw.refused(C.IPVS_CMD_NEW_SERVICE, attributes, { described }).code).toBe('EINVAL');
    });

    it('rejects an unknown address family with EAFNOSUPPORT', () => {
      expect(raw.refused(C.IPVS_CMD_NEW_SERVICE, service({ 1: u16(3) }), { described })).toMatchObject({
        code: 'EAFNOSUPPORT',
        attribute: 'address',
      });
    });

    it.each<[string, string, number?]>([
      ['an IPv4 mask of 0', service({ 9: '00000000' })],
      ['an IPv4 mask with holes', service({ 9: 'ff00ff00' })],
      ['port 0 without persistence', service({ 4: '0000' })],
      ['the address 0.0.0.0', service({ 3: V4('') })],
      ['a multicast address', service({ 3: V4('e0000001') })],
      ['one-packet scheduling of TCP', service({ 7: u32(4) + u32(0xffffffff) })],
      ['protocol 1', service({ 2: u16(1) })],
      ['protocol 300', service({ 2: u16(300) })],
      ['flags that mean nothing', service({ 7: u32(0x40) + u32(0xffffffff) })],
      ['version 0 in the header', service(), 0],
    ])('accepts a service that has %s', (_, attributes, version = 1) => {
      raw.send(C.IPVS_CMD_NEW_SERVICE, attributes, { version });
      // Whatever it is, it can be listed, changed and taken away.
      const [entry, ...more] = ipvs.sync.services();
      expect(more).toEqual([]);
      ipvs.sync.editService(keyOf(entry!), { scheduler: 'wlc' });
      expect(ipvs.sync.services()).toEqual([{ ...entry, scheduler: 'wlc' }]);
      ipvs.sync.removeService(keyOf(entry!));
      expect(ipvs.sync.services()).toEqual([]);
    });

    it('has one service for each address family of a firewall mark', () => {
      ipvs.sync.addService({ firewallMark: 7, family: 'ipv4', scheduler: 'rr' });
      ipvs.sync.addService({ firewallMark: 7, family: 'ipv6', scheduler: 'wlc' });
      expect(ipvs.sync.service({ firewallMark: 7, family: 'ipv6' }).scheduler).toBe('wlc');
      ipvs.sync.removeService({ firewallMark: 7, family: 'ipv6' });
      expect(ipvs.sync.services()).toHaveLength(1);
    });
  });

  describe('destinations', () => {
    const described = destinationCommand('NEW', web, server);
    beforeEach(() => {
      ipvs.sync.addService(web);
      ipvs.sync.addService(web6);
    });

    it('rejects a destination that exists with EEXIST, and a missing one with ENOENT', () => {
      const missing = { code: 'ENOENT', hint: 'the service has no such destination' };
      expect(errorOf(NetlinkError, () => ipvs.sync.removeDestination(web, server))).toMatchObject(missing);
      expect(errorOf(NetlinkError, () => ipvs.sync.editDestination(web, server, { weight: 2 }))).toMatchObject(missing);
      const error = raw.refused(C.IPVS_CMD_SET_DEST, destination(), {
        described: destinationCommand('SET', web, server),
      });
      expect(error).toMatchObject(missing);
      ipvs.sync.addDestination(web, server);
      expect(errorOf(NetlinkError, () => ipvs.sync.addDestination(web, server))).toMatchObject({
        code: 'EEXIST',
        hint: expect.stringContaining('setDestination'),
      });
    });

    it.each<[string, Attributes]>([
      ['a weight below 0', { 4: u32(-1) }],
      ['a lower threshold above the upper one', { 5: u32(1), 6: u32(2) }],
    ])('rejects a destination that has %s with ERANGE', (_, changes) => {
      const error = raw.refused(C.IPVS_CMD_NEW_DEST, destination(changes), { described });
      expect(error).toMatchObject({ code: 'ERANGE', hint: 'weight or thresholds are out of range' });
    });

    it.each(['0.0.0.0', '224.0.0.1', '255.255.255.255'])(
      'rejects the destination address %s with EINVAL at the address',
      address => {
        const error = errorOf(NetlinkError, () => ipvs.sync.addDestination(web, { ...server, address }));
        expect(error).toMatchObject({ code: 'EINVAL', attribute: 'address', hint: expect.stringContaining('address') });
      },
    );

    it.each(['ff02::1', 'fe80::1'])('rejects the IPv6 destination address %s with EINVAL at the address', address => {
      const error = errorOf(NetlinkError, () => ipvs.sync.addDestination(web6, { ...server, address }));
      expect(error).toMatchObject({ code: 'EINVAL', attribute: 'address' });
    });

    it('rejects an IPv4 destination where lo is down with EINVAL and the reason, and accepts IPv6', async () => {
      using dark = NetNs.create();
      await using theirs = Ipvs.open({ netns: dark });
      theirs.sync.addService(web);
      theirs.sync.addService(web6);
      const error = errorOf(NetlinkError, () => theirs.sync.addDestination(web, server));
      expect(error).toMatchObject({ code: 'EINVAL', hint: expect.stringContaining('lo is down') });
      theirs.sync.addDestination(web6, { ...server, address: '2001:db8::9' });
      using links = Links.open({ netns: dark });
      links.sync.set('lo', { up: true });
      theirs.sync.addDestination(web, server);
    });

    it.each<[string, Attributes]>([
      ['GUE without a port', { 3: u32(2), 13: '01', 14: '0000' }],
      ['another family without a tunnel', { 1: '20010db8000000000000000000000009', 11: u16(10) }],
      ['no weight', { 4: undefined }],
      ['no thresholds', { 5: undefined }],
      ['no forwarding method', { 3: undefined }],
    ])('rejects a destination that has %s with EINVAL', (_, changes) => {
      expect(raw.refused(C.IPVS_CMD_NEW_DEST, destination(changes), { described }).code).toBe('EINVAL');
    });

    it('rejects an unknown address family with EAFNOSUPPORT, and a missing destination or service with EINVAL', () => {
      const error = raw.refused(C.IPVS_CMD_NEW_DEST, destination({ 3: u32(2), 11: u16(3) }), { described });
      expect(error.code).toBe('EAFNOSUPPORT');
      expect(raw.refused(C.IPVS_CMD_NEW_DEST, nest(1, KEY), { described }).code).toBe('EINVAL');
      expect(raw.refused(C.IPVS_CMD_NEW_DEST, nest(2, SERVER), { described }).code).toBe('EINVAL');
    });

    it.each<[string, Attributes]>([
      ['another port and direct routing', { 2: be16(81), 3: u32(3) }],
      ['an unknown type of tunnel', { 3: u32(2), 13: '07' }],
      ['a tunnel and masquerading', { 13: '01', 14: be16(6080) }],
      ['the method bypass', { 3: u32(4) }],
    ])('accepts a destination that has %s', (_, changes) => {
      raw.send(C.IPVS_CMD_NEW_DEST, destination(changes));
      const [entry] = ipvs.sync.destinations(web);
      ipvs.sync.editDestination(web, entry!, { weight: 0 });
      expect(ipvs.sync.destinations(web)).toEqual([{ ...entry, weight: 0 }]);
      ipvs.sync.removeDestination(web, { address: entry!.address, port: entry!.port });
      expect(ipvs.sync.destinations(web)).toEqual([]);
    });

    it('accepts a threshold of 2^31 on older kernels, and rejects it with EINVAL on newer ones', () => {
      const call = () => raw.send(C.IPVS_CMD_NEW_DEST, destination({ 5: u32(0x80000000) }), { described });
      try {
        call();
        expect(ipvs.sync.destinations(web)).toMatchObject([{ upperThreshold: 0x80000000 }]);
      } catch (error) {
        expect(error).toMatchObject({ code: 'EINVAL' });
      }
    });

    it('rejects a destination of another address family with EINVAL where connections are synchronised', () => {
      const other: Destination = { address: '2001:db8::9', port: 80, forward: 'tunnel' };
      ipvs.sync.startSync({ state: 'backup', interface: 'lo', syncId: 1 });
      expect(errorOf(NetlinkError, () => ipvs.sync.addDestination(web, other)).code).toBe('EINVAL');
      ipvs.sync.stopSync('backup');
      ipvs.sync.addDestination(web, other);
      const error = errorOf(NetlinkError, () => ipvs.sync.startSync({ state: 'backup', interface: 'lo', syncId: 1 }));
      expect(error).toMatchObject({ code: 'EINVAL', hint: expect.stringContaining('other family') });
    });
  });

  it('rejects the options of a sync daemon with ENODEV, EINVAL, ESRCH or EEXIST, by what is wrong', () => {
    const start = { state: 'backup', interface: 'lo', syncId: 1 } as const;
    expect(errorOf(NetlinkError, () => ipvs.sync.startSync({ ...start, interface: 'nosuch0' }))).toMatchObject({
      code: 'ENODEV',
      attribute: 'interface',
      hint: 'this namespace has no such device',
    });
    expect(raw.refused(C.IPVS_CMD_NEW_DAEMON, daemon({ 5: '0a000001' })).code).toBe('EINVAL');
    expect(raw.refused(C.IPVS_CMD_NEW_DAEMON, daemon({ 1: u32(3) })).code).toBe('EINVAL');
    expect(raw.refused(C.IPVS_CMD_NEW_DAEMON, daemon({ 3: undefined })).code).toBe('EINVAL');
    expect(raw.refused(C.IPVS_CMD_DEL_DAEMON, nest(3, { 1: u32(0) })).code).toBe('EINVAL');
    expect(errorOf(NetlinkError, () => ipvs.sync.stopSync('backup'))).toMatchObject({
      code: 'ESRCH',
      hint: expect.stringContaining('no backup daemon'),
    });
    ipvs.sync.startSync(start);
    expect(errorOf(NetlinkError, () => ipvs.sync.startSync(start))).toMatchObject({
      code: 'EEXIST',
      attribute: 'state',
    });
    ipvs.sync.stopSync('backup');
  });

  it('rejects timeouts that overflow with EINVAL, and keeps a timeout that is 0', () => {
    ipvs.sync.setTimeouts({ tcpSeconds: 901, tcpFinSeconds: 121, udpSeconds: 301 });
    raw.send(C.IPVS_CMD_SET_CONFIG, attribute(4, u32(0)));
    expect(ipvs.sync.timeouts()).toEqual({ tcpSeconds: 901, tcpFinSeconds: 121, udpSeconds: 301 });
    expect(raw.refused(C.IPVS_CMD_SET_CONFIG, attribute(4, u32(0x7fffffff))).code).toBe('EINVAL');
  });

  it('rejects commands in the wrong form with EOPNOTSUPP or EINVAL', () => {
    for (const command of [C.IPVS_CMD_GET_DEST, C.IPVS_CMD_GET_DAEMON, 14, 99]) {
      expect(raw.refused(command).code).toBe('EOPNOTSUPP');
    }
    expect(raw.refused(C.IPVS_CMD_GET_INFO, '', { flags: NLM_F_DUMP }).code).toBe('EOPNOTSUPP');
    expect(raw.refused(C.IPVS_CMD_GET_SERVICE).code).toBe('EINVAL');
  });

  it('returns an empty list for a missing service, which the library rejects with ESRCH', () => {
    expect(raw.dump(C.IPVS_CMD_GET_DEST, nest(1, KEY))).toBe(0);
    expect(raw.dump(C.IPVS_CMD_GET_DEST)).toBe(0);
    expect(errorOf(NetlinkError, () => ipvs.sync.destinations(web)).code).toBe('ESRCH');
  });

  it('rejects a second dump during the first with EBUSY', () => {
    ipvs.sync.apply(
      Array.from({ length: 500 }, (_, i) => ({ op: 'addService', service: { ...web, port: i + 1 } }) as const),
    );
    const header = u16(raw.family) + u16(0x301);
    const message = `${u32(20)}${header}${u32(7)}${u32(0)}04010000`;
    const bytes = Buffer.from(message, 'hex');
    expect(raw.socket.send(bytes, bytes.length)).toBe(bytes.length);
    expect(raw.socket.send(bytes, bytes.length)).toBe(bytes.length);
    const seen: number[] = [];
    const buffer = Buffer.alloc(128 * 1024);
    for (let length = raw.socket.receive(buffer); length > 0; length = raw.socket.receive(buffer)) {
      if (buffer.readUInt16LE(4) === 2) seen.push(buffer.readInt32LE(16));
    }
    expect(seen).toContain(-16);
  });

  it('rejects every call without CAP_NET_ADMIN with EPERM, and the same handle works once the capability is back', async () => {
    const calls = [
      () => ipvs.sync.info(),
      () => ipvs.sync.services(),
      () => ipvs.sync.service(web),
      () => ipvs.sync.addService(web),
      () => ipvs.sync.addDestination(web, server),
      () => ipvs.sync.timeouts(),
      () => ipvs.sync.flush(),
      () => ipvs.sync.zero(),
      () => ipvs.sync.syncDaemons(),
      () => ipvs.sync.startSync({ state: 'backup', interface: 'lo', syncId: 1 }),
      () => ipvs.sync.stopSync('backup'),
    ];
    process.seteuid!(65534);
    try {
      const hint = expect.stringContaining('CAP_NET_ADMIN in the initial user namespace');
      for (const call of calls) expect(errorOf(NetlinkError, call)).toMatchObject({ code: 'EPERM', hint });
      await expect(ipvs.batch(b => b.addService(web))).rejects.toMatchObject({ code: 'EPERM', hint });
    } finally {
      process.seteuid!(0);
    }
    ipvs.sync.addService(web);
    expect(ipvs.via).toBe('netlink');
  });

  it('never fails to flush, which keeps timeouts and daemons', () => {
    ipvs.sync.startSync({ state: 'backup', interface: 'lo', syncId: 5 });
    ipvs.sync.setTimeouts({ udpSeconds: 123 });
    ipvs.sync.flush();
    ipvs.sync.flush();
    expect(ipvs.sync.timeouts().udpSeconds).toBe(123);
    expect(ipvs.sync.syncDaemons()).toMatchObject([{ state: 'backup', syncId: 5 }]);
    ipvs.sync.stopSync('backup');
  });
});

function keyOf(entry: Service) {
  if ('firewallMark' in entry) return { firewallMark: entry.firewallMark, family: entry.family };
  return { protocol: entry.protocol, address: entry.address, port: entry.port };
}
