import { formatIPv4, formatIPv6 } from '../../codec/index.ts';
import { NFT_REG_1, NFT_REG_2, NFT_REG32_01, NFT_REG32_05 } from '../../linux/nf_tables.ts';
import type { DesiredRuleset, Expression, Hook } from '../../nftables/index.ts';
import { commentOf, FAMILY, type RedirectSettings } from '../owned/table.ts';

export const REDIRECTS = 'netsteer-redirects';
export const PLACE = { family: FAMILY, table: REDIRECTS } as const;
export const TABLE = { family: FAMILY, name: REDIRECTS } as const;
export const CHAINS = ['prerouting', 'output'] as const;

export const PROTOCOLS = ['tcp', 'udp', 'sctp', 'dccp', 'udplite'] as const;
export type Protocol = (typeof PROTOCOLS)[number];
/** IPPROTO_*, in that order. */
export const PROTOCOL_NUMBERS = [6, 17, 132, 33, 136];

export interface Version {
  /** The name of the map. Each IP version has one, because all keys of a map have the same length. */
  readonly map: 'ipv4' | 'ipv6';
  /** NFPROTO_IPV4 or NFPROTO_IPV6. */
  readonly nfproto: string;
  readonly key: 'ipv4_addr . inet_proto . inet_service' | 'ipv6_addr . inet_proto . inet_service';
  /** The place of the destination address in the network header. */
  readonly offset: number;
  /** Bytes of an address. */
  readonly length: number;
  /**
   * The registers of protocol and port, as the kernel numbers them in its answers. The first part of a concatenation is in NFT_REG_1, the
   * others follow in 32-bit registers. The kernel writes NFT_REG32_04 as NFT_REG_2.
   */
  readonly behind: readonly [number, number];
  readonly format: (bytes: Uint8Array, at?: number) => string;
  /** The prefix of all addresses. */
  readonly any: string;
  /** The map of ranges with a `toPort`, and the set of ranges whose ports stay as they are. */
  readonly ranges: 'ipv4-ranges' | 'ipv6-ranges';
  readonly kept: 'ipv4-same-port' | 'ipv6-same-port';
}

export const V4: Version = {
  map: 'ipv4',
  nfproto: '02',
  key: 'ipv4_addr . inet_proto . inet_service',
  offset: 16,
  length: 4,
  behind: [NFT_REG32_01, NFT_REG32_01 + 1],
  format: formatIPv4,
  any: '0.0.0.0/0',
  ranges: 'ipv4-ranges',
  kept: 'ipv4-same-port',
};
export const V6: Version = {
  map: 'ipv6',
  nfproto: '0a',
  key: 'ipv6_addr . inet_proto . inet_service',
  offset: 24,
  length: 16,
  behind: [NFT_REG_2, NFT_REG32_05],
  format: formatIPv6,
  any: '::/0',
  ranges: 'ipv6-ranges',
  kept: 'ipv6-same-port',
};
export const VERSIONS: readonly Version[] = [V4, V6];
export const DATA = 'inet_service' as const;

/** The name of a set of ranges. Each costs every packet one more look-up, so a set exists only while it has elements. */
export type RangeSetName = Version['ranges'] | Version['kept'];
export const RANGE_SETS: readonly { name: RangeSetName; version: Version; isMap: boolean }[] = VERSIONS.flatMap(
  version => [
    { name: version.ranges, version, isMap: true },
    { name: version.kept, version, isMap: false },
  ],
);

/** Loads the key into the registers: address, protocol and port, each padded to four bytes. */
function load({ nfproto, offset, length, behind: [protocol, port] }: Version): Expression[] {
  return [
    { meta: { key: 'nfproto', register: NFT_REG_1 } },
    { cmp: { op: 'eq', register: NFT_REG_1, data: nfproto } },
    { payload: { base: 'network', offset, length, register: NFT_REG_1 } },
    { meta: { key: 'l4proto', register: protocol } },
    { payload: { base: 'transport', offset: 2, length: 2, register: port } },
  ];
}

/**
 * `meta nfproto ipv4 redirect to :ip daddr . meta l4proto . th dport map @ipv4`, as nft writes it. The rule does not apply to a packet
 * whose key is not in the map.
 */
const byMap = (version: Version, set: string): Expression[] => [
  ...load(version),
  { lookup: { set, sourceRegister: NFT_REG_1, register: NFT_REG_1 } },
  { redir: { portRegister: NFT_REG_1, flags: ['ports-specified'] } },
];

/** `meta nfproto ipv4 ip daddr . meta l4proto . th dport @ipv4-same-port redirect` */
const bySet = (version: Version, set: string): Expression[] => [
  ...load(version),
  { lookup: { set, sourceRegister: NFT_REG_1 } },
  { redir: {} },
];

/** The wanted table, without elements. The rules of the exact maps come first, so an exact redirect wins over a range. */
export function desiredTable(settings: RedirectSettings, ranges: ReadonlySet<RangeSetName>) {
  const hooks: readonly Hook[] = settings.output ? CHAINS : CHAINS.slice(0, 1);
  const used = RANGE_SETS.filter(({ name }) => ranges.has(name));
  const chains = hooks.map(hook => ({ ...PLACE, name: hook, type: 'nat', hook, priority: settings.priority }) as const);
  const exact = VERSIONS.map(({ map, key }) => ({ ...PLACE, name: map, key, data: DATA }) as const);
  const wide = used.map(({ name, version: { key }, isMap }) => {
    const set = { ...PLACE, name, key, flags: ['interval' as const] };
    return isMap ? { ...set, data: DATA } : set;
  });
  const expressions = [
    ...VERSIONS.map(version => byMap(version, version.map)),
    ...used.map(({ name, version, isMap }) => (isMap ? byMap(version, name) : bySet(version, name))),
  ];
  return {
    tables: [{ ...TABLE, comment: commentOf(settings) }],
    chains,
    sets: [...exact, ...wide],
    rules: hooks.flatMap(chain => expressions.map(each => ({ ...PLACE, chain, expressions: each }))),
  } satisfies DesiredRuleset;
}
