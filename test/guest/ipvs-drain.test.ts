import type { Server } from 'node:net';
import { Container, Fleet } from 'netsteer';
import { Conntrack } from 'netsteer/conntrack';
import type { Destination, Service, VirtualServer } from 'netsteer/ipvs';
import { Nftables, Transaction } from 'netsteer/nftables';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Agent, serve, serveDatagrams } from '../support/ipvs-agent.ts';
import { freshIpvsNamespaces, ipvs, netns } from '../support/ipvs-namespace.ts';
import { until as comes } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/** Far longer than anything here takes. */
const LONG = 600_000;
const PORTS = [8081, 8082, 8083] as const;

/* All in one namespace: the client's connections to 127.0.1.1 are scheduled on their way out, to servers on other ports. */
kernelSuite('draining a server that has connections', () => {
  freshIpvsNamespaces();
  let agent: Agent;
  let listening: { close(): void }[] = [];
  const virtual = { host: '127.0.1.1', port: 80 };
  const web = { protocol: 'tcp', address: virtual.host, port: virtual.port, scheduler: 'rr' } as const;
  const dns = { ...web, protocol: 'udp', port: 53 } as const;

  beforeEach(() => {
    agent = new Agent(netns);
    listening = PORTS.map((port): Server => serve(netns, `server${port}`, port));
  });

  afterEach(() => {
    agent.stop();
    for (const each of listening) each.close();
  });

  const server = (port: number): Destination => ({ address: '127.0.0.1', port, forward: 'masquerade' });
  const behind = (service: Service, ...ports: number[]): VirtualServer => ({
    ...service,
    destinations: ports.map(server),
  });
  /** Opens a connection, and gives the port of its server. */
  const open = async (key: string): Promise<number> => Number((await agent.open(key, virtual)).replace('server', ''));
  const visit = async (): Promise<number> => Number((await agent.visit(virtual)).replace('server', ''));
  const of = async (port: number) => (await ipvs.destinations(web)).find(each => each.port === port);
  const without = (port: number) => PORTS.slice(0, 2).filter(each => each !== port);

  it('waits for an open connection, but not for the two minutes during which the kernel remembers a closed one', async () => {
    await ipvs.reconcile([behind(web, PORTS[0], PORTS[1])]);
    const port = await open('long');
    let looks = 0;
    const running = ipvs.reconcile([behind(web, ...without(port))], {
      drain: { timeoutMs: LONG, pollMs: 50 },
      onProgress: ({ phase, draining }) => {
        if (phase !== 'draining' || draining !== 1 || ++looks !== 3) return;
        void agent.ask('long', 'still there?').then(() => agent.close('long'));
      },
    });
    const { drained } = await running;
    expect(drained).toMatchObject([{ destinationKey: { address: '127.0.0.1', port }, connections: 1 }]);
    expect(looks).toBeGreaterThanOrEqual(3);
    // The kernel still remembers the connection.
    const remembered: number[] = [];
    for await (const { destination } of ipvs.connections()) remembered.push(destination.port);
    expect(remembered).toContain(port);
    expect(await of(port)).toBeUndefined();
  });

  it("waits until its timeout with until: 'all'", async () => {
    await ipvs.reconcile([behind(web, PORTS[0], PORTS[1])]);
    const port = await open('short');
    await agent.close('short');
    const { drained } = await ipvs.reconcile([behind(web, ...without(port))], {
      drain: { until: 'all', timeoutMs: 1500, pollMs: 100 },
    });
    expect(drained).toMatchObject([{ destinationKey: { port }, connections: 1 }]);
  });

  it("does not wait for UDP, whose connections all count as inactive, unless until is 'all'", async () => {
    listening.push(serveDatagrams(netns, 'udp', '127.0.0.1', 8091));
    const service = behind(dns, 8091);
    await ipvs.reconcile([service]);
    const to = { host: virtual.host, port: dns.port };
    expect(await agent.datagram('one', 'hello', to)).toBe('udp');
    const [entry] = await ipvs.destinations(dns);
    expect(entry).toMatchObject({ activeConnections: 0, inactiveConnections: 1 });
    const none = [{ ...dns, destinations: [] }];
    const policy = { default: { timeoutMs: LONG }, udp: { until: 'all', timeoutMs: 1000, pollMs: 50 } } as const;
    const waited = await ipvs.reconcile(none, { drain: policy });
    expect(waited.drained).toMatchObject([{ connections: 1 }]);
    await ipvs.reconcile([service]);
    const { drained } = await ipvs.reconcile(none, { drain: { timeoutMs: LONG } });
    expect(drained).toHaveLength(1);
  });

  it('never ends for a persistent client, unless expire_quiescent_template is on', async () => {
    await ipvs.reconcile([behind({ ...web, persistence: { timeoutSeconds: 600 } }, PORTS[0], PORTS[1])]);
    const port = await visit();
    await ipvs.editDestination(web, server(port), { weight: 0 });
    expect(await visit()).toBe(port);
    ipvs.settings.expire_quiescent_template = true;
    expect(await visit()).not.toBe(port);
  });

  it('refuses clients whose mh hash is the draining server, unless mh-fallback is set', async () => {
    const hashed = { ...web, scheduler: 'mh', schedulerFlags: ['mh-port'] } as const;
    const visits = async () => {
      let refused = 0;
      for (let i = 0; i < 16; i++) {
        await visit().catch(() => {
          refused++;
        });
      }
      return refused;
    };
    await ipvs.reconcile([behind({ ...hashed, schedulerFlags: [...hashed.schedulerFlags] }, PORTS[0], PORTS[1])]);
    await ipvs.editDestination(web, server(PORTS[0]), { weight: 0 });
    expect(await visits()).toBeGreaterThan(0);
    await ipvs.editService(web, { schedulerFlags: ['mh-fallback', 'mh-port'] });
    expect(await visits()).toBe(0);
  });

  it('ends the remaining connections at their next packet with expire_nodest_conn', async () => {
    await ipvs.reconcile([behind(web, PORTS[0], PORTS[1])]);
    const port = await open('left');
    ipvs.settings.expire_nodest_conn = true;
    const { drained } = await ipvs.reconcile([behind(web, ...without(port))], {
      drain: { timeoutMs: 200, pollMs: 50 },
    });
    expect(drained).toMatchObject([{ destinationKey: { port }, connections: 1 }]);
    await expect(agent.ask('left', 'anybody?')).rejects.toThrow(/ECONNRESET|EPIPE|ECONNREFUSED|END/);
  });

  it('ends the tracked connections of a masqueraded server, as its policy says, and no others', async () => {
    await using nft = Nftables.open({ netns });
    await using ct = Conntrack.open({ netns });
    ipvs.settings.conntrack = true;
    // Connections are tracked only while a rule asks for it.
    const place = { family: 'inet', table: 'tracking' } as const;
    await nft.commit(
      new Transaction()
        .add({ table: { family: 'inet', name: 'tracking' } })
        .add({ chain: { ...place, name: 'out', type: 'filter', hook: 'output', priority: 0 } })
        .add({ rule: { ...place, chain: 'out', expressions: [{ ct: { key: 'state', register: 1 } }] } }),
    );
    const ports = [8091, 8092];
    for (const port of ports) listening.push(serveDatagrams(netns, `udp${port}`, '127.0.0.1', port));
    const to = { host: virtual.host, port: dns.port };
    const ask = async (key: string) => Number((await agent.datagram(key, 'hello', to)).replace('udp', ''));
    const replies = (port: number) => ct.list({ protocol: 'udp', destinationPort: 53, reply: { sourcePort: port } });
    await ipvs.reconcile([behind(dns, ...ports), behind(web, PORTS[0], PORTS[1])]);
    const first = await ask('one');
    const other = await ask('two');
    expect(new Set([first, other])).toEqual(new Set(ports));
    const port = await open('tcp');
    // As if it were one of them, but that it came by itself, to another address.
    const source = '127.0.0.9';
    await ct.create({
      protocol: 'udp',
      timeoutSeconds: 1000,
      original: { source, sourcePort: 9, destination: '127.0.0.1', destinationPort: first },
    });
    expect(await replies(first)).toHaveLength(1);

    const drain = { udp: { timeoutMs: 1000, pollMs: 50 }, tcp: { timeoutMs: 100, pollMs: 50 } };
    const left = [behind(dns, other), behind(web, ...without(port))];
    const { drained } = await ipvs.reconcile(left, { drain });
    expect(drained.find(({ destinationKey }) => destinationKey.port === first)).toMatchObject({ ended: 1 });
    expect(drained.find(({ destinationKey }) => destinationKey.port === port)).not.toHaveProperty('ended');
    expect(await replies(first)).toEqual([]);
    expect(await replies(other)).toHaveLength(1);
    expect(await ct.list({ source })).toHaveLength(1);
    // Its first packet is answered by the other server: an entry that is left would have it dropped.
    ipvs.settings.expire_nodest_conn = true;
    expect(await ask('one')).toBe(other);
    ipvs.settings.expire_nodest_conn = false;

    // Where it is to be kept, or nothing is tracked, nothing is ended.
    await ipvs.reconcile([behind(dns, ...ports)]);
    const kept = ipvs.sync.reconcile([behind(dns, first)], {
      drain: { timeoutMs: 100, pollMs: 50, connections: 'keep' },
    });
    expect(kept.drained).toMatchObject([{ destinationKey: { port: other } }]);
    expect(kept.drained[0]).not.toHaveProperty('ended');
    expect((await replies(other)).length).toBeGreaterThan(0);
    expect(() => ipvs.sync.reconcile([], { drain: { timeoutMs: 1, connections: 'drop' as never } })).toThrow(
      'drain.connections',
    );
  });

  it('works in each container of a fleet', async () => {
    const container = Container.open({ netns });
    const fleet = Fleet.open();
    try {
      const containers = [container];
      const drain = { tcp: { timeoutMs: 1500, pollMs: 50 } };
      const first = await fleet.apply(containers, { virtualServers: [behind(web, PORTS[0], PORTS[1])] }, { drain });
      expect(first).toMatchObject({ programmed: [container] });
      const port = await open('kept');
      const started = performance.now();
      const state = { virtualServers: [behind(web, ...without(port))] };
      expect(await fleet.apply(containers, state, { drain })).toMatchObject({ programmed: [container] });
      expect(performance.now() - started).toBeGreaterThan(1400);
      expect(await of(port)).toBeUndefined();
      expect((await fleet.verify(containers, state)).drift.size).toBe(0);
      // The signal ends the waiting; the server stays at weight 0.
      const back = { virtualServers: [behind(web, PORTS[0], PORTS[1])] };
      await fleet.apply(containers, back);
      const again = await open('again');
      const controller = new AbortController();
      const reason = new Error('enough');
      const running = fleet.apply(
        containers,
        { virtualServers: [behind(web, ...without(again))] },
        {
          drain: { timeoutMs: LONG, pollMs: LONG },
          signal: controller.signal,
        },
      );
      await comes(async () => (await of(again))?.weight === 0);
      controller.abort(reason);
      expect((await running).failed.get(container)).toBe(reason);
      expect(await of(again)).toMatchObject({ weight: 0 });
      expect(() => fleet.apply(containers, back, { drain: { until: 'soon' } as never })).toThrow('drain.until');
    } finally {
      await fleet[Symbol.asyncDispose]();
      container.close();
    }
  });
});
