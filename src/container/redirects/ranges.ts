import { rangeError } from '../../errors.ts';
import { PROTOCOL_NUMBERS, PROTOCOLS, type Protocol, type RangeSetName, V4, V6, type Version } from './maps.ts';

/** One element of a set of ranges: an address prefix, a protocol, and a range of ports. */
export interface Range {
  readonly version: Version;
  readonly protocol: Protocol;
  /** The first address. */
  readonly address: Uint8Array;
  /** The length of the prefix, in bits. */
  readonly prefix: number;
  readonly from: number;
  readonly to: number;
  /** The target port; undefined if each port stays as it is. */
  readonly toPort: number | undefined;
  /** Its place in the caller's list; undefined if it was read from the kernel. */
  readonly index?: number;
}

export const setOf = ({ version, toPort }: Range): RangeSetName =>
  toPort === undefined ? version.kept : version.ranges;

/** The range as text. Two ranges with the same key match the same packets. */
export const keyOf = ({ version, protocol, address, prefix, from, to }: Range): string =>
  `${version.map} ${Buffer.from(address).toString('hex')}/${prefix} ${protocol} ${from}-${to}`;

/** The address or prefix, as a caller writes it. */
export function addressOf({ version, address, prefix }: Range): string {
  const text = version.format(address, 0);
  return prefix === version.length * 8 ? text : `${text}/${prefix}`;
}

export function describe(range: Range): string {
  const { protocol, from, to, toPort } = range;
  const ports = from === to ? `${from}` : `${from}-${to}`;
  const target = toPort === undefined ? 'the same port' : `port ${toPort}`;
  return `${addressOf(range)} ${protocol} ${ports} to ${target}`;
}

type RangeKey = [address: string, protocol: Protocol, ports: { from: number; to: number }];

/** The range as an element of a transaction. */
export function elementOf(range: Range): { key: RangeKey; data: number } | RangeKey {
  const { protocol, from, to, toPort, version, address, prefix } = range;
  const key: RangeKey = [`${version.format(address, 0)}/${prefix}`, protocol, { from, to }];
  return toPort === undefined ? key : { key, data: toPort };
}

/**
 * Ranges of which no two overlap, as the kernel requires. If two ranges with the same target overlap, one of them is cut.
 */
export class Ranges {
  readonly #byKey: ReadonlyMap<string, Range>;
  /** The number of ranges. */
  readonly size: number;

  /** @param ranges that do not overlap, as the kernel has them */
  constructor(ranges: Iterable<Range> = []) {
    this.#byKey = new Map([...ranges].map(range => [keyOf(range), range]));
    this.size = this.#byKey.size;
  }

  /** Cuts overlapping ranges. @throws RangeError ERR_OVERLAP two of them overlap and lead to different ports: the place of the later one */
  static of(ranges: readonly Range[]): Ranges {
    if (ranges.length === 0) return NO_RANGES;
    const groups = new Map<string, Range[]>();
    for (const range of ranges) {
      const group = `${range.version.map} ${range.protocol}`;
      const list = groups.get(group);
      if (list === undefined) groups.set(group, [range]);
      else list.push(range);
    }
    return new Ranges([...groups.values()].flatMap(withoutOverlaps));
  }

  get(key: string): Range | undefined {
    return this.#byKey.get(key);
  }

  has(key: string): boolean {
    return this.#byKey.has(key);
  }

  [Symbol.iterator](): IterableIterator<Range> {
    return this.#byKey.values();
  }

  /** The ranges that only one of both has, and of those that have another target the one of each. */
  differences(others: Ranges): Range[] {
    const same = (range: Range, other: Range | undefined) => other !== undefined && range.toPort === other.toPort;
    return [
      ...[...this].filter(range => !same(range, others.get(keyOf(range)))),
      ...[...others].filter(range => !same(range, this.get(keyOf(range)))),
    ];
  }

  /** Separates ranges of one address and one port from the others. */
  split(): { exact: Range[]; wide: Ranges } {
    const exact = [...this].filter(isExact);
    return { exact, wide: exact.length === 0 ? this : new Ranges([...this].filter(range => !isExact(range))) };
  }

