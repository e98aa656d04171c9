import { NetlinkError, within } from '../../errors.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import type { WiredElements } from '../../nft/element-values.ts';
import { type ElementShape, shapeOf } from '../../nft/set-types.ts';
import { kernelRanges } from '../ranges/range-lists.ts';
import type { RangeMemory } from '../ranges/range-memory.ts';
import { mergesRanges, RangeSet } from '../ranges/range-set.ts';
import { type DeclaredSet, setKey } from '../ranges/ranged-sets.ts';
import { readSet } from '../request.ts';
import type { Resolved } from '../write/encode-context.ts';
import type { Fields } from '../write/new-objects.ts';
import type { Transaction } from '../write/transaction.ts';
import { dumpElements, type Ruleset } from './listing.ts';

/** Sets that were read before; they are of use while the generation is the same. */
export type KnownSets = Pick<Ruleset, 'generation' | 'sets'>;

/** Knowledge from before a commit, which is kept for the next one. */
export interface Knowledge {
  memory?: RangeMemory | undefined;
  known?: KnownSets | undefined;
}

interface State {
  shape: ElementShape;
  /** The elements that the last operation on it sends. */
  last?: Resolved;
  /** Undefined in sets without ranges: what they have need not be known. */
  ranges: RangeSet | undefined;
}

/** The sets of the namespace that a transaction changes the elements of, as they are when each of its operations comes to them. */
export class SetReader {
  readonly #exchange: Exchange;
  readonly #transaction: Transaction;
  readonly #generation: number;
  readonly #knowledge: Knowledge;
  /** By the key of the set, or by what the transaction says of one that it makes. */
  readonly #states = new Map<string | DeclaredSet, State>();
  /** How many of the transaction's flushes are past. */
  #flushes = 0;
  readonly #flushed = new Set<string>();

  constructor(exchange: Exchange, transaction: Transaction, generation: number, knowledge: Knowledge) {
    this.#exchange = exchange;
    this.#transaction = transaction;
    this.#generation = generation;
    this.#knowledge = knowledge;
  }

  /** The sets as they are after the whole transaction; those that it removes or replaces are left out. */
  get ranges(): ReadonlyMap<string, RangeSet> {
    this.#flushUntil(this.#transaction.length);
    const ranges = new Map<string, RangeSet>();
    for (const [key, { ranges: set }] of this.#states)
      if (set !== undefined && typeof key === 'string' && !this.#transaction.ranged.isGone(key)) ranges.set(key, set);
    return ranges;
  }

  #flushUntil(operation: number): void {
    const { flushes } = this.#transaction.ranged;
    for (; this.#flushes < flushes.length && flushes[this.#flushes]!.operation < operation; this.#flushes++) {
      const { key, fresh } = flushes[this.#flushes]!;
      this.#states.get(fresh ?? key)?.ranges?.flush();
      if (fresh === undefined) this.#flushed.add(key);
    }
  }

  /**
   * Reads the set of an operation on elements, and compares its ranges with the operation's.
   * @throws RangeError ERR_OVERLAP, RefusedRange, NetlinkError ENOENT
   */
  *elementsOf(index: number, resolved?: Resolved): Operation<Resolved> {
    const transaction = this.#transaction;
    const { verb, kind, subject } = transaction.operations[index]!;
    const object = (subject as Record<string, Fields>)[kind]!;
    const waiting = transaction.ranged.lists.get(index);
    // A set that the transaction makes later is another one.
    const declared = waiting?.declared;
    const name = String(kind === 'element' ? (object.set ?? declared?.name) : object.name);
    const state = yield* this.#state(object, name, declared, index);
    const base: Resolved = resolved ?? { shape: state.shape };
    if (state.ranges === undefined) return base;
    const list = waiting?.list ?? transaction.rangesOf(index, base);
    if (list === undefined) return base;
    try {
      state.last = { ...base, change: state.ranges.apply(verb, list) };
      return state.last;
    } catch (error) {
      throw within(error, [object.json === undefined ? 'elements' : 'json']);
    }
  }

  /** Gives the last operation on each set whose ranges merge what has become of them. */
  finish(): void {
    this.#flushUntil(this.#transaction.length);
    for (const { ranges, last } of this.#states.values()) {
      if (ranges?.merges !== true || last?.change === undefined) continue;
      const { removed, added } = ranges.netChange();
      last.change = { removed: joined(last.change.removed, removed), added: joined(last.change.added, added) };
    }
  }

  *#state({ family, table }: Fields, name: string, declared: DeclaredSet | undefined, index: number): Operation<State> {
    this.#flushUntil(index);
    const key = setKey(family, table, name);
    const fresh = declared?.fresh === undefined ? undefined : declared;
    const before = this.#states.get(fresh ?? key);
    if (before !== undefined) return before;
    if (fresh !== undefined) {
      const made: State = { shape: fresh.shape, ranges: new RangeSet(fresh.shape, fresh.merges) };
      this.#states.set(fresh, made);
      return made;
    }
    const set = yield* this.#read(family, String(table), name, declared);
    const shape = set === undefined ? declared!.shape : shapeOf(set);
    const state: State = { shape, ranges: undefined };
    if (shape.ranges !== 'none') state.ranges = yield* this.#rangesOf(key, set, shape, declared);
    this.#states.set(key, state);
    return state;
  }

  /** Undefined where the transaction makes it. */
  *#read(
    family: unknown,
    table: string,
    name: string,
    declared: DeclaredSet | undefined,
  ): Operation<NftSet | undefined> {
    try {
      return yield* readSet(this.#exchange, familyNumber(family, ['family']), table, name);
    } catch (error) {
      if (declared === undefined || !(error instanceof NetlinkError) || error.code !== 'ENOENT') throw error;
      return undefined;
    }
  }

  *#rangesOf(
    key: string,
    set: NftSet | undefined,
    shape: ElementShape,
    declared: DeclaredSet | undefined,
  ): Operation<RangeSet> {
    const { memory, known } = this.#knowledge;
    const generation = this.#generation;
    if (set === undefined) return new RangeSet(shape, declared?.merges === true);
    const lasts = !set.flags?.includes('timeout') && set.expression === undefined && set.expressions === undefined;
    const merges = mergesRanges(set, shape);
    if (this.#flushed.has(key)) {
      const empty = new RangeSet(shape, merges, [], lasts);
      empty.changed = true;
      return empty;
    }
    const remembered = memory?.take(generation, key);
    if (remembered !== undefined) return remembered;
    const wire =
      knownElements(known, generation, set) ?? (yield* dumpElements(this.#exchange, set, undefined, generation));
    return new RangeSet(shape, merges, kernelRanges(wire, shape), lasts);
  }
}

function knownElements(known: KnownSets | undefined, generation: number, { family, table, name }: NftSet) {
  if (known?.generation !== generation) return undefined;
  return known.sets.find(set => set.family === family && set.table === table && set.name === name)?.elements;
}

const joined = (a: WiredElements, b: WiredElements): WiredElements => ({
  elements: [...a.elements, ...b.elements],
  origin: [...a.origin, ...b.origin],
});
