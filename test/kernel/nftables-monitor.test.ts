import fc from 'fast-check';
import {
  type Expression,
  type MonitorItem,
  type MonitorOptions,
  Nftables,
  type RulesetEvent,
  RulesetMirror,
  Transaction,
} from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { stateOf } from '../support/nftables-state.ts';
import { kernelSuite } from '../support/where.ts';

const TABLE = { family: 'ip', name: 't' } as const;
const IN_TABLE = { family: 'ip', table: 't' } as const;
const CHAIN = { ...IN_TABLE, chain: 'c' } as const;

freshNamespaces();

const mark = (number: number): Expression[] => [
  { immediate: { register: 1, data: number.toString(16).padStart(8, '0') } },
  { meta: { key: 'mark', sourceRegister: 1 } },
];

/** Follows the monitor until the mirror has the present generation. */
class Follower {
  readonly mirror = new RulesetMirror();
  readonly items: MonitorItem[] = [];
  readonly ended: Promise<void>;
  #wake = () => {};

  constructor(options: MonitorOptions = {}) {
    const monitor = nft.monitor({ initial: true, ...options });
    this.ended = (async () => {
      for await (const item of monitor) {
        this.items.push(item);
        this.mirror.apply(item);
        this.#wake();
      }
    })();
    this.ended.catch(() => {});
  }

  async caughtUp(): Promise<void> {
    const generation = await nft.generation();
    while (this.mirror.generation !== generation) {
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
  }

  async expectPresentState(): Promise<void> {
    await this.caughtUp();
    expect(stateOf(this.mirror.ruleset)).toEqual(stateOf(await nft.ruleset({ elements: true })));
  }
}

type Step =
  | { op: 'add' | 'insert'; at: number | undefined }
  | { op: 'replace' | 'delete'; at: number }
  | { op: 'flush' };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ op: fc.constantFrom('add', 'insert'), at: fc.option(fc.nat(9), { nil: undefined }) }),
    },
    { weight: 4, arbitrary: fc.record({ op: fc.constantFrom('replace', 'delete'), at: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('flush') }) },
  ) as fc.Arbitrary<Step>,
  { minLength: 1, maxLength: 6 },
);

/** What the steps mean for the rules that are there. */
function transactionOf(list: readonly Step[], handles: bigint[], number: () => number): Transaction {
  const transaction = new Transaction();
  const live = [...handles];
  for (const step of list) {
    if (step.op === 'flush') {
      transaction.flush({ chain: { ...IN_TABLE, name: 'c' } });
      live.length = 0;
      continue;
    }
    const handle = step.at === undefined ? undefined : live[step.at % (live.length || 1)];
    const rule = { ...CHAIN, expressions: mark(number()) };
    if (step.op === 'add' || step.op === 'insert')
      transaction[step.op]({ rule: handle === undefined ? rule : { ...rule, position: handle } });
    else if (handle !== undefined) {
      live.splice(live.indexOf(handle), 1);
      if (step.op === 'replace') transaction.replace({ rule: { ...rule, handle } });
      else transaction.delete({ rule: { ...CHAIN, handle } });
    }
  }
  return transaction;
}

