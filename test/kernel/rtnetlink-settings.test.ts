import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { beforeEach, expect, test } from 'vitest';
import { isExists, isNotFound } from '../../src/errors.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';
import {
  failure,
  here,
  inTwoNamespaces,
  ip,
  ipLink,
  links,
  others,
  type Printed,
  there,
} from './rtnetlink-namespaces.ts';

const LONG = 'a-name-that-is-longer-than-fifteen-bytes';

/** What `bridge -j` sees. */
function bridge(...words: string[]): Printed[] {
  const text = here.run(() => execFileSync('bridge', ['-d', '-j', ...words], { encoding: 'utf8' }));
  return text.trim() === '' ? [] : JSON.parse(text);
}

kernelSuite('settings of every link', () => {
  inTwoNamespaces();
  beforeEach(() => links.createVeth({ name: 'eth0', peer: { name: 'eth1' } }));

  /** The setting, its value, what `ip` is told for the same, and what it shows. */
  test.each<[string, unknown, string, Record<string, unknown>]>([
    ['alias', 'the uplink: "a b"', 'alias the uplink: "a b"', { ifalias: 'the uplink: "a b"' }],
    ['group', 77, 'group 77', { group: '77' }],
    ['transmitQueueLength', 500, 'txqueuelen 500', { txqlen: 500 }],
    ['promiscuous', true, 'promisc on', { flags: expect.arrayContaining(['PROMISC']) }],
    ['receiveAllMulticast', true, 'allmulticast on', { flags: expect.arrayContaining(['ALLMULTI']) }],
    ['multicast', false, 'multicast off', { flags: expect.not.arrayContaining(['MULTICAST']) }],
    ['arp', false, 'arp off', { flags: expect.arrayContaining(['NOARP']) }],
    ['broadcast', '02:ff:ff:ff:ff:ff', 'broadcast 02:ff:ff:ff:ff:ff', { broadcast: '02:ff:ff:ff:ff:ff' }],
    ['linkMode', 1, 'mode dormant', { linkmode: 'DORMANT' }],
    ['gsoMaxBytes', 40_000, 'gso_max_size 40000', { gso_max_size: 40_000 }],
    ['gsoMaxSegments', 20, 'gso_max_segs 20', { gso_max_segs: 20 }],
    ['groMaxBytes', 40_000, 'gro_max_size 40000', { gro_max_size: 40_000 }],
    ['mtu', 1300, 'mtu 1300', { mtu: 1300 }],
    ['address', '02:00:00:00:00:42', 'address 02:00:00:00:00:42', { address: '02:00:00:00:00:42' }],
  ])(
    'are written and shown by ip, made by ip and read, and given at creation: %s',
    async (field, value, words, seen) => {
      await links.set('eth0', { [field]: value });
      expect(ipLink(here, 'eth0')).toMatchObject(seen);
      const read = await links.get('eth0');
      expect(read[field as keyof typeof read]).toEqual(value);
      const argv = field === 'alias' ? ['alias', value as string] : words.split(' ');
      here.run(() => execFileSync('ip', ['link', 'set', 'eth1', ...argv]));
      const theirs = await links.get('eth1');
      expect(theirs[field as keyof typeof theirs]).toEqual(value);
      await links.createVeth({ name: 'new0', peer: { name: 'new1' }, [field]: value });
      expect(ipLink(here, 'new0')).toMatchObject(seen);
      // Into another namespace, and from what was read.
      await links.createVeth({ name: 'far0', netns: there, peer: { name: 'far1', netns: there }, [field]: value });
      expect(ipLink(there, 'far0')).toMatchObject(seen);
      await others.remove('far0');
      await others.create(await links.get('new0'));
      expect(ipLink(there, 'new0')).toMatchObject(seen);
    },
  );

  test('are set all together, and reset', async () => {
    await links.set('eth0', { alias: 'a', group: 5, promiscuous: true, altNames: ['x', LONG], up: true });
    expect(await links.get('eth0')).toMatchObject({ alias: 'a', group: 5, promiscuous: true, altNames: ['x', LONG] });
    await links.set('eth0', { alias: '', group: 0, promiscuous: false, altNames: [], up: false });
    const read = await links.get('eth0');
    expect(read).toMatchObject({ group: 0, up: false });
    for (const field of ['alias', 'promiscuous', 'altNames']) expect(read).not.toHaveProperty(field);
  });

  test('include other names, longer ones too, by which links are found', async () => {
    await links.set('eth0', { altNames: ['uplink', LONG] });
    expect(ipLink(here, 'eth0').altnames).toEqual(['uplink', LONG]);
    await links.set('eth0', { altNames: [LONG, 'third'] });
    expect((await links.get('eth0')).altNames!.toSorted()).toEqual([LONG, 'third']);
    expect((await links.get(LONG)).name).toBe('eth0');
    expect((await links.get('third')).name).toBe('eth0');
    expect(isNotFound(await failure(links.get('uplink')))).toBe(true);
    await links.set(LONG, { up: true });
    await links.addAddress(LONG, '10.0.0.1/24');
    await links.addRoute({ to: '10.1.0.0/16', device: LONG });
    expect(await links.addresses({ device: LONG })).toContainEqual(expect.objectContaining({ address: '10.0.0.1/24' }));
    const taken = await failure(links.set('eth1', { altNames: [LONG] }));
    expect(taken).toMatchObject({ code: 'EEXIST', path: ['altNames'] });
    here.run(() => execFileSync('ip', ['link', 'property', 'add', 'dev', 'eth1', 'altname', `${LONG}-2`]));
    expect((await links.get(`${LONG}-2`)).name).toBe('eth1');
    await links.remove(LONG);
    expect(isNotFound(await failure(links.get('eth0')))).toBe(true);
  });

  test.each<[string, object, string, string]>([
    ['an alias that is too long', { alias: 'x'.repeat(256) }, 'alias', 'ERR_OUT_OF_RANGE'],
    ['a name that is too long', { altNames: ['x'.repeat(128)] }, 'altNames[0]', 'ERR_TOO_LONG'],
    ['a name twice', { altNames: ['x', 'x'] }, 'altNames[1]', 'ERR_DUPLICATE'],
    ['an empty name', { altNames: [''] }, 'altNames[0]', 'ERR_OUT_OF_RANGE'],
    ['a group that is none', { group: -1 }, 'group', 'ERR_OUT_OF_RANGE'],
    ['two kinds', { bridge: {}, vxlan: {} }, 'vxlan', 'ERR_CONFLICT'],
    ['a port that is no object', { port: true }, 'port', 'ERR_INVALID_ARG_TYPE'],
    ['a setting of ports that is none', { port: { hairpins: true } }, 'port.hairpins', 'ERR_UNKNOWN_FIELD'],
    ['a priority of a port', { port: { priority: 64 } }, 'port.priority', 'ERR_OUT_OF_RANGE'],
  ])('rejects %s: %j at %s with %s', async (_, changes, attribute, code) => {
    await expect(links.set('eth0', changes)).rejects.toMatchObject({ attribute, code });
  });

  test('rejects settings of another kind, and of a device that is no port, with ERR_CONFLICT', async () => {
    await expect(links.set('eth0', { vxlan: { ttl: 5 } })).rejects.toMatchObject({
      code: 'ERR_CONFLICT',
      path: ['vxlan'],
    });
    await expect(links.set('eth0', { port: { hairpin: true } })).rejects.toMatchObject({
      code: 'ERR_CONFLICT',
      path: ['port'],
    });
  });

  test('rejects what can never change with ERR_CONFLICT: the kernel would ignore it', async () => {
    await links.createVxlan({ name: 'vx0', id: 5 });
    const error = links.set('vx0', { vxlan: { id: 6, ttl: 9 } });
    await expect(error).rejects.toMatchObject({ code: 'ERR_CONFLICT', path: ['vxlan', 'id'] });
    expect((await links.get('vx0')).vxlan).toMatchObject({ id: 5, ttl: 0 });
    await links.set('vx0', { vxlan: { id: 5, ttl: 9 } });
    expect((await links.get('vx0')).vxlan).toMatchObject({ id: 5, ttl: 9 });
  });

  test('are rejected late without leaving a device behind', async () => {
    await links.set('eth1', { altNames: [LONG] });
    const before = (await links.list()).map(({ name }) => name);
    const error = await failure(links.createBridge({ name: 'br0', altNames: ['fine', LONG] }));
    expect(isExists(error)).toBe(true);
    expect((await links.list()).map(({ name }) => name)).toEqual(before);
  });

  test('of a tap and a tun include owner and persistence, of which a later change of owner is rejected with ERR_CONFLICT', async () => {
    // The device node comes with the module.
    if (!fs.existsSync('/dev/net/tun')) execFileSync('modprobe', ['tun']);
    await links.createTun({
      name: 'tap0',
      mode: 'tap',
      owner: 1000,
      ownerGroup: 1001,
      multiQueue: true,
      up: true,
      mtu: 1400,
    });
    expect(ipLink(here, 'tap0')).toMatchObject({
      mtu: 1400,
      linkinfo: {
        info_kind: 'tun',
        info_data: { type: 'tap', persist: true, user: expect.anything(), multi_queue: true },
      },
    });
    const tap = await links.get('tap0');
    const settings = { mode: 'tap', owner: 1000, ownerGroup: 1001, persistent: true, multiQueue: true };
    expect(tap).toMatchObject({ kind: 'tun', up: true, tun: { ...settings, packetInformation: false } });
    await others.create(tap);
    expect((await others.get('tap0')).tun).toEqual(tap.tun);
    await links.createTun({ name: 'tun0', netns: there, packetInformation: true, offloadHeader: true });
    expect((await others.get('tun0')).tun).toMatchObject({ mode: 'tun', packetInformation: true, offloadHeader: true });
    here.run(() => execFileSync('ip', ['tuntap', 'add', 'dev', 'tun7', 'mode', 'tun', 'user', '1000', 'pi']));
    expect((await links.get('tun7')).tun).toMatchObject({ mode: 'tun', owner: 1000, packetInformation: true });
    const busy = await failure(links.createTun({ name: 'tap0' }));
    expect(busy).toMatchObject({ syscall: 'ioctl(TUNSETIFF)', hint: expect.stringContaining("'tap0'") });
    await expect(links.set('tap0', { tun: { owner: 5 } })).rejects.toMatchObject({ code: 'ERR_CONFLICT' });
    await links.remove('tap0');
    expect(isNotFound(await failure(links.get('tap0')))).toBe(true);
  });
});

