import type { Chain } from '../../nf_tables/chain.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import type { ElementValue } from '../../nft/element-values.ts';
import type { LineRule } from '../../nft/parse/lines.ts';
import type { Rule } from '../../nft/rule.ts';
import type { RangeList } from '../ranges/range-lists.ts';
import { RangedSets } from '../ranges/ranged-sets.ts';
import { EncodeContext, type Resolved, type Surroundings } from './encode-context.ts';
import { type EncodedMessage, MessageList } from './encoded.ts';
import type {
  ChainRename,
  CreatedObject,
  FlushReference,
  NewMap,
  NewObject,
  ObjectReference,
  ReplacedRule,
} from './new-objects.ts';
import { OperationList, type TransactionOperation } from './operation-list.ts';
import { KINDS } from './operations.ts';
import { RULE_VERBS, writeLine, writeRule } from './rule-writer.ts';

export type { TransactionOperation } from './operation-list.ts';

/**
 * A set without a name, by the number that it has within its transaction. Spread it into the expression that uses it:
 * `{ lookup: { ...reference, sourceRegister: 1 } }`. It means nothing in another transaction.
 */
export interface SetReference {
  /** The name that the set has in this transaction. */
  set: string;
  /** The number that the set has in this transaction. */
  setId: number;
}

/**
 * A chain without a name, by the number that it has within its transaction. Spread it into the rules that it is to have
 * (`{ rule: { family, table, ...reference, expressions } }`), and then into the verdict of the rule that jumps to it:
 * `{ immediate: { register: 0, data: { verdict: 'jump', ...reference } } }`.
 */
export interface ChainReference {
  /** The number that the chain has in this transaction. */
  chainId: number;
}

/** Writes values into the copy of a message that begins at `at`. */
export interface TemplateValues {
  fill(bytes: Uint8Array, at: number, values: Readonly<Record<string, unknown>>): void;
}

const ANONYMOUS_SET = '__set%d';
const ANONYMOUS_MAP = '__map%d';

/**
 * A list of operations that the kernel carries out together or not at all.
 * It is a value without a socket: made once, it can be committed to any number of namespaces, and is encoded once. Each verb checks and encodes
 * its object on the spot: what is wrong with it is thrown there, as a TypeError or RangeError with its path. Changing the object afterwards
 * changes nothing here.
 * @example
 * const tx = new Transaction()
 *   .add({ table: { family: 'inet', name: 'web' } })
 *   .add({ chain: { family: 'inet', table: 'web', name: 'input', hook: 'input', priority: 0, type: 'filter' } })
 *   .add({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [tcp.dport.eq(22), accept()] } });
 * await nft.commit(tx);
 */
export class Transaction extends OperationList<EncodeContext> {
  constructor() {
    super(ALL_KINDS, list => new EncodeContext(list));
  }

  /** Tells what is known of the namespace. To be called before anything is added. @internal */
  surround(surroundings: Surroundings): void {
    this.context.surroundings = surroundings;
  }

  /**
   * Makes sure that an object is there. A rule is appended to its chain, or put after `position` or `index`.
   * Chains, sets and objects that are there must be as described; a chain's policy and a quota's limit change.
   * @param object one object under the name of its kind: table, chain, rule, set, map, element, flowtable, counter, quota, limit ...
   * @example
   * tx.add({ set: { family: 'inet', table: 'web', name: 'blocked', key: 'ipv4_addr' } });
   */
  add(object: NewObject): this {
    return this.push('add', object);
  }
  /**
   * Makes an object that must not be there yet (EEXIST).
   * @param object one object under the name of its kind, as for `add`
   * @example
   * tx.create({ table: { family: 'inet', name: 'web' } });
   */
  create(object: CreatedObject): this {
    return this.push('create', object);
  }
  /**
   * Puts a rule at the beginning of its chain, or before `position` or `index`.
   * @param object the rule
   * @example
   * tx.insert({ rule: { family: 'inet', table: 'web', chain: 'input', statements: [drop()] } });
   */
  insert(object: {
    /** The rule. */
    rule: Rule;
  }): this {
    return this.push('insert', object);
  }
  /**
   * Puts a rule in the place of the one with its `handle`, or at its `index`.
   * @param object the rule, with `handle` or `index`
   * @example
   * tx.replace({ rule: { family: 'inet', table: 'web', chain: 'input', handle: 4n, statements: [accept()] } });
   */
  replace(object: {
    /** The rule. */
    rule: ReplacedRule;
  }): this {
    return this.push('replace', object);
  }
  /**
   * Removes what must be there (ENOENT). A table goes with all that is in it.
   * Chains, sets and objects must not be in use (EBUSY).
   * @param object what names the object, under the name of its kind
   * @example
   * tx.delete({ rule: { family: 'inet', table: 'web', chain: 'input', handle: 4n } });
   */
  delete(object: ObjectReference): this {
    return this.push('delete', object);
  }
  /**
   * Makes sure that an object is not there; the table that it would be in need not be there either.
   * Tables, chains and counters by name on every kernel; others need Linux 6.3, or `commit` throws an UnsupportedError.
   * @param object what names the object, under the name of its kind
   * @example
   * tx.destroy({ table: { family: 'inet', name: 'web' } });
   */
  destroy(object: ObjectReference): this {
    return this.push('destroy', object);
  }
  /**
   * Removes all rules of a table or chain, all elements of a set or map, or all tables of a namespace.
   * @param object what is to be emptied: `{ table }`, `{ chain }`, `{ set }`, `{ map }` or `{ ruleset: {} }`
   * @example
   * tx.flush({ chain: { family: 'inet', table: 'web', name: 'input' } });
   */
  flush(object: FlushReference): this {
    return this.push('flush', object);
  }
  /**
   * Gives a chain another name.
   * @param object the chain, with its new name
   * @example
   * tx.rename({ chain: { family: 'inet', table: 'web', name: 'input', newName: 'in' } });
   */
  rename(object: {
    /** The chain. */
    chain: ChainRename;
  }): this {
    return this.push('rename', object);
  }

