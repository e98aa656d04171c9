import {
  attribute,
  attributes,
  bytes,
  flags,
  type Infer,
  IP_ADDRESS,
  inline,
  opt,
  string,
  U32_BE,
  type UnknownAttribute,
  u8,
  u16be,
  u32be,
  u32ne,
  u64be,
} from '../codec/index.ts';
import * as C from '../linux/nf_tables.ts';
import { expressions as action } from './expressions/action.ts';
import { expressions as stateful } from './expressions/stateful.ts';
import { byDefault, told } from './facets.ts';
import type { Family } from './family.ts';
import { L3_PROTOCOL, L4_PROTOCOL, OBJECT_TYPE } from './names.ts';
import { TIMEOUTS } from './timeout.ts';
import { commentUserdata } from './userdata.ts';
import { choices, VariantTable, variant } from './variant.ts';

/** Connections that meet a rule with it get this helper (FTP, SIP ...). */
const ctHelper = attributes('NFTA_CT_HELPER', () => ({
  /** The helper's name in the kernel. */
  helper: string(C.NFTA_CT_HELPER_NAME, 15),
  l3protocol: opt(attribute(C.NFTA_CT_HELPER_L3PROTO, L3_PROTOCOL)),
  l4protocol: attribute(C.NFTA_CT_HELPER_L4PROTO, L4_PROTOCOL),
}));

