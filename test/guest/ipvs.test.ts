import { execFileSync } from 'node:child_process';
import { Ipvs, isExists, isNotFound, NetlinkError, NetNs, type Service } from 'netsteer';
import { formatTable } from 'netsteer/ipvs';
import { expect, it } from 'vitest';
import { errorOf } from '../support/error-of.ts';
import { freshIpvsNamespaces, ipvs, ipvsadm, netns } from '../support/ipvs-namespace.ts';
import { kernelSuite, where } from '../support/where.ts';

const web: Service = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' };

kernelSuite('IPVS', () => {
  freshIpvsNamespaces();

  it('reports the version and the size of the connection table', async () => {
    const info = await ipvs.info();
    expect(info.version).toBe('1.2.1');
    expect(info.connectionTableSize).toBeGreaterThanOrEqual(0);
    expect(ipvs.sync.info()).toEqual(info);
  });

  it('lists nothing in a new namespace', () => {
    expect(ipvs.sync.services()).toEqual([]);
  });

  const services: Record<string, Service> = {
    tcp: { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' },
    'udp, one packet': { protocol: 'udp', address: '10.0.0.1', port: 53, scheduler: 'wlc', onePacket: true },
    sctp: { protocol: 'sctp', address: '10.0.0.1', port: 9999, scheduler: 'lc' },
    'a firewall mark': { firewallMark: 7, family: 'ipv4', scheduler: 'rr' },
    'a firewall mark of IPv6': { firewallMark: 7, family: 'ipv6', scheduler: 'rr' },
    'IPv6 with a persistence prefix': {
      protocol: 'tcp',
      address: '2001:db8::1',
      port: 80,
      scheduler: 'wrr',
      persistence: { timeoutSeconds: 30, netmask: 64 },
    },
    'persistence with a mask, and flags of sh': {
      protocol: 'tcp',
      address: '10.0.0.2',
      port: 443,
      scheduler: 'sh',
      schedulerFlags: ['sh-fallback', 'sh-port'],
      persistence: { timeoutSeconds: 600, netmask: '255.255.255.0' },
    },
    'every port, and flags of mh': {
      protocol: 'tcp',
      address: '10.0.0.3',
      port: 0,
      scheduler: 'mh',
      schedulerFlags: ['mh-fallback', 'mh-port'],
      persistence: { timeoutSeconds: 360 },
    },
    'a persistence engine': {
      protocol: 'udp',
      address: '10.0.0.9',
      port: 5060,
      scheduler: 'rr',
      onePacket: true,
      persistence: { timeoutSeconds: 60, engine: 'sip' },
    },
  };
  for (const [name, service] of Object.entries(services)) {
    it(`returns a service as it was added: ${name}`, async () => {
      await ipvs.addService(service);
      const { stats, ...entry } = await ipvs.service(service);
      expect(entry).toEqual(service);
      expect(stats.connections).toBe(0n);
      expect(await ipvs.services()).toEqual([{ ...service, stats }]);
    });
  }

  for (const scheduler of [
    'rr',
    'wrr',
    'lc',
    'wlc',
    'lblc',
    'lblcr',
    'dh',
    'sh',
    'sed',
    'nq',
    'fo',
    'ovf',
    'mh',
    'none',
  ] as const) {
    it(`accepts the scheduler ${scheduler}`, () => {
      ipvs.sync.addService({ ...web, scheduler });
      expect(ipvs.sync.service(web).scheduler).toBe(scheduler);
    });
  }

  it('rejects a scheduler that this kernel lacks, and names the field', () => {
    const add = () => ipvs.sync.addService({ ...web, scheduler: 'twos' });
    if (where === '6.1') {
      const error = errorOf(NetlinkError, add);
      expect(error).toMatchObject({ code: 'ENOENT', operation: 'ipvs.addService', attribute: 'scheduler' });
      expect(error.message).toContain('twos');
    } else {
      add();
      expect(ipvs.sync.service(web).scheduler).toBe('twos');
    }
  });

  it('rejects a persistence engine that this kernel lacks', () => {
    const error = errorOf(NetlinkError, () =>
      ipvs.sync.addService({ ...web, persistence: { timeoutSeconds: 60, engine: 'nosuch' } }),
    );
    expect(error).toMatchObject({ code: 'ENOENT', hint: expect.stringContaining('engine nosuch') });
  });

  it('prints the table as ipvsadm does', async () => {
    for (const service of Object.values(services)) await ipvs.addService(service);
    const [http] = Object.values(services);
    await ipvs.addDestination(http!, { address: '10.1.0.1', port: 8080, forward: 'masquerade', weight: 5 });
    await ipvs.addDestination(http!, {
      address: '10.1.0.2',
      port: 80,
      forward: 'direct',
      weight: 0,
      upperThreshold: 100,
      lowerThreshold: 50,
    });
    await ipvs.addDestination(http!, {
      address: '10.1.0.3',
      port: 80,
      forward: 'tunnel',
      tunnel: { type: 'gue', port: 6080, checksum: 'required' },
    });
    const read = await ipvs.services({ destinations: true });
    const lines = (text: string) =>
      text
        .split('\n')
        .map(line => line.trimEnd())
        .filter(Boolean)
        .sort();
    const theirs = ipvsadm(netns, ['-Ln']).split('\n').slice(1).join('\n');
    expect(lines(formatTable(read))).toEqual(lines(theirs));
    const theirStats = ipvsadm(netns, ['-Ln', '--stats']).split('\n').slice(1).join('\n');
    expect(lines(formatTable(read, 'stats'))).toEqual(lines(theirStats));
  });

  it('reads what ipvsadm has written', () => {
    ipvsadm(netns, ['-A', '-t', '10.0.0.7:80', '-s', 'rr', '-p', '120']);
    ipvsadm(netns, ['-a', '-t', '10.0.0.7:80', '-r', '10.1.0.1:8080', '-m', '-w', '3']);
    const [server] = ipvs.sync.services({ destinations: true });
    expect(server).toMatchObject({ address: '10.0.0.7', scheduler: 'rr', persistence: { timeoutSeconds: 120 } });
    expect(server?.destinations).toMatchObject([{ address: '10.1.0.1', port: 8080, forward: 'masquerade', weight: 3 }]);
  });

  it('changes one field of a service and keeps the others', async () => {
    const service = services['persistence with a mask, and flags of sh']!;
    await ipvs.addService(service);
    await ipvs.editService(service, { persistence: { timeoutSeconds: 60 } });
    const { stats: _, ...entry } = await ipvs.service(service);
    expect(entry).toEqual({ ...service, persistence: { ...service.persistence, timeoutSeconds: 60 } });
  });

  it('adds or replaces with set', async () => {
    await ipvs.setService(web);
    await ipvs.setService({ ...web, scheduler: 'rr' });
    expect((await ipvs.service(web)).scheduler).toBe('rr');
    await ipvs.setDestination(web, { address: '10.1.0.1', port: 80, forward: 'direct' });
    await ipvs.setDestination(web, { address: '10.1.0.1', port: 80, forward: 'direct', weight: 7 });
    expect(await ipvs.destinations(web)).toMatchObject([{ weight: 7 }]);
  });

  it('drains a server and keeps its other fields', async () => {
    await ipvs.addService(web);
    const destination = {
      address: '10.1.0.2',
      port: 80,
      forward: 'direct',
      weight: 4,
      upperThreshold: 100,
      lowerThreshold: 50,
    } as const;
    await ipvs.addDestination(web, destination);
    await ipvs.editDestination(web, destination, { weight: 0 });
    expect(await ipvs.destinations(web)).toMatchObject([{ ...destination, weight: 0 }]);
  });

  it('returns the forwarding method of a local server as it was set', async () => {
    await ipvs.addService(web);
    // The kernel delivers locally when it schedules a connection; what it lists stays what was asked for.
    await ipvs.addDestination(web, { address: '127.0.0.1', port: 80, forward: 'direct' });
    expect(await ipvs.destinations(web)).toMatchObject([{ forward: 'direct' }]);
  });

  it('forwards from IPv4 services to IPv6 servers through tunnels', async () => {
    await ipvs.addService(web);
    await ipvs.addDestination(web, { address: '2001:db8::9', port: 80, forward: 'tunnel' });
    expect(await ipvs.destinations(web)).toMatchObject([{ address: '2001:db8::9', tunnel: { type: 'ipip' } }]);
  });

  it('rejects what is missing or exists already', async () => {
    const destination = { address: '10.1.0.1', port: 80, forward: 'direct' } as const;
    expect(errorOf(NetlinkError, () => ipvs.sync.service(web))).toMatchObject({
      code: 'ESRCH',
      hint: 'there is no such service',
    });
    expect(errorOf(NetlinkError, () => ipvs.sync.destinations(web)).code).toBe('ESRCH');
    expect(errorOf(NetlinkError, () => ipvs.sync.removeService(web)).code).toBe('ESRCH');
    expect(errorOf(NetlinkError, () => ipvs.sync.addDestination(web, destination)).code).toBe('ESRCH');
    ipvs.sync.addService(web);
    expect(isExists(errorOf(NetlinkError, () => ipvs.sync.addService(web)))).toBe(true);
    expect(isNotFound(errorOf(NetlinkError, () => ipvs.sync.removeDestination(web, destination)))).toBe(true);
    expect(errorOf(NetlinkError, () => ipvs.sync.editDestination(web, destination, { weight: 1 })).code).toBe('ENOENT');
    ipvs.sync.addDestination(web, destination);
    const twice = errorOf(NetlinkError, () => ipvs.sync.addDestination(web, destination));
    expect(twice).toMatchObject({ code: 'EEXIST', errno: -17, syscall: 'IPVS_CMD_NEW_DEST', subject: destination });
    expect(
      errorOf(NetlinkError, () => ipvs.sync.addDestination(web, { ...destination, address: '224.0.0.1' })).attribute,
    ).toBe('address');
  });

  it('sets and reads timeouts, and keeps those that are left out', async () => {
    await ipvs.setTimeouts({ tcpSeconds: 901, tcpFinSeconds: 121, udpSeconds: 301 });
    await ipvs.setTimeouts({ udpSeconds: 302 });
    expect(await ipvs.timeouts()).toEqual({ tcpSeconds: 901, tcpFinSeconds: 121, udpSeconds: 302 });
    expect(ipvsadm(netns, ['-Ln', '--timeout'])).toContain('901 121 302');
  });

  it('flushes one namespace and no other', async () => {
    const other = NetNs.create();
    const theirs = Ipvs.open({ netns: other });
    await ipvs.addService(web);
    await theirs.addService(web);
    await ipvs.flush();
    await ipvs.zero();
    expect(await ipvs.services()).toEqual([]);
    expect(await theirs.services()).toHaveLength(1);
    await theirs[Symbol.asyncDispose]();
    other.close();
  });

  it('lists thousands of services', async () => {
    const count = 2000;
    for (let i = 0; i < count; i++) ipvs.sync.addService({ ...web, address: `10.9.${i >> 8}.${i & 255}` });
    const listed = await ipvs.services();
    expect(new Set(listed.map(service => ('address' in service ? service.address : '')))).toHaveProperty('size', count);
    await ipvs.flush();
  });

  it('rejects root of a user namespace, with a hint', () => {
    const script = `
      import { Ipvs } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).pathname)};
      try { Ipvs.open({ via: 'netlink' }).sync.info(); } catch (error) { console.log(JSON.stringify({ code: error.code, hint: error.hint })); }`;
    const output = execFileSync('unshare', ['-Urn', process.execPath, '--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    expect(JSON.parse(output)).toMatchObject({
      code: 'EPERM',
      hint: expect.stringContaining('initial user namespace'),
    });
  });
});