  /**
   * Makes a set without a name, with its elements, for the rules of this transaction: it goes with the last rule that uses it.
   * Nobody can add to it later, but a rule where it is `dynamic`.
   * @param set family, table, type of key, flags, size
   * @param elements its elements; default none
   * @example
   * const seen = tx.anonymousSet({ family: 'ip', table: 'web', key: 'ipv4_addr', flags: ['dynamic'], size: 1000 });
   * // add @__set0 { ip saddr }
   * const load: Expression = { payload: { base: 'network', offset: 12, length: 4, register: 1 } };
   * const rule = table('ip', 'web').chain('input').place;
   * tx.add({ rule: { ...rule, expressions: [load, { dynset: { ...seen, op: 'add', keyRegister: 1 } }] } });
   */
  anonymousSet(set: Omit<NewMap, 'name' | 'data'>, elements: ElementValue[] = []): SetReference {
    return this.#anonymous('set', set, ANONYMOUS_SET, elements);
  }
  /**
   * Makes a map without a name, with its elements, as `anonymousSet` makes a set.
   * @param map family, table, types of key and data, flags, size
   * @param elements keys with their data; default none
   * @example
   * const backends = tx.anonymousMap({ family: 'ip', table: 'web', key: 'inet_service', data: 'ipv4_addr' }, [{ key: 80, data: '10.0.0.1' }]);
   */
  anonymousMap(map: Omit<NewMap, 'name'>, elements: ElementValue[] = []): SetReference {
    return this.#anonymous('map', map, ANONYMOUS_MAP, elements);
  }

  #anonymous(kind: 'set' | 'map', given: object, name: string, elements: ElementValue[]): SetReference {
    const { flags = [] } = given as NewMap;
    const setId = this.context.nextId();
    // Sets without a name are constant, except those that packets add to.
    const fixed = flags.includes('dynamic') ? [] : ['constant'];
    const set = { ...given, name, id: setId, flags: ['anonymous', ...fixed, ...flags], elements };
    this.push('add', { [kind]: set });
    return { set: name, setId };
  }

  /**
   * Makes a chain without a name, for one rule of this transaction that jumps to it: it goes with that rule.
   * Its rules must be added before that one.
   * @param chain family and table
   * @example
   * const { place } = table('inet', 'web');
   * const reference = tx.anonymousChain(place);
   * tx.add({ rule: { ...place, ...reference, statements: [accept()] } });
   */
  anonymousChain(chain: Pick<Chain, 'family' | 'table'>): ChainReference {
    const chainId = this.context.nextId();
    this.push('add', { chain: { ...chain, id: chainId, flags: ['binding'] } });
    return { chainId };
  }

  /** Adds an operation whose one message was encoded before; `template` writes what varies into the copy. @internal */
  append(
    operation: TransactionOperation,
    message: Uint8Array,
    { name, family, translate }: EncodedMessage,
    template: TemplateValues,
    values: Readonly<Record<string, unknown>>,
  ): this {
    const list = this.open();
    const { writer } = list;
    const { length } = writer;
    writer.raw(message);
    try {
      template.fill(writer.bytes, length, values);
    } catch (error) {
      writer.length = length;
      throw error;
    }
    list.appended(length, name, family, this.length, translate);
    return this.appended(operation);
  }

  /** Adds the rule of a line by the template of its shape. Returns false if the shape has none. @internal */
  addLine(line: LineRule): boolean {
    this.open();
    const origin = writeLine(line, this.length, this.context);
    if (origin !== undefined) this.appended(new LineOperation(line), origin);
    return origin !== undefined;
  }

  /** Whether a set with this name is made here. @internal */
  makesSet(key: string): boolean {
    return this.context.sets.has(key);
  }

  /** Its sets with ranges. @internal */
  get ranged(): RangedSets {
    return this.context.ranged;
  }

  /** The elements of an operation that could not be read before its set was known. @internal */
  rangesOf(operation: number, resolved: Resolved): RangeList | undefined {
    const ranged = new RangedSets();
    this.rewrite(operation, this.context.at(operation, new MessageList(1024), resolved, ranged));
    return ranged.lists.get(operation)?.list;
  }

  /** A set that is made here. @internal */
  setMade(key: string): NftSet | undefined {
    return this.context.sets.get(key);
  }

  /** Encodes an operation that was unresolved. @internal */
  encodeResolved(operation: number, resolved: Resolved, list: MessageList): void {
    this.rewrite(operation, this.context.at(operation, list, resolved));
  }
}

/** The rule of a line. Its statements are made only where something went wrong. */
class LineOperation implements TransactionOperation {
  readonly verb = 'add';
  readonly kind = 'rule';
  readonly #line: LineRule;

  constructor(line: LineRule) {
    this.#line = line;
  }

  get subject(): object {
    const { place, expr } = this.#line;
    return { rule: { ...place, statements: expr } };
  }
}

const ALL_KINDS = { rule: { verbs: RULE_VERBS, write: writeRule }, ...KINDS };
