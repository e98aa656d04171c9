import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { NetlinkError, UnsupportedError } from '../../src/errors.ts';
import { type Connection, type Destination, Ipvs, type Service } from '../../src/ipvs/index.ts';
import * as Vs from '../../src/linux/ip_vs.ts';
import { type MemoryContainer, MemoryKernel, tcp, udp } from '../../src/testing/index.ts';
import { errorOf } from '../support/error-of.ts';
import { virtualServers } from '../support/ipvs-arbitrary.ts';
import { be16, nest, u16, u32 } from '../support/ipvs-raw.ts';
import { IpvsWire } from '../support/ipvs-wire.ts';

const LINKS = [{ name: 'eth0', addresses: ['10.10.0.1/24', '10.10.0.100/32', '2001:db8::1/64'] }];
const web = { protocol: 'tcp', address: '10.10.0.100', port: 80 } as const;
const server = (last: number, more: Partial<Destination> = {}): Destination => ({
  address: `10.10.0.${last}`,
  port: 80,
  forward: 'direct',
  ...more,
});

const kernels: MemoryKernel[] = [];
function made(...options: Parameters<typeof MemoryKernel.create>): MemoryKernel {
  const one = MemoryKernel.create(...options);
  kernels.push(one);
  return one;
}
afterEach(() => Promise.all(kernels.splice(0).map(each => each.close())));

let kernel: MemoryKernel;
let lb: MemoryContainer;
beforeEach(() => {
  kernel = made();
  lb = kernel.container('lb', { links: LINKS });
});

function balance(service: Partial<Service> & { scheduler: string }, ...servers: Destination[]): void {
  lb.ipvs.sync.addService({ ...web, ...service } as Service);
  for (const each of servers) lb.ipvs.sync.addDestination({ ...web, ...service } as Service, each);
}
/** A segment of a client, by its number. */
const segment = (client: number, flags: Parameters<typeof tcp>[0]['flags'] = 'syn') =>
  lb.receive(tcp({ from: `10.10.0.9:${40_000 + client}`, to: '10.10.0.100:80', flags }), { on: 'eth0' });
const chosen = (client: number) => segment(client).forwardedTo?.address.slice(8);

async function connectionsOf({ ipvs }: MemoryContainer): Promise<Connection[]> {
  const list: Connection[] = [];
  for await (const each of ipvs.connections()) list.push(each);
  return list;
}

/** As the stable kernels of today have it, whatever the library would not send. */
test('a threshold above 2^31-1 is refused with EINVAL before the server is looked for, and a lower one above it with ERANGE before that', async () => {
  balance({ scheduler: 'rr' }, server(2));
  const wire = new IpvsWire(lb.netns);
  const ask = (command: number, host: string, upper: number, lower: number) =>
    wire.ask(
      `${command.toString(16).padStart(2, '0')}010000` +
        nest(1, { 1: u16(2), 2: u16(6), 3: '0a0a0064'.padEnd(32, '0'), 4: be16(80) }) +
        nest(2, { 1: host.padEnd(32, '0'), 2: be16(80), 3: u32(3), 4: u32(1), 5: u32(upper), 6: u32(lower) }),
    ).errno;
  const [there, missing] = ['0a0a0002', '0a0a0003'];
  for (const command of [Vs.IPVS_CMD_NEW_DEST, Vs.IPVS_CMD_SET_DEST])
    expect(
      [there, missing].map(host => [ask(command, host, 0x80000000, 0), ask(command, host, 0x80000000, 0x80000001)]),
    ).toEqual([
      [-22, -34],
      [-22, -34],
    ]);
  expect(ask(Vs.IPVS_CMD_SET_DEST, missing, 0x7fffffff, 0)).toBe(-2);
  expect(ask(Vs.IPVS_CMD_SET_DEST, there, 0x7fffffff, 0)).toBe(0);
  await wire.close();
});