interface CtTimeout {
  l3protocol?: Infer<typeof L3_PROTOCOL>;
  l4protocol: Infer<typeof L4_PROTOCOL>;
  /** How long a connection is remembered in each of its protocol's states, in seconds. */
  stateSeconds?: Infer<(typeof TIMEOUTS)[keyof typeof TIMEOUTS]>;
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

/** Connections that meet a rule with it are remembered as long as it says. */
const ctTimeout = new VariantTable<CtTimeout>('NFTA_CT_TIMEOUT', 'l4protocol', () => ({
  l3protocol: opt(attribute(C.NFTA_CT_TIMEOUT_L3PROTO, L3_PROTOCOL)),
  l4protocol: attribute(C.NFTA_CT_TIMEOUT_L4PROTO, L4_PROTOCOL),
  stateSeconds: opt(attribute(C.NFTA_CT_TIMEOUT_DATA, variant(TIMEOUTS))),
}));

/** Connections that meet a rule with it may be followed by others from the same host. */
const ctExpectation = attributes('NFTA_CT_EXPECT', () => ({
  /** The network protocol: 'ip' or 'ip6'. */
  l3protocol: opt(attribute(C.NFTA_CT_EXPECT_L3PROTO, L3_PROTOCOL)),
  /** The transport protocol. */
  l4protocol: attribute(C.NFTA_CT_EXPECT_L4PROTO, L4_PROTOCOL),
  /** Their destination. */
  port: u16be(C.NFTA_CT_EXPECT_DPORT),
  /** How long they are waited for. The host's byte order, unlike everything around it. */
  timeoutMilliseconds: u32ne(C.NFTA_CT_EXPECT_TIMEOUT),
  /** How many may be expected at once. */
  size: u8(C.NFTA_CT_EXPECT_SIZE),
}));

/** Puts a security context on the packet. */
const secmark = attributes('NFTA_SECMARK', () => ({
  /** The security context. */
  context: string(C.NFTA_SECMARK_CTX, 4095),
}));

const tunnelAddresses = attributes('NFTA_TUNNEL_KEY_IP', () => ({
  /** The source address of the outer packets. */
  source: byDefault(opt(attribute(C.NFTA_TUNNEL_KEY_IP_SRC, IP_ADDRESS)), '0.0.0.0', '::'),
  /** The destination address of the outer packets. */
  destination: opt(attribute(C.NFTA_TUNNEL_KEY_IP_DST, IP_ADDRESS)),
}));

const tunnelAddresses6 = attributes('NFTA_TUNNEL_KEY_IP6', () => ({
  /** The source address of the outer packets. */
  source: byDefault(opt(attribute(C.NFTA_TUNNEL_KEY_IP6_SRC, IP_ADDRESS)), '0.0.0.0', '::'),
  /** The destination address of the outer packets. */
  destination: opt(attribute(C.NFTA_TUNNEL_KEY_IP6_DST, IP_ADDRESS)),
  /** The flow label of the outer packets. */
  flowLabel: byDefault(opt(u32be(C.NFTA_TUNNEL_KEY_IP6_FLOWLABEL)), 0),
}));

const vxlan = attributes('NFTA_TUNNEL_KEY_VXLAN', () => ({
  /** Group policy. */
  gbp: opt(u32be(C.NFTA_TUNNEL_KEY_VXLAN_GBP)),
}));

const erspan = attributes('NFTA_TUNNEL_KEY_ERSPAN', () => ({
  /** The version of ERSPAN: 1 or 2. */
  version: opt(u32be(C.NFTA_TUNNEL_KEY_ERSPAN_VERSION)),
  /** Of version 1. */
  index: opt(u32be(C.NFTA_TUNNEL_KEY_ERSPAN_V1_INDEX)),
  /** Of version 2. */
  direction: opt(u8(C.NFTA_TUNNEL_KEY_ERSPAN_V2_DIR)),
  /** Of version 2. */
  hardwareId: opt(u8(C.NFTA_TUNNEL_KEY_ERSPAN_V2_HWID)),
}));

const geneve = attributes('NFTA_TUNNEL_KEY_GENEVE', () => ({
  /** The class of the option. */
  class: opt(u16be(C.NFTA_TUNNEL_KEY_GENEVE_CLASS)),
  /** The type of the object, or of the option. */
  type: opt(u8(C.NFTA_TUNNEL_KEY_GENEVE_TYPE)),
  /** The data of the object, or of the option as hex. */
  data: opt(bytes(C.NFTA_TUNNEL_KEY_GENEVE_DATA)),
}));

/** Says which tunnel the packet takes. */
const tunnel = attributes('NFTA_TUNNEL_KEY', () => ({
  /** The number of the tunnel. */
  id: u32be(C.NFTA_TUNNEL_KEY_ID),
  /** The IPv4 addresses of the outer packets. */
  ip: opt(attribute(C.NFTA_TUNNEL_KEY_IP, tunnelAddresses)),
  /** The IPv6 addresses of the outer packets. */
  ip6: opt(attribute(C.NFTA_TUNNEL_KEY_IP6, tunnelAddresses6)),
  /** 'zero-checksum', 'do-not-fragment' and 'sequence-number'. */
  flags: opt(
    attribute(
      C.NFTA_TUNNEL_KEY_FLAGS,
      flags(U32_BE, {
        'zero-checksum': C.NFT_TUNNEL_F_ZERO_CSUM_TX,
        'do-not-fragment': C.NFT_TUNNEL_F_DONT_FRAGMENT,
        'sequence-number': C.NFT_TUNNEL_F_SEQ_NUMBER,
      }),
    ),
  ),
  /** The type of service of the outer packets. */
  typeOfService: byDefault(opt(u8(C.NFTA_TUNNEL_KEY_TOS)), 0),
  /** The time to live of the outer packets. */
  timeToLive: byDefault(opt(u8(C.NFTA_TUNNEL_KEY_TTL)), 255),
  /** The UDP source port of the outer packets. */
  sourcePort: byDefault(opt(u16be(C.NFTA_TUNNEL_KEY_SPORT)), 0),
  /** The UDP destination port of the outer packets. */
  destinationPort: byDefault(opt(u16be(C.NFTA_TUNNEL_KEY_DPORT)), 0),
  /** The options of the tunnel. */
  options: opt(
    attribute(
      C.NFTA_TUNNEL_KEY_OPTS,
      choices({
        /** The option of VXLAN. */
        vxlan: [C.NFTA_TUNNEL_KEY_OPTS_VXLAN, vxlan],
        /** The option of ERSPAN. */
        erspan: [C.NFTA_TUNNEL_KEY_OPTS_ERSPAN, erspan],
        /** An option of Geneve. */
        geneve: [C.NFTA_TUNNEL_KEY_OPTS_GENEVE, geneve],
      }),
    ),
  ),
}));

/** The table of what an object of each type holds. */
export const OBJECT_DATA: ObjectData = {
  counter: stateful.counter,
  quota: stateful.quota,
  'ct-helper': ctHelper,
  limit: stateful.limit,
  connlimit: stateful.connlimit,
  tunnel,
  'ct-timeout': ctTimeout,
  secmark,
  'ct-expectation': ctExpectation,
  synproxy: action.synproxy,
};

/* By reference, so that the declarations have the documentation of the tables. */
export type ObjectData = {
  counter: typeof stateful.counter;
  quota: typeof stateful.quota;
  'ct-helper': typeof ctHelper;
  limit: typeof stateful.limit;
  connlimit: typeof stateful.connlimit;
  tunnel: typeof tunnel;
  'ct-timeout': typeof ctTimeout;
  secmark: typeof secmark;
  'ct-expectation': typeof ctExpectation;
  synproxy: typeof action.synproxy;
};

/** An object's type with what it holds. */
export type TypedObject =
  | {
      [K in keyof ObjectData]: {
        /** The type of the object, or of the option. */
        type: K;
        /** The data of the object, or of the option as hex. */
        data?: Infer<ObjectData[K]>;
      };
    }[keyof ObjectData]
  | {
      /** The type of the object, or of the option. */
      type: number | 'unspecified';
      /** The data of the object, or of the option as hex. */
      data?: never;
    };

interface ObjectFields {
  /** The name of the object's table. */
  table: string;
  /** At most 255 bytes. */
  name: string;
  /** References to it. Read only. */
  use?: number;
  /** The kernel's number for it. */
  handle?: bigint;
  /** A remark for people; `nft list` prints it. At most 128 bytes. */
  comment?: string;
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

/** Something with a name and a state that rules and maps refer to: a counter, a quota, a connection's helper. */
export type WireObject = ObjectFields & TypedObject;

export const objectTable = new VariantTable<WireObject>(
  'NFTA_OBJ',
  'type',
  () => ({
    table: string(C.NFTA_OBJ_TABLE, 255),
    name: string(C.NFTA_OBJ_NAME, 255),
    type: attribute(C.NFTA_OBJ_TYPE, OBJECT_TYPE),
    data: opt(attribute(C.NFTA_OBJ_DATA, variant(OBJECT_DATA))),
    use: told(opt(u32be(C.NFTA_OBJ_USE))),
    handle: told(opt(u64be(C.NFTA_OBJ_HANDLE))),
    userdata: inline(C.NFTA_OBJ_USERDATA, commentUserdata),
  }),
  { header: ['family'] },
);

/** What names an object: a counter, a quota, a limit ... */
export interface ObjectKey {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** The name of the object's table. */
  table: string;
  /** Its name. */
  name: string;
}

/** An object as the kernel has it. */
export type NftObject = {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
} & WireObject;

/** One of a type: a counter, a quota ... */
export type NftObjectOf<K extends keyof ObjectData> = {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
} & ObjectFields & {
    /** The type of the object, or of the option. */
    type: K;
    /** The data of the object, or of the option as hex. */
    data?: Infer<ObjectData[K]>;
  };
