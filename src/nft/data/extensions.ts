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
  /** Hop-by-hop options. */
  hbh: {
    type: 0,
    number: 1,
    fields: {
      /** The protocol of the next header. */
      nexthdr: [0, 8, 'inet_proto'],
      /** The length of the header, as the header itself counts it. */
      hdrlength: [8, 8],
    },
  },
  /** The routing header. */
  rt: {
    type: 43,
    number: 2,
    fields: {
      /** The protocol of the next header. */
      nexthdr: [0, 8, 'inet_proto'],
      /** The length of the header, as the header itself counts it. */
      hdrlength: [8, 8],
      /** The type. */
      type: [16, 8],
      /** The segments that are left. */
      'seg-left': [24, 8],
    },
  },
  /** The routing header of type 0. */
  rt0: {
    type: 43,
    number: 3,
    fields: {
      /** Reserved bits. */
      reserved: [32, 32],
      /** The first address. */
      'addr[1]': [64, 128, 'ipv6_addr'],
      /** The second address. */
      'addr[2]': [192, 128, 'ipv6_addr'],
    },
  },
  /** The routing header of type 2 (mobile IPv6). */
  rt2: {
    type: 43,
    number: 4,
    fields: {
      /** Reserved bits. */
      reserved: [32, 32],
      /** The address. */
      addr: [64, 128, 'ipv6_addr'],
    },
  },
  /** The segment routing header. */
  srh: {
    type: 43,
    number: 5,
    fields: {
      /** The index of the last segment. */
      'last-entry': [32, 8],
      /** The flags. */
      flags: [40, 8],
      /** The tag. */
      tag: [48, 16],
      /** The first segment. */
      'sid[1]': [64, 128, 'ipv6_addr'],
      /** The second segment. */
      'sid[2]': [192, 128, 'ipv6_addr'],
    },
  },
  /** The fragment header. */
  frag: {
    type: 44,
    number: 6,
    fields: {
      /** The protocol of the next header. */
      nexthdr: [0, 8, 'inet_proto'],
      /** Reserved bits. */
      reserved: [8, 8],
      /** The fragment's offset, in units of 8 bytes. */
      'frag-off': [16, 13],
      /** Reserved bits. */
      reserved2: [29, 2],
      /** More fragments follow. */
      'more-fragments': [31, 1],
      /** The identification. */
      id: [32, 32],
    },
  },
  /** Destination options. */
  dst: {
    type: 60,
    number: 7,
    fields: {
      /** The protocol of the next header. */
      nexthdr: [0, 8, 'inet_proto'],
      /** The length of the header, as the header itself counts it. */
      hdrlength: [8, 8],
    },
  },
  /** The mobility header. */
  mh: {
    type: 135,
    number: 8,
    fields: {
      /** The protocol of the next header. */
      nexthdr: [0, 8, 'inet_proto'],
      /** The length of the header, as the header itself counts it. */
      hdrlength: [8, 8],
      /** The type. */
      type: [16, 8, 'mh_type'],
      /** Reserved bits. */
      reserved: [24, 8],
      /** The checksum. */
      checksum: [32, 16],
    },
  },
} as const satisfies Record<string, Extension>;

const KIND = {
  /** The number of the option. */
  kind: [0, 8],
} as const;
const KIND_LENGTH = {
  /** The number of the option. */
  kind: [0, 8],
  /** The length, in bytes. */
  length: [8, 8],
} as const;

/**
 * TCP options. Fields are numbered from 0 on. sack1 to sack3 are the further blocks of sack, which has the number 5.
 * nft's JSON may have 'sack-permitted' and 'mss', too: see `TCP_OPTION_ALIASES`.
 */
export const TCP_OPTIONS = {
  /** The end of the options. */
  eol: { type: 0, fields: KIND },
  /** Fills a byte. */
  nop: { type: 1, fields: KIND },
  /** The maximum segment size. */
  maxseg: {
    type: 2,
    fields: {
      ...KIND_LENGTH,
      /** The maximum segment size, in bytes. */
      size: [16, 16],
    },
  },
  /** The window scale. */
  window: {
    type: 3,
    fields: {
      ...KIND_LENGTH,
      /** By how many bits windows are shifted. */
      count: [16, 8],
    },
  },
  /** Selective acknowledgements are allowed. */
  'sack-perm': { type: 4, fields: KIND_LENGTH },
  /** Selective acknowledgements: the first block. */
  sack: {
    type: 5,
    fields: {
      ...KIND_LENGTH,
      /** The first sequence number of the block. */
      left: [16, 32],
      /** The sequence number behind the block. */
      right: [48, 32],
    },
  },
  /** The second block of selective acknowledgements. */
  sack1: {
    type: 5,
    fields: {
      ...KIND_LENGTH,
      /** The first sequence number of the block. */
      left: [80, 32, 'integer', 4],
      /** The sequence number behind the block. */
      right: [112, 32, 'integer', 5],
    },
  },
  /** The third block of selective acknowledgements. */
  sack2: {
    type: 5,
    fields: {
      ...KIND_LENGTH,
      /** The first sequence number of the block. */
      left: [144, 32, 'integer', 6],
      /** The sequence number behind the block. */
      right: [176, 32, 'integer', 7],
    },
  },
  /** The fourth block of selective acknowledgements. */
  sack3: {
    type: 5,
    fields: {
      ...KIND_LENGTH,
      /** The first sequence number of the block. */
      left: [208, 32, 'integer', 8],
      /** The sequence number behind the block. */
      right: [240, 32, 'integer', 9],
    },
  },
  /** Timestamps. */
  timestamp: {
    type: 8,
    fields: {
      ...KIND_LENGTH,
      /** The sender's timestamp. */
      tsval: [16, 32],
      /** The timestamp that is echoed. */
      tsecr: [48, 32],
    },
  },
  /** The MD5 signature. */
  md5sig: { type: 19, fields: KIND_LENGTH },
  /** Multipath TCP. */
  mptcp: {
    type: 30,
    fields: {
      ...KIND_LENGTH,
      /** The kind of message. */
      subtype: [16, 4, 'mptcp_subtype'],
    },
  },
  /** The cookie of TCP Fast Open. */
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
  /** The type. */
  type: [0, 8, 'integer', 1],
  /** The length, in bytes. */
  length: [8, 8, 'integer', 2],
  /** Where the next address goes. */
  ptr: [16, 8, 'integer', 4],
  /** The address. */
  addr: [24, 32, 'ipv4_addr', 5],
} as const;

