import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { Links, NetNs } from 'netsteer';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { kernelSuite } from '../support/where.ts';

/* Addresses, routes and neighbours that were read are added as they are, in another namespace with the same devices. */

let here: NetNs;
let there: NetNs;
let from: Links;
let to: Links;

beforeEach(() => {
  [here, there] = [NetNs.create(), NetNs.create()];
  [from, to] = [Links.open({ netns: here }), Links.open({ netns: there })];
  for (const links of [from, to]) {
    links.sync.createVeth({ name: 'eth0', peer: { name: 'eth1' } });
    for (const name of ['eth0', 'eth1']) links.sync.set(name, { up: true });
    links.sync.set('eth0', { address: '02:00:00:00:00:01' });
    links.sync.set('eth1', { address: '02:00:00:00:00:02' });
  }
  // Link-local addresses come by themselves: those of one hardware address are the same.
  for (const netns of [here, there])
    for (const name of ['eth0', 'eth1']) netns.sysctl.set(`net.ipv6.conf.${name}.addr_gen_mode`, '1');
  for (const links of [from, to])
    for (const address of links.sync.addresses({ device: 'eth0' })) links.sync.removeAddress('eth0', address.address);
});
afterEach(() => {
  for (const links of [from, to]) links.close();
  for (const netns of [here, there]) netns.close();
});

const ADDRESSES = [
  'addr add 10.0.0.1/24 dev eth0',
  'addr add 10.0.0.2/24 dev eth0 broadcast + label eth0:x',
  'addr add 10.1.0.1 peer 10.1.0.2/32 dev eth0',
  'addr add 10.2.0.1/24 dev eth0 scope link valid_lft 1000 preferred_lft 500',
  'addr add 10.3.0.1/24 dev eth0 metric 77 noprefixroute',
  'addr add 127.0.0.5/8 dev eth0 scope host',
  'addr add fd04::1/64 dev eth0 nodad home',
  'addr add fd05::1/64 dev eth0 nodad mngtmpaddr',
  'addr add fd00::1/64 dev eth0 nodad',
  'addr add fd01::1 peer fd01::2/128 dev eth0 nodad',
  'addr add fd02::1/64 dev eth0 nodad noprefixroute metric 9',
  'addr add fd03::1/64 dev eth0 nodad valid_lft 1000 preferred_lft 0',
];
const ROUTES = [
  'route add 20.0.0.0/8 via 10.9.0.2 metric 7 src 10.9.0.1',
  'route add 21.0.0.0/8 dev eth0 scope 50 table 1000',
  'route add 22.0.0.0/8 via 192.168.0.1 dev eth0 onlink proto static',
  'route add unreachable 23.0.0.0/8',
  'route add blackhole 24.0.0.0/8 proto 200',
  'route add 25.0.0.0/8 via 10.9.0.2 mtu 1300 initcwnd 20 realm 5 tos 4',
  'route add 26.0.0.0/8 nexthop via 10.9.0.2 dev eth0 weight 3 nexthop via 10.9.0.3 dev eth0',
  'route add 27.0.0.0/8 via inet6 fd09::2 dev eth0',
  'route add default via 10.9.0.254',
  'route add 28.0.0.0/8 dev eth0 mtu lock 1400 rtt 40ms rttvar 20ms ssthresh 9 cwnd 5 reordering 4 rto_min 50ms initrwnd 8 quickack 1 congctl cubic',
  'route add throw 29.0.0.0/8 metric 9',
  '-6 route add fd20::/32 via fd09::2 metric 5 src fd09::1',
  '-6 route add fd21::/32 dev eth0 table 1000',
  '-6 route add fd22::/32 nexthop via fd09::2 dev eth0 weight 2 nexthop via fd09::3 dev eth0',
  '-6 route add prohibit fd23::/32',
  '-6 route add fd24::/32 dev eth0 expires 1000',
  '-6 route add fd25::/32 dev eth0 hoplimit 33 advmss 1200 features ecn fastopen_no_cookie 1',
  '-6 route add default via fd09::254 pref high',
];
const NEIGHBOURS = [
  'neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev eth0',
  'neigh add 10.9.0.8 lladdr 02:00:00:00:00:08 dev eth0 nud noarp',
  'neigh add fd09::9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent router',
];
const ALWAYS = ['addr add 10.9.0.1/24 dev eth0', 'addr add fd09::1/64 dev eth0 nodad'];

