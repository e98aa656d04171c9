import type {
  IP_OPTIONS,
  IPV6_EXTENSIONS,
  IpOption,
  Ipv6Extension,
  SCTP_CHUNKS,
  SctpChunk,
  TCP_OPTIONS,
  TcpOption,
} from './data/extensions.ts';
import type { AddressFamily, CtKey, Direction, FibFlag, MetaKey } from './data/keys.ts';
import type { Protocol, ProtocolField } from './data/protocols.ts';
import type { FibReference } from './expressions/fib.ts';
import type { LoadJson } from './expressions/registry.ts';
import type { CounterState } from './statements/counter.ts';
import type { CtCount } from './statements/ct-count.ts';
import type { LastState } from './statements/last.ts';
import type { Limit } from './statements/limit.ts';
import type { Quota } from './statements/quota.ts';

/*
 * The expressions of nft's own JSON, libnftables-json(5), with the manual's names. Fields of protocols come from the tables. The statements
 * are in the folder `statements`.
 */

/** A number, a name or an address; '@name' is a set, '*' is each key that a set has no element for. */
export type Immediate = string | number | boolean;

/** A field of a header: `{ protocol: 'tcp', field: 'dport' }`. */
export type PayloadField = {
  [P in Exclude<Protocol, 'gretap'>]: {
    /** The protocol of the header. */
    protocol: P;
    /** The field; left out, whether it is there at all. */
    field: ProtocolField<P>;
    /** The header is inside this tunnel. */
    tunnel?: Tunnel;
  };
}[Exclude<Protocol, 'gretap'>];

/** Tunnels whose inner headers a rule can look at. */
export type Tunnel = 'vxlan' | 'geneve' | 'gre' | 'gretap';

/** Any bits of the packet. */
export interface RawPayload {
  /** ll: link layer, nh: network, th: transport, ih: what the transport carries. */
  base: 'll' | 'nh' | 'th' | 'ih';
  /** Bits from the beginning of the header. */
  offset: number;
  /** Bits. */
  len: number;
}

/** A field of an IPv6 extension header; without `field`, whether the header is there. */
export type ExthdrReference =
  | {
      [N in Exclude<Ipv6Extension, 'rt0'>]: {
        /** nft's name of the header, option or chunk. */
        name: N;
        /** The field; left out, whether it is there at all. */
        field?: keyof (typeof IPV6_EXTENSIONS)[N]['fields'] & string;
      };
    }[Exclude<Ipv6Extension, 'rt0'>]
  | {
      /** nft's name of the header, option or chunk. */
      name: 'rt0';
      /** The field; left out, whether it is there at all. */
      field?: keyof (typeof IPV6_EXTENSIONS)['rt0']['fields'] & string;
      /** Where it begins. */
      offset?: number;
    };

/** A field of a TCP option; without `field`, whether the option is there. */
export type TcpOptionReference =
  | {
      [N in TcpOption]: {
        /** nft's name of the header, option or chunk. */
        name: N;
        /** The field; left out, whether it is there at all. */
        field?: keyof (typeof TCP_OPTIONS)[N]['fields'] & string;
      };
    }[TcpOption]
  /** Any option by its number; offset and length in bits. */
  | {
      /** The number of the option. */
      base: number;
      /** Where it begins. */
      offset: number;
      /** The length in bits. */
      len: number;
    };

/** A field of an IPv4 option; without `field`, whether the option is there. */
export type IpOptionReference = {
  [N in IpOption]: {
    /** nft's name of the header, option or chunk. */
    name: N;
    /** The field; left out, whether it is there at all. */
    field?: keyof (typeof IP_OPTIONS)[N]['fields'] & string;
  };
}[IpOption];

/** A field of an SCTP chunk; without `field`, whether the chunk is there. */
export type SctpChunkReference = {
  [N in SctpChunk]: {
    /** nft's name of the header, option or chunk. */
    name: N;
    /** The field; left out, whether it is there at all. */
    field?: keyof (typeof SCTP_CHUNKS)[N]['fields'] & string;
  };
}[SctpChunk];

export type { AddressFamily, CtKey, Direction, MetaKey };

