import fs from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Engine } from '../../../src/container/find/engine.ts';
import { findContainer, isOwnedBy } from '../../../src/container/find/find.ts';
import { KernelModules } from '../../../src/container/modules.ts';
import { StateError } from '../../../src/errors.ts';
import { canonical, refuseControl, type Target } from './judge.ts';
import { mutatedText } from './mutate.ts';
import { decode, encode, makeText } from './others.ts';
import type { Random } from './random.ts';

const ID = 'c0ffee0123456789c0ffee0123456789c0ffee0123456789c0ffee0123456789';
const CONFIG = JSON.stringify({
  linux: { namespaces: [{ type: 'network' }, { type: 'pid', path: '/proc/1/ns/pid' }] },
  annotations: { 'io.container.manager': 'libpod' },
});

/** State files of runtimes: one is spoilt, the others are as they should be. */
const STATE: Readonly<Record<string, string>> = {
  [`run/runc/${ID}/state.json`]: JSON.stringify({
    id: ID,
    init_process_pid: 42,
    init_process_start: 4711,
    config: { namespaces: [{ type: 'NEWNET', path: '' }] },
  }),
  [`run/crun/${ID}/status`]: JSON.stringify({ pid: 43, 'process-start-time': 4712, bundle: '/bundle' }),
  'bundle/config.json': CONFIG,
  [`run/containerd/io.containerd.runtime.v2.task/k8s.io/${ID}/init.pid`]: '44',
  [`run/containerd/io.containerd.runtime.v2.task/k8s.io/${ID}/config.json`]: CONFIG,
  [`run/containers/storage/overlay-containers/${ID}/userdata/pidfile`]: '45\n',
  [`run/containers/storage/overlay-containers/${ID}/userdata/config.json`]: CONFIG,
  'var/lib/containers/storage/overlay-containers/containers.json': JSON.stringify([{ id: ID, names: ['web1'] }]),
  'run/systemd/machines/web1': 'NAME=web1\nCLASS=container\nLEADER=46\n',
  'sys/fs/cgroup/lxc.payload.web1/cgroup.procs': '47\n48\n',
  'proc/47/status': 'Name:\tinit\nNSpid:\t47\t1\n',
};

/** A root of its own for each process, with files of which one is spoilt at a time. */
abstract class Root {
  protected readonly root = fs.mkdtempSync(join(tmpdir(), 'netsteer-fuzz-'));
  readonly #state: Readonly<Record<string, string>>;
  readonly #files: readonly string[];

  constructor(state: Readonly<Record<string, string>>) {
    this.#state = state;
    this.#files = Object.keys(state);
    for (const file of this.#files) this.#write(file, state[file]!);
  }

  #write(file: string, content: string): void {
    fs.mkdirSync(dirname(join(this.root, file)), { recursive: true });
    fs.writeFileSync(join(this.root, file), content);
  }

  /** Puts the text into the file by whose number it begins. Returns what puts the file right again. */
  protected spoil(text: string): () => void {
    const file = this.#files[Math.abs(Number.parseInt(text, 10)) % this.#files.length || 0]!;
    this.#write(file, text.slice(text.indexOf(' ') + 1));
    return () => this.#write(file, this.#state[file]!);
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.root, { recursive: true });
  }
}

const seedsOf = (state: Readonly<Record<string, string>>): Uint8Array[] =>
  Object.values(state).map((content, i) => encode(`${i} ${content}`));

/** The state of all runtimes but docker. */
export class RuntimeFiles extends Root implements Target {
  readonly name = "runtimes' state";
  readonly weight = 1;
  readonly seeds = seedsOf(STATE);
  readonly make = makeText;

  constructor() {
    super(STATE);
  }

  async read(input: Uint8Array, random: Random): Promise<void> {
    const mend = this.spoil(decode(input));
    try {
      const runtime = random.pick(['podman', 'containerd', 'cri-o', 'lxc', 'nspawn', 'runc', 'crun'] as const);
      const found = await findContainer(random.pick([ID, 'c0ffee', 'web1']), { runtime }, { root: this.root });
      if (!Number.isInteger(found.pid) || found.pid < 1) throw new Error(`a pid that is none: ${found.pid}`);
      refuseControl(canonical(found));
    } finally {
      mend();
    }
  }
}