kernelSuite('ports of a bridge and its forwarding table', () => {
  inTwoNamespaces();
  beforeEach(async () => {
    await links.createBridge({ name: 'br0', up: true });
    for (const i of [0, 1]) await links.createVeth({ name: `p${i}`, master: 'br0', up: true, peer: { name: `q${i}` } });
    // Their peers are down. Until the kernel has noticed, a port's state can be read that it does not take back (ENETDOWN).
    for (const i of [0, 1]) await until(async () => (await links.get(`p${i}`)).port?.state === 'disabled');
  });

  /** The setting, its value, what `bridge link set` is told, and what it shows. */
  test.each<[string, unknown, string, Record<string, unknown>]>([
    ['hairpin', true, 'hairpin on', { hairpin: true }],
    ['isolated', true, 'isolated on', { isolated: true }],
    ['learning', false, 'learning off', { learning: false }],
    ['flood', false, 'flood off', { flood: false }],
    ['multicastFlood', false, 'mcast_flood off', { mcast_flood: false }],
    ['broadcastFlood', false, 'bcast_flood off', { bcast_flood: false }],
    ['multicastToUnicast', true, 'mcast_to_unicast on', { mcast_to_unicast: true }],
    ['fastLeave', true, 'fastleave on', { fastleave: true }],
    ['guard', true, 'guard on', { guard: true }],
    ['rootBlock', true, 'root_block on', { root_block: true }],
    ['neighbourSuppress', true, 'neigh_suppress on', { neigh_suppress: true }],
    ['locked', true, 'locked on', { locked: true }],
    ['cost', 44, 'cost 44', { cost: 44 }],
    ['priority', 9, 'priority 9', { priority: 9 }],
    ['multicastRouter', 2, 'mcast_router 2', { mcast_router: 2 }],
    ['backupPort', 'p1', 'backup_port q0', { backup_port: 'p1' }],
  ])('are written and shown by bridge, and made by bridge and read: %s', async (field, value, words, seen) => {
    await links.set('p0', { port: { [field]: value } });
    // Some are shown by `ip` only.
    const shown = { ...bridge('link', 'show', 'dev', 'p0')[0], ...ipLink(here, 'p0').linkinfo.info_slave_data };
    const [key, expected] = Object.entries(seen)[0]!;
    if (shown[key] !== undefined) expect(shown[key]).toEqual(expected);
    expect((await links.get('p0')).port).toMatchObject({ [field]: value });
    expect((await links.list()).find(({ name }) => name === 'p0')!.port).toMatchObject({ [field]: value });
    if (field !== 'backupPort') {
      here.run(() => execFileSync('bridge', ['link', 'set', 'dev', 'p1', ...words.split(' ')]));
      expect((await links.get('p1')).port).toMatchObject({ [field]: value });
    }
    // What was read can be given.
    const { port } = await links.get('p0');
    await links.set('p0', { port: port! });
    expect((await links.get('p0')).port).toMatchObject({ [field]: value });
  });

  test('are set at the creation of a device, and of a device that was read', async () => {
    await links.createVeth({
      name: 'p9',
      master: 'br0',
      port: { hairpin: true, cost: 7 },
      up: true,
      peer: { name: 'q9' },
    });
    expect((await links.get('p9')).port).toMatchObject({ hairpin: true, cost: 7 });
    await others.createBridge({ name: 'br0', up: true });
    await others.create(await links.get('p9'));
    expect(await others.get('p9')).toMatchObject({ master: 'br0', up: true, port: { hairpin: true, cost: 7 } });
  });

  test.each<[string, object]>([
    ['macAuthenticationBypass', { locked: true, learning: true, macAuthenticationBypass: true }],
    ['multicastMaxGroups', { multicastMaxGroups: 5 }],
    ['neighbourVlanSuppress', { neighbourVlanSuppress: true }],
  ])('have %s of newer kernels, or reject it with ERR_UNSUPPORTED', async (field, port) => {
    const error = await links.set('p0', { port }).then(
      () => undefined,
      (refusal: unknown) => refusal,
    );
    const read = (await links.get('p0')).port as Record<string, unknown>;
    if (error === undefined) expect(read).toMatchObject(port);
    else {
      expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED', feature: expect.stringContaining(`port.${field}`) });
      expect(read[field]).not.toEqual((port as Record<string, unknown>)[field]);
    }
  });

  test('name the setting that the kernel refuses', async () => {
    for (const [field, value] of [
      ['vlanFiltering', true],
      ['vlanProtocol', 0x88a8],
      ['vlanStatistics', true],
      ['vlanDefaultPvid', 7],
    ] as const) {
      const error = await links.createBridge({ name: 'br9', bridge: { priority: 5, [field]: value } }).then(
        () => undefined,
        (refusal: Error) => refusal,
      );
      const made = (await links.list()).find(({ name }) => name === 'br9');
      if (error === undefined) {
        expect(made?.bridge).toMatchObject({ [field]: value });
        await links.remove('br9');
      } else {
        expect(error.message).toContain(`bridge.${field}`);
        expect(made).toBeUndefined();
      }
    }
    const refused = links.createBridge({
      name: 'br9',
      bridge: { forwardDelayCentiseconds: 400, maxAgeCentiseconds: 1 },
    });
    await expect(refused).rejects.toMatchObject({ code: 'ERANGE' });
  });

  test('have entries that are written and shown by bridge, made by bridge and read, and written back', async () => {
    const entry = { device: 'p0', address: '02:00:00:00:00:77' };
    await links.addFdbEntry(entry);
    const shown = () => bridge('fdb', 'show', 'br', 'br0').filter(({ mac }) => mac === entry.address);
    expect(shown()).toContainEqual(expect.objectContaining({ ifname: 'p0', master: 'br0', state: 'static' }));
    const read = async () => (await links.fdb({ master: 'br0' })).filter(({ address }) => address === entry.address);
    expect(await read()).toContainEqual(expect.objectContaining({ ...entry, master: 'br0', state: 'static' }));
    expect(isExists(await failure(links.addFdbEntry(entry)))).toBe(true);
    await links.setFdbEntry({ ...entry, device: 'p1', sticky: true });
    expect(shown()).toContainEqual(
      expect.objectContaining({ ifname: 'p1', flags: expect.arrayContaining(['sticky']) }),
    );
    expect(await read()).toContainEqual(expect.objectContaining({ device: 'p1', sticky: true }));
    // A bridge with VLANs has it for each VLAN of the port, too.
    const mine = (await read()).find(({ vlan }) => vlan === undefined);
    await links.removeFdbEntry(mine!);
    expect(await read()).toEqual([]);
    await links.addFdbEntry(mine!);
    expect(await read()).toContainEqual(expect.objectContaining({ device: 'p1', sticky: true, state: 'static' }));
    await links.removeFdbEntry(entry.device === 'p0' ? { ...entry, device: 'p1' } : entry);
    here.run(() => execFileSync('bridge', ['fdb', 'add', entry.address, 'dev', 'p0', 'master', 'static']));
    expect(await read()).toContainEqual(expect.objectContaining(entry));
    expect(isNotFound(await failure(links.removeFdbEntry({ ...entry, address: '02:00:00:00:00:78' })))).toBe(true);
    expect(await failure(links.addFdbEntry({ device: 'q0', address: entry.address }))).toMatchObject({
      code: 'EOPNOTSUPP',
    });
  });

  test('have entries of a VXLAN device: several remotes, ports and networks', async () => {
    await links.createVxlan({ name: 'vx0', id: 5, local: '10.0.0.1' });
    const all = { device: 'vx0', address: '00:00:00:00:00:00' };
    await links.addFdbEntry({ ...all, remote: '192.0.2.1' });
    await links.addFdbEntry({ ...all, remote: '192.0.2.2', destinationPort: 4000, networkId: 77 });
    await links.addFdbEntry({ device: 'vx0', address: '02:00:00:00:00:01', remote: '192.0.2.3', remoteDevice: 'q0' });
    const shown = bridge('fdb', 'show', 'dev', 'vx0');
    expect(shown).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ mac: all.address, dst: '192.0.2.1' }),
        expect.objectContaining({ mac: all.address, dst: '192.0.2.2', port: 4000, vni: 77 }),
        expect.objectContaining({ mac: '02:00:00:00:00:01', dst: '192.0.2.3' }),
      ]),
    );
    const read = (await links.fdb({ device: 'vx0' })).filter(({ remote }) => remote !== undefined);
    expect(read).toHaveLength(3);
    expect(read).toContainEqual(
      expect.objectContaining({ remote: '192.0.2.2', destinationPort: 4000, networkId: 77, self: true }),
    );
    await others.createVxlan({ name: 'vx0', id: 5, local: '10.0.0.1' });
    await others.createVeth({ name: 'q0', peer: { name: 'q1' } });
    for (const entry of read) await others.addFdbEntry(entry);
    const settled = (entries: object[]) =>
      entries
        .map(entry => JSON.stringify(entry, (key, value) => (/Centiseconds$/.test(key) ? undefined : value)))
        .sort();
    const copies = (await others.fdb({ device: 'vx0' })).filter(({ remote }) => remote !== undefined);
    expect(settled(copies)).toEqual(settled(read));
    await links.removeFdbEntry(read.find(({ remote }) => remote === '192.0.2.2')!);
    expect((await links.fdb({ device: 'vx0' })).map(({ remote }) => remote)).not.toContain('192.0.2.2');
  });

  test.each<[string, object, string]>([
    ['a learned entry that nobody has learned', { state: 'learned' }, 'state'],
    ['a sticky address of the port itself', { state: 'permanent', sticky: true }, 'sticky'],
    ['a remote in the table of a bridge', { self: false, remote: '192.0.2.1' }, 'remote'],
    ['a VLAN that is none', { vlan: 4095 }, 'vlan'],
    ['an address that is none', { address: '02:00' }, 'address'],
  ])('rejects %s with its path', async (_, fields, attribute) => {
    const entry = { device: 'p0', address: '02:00:00:00:00:77', ...fields };
    await expect(links.addFdbEntry(entry as never)).rejects.toMatchObject({ attribute });
  });

  test('replace a route and a neighbour', async () => {
    await links.addAddress('br0', '10.0.0.1/24');
    await links.setRoute({ to: '10.5.0.0/16', via: '10.0.0.2' });
    await links.setRoute({ to: '10.5.0.0/16', via: '10.0.0.3' });
    await links.setRoute({ to: 'fd05::/16', device: 'br0', metric: 5 });
    await links.setRoute({ to: 'fd05::/16', device: 'q0', metric: 5 }).catch(() => {});
    expect(ip(here, 'route', 'show', '10.5.0.0/16')).toEqual([expect.objectContaining({ gateway: '10.0.0.3' })]);
    const neighbour = { device: 'br0', address: '10.0.0.9' };
    await links.setNeighbour({ ...neighbour, hardwareAddress: '02:00:00:00:00:01' });
    await links.setNeighbour({ ...neighbour, hardwareAddress: '02:00:00:00:00:02' });
    expect(ip(here, 'neigh', 'show', '10.0.0.9', 'dev', 'br0', 'nud', 'all')).toEqual([
      expect.objectContaining({ lladdr: '02:00:00:00:00:02', state: ['PERMANENT'] }),
    ]);
  });
});