  /** The names of the sets that these ranges need. */
  get sets(): Set<RangeSetName> {
    const names = new Set<RangeSetName>();
    for (const range of this) names.add(setOf(range));
    return names;
  }

  /** These ranges and `others`. Where both have the same key, these win. @throws RangeError ERR_OVERLAP */
  over(others: Ranges): Ranges {
    return Ranges.of([...[...others].filter(range => !this.has(keyOf(range))), ...this]);
  }

  /** The ranges that do not lie inside one of `named`. @throws RangeError ERR_OVERLAP one of them lies inside in part */
  without(named: Ranges): Ranges {
    if (named.size === 0 || this.size === 0) return this;
    return new Ranges(
      [...this].filter(range => {
        for (const other of named) {
          if (!overlap(range, other)) continue;
          if (other.prefix <= range.prefix && other.from <= range.from && range.to <= other.to) return false;
          throw rangeError(
            other.index === undefined ? [] : [other.index],
            `a range that holds all of ${describe(range)}, or no part of it`,
            `a part of it: ${addressOf(other)} ${other.protocol} ${other.from}-${other.to}`,
            'ERR_OVERLAP',
          );
        }
        return true;
      }),
    );
  }
}

export const NO_RANGES = new Ranges();

export const protocolNumberOf = ({ protocol }: Range): number => PROTOCOL_NUMBERS[PROTOCOLS.indexOf(protocol)]!;

/** Finds the target port of a packet among the ranges of one IP version, in a time that does not grow with their number. */
export class RangeLookup {
  /** The ranges by protocol and prefix, sorted by port. */
  readonly #groups = new Map<string, Range[]>();
  readonly #lengths: readonly number[];

  constructor(ranges: Ranges, version: Version) {
    const own = [...ranges].filter(range => range.version === version).sort((a, b) => a.from - b.from);
    for (const range of own) {
      const key = `${protocolNumberOf(range)} ${range.prefix} ${maskedKey(range.address, range.prefix)}`;
      const group = this.#groups.get(key);
      if (group === undefined) this.#groups.set(key, [range]);
      else group.push(range);
    }
    this.#lengths = [...new Set(own.map(({ prefix }) => prefix))];
  }

  /** The target port of a packet to this address and port; undefined if no range has it. */
  target(protocol: number, address: Uint8Array, port: number): number | undefined {
    for (const length of this.#lengths) {
      const group = this.#groups.get(`${protocol} ${length} ${maskedKey(address, length)}`);
      const range = group?.[firstUpTo(group, port)];
      if (range !== undefined && range.from <= port) return range.toPort ?? port;
    }
    return undefined;
  }
}

/** Whether a range is one address and one port, as a cut can leave it. */
export const isExact = ({ version, prefix, from, to }: Range): boolean => prefix === version.length * 8 && from === to;

const overlap = (a: Range, b: Range): boolean =>
  a.version === b.version &&
  a.protocol === b.protocol &&
  a.from <= b.to &&
  b.from <= a.to &&
  maskedKey(a.address, Math.min(a.prefix, b.prefix)) === maskedKey(b.address, Math.min(a.prefix, b.prefix));

/**
 * Cuts the ranges of one IP version and protocol, the widest prefix first: of two prefixes one contains the other, or they are apart.
 */
function withoutOverlaps(ranges: readonly Range[]): Range[] {
  const sorted = [...ranges].sort(
    (a, b) => a.prefix - b.prefix || a.from - b.from || (a.index ?? -1) - (b.index ?? -1),
  );
  const lengths = [...new Set(sorted.map(({ prefix }) => prefix))];
  /** The results so far by prefix, sorted by port. */
  const taken = new Map<string, Range[]>();
  const result: Range[] = [];
  for (const range of sorted) {
    let left: { from: number; to: number }[] = [range];
    for (const length of lengths) {
      if (length > range.prefix) break;
      const list = taken.get(`${length} ${maskedKey(range.address, length)}`) ?? [];
      for (let i = firstUpTo(list, range.from); i < list.length && list[i]!.from <= range.to; i++) {
        const other = list[i]!;
        if (other.toPort !== range.toPort) throw overlapping(range, other);
        left = left.flatMap(part => outside(part, other));
      }
    }
    const key = `${range.prefix} ${maskedKey(range.address, range.prefix)}`;
    const list = taken.get(key) ?? [];
    for (const { from, to } of left) {
      const part = { ...range, from, to };
      list.splice(firstUpTo(list, from), 0, part);
      result.push(part);
    }
    taken.set(key, list);
  }
  return result;
}

