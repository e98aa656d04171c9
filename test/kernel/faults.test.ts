import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { Conntrack, type NewFlow } from '../../src/conntrack/index.ts';
import { Container, Fleet } from '../../src/container/index.ts';
import { isNotFound } from '../../src/errors.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Nflog, type Packet } from '../../src/nflog/index.ts';
import { Nftables, Transaction } from '../../src/nftables/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { type Trial, tryFaults } from '../support/fault-runs.ts';
import { useFaultyFfi } from '../support/faulty-ffi.ts';
import { patience } from '../support/wait.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

/*
 * Every system call of every operation fails once: `npm test` takes one errno for each call, `npm run test:long` all of them. The seam is the
 * interface between this library and C.
 */
const ffi = useFaultyFfi();
const LONG = patience(1_800_000);
/** An emulated machine tries every fifth call. */
const EVERY = where === 'host' ? 1 : 5;

let netns: NetNs;
let probe: Nftables;
let links: Links;

beforeEach(() => {
  netns = NetNs.create();
  probe = Nftables.open({ netns });
  links = Links.open({ netns });
});
afterEach(async () => {
  await probe[Symbol.asyncDispose]();
  await links[Symbol.asyncDispose]();
  netns.close();
});

const TABLE = { family: 'ip', name: 't' } as const;
const PLACE = { family: 'ip', table: 't' } as const;

const small = new Transaction()
  .add({ table: TABLE })
  .add({ chain: { ...PLACE, name: 'c', type: 'filter', hook: 'input', priority: 0 } })
  .add({ set: { ...PLACE, name: 's', key: 'mark', elements: [1, 2] } });

/** More than 64 KiB: it leaves the main thread. */
const large = new Transaction().add({ table: TABLE });
for (let i = 0; i < 1500; i++) large.add({ chain: { ...PLACE, name: `chain-${i}` } });
/** Sent from several places: its first page is full. */
const pages = new Transaction().add({ table: TABLE }).add({ set: { ...PLACE, name: 'pages', key: 'ipv4_addr' } });
for (let part = 0; part < 3; part++) {
  const elements = Array.from({ length: 4_000 }, (_, i) => ({
    key: `10.${part}.${i >> 8}.${i & 255}`,
    comment: 'long '.repeat(24),
  }));
  pages.add({ element: { ...PLACE, set: 'pages', elements } });
}
if (pages.encode().chunks.length < 2) throw new Error('the transaction must not fit one page');

const flush = new Transaction().flush({ ruleset: {} });
const emptyRuleset = () => probe.sync.commit(flush);

/** What is in the kernel, by names. */
function rulesetNow() {
  const { tables, chains, sets, rules } = probe.sync.ruleset({ elements: true });
  return {
    tables: tables.map(({ family, name }) => `${family} ${name}`),
    chains: chains.length,
    rules: rules.map(({ chain, comment, expressions = [] }) => [chain, comment, expressions.length]),
    sets: sets.map(({ name, elements }) => [name, elements?.length]),
  };
}

/** Programs nf_tables by a handle that is opened for it. */
const programs = (operate: (nft: Nftables) => unknown): Trial<Nftables> => ({
  reset: emptyRuleset,
  state: rulesetNow,
  open: () => Nftables.open({ netns }),
  operate,
  close: nft => nft[Symbol.asyncDispose](),
});

/** Reads what `content` has put there. */
const reads = (operate: (nft: Nftables) => unknown, content = small): Trial<Nftables> => ({
  ...programs(operate),
  reset: () => {
    emptyRuleset();
    probe.sync.commit(content);
  },
});

