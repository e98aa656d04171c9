import type { Destination, Service, Tunnel } from 'netsteer';
import { type Connection, formatTable, type Ipvs, type ReconcileProgress, type TableView } from 'netsteer/ipvs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SCHEDULERS } from '../../src/ip_vs/service-rows.ts';
import { CLIENT, GUE_PORT, IpvsLab, PORTS, SERVERS, virtualAddress } from '../support/ipvs-lab.ts';
import { until as comes } from '../support/wait.ts';
import { kernelSuite, where } from '../support/where.ts';

type Family = 'ipv4' | 'ipv6';

/** Until what is read is so. */
async function until<T>(read: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  let value: T | undefined;
  await comes(async () => {
    value = await read();
    return done(value);
  });
  return value as T;
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

  /** Each tunnel, and what nftables sees of it at the server. */
  const tunnels: Record<string, { tunnel: Tunnel; rule: string }> = {
    ipip: { tunnel: { type: 'ipip' }, rule: 'meta l4proto { 4, 41 }' },
    gue: {
      tunnel: { type: 'gue', port: GUE_PORT },
      rule: `udp dport ${GUE_PORT} udp checksum 0 @th,95,1 0`,
    },
    gre: { tunnel: { type: 'gre' }, rule: '@th,0,1 0 meta l4proto gre' },
    'gue with checksums': {
      tunnel: { type: 'gue', port: GUE_PORT, checksum: 'required' },
      rule: `udp dport ${GUE_PORT} udp checksum != 0 @th,95,1 0`,
    },
    // The last of GUE's flags says that there are private ones, the first of which is REMCSUM.
    'gue with remote checksums': {
      tunnel: { type: 'gue', port: GUE_PORT, checksum: 'remote' },
      rule: `udp dport ${GUE_PORT} @th,95,1 1 @th,96,1 1`,
    },
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

    it.each(Object.entries(tunnels))('reaches both servers through a tunnel: %s', async (_, { tunnel, rule }) => {
      balance(web(family), family, { forward: 'tunnel', tunnel });
      const packets = await lab.countAtServers(rule, async () => {
        const seen = await visits(family, 4);
        expect(seen.toSorted()).toEqual(['server1', 'server1', 'server2', 'server2']);
      });
      // A SYN, an ACK and a FIN each at the least.
      expect(packets).toBeGreaterThanOrEqual(12);
    });

    it('reaches both servers through a tunnel: gre with checksums', async () => {
      await lab.withGreChecksums(family, async () => {
        balance(web(family), family, { forward: 'tunnel', tunnel: { type: 'gre', checksum: 'required' } });
        const packets = await lab.countAtServers('@th,0,1 1 meta l4proto gre', async () => {
          const seen = await visits(family, 4);
          expect(seen.toSorted()).toEqual(['server1', 'server1', 'server2', 'server2']);
        });
        expect(packets).toBeGreaterThanOrEqual(12);
      });
    });

    it.each(['ipip', 'gue', 'gre'])('passes a tunnel of the other IP version: %s', async name => {
      const service = web(family);
      lab.director.sync.addService(service);
      const other = family === 'ipv4' ? 'ipv6' : 'ipv4';
      for (const address of SERVERS[other]) {
        const { tunnel } = tunnels[name]!;
        lab.director.sync.addDestination(service, { address, port: PORTS.web, forward: 'tunnel', tunnel });
      }
      const seen = await visits(family, 4);
      expect(seen.toSorted()).toEqual(['server1', 'server1', 'server2', 'server2']);
    });

    it('has each datagram scheduled on its own with one-packet scheduling', async () => {
      const service: Service = { protocol: 'udp', address: virtual(family), port: 5353, scheduler: 'rr' };
      lab.serveDatagrams(virtual(family), 5353);
      lab.director.sync.addService(service);
      for (const address of SERVERS[family]) {
        lab.director.sync.addDestination(service, { address, port: 5353, forward: 'direct' });
      }
      const to = { host: virtual(family), port: 5353, localAddress: CLIENT[family].near };
      const ask = async (key: string) => {
        const seen = [];
        for (let i = 0; i < 4; i++) seen.push(await lab.agent.datagram(key, 'who is there?', to));
        return seen.toSorted();
      };
      const own = async () =>
        (await connectionsOf(lab.director)).filter(each => each.virtual.address === virtual(family));
      expect(new Set(await ask(`held ${family}`)).size).toBe(1);
      expect(await own()).toMatchObject([{ protocol: 'udp', state: 'UDP' }]);
      lab.director.sync.editService(service, { onePacket: true });
      expect(lab.onDirector('ipvsadm', ['-Sn'])).toContain(' -o');
      expect(await ask(`one by one ${family}`)).toEqual(['server1', 'server1', 'server2', 'server2']);
      // They are forgotten as soon as the packet is gone: the one of before is all there is.
      expect(await own()).toHaveLength(1);
    });

    it('keeps the calls of SIP together, whatever their source', async () => {
      const service: Service = {
        protocol: 'udp',
        address: virtual(family),
        port: 5060,
        scheduler: 'rr',
        onePacket: true,
        persistence: { timeoutSeconds: 3600, engine: 'sip' },
      };
      lab.serveDatagrams(virtual(family), 5060);
      lab.director.sync.addService(service);
      for (const address of SERVERS[family]) {
        lab.director.sync.addDestination(service, { address, port: 5060, forward: 'direct' });
      }
      const invite = (call: string, from: 'near' | 'second') =>
        lab.agent.datagram(
          `${call} ${from} ${family}`,
          `INVITE sip:you@example.org SIP/2.0\r\nCSeq: 1 INVITE\r\nCall-ID: ${call}@example.org\r\nContent-Length: 0\r\n\r\n`,
          { host: virtual(family), port: 5060, localAddress: CLIENT[family][from] },
        );
      const calls = ['one', 'two', 'three', 'four'];
      const first = [];
      for (const call of calls) first.push(await invite(call, 'near'));
      expect(first.toSorted()).toEqual(['server1', 'server1', 'server2', 'server2']);
      const second = [];
      for (const call of calls) second.push(await invite(call, 'second'));
      expect(second).toEqual(first);
      // One for each client's calls; those of the second follow the first's.
      const templates = (await connectionsOf(lab.director)).filter(each => each.virtual.address === virtual(family));
      expect(templates.map(each => `${each.engine} ${each.client.address} ${each.engineData}`).toSorted()).toEqual(
        calls
          .flatMap(call => [CLIENT[family].near, CLIENT[family].second].map(from => `sip ${from} ${call}@example.org`))
          .toSorted(),
      );
      const [one] = calls;
      const servers = new Set(
        templates
          .filter(({ engineData }) => engineData === `${one}@example.org`)
          .map(({ destination }) => destination.address),
      );
      expect(servers).toEqual(new Set([SERVERS[family][first[0] === 'server1' ? 0 : 1]]));
    });

    it('is balanced over several ports by a firewall mark', async () => {
      const key = { firewallMark: 7, family } as const;
      lab.director.sync.addService({ ...key, scheduler: 'rr', persistence: { timeoutSeconds: 3600 } });
      for (const address of SERVERS[family]) {
        lab.director.sync.addDestination(key, { address, port: 0, forward: 'direct' });
      }
      const daddr = `${family === 'ipv4' ? 'ip' : 'ip6'} daddr ${virtual(family)}`;
      const ports = Object.values(PORTS);
      lab.onDirector('nft', [
        `table inet marks { chain in { type filter hook prerouting priority mangle; ${daddr} tcp dport { ${ports} } meta mark set 7; }; }`,
      ]);
      try {
        const at = (port: number, from: 'near' | 'second') =>
          lab.agent.visit({ host: virtual(family), port, localAddress: CLIENT[family][from] });
        const near = [await at(80, 'near'), await at(8080, 'near'), await at(80, 'near')];
        const second = [await at(80, 'second'), await at(8080, 'second')];
        expect([...new Set([...near, ...second])].toSorted()).toEqual(['server1', 'server2']);
        expect([new Set(near).size, new Set(second).size]).toEqual([1, 1]);
        expect(lab.onDirector('ipvsadm', ['-Ln'])).toMatch(/FWM {2}7 (IPv6 )?rr persistent 3600/);
      } finally {
        lab.onDirector('nft', ['delete table inet marks']);
      }
    });

    it('keeps a client at one server by persistence', async () => {
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

    it('keeps a whole network at one server by the mask or prefix of persistence', async () => {
      const netmask = family === 'ipv4' ? '255.255.255.0' : 64;
      balance(web(family, { persistence: { timeoutSeconds: 300, netmask } }), family, { forward: 'direct' });
      const seen = [...(await visits(family, 2)), ...(await visits(family, 2, 'second'))];
      expect(new Set(seen).size).toBe(1);
      const templates = (await connectionsOf(lab.director)).filter(
        each => each.client.port === 0 && each.virtual.address === virtual(family),
      );
      const network = family === 'ipv4' ? '10.20.0.0' : '2001:db8:20::';
      expect(templates.map(({ client }) => client.address)).toEqual([network]);
    });

    it('is listed with its client, virtual and server addresses', async () => {
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
      // The tables may go; connections stay until their time is over.
      lab.director.sync.flush();
      const left = (await connectionsOf(lab.director)).filter(each => each.virtual.address === virtual(family));
      expect(left).toHaveLength(1);
    });
  });

  it('reaches both servers over SCTP', async () => {
    const service: Service = { protocol: 'sctp', address: virtual('ipv4'), port: 9999, scheduler: 'rr' };
    lab.director.sync.addService(service);
    for (const address of SERVERS.ipv4) {
      lab.director.sync.addDestination(service, { address, port: 9999, forward: 'direct' });
    }
    await lab.withSctp(virtual('ipv4'), 9999, async ask => {
      expect([ask(), ask(), ask(), ask()].toSorted()).toEqual(['server1', 'server1', 'server2', 'server2']);
      const own = (await connectionsOf(lab.director)).filter(each => each.virtual.address === virtual('ipv4'));
      expect(own.map(({ protocol }) => protocol)).toEqual(['sctp', 'sctp', 'sctp', 'sctp']);
    });
  });

  it('is scheduled by every scheduler that this kernel has', async () => {
    for (const scheduler of SCHEDULERS) {
      if (scheduler === 'none' || (scheduler === 'twos' && where === '6.1')) continue;
      const service = web('ipv4', { scheduler });
      balance(service, 'ipv4', { forward: 'direct', weight: scheduler === 'ovf' ? 100 : 1 });
      for (const name of await visits('ipv4', 2)) expect(name).toMatch(/^server[12]$/);
      expect(lab.onDirector('ipvsadm', ['-Sn'])).toContain(` -s ${scheduler}\n`);
      lab.director.sync.removeService(service);
    }
  });

  it('is hashed as the flags of sh and mh say', async () => {
    for (const scheduler of ['sh', 'mh'] as const) {
      const service = web('ipv4', { scheduler });
      const servers = balance(service, 'ipv4', { forward: 'direct' });
      const [name] = await visits('ipv4', 1);
      expect(new Set(await visits('ipv4', 4))).toEqual(new Set([name]));
      lab.director.sync.editService(service, { schedulerFlags: [`${scheduler}-port`] });
      // Each comes from another port: 12 of them at one server would be chance indeed.
      expect(new Set(await visits('ipv4', 12)).size).toBe(2);
      lab.director.sync.editService(service, { schedulerFlags: [`${scheduler}-fallback`] });
      lab.director.sync.editDestination(service, servers[name === 'server1' ? 0 : 1]!, { weight: 0 });
      const other = name === 'server1' ? 'server2' : 'server1';
      expect(new Set(await visits('ipv4', 3))).toEqual(new Set([other]));
      lab.director.sync.flush();
    }
  });

  it('appears in the tables as ipvsadm prints them', async () => {
    const service = web('ipv4', { persistence: { timeoutSeconds: 3600 } });
    balance(service, 'ipv4', { forward: 'direct', weight: 0x7fffffff, upperThreshold: 100, lowerThreshold: 50 });
    const held = await lab.agent.open('table', { host: virtual('ipv4'), port: 80 });
    expect(held).toMatch(/^server/);
    const views: [TableView, string[]][] = [
      ['connections', []],
      ['stats', ['--stats']],
      ['rate', ['--rate']],
      ['thresholds', ['--thresholds']],
      ['persistence', ['--persistent-conn']],
    ];
    for (const [view, options] of views) {
      // Counters and rates change every two seconds: once both readings are of the same moment they agree.
      await until(
        async () => {
          const printed = lab.onDirector('ipvsadm', ['-Ln', ...options]);
          const servers = await lab.director.services({ destinations: true });
          return { ours: formatTable(servers, view), theirs: printed.slice(printed.indexOf('\n') + 1) };
        },
        ({ ours, theirs }) => ours === theirs && (view !== 'stats' || / [1-9]\d* +[1-9]/.test(ours)),
      );
    }
    const rows = lab
      .onDirector('ipvsadm', ['-Lnc'])
      .split('\n')
      .filter(line => line.includes(`${virtual('ipv4')}:`))
      .map(line => line.trim().split(/\s+/));
    const own = (await connectionsOf(lab.director)).filter(each => each.virtual.address === virtual('ipv4'));
    const text = ({ address, port }: { address: string; port: number }) => `${address}:${port}`;
    expect(
      own
        .map(each => [
          each.protocol.toUpperCase(),
          each.state,
          ...[each.client, each.virtual, each.destination].map(text),
        ])
        .toSorted(),
    ).toEqual(rows.map(([protocol, _expires, ...rest]) => [protocol, ...rest]).toSorted());
    expect(own).toHaveLength(2);
    await lab.agent.close('table');
  });

  it('avoids a server at its threshold', async () => {
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

  it('stays at a server that is drained, while new connections go elsewhere', async () => {
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

  it('stays at a server that reconcile drains, also when the drain is given up', async () => {
    const service = web('ipv4');
    const servers = balance(service, 'ipv4', { forward: 'direct' });
    const name = await lab.agent.open('kept', { host: virtual('ipv4'), port: PORTS.web });
    const drained = servers[name === 'server1' ? 0 : 1]!;
    const desired = [{ ...service, destinations: servers.filter(each => each !== drained) }];
    const now = async () =>
      (await lab.director.destinations(service)).find(({ address }) => address === drained.address);

    const controller = new AbortController();
    const progress: ReconcileProgress[] = [];
    const given = lab.director.reconcile(desired, {
      drain: { timeoutMs: 600_000, pollMs: 100 },
      signal: controller.signal,
      onProgress: each => {
        progress.push(each);
        if (each.phase === 'draining') controller.abort(new Error('given up'));
      },
    });
    await expect(given).rejects.toThrow('given up');
    expect(progress).toEqual([
      { phase: 'planned', operations: 1, draining: 0, connections: 0 },
      { phase: 'applied', operations: 1, draining: 1, connections: 0 },
      { phase: 'draining', operations: 1, draining: 1, connections: 1 },
    ]);
    expect(await now()).toMatchObject({ weight: 0, activeConnections: 1 });
    expect(await lab.agent.ask('kept', 'still there?')).toBe(`${name}: still there?`);

    // The time is over while it is busy: it is removed, and the result says so.
    const result = await lab.director.reconcile(desired, { drain: { timeoutMs: 500, pollMs: 100 } });
    expect(result.drained).toMatchObject([{ destinationKey: { address: drained.address }, connections: 1 }]);
    expect(await now()).toBeUndefined();
    expect(lab.onDirector('ipvsadm', ['-Sn'])).not.toContain(drained.address);
  });

  it.each<[Family, string]>([
    ['ipv4', '224.0.0.81'],
    ['ipv6', 'ff02::81'],
  ])('is synchronised from a master director to a backup: %s, by the group %s', async (family, group) => {
    const service = web(family);
    balance(service, family, { forward: 'direct' });
    lab.backup.sync.addService(service);
    for (const address of SERVERS[family]) {
      lab.backup.sync.addDestination(service, { address, port: PORTS.web, forward: 'direct' });
    }
    // Reported from the second packet on.
    lab.director.settings.sync_threshold = '1 2';
    const daemon = { interface: 'eth0', syncId: 7, group };
    await lab.director.startSync({ ...daemon, state: 'master' });
    await lab.backup.startSync({ ...daemon, state: 'backup' });
    try {
      const name = await lab.agent.open(`carried ${family}`, { host: virtual(family), port: PORTS.web });
      const ask = (text: string) => lab.agent.ask(`carried ${family}`, text);
      const synchronised = await until(
        async () => {
          await ask('still there?');
          return (await connectionsOf(lab.backup)).filter(each => each.virtual.address === virtual(family));
        },
        list => list.length > 0,
      );
      expect(synchronised[0]).toMatchObject({ protocol: 'tcp', virtual: { address: virtual(family), port: 80 } });
      // The first director is gone, and forgets.
      lab.routeTo(1);
      lab.director.sync.flush();
      expect(await ask('and now?')).toBe(`${name}: and now?`);
      await lab.agent.close(`carried ${family}`);
    } finally {
      lab.routeTo(0);
      await lab.director.stopSync('master');
      await lab.backup.stopSync('backup');
    }
  });
});
