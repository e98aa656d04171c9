import { execFileSync } from 'node:child_process';
import type { LinksItem, LinksMonitorOptions, LinksState } from 'netsteer/rtnetlink';
import { afterEach, expect, test } from 'vitest';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';
import { here, inTwoNamespaces, links } from './rtnetlink-namespaces.ts';

/** Everything that a monitor says, as it comes. */
function follow(options?: LinksMonitorOptions) {
  const monitor = links.monitor(options);
  const items: LinksItem[] = [];
  const ended = (async () => {
    for await (const item of monitor) items.push(item);
  })();
  open.push(async () => {
    await monitor.close();
    await ended;
  });
  /** In words: 'new link eth0', 'gone route 10.1.0.0/16'. */
  const said = () =>
    items.map(item => {
      if (item.type === 'state') return `state ${item.reason}`;
      const object = item.object as unknown as Record<string, unknown>;
      const name = {
        link: 'name',
        address: 'address',
        route: 'to',
        neighbour: 'address',
        rule: 'priority',
        fdb: 'address',
      }[item.kind];
      return `${item.type} ${item.kind} ${object[name]}`;
    });
  return { monitor, items, said, ended };
}

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

kernelSuite('a monitor of rtnetlink', () => {
  inTwoNamespaces();

  test('reports every kind of object that is created, changes or goes', async () => {
    const { said, items } = follow({ initial: true });
    await until(() => items.length > 0);
    expect(items[0]).toMatchObject({ type: 'state', reason: 'initial' });
    // Modules of tunnels put a device of theirs into each new namespace.
    expect((items[0] as LinksState).links.map(({ name }) => name)).toContain('lo');
    await links.createVeth({ name: 'eth0', up: true, peer: { name: 'eth1' } });
    await links.set('eth1', { up: true });
    await links.addAddress('eth0', '10.0.0.1/24');
    await links.addRoute({ to: '10.1.0.0/16', via: '10.0.0.2' });
    await links.addNeighbour({ device: 'eth0', address: '10.0.0.9', hardwareAddress: '02:00:00:00:00:09' });
    await links.addRule({ from: '10.9.0.0/16', table: 100, priority: 77 });
    for (const words of [
      'new link eth0',
      'new link eth1',
      'changed link eth1',
      'new address 10.0.0.1/24',
      'new route 10.1.0.0/16',
      'new neighbour 10.0.0.9',
      'new rule 77',
    ])
      await until(() => said().includes(words), words);
    await links.setRoute({ to: '10.1.0.0/16', via: '10.0.0.3' });
    await until(() => said().includes('changed route 10.1.0.0/16'));
    await links.set('eth0', { alias: 'x' });
    await until(() => said().includes('changed link eth0'));
    await links.removeRule({ priority: 77 });
    await links.removeNeighbour({ device: 'eth0', address: '10.0.0.9' });
    await links.removeRoute({ to: '10.1.0.0/16' });
    await links.removeAddress('eth0', '10.0.0.1/24');
    await links.remove('eth0');
    for (const words of [
      'gone rule 77',
      'gone neighbour 10.0.0.9',
      'gone route 10.1.0.0/16',
      'gone address 10.0.0.1/24',
      'gone link eth0',
      'gone link eth1',
    ])
      await until(() => said().includes(words), words);
  });

  test('reports IPv4 routes that go with a device, which the kernel does not announce', async () => {
    await links.createVeth({ name: 'eth0', up: true, peer: { name: 'eth1' } });
    await links.addAddress('eth0', '10.0.0.1/24');
    await links.addRoute({ to: '10.1.0.0/16', via: '10.0.0.2' });
    const { said, items } = follow({ kinds: ['route'], initial: true });
    await until(() => items.length > 0);
    await links.set('eth0', { up: false });
    await until(() => said().includes('gone route 10.1.0.0/16'));
    // Only what was asked for is told.
    expect(items.every(item => item.type === 'state' || item.kind === 'route')).toBe(true);
  });

  test('reports a port that leaves its bridge as changed', async () => {
    await links.createBridge({ name: 'br0' });
    // The kernel announces such changes only of devices that are up (netdev_state_change).
    await links.createVeth({ name: 'eth0', master: 'br0', up: true, peer: { name: 'eth1' } });
    const { said, items } = follow({ kinds: ['link'], initial: true });
    await until(() => items.length > 0);
    await links.set('eth0', { port: { hairpin: true } });
    await until(() => said().includes('changed link eth0'));
    await links.set('eth0', { master: null });
    await until(() =>
      items.some(item => item.type === 'changed' && item.kind === 'link' && item.object.master === undefined),
    );
    expect(said().filter(words => words.startsWith('gone'))).toEqual([]);
  });

  test("follows the tables of bridges: what bridge(8) adds and moves, and what goes with a port, but not the devices' own lists", async () => {
    await links.createBridge({ name: 'br0', up: true });
    for (const i of [0, 1])
      await links.createVeth({ name: `eth${i}`, master: 'br0', up: true, peer: { name: `peer${i}` } });
    const { items, said } = follow({ kinds: ['fdb'], initial: true });
    await until(() => items.length > 0);
    const shown = (): string[] => {
      const text = here.run(() => execFileSync('bridge', ['-j', 'fdb', 'show', 'br', 'br0'], { encoding: 'utf8' }));
      return (JSON.parse(text) as { mac: string; ifname: string; vlan?: number; flags: string[] }[])
        .filter(({ flags }) => !flags.includes('self'))
        .map(({ mac, ifname, vlan }) => `${ifname} ${mac} ${vlan}`)
        .sort();
    };
    const told = (): string[] => {
      const table = new Map<string, string>();
      for (const item of items) {
        const entries = item.type === 'state' ? item.fdb : item.kind === 'fdb' ? [item.object] : [];
        if (item.type === 'state') table.clear();
        for (const { device, address, vlan, self } of entries) {
          expect(self).toBeUndefined();
          if (item.type === 'gone') table.delete(`${address} ${vlan}`);
          else table.set(`${address} ${vlan}`, `${device} ${address} ${vlan}`);
        }
      }
      return [...table.values()].sort();
    };
    expect(told()).toEqual(shown());
    const bridge = (words: string) => here.run(() => execFileSync('bridge', words.split(' ')));
    bridge('fdb add 02:00:00:00:00:07 dev eth0 master static');
    await until(() => said().includes('new fdb 02:00:00:00:00:07'));
    bridge('fdb replace 02:00:00:00:00:07 dev eth1 master static');
    await until(() => said().includes('changed fdb 02:00:00:00:00:07'));
    bridge('fdb add 02:00:00:00:00:08 dev eth1 master static');
    bridge('fdb del 02:00:00:00:00:07 dev eth1 master');
    await until(() => said().includes('gone fdb 02:00:00:00:00:07'));
    await until(() => JSON.stringify(told()) === JSON.stringify(shown()));
    await links.remove('eth1');
    await until(() => said().includes('gone fdb 02:00:00:00:00:08'));
    await until(() => JSON.stringify(told()) === JSON.stringify(shown()));
    expect(items.every(item => item.type === 'state' || item.kind === 'fdb')).toBe(true);
  });

  test('follows the table of a VXLAN device', async () => {
    await links.createVxlan({ name: 'vx7', id: 7, local: '192.0.2.1', up: true });
    const { items, said } = follow({ kinds: ['fdb'], initial: true });
    await until(() => items.length > 0);
    await links.addFdbEntry({ device: 'vx7', address: '02:00:00:00:00:01', remote: '192.0.2.2' });
    await until(() => said().includes('new fdb 02:00:00:00:00:01'));
    await links.addFdbEntry({ device: 'vx7', address: '00:00:00:00:00:00', remote: '192.0.2.3' });
    await links.addFdbEntry({ device: 'vx7', address: '00:00:00:00:00:00', remote: '192.0.2.4' });
    await until(() => said().filter(words => words === 'new fdb 00:00:00:00:00:00').length === 2);
    await links.removeFdbEntry({ device: 'vx7', address: '02:00:00:00:00:01', remote: '192.0.2.2' });
    await until(() => said().includes('gone fdb 02:00:00:00:00:01'));
    expect(items.find(item => item.type === 'new')).toMatchObject({ object: { remote: '192.0.2.2', self: true } });
  });

  test('reports a renamed device, whose addresses stay, by its new name', async () => {
    await links.createVeth({ name: 'eth0', peer: { name: 'eth1' } });
    await links.addAddress('eth0', '10.0.0.1/24');
    const { items, said } = follow({ kinds: ['address'], initial: true });
    await until(() => items.length > 0);
    await links.set('eth0', { newName: 'eth7' });
    await until(() => said().includes('new address 10.0.0.1/24'));
    expect(items.at(-2)).toMatchObject({ object: { device: 'eth7' } });
  });

  test('gives the present state after a loss, and continues', async () => {
    const { items, monitor } = follow({ kinds: ['link'], receiveBufferBytes: 4096, initial: true });
    await until(() => items.length > 0);
    // In one go: the monitor cannot read meanwhile.
    for (let i = 0; i < 60; i++) links.sync.createBridge({ name: `b${i}` });
    const states = () => items.filter((item): item is LinksState => item.type === 'state');
    await until(() => states().some(({ reason }) => reason === 'lost'));
    await until(() => names(items).has('b59'));
    expect(names(items)).toEqual(new Set((await links.list()).map(({ name }) => name)));
    links.sync.createBridge({ name: 'after' });
    await until(() => names(items).has('after'));
    expect(monitor.closed).toBe(false);
  });

  test('leads to the state of a new reading, whoever changed it', async () => {
    const { items } = follow({ initial: true });
    await until(() => items.length > 0);
    const batch = Array.from({ length: 20 }, (_, i) => [
      `link add v${i} type veth peer name w${i}`,
      `link set v${i} up`,
      `addr add 10.${i}.0.1/24 dev v${i}`,
      ...(i % 2 === 0 ? [`link set v${i} down`] : [`route add 20.${i}.0.0/16 dev v${i} metric ${i}`]),
      ...(i % 3 === 0 ? [`link del v${i}`] : []),
    ]).flat();
    here.run(() => execFileSync('ip', ['-batch', '-'], { input: batch.join('\n') }));
    const wanted = async () => ({
      links: (await links.list()).map(({ name }) => name).sort(),
      addresses: (await links.addresses())
        .filter(({ family }) => family === 'ipv4')
        .map(({ address }) => address)
        .sort(),
      routes: (await links.routes({ table: 'main', family: 'ipv4' })).map(({ to }) => to).sort(),
    });
    const present = await wanted();
    await until(() => JSON.stringify(applied(items)) === JSON.stringify(present));
  });

  test('ends with its signal, with its handle, and when the loop is left', async () => {
    const controller = new AbortController();
    const monitor = links.monitor({ signal: controller.signal });
    const reading = (async () => {
      for await (const _ of monitor);
    })();
    controller.abort();
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
    const other = links.monitor({ initial: true });
    for await (const item of other) {
      expect(item.type).toBe('state');
      break;
    }
    expect(other.closed).toBe(true);
    const last = links.monitor();
    const done = (async () => {
      for await (const _ of last);
    })();
    await links[Symbol.asyncDispose]();
    await done;
    expect(last.closed).toBe(true);
  });

  test.each<[object, string]>([
    [{ kinds: ['qdisc'] }, 'kinds[0]'],
    [{ kinds: [] }, 'kinds'],
    [{ initial: 1 }, 'initial'],
    [{ receiveBufferBytes: 5 }, 'receiveBufferBytes'],
    [{ table: 'x' }, 'table'],
  ])('rejects %j at its path', (options, attribute) => {
    expect(() => links.monitor(options as never)).toThrow(expect.objectContaining({ attribute }));
  });
});