/** The index of the first range in a sorted list that does not end before `from`. */
function firstUpTo(list: readonly Range[], from: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle]!.to < from) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The parts of one interval that are not in the other. */
function outside(
  part: { from: number; to: number },
  other: { from: number; to: number },
): { from: number; to: number }[] {
  if (other.to < part.from || part.to < other.from) return [part];
  const before = { from: part.from, to: other.from - 1 };
  const behind = { from: other.to + 1, to: part.to };
  return [before, behind].filter(({ from, to }) => from <= to);
}

function overlapping(one: Range, other: Range): Error {
  // The error is about the later range of the caller's list. Ranges from the kernel have no place in it.
  const [later, earlier] = (one.index ?? -1) >= (other.index ?? -1) ? [one, other] : [other, one];
  const where = earlier.index === undefined ? 'in the kernel' : `at [${earlier.index}]`;
  return rangeError(
    later.index === undefined ? [] : [later.index],
    `a range that does not overlap the one ${where} (${describe(earlier)}), or has the same target`,
    describe(later),
    'ERR_OVERLAP',
  );
}

/** The bits of the prefix, as text. */
function maskedKey(address: Uint8Array, prefix: number): string {
  return Buffer.from(masked(address, prefix)).toString('latin1');
}

export function masked(address: Uint8Array, prefix: number): Uint8Array {
  const bytes = address.slice();
  for (let i = 0; i < bytes.length; i++) {
    const bits = Math.max(0, Math.min(8, prefix - i * 8));
    bytes[i] = bytes[i]! & (0xff00 >> bits);
  }
  return bytes;
}

/**
 * Reads an element from the bytes of its first and its last key. Undefined if it is no redirect: another protocol, port 0, or addresses
 * that are not a prefix.
 */
export function readRange(
  version: Version,
  bytes: Uint8Array,
  keyAt: number,
  endAt: number,
  toPort: number | undefined,
): Range | undefined {
  const { length } = version;
  const address = bytes.slice(keyAt, keyAt + length);
  const prefix = prefixOf(address, bytes.subarray(endAt, endAt + length));
  const which = PROTOCOL_NUMBERS.indexOf(bytes[keyAt + length]!);
  const from = bytes[keyAt + length + 4]! * 256 + bytes[keyAt + length + 5]!;
  const to = bytes[endAt + length + 4]! * 256 + bytes[endAt + length + 5]!;
  const sameProtocol = bytes[keyAt + length] === bytes[endAt + length];
  if (prefix === undefined || which < 0 || !sameProtocol || from === 0 || to < from || toPort === 0) return undefined;
  // One address and one port belong into the exact map.
  if (prefix === length * 8 && from === to) return undefined;
  return { version, protocol: PROTOCOLS[which]!, address, prefix, from, to, toPort };
}

/** The length of the prefix from `first` to `last`; undefined if these addresses are not a prefix. */
function prefixOf(first: Uint8Array, last: Uint8Array): number | undefined {
  let prefix = 0;
  while (prefix < first.length * 8 && bit(first, prefix) === bit(last, prefix)) prefix++;
  for (let i = prefix; i < first.length * 8; i++) if (bit(first, i) !== 0 || bit(last, i) !== 1) return undefined;
  return prefix;
}

const bit = (bytes: Uint8Array, index: number): number => (bytes[index >> 3]! >> (7 - (index & 7))) & 1;

export const versionOf = (address: Uint8Array): Version => (address.length === V4.length ? V4 : V6);
