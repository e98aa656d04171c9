import {
  attribute,
  attributes,
  flags,
  named,
  opt,
  string,
  U16_BE,
  U32_BE,
  u8,
  u16be,
  u32be,
} from '../../codec/index.ts';
import {
  NF_SYNPROXY_OPT_ECN,
  NF_SYNPROXY_OPT_MSS,
  NF_SYNPROXY_OPT_SACK_PERM,
  NF_SYNPROXY_OPT_TIMESTAMP,
  NF_SYNPROXY_OPT_WSCALE,
} from '../../linux/nf_synproxy.ts';
import * as C from '../../linux/nf_tables.ts';
import { byDefault, derived, type Fields, type TableFacets } from '../facets.ts';
import { LOG_FLAGS, LOG_LEVELS, NAT_FLAGS, OBJECT_TYPE, PROTOCOL_FAMILY } from '../names.ts';

/** Hands the packet's description to NFLOG (with `group`) or to the kernel's log, which knows no namespaces. */
const log = attributes('NFTA_LOG', () => ({
  /** 0 to 65535. */
  group: opt(u16be(C.NFTA_LOG_GROUP)),
  /** At most 127 bytes. */
  prefix: opt(string(C.NFTA_LOG_PREFIX, 127)),
  /** Bytes of the packet that are handed over; 0 is all. */
  snaplen: byDefault(opt(u32be(C.NFTA_LOG_SNAPLEN)), 0),
  /** Packets that the kernel gathers before it wakes the listener. */
  queueThreshold: byDefault(opt(u16be(C.NFTA_LOG_QTHRESHOLD)), 0),
  /** Of the kernel's log, as in syslog(3); audit writes an audit record instead. */
  level: byDefault(opt(attribute(C.NFTA_LOG_LEVEL, named(U32_BE, LOG_LEVELS))), 'warn'),
  /** What the kernel's log shows besides. */
  flags: opt(attribute(C.NFTA_LOG_FLAGS, flags(U32_BE, LOG_FLAGS))),
}));

/** Flags that follow from the registers. */
const DERIVED_FLAGS = ['ports-specified', 'map-addresses'] as const;
const FIRST_AND_LAST = [
  ['portRegister', 'lastPortRegister'],
  ['addressRegister', 'lastAddressRegister'],
] as const;

/** The kernel repeats the first register as the last one. Register 0 holds verdicts: no address and no port. */
const TRANSLATION: TableFacets = {
  canonical(fields) {
    for (const [first, last] of FIRST_AND_LAST) {
      if (fields[first] === fields[last]) delete fields[last];
      for (const field of [first, last]) if (fields[field] === 0) delete fields[field];
    }
  },
};

/** Rewrites the source (snat) or destination (dnat) of the packet's connection. */
const nat = attributes(
  'NFTA_NAT',
  () => ({
    type: attribute(C.NFTA_NAT_TYPE, named(U32_BE, { snat: C.NFT_NAT_SNAT, dnat: C.NFT_NAT_DNAT })),
    /** Of the addresses. */
    family: attribute(C.NFTA_NAT_FAMILY, PROTOCOL_FAMILY),
    /** The register with the address, or the first one of a range. */
    addressRegister: opt(u32be(C.NFTA_NAT_REG_ADDR_MIN)),
    /** The register with the last address. The kernel repeats the first one here when there is no range. */
    lastAddressRegister: opt(u32be(C.NFTA_NAT_REG_ADDR_MAX)),
    portRegister: opt(u32be(C.NFTA_NAT_REG_PROTO_MIN)),
    lastPortRegister: opt(u32be(C.NFTA_NAT_REG_PROTO_MAX)),
    flags: derived(opt(attribute(C.NFTA_NAT_FLAGS, flags(U32_BE, NAT_FLAGS))), ...DERIVED_FLAGS),
  }),
  { facets: TRANSLATION },
);

/** Rewrites the source to the address of the device that the packet leaves by. */
const masq = attributes(
  'NFTA_MASQ',
  () => ({
    flags: derived(opt(attribute(C.NFTA_MASQ_FLAGS, flags(U32_BE, NAT_FLAGS))), ...DERIVED_FLAGS),
    portRegister: opt(u32be(C.NFTA_MASQ_REG_PROTO_MIN)),
    lastPortRegister: opt(u32be(C.NFTA_MASQ_REG_PROTO_MAX)),
  }),
  {
    facets: {
      ...TRANSLATION,
      accepted: fields => (fields.portRegister === undefined ? fields : withPortsFlag(fields)),
    } satisfies TableFacets,
  },
);

/** Sends the packet to this host itself: to the address of the device that it came in by. */
const redir = attributes(
  'NFTA_REDIR',
  () => ({
    /** The register with the port, or the first one of a range. */
    portRegister: opt(u32be(C.NFTA_REDIR_REG_PROTO_MIN)),
    /** The register with the last port. The kernel repeats the first one here when there is no range. */
    lastPortRegister: opt(u32be(C.NFTA_REDIR_REG_PROTO_MAX)),
    flags: derived(opt(attribute(C.NFTA_REDIR_FLAGS, flags(U32_BE, NAT_FLAGS))), ...DERIVED_FLAGS),
  }),
  { facets: { ...TRANSLATION, accepted: acceptedRedir } satisfies TableFacets },
);

/** The kernel looks at the ports only where the flags say that there are some. Of redir without flags it says so to itself. */
function acceptedRedir(fields: Fields): Fields {
  return fields.portRegister === undefined || fields.flags === undefined ? fields : withPortsFlag(fields);
}

