import type { Names } from '../nft/names.ts';
import { parseNumber } from './values.ts';

/** The names that iptables knows itself, in the order in which it looks. The first one of a number is the one that it writes. */
const BUILT_IN: readonly (readonly [name: string, number: number])[] = [
  ['tcp', 6],
  ['sctp', 132],
  ['udp', 17],
  ['udplite', 136],
  ['icmp', 1],
  ['icmpv6', 58],
  ['ipv6-icmp', 58],
  ['esp', 50],
  ['ah', 51],
  ['ipv6-mh', 135],
  ['mh', 135],
  ['all', 0],
];
const BY_NAME: ReadonlyMap<string, number> = new Map(BUILT_IN);

/** The number of a protocol; 0 for all. Undefined if there is no such protocol. */
export function parseProtocol(text: string, names: Names): number | undefined {
  const number = parseNumber(text, 255);
  if (number !== undefined) return number;
  const name = text.toLowerCase();
  return BY_NAME.get(name) ?? names.protocols().byName.get(name);
}

/** The name of a protocol as iptables-save writes it. */
export function formatProtocol(number: number, names: Names): string {
  return names.protocols().byNumber.get(number) ?? BUILT_IN.find(([, one]) => one === number)?.[0] ?? String(number);
}
