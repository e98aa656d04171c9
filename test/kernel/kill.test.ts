import fs from 'node:fs';
import { expect, test } from 'vitest';
import { Container, type ContainerState, Fleet } from '../../src/container/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Nflog } from '../../src/nflog/index.ts';
import { type DesiredRuleset, Nftables } from '../../src/nftables/index.ts';
import { killOften, type Scenario } from '../support/killed.ts';
import { patience } from '../support/wait.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

/*
 * A process is killed (SIGKILL) while it programs namespaces. What the kernel then holds is a state before or after, never one in between; the
 * next run brings about what is wanted; nothing is left behind.
 */
const HOST = where === 'host';
/** Of each of five programs: a thousand in all. An emulated machine takes seconds to start each. NETSTEER_KILLS says how often. */
const TIMES = Number(process.env.NETSTEER_KILLS ?? (isLong && HOST ? 200 : HOST ? 4 : 1));
const AT_ONCE = 4;
const LONG = patience(3_600_000);
const SEED = isLong ? Date.now() >>> 0 : 1;

/** The paths by which the program finds the namespaces of this process. */
const pathsOf = (namespaces: readonly NetNs[]) =>
  namespaces.map(netns => `/proc/${process.pid}/fd/${netns.descriptor}`);

async function tried<W>(scenario: Scenario<W>): Promise<void> {
  const held = await killOften(scenario, TIMES, AT_ONCE, SEED);
  const counts = [...held].map(([what, count]) => `${what} ${count}`);
  console.log(
    `${expect.getState().currentTestName}: killed ${TIMES} times (seed ${SEED}); then the kernel held: ${counts.join(', ')}`,
  );
  expect([...held.values()].reduce((sum, count) => sum + count, 0)).toBe(TIMES);
}

const namespace = {
  make: () => NetNs.create(),
  unmake: (netns: NetNs) => netns.close(),
  given: (netns: NetNs) => pathsOf([netns]),
};

const RULES = 1500;

/** Which version the rules are of: all of them, of one. */
function version(netns: NetNs): string {
  using nft = Nftables.open({ netns });
  const { rules } = nft.sync.ruleset();
  const versions = new Set(rules.map(({ comment }) => comment));
  if (rules.length !== RULES || versions.size !== 1)
    throw new Error(`a mixture: ${rules.length} rules of the versions ${[...versions].join(', ')}`);
  return [...versions].join();
}

const desired = (of: string): DesiredRuleset => {
  const place = { family: 'ip', table: 'mine' } as const;
  return {
    tables: [{ family: 'ip', name: 'mine' }],
    chains: [{ ...place, name: 'c', type: 'filter', hook: 'input', priority: 0 }],
    rules: Array.from({ length: 400 }, (_, i) => ({
      ...place,
      chain: 'c',
      expressions: [{ counter: {} }],
      comment: `${of} ${i}`,
    })),
  };
};

const stateOf = (port: number): ContainerState => ({
  redirects: Array.from({ length: 200 }, (_, i) => ({
    protocol: 'tcp',
    address: `10.10.${i}.1`,
    port: 80,
    toPort: port,
  })),
  logging: [1, 2, 3].map(group => ({ group, prefix: `${port} ` })),
});

