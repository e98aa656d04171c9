import dgram from 'node:dgram';
import { Container, Fleet, type NetNs, type Redirect } from 'netsteer';
import { Conntrack, type Flow, type NewFlow } from 'netsteer/conntrack';
import { Transaction, udp } from 'netsteer/nftables';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sends } from '../support/sends.ts';
import { ADDRESSES, NOWHERE, TrafficLab } from '../support/traffic-lab.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/*
 * The router is the container. A client that keeps its port asks it by an address that nobody has, and is answered with the name of the server.
 */
const VIP = NOWHERE.ipv4;
const VIP6 = NOWHERE.ipv6;
const PORTS = [8080, 8081, 8082];

const dns = (toPort: number, more: Partial<Redirect> = {}): Redirect => ({
  protocol: 'udp',
  address: VIP,
  port: 53,
  toPort,
  ...more,
});
const web = (toPort: number): Redirect => ({ protocol: 'tcp', address: VIP, port: 80, toPort });

/** A UDP server that answers with its port and what it heard. */
function answering(netns: NetNs, port: number): { socket: dgram.Socket; heard: string[] } {
  const socket = dgram.createSocket({ type: 'udp6', lookup: (host, _, found) => found(null, host, 6) });
  const heard: string[] = [];
  socket.on('message', (data, from) => {
    heard.push(String(data));
    socket.send(`${port} ${data}`, from.port, from.address);
  });
  netns.run(() => socket.bind(port, '::'));
  return { socket, heard };
}

/** A hundred connections that nothing here may end, each unlike what ends in one way only. */
function bystanders(): NewFlow[] {
  const client = ADDRESSES.ipv4.client;
  const flows: NewFlow[] = [];
  const add = (more: Partial<NewFlow>, original: Partial<NewFlow['original']> = {}) =>
    flows.push({
      protocol: 'udp',
      timeoutSeconds: 10_000,
      original: {
        source: client,
        sourcePort: 20_000 + flows.length,
        destination: VIP,
        destinationPort: 53,
        ...original,
      },
      ...more,
    });
  const translated = (port: number, address = '10.1.0.1') => ({ nat: { destination: { address, port } } });
  while (flows.length < 100) {
    const at = flows.length;
    add(translated(8080), { destination: '192.0.2.2' });
    add(translated(8080), { destinationPort: 54 });
    // Of another rule: the same address and port lead elsewhere.
    add(translated(9000 + at));
    add({ ...translated(8080), protocol: 'tcp', tcp: { state: 'established' } });
    add({ ...translated(8080), protocol: 'tcp', tcp: { state: 'established' } }, { destinationPort: 80 });
    add({}, { destination: '10.1.0.1', destinationPort: 8080 });
    add({ nat: { source: { address: '10.2.0.1', port: 30_000 + at } } }, { destination: '192.0.2.3' });
    add({ ...translated(8080), zone: 3 }, { destinationPort: 55 });
    add({}, { source: 'fd00:1::2', destination: 'fd00:2::2' });
    add(
      { nat: { destination: { address: 'fd00:1::1', port: 8080 } } },
      { source: 'fd00:1::2', destination: VIP6, destinationPort: 54 },
    );
  }
  return flows;
}

const keyOf = ({ id }: Flow) => id;

