import type { NftSet } from '../../nf_tables/set.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import { Names } from '../../nft/names.ts';
import type { ElementShape } from '../../nft/set-types.ts';
import { ofThread } from '../../thread.ts';
import type { Interfaces } from '../interfaces.ts';
import type { RangeChange } from '../ranges/range-set.ts';
import { RangedSets } from '../ranges/ranged-sets.ts';
import type { MessageList } from './encoded.ts';
import { RuleEncoder } from './rule-encoder.ts';

/** What `commit` has read from the namespace for an operation that could not be encoded without it. */
export interface Resolved {
  shape?: ElementShape;
  /** What the kernel must be told about elements with ranges, after comparing them with those that the set has. */
  change?: RangeChange;
  /** The index of a device. */
  interfaces?: Interfaces['interfaces'];
  /** The sets that the rule's statements refer to, by name. */
  sets?: ReadonlyMap<string, NftSet>;
  handle?: bigint;
  /** The rule to stand next to, when it is one of this transaction. */
  ruleId?: number;
  /** The number that the rule itself gets, because others stand next to it. */
  id?: number;
}

/** Numbers that the caller gives are small. Those that this library gives begin here. */
const FIRST_ID = 0x10000;

/** What is known of the namespace that a transaction is made for. */
export interface Surroundings {
  /** The version of nft that rules are compiled as; default 1.1.6. */
  version?: '1.1.6' | '1.0.6' | undefined;
  /** Finds a set that is there. Without it `commit` looks for those that the transaction does not make. */
  set?: ((family: unknown, table: unknown, name: string) => NftSet | undefined) | undefined;
}

/** What the operations of one transaction share. Small transactions are made in great numbers: each part is made when it is first used. */
interface Shared {
  surroundings: Surroundings;
  nextId: number;
  shapes: Map<string, ElementShape> | undefined;
  sets: Map<string, NftSet> | undefined;
  names: Names | undefined;
  ranged: RangedSets | undefined;
}

const thread = ofThread('nftables.encoder', { rules: undefined as RuleEncoder | undefined });

/** What encoding an operation needs besides its object. */
export class EncodeContext {
  /** Takes the operation's messages. */
  list: MessageList;
  /** The operation's index in its transaction. */
  operation = 0;
  resolved: Resolved | undefined;
  /** The operation has written nothing: `commit` must read something from the namespace first. */
  needsMore = false;
  readonly #shared: Shared;
  readonly #ranged: RangedSets | undefined;

  constructor(list: MessageList, shared = nothing(), ranged?: RangedSets) {
    this.list = list;
    this.#shared = shared;
    this.#ranged = ranged;
  }

  /** The context of one operation of the same transaction that is encoded later, elsewhere. `ranged` takes the place of the transaction's own. */
  at(operation: number, list: MessageList, resolved: Resolved, ranged?: RangedSets): EncodeContext {
    const context = new EncodeContext(list, this.#shared, ranged);
    context.operation = operation;
    context.resolved = resolved;
    return context;
  }

  /** Begins with the next operation. */
  begin(operation: number): void {
    this.operation = operation;
    this.needsMore = false;
    this.#shared.ranged?.begin();
  }

  /** Undoes the notes of an operation that failed. */
  rollBack(): void {
    this.#shared.ranged?.rollBack();
  }

  get surroundings(): Surroundings {
    return this.#shared.surroundings;
  }

  set surroundings(surroundings: Surroundings) {
    this.#shared.surroundings = surroundings;
  }

  /** A number for a set, chain or rule that has none yet. */
  nextId(): number {
    return this.#shared.nextId++;
  }

  /** The shapes of the elements of this transaction's sets, by `setKey`. */
  get shapes(): Map<string, ElementShape> {
    this.#shared.shapes ??= new Map();
    return this.#shared.shapes;
  }

  /** The sets of this transaction that have names, by `setKey`. */
  get sets(): Map<string, NftSet> {
    this.#shared.sets ??= new Map();
    return this.#shared.sets;
  }

  /** The names of numbers, for rules that are written in statements. Each file is read once. */
  get names(): Names {
    this.#shared.names ??= new Names();
    return this.#shared.names;
  }

  /** The encoder of this thread, which knows the rule that was written last, if it was one of another transaction, too. */
  get rules(): RuleEncoder {
    thread.rules ??= new RuleEncoder(XT_LAYOUTS);
    return thread.rules;
  }

  /** The sets with ranges of this transaction. */
  get ranged(): RangedSets {
    if (this.#ranged !== undefined) return this.#ranged;
    this.#shared.ranged ??= new RangedSets();
    return this.#shared.ranged;
  }
}

const nothing = (): Shared => ({
  surroundings: {},
  nextId: FIRST_ID,
  shapes: undefined,
  sets: undefined,
  names: undefined,
  ranged: undefined,
});
