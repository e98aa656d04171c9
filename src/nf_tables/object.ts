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
const ctHelper = attributes('NFTA_CT_HELPER', {
  /** The helper's name in the kernel. */
  helper: string(C.NFTA_CT_HELPER_NAME, 15),
  l3protocol: opt(attribute(C.NFTA_CT_HELPER_L3PROTO, L3_PROTOCOL)),
  l4protocol: attribute(C.NFTA_CT_HELPER_L4PROTO, L4_PROTOCOL),
});

interface CtTimeout {
  l3protocol?: Infer<typeof L3_PROTOCOL>;
  l4protocol: Infer<typeof L4_PROTOCOL>;
  /** How long a connection is remembered in each of its protocol's states, in seconds. */
  stateSeconds?: Infer<(typeof TIMEOUTS)[keyof typeof TIMEOUTS]>;
  unknown?: UnknownAttribute[];
}

/** Connections that meet a rule with it are remembered as long as it says. */
const ctTimeout = new VariantTable<CtTimeout>('NFTA_CT_TIMEOUT', 'l4protocol', {
  l3protocol: opt(attribute(C.NFTA_CT_TIMEOUT_L3PROTO, L3_PROTOCOL)),
  l4protocol: attribute(C.NFTA_CT_TIMEOUT_L4PROTO, L4_PROTOCOL),
  stateSeconds: opt(attribute(C.NFTA_CT_TIMEOUT_DATA, variant(TIMEOUTS))),
});

/** Connections that meet a rule with it may be followed by others from the same host. */
const ctExpectation = attributes('NFTA_CT_EXPECT', {
  l3protocol: opt(attribute(C.NFTA_CT_EXPECT_L3PROTO, L3_PROTOCOL)),
  l4protocol: attribute(C.NFTA_CT_EXPECT_L4PROTO, L4_PROTOCOL),
  /** Their destination. */
  port: u16be(C.NFTA_CT_EXPECT_DPORT),
  /** How long they are waited for. The host's byte order, unlike everything around it. */
  timeoutMilliseconds: u32ne(C.NFTA_CT_EXPECT_TIMEOUT),
  /** How many may be expected at once. */
  size: u8(C.NFTA_CT_EXPECT_SIZE),
});

/** Puts a security context on the packet. */
const secmark = attributes('NFTA_SECMARK', { context: string(C.NFTA_SECMARK_CTX, 4095) });

const tunnelAddresses = attributes('NFTA_TUNNEL_KEY_IP', {
  source: byDefault(opt(attribute(C.NFTA_TUNNEL_KEY_IP_SRC, IP_ADDRESS)), '0.0.0.0', '::'),
  destination: opt(attribute(C.NFTA_TUNNEL_KEY_IP_DST, IP_ADDRESS)),
});

const tunnelAddresses6 = attributes('NFTA_TUNNEL_KEY_IP6', {
  source: byDefault(opt(attribute(C.NFTA_TUNNEL_KEY_IP6_SRC, IP_ADDRESS)), '0.0.0.0', '::'),
  destination: opt(attribute(C.NFTA_TUNNEL_KEY_IP6_DST, IP_ADDRESS)),
  flowLabel: byDefault(opt(u32be(C.NFTA_TUNNEL_KEY_IP6_FLOWLABEL)), 0),
});

const vxlan = attributes('NFTA_TUNNEL_KEY_VXLAN', {
  /** Group policy. */
  gbp: opt(u32be(C.NFTA_TUNNEL_KEY_VXLAN_GBP)),
});

const erspan = attributes('NFTA_TUNNEL_KEY_ERSPAN', {
  version: opt(u32be(C.NFTA_TUNNEL_KEY_ERSPAN_VERSION)),
  /** Of version 1. */
  index: opt(u32be(C.NFTA_TUNNEL_KEY_ERSPAN_V1_INDEX)),
  /** Of version 2. */
  direction: opt(u8(C.NFTA_TUNNEL_KEY_ERSPAN_V2_DIR)),
  /** Of version 2. */
  hardwareId: opt(u8(C.NFTA_TUNNEL_KEY_ERSPAN_V2_HWID)),
});

