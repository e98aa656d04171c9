import { execFileSync } from 'node:child_process';
import { BatchError } from 'netsteer';
import { NetNs } from 'netsteer/netns';
import {
  type Chain,
  type Expression,
  encodeMessage,
  type Family,
  Nftables,
  prepare,
  type Statement,
  Transaction,
} from 'netsteer/nftables';
import { afterEach, expect, it } from 'vitest';
import { kernelSuite } from './where.ts';

/*
 * Traps of nf_tables that every kernel has: on this machine by test/kernel, on the guests' kernels by test/guest.
 */

const T = { family: 'ip', table: 't' } as const;
const jump = (chain: string): Expression[] => [{ immediate: { register: 0, data: { verdict: 'jump', chain } } }];
const COUNTER: Expression[] = [{ counter: {} }];
const BASE = { type: 'filter', hook: 'input', priority: 0 } as const;

const cleanUps: (() => unknown)[] = [];

function fresh(): { netns: NetNs; nft: Nftables } {
  const netns = NetNs.create();
  const nft = Nftables.open({ netns });
  cleanUps.push(
    () => netns.close(),
    () => nft[Symbol.asyncDispose](),
  );
  return { netns, nft };
}

const table = () => new Transaction().add({ table: { family: 'ip', name: 't' } });
const chain = (name: string, more: Partial<Chain> = {}) => ({ chain: { ...T, name, ...more } as Chain });
const rule = (name: string, expressions: Expression[]) => ({ rule: { ...T, chain: name, expressions } });

function refused(nft: Nftables, transaction: Transaction): BatchError {
  const before = nft.sync.generation();
  try {
    nft.sync.commit(transaction);
  } catch (error) {
    expect(nft.sync.generation(), 'nothing was applied').toBe(before);
    expect(error).toBeInstanceOf(BatchError);
    return error as BatchError;
  }
  throw new Error('the kernel has taken it');
}

/** The only failure of a commit. */
function only(nft: Nftables, transaction: Transaction) {
  const { failures } = refused(nft, transaction);
  expect(failures.map(({ code, index, message }) => [code, index, message])).toHaveLength(1);
  return failures[0]!;
}