kernelSuite('connections behind a change of redirects', () => {
  let lab: TrafficLab;
  let container: Container;
  let ct: Conntrack;
  const servers = new Map<number, ReturnType<typeof answering>>();
  let texts = 0;
  let stay: number[] = [];

  beforeAll(() => {
    lab = new TrafficLab();
    container = lab.keep(Container.open({ netns: lab.router }));
    ct = lab.keep(Conntrack.open({ netns: lab.router }));
    for (const port of PORTS) {
      servers.set(port, answering(lab.router, port));
      lab.serve(lab.router, `at ${port}`, port);
    }
  });
  afterAll(async () => {
    for (const { socket } of servers.values()) socket.close();
    await lab.close();
  });

  beforeEach(async () => {
    await container.redirects.release({ connections: 'keep' });
    await lab.nft.commit(new Transaction().flush({ ruleset: {} }));
    await ct.flush();
    for (const flow of bystanders()) ct.sync.create(flow);
    stay = (await ct.list()).map(keyOf);
    expect(stay).toHaveLength(100);
  });

  /** What was there stays, whatever else has ended. */
  async function allStay(): Promise<void> {
    const there = new Set((await ct.list()).map(keyOf));
    expect(stay.filter(id => !there.has(id))).toEqual([]);
  }

  /** A client that keeps its port: which server answers it there? */
  function client(address: string = VIP, port = 53) {
    const socket = lab.datagrams(lab.client, address.includes(':') ? ADDRESSES.ipv6.client : ADDRESSES.ipv4.client);
    const ask = async (): Promise<number> => {
      const text = `question ${texts++}`;
      await socket.send(text, address, port);
      const answer = (await until(() => socket.heard.find(each => each.text.endsWith(` ${text}`)), text))!;
      return Number(answer.text.split(' ')[0]);
    };
    /** It is heard by none of the servers: what is sent behind it, by another client, has come. */
    const isUnheard = async (): Promise<boolean> => {
      const text = `question ${texts++}`;
      await socket.send(text, address, port);
      await container.redirects.add([{ protocol: 'udp', address: '192.0.2.9', port: 9, toPort: 8082 }]);
      await client('192.0.2.9', 9).ask();
      return [...servers.values()].every(({ heard }) => !heard.includes(text));
    };
    return { ask, isUnheard, flows: () => ct.list({ protocol: 'udp', sourcePort: socket.port }) };
  }

  /** A TCP connection to a server that repeats what it hears: which one answers? */
  async function connected() {
    const key = `connection ${texts++}`;
    await lab.agent.open(key, { host: VIP, port: 80, localAddress: ADDRESSES.ipv4.client });
    const say = async (what: string) =>
      lab.agent.ask(key, what).then(
        answer => /^at (\d+): /.exec(answer)?.[1],
        () => 'closed',
      );
    return { say };
  }

  describe('UDP by default', () => {
    it('reaches the new port from the same client port after set, and no port after remove', async () => {
      await container.redirects.set([dns(8080)]);
      const one = client();
      expect(await one.ask()).toBe(8080);
      await container.redirects.set([dns(8081)]);
      expect(await one.ask()).toBe(8081);
      await container.redirects.remove([dns(0)].map(({ toPort: _, ...key }) => key));
      expect(await one.isUnheard()).toBe(true);
      await allStay();
    });

    it('is ended after add with another target, and after set without the redirect', async () => {
      await container.redirects.set([dns(8080)]);
      const one = client();
      expect(await one.ask()).toBe(8080);
      await container.redirects.add([dns(8081)]);
      expect(await one.ask()).toBe(8081);
      await container.redirects.set([]);
      expect(await one.isUnheard()).toBe(true);
      await allStay();
    });

    it('is ended after add of a new redirect: a client without an answer reaches it', async () => {
      const { server } = ADDRESSES.ipv4;
      const behind = answering(lab.server, 53);
      // Connections are tracked only while there is a rule that asks for it.
      await container.redirects.set([dns(8080)]);
      const one = client(server);
      expect(await one.ask()).toBe(53);
      await container.redirects.add([dns(8081, { address: server })]);
      expect(await one.ask()).toBe(8081);
      await container.redirects.remove([{ protocol: 'udp', address: server, port: 53 }]);
      expect(await one.ask()).toBe(53);
      behind.socket.close();
      await allStay();
    });

    it('is ended over IPv6, by a handle that knows nothing, and by the synchronous form', async () => {
      const six = (toPort: number) => dns(toPort, { address: VIP6 });
      await container.redirects.set([six(8080), dns(8080)]);
      const [one, four] = [client(VIP6), client()];
      expect([await one.ask(), await four.ask()]).toEqual([8080, 8080]);
      await using other = Container.open({ netns: lab.router });
      other.redirects.sync.set([six(8081), dns(8080)]);
      expect([await one.ask(), await four.ask()]).toEqual([8081, 8080]);
      other.redirects.sync.release();
      expect(await one.isUnheard()).toBe(true);
      await allStay();
    });

    it('is ended for ranges, and where a redirect of one address and port precedes a range', async () => {
      const wide = (toPort?: number): Redirect => ({
        protocol: 'udp',
        address: '192.0.2.128/25',
        port: { from: 50, to: 60 },
        ...(toPort !== undefined && { toPort }),
      });
      const exact: Redirect = { protocol: 'udp', address: '192.0.2.130', port: 55, toPort: 8082 };
      await container.redirects.set([wide(8080), exact]);
      const [one, own] = [client('192.0.2.129', 55), client('192.0.2.130', 55)];
      expect([await one.ask(), await own.ask()]).toEqual([8080, 8082]);
      const [before] = await own.flows();
      await container.redirects.set([wide(8081), exact]);
      expect((await own.flows()).map(keyOf)).toEqual([before!.id]);
      expect([await one.ask(), await own.ask()]).toEqual([8081, 8082]);
      // The exact one goes: the range that lies below it leads elsewhere.
      await container.redirects.remove([{ protocol: 'udp', address: '192.0.2.130', port: 55 }]);
      expect([await one.ask(), await own.ask()]).toEqual([8081, 8081]);
      await allStay();
    });

    it('is ended where the table was damaged and is made again', async () => {
      await container.redirects.set([dns(8080)]);
      const one = client();
      expect(await one.ask()).toBe(8080);
      const place = { family: 'inet', table: 'netsteer-redirects' } as const;
      await lab.nft.commit(new Transaction().add({ chain: { ...place, name: 'theirs' } }));
      await container.redirects.set([dns(8081)]);
      expect(await one.ask()).toBe(8081);
      await allStay();
    });

    it("stays where nothing changes, and with { connections: 'keep' }", async () => {
      await container.redirects.set([dns(8080), web(8080)]);
      const one = client();
      expect(await one.ask()).toBe(8080);
      const [before] = await one.flows();
      await container.redirects.set([dns(8080), web(8081)]);
      await container.redirects.add([dns(8080)]);
      await container.redirects.remove([{ protocol: 'tcp', address: VIP, port: 80 }]);
      expect((await one.flows()).map(keyOf)).toEqual([before!.id]);
      await container.redirects.set([dns(8081)], { connections: 'keep' });
      expect(await one.ask()).toBe(8080);
      await container.redirects.remove([{ protocol: 'udp', address: VIP, port: 53 }], { connections: 'keep' });
      expect(await one.ask()).toBe(8080);
      await allStay();
    });
  });

  describe('TCP', () => {
    it("stays by default, and is ended by { connections: 'end' }", async () => {
      await container.redirects.set([web(8080)]);
      const one = await connected();
      expect(await one.say('one')).toBe('8080');
      await container.redirects.set([web(8081)]);
      expect(await one.say('two')).toBe('8080');
      const two = await connected();
      expect(await two.say('one')).toBe('8081');
      await container.redirects.set([web(8082)], { connections: 'end' });
      // Only the one that showed what has changed: the first one shows 8080, which is older.
      expect(await two.say('two')).toBe('closed');
      expect(await one.say('three')).toBe('8080');
      // The bystanders of this address and port were led to 8080, which has not changed now.
      await allStay();
    });

    it("is ended by remove with { connections: 'end' }", async () => {
      await container.redirects.set([web(8081)]);
      await connected();
      expect(await ct.list({ protocol: 'tcp', reply: { sourcePort: 8081 } })).toHaveLength(1);
      await container.redirects.remove([{ protocol: 'tcp', address: VIP, port: 80 }], { connections: 'end' });
      expect(await ct.list({ protocol: 'tcp', reply: { sourcePort: 8081 } })).toEqual([]);
      await allStay();
    });
  });

  describe('a fleet', () => {
    it('ends the connections that its apply and remove have changed, and older ones only with the first apply', async () => {
      await using fleet = Fleet.open();
      const state = (toPort: number) => ({ redirects: [dns(toPort), web(toPort)], logging: [{ group: 5 }] });
      await fleet.apply([container], state(8080));
      const [one, tcp] = [client(), await connected()];
      expect([await one.ask(), await tcp.say('one')]).toEqual([8080, '8080']);
      await fleet.apply([container], state(8081));
      expect([await one.ask(), await tcp.say('two')]).toEqual([8081, '8080']);
      // Another process.
      await using other = Fleet.open();
      await other.apply([container], { ...state(8082), redirectOptions: { connections: 'keep' } });
      expect(await one.ask()).toBe(8081);
      await other.apply([container], state(8081));
      await other.apply([container], state(8080), { connections: 'keep' });
      expect(await one.ask()).toBe(8081);
      await other.apply([container], state(8081));
      expect((await other.remove([container])).failed.size).toBe(0);
      expect(await one.isUnheard()).toBe(true);
      await allStay();
    });

    it('rejects another value with ERR_OUT_OF_RANGE', async () => {
      await using fleet = Fleet.open();
      const wrong = { connections: 'drop' } as never;
      expect(() => fleet.apply([container], {}, wrong)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
      await expect(container.redirects.set([], wrong)).rejects.toMatchObject({ attribute: 'connections' });
      await expect(container.redirects.remove([], wrong)).rejects.toMatchObject({ attribute: 'connections' });
      await expect(container.redirects.release(wrong)).rejects.toMatchObject({ attribute: 'connections' });
    });
  });

  it('of a published port that is translated to another container are ended by its filter, and no others', async () => {
    const elsewhere = [5301, 5302].map(port => answering(lab.server, port));
    const publish = (port: number) =>
      lab.load(
        {
          out: {
            type: 'nat',
            hook: 'prerouting',
            priority: -100,
            rules: [
              [
                { match: { op: '==', left: { payload: { protocol: 'ip', field: 'daddr' } }, right: VIP } },
                udp.dport.eq(53),
                { dnat: { addr: ADDRESSES.ipv4.server, port } },
              ],
            ],
          },
        },
        { family: 'ip' },
      );
    await publish(5301);
    const one = client();
    expect(await one.ask()).toBe(5301);
    await publish(5302);
    expect(await one.ask()).toBe(5301);
    const stale = { protocol: 'udp', destination: VIP, destinationPort: 53, nat: 'destination' } as const;
    const reply = { source: ADDRESSES.ipv4.server, sourcePort: 5301 };
    expect(await ct.flush({ ...stale, reply })).toBe(1);
    expect(await one.ask()).toBe(5302);
    for (const { socket } of elsewhere) socket.close();
    await allStay();
  });

  describe('the cost', () => {
    it('is nothing where no connection ends, and one question where there is no connection', async () => {
      const { redirects } = container;
      await ct.flush();
      // A look, a commit, and whether there are connections.
      expect(await sends(() => redirects.set([dns(8080)]))).toBe(3);
      expect(await sends(() => redirects.add([dns(8080)]))).toBe(3);
      expect(await sends(() => redirects.add([web(8080)]))).toBe(1);
      expect(await sends(() => redirects.remove([{ protocol: 'tcp', address: VIP, port: 80 }]))).toBe(1);
      expect(await sends(() => redirects.add([dns(8080, { port: 54 })], { connections: 'keep' }))).toBe(1);
      expect(await sends(() => redirects.add([dns(8080, { port: 55 })]))).toBe(2);
      expect(await sends(() => redirects.remove([{ protocol: 'udp', address: VIP, port: 55 }]))).toBe(2);
      const read = await sends(() => redirects.set([dns(8080), dns(8080, { port: 54 })]));
      expect(await sends(() => redirects.set([dns(8081), dns(8080, { port: 54 })]))).toBe(read + 2);
    });

    it('is one list where there are connections, and one datagram for their deletions', async () => {
      const { redirects } = container;
      await redirects.set([dns(8080), ...Array.from({ length: 20 }, (_, i) => dns(8080, { port: 1000 + i }))]);
      const flows = Array.from(
        { length: 150 },
        (_, i): NewFlow => ({
          protocol: 'udp',
          timeoutSeconds: 100,
          original: { source: '10.1.0.2', sourcePort: 40_000 + i, destination: VIP, destinationPort: 53 },
          nat: { destination: { address: '10.1.0.1', port: 8080 } },
        }),
      );
      for (const flow of flows) ct.sync.create(flow);
      // The count, the old port, the commit, the count, the list, the deletions.
      expect(await sends(() => redirects.remove([{ protocol: 'udp', address: VIP, port: 53 }]))).toBe(6);
      expect(
        await ct.list({
          protocol: 'udp',
          destination: VIP,
          destinationPort: 53,
          reply: { sourcePort: 8080 },
          family: 'ipv4',
        }),
      ).toHaveLength(0);
      await allStay();
    });
  });
});
