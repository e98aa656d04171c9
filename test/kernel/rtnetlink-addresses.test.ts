import { beforeEach, expect, test } from 'vitest';
import type { NetNs } from '../../src/netns/index.ts';
import { kernelSuite } from '../support/where.ts';
import { failure, here, inTwoNamespaces, ip, links, type Printed } from './rtnetlink-namespaces.ts';

kernelSuite('addresses', () => {
  inTwoNamespaces();

  beforeEach(async () => {
    await links.createVeth({ name: 'eth0', up: true, peer: { name: 'x' } });
    await links.set('x', { up: true });
  });

  test('of IPv4 with and without label are shown by ip as created', async () => {
    await links.set('lo', { up: true });
    await links.addAddress('eth0', '10.10.0.100/32', { label: 'eth0:vip' });
    await links.addAddress('eth0', '10.10.0.1/24');
    await links.addAddress('eth0', '10.10.0.2/24');
    await links.addAddress('lo', '127.5.0.1/8');
    await links.addAddress('lo', '10.9.0.1');
    const addresses = (await links.addresses()).filter(({ family }) => family === 'ipv4');
    const printed = ip(here, '-4', 'addr').flatMap(({ ifname, addr_info }) =>
      addr_info.map((each: Printed) => ({
        device: ifname,
        family: 'ipv4',
        address: `${each.local}/${each.prefixlen}`,
        label: each.label,
        scope: each.scope,
        broadcast: each.broadcast,
        secondary: each.secondary ?? false,
      })),
    );
    expect(
      addresses.map(({ device, family, address, label, scope, broadcast, flags }) => {
        return { device, family, address, label, scope, broadcast, secondary: flags.includes('secondary') };
      }),
    ).toEqual(printed);
    expect(addresses).toContainEqual(
      expect.objectContaining({ address: '10.10.0.100/32', label: 'eth0:vip', scope: 'global' }),
    );
    expect(addresses).toContainEqual(expect.objectContaining({ address: '127.5.0.1/8', scope: 'host' }));
    expect(
      addresses.every(({ flags, validSeconds }) => flags.includes('permanent') && validSeconds === undefined),
    ).toBe(true);
    expect(await links.addresses({ device: 'lo' })).toEqual(
      (await links.addresses()).filter(({ device }) => device === 'lo'),
    );
    await links.removeAddress('eth0', '10.10.0.100/32');
    expect(ip(here, '-4', 'addr', 'show', 'dev', 'eth0')[0].addr_info.map((each: Printed) => each.local)).toEqual([
      '10.10.0.1',
      '10.10.0.2',
    ]);
  });

  test('of IPv6 are usable at once with noDad', async () => {
    await links.addAddress('eth0', 'FD00:0::1/64', { noDad: true });
    await links.addAddress('eth0', 'fd00::2/64');
    const addresses = await links.addresses({ device: 'eth0' });
    const one = addresses.find(({ address }) => address === 'fd00::1/64');
    expect(one).toMatchObject({ family: 'ipv6', scope: 'global', flags: ['nodad', 'permanent'] });
    expect(one?.label).toBeUndefined();
    expect(addresses.find(({ address }) => address === 'fd00::2/64')?.flags).toContain('tentative');
    expect(addresses.find(({ scope }) => scope === 'link')?.address).toMatch(/^fe80::.*\/64$/);
    const printed = ip(here, '-6', 'addr', 'show', 'dev', 'eth0')[0].addr_info;
    expect(printed).toContainEqual(expect.objectContaining({ local: 'fd00::1', prefixlen: 64, nodad: true }));
    expect(printed.map((each: Printed) => `${each.local}/${each.prefixlen}`).sort()).toEqual(
      addresses.map(({ address }) => address).sort(),
    );
    await links.removeAddress('eth0', 'fd00::1/64');
    await links.removeAddress('eth0', 'fd00::2/64');
    expect((await links.addresses({ device: 'eth0' })).filter(({ scope }) => scope === 'global')).toEqual([]);
  });

  test('that ip adds are read: peers, lifetimes, broadcast, metrics', async () => {
    ip(here, 'addr', 'add', '10.1.0.1', 'peer', '10.1.0.2/32', 'dev', 'eth0');
    ip(
      here,
      'addr',
      'add',
      '10.2.0.1/24',
      'brd',
      '+',
      'dev',
      'eth0',
      'valid_lft',
      '100',
      'preferred_lft',
      '50',
      'metric',
      '77',
    );
    ip(here, 'addr', 'add', 'fd01::1', 'peer', 'fd01::2/128', 'dev', 'eth0', 'nodad');
    const addresses = await links.addresses({ device: 'eth0' });
    expect(addresses).toContainEqual(expect.objectContaining({ address: '10.1.0.1/32', peer: '10.1.0.2' }));
    expect(addresses).toContainEqual(expect.objectContaining({ address: 'fd01::1/128', peer: 'fd01::2' }));
    const timed = addresses.find(({ address }) => address === '10.2.0.1/24');
    expect(timed).toMatchObject({ broadcast: '10.2.0.255', metric: 77, flags: [] });
    expect(timed?.validSeconds).toBeGreaterThan(95);
    expect(timed?.preferredSeconds).toBeLessThanOrEqual(50);
  });

  test('are listed by the thousand', async () => {
    for (let i = 0; i < 1000; i++) links.sync.addAddress('eth0', `10.${20 + (i >> 8)}.${i & 255}.1/32`);
    const addresses = (await links.addresses()).filter(({ family }) => family === 'ipv4');
    expect(addresses).toHaveLength(1000);
    expect(new Set(addresses.map(({ address }) => address)).size).toBe(1000);
    expect(links.sync.addresses().filter(({ family }) => family === 'ipv4')).toHaveLength(1000);
    const routes = await links.routes({ family: 'ipv4', table: 'local' });
    expect(routes).toHaveLength(1000);
  });

  test('are set: added where they are missing, and else changed as ip shows; rejects with ERR_CONFLICT what the kernel would ignore', async () => {
    const seen = (address: string): Printed =>
      ip(here, 'addr', 'show', 'dev', 'eth0')
        .flatMap(({ addr_info }) => addr_info)
        .find((each: Printed) => each.local === address);
    await links.setAddress('eth0', '10.10.0.1/24', { label: 'eth0:a', broadcast: '10.10.0.255' });
    expect(seen('10.10.0.1')).toMatchObject({ prefixlen: 24, label: 'eth0:a', broadcast: '10.10.0.255' });
    await links.setAddress('eth0', '10.10.0.1/24', { metric: 7, validSeconds: 1000, preferredSeconds: 500 });
    expect(seen('10.10.0.1')).toMatchObject({ metric: 7, dynamic: true, label: 'eth0:a' });
    expect(seen('10.10.0.1').valid_life_time).toBeGreaterThan(900);
    await links.setAddress('eth0', '10.10.0.1/24');
    const [again] = (await links.addresses({ device: 'eth0' })).filter(({ family }) => family === 'ipv4');
    expect(again).not.toHaveProperty('validSeconds');
    // What was read changes nothing.
    await links.setAddress('eth0', again!.address, again);
    expect((await links.addresses({ device: 'eth0' })).filter(({ family }) => family === 'ipv4')).toMatchObject([
      { address: '10.10.0.1/24', label: 'eth0:a' },
    ]);
    await links.setAddress('eth0', 'fd00::1/64', { noDad: true });
    await links.setAddress('eth0', 'fd00::1/64', { noDad: true, preferredSeconds: 0, validSeconds: 1000 });
    expect(seen('fd00::1')).toMatchObject({ prefixlen: 64, deprecated: true });
    for (const [address, options, attribute] of [
      ['10.10.0.1/24', { label: 'eth0:b' }, 'label'],
      ['10.10.0.1/24', { broadcast: '10.10.0.254' }, 'broadcast'],
      ['10.10.0.1/24', { scope: 'link' }, 'scope'],
      ['fd00::1/96', {}, 'address'],
    ] as const)
      await expect(links.setAddress('eth0', address, options)).rejects.toMatchObject({
        code: 'ERR_CONFLICT',
        attribute,
      });
    // Another length of an IPv4 address is another address.
    await links.setAddress('eth0', '10.10.0.1/16');
    expect(
      (await links.addresses({ device: 'eth0' }))
        .map(({ address }) => address)
        .filter(text => !text.startsWith('fe80')),
    ).toEqual(['10.10.0.1/24', '10.10.0.1/16', 'fd00::1/64']);
  });
});