kernelSuite('a monitor', () => {
  it('rebuilds the state that a dump shows, whatever happens to the rules of a chain', async () => {
    await nft.commit(new Transaction().add({ table: TABLE }).add({ chain: { ...IN_TABLE, name: 'c' } }));
    const follower = new Follower();
    await follower.caughtUp();
    let count = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(steps, { maxLength: 4 }), async transactions => {
        for (const list of transactions) {
          const handles = (await nft.rules(CHAIN)).map(({ handle }) => handle);
          await nft.commit(transactionOf(list, handles, () => ++count));
        }
        await follower.expectPresentState();
      }),
      { numRuns: 150 },
    );
  });

  it('does not take the order of a later state for that of a transaction, when a rule has gone meanwhile', async () => {
    await nft.commit(new Transaction().add({ table: TABLE }).add({ chain: { ...IN_TABLE, name: 'c' } }));
    for (const number of [1, 2, 6])
      await nft.commit(new Transaction().add({ rule: { ...CHAIN, expressions: mark(number) } }));
    const follower = new Follower();
    await follower.caughtUp();
    const behind = (await nft.rules(CHAIN))[1]!.handle;
    const added = (number: number) => ({ rule: { ...CHAIN, position: behind, expressions: mark(number) } });
    // The monitor reads the first of the three when all are done. The kernel says of rule 3 that it stands behind rule 4.
    nft.sync.commit(new Transaction().add(added(3)).add(added(4)));
    nft.sync.commit(new Transaction().add(added(5)));
    nft.sync.commit(new Transaction().delete({ rule: { ...CHAIN, handle: behind } }));
    await follower.expectPresentState();
  });

  it('ends with the state of the dump after 10,000 commits, and reports when it had to read it again', async () => {
    const table = new Transaction().add({ table: TABLE });
    for (const name of ['a', 'b', 'c']) table.add({ chain: { ...IN_TABLE, name } });
    await nft.commit(table);
    const follower = new Follower({ receiveBufferBytes: 64 * 1024 });
    await follower.caughtUp();
    for (let i = 0; i < 10_000; i++) {
      const chain = 'abc'[i % 3]!;
      const transaction = new Transaction();
      if (i % 30 < 3) transaction.flush({ chain: { ...IN_TABLE, name: chain } });
      await nft.commit(transaction.add({ rule: { ...IN_TABLE, chain, expressions: mark(i) } }));
      // A program that does something else for a while: the kernel has no room for what happens meanwhile.
      if (i % 2500 > 1500) continue;
      if (i % 10 === 0) await new Promise(resolve => setImmediate(resolve));
    }
    await follower.expectPresentState();
    const types = follower.items.map(item => (item.type === 'state' ? item.reason : item.type));
    expect(types[0]).toBe('initial');
    expect(types.filter(type => type === 'lost').length).toBeGreaterThan(0);
    expect(types.filter(type => type === 'transaction').length).toBeGreaterThan(100);
    // Nothing comes twice, and nothing older after something newer.
    const generations = follower.items.map(({ generation }) => generation);
    expect(generations).toEqual([...new Set(generations)].sort((a, b) => a - b));
  });

  it('gives each transaction as one item, with the process that made it', async () => {
    const monitor = nft.monitor();
    const items = monitor[Symbol.asyncIterator]();
    await nft.commit(
      new Transaction()
        .add({ table: { ...TABLE, comment: 'mine' } })
        .add({ chain: { ...IN_TABLE, name: 'c' } })
        .add({ rule: { ...CHAIN, expressions: mark(1), comment: 'first' } }),
    );
    const { value } = await items.next();
    expect(value).toMatchObject({
      type: 'transaction',
      generation: await nft.generation(),
      processId: process.pid,
      events: [
        { action: 'new', kind: 'table', object: { family: 'ip', name: 't', comment: 'mine' } },
        { action: 'new', kind: 'chain', object: { family: 'ip', table: 't', name: 'c' } },
        {
          action: 'new',
          kind: 'rule',
          object: { chain: 'c', comment: 'first', expressions: mark(1) },
          placement: 'last',
        },
      ],
    });
    await nft.commit(new Transaction().delete({ table: TABLE }));
    const deleted = ((await items.next()).value as MonitorItem & { events: RulesetEvent[] }).events;
    expect(deleted.map(({ action, kind }) => `${action} ${kind}`)).toEqual([
      'delete rule',
      'delete chain',
      'delete table',
    ]);
    await items.return(undefined);
    expect(monitor.closed).toBe(true);
  });

  it('filters by table and kind, and omits transactions without a match', async () => {
    const tables = new Transaction();
    for (const name of ['t', 'other']) tables.add({ table: { family: 'ip', name } });
    tables.add({ table: { family: 'ip6', name: 't' } });
    await nft.commit(tables);
    const monitor = nft.monitor({ ...IN_TABLE, kinds: ['chain', 'rule'], initial: true });
    const items = monitor[Symbol.asyncIterator]();
    expect((await items.next()).value).toMatchObject({ type: 'state', ruleset: { tables: [], chains: [], rules: [] } });
    const add = (family: 'ip' | 'ip6', table: string) =>
      nft.commit(new Transaction().add({ chain: { family, table, name: 'c' } }));
    await add('ip', 'other');
    await add('ip6', 't');
    await nft.commit(new Transaction().add({ table: { ...TABLE, flags: ['dormant'] } }));
    await add('ip', 't');
    expect((await items.next()).value).toMatchObject({
      events: [{ kind: 'chain', object: { family: 'ip', table: 't', name: 'c' } }],
    });
    await monitor.close();
    expect((await items.next()).done).toBe(true);
  });

  it('ends when it is closed, with its handle and by a signal, and is then rejected with ERR_CLOSED', async () => {
    const first = nft.monitor();
    const waiting = first[Symbol.asyncIterator]().next();
    await new Promise(resolve => setImmediate(resolve));
    await first.close();
    expect(await waiting).toEqual({ value: undefined, done: true });

    const controller = new AbortController();
    const second = nft.monitor({ signal: controller.signal })[Symbol.asyncIterator]();
    const aborted = second.next();
    controller.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    const third = nft.monitor({ signal: controller.signal });
    expect(third.closed).toBe(true);
    await expect(third[Symbol.asyncIterator]().next()).rejects.toThrow('enough');

    const handle = Nftables.open({ netns });
    const last = handle.monitor()[Symbol.asyncIterator]().next();
    await handle[Symbol.asyncDispose]();
    expect((await last).done).toBe(true);
    expect(() => handle.monitor()).toThrow('ERR_CLOSED');
  });

  it('rejects unknown options, and a second iteration with ERR_BUSY', async () => {
    expect(() => nft.monitor({ table: 't' })).toThrow('family');
    expect(() => nft.monitor({ kinds: ['rules' as never] })).toThrow('kinds[0]');
    expect(() => nft.monitor({ receiveBufferBytes: 1 })).toThrow('receiveBufferBytes');
    const monitor = nft.monitor();
    monitor[Symbol.asyncIterator]();
    expect(() => monitor[Symbol.asyncIterator]()).toThrow('ERR_BUSY');
    await monitor.close();
  });
});
