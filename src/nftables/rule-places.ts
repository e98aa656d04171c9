import type { Fields } from './operations.ts';
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
    const at = this.#find(object);
    if (verb === 'add') rules.splice(at === undefined ? rules.length : at + 1, 0, entry);
    else if (verb === 'insert') rules.splice(at ?? 0, 0, entry);
    else if (at !== undefined && verb === 'replace') rules[at] = entry;
    else if (at !== undefined) rules.splice(at, 1);
  }

  #find({ index, position, positionId, handle }: Fields): number | undefined {
    if (typeof index === 'number') return index;
    const wanted = position ?? handle;
    const at = this.rules.findIndex(rule =>
      wanted === undefined ? positionId !== undefined && rule.id === positionId : rule.handle === wanted,
    );
    return at < 0 ? undefined : at;
  }
}
