import { afterEach, beforeEach, expect, test } from 'vitest';
import { BatchError, NetlinkError } from '../../src/errors.ts';
import { NetNs } from '../../src/netns/index.ts';
import { type Chain, type Expression, Nftables, Transaction } from '../../src/nftables/index.ts';
import { kernelSuite } from '../support/where.ts';

const T = { family: 'ip', table: 't' } as const;
const JUMP = (chain: string): Expression[] => [{ immediate: { register: 0, data: { verdict: 'jump', chain } } }];

let netns: NetNs;
let nft: Nftables;

beforeEach(() => {
  netns = NetNs.create();
  nft = Nftables.open({ netns });
  nft.sync.commit(
    new Transaction()
      .add({ table: { family: 'ip', name: 't' } })
      .add({ chain: { ...T, name: 'c' } })
      .add({ chain: { ...T, name: 'd' } })
      .add({ rule: { ...T, chain: 'c', expressions: JUMP('d') } })
      .add({ chain: { ...T, name: 'in', type: 'filter', hook: 'input', priority: 0 } })
      .add({ rule: { ...T, chain: 'in', expressions: JUMP('c') } })
      .add({ counter: { ...T, name: 'n' } })
      .add({ set: { ...T, name: 's', key: 'ipv4_addr', size: 2, elements: ['10.0.0.1'] } })
      .add({ set: { ...T, name: 'r', key: 'ipv4_addr', flags: ['interval'], elements: ['10.0.0.0/8'] } })
      .add({ map: { ...T, name: 'm', key: 'ipv4_addr', data: 'mark', elements: [{ key: '10.0.0.1', data: 1 }] } }),
  );
});
afterEach(async () => {
  await nft[Symbol.asyncDispose]();
  netns.close();
});

function refused(transaction: Transaction): BatchError {
  const before = nft.sync.generation();
  try {
    nft.sync.commit(transaction);
  } catch (error) {
    expect(nft.sync.generation(), 'nothing was applied').toBe(before);
    if (error instanceof BatchError) return error;
    throw error;
  }
  throw new Error('the kernel has taken it');
}

const base = (more: Partial<Chain>) => ({ chain: { ...T, name: 'x', type: 'filter', ...more } as Chain });
const rule = (...expressions: Expression[]) => new Transaction().add({ rule: { ...T, chain: 'c', expressions } });

