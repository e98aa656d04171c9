import vm from 'node:vm';
import fc from 'fast-check';
import { Nftables } from 'netsteer';
import { afterAll, expect, test } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { evaluate, runScript } from '../support/compiled.ts';
import { cleanUps, descriptors, here, home, inodeOf, make } from '../support/namespaces.ts';
import { kernelSuite } from '../support/where.ts';

/* What ends JavaScript inside a namespace, and threads that are born there. */

const turn = () => new Promise(resolve => setImmediate(resolve));

/** Runs a function until V8 ends it: nothing of it is run any more, no `finally` either. */
function end(work: () => void): void {
  reached = false;
  // A machine that is busy may need longer than that to come so far.
  for (let timeout = 20; !reached; timeout *= 2)
    expect(() => vm.runInNewContext('work()', { work }, { timeout })).toThrow(
      expect.objectContaining({ code: 'ERR_SCRIPT_EXECUTION_TIMEOUT' }),
    );
}

let reached = false;
/** Where it is ended. */
function forever(): never {
  reached = true;
  for (;;);
}

/** The warnings of this process from here on. */
function warnings(): NodeJS.ErrnoException[] {
  const told: NodeJS.ErrnoException[] = [];
  const listen = (warning: NodeJS.ErrnoException) => void told.push(warning);
  process.on('warning', listen);
  cleanUps.add(() => process.off('warning', listen));
  return told;
}

kernelSuite('JavaScript that is terminated inside a namespace', () => {
  afterAll(() => expect(here()).toBe(home));

  test('is noticed at the end of the turn: the thread is back home, and a warning is printed', async () => {
    const netns = make();
    const told = warnings();
    netns.run(() => 0);
    end(() => netns.run(() => forever()));
    expect(here()).not.toBe(home);
    await turn();
    expect(here()).toBe(home);
    expect(told.map(({ code }) => code)).toEqual(['NETSTEER_ENDED_INSIDE']);
    await turn();
    expect(told).toHaveLength(1);
  });

  test('is noticed in the same turn by the next call that opens or enters', () => {
    const [netns, other] = [make(), make()];
    const actions = {
      'another namespace': () => other.run(here) === `net:[${other.inode}]`,
      'the same namespace': () => netns.run(here) === `net:[${netns.inode}]`,
      home: () => NetNs.home().run(here) === home,
      'a namespace that is made': () => make().inode !== netns.inode,
      'a socket at home': () => {
        const nft = Nftables.open();
        cleanUps.add(() => nft[Symbol.asyncDispose]());
        return nft.sync.tables().length >= 0;
      },
      'a namespace that is opened': () => {
        const opened = NetNs.open({ path: '/proc/thread-self/ns/net' });
        cleanUps.add(() => opened.close());
        return opened.equals(NetNs.home());
      },
      'a sysctl': () => other.sysctl.get('net.ipv4.ip_forward') === '0',
    };
    for (const [name, action] of Object.entries(actions)) {
      end(() => netns.run(() => forever()));
      expect(inodeOf(here()), name).toBe(netns.inode);
      expect(action(), name).toBe(true);
      expect(here(), name).toBe(home);
    }
  });

  test('leads the thread back to the namespace of the surrounding entry', () => {
    const [outer, inner, third] = [make(), make(), make()];
    const seen = outer.run(() => {
      end(() => inner.run(() => forever()));
      const inThird = third.run(here);
      return [inodeOf(inThird), inodeOf(here())];
    });
    expect(seen).toEqual([third.inode, outer.inode]);
    expect(here()).toBe(home);
  });

  test('leaves descriptors that can still be closed', async () => {
    const before = descriptors();
    for (let i = 0; i < 3; i++) {
      const netns = NetNs.create();
      end(() => netns.run(() => forever()));
      await turn();
      await netns[Symbol.asyncDispose]();
    }
    expect(descriptors()).toBe(before);
  });

  test('leaves every surrounding entry in its namespace, at any depth', async () => {
    type Tree = { namespace: number; ended: boolean; children: Tree[] };
    const { tree } = fc.letrec<{ tree: Tree }>(tie => ({
      tree: fc.record({
        namespace: fc.nat(2),
        ended: fc.boolean(),
        children: fc.array(tie('tree'), { maxLength: 2 }),
      }),
    }));
    const namespaces = [make(), make(), make()];
    // One within another would be ended together: node:vm tells them not apart.
    const grow = ({ namespace, ended, children }: Tree, within = false): void => {
      const netns = namespaces[namespace]!;
      const inside = () => {
        expect(inodeOf(here())).toBe(netns.inode);
        for (const child of children) grow(child, within || ended);
        // What was ended within stands only until something is entered.
        expect(inodeOf(NetNs.home().run(here))).toBe(inodeOf(home));
        expect(inodeOf(here())).toBe(netns.inode);
      };
      if (!ended || within) netns.run(inside);
      else end(() => netns.run(() => [inside(), forever()]));
    };
    await fc.assert(
      fc.asyncProperty(tree, async each => {
        grow(each);
        await turn();
        expect(here()).toBe(home);
      }),
      { numRuns: 25 },
    );
  });
});

