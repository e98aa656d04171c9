import { formatIPv4, formatIPv6 } from '../../codec/index.ts';
import { NFT_REG_1, NFT_REG_2, NFT_REG32_01, NFT_REG32_05 } from '../../linux/nf_tables.ts';
import type { DesiredRuleset, Expression, Hook } from '../../nftables/index.ts';
import { FAMILY, type RedirectSettings, remarkOf } from '../owned/table.ts';

export const REDIRECTS = 'netsteer-redirects';
export const PLACE = { family: FAMILY, table: REDIRECTS } as const;
export const TABLE = { family: FAMILY, name: REDIRECTS } as const;
export const CHAINS = ['prerouting', 'output'] as const;

export const PROTOCOLS = ['tcp', 'udp', 'sctp', 'dccp', 'udplite'] as const;
export type Protocol = (typeof PROTOCOLS)[number];
/** IPPROTO_*, in that order. */
export const PROTOCOL_NUMBERS = [6, 17, 132, 33, 136];

export interface Version {
  /** One map for each IP version: a map's keys have one length. */
  readonly map: 'ipv4' | 'ipv6';
  /** NFPROTO_IPV4 or NFPROTO_IPV6. */
  readonly nfproto: string;
  readonly key: 'ipv4_addr . inet_proto . inet_service' | 'ipv6_addr . inet_proto . inet_service';
  /** Of the destination address in the network header. */
  readonly offset: number;
  /** Bytes of an address. */
  readonly length: number;
  /**
   * The registers behind the address, of the protocol and of the port, as the kernel numbers them in its answers: the first part of a
   * concatenation is in NFT_REG_1, the others are in the 32-bit registers behind it. NFT_REG32_04 is answered as NFT_REG_2.
   */
  readonly behind: readonly [number, number];
  readonly format: (bytes: Uint8Array, at?: number) => string;
  /** Every address. */
  readonly any: string;
  /** The map of ranges that lead to a port, and the set of those that keep theirs. */
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
export const DATA = 'inet_service';

/** A set of ranges: a packet costs a second look-up where there is one, so it is there only where it has elements. */
export type RangeSetName = Version['ranges'] | Version['kept'];
export const RANGE_SETS: readonly { name: RangeSetName; version: Version; isMap: boolean }[] = VERSIONS.flatMap(
  version => [
    { name: version.ranges, version, isMap: true },
    { name: version.kept, version, isMap: false },
  ],
);

/** A key as the registers have it: address, protocol and port, each filled up to four bytes. */
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
 * `meta nfproto ipv4 redirect to :ip daddr . meta l4proto . th dport map @ipv4`, as nft writes it. A packet whose key is not in the map goes
 * on as if there were no rule.
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

/** The table as it shall be, but for its elements. The exact maps are asked first: an exact redirect wins over a range. */
export function desiredTable(settings: RedirectSettings, ranges: ReadonlySet<RangeSetName>): DesiredRuleset {
  const hooks: readonly Hook[] = settings.output ? CHAINS : CHAINS.slice(0, 1);
  const used = RANGE_SETS.filter(({ name }) => ranges.has(name));
  const chains = hooks.map(hook => ({ ...PLACE, name: hook, type: 'nat', hook, priority: settings.priority }) as const);
  const exact = VERSIONS.map(({ map, key }) => ({ ...PLACE, name: map, key, data: DATA }) as const);
  const wide = used.map(
    ({ name, version: { key }, isMap }) =>
      ({ ...PLACE, name, key, flags: ['interval'], ...(isMap && { data: DATA }) }) as const,
  );
  const expressions = [
    ...VERSIONS.map(version => byMap(version, version.map)),
    ...used.map(({ name, version, isMap }) => (isMap ? byMap(version, name) : bySet(version, name))),
  ];
  return {
    tables: [{ ...TABLE, comment: remarkOf(settings) }],
    chains,
    sets: [...exact, ...wide] as unknown as NonNullable<DesiredRuleset['sets']>,
    rules: hooks.flatMap(chain => expressions.map(each => ({ ...PLACE, chain, expressions: each }))),
  };
}
