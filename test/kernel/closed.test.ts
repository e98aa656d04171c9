import { type ChildProcess, spawn } from 'node:child_process';
import * as everything from 'netsteer';
import { Container, Fleet, NetNs, Nftables, Transaction } from 'netsteer';
import * as conntrack from 'netsteer/conntrack';
import * as containers from 'netsteer/container';
import * as ipvs from 'netsteer/ipvs';
import * as netlink from 'netsteer/netlink';
import * as netns from 'netsteer/netns';
import * as nflog from 'netsteer/nflog';
import * as nftables from 'netsteer/nftables';
import * as rtnetlink from 'netsteer/rtnetlink';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  type Closeable,
  closeOwners,
  HANDLES,
  type HandleTable,
  LIFETIME,
  MACHINERY,
  PARTS,
  type PartTable,
  PLAIN,
} from '../support/closed-handles.ts';
import { openDescriptors } from '../support/descriptors.ts';
import { kernelSuite } from '../support/where.ts';

const TABLE = { family: 'ip', name: 'large' } as const;

let home: NetNs;
let sleeper: ChildProcess;

beforeAll(() => {
  home = NetNs.create();
  sleeper = home.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' }));
});
afterEach(closeOwners);
afterAll(() => {
  sleeper.kill('SIGKILL');
  home.close();
});

/** 'asyncIterator' and 'inspect.custom', of symbols. */
const nameOf = (key: string | symbol): string =>
  typeof key === 'string' ? key : (key.description ?? '').replace(/^(Symbol|nodejs)\.(util\.)?/, '');

/** Every member of an object, of its own and of its classes. */
function membersOf(object: object): Map<string, PropertyDescriptor> {
  const members = new Map<string, PropertyDescriptor>();
  for (let at: object = object; at !== Object.prototype; at = Object.getPrototypeOf(at) as object) {
    for (const key of Reflect.ownKeys(at)) {
      const name = nameOf(key);
      if (!members.has(name)) members.set(name, Object.getOwnPropertyDescriptor(at, key)!);
    }
  }
  return members;
}

