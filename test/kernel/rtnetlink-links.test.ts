import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { isNotFound } from '../../src/errors.ts';
import { kernelSuite, where } from '../support/where.ts';
import { failure, here, inTwoNamespaces, ipLink, links, others, there } from './rtnetlink-namespaces.ts';

/**
 * Makes a device of a kind that is a module, which a kernel may lack: false then, and the refusal must say so. Debian's kernels have all of
 * them, and these are in the guests.
 */
async function made(kind: string, creation: Promise<void>): Promise<boolean> {
  const error = await creation.then(
    () => undefined,
    (refusal: unknown) => refusal,
  );
  if (error === undefined) return true;
  expect(where, `${kind} is missing`).toBe('host');
  expect(error).toMatchObject({ code: 'EOPNOTSUPP', hint: expect.stringContaining(kind) });
  return false;
}

kernelSuite('links', () => {
  inTwoNamespaces();

  test('of a new namespace are lo, which is down', async () => {
    const [lo, ...rest] = await links.list();
    // Tunnel modules that are loaded put a device of theirs into each new namespace.
    for (const link of rest)
      expect(link.kind ?? link.type).toMatch(
        /^(sit|ipip|gre|gretap|erspan|ip6tnl|ip6gre|vti|vti6|tunnel6|gre6|ether)$/,
      );
    expect(lo).toMatchObject({
      index: 1,
      name: 'lo',
      type: 'loopback',
      up: false,
      mtu: 65536,
      operationalState: 'down',
    });
    expect(lo?.statistics?.rx_packets).toBe(0n);
    await links.set('lo', { up: true });
    expect(await links.get('lo')).toMatchObject({ up: true, operationalState: 'unknown', carrier: true });
    expect(ipLink(here, 'lo').flags).toContain('UP');
    await links.set('lo', { up: false });
    expect((await links.get('lo')).up).toBe(false);
  });

  test('can be a veth with its peer in another namespace', async () => {
    await links.createVeth({
      name: 'web',
      up: true,
      mtu: 1400,
      address: '02:00:00:00:00:01',
      peer: { name: 'eth0', netns: there, mtu: 1300, address: '02:00:00:00:00:02' },
    });
    expect(ipLink(here, 'web')).toMatchObject({
      ifname: 'web',
      mtu: 1400,
      address: '02:00:00:00:00:01',
      flags: expect.arrayContaining(['UP']),
    });
    expect(ipLink(there, 'eth0')).toMatchObject({ ifname: 'eth0', mtu: 1300, address: '02:00:00:00:00:02' });
    const eth0 = await others.get('eth0');
    expect(eth0).toMatchObject({
      kind: 'veth',
      type: 'ether',
      up: false,
      mtu: 1300,
      address: '02:00:00:00:00:02',
      carrier: false,
    });
    expect(await links.get('web')).toMatchObject({
      kind: 'veth',
      up: true,
      link: eth0.index,
      linkNetnsId: expect.any(Number),
    });
    await others.set('eth0', { up: true });
    expect(await links.get('web')).toMatchObject({ operationalState: 'up', carrier: true });
    await links.remove('web');
    expect(isNotFound(await failure(others.get('eth0')))).toBe(true);
  });

  test('can be a veth whose ends are both elsewhere', async () => {
    await links.createVeth({ name: 'a', peer: { name: 'b' } });
    expect(await links.get('a')).toMatchObject({ link: 'b' });
    expect((await links.list()).find(({ name }) => name === 'b')).toMatchObject({ link: 'a' });
    expect(ipLink(here, 'a').link).toBe('b');
    await links.createVeth({ name: 'x', netns: there, up: true, peer: { name: 'y', netns: there } });
    expect(await others.get('x')).toMatchObject({ link: 'y', up: true });
    expect(ipLink(there, 'x').linkinfo.info_kind).toBe('veth');
    // The same name in two namespaces.
    await links.createVeth({ name: 'same', peer: { name: 'same', netns: there } });
    expect([(await links.get('same')).name, (await others.get('same')).name]).toEqual(['same', 'same']);
  });

  test('can be a bridge with settings and ports', async () => {
    await links.createBridge({
      name: 'br0',
      up: true,
      bridge: { forwardDelayCentiseconds: 400, ageingTimeCentiseconds: 100, priority: 4096, multicastSnooping: false },
    });
    await links.createVeth({ name: 'p0', master: 'br0', up: true, peer: { name: 'eth0', netns: there } });
    await links.createVeth({ name: 'p1', peer: { name: 'q1' } });
    await links.set('p1', { master: 'br0' });
    const { info_data: data } = ipLink(here, 'br0').linkinfo;
    expect(data).toMatchObject({ forward_delay: 400, ageing_time: 100, priority: 4096, mcast_snooping: 0 });
    const br0 = await links.get('br0');
    expect(br0.bridge).toMatchObject({
      forwardDelayCentiseconds: data.forward_delay,
      helloTimeCentiseconds: data.hello_time,
      maxAgeCentiseconds: data.max_age,
      ageingTimeCentiseconds: data.ageing_time,
      stpState: data.stp_state,
      priority: data.priority,
      groupAddress: data.group_addr,
      multicastSnooping: false,
      bridgeId: expect.stringMatching(/^1000/),
    });
    expect(ipLink(here, 'p0').master).toBe('br0');
    expect(ipLink(here, 'p1').master).toBe('br0');
    expect(await links.get('p0')).toMatchObject({
      master: 'br0',
      slaveKind: 'bridge',
      port: { hairpin: false, learning: true, priority: 32 },
    });
    expect((await links.list()).filter(({ master }) => master === 'br0').map(({ name }) => name)).toEqual(
      ['p1', 'p0'].sort((a, b) => ipLink(here, a).ifindex - ipLink(here, b).ifindex),
    );
    await links.set('p0', { master: null });
    expect(ipLink(here, 'p0').master).toBeUndefined();
    expect((await links.get('p0')).master).toBeUndefined();
    await links.set('p0', { master: null });
  });

  test('can be a dummy', async () => {
    const address = '02:00:00:00:00:07';
    if (!(await made('dummy', links.createDummy({ name: 'vip', up: true, mtu: 9000, address })))) return;
    expect(ipLink(here, 'vip')).toMatchObject({
      mtu: 9000,
      address: '02:00:00:00:00:07',
      linkinfo: { info_kind: 'dummy' },
    });
    expect(await links.get('vip')).toMatchObject({ kind: 'dummy', up: true, mtu: 9000 });
    await links.remove('vip');
    expect(isNotFound(await failure(links.get('vip')))).toBe(true);
  });

  test('can be a VLAN', async () => {
    await links.createVeth({ name: 'lower', up: true, peer: { name: 'x' } });
    if (!(await made('vlan', links.create({ kind: 'vlan', name: 'lower.5', link: 'lower', id: 5, up: true })))) return;
    expect(ipLink(here, 'lower.5')).toMatchObject({
      link: 'lower',
      flags: expect.arrayContaining(['UP']),
      linkinfo: { info_kind: 'vlan', info_data: { id: 5, protocol: '802.1Q' } },
    });
    expect(await links.get('lower.5')).toMatchObject({
      kind: 'vlan',
      link: 'lower',
      vlan: { id: 5, protocol: 0x8100 },
    });
    await links.create({ kind: 'vlan', name: 'outer', link: 'lower', id: 4094, protocol: 0x88a8 });
    expect(ipLink(here, 'outer').linkinfo.info_data).toMatchObject({ id: 4094, protocol: '802.1ad' });
    const taken = await failure(links.create({ kind: 'vlan', name: 'again', link: 'lower', id: 5 }));
    expect(taken).toMatchObject({ code: 'EEXIST' });
  });

  test('can be an ipvlan', async () => {
    await links.createVeth({ name: 'lower', up: true, peer: { name: 'x' } });
    const options = { kind: 'ipvlan', name: 'ipv0', link: 'lower', mode: 'l3s', flags: ['private'] } as const;
    if (!(await made('ipvlan', links.create({ ...options, flags: [...options.flags] })))) return;
    expect(ipLink(here, 'ipv0').linkinfo).toMatchObject({ info_kind: 'ipvlan', info_data: { mode: 'l3s' } });
    expect(await links.get('ipv0')).toMatchObject({ link: 'lower', ipvlan: { mode: 'l3s', flags: ['private'] } });
  });

  test('can be a VRF with a device in it', async () => {
    if (!(await made('vrf', links.create({ kind: 'vrf', name: 'red', table: 1000, up: true })))) return;
    await links.createVeth({ name: 'a', master: 'red', peer: { name: 'b' } });
    expect(ipLink(here, 'red').linkinfo).toMatchObject({ info_kind: 'vrf', info_data: { table: 1000 } });
    expect(await links.get('red')).toMatchObject({ kind: 'vrf', vrf: { table: 1000 } });
    expect(await links.get('a')).toMatchObject({ master: 'red', slaveKind: 'vrf' });
  });

  test('can be an ifb', async () => {
    if (!(await made('ifb', links.create({ kind: 'ifb', name: 'ifb9', up: true })))) return;
    expect(ipLink(here, 'ifb9').linkinfo).toMatchObject({ info_kind: 'ifb' });
    expect(await links.get('ifb9')).toMatchObject({ kind: 'ifb', up: true });
  });

  test('can be a macvlan, also in another namespace', async () => {
    await links.createVeth({ name: 'lower', up: true, peer: { name: 'x' } });
    if (!(await made('macvlan', links.createMacvlan({ name: 'm0', link: 'lower' })))) return;
    expect(ipLink(here, 'm0')).toMatchObject({
      link: 'lower',
      linkinfo: { info_kind: 'macvlan', info_data: { mode: 'bridge' } },
    });
    expect(await links.get('m0')).toMatchObject({ kind: 'macvlan', link: 'lower', macvlan: { mode: 'bridge' } });
    await links.createMacvlan({ name: 'eth0', link: 'lower', mode: 'private', netns: there, up: true });
    expect(ipLink(there, 'eth0').linkinfo.info_data.mode).toBe('private');
    const { index } = await links.get('lower');
    expect(await others.get('eth0')).toMatchObject({
      link: index,
      linkNetnsId: expect.any(Number),
      macvlan: { mode: 'private' },
    });
    const busy = await failure(links.createMacvlan({ name: 'm1', link: 'nope' }));
    expect(busy).toMatchObject({ code: 'ENODEV', path: ['link'] });
  });

  test('change several settings in one message, in the order of the kernel', async () => {
    await links.createBridge({ name: 'br0' });
    await links.createVeth({ name: 'a', peer: { name: 'b' } });
    await links.set('a', { newName: 'eth0', up: true, mtu: 1300, master: 'br0', address: '02:00:00:00:00:09' });
    const changed = { mtu: 1300, master: 'br0', address: '02:00:00:00:00:09' };
    expect(ipLink(here, 'eth0')).toMatchObject({ ...changed, flags: expect.arrayContaining(['UP']) });
    expect(await links.get('eth0')).toMatchObject({ ...changed, up: true });
    // Down and renamed: down goes first, for kernels that rename only what is down.
    await links.set('eth0', { newName: 'eth1', up: false });
    expect(ipLink(here, 'eth1').flags).not.toContain('UP');
    await links.set('eth1', {});
    await links.set('eth1', { mtu: 1299 });
    expect((await links.get('eth1')).mtu).toBe(1299);
  });

  test('move to another namespace, renamed and up, in one message', async () => {
    await links.createVeth({ name: 'a', up: true, peer: { name: 'b' } });
    await links.set('b', { up: true });
    await links.set('a', { netns: there, newName: 'eth0', up: true, mtu: 1350 });
    expect(ipLink(there, 'eth0')).toMatchObject({ mtu: 1350, flags: expect.arrayContaining(['UP']) });
    expect(await others.get('eth0')).toMatchObject({ up: true, operationalState: 'up' });
    expect(isNotFound(await failure(links.get('a')))).toBe(true);
    await others.set('eth0', { netns: here });
    expect(await links.get('eth0')).toMatchObject({ up: false, link: 'b' });
  });

  test('are not moved to a closed namespace: rejects it with ERR_CLOSED', async () => {
    await links.createBridge({ name: 'br0' });
    there.close();
    await expect(links.set('br0', { netns: there })).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await expect(links.createVeth({ name: 'a', peer: { name: 'b', netns: there } })).rejects.toMatchObject({
      code: 'ERR_CLOSED',
    });
    expect((await links.list()).map(({ name }) => name)).toContain('br0');
  });

  test('return hostile names unchanged, and escape them in messages', async () => {
    const names = ['\u001b[31mred', 'a\u0001b', '-rf', 'é', '\udcff\udc80x', "'; drop", '...'].filter(
      name => !name.includes(' '),
    );
    for (const name of names) await links.createBridge({ name });
    expect((await links.list()).map(({ name }) => name)).toEqual(expect.arrayContaining(names));
    for (const name of names) expect((await links.get(name)).kind).toBe('bridge');
    const taken = await failure(links.createBridge({ name: '\u001b[31mred' }));
    expect(taken.message).toContain("'\\x1b[31mred'");
    expect(taken.message).not.toContain('\u001b');
    await links.addAddress('\udcff\udc80x', '10.0.0.1/32');
    expect(await links.addresses({ device: '\udcff\udc80x' })).toMatchObject([
      { device: '\udcff\udc80x', label: '\udcff\udc80x' },
    ]);
    for (const name of names) await links.remove(name);
    expect((await links.list()).filter(({ kind }) => kind === 'bridge')).toEqual([]);
  });
});

