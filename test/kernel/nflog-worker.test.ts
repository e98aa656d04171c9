import { beforeAll, expect, it } from 'vitest';
import { compiledSources, evaluate } from '../support/compiled.ts';
import { nativeProgram } from '../support/native.ts';
import { WAITING } from '../support/wait.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

/** In a guest a worker takes half a minute to begin. */
const ROUNDS = where !== 'host' ? 1 : isLong ? 50 : 5;

/** A worker: a log of a namespace of its own, to which packets come without end. It tells the flood's pid when it has read the first ones. */
const READER = `
  const { spawn } = require('node:child_process');
  const { parentPort, workerData } = require('node:worker_threads');
  const load = name => import(workerData.sources + name + '/index.js');
  (async () => {
    const [{ NetNs }, { Links }, { Nftables, Transaction }, { Nflog }] =
      await Promise.all(['netns', 'rtnetlink', 'nftables', 'nflog'].map(load));
    const netns = NetNs.create();
    Links.open({ netns }).sync.set('lo', { up: true });
    const chain = { family: 'ip', table: 'test', type: 'filter' };
    Nftables.open({ netns }).sync.commit(
      new Transaction()
        .add({ table: { family: 'ip', name: 'test' } })
        .add({ chain: { ...chain, name: 'sent', hook: 'output', priority: 0 } })
        .add({ chain: { ...chain, name: 'returned', hook: 'prerouting', priority: -300, policy: 'drop' } })
        .add({ rule: { family: 'ip', table: 'test', chain: 'sent', statements: [{ log: { group: 5 } }] } }),
    );
    const log = Nflog.open({ netns, groups: [5], queue: { packets: 1 } });
    const parameters = ['-r', '5000', '127.0.0.1', '9999', '300000'];
    const flood = netns.run(() => spawn(workerData.flood, parameters, { stdio: 'ignore' }));
    parentPort.once('message', () => process.exit());
    let told = false;
    log.onBatch(() => {
      if (!told) parentPort.postMessage(flood.pid);
      told = true;
    });
  })();`;

/** Runs such workers one after the other, and ends each at any moment of its loop. */
const program = (end: string, before = '') => `
  import { pathToFileURL } from 'node:url';
  import { Worker } from 'node:worker_threads';
  ${before}
  ${WAITING}
  const workerData = { sources: pathToFileURL(process.cwd() + '/').href, flood: process.env.FLOOD };
  let ended = 0;
  for (let i = 0; i < ${ROUNDS}; i++) {
    const worker = new Worker(process.env.READER, { eval: true, execArgv: [], workerData });
    const exited = new Promise(resolve => worker.once('exit', resolve));
    const pid = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await anyMoment(20);
    ${end}
    await exited;
    process.kill(pid);
    ended++;
  }
  console.log(ended);`;

kernelSuite('the end of a worker while packets arrive', () => {
  beforeAll(() => {
    // Made once: on a busy machine that alone takes minutes.
    compiledSources();
    nativeProgram('flood');
  });

  it.each([
    ['by terminate()', 'worker.terminate();', ''],
    ['by terminate(), where its parent calls C too', 'worker.terminate();', "await import('koffi');"],
    ['by process.exit() of its own', "worker.postMessage('exit');", ''],
  ])('leaves the process alive: %s', (_, end, before) => {
    // The others watch nothing in a worker: test/kernel/ffi-backends.test.ts.
    const env = { FLOOD: nativeProgram('flood'), READER, NETSTEER_FFI: 'koffi' };
    expect(evaluate(program(end, before), { env })).toBe(ROUNDS);
  });
});