async function tried<H>(trial: Trial<H>, atLeast: number): Promise<void> {
  const { calls, runs, completed, refused } = await tryFaults(ffi, trial, { all: isLong, every: EVERY });
  console.log(
    `${expect.getState().currentTestName}: ${runs} faults in ${calls.length} calls, ${completed} completed, ${refused} refused`,
  );
  expect(calls.length).toBeGreaterThanOrEqual(atLeast);
  expect(runs).toBe(Math.ceil(calls.length / EVERY) * (isLong ? 7 : 1));
  expect(completed + refused).toBe(runs);
  if (EVERY === 1) expect(refused).toBeGreaterThan(0);
}

kernelSuite('namespaces when one system call fails', () => {
  test('are created and entered, or the error leaves nothing behind', { timeout: LONG }, () =>
    tried(
      {
        open: () => NetNs.create(),
        operate: ns => ns.run(() => fs.statSync('/proc/thread-self/ns/net').ino),
        close: ns => ns[Symbol.asyncDispose](),
      },
      6,
    ),
  );

  test.each(['pid', 'path', 'fd', 'name'])(
    'are opened by %s, or the error leaves nothing behind',
    { timeout: LONG },
    async by => {
      const name = `faults-${process.pid}`;
      const child = netns.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' })) as ChildProcess;
      netns.pin(name);
      const references: Record<string, Parameters<typeof NetNs.open>[0]> = {
        pid: { pid: child.pid! },
        path: { path: `/proc/${child.pid}/ns/net` },
        fd: { fd: netns.descriptor },
        name: { name },
      };
      try {
        await tried(
          {
            open: () => NetNs.open(references[by]!),
            operate: ns => expect(ns.equals(netns)).toBe(true),
            close: ns => ns[Symbol.asyncDispose](),
          },
          3,
        );
      } finally {
        netns.unpin(name);
        child.kill('SIGKILL');
      }
    },
  );

  test('are pinned and unpinned, or the error leaves nothing behind', { timeout: LONG }, () => {
    const name = `faults-${process.pid}`;
    const mounts = () =>
      fs
        .readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter(line => line.includes(name)).length;
    const named = () => ({
      list: NetNs.list().includes(name),
      file: fs.existsSync(`/run/netns/${name}`),
      mounts: mounts() > 0,
    });
    const forget = () => {
      if (named().file) ffi.aside(() => netns.unpin(name));
    };
    const pin: Trial<NetNs> = {
      reset: forget,
      state: named,
      open: () => netns,
      operate: ns => ns.pin(name),
      close: () => {},
    };
    const unpin: Trial<NetNs> = {
      ...pin,
      reset: () => {
        forget();
        netns.pin(name);
      },
      operate: ns => {
        if (named().file) ns.unpin(name);
      },
    };
    return (async () => {
      try {
        await tried(pin, 2);
        await tried(unpin, 1);
      } finally {
        forget();
      }
    })();
  });

  test('have their sysctls read and written, or the error leaves nothing behind', { timeout: LONG }, () => {
    const name = 'net.ipv4.ip_forward';
    return tried(
      {
        reset: () => netns.sysctl.set(name, 0),
        state: () => netns.sysctl.get(name),
        open: () => NetNs.open({ fd: netns.descriptor }),
        operate: ns => ns.sysctl.set(name, 1),
        close: ns => ns[Symbol.asyncDispose](),
      },
      5,
    );
  });
});