kernelSuite('links, addresses and routes', () => {
  inTwoNamespaces();

  test('join two namespaces over a bridge: packets pass', async () => {
    await links.createBridge({ name: 'br0', up: true });
    await links.createVeth({ name: 'web1', master: 'br0', up: true, peer: { name: 'eth0', netns: there } });
    await links.addAddress('br0', '10.0.0.1/24');
    await others.addAddress('eth0', '10.0.0.2/24');
    await others.set('eth0', { up: true });
    await others.addRoute({ to: 'default', via: '10.0.0.1' });
    // Connecting makes the kernel ask for the neighbour; nobody listens, and the refusal has come all the way.
    const connect =
      "require('net').connect(9,'10.0.0.2').on('error',error=>process.stdout.write(error.code)).on('connect',()=>process.exit(1))";
    expect(here.run(() => execFileSync(process.execPath, ['-e', connect], { encoding: 'utf8' }))).toBe('ECONNREFUSED');
    expect(await links.neighbours()).toContainEqual(
      expect.objectContaining({
        device: 'br0',
        address: '10.0.0.2',
        state: 'reachable',
        hardwareAddress: (await others.get('eth0')).address,
      }),
    );
    expect((await others.get('eth0')).statistics?.rx_packets).toBeGreaterThan(0n);
  });

  test('give the same results in both forms', async () => {
    links.sync.createBridge({ name: 'br0', up: true });
    links.sync.addAddress('br0', '10.0.0.1/24', { label: 'br0:x' });
    links.sync.addNeighbour({ device: 'br0', address: '10.0.0.9', hardwareAddress: '02:00:00:00:00:09' });
    expect((await links.list()).map(({ name }) => name)).toEqual(links.sync.list().map(({ name }) => name));
    expect(await links.routes()).toEqual(links.sync.routes());
    expect(await links.addresses({ device: 'br0' })).toEqual(links.sync.addresses({ device: 'br0' }));
    const caught = await failure(links.createBridge({ name: 'br0' }));
    expect(() => links.sync.createBridge({ name: 'br0' })).toThrow(caught.message);
    links.sync.remove('br0');
    expect(links.sync.list().map(({ name }) => name)).not.toContain('br0');
  });

  test('are listed with many devices', async () => {
    for (let i = 0; i < 600; i++) links.sync.createVeth({ name: `a${i}`, peer: { name: `b${i}`, netns: there } });
    for (let i = 0; i < 600; i++) links.sync.addAddress(`a${i}`, `10.30.${i >> 8}.${i & 255}/32`);
    const list = await links.list();
    expect(list.filter(({ kind }) => kind === 'veth')).toHaveLength(600);
    expect(new Set(list.map(({ name }) => name)).size).toBe(list.length);
    const addresses = await links.addresses();
    expect(new Set(addresses.map(({ device }) => device)).size).toBe(600);
    expect((await others.list()).length).toBeGreaterThan(600);
  });

  test('are not read after a signal aborted', async () => {
    await expect(links.list({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
    expect(await links.list({ signal: new AbortController().signal })).toHaveLength((await links.list()).length);
  });

  test('are listed completely while devices come and go', async () => {
    await links.createBridge({ name: 'stays' });
    for (let round = 0; round < 30; round++) {
      const work = [
        links.list(),
        links.createBridge({ name: `t${round}` }),
        links.list(),
        links.addresses(),
        links.routes(),
      ];
      const [first, , second] = (await Promise.all(work)) as [{ name: string }[], undefined, { name: string }[]];
      expect(first.map(({ name }) => name)).toContain('stays');
      expect(second.map(({ name }) => name)).toContain(`t${round}`);
    }
  });
});
