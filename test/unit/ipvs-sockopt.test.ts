import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NetlinkError, UnsupportedError } from '../../src/errors.ts';
import * as S from '../../src/ip_vs/sockopt-structs.ts';
import { Ipvs, type Service, type Via } from '../../src/ipvs/index.ts';
import type { Logger } from '../../src/observe.ts';
import { virtualServers } from '../support/ipvs-arbitrary.ts';
import { openIpvs } from '../support/memory-ipvs.ts';

const web = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;
const key = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const;
const server = { address: '10.1.0.1', port: 80, forward: 'direct', weight: 5 } as const;

test('the structures have the sizes of the kernel', () => {
  const sizes = Object.values(S).map(({ name, size }) => [name, size]);
  expect(Object.fromEntries(sizes)).toEqual({
    ip_vs_service_user: 44,
    ip_vs_dest_user: 24,
    ip_vs_stats_user: 56,
    ip_vs_service_entry: 104,
    ip_vs_dest_entry: 96,
    ip_vs_getinfo: 12,
    ip_vs_get_services: 8,
    ip_vs_get_dests: 24,
    ip_vs_timeout_user: 12,
    ip_vs_daemon_user: 24,
  });
});

test('socket options carry everything but the documented exceptions', async () => {
  const { ipvs, kernel } = openIpvs('sockopt');
  expect(ipvs.via).toBe('sockopt');
  const { sync } = ipvs;
  expect(sync.info()).toEqual({ version: '1.2.1', connectionTableSize: 4096 });
  const service: Service = {
    ...web,
    scheduler: 'sh',
    schedulerFlags: ['sh-port'],
    persistence: { timeoutSeconds: 60, netmask: '255.255.255.0' },
  };
  sync.addService(service);
  sync.addService({ firewallMark: 7, family: 'ipv4', scheduler: 'rr' });
  sync.addDestination(key, server);
  sync.addDestination(key, { ...server, address: '10.1.0.2', forward: 'tunnel', upperThreshold: 9, lowerThreshold: 3 });
  sync.setDestination(key, { ...server, weight: 6 });
  sync.editDestination(key, server, { weight: 0 });
  sync.editService(key, { scheduler: 'rr', schedulerFlags: [] });
  const { stats: _, ...entry } = sync.service(key);
  expect(entry).toEqual({ ...web, scheduler: 'rr', persistence: { timeoutSeconds: 60, netmask: '255.255.255.0' } });
  expect(sync.destinations(key)).toMatchObject([
    { address: '10.1.0.2', forward: 'tunnel', upperThreshold: 9, lowerThreshold: 3, weight: 5 },
    { ...server, weight: 0 },
  ]);
  expect(sync.services().map(each => ('firewallMark' in each ? each.firewallMark : each.port))).toEqual([80, 7]);
  expect(sync.snapshot()).toMatchObject({ stable: true, servers: [{ destinations: [{}, {}] }, { destinations: [] }] });
  sync.setTimeouts({ udpSeconds: 4 });
  expect(sync.timeouts()).toEqual({ tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 4 });
  sync.zero();
  sync.zero(key);
  sync.removeDestination(key, server);
  sync.removeService(key);
  const result = await ipvs.batch(b => b.addService(web).addDestination(key, server).addService(web), {
    onError: 'collect',
  });
  expect(result).toMatchObject({
    applied: [0, 1],
    failures: [{ index: 2, code: 'EEXIST', syscall: 'IP_VS_SO_SET_ADD' }],
  });
  await ipvs.flush();
  expect(await ipvs.services()).toEqual([]);
  expect(kernel.sent).toEqual([]);
});

test('socket options reject what they cannot carry before anything is sent', () => {
  const { ipvs, kernel } = openIpvs('sockopt');
  const { sync } = ipvs;
  sync.addService(web);
  kernel.log.length = 0;
  const unsupported = (call: () => unknown, feature: string) => {
    expect(call).toThrow(UnsupportedError);
    expect(call).toThrow(feature);
  };
  unsupported(() => sync.addService({ ...web, address: '2001:db8::1' }), 'IPv6');
  unsupported(() => sync.addService({ firewallMark: 7, family: 'ipv6', scheduler: 'rr' }), 'IPv6');
  unsupported(() => sync.addService({ ...web, persistence: { timeoutSeconds: 1, engine: 'sip' } }), 'engine');
  unsupported(() => sync.addService({ ...web, protocol: 47 }), 'protocol 47');
  unsupported(() => sync.service({ ...key, address: '2001:db8::1' }), 'IPv6');
  unsupported(() => sync.destinations({ ...key, address: '2001:db8::1' }), 'IPv6');
  const tunnel = { ...server, forward: 'tunnel' } as const;
  unsupported(() => sync.addDestination(key, { ...tunnel, tunnel: { type: 'gue', port: 6080 } }), 'tunnel');
  unsupported(() => sync.addDestination(key, { ...tunnel, address: '2001:db8::1' }), 'family');
  unsupported(
    () => sync.batch(b => b.addDestination(key, server).addDestination(key, { ...tunnel, tunnel: { type: 'gre' } })),
    'tunnel',
  );
  expect(kernel.log).toEqual([]);
});

