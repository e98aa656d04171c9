import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { Fields } from './new-objects.ts';
import type { TransactionOperation } from './transaction.ts';

interface Entry {
  /** Of a rule that was there before. */
  handle?: bigint;
  /** Of one that the transaction makes: the operation. */
  operation?: number;
  /** The number that it was given. */
  id?: unknown;
}

/** The rules of one chain in their order, as a transaction changes them: what an index means at a certain operation. */
export class ChainModel {
  readonly rules: Entry[];
  readonly #place: Fields;

  constructor({ family, table, chain }: Fields, handles: readonly bigint[]) {
    this.#place = { family, table, chain };
    this.rules = handles.map(handle => ({ handle }));
  }

  apply({ verb, kind, subject }: TransactionOperation, operation: number): void {
    const object = (subject as Record<string, Fields>)[kind]!;
    const { family, table, chain } = this.#place;
    if (kind === 'ruleset') {
      if (object.family === undefined || object.family === family) this.rules.length = 0;
      return;
    }
    if (object.family !== family) return;
    if (kind === 'table') {
      if (object.name === table && ['flush', 'delete', 'destroy'].includes(verb)) this.rules.length = 0;
    } else if (kind === 'chain') {
      const own = object.table === table && object.name === chain;
      if (own && ['flush', 'delete', 'destroy'].includes(verb)) this.rules.length = 0;
    } else if (kind === 'rule' && object.table === table && object.chain === chain) {
      this.#rule(verb, object, { operation, id: object.id });
    }
  }

  #rule(verb: string, object: Fields, entry: Entry): void {
    const { rules } = this;
    const at = this.#find(verb, object);
    if (verb === 'add') rules.splice(at === undefined ? rules.length : at + 1, 0, entry);
    else if (verb === 'insert') rules.splice(at ?? 0, 0, entry);
    else if (at !== undefined && verb === 'replace') rules[at] = entry;
    else if (at !== undefined) rules.splice(at, 1);
  }

  #find(verb: string, { index, position, positionId, handle }: Fields): number | undefined {
    if (typeof index === 'number') return index;
    // The handle of a rule that is added is one that it was read with.
    const wanted = verb === 'add' || verb === 'insert' ? position : handle;
    const at = this.rules.findIndex(rule =>
      wanted === undefined ? positionId !== undefined && rule.id === positionId : rule.handle === wanted,
    );
    return at < 0 ? undefined : at;
  }
}

const OWN_CHAIN = /^__chain\d+$/;
/** A name whose bytes are no text was kept raw. */
const isOwn = (chain: unknown): boolean => typeof chain === 'string' && chain.startsWith('__') && OWN_CHAIN.test(chain);

/**
 * Rules with those of chains that have no name of their own before the rule that jumps there: in the order in which they can be added. The order
 * within each chain stays.
 */
export function ownChainsFirst(rules: RuleEntry[]): RuleEntry[] {
  if (!rules.some(({ chain }) => isOwn(chain))) return rules;
  const own = new Map<string, RuleEntry[]>();
  const others: RuleEntry[] = [];
  for (const rule of rules) {
    const list = isOwn(rule.chain) ? own.get(chainKey(rule, rule.chain)) : others;
    if (list === undefined) own.set(chainKey(rule, rule.chain), [rule]);
    else list.push(rule);
  }
  const ordered: RuleEntry[] = [];
  const place = (rule: RuleEntry): void => {
    for (const key of jumpsOf(rule)) {
      const list = own.get(key);
      own.delete(key);
      for (const inner of list ?? []) place(inner);
    }
    ordered.push(rule);
  };
  for (const rule of others) place(rule);
  for (const [key, list] of own) if (own.delete(key)) for (const rule of list) place(rule);
  return ordered;
}

const chainKey = ({ family, table }: RuleEntry, chain: string): string => JSON.stringify([family, table, chain]);

function* jumpsOf(rule: RuleEntry): Generator<string> {
  for (const expression of rule.expressions ?? []) {
    const data = 'immediate' in expression ? expression.immediate.data : undefined;
    if (typeof data === 'object' && 'chain' in data && typeof data.chain === 'string') yield chainKey(rule, data.chain);
  }
}
