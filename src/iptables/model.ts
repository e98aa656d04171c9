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
  /** Its name. */
  name: string;
  /** All but this one. */
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
  /** 'ACCEPT', 'DROP' or 'RETURN'. */
  verdict: 'ACCEPT' | 'DROP' | 'RETURN';
}

/** The packets and bytes that a rule has matched, or that a chain's policy has decided about. */
export interface IptablesCounters {
  /** Packets. */
  packets: bigint;
  /** Bytes. */
  bytes: bigint;
}

/** One rule. All that is left out matches everything. */
export interface IptablesRule {
  /** 'filter', 'nat', 'mangle', 'raw' or 'security'. */
  table: string;
  /** 'INPUT', or a chain of the user's own. */
  chain: string;
  /** The source addresses (-s). */
  source?: IptablesAddress;
  /** The destination addresses (-d). */
  destination?: IptablesAddress;
  /** The device that the packet came by (-i); '+' at the end stands for any rest. */
  inInterface?: IptablesInterface;
  /** The device that the packet leaves by (-o). */
  outInterface?: IptablesInterface;
  /** The protocol by its number: 6 is TCP. */
  protocol?: {
    /** The number of the protocol. */
    number: number;
    /** All but this one. */
    invert?: true;
  };
  /** Fragments but the first one of a packet. IPv4 only. */
  fragment?: {
    /** All but this one. */
    invert?: true;
  };
  /** In the order in which the kernel asks them. */
  matches: IptablesExtension[];
  /** Left out: the rule only counts. */
  target?:
    | IptablesVerdict
    | {
        /** The chain to go on in, and to come back from (-j). */
        jump: string;
      }
    | {
        /** The chain to go on in (-g). */
        goto: string;
      }
    | IptablesExtension;
  /** Packets and bytes so far. */
  counters?: IptablesCounters;
}

/** A chain and its rules. */
export interface IptablesChain {
  /** Its name. */
  name: string;
  /** Of a built-in chain. */
  policy?: 'ACCEPT' | 'DROP';
  /** Packets and bytes so far. */
  counters?: IptablesCounters;
  /** The rules, in their order. */
  rules: IptablesRule[];
}

/** A table and its chains. */
export interface IptablesTable {
  /** Its name. */
  name: string;
  /** The chains. */
  chains: IptablesChain[];
}

/** The rules of iptables or of ip6tables. */
export interface IptablesRuleset {
  /** 'ipv4' or 'ipv6'. */
  family: IptablesFamily;
  /** The tables. */
  tables: IptablesTable[];
}