test('socket options report the errors of netlink', () => {
  const { sync } = openIpvs('sockopt', { modules: ['ip_vs', 'ip_vs_wlc'] }).ipvs;
  const code = (call: () => unknown) => {
    try {
      call();
    } catch (error) {
      if (error instanceof NetlinkError) return `${error.code} ${error.syscall}: ${error.hint}`;
      throw error;
    }
    return undefined;
  };
  expect(code(() => sync.service(key))).toBe('ESRCH IP_VS_SO_GET_SERVICE: there is no such service');
  expect(code(() => sync.destinations(key))).toContain('ESRCH');
  expect(code(() => sync.addService({ ...web, scheduler: 'twos' }))).toContain('no scheduler twos');
  sync.addService(web);
  expect(code(() => sync.addService(web))).toContain('EEXIST IP_VS_SO_SET_ADD');
  expect(code(() => sync.removeDestination(key, server))).toContain('the service has no such destination');
});

test('socket options read lists to their end, also while these grow', () => {
  const { ipvs, kernel } = openIpvs('sockopt');
  ipvs.sync.batch(b => {
    b.addService(web);
    for (let n = 1; n < 100; n++) b.addDestination(key, { ...server, address: `10.1.0.${n}` });
  });
  expect(ipvs.sync.destinations(key)).toHaveLength(99);
  using others = kernel.open('sockopt');
  let more = 0;
  kernel.before = () => {
    kernel.before = undefined;
    for (; more < 60; more++) others.sync.addService({ ...web, port: 1000 + more });
  };
  expect(ipvs.sync.services()).toHaveLength(61);
});

test("'auto' chooses netlink, or socket options where netlink is not permitted, and reports it", async () => {
  const warnings: unknown[] = [];
  const silent = () => {};
  const logger: Logger = { debug: silent, info: silent, error: silent, warn: (...words) => warnings.push(words) };
  const { ipvs, kernel } = openIpvs('auto', { logger, userNamespace: true });
  expect(ipvs.via).toBe('netlink');
  await ipvs.addService(web);
  expect(ipvs.via).toBe('sockopt');
  expect(warnings).toEqual([[expect.objectContaining({ via: 'sockopt' }), expect.stringContaining('socket options')]]);
  const sent = kernel.sent.length;
  await ipvs.addDestination(key, server);
  expect((await ipvs.snapshot()).servers).toHaveLength(1);
  expect(kernel.sent.length).toBe(sent);
  const second = openIpvs('auto', { userNamespace: true });
  expect(second.ipvs.sync.batch(b => b.addService(web).addDestination(key, server)).outcome).toBe('all');
  expect(second.ipvs.via).toBe('sockopt');
});

test("'auto' reports the error of netlink where neither is permitted", () => {
  const { ipvs, kernel } = openIpvs('auto', { userNamespace: true });
  kernel.optionsDenied = true;
  expect(() => ipvs.sync.addService(web)).toThrow('EPERM');
  expect(() => ipvs.sync.batch(b => b.addService(web))).toThrow('initial user namespace');
  expect(ipvs.via).toBe('netlink');
});

test("'netlink' is never replaced", () => {
  const { ipvs } = openIpvs('netlink', { userNamespace: true });
  expect(() => ipvs.sync.addService(web)).toThrow('EPERM');
  expect(() => Ipvs.open({ via: 'raw' as Via })).toThrow('via');
});

test('any plain IPv4 servers are the same by both ways', () => {
  const plain = virtualServers.map(servers =>
    servers
      .filter(
        each => ('address' in each ? !each.address.includes(':') : each.family === 'ipv4') && !each.persistence?.engine,
      )
      .map(each => ({
        ...each,
        destinations: each.destinations.filter(
          d => !d.address.includes(':') && (d.tunnel === undefined || (d.tunnel.type === 'ipip' && !d.tunnel.checksum)),
        ),
      })),
  );
  fc.assert(
    fc.property(plain, plain, (before, desired) => {
      const { ipvs, kernel } = openIpvs('sockopt');
      ipvs.sync.reconcile(before);
      ipvs.sync.reconcile(desired, { prune: true });
      expect(ipvs.sync.plan(desired, { prune: true })).toEqual([]);
      using other = kernel.open('netlink');
      expect(other.sync.plan(desired, { prune: true })).toEqual([]);
    }),
  );
});