/** The names of links that are left when the items are applied. */
function names(items: readonly LinksItem[]): Set<string> {
  const found = new Set<string>();
  for (const item of items) {
    if (item.type === 'state') {
      found.clear();
      for (const { name } of item.links) found.add(name);
    } else if (item.kind === 'link')
      item.type === 'gone' ? found.delete(item.object.name) : found.add(item.object.name);
  }
  return found;
}

/** The state that is left when the items are applied: links, IPv4 addresses and routes of the main table. */
function applied(items: readonly LinksItem[]) {
  const lists = {
    links: new Map<string, string>(),
    addresses: new Map<string, string>(),
    routes: new Map<string, string>(),
  };
  const put = (item: Exclude<LinksItem, LinksState>) => {
    const { object } = item as { object: object };
    const value = object as {
      name: string;
      device: string;
      address: string;
      family: string;
      table: string;
      to: string;
      metric?: number;
    };
    const [list, key, text] =
      item.kind === 'link'
        ? [lists.links, value.name, value.name]
        : item.kind === 'address' && value.family === 'ipv4'
          ? [lists.addresses, `${value.device} ${value.address}`, value.address]
          : item.kind === 'route' && value.family === 'ipv4' && value.table === 'main'
            ? [lists.routes, `${value.to} ${value.metric}`, value.to]
            : [];
    if (list === undefined) return;
    if (item.type === 'gone') list.delete(key!);
    else list.set(key!, text!);
  };
  for (const item of items) {
    if (item.type !== 'state') {
      put(item);
      continue;
    }
    for (const list of Object.values(lists)) list.clear();
    for (const object of item.links) put({ type: 'new', kind: 'link', object });
    for (const object of item.addresses) put({ type: 'new', kind: 'address', object });
    for (const object of item.routes) put({ type: 'new', kind: 'route', object });
  }
  return {
    links: [...lists.links.values()].sort(),
    addresses: [...lists.addresses.values()].sort(),
    routes: [...lists.routes.values()].sort(),
  };
}
