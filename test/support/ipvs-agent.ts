import { type ChildProcess, spawn } from 'node:child_process';
import dgram from 'node:dgram';
import net from 'node:net';
import { createInterface } from 'node:readline';
import type { NetNs } from 'netsteer';
import { inTime } from './wait.ts';

/** What is not answered by then is lost. Guests are slow: it is no measure of anything. */

/** Opens TCP connections and UDP sockets, says what comes, and sends what it is told. A line of JSON each way. */
const AGENT = `
const net = require('node:net');
const dgram = require('node:dgram');
const open = new Map();
const datagrams = new Map();
require('node:readline').createInterface({ input: process.stdin }).on('line', line => {
  const { id, op, key, text, ...to } = JSON.parse(line);
  const answer = value => console.log(JSON.stringify({ id, ...value }));
  if (op === 'datagram') {
    const socket = datagrams.get(key) ?? dgram.createSocket(to.host.includes(':') ? 'udp6' : 'udp4');
    if (!datagrams.has(key)) socket.bind(0, to.localAddress);
    datagrams.set(key, socket);
    socket.removeAllListeners('message').on('message', data => answer({ said: String(data).trim() }));
    return socket.send(text, to.port, to.host);
  }
  if (op === 'close') {
    open.get(key).socket.end();
    open.delete(key);
    return answer({});
  }
  const entry = open.get(key) ?? { socket: net.connect({ ...to, noDelay: true }), rest: '' };
  const settle = value => {
    entry.socket.removeAllListeners('data').removeAllListeners('error').removeAllListeners('end');
    entry.socket.on('error', () => {});
    answer(value);
  };
  entry.socket.removeAllListeners('error');
  entry.socket.on('error', error => settle({ error: error.code }));
  entry.socket.on('end', () => settle({ error: 'END' }));
  entry.socket.on('data', data => {
    entry.rest += data;
    if (!entry.rest.endsWith('\\n')) return;
    const said = entry.rest.trim();
    entry.rest = '';
    settle({ said });
  });
  open.set(key, entry);
  if (op === 'ask') entry.socket.write(text + '\\n');
});
console.log(JSON.stringify({ id: 0 }));
`;

interface Answer {
  id: number;
  said?: string;
  error?: string;
}

/** A process inside a namespace that makes connections. */
export class Agent {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #ready: Promise<unknown>;
  #next = 0;

  constructor(netns: NetNs) {
    this.#child = netns.run(() => spawn(process.execPath, ['-e', AGENT], { stdio: ['pipe', 'pipe', 'inherit'] }));
    this.#ready = this.#answer(0);
    createInterface({ input: this.#child.stdout! }).on('line', line => {
      const answer = JSON.parse(line) as Answer;
      this.#waiting.get(answer.id)?.(answer);
    });
  }

  /** Opens a connection and gives the first line that comes, which is the server's name. */
  async open(key: string, to: { host: string; port: number; localAddress?: string }): Promise<string> {
    return await this.#request({ op: 'open', key, ...to });
  }

  /** Sends a line and gives the answer. */
  async ask(key: string, text: string): Promise<string> {
    return await this.#request({ op: 'ask', key, text });
  }

  /** Sends a datagram, from the same port as any before it with this key, and gives the answer. */
  async datagram(key: string, text: string, to: { host: string; port: number; localAddress?: string }) {
    return await this.#request({ op: 'datagram', key, text, ...to });
  }

  async close(key: string): Promise<void> {
    await this.#request({ op: 'close', key });
  }

  /** Opens a connection, asks who is there, and closes it. */
  async visit(to: { host: string; port: number; localAddress?: string }): Promise<string> {
    const key = `visit ${this.#next}`;
    const name = await this.open(key, to);
    await this.close(key);
    return name;
  }

  stop(): void {
    this.#child.kill();
  }

  async #request(request: object): Promise<string> {
    await this.#ready;
    const id = ++this.#next;
    const answered = this.#answer(id);
    this.#child.stdin!.write(`${JSON.stringify({ id, ...request })}\n`);
    const { said = '', error } = await answered;
    if (error !== undefined) throw new Error(`the connection failed: ${error}`);
    return said;
  }

  #answer(id: number): Promise<Answer> {
    const answer = new Promise<Answer>(resolve => this.#waiting.set(id, resolve));
    return inTime(answer, `request ${id} to the agent`);
  }
}

/** A server that says its name to who comes, and repeats what it hears. Its socket is opened inside the namespace and stays there. */
export function serve(netns: NetNs, name: string, port: number): net.Server {
  const sockets = new Set<net.Socket>();
  const server = net.createServer(socket => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.setNoDelay(true);
    socket.write(`${name}\n`);
    socket.on('data', data => socket.write(`${name}: ${data}`));
  });
  netns.run(() => server.listen(port));
  // What the other end says of its end is lost where IPVS has let go of the connection: a socket would keep the namespace for ever.
  const close = server.close.bind(server);
  server.close = done => {
    for (const socket of sockets) socket.resetAndDestroy();
    return close(done);
  };
  return server;
}

/** A server that answers datagrams to one address with its name, from that address. */
export function serveDatagrams(netns: NetNs, name: string, address: string, port: number): dgram.Socket {
  const family = address.includes(':') ? 6 : 4;
  const socket = dgram.createSocket({
    type: `udp${family}`,
    // Node opens the socket when it has looked the address up: it must not leave the namespace for that.
    lookup: (host, _options, found) => found(null, host, family),
  });
  socket.on('message', (_, { address: from, port: to }) => socket.send(name, to, from));
  netns.run(() => socket.bind(port, address));
  return socket;
}
