import { oneOf, type Path, rangeError, typeError } from '../errors.ts';
import * as C from '../linux/netfilter.ts';

const FAMILIES = {
  ip: C.NFPROTO_IPV4,
  ip6: C.NFPROTO_IPV6,
  inet: C.NFPROTO_INET,
  arp: C.NFPROTO_ARP,
  bridge: C.NFPROTO_BRIDGE,
  netdev: C.NFPROTO_NETDEV,
} as const;

/** The address family of a table; 'inet' sees both IPv4 and IPv6. */
export type Family = keyof typeof FAMILIES;

/** 'unspecified' is the family of messages that concern none, such as the generation's. */
export type MessageFamily = Family | 'unspecified' | number;

export function familyNumber(family: unknown, path: Path): number {
  if (typeof family !== 'string') throw typeError(path, oneOf(Object.keys(FAMILIES), family), family);
  if (!Object.hasOwn(FAMILIES, family)) throw rangeError(path, oneOf(Object.keys(FAMILIES), family), family);
  return FAMILIES[family as Family];
}

/** Whether `familyNumber` takes it. */
export const isFamily = (family: unknown): family is Family =>
  typeof family === 'string' && Object.hasOwn(FAMILIES, family);

const NAMES = new Map<number, MessageFamily>([
  [C.NFPROTO_UNSPEC, 'unspecified'],
  ...Object.entries(FAMILIES).map(([name, number]) => [number, name as Family] as const),
]);

export function familyName(number: number): MessageFamily {
  return NAMES.get(number) ?? number;
}