/** Data of connection tracking. Addresses, ports, counts and zones may be those of one direction. */
export interface CtReference {
  /** What of the connection. */
  key: CtKey;
  /** The direction of the connection. */
  dir?: Direction;
  /** The family of saddr and daddr, as in nft before 0.9. */
  family?: AddressFamily;
}

export type { FibFlag, FibReference };

/** The things that a rule can look at: all expressions that are no constants. */
export type PacketExpression =
  | {
      /** A field of a header. */
      payload: PayloadField | RawPayload;
    }
  | {
      /** A field of an IPv6 extension header. */
      exthdr: ExthdrReference;
    }
  | {
      /** A field of a TCP option. */
      'tcp option': TcpOptionReference;
    }
  | {
      /** A field of an IPv4 option. */
      'ip option': IpOptionReference;
    }
  | {
      /** A field of an SCTP chunk. */
      'sctp chunk': SctpChunkReference;
    }
  | {
      /** Whether a DCCP option is there. */
      'dccp option': { type: number };
    }
  | {
      /** What the kernel knows about the packet. */
      meta: { key: MetaKey };
    }
  | {
      /** What connection tracking knows. */
      ct: CtReference;
    }
  | {
      /** A hash of fields. */
      jhash: { mod: number; offset?: number; expr: JsonExpression; seed?: number };
    }
  | {
      /** A hash of the connection. */
      symhash: { mod: number; offset?: number };
    }
  | LoadJson;

/** A value that is made of several: in a match, or in the key of a set. */
export type Compound =
  /** 'a . b' */
  | { concat: JsonExpression[] }
  | {
      /** Sets bits. */
      '|': JsonExpression[];
    }
  | {
      /** Keeps bits. */
      '&': JsonExpression[];
    }
  | {
      /** Exchanges bits. */
      '^': JsonExpression[];
    }
  | {
      /** Shifts to the left. */
      '<<': [JsonExpression, JsonExpression];
    }
  | {
      /** Shifts to the right. */
      '>>': [JsonExpression, JsonExpression];
    }
  | {
      /** A prefix. */
      prefix: { addr: JsonExpression; len: number };
    }
  /** Both ends belong to it. */
  | {
      /** A range; both ends belong to it. */
      range: [JsonExpression, JsonExpression];
    }
  /** A set made for this rule: values, or pairs of key and value in a map. */
  | {
      /** A set without a name. */
      set: SetMember[] | Immediate;
    }
  /** The value that a map has for a key. */
  | { map: { key: JsonExpression; data: JsonExpression } };

/** An expression of nft's language. A list stands for flags of a bitmask. */
export type JsonExpression =
  | Immediate
  | PacketExpression
  | Compound
  | SetElement
  | VerdictExpression
  | JsonExpression[];

/** An element of a set with its timeout, its comment and its states. Times are in seconds. */
export interface SetElement {
  /** An element with a lifetime, a comment or states. */
  elem: {
    val: JsonExpression;
    timeout?: number;
    expires?: number;
    comment?: string;
    counter?: CounterState;
    limit?: Limit;
    quota?: Quota;
    last?: LastState;
    'ct count'?: CtCount;
  };
}

/** A key, or a key and its value. */
export type SetMember = JsonExpression | [key: JsonExpression, value: JsonExpression];

/** A verdict: it decides about the packet. */
export type VerdictExpression =
  | {
      /** Accepts the packet. */
      accept: null;
    }
  | {
      /** Drops the packet. */
      drop: null;
    }
  /** Goes on with the next rule. */
  | {
      /** Goes on with the next rule. */
      continue: null;
    }
  /** Goes back to the chain that jumped here. */
  | {
      /** Goes back to the chain that jumped here. */
      return: null;
    }
  /** Goes on in another chain, and comes back. */
  | {
      /** Goes on in another chain, and comes back. */
      jump: {
        /** The name of the chain. */
        target: string;
      };
    }
  /** Goes on in another chain, and does not come back. */
  | {
      /** Goes on in another chain, and does not come back. */
      goto: {
        /** The name of the chain. */
        target: string;
      };
    };