kernelSuite('routes', () => {
  inTwoNamespaces();

  beforeEach(async () => {
    await links.createVeth({ name: 'eth0', up: true, peer: { name: 'x' } });
    await links.set('x', { up: true });
    await links.addAddress('eth0', '10.0.0.1/24');
    await links.addAddress('eth0', 'fd00::1/64', { noDad: true });
  });

  const printed = (netns: NetNs, ...words: string[]) =>
    ip(netns, ...words).map(({ dst, gateway, dev, prefsrc, protocol, scope, metric, type, table, flags }: Printed) => {
      return { to: dst, gateway, device: dev, source: prefsrc, protocol, scope, metric, type, table, flags };
    });

  test('of all kinds of IPv4 are shown by ip as created', async () => {
    await links.addRoute({ to: 'default', via: '10.0.0.254' });
    await links.addRoute({ to: '10.1.0.0/16', via: '10.0.0.2', device: 'eth0', source: '10.0.0.1', metric: 7 });
    await links.addRoute({ to: '10.2.0.5', device: 'eth0' });
    await links.addRoute({ to: '10.3.0.0/16', via: '192.168.0.1', device: 'eth0', onLink: true, protocol: 'static' });
    await links.addRoute({ to: '10.4.0.0/16', type: 'unreachable' });
    await links.addRoute({ to: '10.5.0.0/16', type: 'blackhole', protocol: 200 });
    await links.addRoute({ to: '10.6.0.0/16', device: 'eth0', table: 1000, scope: 50 });
    const routes = await links.routes({ family: 'ipv4' });
    const seen = routes.map(({ to, via, device, source, protocol, scope, metric, type, table, flags }) => {
      // ip leaves the length of a host out, and prints numbers as text.
      const text = (value: string | number) => `${value}`;
      return {
        to: to.replace(/\/32$/, ''),
        gateway: via,
        device,
        source,
        protocol: text(protocol),
        scope: text(scope),
        metric,
        type,
        table: text(table),
        flags,
      };
    });
    const expected = printed(here, '-4', 'route', 'show', 'table', 'all').map(route => {
      return {
        ...route,
        table: route.table ?? 'main',
        type: route.type ?? 'unicast',
        scope: route.scope ?? 'global',
        protocol: route.protocol ?? 'boot',
      };
    });
    expect(seen).toHaveLength(expected.length);
    expect(seen).toEqual(expect.arrayContaining(expected));
    expect(routes).toContainEqual(
      expect.objectContaining({ to: 'default', via: '10.0.0.254', device: 'eth0', protocol: 'boot' }),
    );
    expect(routes).toContainEqual(
      expect.objectContaining({ to: '10.3.0.0/16', flags: ['onlink'], protocol: 'static' }),
    );
    expect(await links.routes({ table: 1000 })).toMatchObject([{ to: '10.6.0.0/16', scope: 50, table: 1000 }]);
    expect((await links.routes({ table: 'main' })).every(({ table }) => table === 'main')).toBe(true);

    await links.removeRoute({ to: 'default' });
    await links.removeRoute({ to: '10.1.0.0/16', via: '10.0.0.2', device: 'eth0', metric: 7 });
    await links.removeRoute({ to: '10.2.0.5' });
    await links.removeRoute({ to: '10.3.0.0/16' });
    await links.removeRoute({ to: '10.4.0.0/16', type: 'unreachable' });
    await links.removeRoute({ to: '10.5.0.0/16' });
    await links.removeRoute({ to: '10.6.0.0/16', table: 1000 });
    expect(printed(here, '-4', 'route')).toMatchObject([{ to: '10.0.0.0/24' }]);
  });

  test('of IPv6 are shown by ip as created', async () => {
    await links.addRoute({ to: 'default', via: 'fd00::254' });
    await links.addRoute({ to: 'fd01::/64', via: 'fd00::2', device: 'eth0', metric: 5, source: 'fd00::1' });
    await links.addRoute({ to: '::/0', device: 'eth0', metric: 9999 });
    await links.addRoute({ to: 'fd02::/64', type: 'unreachable' });
    const routes = await links.routes({ family: 'ipv6', table: 'main' });
    expect(routes).toContainEqual(
      expect.objectContaining({ to: 'default', via: 'fd00::254', metric: 1024, scope: 'global' }),
    );
    expect(routes).toContainEqual(expect.objectContaining({ to: 'default', metric: 9999, device: 'eth0' }));
    expect(routes).toContainEqual(
      expect.objectContaining({ to: 'fd01::/64', via: 'fd00::2', source: 'fd00::1', metric: 5 }),
    );
    expect(routes).toContainEqual(expect.objectContaining({ to: 'fd02::/64', type: 'unreachable' }));
    expect(
      // A link-local network comes when the kernel has noticed the carrier.
      printed(here, '-6', 'route')
        .filter(({ to }) => !to.startsWith('fe80'))
        .map(({ to, metric }) => `${to} ${metric}`)
        .sort(),
    ).toEqual(
      routes
        .filter(({ to }) => !to.startsWith('fe80'))
        .map(({ to, metric }) => `${to} ${metric}`)
        .sort(),
    );
    await links.removeRoute({ to: 'default', via: 'fd00::254' });
    await links.removeRoute({ to: 'fd01::/64' });
    expect((await links.routes({ family: 'ipv6', table: 'main' })).map(({ to }) => to)).not.toContain('fd01::/64');
  });

  test('that ip adds are read: several next hops, metrics, gateways of the other IP version', async () => {
    ip(here, 'route', 'add', '10.7.0.0/16', 'nexthop', 'via', '10.0.0.2', 'weight', '3', 'nexthop', 'via', '10.0.0.3');
    ip(here, 'route', 'add', '10.8.0.0/16', 'via', '10.0.0.2', 'mtu', '1400', 'advmss', '1300', 'hoplimit', '9');
    ip(here, 'route', 'add', '10.9.0.0/16', 'via', 'inet6', 'fe80::1', 'dev', 'eth0');
    ip(here, 'route', 'add', 'fd07::/64', 'nexthop', 'via', 'fd00::2', 'nexthop', 'via', 'fd00::3');
    ip(here, 'route', 'add', 'fd08::/64', 'via', 'fd00::2', 'expires', '100');
    const routes = await links.routes();
    expect(routes.find(({ to }) => to === '10.7.0.0/16')?.nextHops).toEqual([
      { device: 'eth0', via: '10.0.0.2', weight: 3, flags: [] },
      { device: 'eth0', via: '10.0.0.3', weight: 1, flags: [] },
    ]);
    expect(routes.find(({ to }) => to === 'fd07::/64')?.nextHops).toHaveLength(2);
    expect(routes.find(({ to }) => to === '10.8.0.0/16')?.metrics).toEqual({
      mtu: 1400,
      advertisedMss: 1300,
      hopLimit: 9,
    });
    expect(routes.find(({ to }) => to === '10.9.0.0/16')?.via).toBe('fe80::1');
    expect(routes.find(({ to }) => to === 'fd08::/64')?.expiresSeconds).toBeGreaterThan(90);
    await links.removeRoute({ to: '10.7.0.0/16' });
    expect((await links.routes()).map(({ to }) => to)).not.toContain('10.7.0.0/16');
  });
});