const geneve = attributes('NFTA_TUNNEL_KEY_GENEVE', {
  class: opt(u16be(C.NFTA_TUNNEL_KEY_GENEVE_CLASS)),
  type: opt(u8(C.NFTA_TUNNEL_KEY_GENEVE_TYPE)),
  data: opt(bytes(C.NFTA_TUNNEL_KEY_GENEVE_DATA)),
});

/** Says which tunnel the packet takes. */
const tunnel = attributes('NFTA_TUNNEL_KEY', {
  id: u32be(C.NFTA_TUNNEL_KEY_ID),
  ip: opt(attribute(C.NFTA_TUNNEL_KEY_IP, tunnelAddresses)),
  ip6: opt(attribute(C.NFTA_TUNNEL_KEY_IP6, tunnelAddresses6)),
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
  typeOfService: byDefault(opt(u8(C.NFTA_TUNNEL_KEY_TOS)), 0),
  timeToLive: byDefault(opt(u8(C.NFTA_TUNNEL_KEY_TTL)), 255),
  sourcePort: byDefault(opt(u16be(C.NFTA_TUNNEL_KEY_SPORT)), 0),
  destinationPort: byDefault(opt(u16be(C.NFTA_TUNNEL_KEY_DPORT)), 0),
  options: opt(
    attribute(
      C.NFTA_TUNNEL_KEY_OPTS,
      choices({
        vxlan: [C.NFTA_TUNNEL_KEY_OPTS_VXLAN, vxlan],
        erspan: [C.NFTA_TUNNEL_KEY_OPTS_ERSPAN, erspan],
        geneve: [C.NFTA_TUNNEL_KEY_OPTS_GENEVE, geneve],
      }),
    ),
  ),
});

/** The table of what an object of each type holds. */
export const OBJECT_DATA = {
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

export type ObjectData = typeof OBJECT_DATA;

/** An object's type with what it holds. */
export type TypedObject =
  | { [K in keyof ObjectData]: { type: K; data?: Infer<ObjectData[K]> } }[keyof ObjectData]
  | { type: number | 'unspecified'; data?: never };

interface ObjectFields {
  table: string;
  /** At most 255 bytes. */
  name: string;
  /** References to it. Read only. */
  use?: number;
  /** The kernel's number for it. */
  handle?: bigint;
  /** A remark for people; `nft list` prints it. At most 128 bytes. */
  comment?: string;
  unknown?: UnknownAttribute[];
}

/** Something with a name and a state that rules and maps refer to: a counter, a quota, a connection's helper. */
export type WireObject = ObjectFields & TypedObject;

export const objectTable = new VariantTable<WireObject>(
  'NFTA_OBJ',
  'type',
  {
    table: string(C.NFTA_OBJ_TABLE, 255),
    name: string(C.NFTA_OBJ_NAME, 255),
    type: attribute(C.NFTA_OBJ_TYPE, OBJECT_TYPE),
    data: opt(attribute(C.NFTA_OBJ_DATA, variant(OBJECT_DATA))),
    use: told(opt(u32be(C.NFTA_OBJ_USE))),
    handle: told(opt(u64be(C.NFTA_OBJ_HANDLE))),
    userdata: inline(C.NFTA_OBJ_USERDATA, commentUserdata),
  },
  { header: ['family'] },
);

/** What names an object: a counter, a quota, a limit ... */
export interface ObjectKey {
  family: Family;
  table: string;
  name: string;
}

/** An object as the kernel has it. */
export type NftObject = { family: Family } & WireObject;

/** One of a type: a counter, a quota ... */
export type NftObjectOf<K extends keyof ObjectData> = { family: Family } & ObjectFields & {
    type: K;
    data?: Infer<ObjectData[K]>;
  };