kernelSuite('nf_tables when one system call fails', () => {
  test.each<[string, (nft: Nftables) => unknown]>([
    ['a small commit', nft => nft.commit(small)],
    ['a small commit, synchronous', nft => nft.sync.commit(small)],
    ['a large commit', nft => nft.commit(large)],
    ['a large commit, synchronous', nft => nft.sync.commit(large)],
    ['a commit on several pages', nft => nft.commit(pages)],
    ['a commit on several pages, synchronous', nft => nft.sync.commit(pages)],
    ['a commit with echo', nft => nft.commit(small, { echo: true })],
    ['a large commit with echo', nft => nft.commit(large, { echo: true })],
    ['a document of nft', nft => nft.apply({ nftables: [{ add: { table: { family: 'ip', name: 't' } } }] })],
    [
      'a reconciliation',
      nft =>
        nft.reconcile(
          {
            tables: [TABLE],
            chains: [{ ...PLACE, name: 'c' }],
            rules: [{ ...PLACE, chain: 'c', expressions: [{ counter: {} }] }],
          },
          { prefix: '' },
        ),
    ],
  ])('carries out %s, or the error leaves nothing behind', { timeout: LONG }, (_, operate) =>
    tried(programs(operate), 8),
  );

  test('carries out two concurrent commits, or the error leaves nothing behind', { timeout: LONG }, () =>
    tried(
      {
        ...programs(async nft => {
          const settled = await Promise.allSettled([nft.commit(large), nft.commit(small)]);
          const failed = settled.find(each => each.status === 'rejected');
          if (failed !== undefined) throw failed.reason;
        }),
        parts: true,
      },
      10,
    ),
  );

  test.each<[string, (nft: Nftables) => unknown]>([
    ['a dry run', nft => nft.commit(new Transaction().delete({ table: TABLE }), { dryRun: true })],
    ['the generation', nft => nft.generation()],
    ['the tables', nft => nft.tables()],
    ['the elements', nft => nft.elements({ ...PLACE, name: 's' }, { as: 'values' })],
    ['all of it', nft => nft.ruleset({ elements: true })],
    ['all of it, as JSON', nft => nft.sync.ruleset({ as: 'json', elements: true })],
    ['a plan', nft => nft.plan({ tables: [] }, { prefix: '' })],
    ['a reset', nft => nft.reset({ ruleset: {} })],
  ])('reads %s, or the error leaves nothing behind', { timeout: LONG }, (_, operate) => tried(reads(operate), 8));

  test('reads a large ruleset, or the error leaves nothing behind', { timeout: LONG }, () =>
    tried(
      reads(nft => nft.ruleset(), large),
      12,
    ),
  );

  test('reads the same afterwards', { timeout: LONG }, async () => {
    emptyRuleset();
    probe.sync.commit(large);
    const read = (nft: Nftables) => nft.chains();
    await tried(
      {
        open: () => Nftables.open({ netns }),
        operate: async nft => expect(await read(nft)).toHaveLength(1500),
        close: nft => nft[Symbol.asyncDispose](),
      },
      12,
    );
  });

  test('runs a monitor, or the error leaves nothing behind', { timeout: LONG }, () =>
    tried(
      {
        reset: emptyRuleset,
        open: () => Nftables.open({ netns }),
        operate: async nft => {
          const monitor = nft.monitor({ initial: true });
          const events = monitor[Symbol.asyncIterator]();
          try {
            const first = await events.next();
            expect(first.value).toMatchObject({ type: 'state', reason: 'initial' });
            ffi.aside(() =>
              probe.sync.commit(new Transaction().add({ table: { family: 'ip', name: `t${Math.random()}` } })),
            );
            const next = await events.next();
            // Where events were lost it is the state.
            if (next.value?.type === 'transaction') expect(next.value.events).toHaveLength(1);
            else expect(next.value?.ruleset.tables.length).toBeGreaterThan(0);
          } finally {
            await monitor.close();
          }
        },
        close: nft => nft[Symbol.asyncDispose](),
      },
      20,
    ),
  );

  test('opens and closes a trace, or the error leaves nothing behind', { timeout: LONG }, () =>
    tried(
      {
        open: () => Nftables.open({ netns }),
        operate: nft => nft.trace().close(),
        close: nft => nft[Symbol.asyncDispose](),
      },
      12,
    ),
  );
});

