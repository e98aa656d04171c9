import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { NetNs } from '../../src/netns/index.ts';
import { PATIENCE_MILLISECONDS } from './wait.ts';

/** Requests one after the other, each over a connection of its own. It prints when each began, and its answer or its error. */
const ASKING = `
const http = require('node:http');
const [host] = process.argv.slice(1);
const ask = () => new Promise(done => {
  const began = Date.now();
  http.get({ host, port: 80, agent: false, timeout: ${PATIENCE_MILLISECONDS} }, reply => {
    let text = '';
    reply.on('data', part => { text += part; }).on('end', () => done([began, text.trim()]));
  }).on('timeout', function () { this.destroy(new Error('no answer')); }).on('error', error => done([began, 'failed: ' + error.message]));
});
(async () => { for (;;) console.log(JSON.stringify(await ask())); })();
`;

const start = (netns: NetNs, program: string, parameters: string[]): ChildProcess =>
  netns.run(() =>
    spawn(process.execPath, ['-e', program, ...parameters], { stdio: ['pipe', 'pipe', 'inherit'], env: { PATH: '' } }),
  );

/** Requests that go on until `stop`. */
export class AskingClient {
  /** When each began, in milliseconds since 1970, and its answer. */
  readonly answers: [beganMs: number, text: string][] = [];
  readonly #child: ChildProcess;

  constructor(netns: NetNs, host: string) {
    this.#child = start(netns, ASKING, [host]);
    createInterface({ input: this.#child.stdout! }).on('line', line => this.answers.push(JSON.parse(line)));
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await once(this.#child, 'close');
  }
}
