import type { Info } from '../nf_tables/xt/layout.ts';

/** ipv4: what iptables programs. ipv6: what ip6tables programs. */
export type IptablesFamily = 'ipv4' | 'ipv6';

/** An address, and the bits of it that count. */
export interface IptablesAddress {
  /** '10.0.0.0' or 'fe80::'. The bits that do not count are zero. */
  address: string;
  /** The bits that count, written as an address. Default: all. */
  mask?: string;
  /** Matches every other address. */
  invert?: true;
}

/** The name of an interface. 'eth+' stands for all that begin with 'eth'. */
export interface IptablesInterface {
  name: string;
  invert?: true;
}

/** A match or target that is not built in: the kernel's name for it, its version, and its settings. */
export interface IptablesExtension {
  /** 'conntrack', 'LOG' ... */
  name: string;
  /** Which of its structures. */
  revision: number;
  /** The kernel's structure as an object, or its bytes as hex if this library does not know the structure. */
  info: Info | string;
}

/** The decision about a packet, without more. */
export interface IptablesVerdict {
  verdict: 'ACCEPT' | 'DROP' | 'RETURN';
}

/** The packets and bytes that a rule has matched, or that a chain's policy has decided about. */
export interface IptablesCounters {
  packets: bigint;
  bytes: bigint;
}

/** One rule. All that is left out matches everything. */
export interface IptablesRule {
  /** 'filter', 'nat', 'mangle', 'raw' or 'security'. */
  table: string;
  /** 'INPUT', or a chain of the user's own. */
  chain: string;
  source?: IptablesAddress;
  destination?: IptablesAddress;
  inInterface?: IptablesInterface;
  outInterface?: IptablesInterface;
  /** The protocol by its number: 6 is TCP. */
  protocol?: { number: number; invert?: true };
  /** Fragments but the first one of a packet. IPv4 only. */
  fragment?: { invert?: true };
  /** In the order in which the kernel asks them. */
  matches: IptablesExtension[];
  /** Left out: the rule only counts. */
  target?: IptablesVerdict | { jump: string } | { goto: string } | IptablesExtension;
  counters?: IptablesCounters;
}

/** A chain and its rules. */
export interface IptablesChain {
  name: string;
  /** Of a built-in chain. */
  policy?: 'ACCEPT' | 'DROP';
  counters?: IptablesCounters;
  rules: IptablesRule[];
}

/** A table and its chains. */
export interface IptablesTable {
  name: string;
  chains: IptablesChain[];
}

/** The rules of iptables or of ip6tables. */
export interface IptablesRuleset {
  family: IptablesFamily;
  tables: IptablesTable[];
}

/** The number of a protocol if a rule demands one; 0 for any, and for all but one. */
export const protocolOf = ({ protocol }: Pick<IptablesRule, 'protocol'>): number =>
  protocol === undefined || protocol.invert ? 0 : protocol.number;
