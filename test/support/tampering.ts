import type { Nftables } from '../../src/index.ts';
import { type Expression, type RuleEntry, type Ruleset, type SetEntry, Transaction } from '../../src/nftables/index.ts';

/* All that a container's root may do to a table of ours, by its own listing: each object gone, changed, and accompanied. */

/** One way. What the kernel does not take is none: `apply` says whether it did. */
export interface Tampering {
  name: string;
  apply(nft: Nftables): boolean;
  /** It takes elements or rules away that nobody can know of who has not asked for them, or adds some that look like ours. */
  ofContent?: boolean;
}

type Fields = Record<string, unknown>;

/** Everything that the kernel says and nobody writes. */
const READ_ONLY = new Set(['handle', 'use', 'backend', 'count', 'position', 'owner']);
const written = <T extends object>(object: T): T =>
  Object.fromEntries(Object.entries(object).filter(([field]) => !READ_ONLY.has(field))) as T;

type Edit = (ruleset: Ruleset) => void;

/** The table is made anew, as its listing says, with something edited. */
export function rewrite(nft: Nftables, table: string, edit: Edit): boolean {
  const ruleset = structuredClone(nft.sync.ruleset({ family: 'inet', table, elements: true }));
  edit(ruleset);
  const transaction = new Transaction().delete({ table: { family: 'inet', name: table } });
  for (const each of ruleset.tables) transaction.create({ table: written(each) });
  for (const each of ruleset.chains) transaction.add({ chain: { ...written(each), flags: [] } });
  const anonymous = new Map<string, number>();
  let id = 900;
  for (const { elements = [], ...set } of ruleset.sets) {
    const isMap = set.flags?.includes('map') === true;
    const own = set.flags?.includes('anonymous') === true;
    if (own) anonymous.set(set.name, ++id);
    const subject = {
      ...written(set),
      ...(own && { name: '__set%d', id }),
      elements: elements.map(wire => ({ wire })),
    };
    transaction.add({ [isMap ? 'map' : 'set']: subject } as never);
  }
  for (const { expressions = [], ...rule } of ruleset.rules) {
    const referring = expressions.map(expression => {
      const [[name, value]] = Object.entries(expression) as [[string, Fields]];
      const setId = typeof value.set === 'string' ? anonymous.get(value.set) : undefined;
      return setId === undefined ? expression : { [name]: { ...value, set: '__set%d', setId } };
    });
    transaction.add({ rule: { ...written(rule), expressions: referring } as never });
  }
  return commits(nft, transaction);
}

function commits(nft: Nftables, transaction: Transaction): boolean {
  try {
    nft.sync.commit(transaction);
    return true;
  } catch {
    return false;
  }
}

/** Every value in an expression that can be another one of its kind. */
function variants(expression: Expression): Expression[] {
  const [[name, value]] = Object.entries(expression) as [[string, Fields]];
  return Object.entries(value).flatMap(([field, item]) => {
    const others: unknown[] = [];
    if (typeof item === 'number') others.push(item + 1);
    else if (typeof item === 'string' && /^([0-9a-f]{2})+$/.test(item))
      others.push(item.replace(/..$/, last => (Number.parseInt(last, 16) ^ 1).toString(16).padStart(2, '0')));
    else if (field === 'op') others.push(item === 'eq' ? 'neq' : 'eq');
    else if (field === 'prefix') others.push(`${item}x`);
    else if (field === 'key') others.push(item === 'l4proto' ? 'nfproto' : 'l4proto');
    else if (field === 'base') others.push(item === 'network' ? 'transport' : 'network');
    else if (field === 'flags' && name === 'redir') others.push([...(item as string[]), 'random']);
    return others.map(other => ({ [name]: { ...value, [field]: other } }) as unknown as Expression);
  });
}

const COUNTER: Expression[] = [{ counter: {} } as never];

