import type { FieldRow } from './protocols.ts';

/*
 * The parts behind a header: IPv6 extension headers, options of IPv4, TCP and DCCP, chunks of SCTP. The kernel looks for them by their
 * number.
 */

export interface Extension {
  /** The number by which the kernel looks for it. */
  readonly type: number;
  /** nft's number for it in the user data of sets (EXTHDR_DESC_*); options and chunks have `type` there. */
  readonly number?: number;
  readonly fields: Readonly<Record<string, FieldRow>>;
}

/** IPv6 extension headers. Fields are numbered from 1 on. rt0, rt2 and srh are kinds of the routing header. */
export const IPV6_EXTENSIONS = {
  hbh: { type: 0, number: 1, fields: { nexthdr: [0, 8, 'inet_proto'], hdrlength: [8, 8] } },
  rt: {
    type: 43,
    number: 2,
    fields: { nexthdr: [0, 8, 'inet_proto'], hdrlength: [8, 8], type: [16, 8], 'seg-left': [24, 8] },
  },
  rt0: {
    type: 43,
    number: 3,
    fields: { reserved: [32, 32], 'addr[1]': [64, 128, 'ipv6_addr'], 'addr[2]': [192, 128, 'ipv6_addr'] },
  },
  rt2: { type: 43, number: 4, fields: { reserved: [32, 32], addr: [64, 128, 'ipv6_addr'] } },
  srh: {
    type: 43,
    number: 5,
    fields: {
      'last-entry': [32, 8],
      flags: [40, 8],
      tag: [48, 16],
      'sid[1]': [64, 128, 'ipv6_addr'],
      'sid[2]': [192, 128, 'ipv6_addr'],
    },
  },
  frag: {
    type: 44,
    number: 6,
    fields: {
      nexthdr: [0, 8, 'inet_proto'],
      reserved: [8, 8],
      'frag-off': [16, 13],
      reserved2: [29, 2],
      'more-fragments': [31, 1],
      id: [32, 32],
    },
  },
  dst: { type: 60, number: 7, fields: { nexthdr: [0, 8, 'inet_proto'], hdrlength: [8, 8] } },
  mh: {
    type: 135,
    number: 8,
    fields: {
      nexthdr: [0, 8, 'inet_proto'],
      hdrlength: [8, 8],
      type: [16, 8, 'mh_type'],
      reserved: [24, 8],
      checksum: [32, 16],
    },
  },
} as const satisfies Record<string, Extension>;

const KIND = { kind: [0, 8] } as const;
const KIND_LENGTH = { kind: [0, 8], length: [8, 8] } as const;

/**
 * TCP options. Fields are numbered from 0 on. sack1 to sack3 are the further blocks of sack, which has the number 5.
 * nft's JSON may have 'sack-permitted' and 'mss', too: see `TCP_OPTION_ALIASES`.
 */
export const TCP_OPTIONS = {
  eol: { type: 0, fields: KIND },
  nop: { type: 1, fields: KIND },
  maxseg: { type: 2, fields: { ...KIND_LENGTH, size: [16, 16] } },
  window: { type: 3, fields: { ...KIND_LENGTH, count: [16, 8] } },
  'sack-perm': { type: 4, fields: KIND_LENGTH },
  sack: {
    type: 5,
    fields: { ...KIND_LENGTH, left: [16, 32], right: [48, 32] },
  },
  sack1: { type: 5, fields: { ...KIND_LENGTH, left: [80, 32, 'integer', 4], right: [112, 32, 'integer', 5] } },
  sack2: { type: 5, fields: { ...KIND_LENGTH, left: [144, 32, 'integer', 6], right: [176, 32, 'integer', 7] } },
  sack3: { type: 5, fields: { ...KIND_LENGTH, left: [208, 32, 'integer', 8], right: [240, 32, 'integer', 9] } },
  timestamp: { type: 8, fields: { ...KIND_LENGTH, tsval: [16, 32], tsecr: [48, 32] } },
  md5sig: { type: 19, fields: KIND_LENGTH },
  mptcp: { type: 30, fields: { ...KIND_LENGTH, subtype: [16, 4, 'mptcp_subtype'] } },
  fastopen: { type: 34, fields: KIND_LENGTH },
} as const satisfies Record<string, Extension>;

