import { formatIPv4, formatIPv6 } from '../../codec/index.ts';
import { beside, inNftsWords, rangeError } from '../../errors.ts';
import { bitmask, bytesOf, swapped } from '../bits.ts';
import { elementOf, isText } from '../nodes.ts';
import type { Element, Mapping, Node, Value } from '../tree.ts';

/* Intervals of sets. They are sorted, and merged if nft merges them. The kernel wants where each one begins and where it has ended. */

/** The first and the last value of an element's key. */
export interface Interval {
  readonly member: Element | Mapping;
  low: bigint;
  high: bigint;
}

/** Text is sorted by its bytes in memory. They are in the host's order, and are swapped first. */
function endsOf(key: Node): { low: bigint; high: bigint } {
  const turned = (number: bigint, bits: number) => (isText(key.type) ? swapped(number, bytesOf(bits)) : number);
  switch (key.kind) {
    case 'range':
      return { low: (key.left as Value).value, high: (key.right as Value).value };
    case 'prefix': {
      const low = turned((key.base as Value).value, key.bits);
      return { low, high: low | bitmask(key.bits - key.length) };
    }
    default: {
      const number = turned((key as Value).value, key.bits);
      return { low: number, high: number };
    }
  }
}

const same = (a: Interval, b: Interval): boolean => a.low === b.low && a.high === b.high;

/**
 * Sorts the intervals. Those that overlap or touch become one (auto-merge), but a map keeps keys with values apart. With `exclusive`, an
 * overlap is an error.
 */
export function intervalsOf(
  members: readonly (Element | Mapping)[],
  key: Node,
  merges: boolean,
  exclusive = false,
): (Element | Mapping)[] {
  const catchAll = members.filter(member => elementOf(member).key.kind === 'catch-all');
  const sorted: Interval[] = members
    .filter(member => elementOf(member).key.kind !== 'catch-all')
    .map(member => ({ member, ...endsOf(elementOf(member).key) }))
    .sort((a, b) => (a.low < b.low ? -1 : a.low > b.low ? 1 : 0));
  const kept: Interval[] = [];
  for (const each of sorted) {
    const before = kept.at(-1);
    if (merges && before !== undefined && each.low <= before.high + 1n) {
      if (each.high > before.high) before.high = each.high;
    } else {
      if (exclusive && before !== undefined && each.low <= before.high && !same(each, before))
        throw overlap(each, before, key);
      if (!exclusive || before === undefined || !same(each, before)) kept.push({ ...each });
    }
  }
  return [...kept.map(interval => withEnds(interval, key)), ...catchAll];
}

function overlap({ member, low, high }: Interval, before: Interval, { type, bits }: Node): Error {
  const text = (number: bigint): string => {
    const bytes = Uint8Array.from(Buffer.from(number.toString(16).padStart(bytesOf(bits) * 2, '0'), 'hex'));
    return type.kind === 'ipv4' ? formatIPv4(bytes) : type.kind === 'ipv6' ? formatIPv6(bytes) : String(number);
  };
  const shown = (first: bigint, last: bigint) => (first === last ? text(first) : `${text(first)}-${text(last)}`);
  const expected = `a range that does not overlap ${shown(before.low, before.high)}, which is in the list, too`;
  const error = rangeError(elementOf(member).place?.path ?? [], expected, shown(low, high), 'ERR_OVERLAP');
  beside(error, elementOf(before.member).place?.path);
  return inNftsWords(error, 'conflicting intervals specified');
}

function withEnds({ member, low, high }: Interval, key: Node): Element | Mapping {
  const element = elementOf(member);
  const common = { place: element.place, type: key.type, order: key.order, bits: key.bits };
  const left: Value = { kind: 'value', ...common, value: low };
  const right: Value = { kind: 'value', ...common, value: high };
  element.key = { kind: 'range', ...common, left, right };
  return member;
}