function withPortsFlag(fields: Fields): Fields {
  const given: unknown = fields.flags ?? [];
  // Anything else is refused by the type of the flags.
  if (!Array.isArray(given)) return fields;
  const isSaid = given.some(
    flag => flag === 'ports-specified' || (typeof flag === 'number' && (flag & NAT_FLAGS['ports-specified']) !== 0),
  );
  return isSaid ? fields : { ...fields, flags: ['ports-specified', ...given] };
}

/** Drops the packet and tells its sender. */
const reject = attributes('NFTA_REJECT', () => ({
  /** icmpx: the ICMP of the packet's own family, with a code of NFT_REJECT_ICMPX_*. */
  type: attribute(
    C.NFTA_REJECT_TYPE,
    named(U32_BE, {
      'icmp-unreachable': C.NFT_REJECT_ICMP_UNREACH,
      'tcp-reset': C.NFT_REJECT_TCP_RST,
      'icmpx-unreachable': C.NFT_REJECT_ICMPX_UNREACH,
    }),
  ),
  code: byDefault(opt(u8(C.NFTA_REJECT_ICMP_CODE)), 0),
}));

/** Hands the packet itself to a program (NFQUEUE), which decides. */
const queue = attributes('NFTA_QUEUE', () => ({
  number: opt(u16be(C.NFTA_QUEUE_NUM)),
  /** Queues from `number` on that share the load. */
  total: byDefault(opt(u16be(C.NFTA_QUEUE_TOTAL)), 1),
  /** bypass: accepts what nobody listens for. cpu-fanout: each CPU has its queue. */
  flags: opt(
    attribute(
      C.NFTA_QUEUE_FLAGS,
      flags(U16_BE, { bypass: C.NFT_QUEUE_FLAG_BYPASS, 'cpu-fanout': C.NFT_QUEUE_FLAG_CPU_FANOUT }),
    ),
  ),
  /** The register with the queue's number. */
  numberRegister: opt(u32be(C.NFTA_QUEUE_SREG_QNUM)),
}));

/** Gives the packet to a local socket without rewriting it. */
const tproxy = attributes('NFTA_TPROXY', () => ({
  family: attribute(C.NFTA_TPROXY_FAMILY, PROTOCOL_FAMILY),
  addressRegister: opt(u32be(C.NFTA_TPROXY_REG_ADDR)),
  portRegister: opt(u32be(C.NFTA_TPROXY_REG_PORT)),
}));

/** Answers TCP connections in the server's place until the client has shown that it exists. */
const synproxy = attributes('NFTA_SYNPROXY', () => ({
  /** The maximum segment size that clients are told, in bytes. */
  maximumSegmentSize: byDefault(opt(u16be(C.NFTA_SYNPROXY_MSS)), 0),
  /** The window scale that clients are told, 0 to 14. */
  windowScale: byDefault(opt(u8(C.NFTA_SYNPROXY_WSCALE)), 0),
  flags: opt(
    attribute(
      C.NFTA_SYNPROXY_FLAGS,
      flags(U32_BE, {
        'maximum-segment-size': NF_SYNPROXY_OPT_MSS,
        'window-scale': NF_SYNPROXY_OPT_WSCALE,
        'sack-permitted': NF_SYNPROXY_OPT_SACK_PERM,
        timestamp: NF_SYNPROXY_OPT_TIMESTAMP,
        ecn: NF_SYNPROXY_OPT_ECN,
      }),
    ),
  ),
}));

/** Keeps the packet out of connection tracking. It has no attributes. */
const notrack = attributes('NFTA_NOTRACK', {});

/** Sends a copy of the packet to another host, or by another device. */
const dup = attributes('NFTA_DUP', () => ({
  addressRegister: byDefault(opt(u32be(C.NFTA_DUP_SREG_ADDR)), 0),
  deviceRegister: opt(u32be(C.NFTA_DUP_SREG_DEV)),
}));

/** Sends the packet out by another device. */
const fwd = attributes('NFTA_FWD', () => ({
  deviceRegister: opt(u32be(C.NFTA_FWD_SREG_DEV)),
  addressRegister: opt(u32be(C.NFTA_FWD_SREG_ADDR)),
  /** Of the address. */
  family: byDefault(opt(attribute(C.NFTA_FWD_NFPROTO, PROTOCOL_FAMILY)), 'unspecified'),
}));

/** Runs an object with a name: one (`type` and `name`), or the one that a map has for a key. */
const objref = attributes(
  'NFTA_OBJREF',
  () => ({
    type: opt(attribute(C.NFTA_OBJREF_IMM_TYPE, OBJECT_TYPE)),
    name: opt(string(C.NFTA_OBJREF_IMM_NAME, 255)),
    /** The register with the map's key. */
    sourceRegister: opt(u32be(C.NFTA_OBJREF_SET_SREG)),
    set: opt(string(C.NFTA_OBJREF_SET_NAME, 255)),
    /** The map by the number that it has within its own transaction. */
    setId: opt(u32be(C.NFTA_OBJREF_SET_ID)),
  }),
  { facets: { canonical: canonicalObjref } satisfies TableFacets },
);

/** One or the other: the kernel takes both, and goes by the map. */
function canonicalObjref(fields: Fields): void {
  const { sourceRegister, set, setId } = fields;
  const isMap = sourceRegister !== undefined && (set !== undefined || setId !== undefined);
  for (const field of isMap ? ['type', 'name'] : ['sourceRegister', 'set', 'setId']) delete fields[field];
}

/** Lets a flowtable forward the rest of the connection. */
const flow_offload = attributes('NFTA_FLOW', () => ({ flowtable: string(C.NFTA_FLOW_TABLE_NAME, 255) }));

export const expressions = {
  log,
  nat,
  masq,
  redir,
  reject,
  queue,
  tproxy,
  synproxy,
  notrack,
  dup,
  fwd,
  objref,
  flow_offload,
};