/** Names that are read and never printed. */
export const TCP_OPTION_ALIASES = { sack0: 'sack', 'sack-permitted': 'sack-perm' } as const satisfies Record<
  string,
  keyof typeof TCP_OPTIONS
>;

/** The same for text, which has more. */
export const TCP_OPTION_WORDS = {
  ...TCP_OPTION_ALIASES,
  mss: 'maxseg',
  noop: 'nop',
  echo: 'timestamp',
} as const satisfies Record<string, keyof typeof TCP_OPTIONS>;

const ROUTE = {
  type: [0, 8, 'integer', 1],
  length: [8, 8, 'integer', 2],
  ptr: [16, 8, 'integer', 4],
  addr: [24, 32, 'ipv4_addr', 5],
} as const;

/** IPv4 options. */
export const IP_OPTIONS = {
  lsrr: { type: 131, fields: ROUTE },
  rr: { type: 7, fields: ROUTE },
  ssrr: { type: 137, fields: ROUTE },
  ra: {
    type: 148,
    fields: { type: [0, 8, 'integer', 1], length: [8, 8, 'integer', 2], value: [16, 16, 'integer', 3] },
  },
} as const satisfies Record<string, Extension>;

const CHUNK = { type: [0, 8], flags: [8, 8], length: [16, 16] } as const;
const INIT = {
  ...CHUNK,
  'init-tag': [32, 32],
  'a-rwnd': [64, 32],
  'num-outbound-streams': [96, 16],
  'num-inbound-streams': [112, 16],
  'initial-tsn': [128, 32],
} as const;

/** Chunks of SCTP. Fields are numbered from 0 on. */
export const SCTP_CHUNKS = {
  data: { type: 0, fields: { ...CHUNK, tsn: [32, 32], stream: [64, 16], ssn: [80, 16], ppid: [96, 32] } },
  init: { type: 1, fields: INIT },
  'init-ack': { type: 2, fields: INIT },
  sack: {
    type: 3,
    fields: {
      ...CHUNK,
      'cum-tsn-ack': [32, 32],
      'a-rwnd': [64, 32],
      'num-gap-ack-blocks': [96, 16],
      'num-dup-tsns': [112, 16],
    },
  },
  heartbeat: { type: 4, fields: CHUNK },
  'heartbeat-ack': { type: 5, fields: CHUNK },
  abort: { type: 6, fields: CHUNK },
  shutdown: { type: 7, fields: { ...CHUNK, 'cum-tsn-ack': [32, 32] } },
  'shutdown-ack': { type: 8, fields: CHUNK },
  error: { type: 9, fields: CHUNK },
  'cookie-echo': { type: 10, fields: CHUNK },
  'cookie-ack': { type: 11, fields: CHUNK },
  ecne: { type: 12, fields: { ...CHUNK, 'lowest-tsn': [32, 32] } },
  cwr: { type: 13, fields: { ...CHUNK, 'lowest-tsn': [32, 32] } },
  'shutdown-complete': { type: 14, fields: CHUNK },
  'asconf-ack': { type: 128, fields: { ...CHUNK, seqno: [32, 32] } },
  'forward-tsn': { type: 192, fields: { ...CHUNK, 'new-cum-tsn': [32, 32] } },
  asconf: { type: 193, fields: { ...CHUNK, seqno: [32, 32] } },
} as const satisfies Record<string, Extension>;

/** Options of DCCP have only numbers, and a rule can only ask whether they are there. */
export const DCCP_OPTION_FIELDS = { type: [0, 8, 'integer', 1] } as const satisfies Record<string, FieldRow>;

export type Ipv6Extension = keyof typeof IPV6_EXTENSIONS;
export type TcpOption = keyof typeof TCP_OPTIONS;
export type IpOption = keyof typeof IP_OPTIONS;
export type SctpChunk = keyof typeof SCTP_CHUNKS;