/** Without clocks, and without what says in passing how a link is just now. */
const settled = (values: readonly object[]) =>
  values
    .map(value =>
      JSON.stringify(value, (key, item) => {
        if (/Centiseconds$|^(?:valid|preferred|expires)Seconds$|^probes$/.test(key)) return undefined;
        return key === 'flags' ? (item as string[]).filter(flag => flag !== 'tentative') : item;
      }),
    )
    .sort();

/** The kernel makes the others by itself, in its own time. */
const mine = ({ protocol, table }: { protocol: unknown; table: unknown }) => protocol !== 'kernel' && table !== 'local';

/** Groups of receivers are known by themselves. */
const neighboursOf = (links: Links) =>
  links.sync
    .neighbours({ device: 'eth0' })
    .filter(({ hardwareAddress, address }) => hardwareAddress !== undefined && !/^(ff|22[4-9]|23\d)/.test(address));

kernelSuite('a link that was read and is added again', () => {
  test('is the same as before', () => {
    fc.assert(
      fc.property(
        fc.subarray(ADDRESSES),
        fc.subarray(ROUTES),
        fc.subarray(NEIGHBOURS),
        (addresses, routes, neighbours) => {
          for (const links of [from, to]) {
            for (const address of links.sync.addresses({ device: 'eth0' })) {
              try {
                links.sync.removeAddress('eth0', address.address, address);
              } catch {
                // Gone with the first one of its network.
              }
            }
            for (const route of links.sync.routes()) if (mine(route)) links.sync.removeRoute(route);
            for (const neighbour of links.sync.neighbours({ device: 'eth0' })) links.sync.removeNeighbour(neighbour);
          }
          const words = [...ALWAYS, ...addresses, ...routes, ...neighbours];
          for (const six of [false, true]) {
            const input = words.filter(line => line.startsWith('-6 ') === six).map(line => line.replace('-6 ', ''));
            const family = six ? ['-6'] : [];
            here.run(() => execFileSync('ip', [...family, '-batch', '-'], { input: input.join('\n') }));
          }
          for (const address of from.sync.addresses({ device: 'eth0' }))
            to.sync.addAddress(address.device, address.address, address);
          // Routes of one device by way of others come after those.
          for (const route of from.sync.routes()) if (mine(route)) to.sync.addRoute(route);
          const known = neighboursOf(from);
          for (const neighbour of known)
            to.sync.addNeighbour({ ...neighbour, hardwareAddress: neighbour.hardwareAddress! });
          expect(settled(to.sync.addresses({ device: 'eth0' }))).toEqual(
            settled(from.sync.addresses({ device: 'eth0' })),
          );
          expect(settled(to.sync.routes().filter(mine))).toEqual(settled(from.sync.routes().filter(mine)));
          expect(settled(neighboursOf(to))).toEqual(settled(known));
        },
      ),
      { numRuns: 25, endOnFailure: true },
    );
  });

  test('has the same property names for reading and writing', () => {
    from.sync.addAddress('eth0', '10.0.0.1/24', {
      label: 'eth0:x',
      broadcast: '10.0.0.255',
      metric: 3,
      noPrefixRoute: true,
    });
    from.sync.addAddress('eth0', 'fd00::1/64', { noDad: true, validSeconds: 1000, preferredSeconds: 500 });
    const [four, six] = from.sync.addresses({ device: 'eth0' });
    expect(four).toMatchObject({ label: 'eth0:x', broadcast: '10.0.0.255', metric: 3, noPrefixRoute: true });
    expect(six).toMatchObject({ noDad: true });
    expect(six!.validSeconds).toBeGreaterThan(900);
    from.sync.addRoute({
      to: '10.5.0.0/16',
      nextHops: [{ via: '10.0.0.2', device: 'eth0', weight: 2, onLink: true }, { device: 'eth0' }],
    });
    from.sync.addRoute({ to: '10.6.0.0/16', via: '10.0.0.9', device: 'eth0', onLink: true, source: '10.0.0.1' });
    const routes = from.sync.routes({ table: 'main', family: 'ipv4' });
    expect(routes).toContainEqual(
      expect.objectContaining({ to: '10.6.0.0/16', via: '10.0.0.9', onLink: true, source: '10.0.0.1' }),
    );
    expect(routes.find(({ to }) => to === '10.5.0.0/16')?.nextHops).toEqual([
      expect.objectContaining({ via: '10.0.0.2', device: 'eth0', weight: 2, onLink: true }),
      expect.objectContaining({ device: 'eth0', weight: 1 }),
    ]);
    for (const route of routes) expect(route).not.toHaveProperty('gateway');
  });

  test('a route over a nexthop object, with its ways, is added as it is', () => {
    for (const netns of [here, there])
      netns.run(() => {
        const input = [
          'addr add 10.9.0.1/24 dev eth0',
          'nexthop add id 5 via 10.9.0.2 dev eth0',
          'nexthop add id 6 via 10.9.0.3 dev eth0',
          'nexthop add id 7 group 5,3/6',
        ];
        execFileSync('ip', ['-batch', '-'], { input: input.join('\n') });
      });
    here.run(() => execFileSync('ip', ['route', 'add', '30.0.0.0/8', 'nhid', '5']));
    here.run(() => execFileSync('ip', ['route', 'add', '31.0.0.0/8', 'nhid', '7']));
    for (const route of from.sync.routes().filter(mine)) to.sync.addRoute(route);
    expect(settled(to.sync.routes().filter(mine))).toEqual(settled(from.sync.routes().filter(mine)));
    to.sync.addRoute({ to: '32.0.0.0/8', nextHopId: 6 });
    expect(to.sync.routes()).toContainEqual(
      expect.objectContaining({ to: '32.0.0.0/8', nextHopId: 6, via: '10.9.0.3' }),
    );
  });

  test('a route with a lifetime goes by itself', () => {
    to.sync.addRoute({ to: 'fd30::/32', device: 'eth0', expiresSeconds: 1000 });
    const read = to.sync.routes({ family: 'ipv6' }).find(route => route.to === 'fd30::/32');
    expect(read!.expiresSeconds).toBeGreaterThan(900);
    expect(read!.expiresSeconds).toBeLessThanOrEqual(1000);
  });

  test.each([
    ['a lifetime of an IPv4 route', { to: '10.0.0.0/8', device: 'eth0', expiresSeconds: 5 }, ['expiresSeconds']],
    ['a preference of an IPv4 route', { to: '10.0.0.0/8', device: 'eth0', preference: 1 }, ['preference']],
    ['a type of service of an IPv6 route', { to: 'fd00::/16', device: 'eth0', tos: 4 }, ['tos']],
    ['via beside nextHopId', { to: '10.0.0.0/8', via: '10.0.0.1', nextHopId: 5 }, ['via']],
    ['via beside nextHops', { to: 'default', via: '10.0.0.1', nextHops: [{ device: 'eth0' }] }, ['via']],
    ['an empty list of ways', { to: 'default', nextHops: [] }, ['nextHops']],
    ['a way that leads nowhere', { to: 'default', nextHops: [{ weight: 2 }] }, ['nextHops', 0, 'device']],
    ['a weight of 0', { to: 'default', nextHops: [{ device: 'eth0', weight: 0 }] }, ['nextHops', 0, 'weight']],
    ['an IPv4 router of an IPv6 route', { to: '::/0', via: '10.0.0.1', device: 'eth0' }, ['via']],
    ['another family than the destination', { to: '10.0.0.0/8', family: 'ipv6', device: 'eth0' }, ['family']],
    ['a misspelt field', { to: 'default', device: 'eth0', gateway: '10.0.0.1' }, ['gateway']],
  ])('rejects %s at its path', (_, route, path) => {
    expect(() => from.sync.addRoute(route as never)).toThrow(expect.objectContaining({ path }));
  });

  test.each([
    ['a lifetime of 0', { validSeconds: 0 }, ['validSeconds']],
    ['a preference longer than the lifetime', { validSeconds: 5, preferredSeconds: 6 }, ['preferredSeconds']],
    ['a peer of the other family', { peer: 'fd00::1' }, ['peer']],
    ['a scope that is none', { scope: 'world' }, ['scope']],
    ['a home address of IPv4', { homeAddress: true }, ['homeAddress']],
    ['noPrefixRoute that is no boolean', { noPrefixRoute: 1 }, ['noPrefixRoute']],
  ])('rejects %s of an address at its path', (_, options, path) => {
    expect(() => from.sync.addAddress('eth0', '10.0.0.1/24', options as never)).toThrow(
      expect.objectContaining({ path }),
    );
  });
});