kernelSuite('NFLOG when one system call fails', () => {
  beforeEach(() => {
    links.sync.set('lo', { up: true });
    probe.sync.apply({
      nftables: [
        { add: { table: TABLE } },
        { add: { chain: { ...PLACE, name: 'out', type: 'filter', hook: 'output', prio: 0 } } },
        { add: { rule: { ...PLACE, chain: 'out', expr: [{ log: { group: 5, prefix: 'p' } }] } } },
      ],
    } as never);
  });

  test('opens a log, changes its groups and closes it, or the error leaves nothing behind', { timeout: LONG }, () =>
    tried<Nflog>(
      {
        open: () => Nflog.open({ netns, groups: [5] }),
        operate: async log => {
          if (!log.groups.includes(6)) await log.addGroup(6);
          await log.removeGroup(6);
          expect(log.stats.lostPackets).toBe(0);
        },
        close: log => log[Symbol.asyncDispose](),
      },
      20,
    ),
  );

  test('receives packets, or the error leaves nothing behind', { timeout: LONG }, () =>
    tried<Nflog>(
      {
        open: () => Nflog.open({ netns, groups: [5], queue: { packets: 1 } }),
        // A log that cannot be read is closed.
        ends: true,
        operate: async log => {
          const got: Packet[] = [];
          const stop = sendOn(netns);
          try {
            for await (const packet of log) if (got.push(packet) === 3) break;
          } finally {
            await stop();
          }
          expect(got.map(({ prefix }) => prefix)).toEqual(Array(3).fill('p'));
          // Where its name cannot be asked for, a device has its number.
          for (const { outDevice } of got) expect(['lo', 'if1']).toContain(outDevice);
        },
        close: log => log[Symbol.asyncDispose](),
      },
      20,
    ),
  );
});

/** Sends datagrams to nobody, one after the other, until it is told to stop: a call that fails may take with it all that have come so far. */
function sendOn(ns: NetNs): () => Promise<void> {
  const script = 'while :; do echo x >/dev/udp/127.0.0.1/9; read -rt 0.01 <> <(:); done';
  const child = ffi.aside(() => ns.run(() => spawn('bash', ['-c', script], { stdio: 'ignore' }))) as ChildProcess;
  const ended = new Promise<void>(resolve => {
    child.on('close', () => resolve());
  });
  return () => {
    child.kill('SIGKILL');
    return ended;
  };
}

kernelSuite('devices, addresses and routes when one system call fails', () => {
  const state = () => ({
    links: links.sync.list().map(({ name, up, master }) => [name, up, master]),
    addresses: links.sync
      .addresses()
      .filter(({ address }) => !address.startsWith('fe80'))
      .map(({ address }) => address),
    routes: links.sync.routes().filter(({ to }) => to === '192.0.2.0/24').length,
  });
  const clear = () => {
    if (links.sync.list().some(({ name }) => name === 'made0')) links.sync.remove('made0');
  };
  const changes = (operate: (own: Links) => unknown, prepare = () => {}): Trial<Links> => ({
    reset: () => {
      clear();
      prepare();
    },
    state,
    open: () => Links.open({ netns }),
    operate,
    close: own => own[Symbol.asyncDispose](),
  });
  const veth = () => {
    links.sync.createVeth({ name: 'made0', peer: { name: 'made1' } });
    // Without its other end, a nexthop's device has no carrier.
    for (const name of ['made0', 'made1']) links.sync.set(name, { up: true });
  };

  test.each<[string, (own: Links) => unknown, (() => void)?]>([
    ['a pair', own => own.createVeth({ name: 'made0', peer: { name: 'made1' } })],
    ['a bridge', own => own.createBridge({ name: 'made0' })],
    ['a bridge with settings', own => own.createBridge({ name: 'made0', alias: 'a', bridge: { priority: 1 } })],
    ['a tap', own => own.createTun({ name: 'made0', mode: 'tap', owner: 0 })],
    ['an address', own => own.addAddress('made0', '10.10.0.100/32'), veth],
    ['a route', own => own.addRoute({ to: '192.0.2.0/24', device: 'made0' }), veth],
    ['an address that is set', own => own.setAddress('made0', '10.10.0.100/32'), veth],
    ['a nexthop object', own => own.addNextHopObject({ id: 5, device: 'made0' }), veth],
    ['a name', own => own.set('lo', { up: false }), () => links.sync.set('lo', { up: true })],
  ])('are created: %s, or the error leaves nothing behind', { timeout: LONG }, (_, operate, prepare) =>
    tried(changes(operate, prepare), 8),
  );

  test.each<[string, (own: Links) => unknown]>([
    ['links', own => own.list()],
    ['one link', own => own.get('lo')],
    ['addresses', own => own.addresses()],
    ['routes', own => own.routes()],
    ['neighbours', own => own.neighbours()],
    ['nexthop objects', own => own.nextHopObjects()],
  ])('are read: %s, or the error leaves nothing behind', { timeout: LONG }, (_, operate) => tried(changes(operate), 8));

  test('are monitored, or the error leaves nothing behind', { timeout: LONG }, () =>
    tried(
      {
        ...changes(async own => {
          const events = own.monitor({ initial: true })[Symbol.asyncIterator]();
          const first = await events.next();
          if (first.value?.type !== 'state') throw new Error('no state came');
          await events.return(undefined);
        }),
        ends: true,
      },
      8,
    ),
  );
});