export function traps(): void {
  kernelSuite('errors of the commit itself', () => {
    afterEach(cleanUp);

    it('name the set, map or chain without a name that nothing uses, and not the first operation', () => {
      const { nft } = fresh();
      const set = table();
      set.add(chain('c'));
      set.anonymousSet({ ...T, key: 'ipv4_addr' }, ['10.0.0.1']);
      set.add(rule('c', COUNTER));
      expect(only(nft, set)).toMatchObject({ code: 'EINVAL', index: 2, path: ['set'] });
      expect(only(nft, set).hint).toMatch(/no rule of the transaction uses this set or map without a name/);

      const map = table();
      map.anonymousMap({ ...T, key: 'ipv4_addr', data: 'mark' }, [{ key: '10.0.0.1', data: 1 }]);
      expect(only(nft, map)).toMatchObject({ code: 'EINVAL', index: 1, path: ['map'] });

      const bound = table();
      bound.add(chain('c'));
      const used = bound.anonymousSet({ ...T, key: 'ipv4_addr' }, ['10.0.0.1']);
      const load: Expression = { payload: { base: 'network', offset: 12, length: 4, register: 1 } };
      bound.add(rule('c', [load, { lookup: { ...used, sourceRegister: 1 } }]));
      const unused = bound.anonymousChain(T);
      expect(only(nft, bound)).toMatchObject({ code: 'EINVAL', index: 4, path: ['chain'] });
      expect(only(nft, bound).hint).toMatch(/no rule of the transaction uses this chain without a name/);
      bound.add({ rule: { ...T, ...unused, expressions: COUNTER } });
      bound.add({
        rule: { ...T, chain: 'c', expressions: [{ immediate: { register: 0, data: { verdict: 'jump', ...unused } } }] },
      });
      nft.sync.commit(bound);
    });

    it('are told from those of the first operation', () => {
      const { nft } = fresh();
      // EINVAL without a place in the message, of the first message itself.
      nft.sync.commit(table());
      const own = new Transaction().add({
        chain: { ...T, name: 'x', hook: 'input', priority: 5, type: 'nat' } as Chain,
      });
      own.add(chain('y'));
      nft.sync.commit(new Transaction().add(chain('x', BASE)));
      expect(only(nft, own).index).toBe(0);
      const masquerade = new Transaction().add(rule('x', [{ masq: {} }]));
      expect(only(nft, masquerade)).toMatchObject({ code: 'EOPNOTSUPP', index: 0 });
    });

    it('cost nothing where the kernel says what was wrong, and change nothing', () => {
      const { nft } = fresh();
      const missing = new Transaction().add(chain('c'));
      expect(only(nft, missing)).toMatchObject({ code: 'ENOENT', index: 0, path: ['chain', 'table'] });
      expect(nft.sync.tables()).toEqual([]);
    });
  });

  kernelSuite('a rule that is removed', () => {
    afterEach(cleanUp);

    it('never takes its table with it: a removal without the name of the chain is refused before the kernel sees it', () => {
      const { nft } = fresh();
      const made = nft.sync.commit(
        table().add(chain('c')).add(chain('d')).add(rule('c', COUNTER)).add(rule('d', COUNTER)),
        { echo: true },
      );
      const handle = made.handles[3]!;
      const place = { ...T, handle };
      const missing = expect.objectContaining({ code: 'ERR_MISSING', attribute: 'rule.chain' });
      expect(() => new Transaction().delete({ rule: place as never })).toThrow(missing);
      expect(() => new Transaction().delete({ rule: { ...place, chain: undefined } as never })).toThrow(missing);
      expect(() => new Transaction().delete({ rule: { ...place, chainId: 5 } as never })).toThrow(missing);
      expect(() => new Transaction().destroy({ rule: { ...place, chainId: 5 } as never })).toThrow(missing);
      for (const type of ['delrule', 'destroyrule'] as const) {
        for (const more of [
          { handle },
          { chainId: 5 },
          { handle, chainId: 5 },
          { id: 1 },
          { positionId: 1 },
          { position: handle },
        ])
          expect(() => encodeMessage({ type, family: 'ip', object: { table: 't', ...more } })).toThrow(
            expect.objectContaining({ code: 'ERR_MISSING', attribute: 'object.chain' }),
          );
        const raw = { table: 't', unknown: [{ type: 3, bytes: '0000000000000004' }] };
        expect(() => encodeMessage({ type, family: 'ip', object: raw })).toThrow(/object.chain/);
        // What names only the table is the kernel's own flush.
        expect(encodeMessage({ type, family: 'ip', object: { table: 't' } }).length).toBeGreaterThan(20);
      }
      expect(nft.sync.rules(T).length).toBe(2);
      nft.sync.commit(new Transaction().delete({ rule: { ...place, chain: 'c' } }));
      expect(nft.sync.rules(T).map(each => each.chain)).toEqual(['d']);
    });

    it("by nft's JSON neither", async () => {
      const { nft } = fresh();
      nft.sync.commit(table().add(chain('c')).add(chain('d')).add(rule('c', COUNTER)).add(rule('d', COUNTER)));
      const remove = { nftables: [{ delete: { rule: { family: 'ip', table: 't', handle: 3 } } }] };
      await expect(nft.apply(remove as never)).rejects.toMatchObject({ name: expect.stringMatching(/Error/) });
      expect(nft.sync.rules(T).length).toBe(2);
    });

    it('leaves the elements of a set alone when none is named', () => {
      const { nft } = fresh();
      nft.sync.commit(table().add({ set: { ...T, name: 's', key: 'ipv4_addr', elements: ['10.0.0.1'] } }));
      try {
        nft.sync.commit(new Transaction().delete({ element: { ...T, set: 's', elements: [] } }));
      } catch {
        // Refused or nothing to do: either will do.
      }
      expect(nft.sync.elements({ ...T, name: 's' }).length).toBe(1);
    });
  });

  kernelSuite('ports of redirect and masquerade', () => {
    afterEach(cleanUp);

    /** What the kernel has of the last expression of the only rule, and what nft says of it. */
    function kept({ netns, nft }: ReturnType<typeof fresh>): { flags: unknown; text: string } {
      const [found] = nft.sync.rules(T);
      const last = found!.expressions.at(-1)!;
      const { flags } = Object.values(last)[0] as { flags?: unknown };
      const text = netns.run(() => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }));
      return { flags, text };
    }

    const PORT: Expression = { immediate: { register: 1, data: '1f90' } };
    const kinds = [
      { name: 'redir', json: 'redirect', hook: 'prerouting', priority: -100, nat: 'redirect to :8080' },
      { name: 'masq', json: 'masquerade', hook: 'postrouting', priority: 100, nat: 'masquerade to :8080' },
    ] as const;

    it.each(kinds)(
      '$name keeps its port whatever other flags it has, by every way in',
      ({ name, json, hook, priority, nat }) => {
        const base = { type: 'nat', hook, priority } as const;
        const withFlags: unknown[] = [
          undefined,
          [],
          ['random'],
          ['persistent'],
          ['random', 'persistent'],
          [4],
          ['ports-specified'],
          [2],
        ];
        const ways: [string, (flags: unknown) => Transaction, boolean][] = [
          [
            'expressions',
            flags =>
              new Transaction().add(
                rule('c', [PORT, { [name]: { portRegister: 1, ...(flags !== undefined && { flags }) } } as never]),
              ),
            true,
          ],
          [
            'insert',
            flags =>
              new Transaction().insert(
                rule('c', [PORT, { [name]: { portRegister: 1, ...(flags !== undefined && { flags }) } } as never]),
              ),
            true,
          ],
          [
            'prepare',
            flags => {
              const prepared = prepare(
                ({ group }) => ({
                  rule: {
                    ...T,
                    chain: 'c',
                    expressions: [
                      { log: { group } },
                      PORT,
                      { [name]: { portRegister: 1, ...(flags !== undefined && { flags }) } } as never,
                    ],
                  },
                }),
                { group: 'group' },
              );
              return prepared.addTo(new Transaction(), { group: 5 });
            },
            true,
          ],
          [
            'statements',
            flags => {
              const statement = { [json]: { port: 8080, ...(Array.isArray(flags) && flags.length > 0 && { flags }) } };
              const match = { match: { op: '==', left: { meta: { key: 'l4proto' } }, right: 'tcp' } };
              return new Transaction().add({
                rule: { ...T, chain: 'c', statements: [match, statement] as Statement[] },
              });
            },
            false,
          ],
        ];
        for (const [way, make, raw] of ways) {
          for (const flags of withFlags) {
            const numbers =
              Array.isArray(flags) && flags.some(flag => typeof flag === 'number' || flag === 'ports-specified');
            if (!raw && numbers) continue;
            const where = fresh();
            where.nft.sync.commit(table().add(chain('c', base)));
            where.nft.sync.commit(make(flags));
            const { flags: found, text } = kept(where);
            expect(found, `${way}, ${JSON.stringify(flags)}`).toContain('ports-specified');
            if (Array.isArray(flags) && flags.includes('random')) expect(found).toContain('random');
            expect(text, `${way}, ${JSON.stringify(flags)}`).toContain(nat);
          }
        }
        // Replaced, and without a port.
        const where = fresh();
        const made = where.nft.sync.commit(table().add(chain('c', base)).add(rule('c', COUNTER)), { echo: true });
        const replaced = {
          ...rule('c', [PORT, { [name]: { portRegister: 1, flags: ['random'] } } as never]).rule,
          handle: made.handles[2]!,
        };
        where.nft.sync.commit(new Transaction().replace({ rule: replaced }));
        expect(kept(where).flags).toEqual(['ports-specified', 'random']);
        const plain = fresh();
        plain.nft.sync.commit(
          table()
            .add(chain('c', base))
            .add(rule('c', [{ [name]: { flags: ['random'] } } as never])),
        );
        expect(kept(plain).flags).toEqual(['random']);
      },
    );
  });

  kernelSuite('jumps that the kernel refuses', () => {
    afterEach(cleanUp);

    const chains = (transaction: Transaction, count: number): Transaction => {
      transaction.add(chain('in', BASE));
      for (let i = 0; i < count; i++) transaction.add(chain(`c${i}`));
      return transaction;
    };

    it('15 in a row are taken, and 16 are one error, at the rule that is one too many', () => {
      const row = (jumps: number): Transaction => {
        const transaction = chains(table(), 20).add(rule('in', jump('c0')));
        for (let i = 0; i < jumps - 1; i++) transaction.add(rule(`c${i}`, jump(`c${i + 1}`)));
        // What comes after it is judged with the same table.
        for (let i = 0; i < 5; i++) transaction.add(rule(`c${i}`, COUNTER));
        const statements = [
          { match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: { set: [22, 80] } } },
          { accept: null },
        ] as Statement[];
        return transaction.add({ rule: { ...T, chain: 'c0', statements } });
      };
      fresh().nft.sync.commit(row(15));
      for (const jumps of [16, 17, 18]) {
        const failure = only(fresh().nft, row(jumps));
        // The table, 21 chains, and the first 15 jumps.
        expect(failure).toMatchObject({ code: 'EMLINK', index: 1 + 21 + 15, subject: { rule: { chain: 'c14' } } });
        expect(failure.hint).toBe('more than 15 jumps follow each other: in -> c0 -> ... -> c15');
      }
    });

    it('a circle is one error, at the rule that closes it, and its chains are named', () => {
      for (const verdict of ['jump', 'goto'] as const) {
        const go = (to: string): Expression[] => [{ immediate: { register: 0, data: { verdict, chain: to } } }];
        const circle = chains(table(), 3)
          .add(rule('in', go('c0')))
          .add(rule('c0', go('c1')))
          .add(rule('c1', go('c2')))
          .add(rule('c2', go('c0')))
          .add(rule('c0', COUNTER))
          .add(rule('in', COUNTER));
        const failure = only(fresh().nft, circle);
        expect(failure).toMatchObject({ code: 'EMLINK', index: 8, subject: { rule: { chain: 'c2' } } });
        expect(failure.hint).toBe('the chains jump in a loop: c2 -> c0 -> c1 -> c2');
      }
      const own = chains(table(), 1)
        .add(rule('in', jump('c0')))
        .add(rule('c0', jump('c0')));
      expect(only(fresh().nft, own).hint).toBe('the chains jump in a loop: c0 -> c0');
    });

    it('a circle that nothing reached is an error at the rule that reaches it', () => {
      const { nft } = fresh();
      nft.sync.commit(
        chains(table(), 2)
          .add(rule('c0', jump('c1')))
          .add(rule('c1', jump('c0'))),
      );
      const failure = only(
        nft,
        new Transaction()
          .add(rule('c0', COUNTER))
          .add(rule('in', jump('c0')))
          .add(rule('in', COUNTER)),
      );
      expect(failure).toMatchObject({ code: 'EMLINK', index: 1 });
      expect(failure.hint).toBe('the chains jump in a loop: c0 -> c1 -> c0');
    });

    it('over chains that are there already they are named too, by way of maps and replaced rules as well', () => {
      const { nft } = fresh();
      const made = nft.sync.commit(
        chains(table(), 6)
          .add({
            map: {
              ...T,
              name: 'm',
              key: 'mark',
              data: 'verdict',
              elements: [{ key: 1, data: { verdict: 'jump', chain: 'c2' } }],
            },
          })
          .add(rule('in', jump('c0')))
          .add(rule('c0', jump('c1')))
          .add({
            rule: {
              ...T,
              chain: 'c1',
              expressions: [
                { meta: { key: 'mark', register: 1 } },
                { lookup: { set: 'm', sourceRegister: 1, register: 0 } },
              ],
            },
          })
          .add(rule('c2', COUNTER)),
        { echo: true },
      );
      const closed = only(nft, new Transaction().add(rule('c2', jump('c0'))).add(rule('c3', COUNTER)));
      expect(closed).toMatchObject({ code: 'EMLINK', index: 0 });
      expect(closed.hint).toBe('the chains jump in a loop: c2 -> c0 -> c1 -> c2');
      // Closed by the element of a map.
      nft.sync.commit(new Transaction().add(rule('c3', jump('c0'))));
      const element = {
        element: { ...T, set: 'm', elements: [{ key: 2, data: { verdict: 'jump' as const, chain: 'c3' } }] },
      };
      const byElement = only(nft, new Transaction().add(element).add(rule('c3', COUNTER)));
      expect(byElement).toMatchObject({ code: 'EMLINK', index: 0, syscall: 'NFT_MSG_NEWSETELEM' });
      expect(byElement.hint).toBe('the chains jump in a loop: c1 -> c3 -> c0 -> c1');
      // One jump less than there was: the rule that closes it is replaced in the same transaction.
      const handle = made.handles.at(-1)!;
      const gone = new Transaction()
        .replace({ rule: { ...T, chain: 'c2', handle, expressions: jump('c4') } })
        .add(rule('c4', jump('c5')))
        .add(rule('c5', jump('c2')));
      const replaced = only(nft, gone);
      expect(replaced).toMatchObject({ code: 'EMLINK', index: 2 });
      expect(replaced.hint).toBe('the chains jump in a loop: c5 -> c2 -> c4 -> c5');
    });

    it('are one error for each table that is wrong', () => {
      const { nft } = fresh();
      const transaction = new Transaction();
      for (const family of ['ip', 'ip6'] as Family[]) {
        for (const name of ['t', 'u']) {
          const place = { family, table: name };
          transaction.add({ table: { family, name } }).add({ chain: { ...place, name: 'in', ...BASE } as Chain });
          transaction.add({ chain: { ...place, name: 'a' } });
          transaction.add({ rule: { ...place, chain: 'in', expressions: jump('a') } });
          transaction.add({ rule: { ...place, chain: 'a', expressions: jump('a') } });
          transaction.add({ rule: { ...place, chain: 'a', expressions: COUNTER } });
        }
      }
      const { failures } = refused(nft, transaction);
      expect(failures.map(({ code, index }) => [code, index])).toEqual([4, 10, 16, 22].map(index => ['EMLINK', index]));
    });

    it('what does not work in a hook is one error, too', () => {
      const { nft } = fresh();
      const transaction = chains(table(), 1)
        .add(rule('in', COUNTER))
        .add(rule('in', [{ masq: {} }]))
        .add(rule('in', COUNTER))
        .add(rule('c0', COUNTER));
      expect(only(nft, transaction)).toMatchObject({ code: 'EOPNOTSUPP', index: 4 });
    });
  });
}

async function cleanUp(): Promise<void> {
  for (const each of cleanUps.splice(0).reverse()) await each();
}
