import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { NetNs } from 'netsteer';
import { PATIENCE_MILLISECONDS } from '../../test/support/wait.ts';

/** A program that requests a URL several times, each time over a new connection, and prints the answers. */
const CLIENT = `
const http = require('node:http');
const [url, times] = process.argv.slice(1);
const ask = () => new Promise((resolve, reject) => http.get(url, { agent: false, timeout: ${PATIENCE_MILLISECONDS} }, reply => {
  let text = '';
  reply.on('data', part => { text += part; }).on('end', () => resolve(text.trim()));
}).on('timeout', function () { this.destroy(new Error('no answer')); }).on('error', reject));
(async () => { for (let i = 0; i < times; i++) console.log(await ask()); })().catch(error => { console.error(String(error)); process.exit(1); });
`;

/** Fetches a URL from inside a namespace: a process that is spawned inside `run` starts there. Returns the answers. */
export async function fetchFrom(
  netns: NetNs,
  url: string,
  times: number,
  onAnswer: (answer: string) => void = () => {},
): Promise<string[]> {
  const child = netns.run(() =>
    spawn(process.execPath, ['-e', CLIENT, url, String(times)], { stdio: ['ignore', 'pipe', 'pipe'] }),
  );
  const answers: string[] = [];
  let errors = '';
  createInterface({ input: child.stdout }).on('line', answer => {
    answers.push(answer);
    onAnswer(answer);
  });
  child.stderr.on('data', chunk => {
    errors += chunk;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`the client failed: ${errors.trim()}`);
  return answers;
}