kernelSuite('connections when one system call fails', () => {
  let seen: Conntrack;
  beforeEach(() => {
    seen = Conntrack.open({ netns });
  });
  afterEach(() => seen[Symbol.asyncDispose]());

  const flow = (sourcePort: number): NewFlow => ({
    protocol: 'udp',
    timeoutSeconds: 1000,
    original: { source: '10.0.0.1', sourcePort, destination: '10.0.0.2', destinationPort: 53 },
  });
  const key = { protocol: 'udp', ...flow(1).original } as const;
  /** A deletion whose answer was lost has been carried out. */
  const gone = (error: unknown) => {
    if (!isNotFound(error)) throw error;
  };
  const tracked = (operate: (ct: Conntrack) => unknown, parts = false): Trial<Conntrack> => ({
    reset: () => {
      seen.sync.flush();
      for (let i = 1; i <= 3; i++) seen.sync.create(flow(i));
    },
    state: () =>
      seen.sync
        .list()
        .map(({ original, mark }) => [original.sourcePort, mark])
        .sort(),
    open: () => Conntrack.open({ netns }),
    operate,
    close: ct => ct[Symbol.asyncDispose](),
    parts,
  });

  test.each<[string, (ct: Conntrack) => unknown, boolean?]>([
    ['a creation', ct => ct.create(flow(4))],
    ['a change', ct => ct.update(key, { mark: 7 })],
    ['a deletion', ct => ct.delete(key).catch(gone)],
    ['a flush by a filter', ct => ct.flush({ sourcePort: { from: 1, to: 2 } }), true],
    ['a flush of all', ct => ct.flush(), true],
    ['listing', ct => ct.list({ protocol: 'udp' })],
    ['listing and zeroing', ct => ct.listAndZero({ protocol: 'udp' })],
    ['counting', ct => ct.count()],
    ['statistics', ct => ct.sync.statistics()],
    ['expectation statistics', ct => ct.sync.expectationStatistics()],
    ['expectations', ct => ct.expectations()],
  ])('are worked on: %s, or the error leaves nothing behind', { timeout: LONG }, (_, operate, parts) =>
    tried(tracked(operate, parts), 8),
  );

  test('have a monitor, or the error leaves nothing behind', { timeout: LONG }, () =>
    tried(
      {
        ...tracked(async ct => {
          const events = ct.monitor({ initial: true })[Symbol.asyncIterator]();
          const first = await events.next();
          if (first.value?.type !== 'state') throw new Error('no state came');
          await events.return(undefined);
        }),
        ends: true,
      },
      8,
    ),
  );
});