kernelSuite('the message of a refusal', () => {
  test.each<[string, () => Transaction, string]>([
    [
      'a missing table',
      () => new Transaction().add({ chain: { family: 'ip', table: 'none', name: 'c' } }),
      'ENOENT: no such file or directory, nftables.commit (chain.table): there is no such table in this family',
    ],
    [
      'a missing chain',
      () => new Transaction().add({ rule: { ...T, chain: 'none', expressions: [] } }),
      '(rule.chain): there is no such chain in this table',
    ],
    [
      'a jump to a missing chain',
      () => rule(...JUMP('none')),
      '(rule.expressions[0]): there is no such chain in this table',
    ],
    [
      'a missing set',
      () =>
        rule(
          { payload: { base: 'network', offset: 12, length: 4, register: 1 } },
          { lookup: { set: 'none', sourceRegister: 1 } },
        ),
      '(rule.expressions[1]): there is no such set in this table',
    ],
    [
      'a missing object',
      () => rule({ objref: { type: 'counter', name: 'none' } }),
      '(rule.expressions[0]): there is no object of this name and type in this table',
    ],
    [
      'a set of elements that is missing',
      () => new Transaction().add({ element: { ...T, set: 'none', type: { key: 'mark' }, elements: [1] } }),
      '(element.set): there is no such set in this table',
    ],
    [
      'a chain type that there is not',
      () => new Transaction().add(base({ type: 'none' as never, hook: 'input', priority: 0 })),
      '(chain.type): this kernel has no chains of this type in this family',
    ],
    [
      'a hook that does not fit the type',
      () => new Transaction().add(base({ type: 'nat', hook: 'forward', priority: 0 })),
      'chains of type nat do not hang on the hook forward of this family',
    ],
    [
      'a priority that nat does not take',
      () => new Transaction().add(base({ type: 'nat', hook: 'prerouting', priority: -300 })),
      'a chain of type nat comes after connection tracking: its priority is above -200',
    ],
    [
      'a hook that there is not',
      () => new Transaction().add(base({ hook: 17, priority: 0 })),
      'chains of type filter do not hang on the hook 17',
    ],
    [
      'a base chain without its hook',
      () => new Transaction().add({ chain: { ...T, name: 'x', policy: 'drop' } }),
      '(chain.policy): only base chains have a policy',
    ],
    [
      'a chain that is there',
      () => new Transaction().create({ chain: { ...T, name: 'c' } }),
      '(chain.name): there is a chain of this name already',
    ],
    [
      'a loop',
      () => new Transaction().add({ rule: { ...T, chain: 'd', expressions: JUMP('c') } }),
      'EMLINK: too many links, nftables.commit (rule): the chains jump in a loop: d -> c -> d',
    ],
    [
      'a register that there is not',
      () => rule({ immediate: { register: 40, data: '00000001' } }),
      '(rule.expressions[0]): registers are 1 to 4',
    ],
    [
      'a register that nothing was loaded into',
      () => rule({ cmp: { register: 9, op: 'eq', data: '00' } }),
      '(rule.expressions[0]): the expression reads a register that nothing was loaded into',
    ],
    [
      'an element that is there with another value',
      () =>
        new Transaction().add({
          element: {
            ...T,
            set: 'm',
            elements: [
              { key: '10.0.0.2', data: 1 },
              { key: '10.0.0.1', data: 2 },
            ],
          },
        }),
      '(element.elements[1]): the set has the element with another value, or a range that it overlaps',
    ],
    [
      'an element that is missing',
      () => new Transaction().delete({ element: { ...T, set: 's', elements: ['10.0.0.1', '10.0.0.9'] } }),
      '(element.elements[1]): the set has no such element',
    ],
    [
      'a set that is full',
      () => new Transaction().add({ element: { ...T, set: 's', elements: ['10.0.0.2', '10.0.0.3'] } }),
      '(element.elements[1]): the set is full: see its size',
    ],
    [
      'a timeout where the set has none',
      () =>
        new Transaction().add({
          element: { ...T, set: 's', elements: [{ key: '10.0.0.2', timeoutMilliseconds: 1000n }] },
        }),
      '(element.elements[0]): key or value do not have the length',
    ],
    [
      'a chain that is in use',
      () => new Transaction().delete({ chain: { ...T, name: 'd' } }),
      '(chain.name): rules or verdict maps jump to the chain',
    ],
    [
      'a set that is there and different',
      () => new Transaction().create({ set: { ...T, name: 's', key: 'ipv6_addr' } }),
      '(set.name): there is a set of this name already',
    ],
    [
      'nat in a chain that has none',
      () => rule({ redir: {} }),
      'an expression of the rule does not work in this chain, or in one that jumps here',
    ],
  ])('is plain and names the place: %s', (_title, transaction, message) => {
    expect(refused(transaction()).message).toContain(message);
  });

  test('has every operation that failed, by index', () => {
    const error = refused(
      new Transaction()
        .add({ rule: { ...T, chain: 'none', expressions: [] } })
        .add({ table: { family: 'ip', name: 'good' } })
        .delete({ set: { ...T, name: 'none' } })
        .delete({ counter: { ...T, name: 'none' } }),
    );
    expect(error.failures.map(({ index, attribute, hint }) => [index, attribute, hint])).toEqual([
      [0, 'rule.chain', 'there is no such chain in this table'],
      [2, 'set.name', 'there is no such set in this table'],
      [3, 'counter.name', 'there is no such counter in this table'],
    ]);
    expect(error.outcome).toBe('none');
    expect(error.failures[0]!.subject).toEqual({ rule: { ...T, chain: 'none', expressions: [] } });
  });

  test('names the process whose socket owns the table', async () => {
    const owner = Nftables.open({ netns });
    owner.sync.commit(new Transaction().add({ table: { family: 'ip', name: 'owned', flags: ['owner'] } }));
    const error = refused(new Transaction().add({ chain: { family: 'ip', table: 'owned', name: 'c' } }));
    expect(error.message).toContain('the table belongs to the socket of another process (its flag owner)');
    await owner[Symbol.asyncDispose]();
    expect(
      nft.sync.tables().map(({ name }) => name),
      'it went with its owner',
    ).toEqual(['t']);
  });

  test('explains a stale generation', () => {
    const generation = nft.sync.generation();
    nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: 'u' } }), { generation });
    const stale = () => nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: 'v' } }), { generation });
    expect(stale).toThrow(NetlinkError);
    expect(stale).toThrow('ERESTART');
    expect(stale).toThrow('the ruleset has changed since that generation: read it again');
  });

  test('is the same in a dry run, which changes nothing', () => {
    const generation = nft.sync.generation();
    nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: 'u' } }), { dryRun: true });
    const wrong = new Transaction().delete({ set: { ...T, name: 'none' } });
    expect(() => nft.sync.commit(wrong, { dryRun: true })).toThrow('there is no such set in this table');
    expect(nft.sync.generation()).toBe(generation);
    expect(() => nft.sync.commit(wrong, { dryRun: true, echo: true })).toThrow('echo: expected false with dryRun');
  });
});
