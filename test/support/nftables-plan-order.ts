import { createSocket } from 'node:dgram';
import fc from 'fast-check';
import { Links, NetNs } from 'netsteer';
import {
  type Chain,
  type DesiredRuleset,
  formatPlan,
  Nftables,
  type Rule,
  type Statement,
  Transaction,
} from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { freshNamespaces, netns, nft } from './fresh-namespace.ts';
import { kernelSuite, where } from './where.ts';

/*
 * The order of base chains with the same priority: test/kernel tries it on this machine, test/guest on the guests' kernels. The kernel runs the chain
 * first that was registered last. Each chain appends its number to the packet's mark.
 */

const EVERYTHING = { prefix: '' };
const FAMILIES = { a: 'ip', b: 'inet', c: 'ip' } as const;
type TableName = keyof typeof FAMILIES;
/** A chain by its table and number. */
type Numbered = readonly [table: TableName, number: number, priority: number];

const MARK = { meta: { key: 'mark' } } as const;

/** The mark moves up four bits, and gets the number. */
const trail = (number: number): Statement[] => [
  { mangle: { key: MARK, value: { '|': [{ '<<': [MARK, 4] }, number] } } },
];

function chainsAs(list: readonly Numbered[]): DesiredRuleset {
  const tables = [...new Set(list.map(([table]) => table))].sort();
  return {
    tables: [...tables.map(name => ({ family: FAMILIES[name], name })), { family: 'ip', name: 'z' }],
    chains: [
      ...list.map(([table, number, priority]): Chain => {
        const place = { family: FAMILIES[table], table, name: `c${number}` };
        return { ...place, type: 'filter', hook: 'output', priority };
      }),
      { family: 'ip', table: 'z', name: 'last', type: 'filter', hook: 'postrouting', priority: 0 },
    ],
    sets: [{ family: 'ip', table: 'z', name: 'trails', key: 'mark', flags: ['dynamic'], size: 100 }],
    rules: [
      ...list.map(
        ([table, number]): Rule => ({
          family: FAMILIES[table],
          table,
          chain: `c${number}`,
          statements: trail(number),
        }),
      ),
      {
        family: 'ip',
        table: 'z',
        chain: 'last',
        expressions: [{ meta: { key: 'mark', register: 1 } }, { dynset: { set: 'trails', op: 'add', keyRegister: 1 } }],
      },
    ],
  };
}

/** Sends one packet to 127.0.0.1. A socket that looks nothing up is bound at once, and so in the namespace: a process would take a guest seconds. */
async function sendPacket(inside: NetNs): Promise<void> {
  const socket = createSocket({ type: 'udp4', lookup: (address, _options, found) => found(null, address, 4) });
  inside.run(() => socket.bind(0, '127.0.0.1'));
  await new Promise<void>((resolve, reject) => {
    socket.send('packet', 9, '127.0.0.1', error => (error === null ? resolve() : reject(error)));
  });
  socket.close();
}

/** The numbers of the chains, in the order in which a packet has met them. */
async function order(inside: NetNs, handle: Nftables): Promise<number[]> {
  handle.sync.commit(new Transaction().flush({ set: { family: 'ip', table: 'z', name: 'trails' } }));
  await sendPacket(inside);
  const marks = handle.sync.elements({ family: 'ip', table: 'z', name: 'trails' }, { as: 'values' });
  expect(marks).toHaveLength(1);
  return [...(marks[0] as number).toString(16)].map(digit => Number.parseInt(digit, 16));
}

/** Lower priorities first; of equals, the one that was registered last. */
const expected = (list: readonly Numbered[]): number[] =>
  list
    .map(([, number, priority], i) => ({ number, priority, i }))
    .sort((one, other) => one.priority - other.priority || other.i - one.i)
    .map(({ number }) => number);

const up = (inside: NetNs) => {
  using links = Links.open({ netns: inside });
  links.sync.set('lo', { up: true });
};

const numbered = fc
  .uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 6 })
  .chain(numbers =>
    fc.tuple(
      ...numbers.map(number => fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.constant(number), fc.constantFrom(0, 0, 5))),
    ),
  ) as fc.Arbitrary<Numbered[]>;

/**
 * Whether chains of different tables that both lists have stand in another order in the second. The kernel does not tell that order, so a plan takes
 * it for the wanted one (docs/nftables.md): such a ruleset has to be made anew.
 */
const swapsTables = (before: readonly Numbered[], after: readonly Numbered[]): boolean => {
  const place = ([table, number, priority]: Numbered) =>
    before.findIndex(one => one[0] === table && one[1] === number && one[2] === priority);
  const stays = after.filter(chain => place(chain) >= 0);
  return stays.some((one, i) =>
    stays.slice(i + 1).some(other => one[0] !== other[0] && one[2] === other[2] && place(other) < place(one)),
  );
};

/** Registers the tests in the file that calls it. */
export function planOrder(): void {
  freshNamespaces();

  kernelSuite('base chains of one priority', () => {
    it('run as in a fresh namespace, wherever a plan starts', async () => {
      up(netns);
      let present: Numbered[] = [];
      await fc.assert(
        fc.asyncProperty(numbered, numbered, async (first, second) => {
          for (const list of [first, second]) {
            if (swapsTables(present, list)) await nft.reconcile(chainsAs([]), EVERYTHING);
            present = list;
            await nft.reconcile(chainsAs(list), EVERYTHING);
            expect(await order(netns, nft)).toEqual(expected(list));
            expect(formatPlan(await nft.plan(chainsAs(list), EVERYTHING))).toBe('');
          }
        }),
        // Everything is emulated in a guest.
        { numRuns: where === 'host' ? 12 : 2 },
      );
    });

    it('run in a copy as in what was copied', async () => {
      const to = NetNs.create();
      await using writer = Nftables.open({ netns: to });
      for (const each of [netns, to]) up(each);
      const list: Numbered[] = [
        ['a', 1, 0],
        ['a', 2, 0],
        ['a', 3, 5],
        ['b', 4, 0],
        ['b', 5, 0],
      ];
      await nft.reconcile(chainsAs(list), EVERYTHING);
      const read = await nft.ruleset({ elements: true });
      await writer.reconcile(read, EVERYTHING);
      expect(await order(to, writer)).toEqual([5, 4, 2, 1, 3]);
      expect(await order(to, writer)).toEqual(await order(netns, nft));
      to.close();
    });

    it('are made anew only where they stand in another order', async () => {
      const list: Numbered[] = [
        ['a', 1, 0],
        ['a', 2, 0],
      ];
      const [one, two] = list as [Numbered, Numbered];
      await nft.reconcile(chainsAs(list), EVERYTHING);
      // What is added runs first, as it would have done.
      const third: Numbered = ['a', 3, 0];
      const plan = await nft.plan(chainsAs([one, two, third]), EVERYTHING);
      expect(formatPlan(plan)).not.toMatch(/^- /m);
      // What is to run before the second is made, so the second is made again.
      const between = formatPlan(await nft.plan(chainsAs([one, third, two]), EVERYTHING));
      expect(between).toMatch(/^- chain ip a c2$/m);
      expect(between).not.toContain('c1');
    });
  });
}