/** IPv4 options. */
export const IP_OPTIONS = {
  /** Loose source routing. */
  lsrr: { type: 131, fields: ROUTE },
  /** Recorded route. */
  rr: { type: 7, fields: ROUTE },
  /** Strict source routing. */
  ssrr: { type: 137, fields: ROUTE },
  /** Router alert. */
  ra: {
    type: 148,
    fields: {
      /** The type. */
      type: [0, 8, 'integer', 1],
      /** The length, in bytes. */
      length: [8, 8, 'integer', 2],
      /** The value. */
      value: [16, 16, 'integer', 3],
    },
  },
} as const satisfies Record<string, Extension>;

const CHUNK = {
  /** The type. */
  type: [0, 8],
  /** The flags. */
  flags: [8, 8],
  /** The length, in bytes. */
  length: [16, 16],
} as const;
const INIT = {
  ...CHUNK,
  /** The initiation tag. */
  'init-tag': [32, 32],
  /** The window that is advertised. */
  'a-rwnd': [64, 32],
  /** Streams that the sender opens. */
  'num-outbound-streams': [96, 16],
  /** Streams that the sender takes. */
  'num-inbound-streams': [112, 16],
  /** The first transmission sequence number. */
  'initial-tsn': [128, 32],
} as const;

/** Chunks of SCTP. Fields are numbered from 0 on. */
export const SCTP_CHUNKS = {
  /** User data. */
  data: {
    type: 0,
    fields: {
      ...CHUNK,
      /** The transmission sequence number. */
      tsn: [32, 32],
      /** The number of the stream. */
      stream: [64, 16],
      /** The sequence number within the stream. */
      ssn: [80, 16],
      /** The protocol of the payload. */
      ppid: [96, 32],
    },
  },
  /** Begins an association. */
  init: { type: 1, fields: INIT },
  /** Answers the beginning. */
  'init-ack': { type: 2, fields: INIT },
  /** Selective acknowledgements: the first block. */
  sack: {
    type: 3,
    fields: {
      ...CHUNK,
      /** All up to this sequence number were received. */
      'cum-tsn-ack': [32, 32],
      /** The window that is advertised. */
      'a-rwnd': [64, 32],
      /** How many blocks behind gaps were received. */
      'num-gap-ack-blocks': [96, 16],
      /** How many sequence numbers came twice. */
      'num-dup-tsns': [112, 16],
    },
  },
  /** Asks whether the peer is there. */
  heartbeat: { type: 4, fields: CHUNK },
  /** Answers a heartbeat. */
  'heartbeat-ack': { type: 5, fields: CHUNK },
  /** Ends the association at once. */
  abort: { type: 6, fields: CHUNK },
  /** Begins the end of the association. */
  shutdown: {
    type: 7,
    fields: {
      ...CHUNK,
      /** All up to this sequence number were received. */
      'cum-tsn-ack': [32, 32],
    },
  },
  /** Answers the end. */
  'shutdown-ack': { type: 8, fields: CHUNK },
  /** Tells an error. */
  error: { type: 9, fields: CHUNK },
  /** Gives the cookie back. */
  'cookie-echo': { type: 10, fields: CHUNK },
  /** Answers the cookie. */
  'cookie-ack': { type: 11, fields: CHUNK },
  /** Tells of congestion. */
  ecne: {
    type: 12,
    fields: {
      ...CHUNK,
      /** The lowest sequence number that it is about. */
      'lowest-tsn': [32, 32],
    },
  },
  /** Answers that the window was reduced. */
  cwr: {
    type: 13,
    fields: {
      ...CHUNK,
      /** The lowest sequence number that it is about. */
      'lowest-tsn': [32, 32],
    },
  },
  /** The association has ended. */
  'shutdown-complete': { type: 14, fields: CHUNK },
  /** Answers a change of addresses. */
  'asconf-ack': {
    type: 128,
    fields: {
      ...CHUNK,
      /** The sequence number. */
      seqno: [32, 32],
    },
  },
  /** Skips data that is given up. */
  'forward-tsn': {
    type: 192,
    fields: {
      ...CHUNK,
      /** The new sequence number that all is received up to. */
      'new-cum-tsn': [32, 32],
    },
  },
  /** Changes addresses. */
  asconf: {
    type: 193,
    fields: {
      ...CHUNK,
      /** The sequence number. */
      seqno: [32, 32],
    },
  },
} as const satisfies Record<string, Extension>;

/** Options of DCCP have only numbers, and a rule can only ask whether they are there. */
export const DCCP_OPTION_FIELDS = { type: [0, 8, 'integer', 1] } as const satisfies Record<string, FieldRow>;

export type Ipv6Extension = keyof typeof IPV6_EXTENSIONS;
export type TcpOption = keyof typeof TCP_OPTIONS;
export type IpOption = keyof typeof IP_OPTIONS;
export type SctpChunk = keyof typeof SCTP_CHUNKS;
