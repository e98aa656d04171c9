import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { evaluate } from '../support/compiled.ts';
import { kernelSuite } from '../support/where.ts';

/** What this machine can call C by; `npm run test:long` runs all kernel tests by each of them. */
const BACKENDS = ['koffi', 'ffi-napi', 'node:ffi'] as const;

const installed: Record<(typeof BACKENDS)[number], boolean> = {
  koffi: true,
  'ffi-napi': resolves('@2060.io/ffi-napi'),
  'node:ffi': process.getBuiltinModule('node:ffi') !== undefined,
};

function resolves(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** Calls with texts, with bytes, with errors; off the thread; and readiness on the event loop. */
const CONVERSATION = `
  import { NetNs } from './netns/index.js';
  import { Nftables, Transaction } from './nftables/index.js';
  import { Nflog } from './nflog/index.js';
  import { Links } from './rtnetlink/index.js';
  import { selectFfi } from './netlink/index.js';
  import { execFileSync } from 'node:child_process';
  import { once } from 'node:events';
  import { pathToFileURL } from 'node:url';
  import { Worker } from 'node:worker_threads';
  const name = selectFfi(process.env.BACKEND);
  const netns = NetNs.create();
  const links = Links.open({ netns });
  links.sync.set('lo', { up: true });
  const nft = Nftables.open({ netns });
  const table = { family: 'ip', table: 't' };
  const tx = new Transaction().add({ table: { family: 'ip', name: 't' } });
  tx.add({ chain: { ...table, name: 'out', type: 'filter', hook: 'output', priority: 0 } });
  tx.add({ rule: { ...table, chain: 'out', expressions: [{ log: { group: 5, prefix: 'p' } }] } });
  for (let i = 0; i < 3000; i++) tx.add({ chain: { ...table, name: 'chain-' + i } });
  await nft.commit(tx);
  const chains = (await nft.chains()).length;
  const log = Nflog.open({ netns, groups: [5] });
  netns.run(() => execFileSync('bash', ['-c', 'for i in 1 2 3; do echo x >/dev/udp/127.0.0.1/9; done']));
  const packets = [];
  for await (const packet of log) {
    packets.push(packet.prefix);
    if (packets.length === 3) break;
  }
  log.close();
  const errors = [];
  for (const fail of [() => NetNs.open({ path: '/nowhere' }), () => links.sync.set('absent', { up: true }), () => selectFfi('other')]) {
    try { fail(); errors.push('none'); } catch (error) { errors.push(error.code); }
  }
  const workerData = pathToFileURL(process.cwd() + '/').href;
  const worker = new Worker(process.env.WORKER, { eval: true, execArgv: [], workerData });
  const [watched] = await once(worker, 'message');
  links.close();
  nft.close();
  netns.close();
  console.log(JSON.stringify({ name, chains, packets, errors, watched }));
`;

/** Waits for packets in a worker. */
const WORKER = `
  const { parentPort, workerData } = require('node:worker_threads');
  (async () => {
    const load = name => import(workerData + name + '/index.js');
    const [{ NetNs }, { Nflog }, { selectFfi }] = await Promise.all(['netns', 'nflog', 'netlink'].map(load));
    selectFfi(process.env.BACKEND);
    const netns = NetNs.create();
    const log = Nflog.open({ netns, groups: [5] });
    try { log.onBatch(() => {}); parentPort.postMessage('watched'); }
    catch (error) { parentPort.postMessage(error.code); }
    log.close();
    netns.close();
  })();
`;

kernelSuite('the backends for calls of C', () => {
  test.each(BACKENDS)('give the same results: %s, or reject what is not installed with ERR_FFI', backend => {
    if (!installed[backend]) {
      const why = `
        import { selectFfi } from './netlink/index.js';
        try { selectFfi(process.env.BACKEND); console.log('null'); }
        catch (error) { console.log(JSON.stringify({ code: error.code, message: error.message })); }`;
      expect(evaluate(why, { env: { BACKEND: backend } })).toEqual({
        code: 'ERR_FFI',
        message: expect.stringMatching(/install it|this Node has no node:ffi/),
      });
      return;
    }
    expect(evaluate(CONVERSATION, { env: { BACKEND: backend, WORKER } })).toEqual({
      name: expect.stringContaining(backend),
      chains: 3001,
      packets: ['p', 'p', 'p'],
      errors: ['ENOENT', 'ENODEV', 'ERR_FFI'],
      // A callback that is called in a worker that was terminated ends the whole process, but for koffi's.
      watched: backend === 'koffi' ? 'watched' : 'ERR_FFI',
    });
  });

  test('reject an unknown backend with the names of the known ones', () => {
    const script = `
      import { NetNs } from './netns/index.js';
      try { NetNs.home(); console.log('null'); } catch (error) { console.log(JSON.stringify(error.message)); }`;
    expect(evaluate(script, { env: { NETSTEER_FFI: 'other' } })).toBe(
      'NETSTEER_FFI: expected one of koffi, ffi-napi, node:ffi, got "other"',
    );
  });

  test('are one for each thread', () => {
    const script = `
      import { NetNs } from './netns/index.js';
      import { selectFfi } from './netlink/index.js';
      NetNs.home();
      try { selectFfi('node:ffi'); console.log('null'); } catch (error) { console.log(JSON.stringify(error.message)); }`;
    expect(evaluate(script, { env: { NETSTEER_FFI: 'koffi' } })).toMatch(/^ERR_FFI: koffi .* is in use already/);
  });
});