kernelSuite('process.exit() inside a namespace', () => {
  test.each(['before', 'after'])('runs at home the listeners that were registered %s the first entry', when => {
    const listen = `process.on('exit', () => console.log(here() === home));`;
    const { status, stdout } = runScript(`
      import fs from 'node:fs';
      import { NetNs } from './netns/index.js';
      const here = () => fs.readlinkSync('/proc/thread-self/ns/net');
      const home = here();
      ${when === 'before' ? listen : ''}
      const [a, b] = [NetNs.create(), NetNs.create()];
      ${when === 'after' ? listen : ''}
      a.run(() => b.run(() => process.exit(7)));`);
    expect([status, stdout]).toEqual([7, 'true\n']);
  });
});

kernelSuite('run', () => {
  test('rejects every function of which a part would run later with ERR_ASYNC_IN_NETNS', () => {
    const netns = make();
    let called = 0;
    const count = () => called++;
    class Methods {
      async method() {
        count();
      }
      static *generator() {
        yield count();
      }
      async *both() {
        yield count();
      }
    }
    const asynchronous = async () => count();
    const later: unknown[] = [
      asynchronous,
      async function named() {
        count();
      },
      function* generator() {
        yield count();
      },
      async function* both() {
        yield count();
      },
      new Methods().method,
      Methods.generator,
      new Methods().both,
      asynchronous.bind(null),
      asynchronous.bind(null).bind(null),
      new Proxy(asynchronous, {}),
      Object.setPrototypeOf(async () => count(), Function.prototype),
      vm.runInNewContext('(async () => count())', { count }),
      vm.runInNewContext('(function* () { count() })', { count }),
    ];
    for (const inside of later)
      expect(() => netns.run(inside as () => unknown)).toThrow(
        expect.objectContaining({
          name: 'TypeError',
          code: 'ERR_ASYNC_IN_NETNS',
          message: expect.stringContaining('has not been called'),
        }),
      );
    expect(called).toBe(0);
  });

  test('rejects a returned promise with ERR_ASYNC_IN_NETNS, which says that the function was called', async () => {
    const netns = make();
    let ran = '';
    const inner = async () => {
      ran = here();
    };
    function* generator() {
      yield 1;
    }
    for (const inside of [() => inner(), () => generator(), () => Promise.reject(new Error('late'))])
      expect(() => netns.run(inside as () => unknown)).toThrow(
        expect.objectContaining({ code: 'ERR_ASYNC_IN_NETNS', message: expect.stringContaining('it was called') }),
      );
    expect(inodeOf(ran)).toBe(netns.inode);
    expect(here()).toBe(home);
    expect(netns.run(() => [1, 2].values()).next().value).toBe(1);
    await turn();
  });
});

/** What a Worker's script begins with. */
const WORKER = `
  import fs from 'node:fs';
  import { parentPort, workerData } from 'node:worker_threads';
  import { Container, NetNs, Nftables, Nflog } from './index.js';
  const here = () => fs.readlinkSync('/proc/thread-self/ns/net');`;
/** What the script of the main thread begins with. */
const MAIN = `
  import fs from 'node:fs';
  import { spawn } from 'node:child_process';
  import { once } from 'node:events';
  import { Worker } from 'node:worker_threads';
  import { pathToFileURL } from 'node:url';
  import { Container, NetNs, Nftables } from './index.js';
  const here = () => fs.readlinkSync('/proc/thread-self/ns/net');
  const home = here();
  // From there no module can be named by a relative path.
  const modules = pathToFileURL(process.cwd() + '/index.js').href;
  const start = (script, options = {}) => {
    const source = script.replace("'./index.js'", JSON.stringify(modules));
    return new Worker(new URL('data:text/javascript,' + encodeURIComponent(source)), { execArgv: [], ...options });
  };`;