describe('the handle of IPVS', () => {
  test('brings any state by a plan and finds nothing left to do', () => {
    fc.assert(
      fc.property(virtualServers, virtualServers, (before, desired) => {
        const { ipvs } = made().container('lb', { links: LINKS });
        expect(ipvs.sync.apply(ipvs.sync.plan(before))).toMatchObject({ failures: [], outcome: 'all' });
        expect(ipvs.sync.apply(ipvs.sync.plan(desired, { prune: true }))).toMatchObject({ failures: [] });
        expect(ipvs.sync.plan(desired, { prune: true })).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  test('saves what it restores elsewhere', () => {
    fc.assert(
      fc.property(virtualServers, desired => {
        const [here, there] = ['here', 'there'].map(name => made().container(name, { links: LINKS }).ipvs);
        here!.sync.apply(here!.sync.plan(desired));
        const text = here!.sync.save();
        there!.sync.restore(text);
        expect(there!.sync.save().split('\n').sort()).toEqual(text.split('\n').sort());
      }),
      { numRuns: 50 },
    );
  });

  test('reconciles, asynchronously as well', async () => {
    const desired = [{ ...web, scheduler: 'wlc', destinations: [server(2), server(3, { weight: 5 })] }];
    const { operations } = await lb.ipvs.reconcile(desired);
    expect(operations.map(({ op }) => op)).toEqual(['addService', 'addDestination', 'addDestination']);
    expect((await lb.ipvs.reconcile(desired)).operations).toEqual([]);
    expect(lb.ipvs.sync.destinations(web).map(({ weight }) => weight)).toEqual([5, 1]);
  });

  test('rolls a batch back that the kernel refuses in its middle', () => {
    balance({ scheduler: 'rr' }, server(2));
    const operations = [
      { op: 'addDestination', key: web, destination: server(3) },
      { op: 'addDestination', key: web, destination: server(2) },
    ] as const;
    expect(() => lb.ipvs.sync.apply(operations, { rollback: true })).toThrow('EEXIST');
    expect(lb.ipvs.sync.destinations(web).map(({ address }) => address)).toEqual(['10.10.0.2']);
  });

  test('starts, lists and stops daemons', () => {
    lb.ipvs.sync.startSync({ state: 'master', interface: 'eth0', syncId: 9, group: '224.0.0.99', port: 9000, ttl: 4 });
    lb.ipvs.sync.startSync({ state: 'backup', interface: 'eth0', syncId: 9 });
    expect(lb.ipvs.sync.syncDaemons()).toMatchObject([
      { state: 'master', syncId: 9, group: '224.0.0.99', port: 9000, ttl: 4, maxLength: 1472 },
      { state: 'backup', group: '224.0.0.81', port: 8848, ttl: 1 },
    ]);
    expect(
      errorOf(NetlinkError, () => lb.ipvs.sync.startSync({ state: 'backup', interface: 'eth0', syncId: 1 })),
    ).toMatchObject({ code: 'EEXIST' });
    expect(
      errorOf(NetlinkError, () => lb.ipvs.sync.startSync({ state: 'master', interface: 'nosuch', syncId: 1 })),
    ).toMatchObject({ code: 'ENODEV' });
    lb.ipvs.sync.stopSync('master');
    expect(errorOf(NetlinkError, () => lb.ipvs.sync.stopSync('master'))).toMatchObject({ code: 'ESRCH' });
  });

  test('drains a server: it waits until its connections are over', async () => {
    balance({ scheduler: 'rr' }, server(2), server(3));
    segment(1);
    segment(2);
    const waiting: number[] = [];
    const desired = [{ ...web, scheduler: 'rr', destinations: [server(3)] }];
    await lb.ipvs.reconcile(desired, {
      prune: true,
      drain: { until: 'all', timeoutMs: 60_000, pollMs: 10 },
      onProgress: ({ phase, connections }) => {
        if (phase !== 'draining') return;
        waiting.push(connections);
        // The time of a SYN is over.
        kernel.advance(61_000);
      },
    });
    expect(waiting).toEqual([1, 0]);
    expect(lb.ipvs.sync.destinations(web).map(({ address }) => address)).toEqual(['10.10.0.3']);
  });

  test('tells statistics as the estimator has taken them over, every two seconds', () => {
    balance({ scheduler: 'rr' }, server(2));
    for (let i = 0; i < 10; i++) segment(i);
    expect(lb.ipvs.sync.service(web).stats.connections).toBe(0n);
    kernel.advance(2000);
    const { stats } = lb.ipvs.sync.service(web);
    expect(stats).toMatchObject({ connections: 10n, inPackets: 10n, inBytes: 400n, outPackets: 0n });
    expect(lb.ipvs.sync.destinations(web)[0]!.stats.connections).toBe(10n);
    // A quarter of each step's rate is taken over, and then it decays.
    const rates = [stats.rates.inPackets];
    for (let i = 0; i < 4; i++) {
      kernel.advance(2000);
      rates.push(lb.ipvs.sync.service(web).stats.rates.inPackets);
    }
    expect(rates).toEqual([1n, 1n, 1n, 1n, 0n]);
    lb.ipvs.sync.zero();
    expect(lb.ipvs.sync.service(web).stats.connections).toBe(0n);
  });

  test('has the settings of the release, and takes only what the kernel takes', () => {
    const { settings } = lb.ipvs;
    expect([settings.conn_reuse_mode, settings.am_droprate, settings.sync_threshold]).toEqual([1, 10, '3 50']);
    settings.sloppy_tcp = true;
    expect(settings.sloppy_tcp).toBe(true);
    expect(() => {
      settings.sync_ports = 3;
    }).toThrow('EINVAL');
    expect(() => {
      settings.drop_entry = 3;
    }).toThrow(UnsupportedError);
    const old = made({ release: '6.1' }).container('old', {});
    expect(() => old.ipvs.settings.est_nice).toThrow(UnsupportedError);
    expect(settings.est_nice).toBe(0);
  });

  test('goes back to a snapshot with its connections', () => {
    balance({ scheduler: 'rr' }, server(2), server(3));
    const before = [chosen(1), chosen(2)];
    const snapshot = kernel.snapshot();
    segment(3);
    segment(4);
    kernel.restore(snapshot);
    expect(lb.ipvs.sync.destinations(web).map(each => each.activeConnections)).toEqual([1, 1]);
    expect([chosen(1), chosen(2), chosen(3)]).toEqual([...before, before[0]]);
  });
});

describe('the socket options of IPVS', () => {
  test('are what root of an unprivileged container has: netlink is refused with EPERM', () => {
    const inside = kernel.container('inside', { links: LINKS, userNamespace: true });
    using netlink = Ipvs.open({ netns: inside.netns, via: 'netlink' });
    expect(errorOf(NetlinkError, () => netlink.sync.services())).toMatchObject({ code: 'EPERM' });
    using options = Ipvs.open({ netns: inside.netns, via: 'sockopt' });
    using automatic = Ipvs.open({ netns: inside.netns });
    options.sync.addService({ ...web, scheduler: 'wrr' });
    options.sync.addDestination(web, server(2, { weight: 3, upperThreshold: 10, lowerThreshold: 5 }));
    expect(automatic.sync.save()).toBe(
      '-A -t 10.10.0.100:80 -s wrr\n-a -t 10.10.0.100:80 -r 10.10.0.2:80 -g -w 3 -x 10 -y 5\n',
    );
    expect(options.sync.info()).toEqual({ version: '1.2.1', connectionTableSize: 4096 });
    options.sync.setTimeouts({ tcpSeconds: 60 });
    expect(options.sync.timeouts()).toEqual({ tcpSeconds: 60, tcpFinSeconds: 120, udpSeconds: 300 });
    expect(errorOf(NetlinkError, () => options.sync.removeDestination(web, server(3)))).toMatchObject({
      code: 'ENOENT',
    });
    options.sync.flush();
    expect(automatic.sync.services()).toEqual([]);
  });

  test('list what netlink lists, for any IPv4 services', () => {
    fc.assert(
      fc.property(virtualServers, desired => {
        const { netns, ipvs } = made().container('lb', { links: LINKS });
        ipvs.sync.apply(ipvs.sync.plan(desired));
        using options = Ipvs.open({ netns, via: 'sockopt' });
        for (const service of options.sync.services({ destinations: true })) {
          const { persistence, destinations, ...rest } = ipvs.sync.service(service as Service) as typeof service;
          expect(service).toMatchObject(rest);
          expect(service.destinations?.map(({ address }) => address)).toEqual(
            ipvs.sync
              .destinations(service as Service)
              .filter(({ address }) => !address.includes(':'))
              .map(({ address }) => address),
          );
          void persistence;
          void destinations;
        }
      }),
      { numRuns: 50 },
    );
  });

  test('are not there without the module', () => {
    const bare = made({ modules: ['nf_tables'] }).container('bare', {});
    using options = Ipvs.open({ netns: bare.netns, via: 'sockopt' });
    expect(errorOf(NetlinkError, () => options.sync.info())).toMatchObject({ code: 'ENOPROTOOPT' });
  });
});

describe('connections through IPVS', () => {
  it('is listed with its state and the time it has left', async () => {
    balance({ scheduler: 'rr' }, server(2));
    segment(1);
    segment(1, 'ack');
    kernel.advance(1500);
    const list = await connectionsOf(lb);
    expect(list).toEqual([
      {
        protocol: 'tcp',
        client: { address: '10.10.0.9', port: 40_001 },
        virtual: { address: '10.10.0.100', port: 80 },
        destination: { address: '10.10.0.2', port: 80 },
        state: 'ESTABLISHED',
        expiresSeconds: 898,
      },
    ]);
    kernel.advance(900_000);
    expect(await connectionsOf(lb)).toEqual([]);
    expect(lb.ipvs.sync.destinations(web)[0]).toMatchObject({ activeConnections: 0, inactiveConnections: 0 });
  });

  it('gets no server above its upper threshold, and one again below three quarters of it', () => {
    balance({ scheduler: 'rr' }, server(2, { upperThreshold: 4 }));
    expect([1, 2, 3, 4].map(chosen)).toEqual(['2', '2', '2', '2']);
    expect(segment(5)).toMatchObject({ verdict: 'reject' });
    for (const client of [1, 2]) segment(client, ['fin', 'ack']);
    kernel.advance(60_000);
    // Those that never went on are over after a minute; the others wait for two.
    expect(lb.ipvs.sync.destinations(web)[0]!.inactiveConnections).toBe(2);
    expect(chosen(6)).toBe('2');
  });

  it('stays at its server with the weight 0, which gets no new one', () => {
    balance({ scheduler: 'wlc' }, server(2), server(3));
    const first = chosen(1)!;
    lb.ipvs.sync.editDestination(web, server(Number(first)), { weight: 0 });
    expect(segment(1, 'ack').forwardedTo?.address).toBe(`10.10.0.${first}`);
    expect(new Set([2, 3, 4].map(chosen))).toEqual(new Set([first === '2' ? '3' : '2']));
  });

  it('is dropped while its server is away, and goes on when it comes back', () => {
    balance({ scheduler: 'rr' }, server(2));
    segment(1);
    lb.ipvs.sync.removeDestination(web, server(2));
    expect(segment(1, 'ack')).toMatchObject({ verdict: 'drop' });
    lb.ipvs.sync.addDestination(web, server(2));
    expect(segment(1, 'ack').forwardedTo?.address).toBe('10.10.0.2');
    expect(lb.ipvs.sync.destinations(web)[0]!.activeConnections).toBe(1);
  });

  it('ends with its server under expire_nodest_conn', () => {
    lb.ipvs.settings.expire_nodest_conn = true;
    balance({ scheduler: 'rr' }, server(2), server(3));
    const first = chosen(1)!;
    lb.ipvs.sync.removeDestination(web, server(Number(first)));
    expect(chosen(1)).toBe(first === '2' ? '3' : '2');
    // What does not begin a connection is for this host.
    expect(segment(9, 'ack')).toMatchObject({ verdict: 'accept' });
  });

  it('begins anew where the one before it is over, unless conn_reuse_mode is 0', () => {
    balance({ scheduler: 'rr' }, server(2), server(3));
    const end = (client: number) => {
      segment(client, 'ack');
      segment(client, 'rst');
    };
    const first = chosen(1)!;
    end(1);
    expect(chosen(1)).not.toBe(first);
    lb.ipvs.settings.conn_reuse_mode = 0;
    end(1);
    const kept = segment(1).forwardedTo?.address.slice(8);
    end(1);
    expect(chosen(1)).toBe(kept);
  });

  it('goes to the server of its client with persistence, until that is forgotten', async () => {
    balance({ scheduler: 'rr', persistence: { timeoutSeconds: 100, netmask: '255.255.255.0' } }, server(2), server(3));
    const first = chosen(1);
    expect([chosen(2), chosen(3)]).toEqual([first, first]);
    const templates = (await connectionsOf(lb)).filter(({ client }) => client.port === 0);
    expect(templates).toMatchObject([{ protocol: 'tcp', client: { address: '10.10.0.0' }, state: 'NONE' }]);
    expect(
      lb.ipvs.sync
        .destinations(web)
        .map(each => each.persistentConnections)
        .toSorted(),
    ).toEqual([0, 1]);
    kernel.advance(101_000);
    expect(chosen(4)).not.toBe(first);
  });

  it('has no entry where each datagram is scheduled on its own', async () => {
    const service = { protocol: 'udp', address: '10.10.0.100', port: 53, scheduler: 'rr', onePacket: true } as const;
    lb.ipvs.sync.addService(service);
    for (const last of [2, 3]) lb.ipvs.sync.addDestination(service, server(last, { port: 53 }));
    const ask = () =>
      lb.receive(udp({ from: '10.10.0.9:5000', to: '10.10.0.100:53' }), { on: 'eth0' }).forwardedTo?.address;
    expect([ask(), ask(), ask()]).toEqual(['10.10.0.3', '10.10.0.2', '10.10.0.3']);
    expect(await connectionsOf(lb)).toEqual([]);
  });

  it.each([
    ['direct', undefined],
    ['direct', { timeoutSeconds: 60 }],
    ['masquerade', undefined],
    ['masquerade', { timeoutSeconds: 60 }],
    ['tunnel', { timeoutSeconds: 60 }],
  ] as const)(
    'belongs to a service of a firewall mark, whatever its port, which it keeps: %s, %o',
    async (forward, persistence) => {
      const key = { firewallMark: 7, family: 'ipv4' } as const;
      lb.netns.sysctl.set('net.ipv4.ip_forward', 1);
      lb.ipvs.sync.addService({ ...key, scheduler: 'rr', ...(persistence && { persistence }) });
      lb.ipvs.sync.addDestination(key, server(2, { port: 0, forward }));
      await lb.nftables.apply(
        'table ip m {\n chain c {\n type filter hook prerouting priority mangle\n tcp dport { 80, 443 } meta mark set 7\n }\n }\n',
      );
      const sent = (port: number, flags: 'syn' | 'ack') =>
        lb.receive(tcp({ from: '10.10.0.9:1', to: `10.10.0.100:${port}`, flags }), { on: 'eth0' }).forwardedTo;
      for (const port of [443, 80]) {
        const to = { address: '10.10.0.2', port, method: forward };
        expect([sent(port, 'syn'), sent(port, 'ack')]).toEqual([to, to]);
      }
    },
  );

  it('comes back as the virtual address from a masqueraded server, and is delivered where the server is this host', () => {
    balance({ scheduler: 'rr' }, server(2, { forward: 'masquerade', port: 8080 }));
    lb.netns.sysctl.set('net.ipv4.ip_forward', 1);
    const { packet, forwardedTo } = segment(1);
    expect([packet.to, packet.ttl, forwardedTo?.port]).toEqual(['10.10.0.2:8080', 63, 8080]);
    const answer = tcp({ from: '10.10.0.2:8080', to: '10.10.0.9:40001', flags: ['syn', 'ack'] });
    expect(lb.receive(answer, { on: 'eth0' }).packet.from).toBe('10.10.0.100:80');
    lb.ipvs.sync.flush();
    balance({ scheduler: 'rr' }, server(1, { forward: 'masquerade', port: 8080 }));
    expect(segment(2)).toMatchObject({ verdict: 'accept', packet: { to: '10.10.0.1:8080' } });
  });

  it.each([
    ['ipip', undefined, 4, 40],
    ['gre', { type: 'gre', checksum: 'required' }, 47, 48],
    ['gue', { type: 'gue', port: 6080 }, 'udp', 52],
  ] as const)('goes out in a tunnel: %s', (_, tunnel, protocol, length) => {
    balance({ scheduler: 'rr' }, server(2, { forward: 'tunnel', ...(tunnel && { tunnel }) }));
    const { verdict, packet, forwardedTo } = segment(1);
    expect({ verdict, forwardedTo }).toEqual({
      verdict: 'forward',
      forwardedTo: { address: '10.10.0.2', port: 80, method: 'tunnel' },
    });
    expect(packet).toMatchObject({ protocol, ttl: 63 });
    expect([packet.from, packet.to].map(end => end.split(':')[0])).toEqual(['10.10.0.1', '10.10.0.2']);
    // The packet inside is the client's, with its TTL as low as that of the header around it.
    const inside = packet.bytes.slice(-2 * 40);
    expect(packet.bytes.length).toBe(2 * (20 + length));
    expect([inside.slice(0, 2), inside.slice(16, 18), inside.slice(24, 40)]).toEqual(['45', '3f', '0a0a00090a0a0064']);
  });

  it('is told to be refused, dropped or let pass where the kernel does so', () => {
    balance({ scheduler: 'none' }, server(2));
    expect(segment(1)).toMatchObject({ verdict: 'reject' });
    expect(segment(1, 'ack')).toMatchObject({ verdict: 'accept' });
    expect(lb.receive(tcp({ from: '10.10.0.9:1', to: '10.10.0.100:81' }), { on: 'eth0' }).verdict).toBe('accept');
    lb.ipvs.sync.editService(web, { scheduler: 'rr' });
    expect(
      lb.receive(tcp({ from: '10.10.0.9:1', to: '10.10.0.100:80', ttl: 1 }), { on: 'eth0' }).forwardedTo,
    ).toBeUndefined();
    lb.ipvs.settings.drop_packet = 3;
    lb.ipvs.settings.am_droprate = 3;
    expect([2, 3, 4, 5, 6, 7].map(client => segment(client).verdict)).toEqual([
      'drop',
      'forward',
      'forward',
      'drop',
      'forward',
      'forward',
    ]);
  });

  it('is dropped where a persistence engine cannot read it', () => {
    balance({ scheduler: 'rr', persistence: { timeoutSeconds: 60, engine: 'sip' } }, server(2));
    expect(segment(1)).toMatchObject({ verdict: 'drop' });
  });

  it('of a process of this host goes to a server, and the answer comes from the virtual address', () => {
    balance({ scheduler: 'rr' }, server(2, { forward: 'masquerade', port: 8080 }));
    const { verdict, packet } = lb.send(tcp({ from: '10.10.0.1:5000', to: '10.10.0.100:80' }));
    expect([verdict, packet.to]).toEqual(['forward', '10.10.0.2:8080']);
    const answer = tcp({ from: '10.10.0.2:8080', to: '10.10.0.1:5000', flags: ['syn', 'ack'] });
    expect(lb.receive(answer, { on: 'eth0' })).toMatchObject({ verdict: 'accept', packet: { from: '10.10.0.100:80' } });
  });

  it.each([
    ['twos', { scheduler: 'twos' }, 'the random choices of the scheduler twos'],
    [
      'sip',
      { scheduler: 'rr', protocol: 'udp', persistence: { timeoutSeconds: 60, engine: 'sip' } },
      'the persistence engine sip',
    ],
    ['conntrack', { scheduler: 'rr' }, 'net.ipv4.vs.conntrack'],
  ] as const)('is not guessed at: %s', (name, service, feature) => {
    balance(service as Partial<Service> & { scheduler: string }, server(2), server(3));
    if (name === 'conntrack') lb.ipvs.settings.conntrack = true;
    const make = 'protocol' in service ? udp : tcp;
    const error = errorOf(UnsupportedError, () =>
      lb.receive(make({ from: '10.10.0.9:1', to: '10.10.0.100:80' }), { on: 'eth0' }),
    );
    expect(error.message).toContain(feature);
  });
});