kernelSuite('a process that is killed at any moment', () => {
  test('leaves its commit done or not begun', { timeout: LONG }, () =>
    tried<NetNs>({
      ...namespace,
      program: `
        import { NetNs } from './netns/index.js';
        import { Nftables, Transaction } from './nftables/index.js';
        const nft = Nftables.open({ netns: NetNs.open({ path: world[0] }) });
        const place = { family: 'ip', table: 't' };
        const versions = ['even', 'odd'].map(comment => {
          const tx = new Transaction().add({ table: { family: 'ip', name: 't' } }).add({ chain: { ...place, name: 'c' } });
          tx.flush({ chain: { ...place, name: 'c' } });
          for (let i = 0; i < ${RULES}; i++) tx.add({ rule: { ...place, chain: 'c', expressions: [{ counter: {} }], comment } });
          return tx;
        });
        for (let i = 0; ; i++) {
          await nft.commit(versions[i % 2]);
          if (i === 0) began();
        }`,
      check: version,
      next(netns) {
        using nft = Nftables.open({ netns });
        nft.sync.apply({ nftables: [{ flush: { ruleset: null } }] } as never);
        expect(nft.sync.tables()).toEqual([]);
      },
    }),
  );

  test('leaves its reconciliation done or not begun', { timeout: LONG }, () =>
    tried<NetNs>({
      ...namespace,
      program: `
        import { NetNs } from './netns/index.js';
        import { Nftables } from './nftables/index.js';
        const nft = Nftables.open({ netns: NetNs.open({ path: world[0] }) });
        const versions = ${JSON.stringify([desired('even'), desired('odd')])};
        for (let i = 0; ; i++) {
          await nft.reconcile(versions[i % 2], { prefix: 'mine' });
          if (i === 0) began();
        }`,
      check(netns) {
        using nft = Nftables.open({ netns });
        for (const each of ['even', 'odd'])
          if (nft.sync.plan(desired(each), { prefix: 'mine' }).operations.length === 0) return each;
        throw new Error('neither the one nor the other');
      },
      async next(netns) {
        using nft = Nftables.open({ netns });
        await nft.reconcile(desired('next'), { prefix: 'mine' });
        expect(nft.sync.plan(desired('next'), { prefix: 'mine' }).operations).toEqual([]);
      },
    }),
  );

  test('leaves its run over a fleet in a state that the next run completes', { timeout: LONG }, () =>
    tried<NetNs[]>({
      make: () => Array.from({ length: 5 }, () => NetNs.create()),
      unmake: namespaces => {
        for (const netns of namespaces) netns.close();
      },
      given: pathsOf,
      program: `
        import { NetNs } from './netns/index.js';
        import { Container, Fleet } from './container/index.js';
        const containers = world.map(path => Container.open({ netns: NetNs.open({ path }) }));
        const fleet = Fleet.open();
        const states = ${JSON.stringify([stateOf(8080), stateOf(9090)])};
        for (let i = 0; ; i++) {
          const { failed } = await fleet.apply(containers, states[i % 2]);
          for (const error of failed.values()) throw error;
          if (i === 0) began();
        }`,
      async check(namespaces) {
        const held = new Set<string>();
        for (const netns of namespaces) {
          const container = Container.open({ netns });
          const ports = new Set((await container.redirects.list()).map(({ toPort }) => toPort));
          const logs = (await container.logging.list()).map(({ prefix }) => prefix);
          await container[Symbol.asyncDispose]();
          if (ports.size !== 1 || new Set(logs).size !== 1 || logs.length !== 3)
            throw new Error(`a mixture: ports ${[...ports]}, logs ${logs}`);
          held.add([...ports].join());
        }
        return held.size === 1 ? 'one state' : 'containers of both states';
      },
      async next(namespaces) {
        const containers = namespaces.map(netns => Container.open({ netns }));
        const fleet = Fleet.open();
        const { programmed } = await fleet.apply(containers, stateOf(7070));
        expect(programmed).toHaveLength(containers.length);
        expect((await fleet.verify(containers, stateOf(7070))).drift.size).toBe(0);
        await fleet[Symbol.asyncDispose]();
        await Promise.all(containers.map(each => each[Symbol.asyncDispose]()));
      },
    }),
  );

  test('leaves a name that it was giving usable', { timeout: LONG }, () => {
    let made = 0;
    const mounts = (name: string) =>
      fs
        .readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter(line => line.includes(name));
    return tried<string>({
      make: () => `killed-${process.pid}-${made++}`,
      unmake(name) {
        expect(mounts(name)).toEqual([]);
        expect(fs.existsSync(`/run/netns/${name}`)).toBe(false);
      },
      given: name => name,
      program: `
        import { NetNs } from './netns/index.js';
        for (let i = 0; ; i++) {
          const netns = NetNs.create();
          netns.pin(world);
          netns.unpin(world);
          netns.close();
          if (i === 0) began();
        }`,
      check: name =>
        NetNs.list().includes(name)
          ? 'a name'
          : fs.existsSync(`/run/netns/${name}`)
            ? 'a file without a namespace'
            : 'no name',
      next(name) {
        if (NetNs.list().includes(name)) {
          const left = NetNs.open({ name });
          left.unpin(name);
          left.close();
        }
        const netns = NetNs.create();
        netns.pin(name);
        expect(NetNs.list()).toContain(name);
        netns.unpin(name);
        netns.close();
      },
    });
  });

  test('leaves its NFLOG group free for the next process', { timeout: LONG }, () =>
    tried<NetNs>({
      ...namespace,
      program: `
        import { NetNs } from './netns/index.js';
        import { Nflog } from './nflog/index.js';
        const netns = NetNs.open({ path: world[0] });
        for (let i = 0; ; i++) {
          const log = Nflog.open({ netns, groups: [5, 6] });
          log.onBatch(() => {});
          if (i === 0) began();
          await log[Symbol.asyncDispose]();
        }`,
      check: () => 'no group',
      async next(netns) {
        const log = Nflog.open({ netns, groups: [5, 6] });
        expect(log.groups).toEqual([5, 6]);
        await log[Symbol.asyncDispose]();
      },
    }),
  );
});
