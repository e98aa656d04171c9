import { spawn } from 'node:child_process';
import { compiledSources } from './compiled.ts';
import { WAITING } from './wait.ts';

export interface SoakOptions {
  containers: number;
  seconds: number;
}

/** What the process had at one moment, after a garbage collection. */
export interface Sample {
  second: number;
  descriptors: number;
  heapMegabytes: number;
  residentMegabytes: number;
  processes: number;
}

export interface SoakResult {
  /** Containers that were started, those of the beginning included. */
  started: number;
  runs: number;
  programmed: number;
  gone: number;
  failed: string[];
  drifts: number;
  samples: Sample[];
  /** Once everything was closed: what is left, and how many namespaces could be made again. */
  left: { descriptors: number; processes: number; namespaces: number };
  limit: number;
}

/*
 * A fleet whose containers come and go. It runs in a user namespace of its own, where the number of network namespaces is limited: one that
 * something of ours kept alive would be missing in the end, and before long there would be none to make.
 */
const PROGRAM = `
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { NetNs } from './netns/index.js';
import { Container, Fleet } from './container/index.js';
import { Nftables } from './nftables/index.js';

${WAITING}
const { containers: COUNT, seconds } = JSON.parse(process.env.SOAK);
const SLACK = Math.max(10, Math.ceil(COUNT / 5));
const LIMIT = COUNT + SLACK + 1;
fs.writeFileSync('/proc/sys/user/max_net_namespaces', String(LIMIT));

const descriptors = () => fs.readdirSync('/proc/self/fd').length;
const processes = () => fs.readdirSync('/proc').filter(name => /^[0-9]+$/.test(name)).length;

/* The kernel clears a namespace away some time after its last user has gone. */
const make = () => until(() => {
  try { return NetNs.create(); }
  catch (error) { if (error.code !== 'ENOSPC') throw error; }
});

async function start() {
  const netns = await make();
  const child = netns.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' }));
  await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  const gone = new Promise(resolve => child.once('close', resolve));
  const container = Container.open({ pid: child.pid });
  netns.close();
  return { container, child, gone };
}

const state = version => ({
  redirects: [1, 2, 3].map(i => ({ protocol: 'tcp', address: '10.0.0.' + i, port: 80, toPort: 8000 + version % 1000 })),
  logging: [{ group: 5, prefix: 'version ' + version }],
});

NetNs.home();
const before = descriptors();
const result = { started: 0, runs: 0, programmed: 0, gone: 0, failed: [], drifts: 0, samples: [], limit: LIMIT };
const living = [];
const fleet = Fleet.open();
const begin = performance.now();
const elapsed = () => (performance.now() - begin) / 1000;

function sample() {
  gc();
  const { heapUsed, rss } = process.memoryUsage();
  const megabytes = bytes => Math.round(bytes / 1e5) / 10;
  result.samples.push({
    second: Math.round(elapsed()), descriptors: descriptors(), processes: processes(),
    heapMegabytes: megabytes(heapUsed), residentMegabytes: megabytes(rss),
  });
}

async function fill() {
  while (living.length < COUNT) {
    living.push(await start());
    result.started++;
  }
}

await fill();
for (let version = 0; version < 3 || elapsed() < seconds; version++) {
  /* Some end, half of them without our knowing, and others come. */
  const ending = Array.from({ length: Math.max(2, COUNT / 25) }, () => living.splice(Math.floor(Math.random() * living.length), 1)[0]);
  ending.forEach(({ child }) => child.kill('SIGKILL'));
  const containers = [...living, ...ending.slice(0, ending.length / 2)].map(each => each.container);
  const { programmed, gone, failed } = await fleet.apply(containers, state(version));
  result.runs++;
  result.programmed += programmed.length;
  result.gone += gone.length;
  for (const error of failed.values()) result.failed.push(String(error));
  if (version % 5 === 0) result.drifts += (await fleet.verify(living.map(each => each.container), state(version))).drift.size;
  const log = living[0].container.nflog({ groups: [5] });
  log.onBatch(() => {});
  await log[Symbol.asyncDispose]();
  for (const { container, gone } of ending) {
    await gone;
    await container[Symbol.asyncDispose]();
  }
  await fill();
  sample();
}
await fleet[Symbol.asyncDispose]();
for (const { container, child, gone } of living) {
  child.kill('SIGKILL');
  await gone;
  await container[Symbol.asyncDispose]();
}
living.length = 0;
const again = [];
for (let i = 0; i < LIMIT - 1; i++) again.push(await make());
for (const netns of again) netns.close();
result.left = { descriptors: descriptors() - before, processes: processes(), namespaces: again.length };
console.log(JSON.stringify(result));
process.exit();
`;

const THROUGH = ['--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];

/** Runs the fleet, and returns what it had and what was left. */
export async function soak(options: SoakOptions): Promise<SoakResult> {
  const node = [process.execPath, '--expose-gc', '--input-type=module', '--eval', PROGRAM];
  const child = spawn('unshare', [...THROUGH, ...node], {
    cwd: compiledSources(),
    env: { ...process.env, NODE_OPTIONS: '', SOAK: JSON.stringify(options) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [output, said] = ['', ''];
  child.stdout.on('data', chunk => {
    output += chunk;
  });
  child.stderr.on('data', chunk => {
    said += chunk;
  });
  const code = await new Promise<number | null>(resolve => child.once('close', resolve));
  if (code !== 0) throw new Error(`the fleet ended with ${code}: ${said}`);
  return JSON.parse(output) as SoakResult;
}