kernelSuite('containers when one system call fails', () => {
  let child: ChildProcess;

  beforeAll(() => {
    // Lives as long as this file: its namespace is the containers'.
    const own = NetNs.create();
    child = own.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' })) as ChildProcess;
    own.close();
  });
  afterAll(() => {
    child?.kill('SIGKILL');
  });

  beforeEach(async () => {
    await probe[Symbol.asyncDispose]();
    const own = NetNs.open({ pid: child.pid! });
    probe = Nftables.open({ netns: own });
    own.close();
    emptyRuleset();
  });

  const redirects = [{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 } as const];
  const logging = [{ group: 5, prefix: 'p ' }];

  const inContainer = (
    operate: (container: Container) => unknown,
    prepare: (container: Container) => unknown = () => {},
  ): Trial<Container> => ({
    reset: async () => {
      emptyRuleset();
      const container = Container.open({ pid: child.pid! });
      await prepare(container);
      await container[Symbol.asyncDispose]();
    },
    state: rulesetNow,
    open: () => Container.open({ pid: child.pid! }),
    operate,
    close: container => container[Symbol.asyncDispose](),
  });

  test.each<[string, (container: Container) => unknown, ((container: Container) => unknown)?]>([
    ['setting redirects', container => container.redirects.set(redirects)],
    ['adding redirects', container => container.redirects.add(redirects)],
    ['listing redirects', container => container.redirects.list(), container => container.redirects.set(redirects)],
    [
      'removing redirects',
      container => container.redirects.remove(redirects),
      container => container.redirects.set(redirects),
    ],
    [
      'releasing redirects',
      container => container.redirects.release(),
      container => container.redirects.set(redirects),
    ],
    ['setting logging', container => container.logging.set(logging)],
  ])('are programmed: %s, or the error leaves nothing behind', { timeout: LONG }, (_, operate, prepare) =>
    tried(inContainer(operate, prepare), 6),
  );

  test('end connections behind a removal of redirects, or the error says that they go on', { timeout: LONG }, () =>
    tried(
      {
        ...inContainer(
          container => container.redirects.remove([{ protocol: 'udp', address: '10.10.0.100', port: 53 }]),
          async container => {
            await container.redirects.set([{ protocol: 'udp', address: '10.10.0.100', port: 53, toPort: 5353 }]);
            await using ct = Conntrack.open({ netns: container.netns });
            await ct.flush();
            await ct.create({
              protocol: 'udp',
              timeoutSeconds: 1000,
              original: { source: '10.0.0.1', sourcePort: 1, destination: '10.10.0.100', destinationPort: 53 },
              nat: { destination: { address: '10.0.0.9', port: 5353 } },
            });
          },
        ),
        // The redirect has gone, and its connections have not: ERR_CONNECTIONS_KEPT.
        parts: true,
      },
      20,
    ),
  );

  // It looks through all of the kernel's symbols each time.
  if (isLong)
    test('are examined by preflight, or the error leaves nothing behind', { timeout: LONG }, () =>
      tried(
        inContainer(container => container.preflight()),
        6,
      ),
    );

  test.each<[string, (fleet: Fleet, container: Container) => Promise<{ failed: Map<Container, Error> }>]>([
    ['a run', (fleet, container) => fleet.apply([container], { redirects })],
    ['a comparison', (fleet, container) => fleet.verify([container], { redirects })],
    ['a removal', (fleet, container) => fleet.remove([container])],
  ])('are programmed by a fleet: %s, or the error leaves nothing behind', { timeout: LONG }, (_, operate) =>
    tried<{ fleet: Fleet; container: Container }>(
      {
        reset: emptyRuleset,
        state: rulesetNow,
        open: () => ({ container: Container.open({ pid: child.pid! }), fleet: Fleet.open() }),
        operate: async ({ fleet, container }) => {
          const { failed } = await operate(fleet, container);
          for (const error of failed.values()) throw error;
        },
        close: async ({ fleet, container }) => {
          await fleet[Symbol.asyncDispose]();
          await container[Symbol.asyncDispose]();
        },
      },
      12,
    ),
  );
});