kernelSuite('neighbours', () => {
  inTwoNamespaces();

  test('are added, shown by ip and removed', async () => {
    await links.createVeth({ name: 'eth0', up: true, peer: { name: 'x' } });
    await links.set('x', { up: true });
    await links.addNeighbour({ device: 'eth0', address: '10.0.0.9', hardwareAddress: '02:00:00:00:00:09' });
    await links.addNeighbour({
      device: 'eth0',
      address: 'fd00::9',
      hardwareAddress: '02:00:00:00:00:0A',
      state: 'stale',
    });
    const known = (await links.neighbours({ device: 'eth0' })).filter(({ state }) => state !== 'noarp');
    expect(known).toMatchObject([
      { device: 'eth0', family: 'ipv4', address: '10.0.0.9', hardwareAddress: '02:00:00:00:00:09', state: 'permanent' },
      {
        device: 'eth0',
        family: 'ipv6',
        address: 'fd00::9',
        hardwareAddress: '02:00:00:00:00:0a',
        state: 'stale',
        flags: [],
      },
    ]);
    // The kernel adds groups, which need no asking, whenever it sends to one.
    const all = (await links.neighbours())
      .filter(({ state }) => state !== 'noarp')
      .map(({ device, address, hardwareAddress, state }) => `${device} ${address} ${hardwareAddress} ${state}`);
    const printed = ip(here, 'neigh', 'show', 'nud', 'all')
      .filter(({ state }) => state[0] !== 'NOARP')
      .map(({ dev, dst, lladdr, state }) => `${dev} ${dst} ${lladdr} ${state[0].toLowerCase()}`);
    expect(all.sort()).toEqual(printed.sort());
    const again = await failure(
      links.addNeighbour({ device: 'eth0', address: '10.0.0.9', hardwareAddress: '02:00:00:00:00:09' }),
    );
    expect(again).toMatchObject({ code: 'EEXIST', attribute: 'address' });
    await links.removeNeighbour({ device: 'eth0', address: '10.0.0.9' });
    expect((await links.neighbours()).map(({ address }) => address)).not.toContain('10.0.0.9');
  });
});