kernelSuite('a Worker that is started inside a namespace', () => {
  const script = (waits: boolean) => `${MAIN}
    const netns = NetNs.create();
    const shared = new Int32Array(new SharedArrayBuffer(4));
    const worker = netns.run(() => {
      const worker = start(${JSON.stringify(`${WORKER}
        const born = here();
        const code = open => { try { open().close(); return 'opened'; } catch (error) { return error.code; } };
        const home = NetNs.home();
        const after = here();
        const result = {
          born, after, home: 'net:[' + home.inode + ']',
          host: code(() => Container.open({ netns: home })),
          process: code(() => Container.open({ pid: process.pid })),
          container: code(() => Container.open({ netns: NetNs.open({ path: workerData.path }) })),
          tables: (() => { const nft = Nftables.open(); try { return nft.sync.tables().map(({ name }) => name); } finally { nft.close(); } })(),
        };
        parentPort.postMessage(result);
        Atomics.store(workerData.shared, 0, 1);
        Atomics.notify(workerData.shared, 0);
      `)}, { workerData: { shared, waits: ${waits}, path: '/proc/' + process.pid + '/fd/' + netns.descriptor } });
      if (${waits}) Atomics.wait(shared, 0, 0, 20_000);
      return worker;
    });
    const [[result]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
    console.log(JSON.stringify({ ...result, namespace: 'net:[' + netns.inode + ']', mine: home }));`;

  test.each([
    ['when its maker has left', false],
    ['while its maker is still inside', true],
  ])('returns home with its first call, and rejects the host with ERR_HOST_NAMESPACE, %s', (_when, waits) => {
    const result = evaluate(script(waits)) as Record<string, unknown>;
    expect(result.born).toBe(result.namespace);
    expect(result).toMatchObject({ after: result.mine, home: result.mine });
    expect(result).toMatchObject({ host: 'ERR_HOST_NAMESPACE', container: 'opened' });
    // Where its main thread is, a process is.
    expect(result.process).toBe(waits ? 'opened' : 'ERR_HOST_NAMESPACE');
  });
});

kernelSuite('Workers', () => {
  const uses = {
    'that ask for home': 'NetNs.home();',
    'that open a namespace and a socket': `
      const netns = NetNs.open({ path: workerData.path });
      const nft = Nftables.open({ netns });
      nft.sync.tables();
      await nft.tables();`,
    'that open a container, and watch its process': `
      const container = Container.open({ pid: workerData.pid });
      container.nftables.sync.tables();`,
    'that listen to a log': `
      const log = Nflog.open({ netns: NetNs.open({ path: workerData.path }), groups: [workerData.i] });
      (async () => { for await (const packet of log); })();
      await new Promise(resolve => setImmediate(resolve));`,
    'that make namespaces': 'NetNs.create(); const keep = NetNs.create();',
    'that close what they open': `
      for (let i = 0; i < 5; i++) {
        const nft = Nftables.open({ netns: NetNs.open({ path: workerData.path }) });
        nft.sync.tables();
        await nft[Symbol.asyncDispose]();
      }`,
  };
  test.each([
    ['end by themselves', false],
    ['are terminated', true],
  ])('that %s leave no descriptor and no namespace behind: 40 of each kind in turn', (_how, terminated) => {
    const scripts = Object.values(uses).map(
      use =>
        `${WORKER}${use} parentPort.postMessage('ready'); ${terminated ? 'setInterval(() => {}, 1000);' : 'process.exit();'}`,
    );
    const result = evaluate(
      `${MAIN}
      const netns = NetNs.create();
      const child = netns.run(() => spawn('sleep', ['1000'], { stdio: 'ignore' }));
      const path = '/proc/' + process.pid + '/fd/' + netns.descriptor;
      const scripts = ${JSON.stringify(scripts)};
      const round = async (first, count) => {
        const workers = Array.from({ length: count }, (_, i) =>
          start(scripts[(first + i) % scripts.length], { workerData: { path, i: first + i, pid: child.pid } }));
        await Promise.all(workers.map(async worker => {
          const exit = once(worker, 'exit');
          await Promise.race([once(worker, 'message'), exit]);
          if (${terminated}) await worker.terminate();
          await exit;
        }));
      };
      const open = () => fs.readdirSync('/proc/self/fd').map(fd => { try { return fs.readlinkSync('/proc/self/fd/' + fd); } catch { return ''; } });
      await round(0, 4);
      const before = open().length;
      for (let i = 0; i < 40; i += 8) await round(i, 8);
      const after = open();
      child.kill();
      console.log(JSON.stringify({ grown: after.length - before, namespaces: after.filter(each => each.startsWith('net:')).length }));
      process.exit();`,
    );
    // Home, and the one that this process has made.
    expect(result).toEqual({ grown: 0, namespaces: 2 });
  });
});
