import { attribute, attributes, flags, named, opt, U32_BE, u32be, u64be } from '../../codec/index.ts';
import * as C from '../../linux/nf_tables.ts';
import { byDefault, derived, type Fields, state, type TableFacets } from '../facets.ts';

/* Expressions with a state of their own: they stand in rules, in set elements, and most of them as objects with a name. */

/** Counts packets and bytes. */
const counter = attributes('NFTA_COUNTER', () => ({
  bytes: state(opt(u64be(C.NFTA_COUNTER_BYTES))),
  /** Packets so far. */
  packets: state(opt(u64be(C.NFTA_COUNTER_PACKETS))),
}));

/** Ends the rule once so many bytes have passed; inverted, until then. */
const quota = attributes(
  'NFTA_QUOTA',
  () => ({
    /** The quota, in bytes. */
    bytes: opt(u64be(C.NFTA_QUOTA_BYTES)),
    /** depleted: used up; read only. */
    flags: derived(
      opt(
        attribute(C.NFTA_QUOTA_FLAGS, flags(U32_BE, { invert: C.NFT_QUOTA_F_INV, depleted: C.NFT_QUOTA_F_DEPLETED })),
      ),
      'depleted',
    ),
    /** Bytes that have passed. */
    consumed: state(opt(u64be(C.NFTA_QUOTA_CONSUMED))),
  }),
  { facets: { accepted: acceptedQuota } satisfies TableFacets },
);

/** That it is used up the kernel says, and is not told. */
function acceptedQuota(fields: Fields): Fields {
  const { flags } = fields;
  if (!Array.isArray(flags) || !flags.includes('depleted')) return fields;
  return { ...fields, flags: flags.filter(flag => flag !== 'depleted') };
}

/** Ends the rule for what exceeds a rate (a token bucket); inverted, for what does not. */
const limit = attributes(
  'NFTA_LIMIT',
  () => ({
    /** Packets or bytes in each unit. */
    rate: u64be(C.NFTA_LIMIT_RATE),
    /** The unit of the rate in seconds: 1, 60, 3600, 86400 or 604800. */
    unitSeconds: u64be(C.NFTA_LIMIT_UNIT),
    /** How much may come at once. */
    burst: opt(u32be(C.NFTA_LIMIT_BURST)),
    /** Whether packets or bytes are counted. */
    type: byDefault(
      opt(attribute(C.NFTA_LIMIT_TYPE, named(U32_BE, { packets: C.NFT_LIMIT_PKTS, bytes: C.NFT_LIMIT_PKT_BYTES }))),
      'packets',
    ),
    flags: opt(attribute(C.NFTA_LIMIT_FLAGS, flags(U32_BE, { invert: C.NFT_LIMIT_F_INV }))),
  }),
  { facets: { canonical: canonicalLimit } satisfies TableFacets },
);

/** NFT_LIMIT_PKT_BURST_DEFAULT in net/netfilter/nft_limit.c. */
const PACKET_BURST = 5;

/** Which burst the kernel takes where none is given depends on the type. */
function canonicalLimit(fields: Fields): void {
  if (fields.burst === 0 || (fields.type === undefined && fields.burst === PACKET_BURST)) delete fields.burst;
}

/** Ends the rule while there are more connections than `count`; inverted, while there are not. */
const connlimit = attributes('NFTA_CONNLIMIT', () => ({
  /** The number of connections. */
  count: u32be(C.NFTA_CONNLIMIT_COUNT),
  flags: opt(attribute(C.NFTA_CONNLIMIT_FLAGS, flags(U32_BE, { invert: C.NFT_CONNLIMIT_F_INV }))),
}));

/** Remembers when it was last passed. */
const last = attributes('NFTA_LAST', () => ({
  /** 1 if it ever was, else 0. */
  seen: state(opt(u32be(C.NFTA_LAST_SET))),
  /** Since then. */
  milliseconds: state(opt(u64be(C.NFTA_LAST_MSECS))),
}));

export const expressions = { counter, quota, limit, connlimit, last };