/** Every way, for a table as it is now. */
export function tamperings(nft: Nftables, table: string): Tampering[] {
  const place = { family: 'inet', table } as const;
  const ruleset = nft.sync.ruleset({ family: 'inet', table, elements: true });
  const ways: Tampering[] = [];
  const way = (name: string, make: () => Transaction, ofContent = false) =>
    ways.push({ name: `${table}: ${name}`, apply: handle => commits(handle, make()), ofContent });
  const anew = (name: string, edit: Edit, ofContent = false) =>
    ways.push({ name: `${table}: ${name}`, apply: handle => rewrite(handle, table, edit), ofContent });

  way('table deleted', () => new Transaction().delete({ table: { family: 'inet', name: table } }), true);
  way('dormant', () => new Transaction().add({ table: { family: 'inet', name: table, flags: ['dormant'] } }));
  anew('persistent', ({ tables }) => {
    tables[0]!.flags = ['persist'];
  });

  for (const [i, { chain, handle, expressions = [], ...rule }] of ruleset.rules.entries()) {
    const name = `rule ${i} of ${chain}`;
    const at = { ...place, chain, handle: handle! };
    const { comment } = rule as RuleEntry;
    const said = comment === undefined ? {} : { comment };
    way(`${name} deleted`, () => new Transaction().delete({ rule: at }), true);
    way(
      `${name} without comment`,
      () => new Transaction().replace({ rule: { ...at, expressions } }),
      comment !== undefined,
    );
    way(
      `${name} with a comment`,
      () => new Transaction().replace({ rule: { ...at, expressions, comment: 'x' } }),
      true,
    );
    way(`before ${name}`, () =>
      new Transaction().insert({ rule: { ...place, chain, position: handle!, expressions: COUNTER } }),
    );
    way(`behind ${name}`, () =>
      new Transaction().add({ rule: { ...place, chain, position: handle!, expressions: COUNTER } }),
    );
    for (const [j, expression] of expressions.entries()) {
      const edited = (list: Expression[]) => () =>
        new Transaction().replace({ rule: { ...at, expressions: list, ...said } });
      const what = `${name}, ${Object.keys(expression)[0]} at ${j}`;
      way(`${what} removed`, edited(expressions.toSpliced(j, 1)), true);
      way(`${what} behind a counter`, edited(expressions.toSpliced(j, 0, ...COUNTER)), true);
      for (const [k, variant] of variants(expression).entries())
        way(`${what} changed (${k})`, edited(expressions.with(j, variant)), true);
    }
  }

  for (const { name, hook, type } of ruleset.chains) {
    const at = { ...place, name };
    way(`chain ${name} flushed`, () => new Transaction().flush({ chain: at }), true);
    way(`chain ${name} deleted`, () => new Transaction().flush({ chain: at }).delete({ chain: at }), true);
    way(`chain ${name} drops`, () => new Transaction().add({ chain: { ...at, policy: 'drop' } }));
    const edits: [string, object][] = [
      ['without hook', { type: undefined, hook: undefined, priority: undefined, policy: undefined }],
      ['with another priority', { priority: -50 }],
      ['in another hook', { hook: hook === 'prerouting' ? 'output' : 'prerouting' }],
      ['of another type', { type: type === 'nat' ? 'filter' : 'nat' }],
      ['with a comment', { comment: 'x' }],
    ];
    for (const [what, edit] of edits)
      anew(`chain ${name} ${what}`, ({ chains }) => {
        const chain = chains.find(each => each.name === name)! as unknown as Fields;
        for (const [field, value] of Object.entries(edit))
          if (value === undefined) delete chain[field];
          else chain[field] = value;
      });
    anew(`rules of ${name} the other way round`, each => {
      const [mine, others] = [
        each.rules.filter(({ chain }) => chain === name),
        each.rules.filter(({ chain }) => chain !== name),
      ];
      each.rules = [...others, ...mine.reverse()];
    });
  }

  for (const set of ruleset.sets.filter(({ flags }) => !flags?.includes('anonymous')))
    ofSet(set, ruleset, { way, anew });

  way('a foreign chain', () => new Transaction().add({ chain: { ...place, name: 'theirs' } }));
  way('a foreign chain that is asked before', () =>
    new Transaction().add({
      chain: { ...place, name: 'theirs', type: 'filter', hook: 'prerouting', priority: -300, policy: 'drop' },
    }),
  );
  way('a foreign set', () => new Transaction().add({ set: { ...place, name: 'theirs', key: 'ipv4_addr' } }));
  way('a foreign counter', () => new Transaction().add({ counter: { ...place, name: 'theirs' } }));
  way('a rule in a foreign chain', () =>
    new Transaction()
      .add({ chain: { ...place, name: 'theirs' } })
      .add({ rule: { ...place, chain: 'theirs', expressions: COUNTER } }),
  );
  return ways;
}

