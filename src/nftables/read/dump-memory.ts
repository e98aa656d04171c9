import { eachAttribute, type Source } from '../../codec/wire.ts';
import { NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_LIST_ELEM, NFTA_RULE_EXPRESSIONS } from '../../linux/nf_tables.ts';
import type { Message } from '../../netlink/index.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { NftSet } from '../../nf_tables/set.ts';

/** The family and what nfnetlink says of each message: the version, and the generation. */
const HEADER_BYTES = 4;

/** One message of a dump, and the object in it. */
interface Part<T> {
  readonly bytes: DataView;
  readonly value: T;
  /** Where counters stand in the bytes: the first and the end of each. They change without a commit. */
  readonly counters: readonly number[];
}

/**
 * The objects of the last dump of a kind. A message that says what it said then gives the very object of that time: nothing is decoded, and
 * whoever knows the object knows that it is the same. Only the values of counters may be those of the earlier dump. Nobody may change an object.
 */
export class DumpMemory<T extends object> {
  #last: readonly Part<T>[] = [];
  #parts: Part<T>[] = [];
  /** Where in the last dump the next message is expected. */
  #next = 0;
  /** Where in the last dump each object stands, from the first message on that is another one. */
  #places: Map<unknown, number> | undefined;
  #isSame = true;
  readonly #keyOf: (value: T) => unknown;
  readonly #countersIn: (message: Message, value: T) => readonly number[];

  /**
   * @param keyOf what names an object of the dump; undefined where only its place in the dump does
   * @param countersIn the offsets of what changes without a commit, from the first byte behind the header
   */
  constructor(
    keyOf: (value: T) => unknown = () => undefined,
    countersIn: (message: Message, value: T) => readonly number[] = () => NONE,
  ) {
    this.#keyOf = keyOf;
    this.#countersIn = countersIn;
  }

  /** A dump begins. One that was given up is forgotten. */
  begin(): void {
    this.#parts = [];
    this.#next = 0;
    this.#places = undefined;
    this.#isSame = true;
  }

  /** The object in a message. */
  read(message: Message, decode: (message: Message) => T): T {
    const expected = this.#last[this.#next];
    if (expected !== undefined && says(message, expected)) {
      this.#next++;
      this.#parts.push(expected);
      return expected.value;
    }
    this.#isSame = false;
    const value = decode(message);
    const { source, payload, end } = message;
    const { buffer } = source.bytes.slice(payload, end);
    this.#parts.push({ bytes: new DataView(buffer), value, counters: this.#countersIn(message, value) });
    const key = this.#keyOf(value);
    if (key === undefined) this.#next++;
    else this.#next = (this.#placesByKey.get(key) ?? this.#next - 1) + 1;
    return value;
  }

  /** The dump has ended. Returns whether all of it is as it was. */
  end(): boolean {
    const isSame = this.#isSame && this.#parts.length === this.#last.length;
    this.#last = this.#parts;
    this.begin();
    return isSame;
  }

  get #placesByKey(): Map<unknown, number> {
    this.#places ??= new Map(this.#last.map(({ value }, i) => [this.#keyOf(value), i]));
    return this.#places;
  }
}

const NONE: readonly number[] = [];

/** Whether a message has the bytes of a part, apart from counters. */
function says({ source: { view }, payload, end }: Message, { bytes, counters }: Part<object>): boolean {
  const length = end - payload;
  if (length !== bytes.byteLength || view.getUint8(payload) !== bytes.getUint8(0)) return false;
  let at = HEADER_BYTES;
  for (; at + 4 <= length; at += 4)
    if (view.getInt32(payload + at) !== bytes.getInt32(at) && !isIn(counters, at)) return false;
  for (; at < length; at++) if (view.getUint8(payload + at) !== bytes.getUint8(at)) return false;
  return true;
}

function isIn(ranges: readonly number[], at: number): boolean {
  for (let i = 0; i < ranges.length; i += 2) if (at >= ranges[i]! && at < ranges[i + 1]!) return true;
  return false;
}

/** The values of the counters in a rule's message. */
function countersOfRule({ source, payload, end }: Message, { expressions = [] }: RuleEntry): readonly number[] {
  if (!expressions.some(expression => 'counter' in expression)) return NONE;
  const found: number[] = [];
  const inside = (start: number, stop: number, wanted: number, visit: (start: number, stop: number) => void) =>
    eachAttribute(source, start, stop, (type, from, to) => {
      if (type === wanted) visit(from, to);
    });
  inside(payload + HEADER_BYTES, end, NFTA_RULE_EXPRESSIONS, (first, last) =>
    inside(first, last, NFTA_LIST_ELEM, (start, stop) => {
      let isCounter = false;
      inside(start, stop, NFTA_EXPR_NAME, (from, to) => {
        isCounter = isName(source, from, to, 'counter');
      });
      if (!isCounter) return;
      inside(start, stop, NFTA_EXPR_DATA, (from, to) =>
        eachAttribute(source, from, to, (_, value, behind) => {
          found.push(value - payload, behind - payload);
        }),
      );
    }),
  );
  return found;
}

function isName({ bytes }: Source, start: number, end: number, name: string): boolean {
  for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name.charCodeAt(i)) return false;
  return bytes[start + name.length] === 0 && start + name.length + 1 === end;
}

const byHandle = ({ family, table, handle }: { family: unknown; table: unknown; handle?: bigint }): unknown =>
  handle === undefined ? undefined : `${family} ${table} ${handle}`;

/** What a handle has read of the ruleset: the next reading decodes only what is another one since. */
export class RulesetMemory {
  readonly kinds = {
    table: new DumpMemory(),
    chain: new DumpMemory(byHandle),
    set: new DumpMemory(byHandle),
    rule: new DumpMemory(byHandle, countersOfRule),
    object: new DumpMemory(byHandle),
    flowtable: new DumpMemory(byHandle),
  };
  #elements = new Map<NftSet, ElementsMemory>();
  #kept = new Map<NftSet, ElementsMemory>();

  /** A reading begins. */
  begin(): void {
    this.#kept = new Map();
  }

  /** A reading has ended: what it did not meet is forgotten. */
  end(): void {
    this.#elements = this.#kept;
  }

  /** The elements of a set that was read before, or of one that is new. */
  elementsOf(set: NftSet): ElementsMemory {
    const memory = this.#elements.get(set) ?? new ElementsMemory(set);
    this.#kept.set(set, memory);
    return memory;
  }
}

/** A set with its elements, as they were read. */
export class ElementsMemory extends DumpMemory<readonly WireElement[]> {
  readonly #set: NftSet;
  #entry: (NftSet & { elements: WireElement[] }) | undefined;

  constructor(set: NftSet) {
    super();
    this.#set = set;
  }

  /** The dump has ended: the set with its elements. It is the same object as long as nothing of it is another one. */
  entry(elements: WireElement[]): NftSet & { elements: WireElement[] } {
    const isSame = this.end();
    if (this.#entry === undefined || !isSame) this.#entry = { ...this.#set, elements };
    return this.#entry;
  }
}
