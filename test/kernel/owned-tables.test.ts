import { execFileSync } from 'node:child_process';
import { isDeepStrictEqual } from 'node:util';
import { Container, Fleet, NetNs } from 'netsteer';
import { tcp, udp } from 'netsteer/nftables';
import { afterAll, expect, it } from 'vitest';
import type { LogRule, OwnedDifference, Redirect, RedirectSettings } from '../../src/container/index.ts';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { stateOf } from '../support/nftables-state.ts';
import { type Tampering, tamperings } from '../support/tampering.ts';
import { isLong, kernelSuite } from '../support/where.ts';

const fleet = Fleet.open();
afterAll(() => fleet[Symbol.asyncDispose]());
const cleanUps = cleanUpsOfEach();

interface Programmed {
  netns: NetNs;
  container: Container;
}

function make(): Programmed {
  const netns = NetNs.create();
  return { netns, container: Container.open({ netns }) };
}

async function end({ netns, container }: Programmed): Promise<void> {
  await container[Symbol.asyncDispose]();
  netns.close();
}

function one(): Programmed {
  const programmed = make();
  cleanUps.add(() => end(programmed));
  return programmed;
}

interface Case {
  redirects: Redirect[];
  options: Partial<RedirectSettings>;
  logging: LogRule[];
}

const EXACT: Redirect[] = [
  { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 },
  { protocol: 'udp', address: '10.10.0.100', port: 53 },
  { protocol: 'tcp', address: '2001:db8::1', port: 80, toPort: 8080 },
];
const CASES: Record<string, Case> = {
  'exact redirects and log rules': {
    redirects: EXACT,
    options: {},
    logging: [
      { group: 5, prefix: 'in ' },
      { group: 6, prefix: 'dns ', match: [udp.dport.eq(53)], hook: 'output' },
      { group: 7, match: [tcp.dport.in([80, 443])], hook: 'forward' },
    ],
  },
  'ranges, own connections and another priority': {
    redirects: [
      ...EXACT,
      { protocol: 'tcp', address: '10.20.0.0/16', port: 80, toPort: 8081 },
      { protocol: 'tcp', address: '2001:db8:1::/48', port: { from: 100, to: 200 }, toPort: 8082 },
      { protocol: 'udp', port: { from: 5000, to: 5010 } },
    ],
    options: { priority: -90, output: true },
    logging: [],
  },
};

const bare = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(bare);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([field]) => field !== 'handle' && field !== 'position')
      .map(([field, item]) => [field, bare(item)]),
  );
};
/** All that the kernel has, without its own numbers. */
const kernelOf = ({ container }: Programmed) => bare(stateOf(container.nftables.sync.ruleset({ elements: true })));
/** The same as Debian's nft prints it: sets without a name are numbered by the kernel, and a hash has no order. */
const textOf = ({ netns }: Programmed): string[] =>
  ['netsteer-redirects', 'netsteer-logging'].map(table =>
    netns
      .run(() => execFileSync('nft', ['list', 'table', 'inet', table], { encoding: 'utf8' }))
      .replaceAll(/__set\d+/g, '__set')
      .replaceAll(/elements = \{([^}]*)\}/g, (_, list: string) =>
        list
          .split(',')
          .map(each => each.trim())
          .sort()
          .join(),
      ),
  );

const program = ({ container }: Programmed, { redirects, options, logging }: Case) => {
  container.redirects.sync.set(redirects, options);
  container.logging.sync.set(logging);
};

const driftIn = ({ container }: Programmed, { redirects, options, logging }: Case) => {
  const drifts = [
    container.redirects.sync.differences(redirects, options),
    container.logging.sync.differences(logging),
  ];
  return drifts.flatMap(drift => Object.values(drift).flat() as object[]);
};

const VERBS: Record<string, (programmed: Programmed, wanted: Case) => Promise<unknown>> = {
  set: async ({ container }, { redirects, options, logging }) => {
    await container.redirects.set(redirects, options);
    await container.logging.set(logging);
  },
  add: async ({ container }, { redirects, options, logging }) => {
    await container.redirects.add(redirects, options);
    await container.logging.add(logging);
  },
  apply: async ({ container }, { redirects, options, logging }) => {
    const { failed } = await fleet.apply([container], { redirects, redirectOptions: options, logging });
    for (const error of failed.values()) throw error;
  },
};

kernelSuite('tables of this library that a container has changed', () => {
  for (const [name, wanted] of Object.entries(CASES)) {
    const ways = (): Tampering[] => {
      const programmed = make();
      program(programmed, wanted);
      const found = ['netsteer-redirects', 'netsteer-logging'].flatMap(table =>
        tamperings(programmed.container.nftables, table),
      );
      void end(programmed);
      return found;
    };

    it(`${name}: verify reports every change, and each verb repairs it`, async () => {
      const fresh = one();
      program(fresh, wanted);
      const [kernel, text] = [kernelOf(fresh), textOf(fresh)];
      expect(driftIn(fresh, wanted)).toEqual([]);
      let taken = 0;
      // The rules of output are those of prerouting.
      for (const way of ways().filter(each => isLong || !/rule \d of output, .* at [0-5]/.test(each.name))) {
        const other = make();
        program(other, wanted);
        const before = kernelOf(other);
        expect(before).toEqual(kernel);
        if (!way.apply(other.container.nftables) || isDeepStrictEqual(kernelOf(other), before)) {
          await end(other);
          continue;
        }
        taken++;
        const told = driftIn(other, wanted);
        expect(told, way.name).not.toEqual([]);
        for (const [verb, mend] of Object.entries(VERBS)) {
          if (verb !== 'set') way.apply(other.container.nftables);
          await mend(other, wanted);
          expect(driftIn(other, wanted), `${way.name}, ${verb}`).toEqual([]);
          expect(kernelOf(other), `${way.name}, ${verb}`).toEqual(kernel);
        }
        if (taken % 10 === 0) expect(textOf(other), way.name).toEqual(text);
        way.apply(other.container.nftables);
        await other.container.redirects.adopt();
        await other.container.logging.adopt();
        // What nobody has asked for may be gone: but all else is as it should be.
        const left = driftIn(other, wanted) as OwnedDifference[];
        if (way.ofContent !== true) expect(left, `${way.name}, adopt`).toEqual([]);
        else
          expect(
            left.filter(({ problem }) => problem === 'foreign'),
            `${way.name}, adopt`,
          ).toEqual([]);
        await end(other);
      }
      expect(taken).toBeGreaterThan(name.startsWith('exact') ? 120 : 200);
    });
  }
});
