import type { Destination, Service, Tunnel } from 'netsteer';
import type { Connection, Ipvs } from 'netsteer/ipvs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CLIENT, GUE_PORT, IpvsLab, PORTS, SERVERS, virtualAddress } from '../support/ipvs-lab.ts';
import { kernelSuite } from '../support/where.ts';

type Family = 'ipv4' | 'ipv6';

/** Until something is so. How long it takes says nothing in a guest, so that the limit is far away. */
async function until<T>(read: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  for (let tries = 240; ; tries--) {
    const value = await read();
    if (done(value)) return value;
    if (tries === 0) throw new Error(`it never came: ${String(value)}`);
    await new Promise(resolve => setTimeout(resolve, 250));
  }
}

async function connectionsOf(ipvs: Ipvs): Promise<Connection[]> {
  const list: Connection[] = [];
  for await (const connection of ipvs.connections()) list.push(connection);
  return list;
}

kernelSuite('traffic through IPVS', () => {
  let lab: IpvsLab;
  /**
   * Each test has a virtual address of its own: the kernel remembers connections that have ended, and with them the counts of servers that were
   * removed, for two minutes.
   */
  let host = 0;
  const virtual = (family: Family) => virtualAddress(family, host);

  beforeEach(() => {
    host++;
  });

  beforeAll(() => {
    lab = new IpvsLab();
  });

  afterAll(async () => {
    await lab?.close();
  });

  afterEach(() => {
    lab.director.sync.flush();
    lab.backup.sync.flush();
  });

  const web = (family: Family, more: Partial<Service> = {}): Service =>
    ({ protocol: 'tcp', address: virtual(family), port: PORTS.web, scheduler: 'rr', ...more }) as Service;

  /** Both servers behind a service. */
  function balance(
    service: Service,
    family: Family,
    destination: Omit<Destination, 'address' | 'port'>,
  ): Destination[] {
    const port = destination.forward === 'masquerade' ? PORTS.masqueraded : PORTS.web;
    lab.director.sync.addService(service);
    return SERVERS[family].map(address => {
      const server = { address, port, ...destination };
      lab.director.sync.addDestination(service, server);
      return server;
    });
  }

  const visit = (family: Family, from: 'near' | 'second' | 'masqueraded' = 'near') =>
    lab.agent.visit({ host: virtual(family), port: PORTS.web, localAddress: CLIENT[family][from] });

  async function visits(family: Family, times: number, from: 'near' | 'second' | 'masqueraded' = 'near') {
    const seen: string[] = [];
    for (let i = 0; i < times; i++) seen.push(await visit(family, from));
    return seen;
  }

  const tunnels: Record<string, Tunnel> = {
    ipip: { type: 'ipip' },
    gue: { type: 'gue', port: GUE_PORT },
    gre: { type: 'gre' },
    'gue with checksums': { type: 'gue', port: GUE_PORT, checksum: 'required' },
  };

  describe.each<Family>(['ipv4', 'ipv6'])('%s', family => {
    it('reaches both servers by masquerading, on another port', async () => {
      balance(web(family), family, { forward: 'masquerade' });
      const seen = await visits(family, 4, 'masqueraded');
      expect(seen.toSorted()).toEqual(['server1', 'server1', 'server2', 'server2']);
    });

    it('reaches both servers by direct routing, and is counted', async () => {
      const service = web(family);
      balance(service, family, { forward: 'direct' });
      const seen = await visits(family, 4);
      expect(seen.toSorted()).toEqual(['server1', 'server1', 'server2', 'server2']);
      // The kernel folds its counters every two seconds.
      const { stats } = await until(
        () => lab.director.service(service),
        entry => entry.stats.connections === 4n,
      );
      expect(stats.inPackets).toBeGreaterThan(8n);
    });

    it.each(Object.keys(tunnels))('reaches both servers through a tunnel: %s', async name => {
      balance(web(family), family, { forward: 'tunnel', tunnel: tunnels[name]! });
      const seen = await visits(family, 4);
      expect(seen.toSorted()).toEqual(['server1', 'server1', 'server2', 'server2']);
    });

    it('reaches both servers through a tunnel: gre with checksums', async () => {
      await lab.withGreChecksums(family, async () => {
        balance(web(family), family, { forward: 'tunnel', tunnel: { type: 'gre', checksum: 'required' } });
        const seen = await visits(family, 4);
        expect(seen.toSorted()).toEqual(['server1', 'server1', 'server2', 'server2']);
      });
    });

    it('keeps a client at its server by persistence', async () => {
      const service = web(family, { persistence: { timeoutSeconds: 300 } });
      const servers = balance(service, family, { forward: 'direct' });
      const first = await visits(family, 3);
      const second = await visits(family, 3, 'second');
      expect(new Set(first).size).toBe(1);
      expect(new Set(second).size).toBe(1);
      expect(first[0]).not.toBe(second[0]);

      const templates = (await connectionsOf(lab.director)).filter(
        each => each.client.port === 0 && each.virtual.address === virtual(family),
      );
      expect(templates.map(({ client }) => client.address).toSorted()).toEqual([
        CLIENT[family].near,
        CLIENT[family].second,
      ]);
      const held = lab.director.sync.destinations(service).map(entry => entry.persistentConnections);
      expect(held).toEqual(servers.map(() => 1));
    });

    it('is listed with what it came from, to and through', async () => {
      balance(web(family), family, { forward: 'direct' });
      const name = await lab.agent.open('listed', {
        host: virtual(family),
        port: 80,
        localAddress: CLIENT[family].near,
      });
      const server = SERVERS[family][name === 'server1' ? 0 : 1];
      const found = (await connectionsOf(lab.director)).filter(each => each.state === 'ESTABLISHED');
      await lab.agent.close('listed');
      expect(found).toContainEqual({
        protocol: 'tcp',
        client: { address: CLIENT[family].near, port: expect.any(Number) },
        virtual: { address: virtual(family), port: 80 },
        destination: { address: server, port: 80 },
        state: 'ESTABLISHED',
        expiresSeconds: expect.any(Number),
      });
    });
  });

  it('goes through a tunnel of IPv6 to a service of IPv4', async () => {
    const service = web('ipv4');
    lab.director.sync.addService(service);
    lab.director.sync.addDestination(service, { address: SERVERS.ipv6[1], port: PORTS.web, forward: 'tunnel' });
    expect(await visit('ipv4')).toBe('server2');
  });

  it('is diverted from a server at its threshold', async () => {
    const service = web('ipv4');
    const servers = balance(service, 'ipv4', { forward: 'direct' });
    lab.director.sync.editDestination(service, servers[0]!, { upperThreshold: 1 });
    const to = { host: virtual('ipv4'), port: PORTS.web };
    const held = [await lab.agent.open('first', to), await lab.agent.open('second', to)];
    expect(held.toSorted()).toEqual(['server1', 'server2']);
    expect(new Set(await visits('ipv4', 4))).toEqual(new Set(['server2']));
    lab.director.sync.editDestination(service, servers[0]!, { upperThreshold: 0 });
    expect(new Set(await visits('ipv4', 4))).toEqual(new Set(['server1', 'server2']));
    await lab.agent.close('first');
    await lab.agent.close('second');
  });

  it('goes on at a server that is drained, while new connections go elsewhere', async () => {
    const service = web('ipv4');
    const servers = balance(service, 'ipv4', { forward: 'direct' });
    const to = { host: virtual('ipv4'), port: PORTS.web };
    const name = await lab.agent.open('long', to);
    const drained = servers[name === 'server1' ? 0 : 1]!;
    lab.director.sync.editDestination(service, drained, { weight: 0 });
    for (const word of ['one', 'two', 'three']) {
      expect(await lab.agent.ask('long', word)).toBe(`${name}: ${word}`);
      expect(await visit('ipv4')).not.toBe(name);
    }
    const active = async () =>
      (await lab.director.destinations(service)).find(({ address }) => address === drained.address)?.activeConnections;
    expect(await active()).toBe(1);
    await lab.agent.close('long');
    await until(active, count => count === 0);
  });

  it('is carried from a master director to a backup', async () => {
    const service = web('ipv4');
    balance(service, 'ipv4', { forward: 'direct' });
    lab.backup.sync.addService(service);
    for (const address of SERVERS.ipv4) {
      lab.backup.sync.addDestination(service, { address, port: PORTS.web, forward: 'direct' });
    }
    // Reported from the second packet on.
    lab.director.settings.sync_threshold = '1 2';
    await lab.director.startSync({ state: 'master', interface: 'eth0', syncId: 7 });
    await lab.backup.startSync({ state: 'backup', interface: 'eth0', syncId: 7 });
    try {
      const to = { host: virtual('ipv4'), port: PORTS.web };
      const name = await lab.agent.open('carried', to);
      const synchronised = await until(
        async () => {
          await lab.agent.ask('carried', 'still there?');
          return await connectionsOf(lab.backup);
        },
        list => list.some(each => each.virtual.address === virtual('ipv4')),
      );
      expect(synchronised[0]).toMatchObject({ protocol: 'tcp', virtual: { address: virtual('ipv4'), port: 80 } });
      // The first director is gone, and forgets.
      lab.routeTo(1);
      lab.director.sync.flush();
      expect(await lab.agent.ask('carried', 'and now?')).toBe(`${name}: and now?`);
      await lab.agent.close('carried');
    } finally {
      lab.routeTo(0);
      await lab.director.stopSync('master');
      await lab.backup.stopSync('backup');
    }
  });
});
