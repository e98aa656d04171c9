import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './wait.ts';

/** A real etcd of Debian (`apt-get install etcd-server`), with data of its own. */
export class EtcdServer {
  readonly endpoint: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'netsteer-etcd-'));
  readonly #arguments: readonly string[];
  readonly #answers: () => Promise<boolean>;
  #process: ChildProcess | undefined;

  private constructor(clientPort: number, peerPort: number, more: readonly string[], scheme: 'http' | 'https') {
    this.endpoint = `${scheme}://127.0.0.1:${clientPort}`;
    // One that asks for client certificates is asked for its health elsewhere.
    const health =
      scheme === 'http'
        ? this.endpoint
        : `http://127.0.0.1:${peerPort + 10_000 > 65_000 ? peerPort - 10_000 : peerPort + 10_000}`;
    this.#answers = async () => {
      try {
        const response = await fetch(`${health}/health`);
        return response.ok && ((await response.json()) as { health?: string }).health === 'true';
      } catch {
        return false;
      }
    };
    const peer = `http://127.0.0.1:${peerPort}`;
    this.#arguments = [
      '--name=one',
      `--data-dir=${this.#folder}`,
      `--listen-client-urls=${this.endpoint}`,
      `--advertise-client-urls=${this.endpoint}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=one=${peer}`,
      '--heartbeat-interval=20',
      '--election-timeout=200',
      '--unsafe-no-fsync',
      '--log-level=error',
      ...(health === this.endpoint ? [] : [`--listen-metrics-urls=${health}`]),
      ...more,
    ];
  }

  static async start(...more: readonly string[]): Promise<EtcdServer> {
    const server = new EtcdServer(await freePort(), await freePort(), more, 'http');
    await server.run();
    return server;
  }

  /** One that speaks TLS, as `more` says. */
  static async startSecure(...more: readonly string[]): Promise<EtcdServer> {
    const server = new EtcdServer(await freePort(), await freePort(), more, 'https');
    await server.run();
    return server;
  }

  /** Starts it again without its data. */
  async runEmptied(): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
    await this.run();
  }

  /** Starts it, again with the same data. */
  async run(): Promise<void> {
    this.#process = spawn('etcd', this.#arguments, { stdio: 'ignore', env: { ...process.env, ETCDCTL_API: '3' } });
    await until(() => this.#answers());
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#process?.kill(signal);
  }

  async stop(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (process === undefined || process.exitCode !== null || process.signalCode !== null) return;
    process.kill('SIGCONT');
    process.kill('SIGKILL');
    await once(process, 'exit');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