function ofSet(
  set: SetEntry,
  { rules }: Ruleset,
  {
    way,
    anew,
  }: {
    way: (name: string, make: () => Transaction, ofContent?: boolean) => void;
    anew: (name: string, edit: Edit, ofContent?: boolean) => void;
  },
): void {
  const { family, table, name, elements = [], flags = [] } = set;
  const at = { family, table, name };
  const kind = flags.includes('map') ? 'map' : 'set';
  const subject = { [kind]: at } as never;
  const users = rules.filter(({ expressions = [] }) =>
    expressions.some(each => (Object.values(each)[0] as { set?: unknown })?.set === name),
  );
  const without = () => {
    const transaction = new Transaction();
    for (const { chain, handle } of users) transaction.delete({ rule: { family, table, chain, handle: handle! } });
    return transaction;
  };
  way(`${kind} ${name} flushed`, () => new Transaction().flush(subject), elements.length > 0);
  way(`${kind} ${name} deleted`, () => without().delete(subject), true);
  const edit = (what: string, change: (set: Fields) => void, ofContent = false) =>
    anew(
      `${kind} ${name} ${what}`,
      ({ sets }) => change(sets.find(each => each.name === name)! as unknown as Fields),
      ofContent,
    );
  edit('with timeouts', each => {
    each.flags = [...(each.flags as string[]), 'timeout'];
  });
  edit('to which rules may add', each => {
    each.flags = [...(each.flags as string[]), 'dynamic'];
  });
  edit('with a size', each => {
    each.description = { ...(each.description as object), size: 1000 };
  });
  const own = (each: Fields) => {
    each.flags = [...(each.flags as string[]), 'timeout'];
    each.timeoutMilliseconds = 3_600_000n;
  };
  edit('whose elements end', own, elements.length > 0);
  const counting = (each: Fields) => {
    each.expression = { counter: {} };
    each.elements = [];
  };
  edit('with counters', counting, elements.length > 0);
  edit('with a comment', each => {
    each.comment = 'x';
  });
  const element = (what: string, wire: object) =>
    way(`${kind} ${name}: ${what}`, () =>
      new Transaction().add({ element: { family, table, set: name, elements: [{ wire }] } } as never),
    );
  const [first] = elements as unknown as Fields[];
  if (first === undefined) return;
  const change = (key: unknown, offset: number, to: string) =>
    typeof key === 'string' ? key.slice(0, offset * 2) + to + key.slice(offset * 2 + to.length) : key;
  const length = String(first.key).length / 2;
  const both = (offset: number, to: string) => ({
    ...first,
    key: change(first.key, offset, to),
    ...(first.keyEnd !== undefined && { keyEnd: change(first.keyEnd, offset, to) }),
  });
  element('protocol 250', both(length - 8, 'fa'));
  element('port 0', both(length - 4, '0000'));
  element('with a counter', { ...both(length - 4, '4444'), expression: { counter: {} } });
  element('with a remark', { ...both(length - 4, '4445'), comment: 'x' });
  element('the catch-all', { ...(first.data !== undefined && { data: first.data }), flags: ['catch-all'] });
  if (first.data !== undefined) element('to port 0', { ...both(length - 4, '4446'), data: '0000' });
}