const own = <T>(table: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

type Call = readonly [path: string, call: () => unknown];

/** Every verb of a handle, of its synchronous form and of its parts. A member that the table does not have is an error. */
function callsOf(object: object, table: PartTable, path: string): Call[] {
  const calls: Call[] = [];
  const unknown: string[] = [];
  const states = [...LIFETIME, ...(table.states ?? [])];
  for (const [name, { get }] of membersOf(object)) {
    const verb = own(table.verbs, name);
    const part = own(table.parts ?? {}, name);
    if (verb !== undefined) calls.push([`${path}.${name}`, () => verb(object)]);
    if (part !== undefined) {
      const found = (object as Record<string, object>)[name]!;
      const forms = { verbs: table.verbs };
      calls.push(...callsOf(found, part === 'forms' ? forms : part, `${path}.${name}`));
    } else if (table.properties && get !== undefined) {
      calls.push([`${path}.${name}`, () => (object as Record<string, unknown>)[name]]);
    } else if (verb === undefined && !states.includes(name)) {
      unknown.push(`${path}.${name}`);
    }
  }
  expect(unknown, 'members that no table of test/support/closed-handles.ts has').toEqual([]);
  return calls;
}

/** What a call ends with before the event loop runs: its error, 'done', or 'later'. */
async function outcome([, call]: Call): Promise<unknown> {
  try {
    const result = call();
    if (!(result instanceof Promise)) return 'done';
    const settled = result.then(
      () => 'done',
      (error: unknown) => error,
    );
    return await Promise.race([settled, new Promise(resolve => setImmediate(resolve, 'later'))]);
  } catch (error) {
    return error;
  }
}

const codeOf = (result: unknown): unknown => (result as { code?: unknown }).code ?? result;

async function expectClosed(calls: readonly Call[]): Promise<void> {
  const wrong: string[] = [];
  for (const call of calls) {
    const code = codeOf(await outcome(call));
    if (code !== 'ERR_CLOSED') wrong.push(`${call[0]}: ${String(code)}`);
  }
  expect(wrong).toEqual([]);
}

/** The arguments are good, and the handle is open: it works, or the kernel says why not. */
async function expectOpen(calls: readonly Call[]): Promise<void> {
  for (const [path, call] of calls) {
    const error = await (async () => call())().then(
      () => undefined,
      (thrown: unknown) => thrown as Error & { code?: string },
    );
    expect(error?.code, path).not.toBe('ERR_CLOSED');
    if (error !== undefined) expect(error, path).not.toBeInstanceOf(TypeError);
    if (error !== undefined) expect(error, path).not.toBeInstanceOf(RangeError);
  }
}

const isClosed = ({ closed }: Closeable): boolean =>
  closed === true || closed === undefined || closed instanceof Promise;

async function closeAway(handle: Closeable): Promise<void> {
  if (handle[Symbol.asyncDispose] !== undefined) await handle[Symbol.asyncDispose]!();
  else await handle.close();
}

const open = (table: HandleTable): Closeable => table.open(home, sleeper.pid!);

function large(): Transaction {
  const transaction = new Transaction().add({ table: TABLE });
  for (let i = 0; i < 3000; i++) transaction.add({ chain: { family: 'ip', table: 'large', name: `chain-${i}` } });
  return transaction;
}

kernelSuite('closed handles', () => {
  test('are covered by this file: every exported class is in one of its tables', () => {
    const known = new Set([...Object.keys(HANDLES), ...Object.keys(MACHINERY), ...PARTS, ...PLAIN]);
    const modules = [everything, conntrack, containers, ipvs, netlink, netns, nflog, nftables, rtnetlink];
    const classes = modules.flatMap(module =>
      Object.entries(module as Record<string, unknown>).filter(
        ([, value]) =>
          typeof value === 'function' &&
          /^class\b/.test(Function.prototype.toString.call(value)) &&
          !(value.prototype instanceof Error),
      ),
    );
    expect(classes.length).toBeGreaterThan(20);
    expect(classes.map(([name]) => name).filter(name => !known.has(name))).toEqual([]);
    for (const [name, operations] of Object.entries(MACHINERY)) {
      const { prototype } = (netlink as unknown as Record<string, { prototype: object }>)[name]!;
      const found = Object.getOwnPropertyNames(prototype).filter(each => each !== 'constructor');
      expect(found.sort()).toEqual([...operations].sort());
    }
  });

  describe.each(Object.entries(HANDLES))('%s', (name, table) => {
    test('works until it is closed, and then rejects each verb with ERR_CLOSED at once in both forms', async () => {
      const handle = open(table);
      const calls = callsOf(handle, table, name);
      expect(calls.length).toBeGreaterThan(0);
      await expectOpen(calls);
      // A log's loops keep what they have; nothing else is under way.
      const closing = closeAway(handle);
      expect(isClosed(handle)).toBe(true);
      await expectClosed(calls);
      await closing;
      const before = openDescriptors().length;
      await expectClosed(calls);
      // And those that are reached through it only now.
      await expectClosed(callsOf(handle, table, name));
      expect(openDescriptors().length).toBeLessThanOrEqual(before);
      await closeAway(handle);
    });

    test('opens nothing when it was closed before its first use', async () => {
      const handle = open(table);
      void handle.close();
      expect(isClosed(handle)).toBe(true);
      const before = openDescriptors().length;
      const calls = callsOf(handle, table, name);
      await expectClosed(calls);
      await closeAway(handle);
      await expectClosed(calls);
      expect(openDescriptors().length).toBeLessThanOrEqual(before);
    });
  });

  test('let a commit under way finish, and reject all other calls on that socket with ERR_CLOSED', async () => {
    const container = Container.open({ netns: home });
    const calls = callsOf(container, HANDLES.Container!, 'Container');
    const sending = container.nftables.commit(large());
    // The one that is closed is another one than the one that works.
    container.redirects.close();
    expect([container.nftables.closed, container.logging.closed]).toEqual([true, true]);
    await expectClosed(calls.filter(([path]) => /\.(nftables|redirects|logging)\./.test(path)));
    const closing = container[Symbol.asyncDispose]();
    await expectClosed(calls);
    expect(await sending).toBeUndefined();
    await closing;
    await expectClosed(calls);
    const nft = Nftables.open({ netns: home });
    expect((await nft.chains(TABLE_FILTER)).length).toBe(3000);
    await nft.commit(new Transaction().delete({ table: TABLE }));
    await nft[Symbol.asyncDispose]();
  });

  test('let a synchronous commit finish whose logger closes them, and reject the next call with ERR_CLOSED', () => {
    let nft: Nftables | undefined;
    const logger = { debug: () => nft?.close(), info() {}, warn() {}, error() {} };
    nft = Nftables.open({ netns: home, logger });
    const chains = new Transaction().add({ table: TABLE });
    nft.sync.commit(chains);
    expect(nft.closed).toBe(true);
    expect(() => nft.sync.tables()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  test('have released the groups of a log when `close` returns', () => {
    for (let i = 0; i < 20; i++) {
      const log = everything.Nflog.open({ netns: home, groups: [5, 6] });
      log.close();
      expect(log.groups).toEqual([5, 6]);
    }
  });

  test('end their monitors and traces, without an error in the middle of an iteration', async () => {
    const nft = Nftables.open({ netns: home });
    const ended = [nft.monitor({ initial: true }), nft.trace()].map(async each => {
      for await (const _ of each as AsyncIterable<unknown>);
    });
    nft.close();
    await Promise.all(ended);
  });

  test('open nothing in a closed namespace, even if it is home: opening is rejected with ERR_CLOSED', () => {
    const closed = NetNs.open({ path: '/proc/self/ns/net' });
    closed.close();
    expect(closed.equals(NetNs.home())).toBe(true);
    for (const [name, use] of [
      ['Nftables', () => Nftables.open({ netns: closed })],
      ['Links', () => everything.Links.open({ netns: closed })],
      ['Ipvs', () => everything.Ipvs.open({ netns: closed })],
      ['Nflog', () => everything.Nflog.open({ netns: closed, groups: [5] })],
      ['Container', () => Container.open({ netns: closed }, { allowHost: true })],
    ] as const)
      expect(use, name).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
    NetNs.home().close();
    expect(NetNs.home().closed).toBe(false);
    expect(NetNs.home().run(() => 1)).toBe(1);
  });
});

const TABLE_FILTER = { family: 'ip', table: 'large' } as const;

kernelSuite('a fleet beside closed containers', () => {
  test('rejects thousands of closed containers with ERR_CLOSED without blocking the event loop', async () => {
    const fleet = Fleet.open();
    const all = Array.from({ length: 5000 }, (_, i) => {
      const container = Container.open(i % 2 === 0 ? { netns: home } : { pid: sleeper.pid! });
      container.close();
      return container;
    });
    let turns = 0;
    let going = true;
    const count = () => {
      turns++;
      if (going) setImmediate(count);
    };
    setImmediate(count);
    const result = await fleet.apply(all, { redirects: [], virtualServers: [] });
    going = false;
    expect(result.failed.size).toBe(all.length);
    expect(new Set([...result.failed.values()].map(codeOf))).toEqual(new Set(['ERR_CLOSED']));
    expect([result.programmed, result.gone, result.untouched]).toEqual([[], [], []]);
    expect(fleet.openSockets).toBe(0);
    expect(turns).toBeGreaterThan(2);
    for (const run of [fleet.verify(all, { redirects: [] }), fleet.remove(all)])
      expect((await run).failed.size).toBe(all.length);
    await fleet[Symbol.asyncDispose]();
  });

  test('rejects the containers that it has not begun with ERR_CLOSED when it is closed during a run, and opens no more sockets', async () => {
    const fleet = Fleet.open();
    const namespaces = Array.from({ length: 20 }, () => NetNs.create());
    const all = namespaces.map(each => Container.open({ netns: each }));
    const before = openDescriptors().length;
    const running = fleet.apply(all, container => {
      if (container === all[5]) fleet.close();
      return { redirects: [] };
    });
    const { failed, programmed } = await running;
    expect(programmed).toEqual(all.slice(0, 5));
    expect([...failed.keys()]).toEqual(all.slice(5));
    expect(new Set([...failed.values()].map(codeOf))).toEqual(new Set(['ERR_CLOSED']));
    await fleet[Symbol.asyncDispose]();
    expect(openDescriptors().length).toBeLessThanOrEqual(before);
    for (const each of [...all, ...namespaces]) each.close();
  });

  test('ends its watches when it is closed', async () => {
    const fleet = Fleet.open();
    const watch = fleet.watch({}, { directories: ['/run/netns'], runtimes: [] });
    const ended = (async () => {
      for await (const _ of watch);
    })();
    fleet.close();
    expect(watch.closed).toBe(true);
    await ended;
  });
});
