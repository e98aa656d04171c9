import dgram from 'node:dgram';
import net from 'node:net';
import { Links, NetNs } from 'netsteer';
import { type Chain, type Family, Nftables, type Statement, Transaction, udp } from 'netsteer/nftables';
import { Agent } from './ipvs-agent.ts';
import { becomes } from './wait.ts';

/*
 *   client 10.1.0.2, .3 ── r0 10.1.0.1 :router: 10.2.0.1 r1 ── server 10.2.0.2, .3
 *                                     :      : 10.3.0.1 r2 ── other  10.3.0.2
 *
 * And fd00:1::2 and so on. The rules are the router's, through which everything else is reached.
 */
export const ADDRESSES = {
  ipv4: { client: '10.1.0.2', second: '10.1.0.3', router: '10.2.0.1', server: '10.2.0.2', other: '10.3.0.2' },
  ipv6: { client: 'fd00:1::2', second: 'fd00:1::3', router: 'fd00:2::1', server: 'fd00:2::2', other: 'fd00:3::2' },
} as const;
/** Nobody has them: what is sent there comes to the router. */
export const NOWHERE = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' } as const;

/** Rules leave it alone. */
const OPEN_PORT = 1999;
/** Of sets and objects that a test adds. */
export const TABLE = { family: 'inet', table: 't' } as const;

/** A datagram from the client to the server. */
interface Flow {
  port: number;
  from?: string;
  to?: string;
  /** Bytes of the IP packet. */
  size?: number;
}

interface Heard {
  text: string;
  from: string;
  port: number;
}

const unmapped = (address = '') => address.replace(/^::ffff:/, '');

/** A UDP socket inside a namespace: it is opened there, and stays. */
class Datagrams {
  readonly #socket: dgram.Socket;
  /** It takes both versions. */
  readonly #mapped: boolean;
  readonly heard: Heard[] = [];

  constructor(netns: NetNs, address = '::', port = 0) {
    const family = address.includes(':') ? 6 : 4;
    this.#mapped = family === 6;
    this.#socket = dgram.createSocket({
      type: `udp${family}`,
      // Node opens the socket when it has looked the address up: it must not leave the namespace for that.
      lookup: (host, _options, found) => found(null, host, family),
    });
    this.#socket.on('message', (data, from) =>
      this.heard.push({ text: String(data).trim(), from: unmapped(from.address), port: from.port }),
    );
    netns.run(() => this.#socket.bind(port, address));
  }

  get port(): number {
    return this.#socket.address().port;
  }

  send(text: string, address: string, port: number): Promise<void> {
    const to = this.#mapped && !address.includes(':') ? `::ffff:${address}` : address;
    return new Promise((resolve, reject) =>
      this.#socket.send(text, port, to, error => (error ? reject(error) : resolve())),
    );
  }

  /** Waits for a datagram. */
  async hear(text: string): Promise<Heard> {
    const found = () => this.heard.find(each => each.text === text);
    if (!(await becomes(() => found() !== undefined))) throw new Error(`'${text}' has not come`);
    return found()!;
  }

  close(): void {
    this.#socket.close();
  }
}

export class TrafficLab {
  readonly client: NetNs;
  readonly router: NetNs;
  readonly server: NetNs;
  readonly other: NetNs;
  /** Index of r2: the rules are made outside, where the name is unknown. */
  readonly r2: number;
  /** The router's. */
  readonly nft: Nftables;
  /** The client's processes. */
  readonly agent: Agent;
  readonly #open: { close(): unknown }[] = [];
  readonly #sockets = new Map<string, Datagrams>();
  #port = 2000;
  #texts = 0;

  constructor() {
    const make = (): NetNs => {
      const netns = this.keep(NetNs.create());
      for (const conf of ['all', 'default']) {
        netns.sysctl.set(`net.ipv4.conf.${conf}.rp_filter`, 0);
        netns.sysctl.set(`net.ipv6.conf.${conf}.accept_dad`, 0);
      }
      // Each refusal is told, however many there are.
      netns.sysctl.set('net.ipv4.icmp_ratelimit', 0);
      netns.sysctl.set('net.ipv6.icmp.ratelimit', 0);
      using links = Links.open({ netns });
      links.sync.set('lo', { up: true });
      return netns;
    };
    [this.client, this.router, this.server, this.other] = [make(), make(), make(), make()];
    this.router.sysctl.set('net.ipv4.ip_forward', 1);
    this.router.sysctl.set('net.ipv6.conf.all.forwarding', 1);
    using routers = Links.open({ netns: this.router });
    for (const [i, netns] of [this.client, this.server, this.other].entries()) {
      const [device, net4, net6] = [`r${i}`, `10.${i + 1}.0`, `fd00:${i + 1}:`];
      routers.sync.createVeth({ name: device, peer: { name: 'eth0', netns } });
      using links = Links.open({ netns });
      for (const [handle, name, hosts] of [
        [routers, device, [1]],
        [links, 'eth0', [2, 3]],
      ] as const) {
        handle.sync.set(name, { up: true });
        for (const host of hosts) {
          handle.sync.addAddress(name, `${net4}.${host}/24`);
          handle.sync.addAddress(name, `${net6}:${host}/64`);
        }
      }
      links.sync.addRoute({ to: '0.0.0.0/0', via: `${net4}.1` });
      links.sync.addRoute({ to: '::/0', via: `${net6}:1` });
    }
    this.r2 = routers.sync.get('r2').index;
    // For copies of packets that are still addressed to the server.
    using aside = Links.open({ netns: this.other });
    aside.sync.addAddress('lo', `${ADDRESSES.ipv4.server}/32`);
    this.nft = this.keep(Nftables.open({ netns: this.router }));
    this.agent = new Agent(this.client);
    this.#open.push({ close: () => this.agent.stop() });
  }