const KERNEL: Readonly<Record<string, string>> = {
  'proc/modules': 'ip_vs 217088 2 ip_vs_rr,ip_vs_wlc, Live 0x0000000000000000\nnf_tables 315392 0 - Live 0x0\n',
  'proc/kallsyms': '0000000000000000 T nft_do_chain\t[nf_tables]\n0000000000000000 t nfulnl_log_packet\n',
  'proc/sys/kernel/osrelease': '6.12.0-test\n',
  'proc/sys/kernel/modprobe': '/sbin/modprobe\n',
  'proc/sys/kernel/modules_disabled': '0\n',
  'lib/modules/6.12.0-test/modules.dep': 'kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/lib/libcrc32c.ko.xz\n',
  'lib/modules/6.12.0-test/modules.builtin': 'kernel/net/netfilter/nft-log.ko\n',
  'proc/47/uid_map': '         0       1000          1\n         1     100000      65536\n',
};

/** What the kernel shows of its modules, and whose a user namespace is. */
export class KernelFiles extends Root implements Target {
  readonly name = 'proc files about modules and users';
  readonly weight = 1;
  readonly seeds = seedsOf(KERNEL);
  readonly make = makeText;

  constructor() {
    super(KERNEL);
  }

  read(input: Uint8Array): void {
    const mend = this.spoil(decode(input));
    try {
      const modules = new KernelModules({ root: this.root });
      canonical(['ip_vs', 'nft_log', '__proto__'].map(name => modules.state(name, 'nft_do_chain')));
      if (modules.obstacle !== undefined) refuseControl(modules.obstacle.why);
      isOwnedBy(1000, 47, { root: this.root });
    } finally {
      mend();
    }
  }
}

/** What docker and podman answer: a response as it is on the wire, status line and all. */
const response = (status: string, body: string): Uint8Array =>
  encode(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );

const INSPECTED = JSON.stringify({
  Id: ID,
  Name: '/web1',
  State: { Status: 'running', Running: true, Pid: 4711, ExitCode: 0 },
  HostConfig: { NetworkMode: 'bridge', Privileged: false },
});
const EVENT = `{"Type":"container","Action":"start","Actor":{"ID":"${ID}","Attributes":{"name":"web1"}}}\n`;

/** A daemon that says what it is given, whatever it was asked, and hangs up. */
export class EngineAnswers implements Target, AsyncDisposable {
  readonly name = "answers of docker's and podman's sockets";
  readonly weight = 1;
  readonly seeds = [
    response('200 OK', INSPECTED),
    response('200 OK', EVENT.repeat(2)),
    response('404 Not Found', '{"message":"No such container: web1"}'),
    response('500 Internal Server Error', '{"message":"\\u001b[2J"}'),
    encode(
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${EVENT.length.toString(16)}\r\n${EVENT}\r\n0\r\n\r\n`,
    ),
    encode('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n'),
  ];
  readonly #folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-fuzz-'));
  readonly #socketPath = join(this.#folder, 'docker.sock');
  readonly #server = net.createServer(connection => {
    connection.on('error', () => {});
    connection.once('data', () => connection.end(this.#answer));
  });
  #answer: Uint8Array = new Uint8Array(0);

  /** Mostly the body is spoilt and its length told right: Node refuses the rest before we see it. */
  make(random: Random, pool: readonly Uint8Array[]): Uint8Array {
    const text = decode(random.pick(pool));
    const body = text.indexOf('\r\n\r\n') + 4;
    if (body < 4 || random.chance(4)) return encode(mutatedText(text, random));
    return response(/^HTTP\/1\.1 (\d{3}\b[^\r\n]*)/.exec(text)?.[1] ?? '200 OK', mutatedText(text.slice(body), random));
  }

  async read(input: Uint8Array, random: Random): Promise<void> {
    if (!this.#server.listening) await new Promise<void>(resolve => this.#server.listen(this.#socketPath, resolve));
    this.#answer = input;
    const engine = new Engine(this.#socketPath);
    try {
      if (random.chance(3)) {
        const ids: string[] = [];
        for await (const id of engine.starts(new AbortController().signal)) ids.push(id);
        for (const id of ids) refuseControl(id);
        // What it has started is asked for.
        if (ids.length > 0) await engine.inspect(ids[0]!);
      } else {
        const found = await engine.inspect('web1');
        if (found === undefined) return;
        canonical(found);
        refuseControl(found.id);
        if (!Number.isInteger(found.pid) || found.pid < 0) throw new Error(`a pid that is none: ${found.pid}`);
      }
    } catch (error) {
      // An error of Node's has a code, too.
      if (error instanceof StateError) throw error;
      throw new Error('an error that is not of this library', { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await new Promise(resolve => this.#server.close(resolve));
    fs.rmSync(this.#folder, { recursive: true });
  }
}