  keep<T extends { close(): unknown }>(each: T): T {
    this.#open.push(each);
    return each;
  }

  /** The next of the ports that nobody has used: connections of tests before are remembered for a while. */
  port(): number {
    return this.#port++;
  }

  /** Nothing but a table t, with these chains and what else is added. */
  async load(
    chains: Record<string, Omit<Chain, 'family' | 'table' | 'name'> & { rules?: Statement[][] }>,
    { family = 'inet', before = () => {} }: { family?: Family; before?: (transaction: Transaction) => unknown } = {},
  ): Promise<void> {
    const place = { family, table: 't' };
    const transaction = new Transaction().flush({ ruleset: {} }).add({ table: { family, name: 't' } });
    before(transaction);
    // Chains without a hook first: others jump there.
    const all = Object.entries(chains).sort(([, a], [, b]) => Number('hook' in a) - Number('hook' in b));
    for (const [name, { rules: _, ...chain }] of all) transaction.add({ chain: { ...place, name, ...chain } });
    for (const [name, { rules = [], hook }] of all) {
      const open: Statement[][] = hook === 'forward' ? [[udp.dport.eq(OPEN_PORT), { accept: null }]] : [];
      for (const statements of [...open, ...rules]) transaction.add({ rule: { ...place, chain: name, statements } });
    }
    await this.nft.commit(transaction);
  }

  /** What is forwarded goes through these rules, and else is dropped. */
  async only(rules: Statement[][], before: (transaction: Transaction) => unknown = () => {}): Promise<void> {
    await this.load({ forward: { type: 'filter', hook: 'forward', priority: 0, policy: 'drop', rules } }, { before });
  }

  /** A TCP server that tells who comes its name, and from where to where they came; and repeats what it hears. */
  serve(netns: NetNs, name: string, port: number): net.Server {
    const server = net.createServer(socket => {
      socket.on('error', () => {});
      socket.setNoDelay(true);
      const { remoteAddress, localAddress, localPort } = socket;
      socket.write(`${name} ${unmapped(remoteAddress)} > ${unmapped(localAddress)} ${localPort}\n`);
      socket.on('data', data => socket.write(`${name}: ${data}`));
    });
    netns.run(() => server.listen(port));
    return this.keep(server);
  }

  /** What the server says when the client comes. */
  visit(host: string, port: number): Promise<string> {
    return this.agent.visit({ host, port, localAddress: clientFor(host) });
  }

  datagrams(netns: NetNs, address?: string, port?: number): Datagrams {
    return this.keep(new Datagrams(netns, address, port));
  }

  /**
   * Sends datagrams to the server. When so many of them have arrived, and one that was sent after them, gives the indices of all that have.
   */
  async passing(flows: readonly Flow[], count: number): Promise<number[]> {
    const run = `${this.#texts++}`;
    const arrived = () => flows.flatMap(({ port }, i) => (this.#receiver(port).has(`${run} ${i}`) ? [i] : []));
    for (const { port } of flows) this.#receiver(port);
    for (const [i, { port, from, to = ADDRESSES.ipv4.server, size = 0 }] of flows.entries()) {
      const headers = to.includes(':') ? 48 : 28;
      await this.#sender(from ?? clientFor(to)).send(`${run} ${i}`.padEnd(size - headers), to, port);
    }
    await becomes(() => arrived().length >= count);
    await this.last(flows.some(({ to }) => to?.includes(':')) ? 'ipv6' : 'ipv4');
    return arrived();
  }

  /** What was sent before has arrived, or never will. */
  async last(family: 'ipv4' | 'ipv6'): Promise<void> {
    const text = `last ${this.#texts++}`;
    const { client, server } = ADDRESSES[family];
    const receiver = this.#receiver(OPEN_PORT);
    const came = await becomes(async () => {
      await this.#sender(client).send(text, server, OPEN_PORT);
      return receiver.has(text);
    });
    if (!came) throw new Error('nothing reaches the server');
  }

  async close(): Promise<void> {
    for (const each of this.#open.splice(0).reverse()) await each.close();
  }

  #receiver(port: number) {
    const socket = this.#socket(`server ${port}`, () => this.datagrams(this.server, '::', port));
    return { has: (text: string) => socket.heard.some(each => each.text === text) };
  }

  #sender(address: string): Datagrams {
    return this.#socket(`client ${address}`, () => this.datagrams(this.client, address));
  }

  #socket(key: string, make: () => Datagrams): Datagrams {
    const socket = this.#sockets.get(key) ?? make();
    this.#sockets.set(key, socket);
    return socket;
  }
}

const clientFor = (to: string) => ADDRESSES[to.includes(':') ? 'ipv6' : 'ipv4'].client;
