import { attribute, attributes, flags, named, opt, U8, U32_BE, u8, u32be } from '../../codec/index.ts';
import { IP_CT_DIR_ORIGINAL, IP_CT_DIR_REPLY } from '../../linux/nf_conntrack_tuple_common.ts';
import * as C from '../../linux/nf_tables.ts';
import { byDefault, type Fields, isEmpty, type TableFacets, withoutEmptyFlags } from '../facets.ts';

/** Loads bytes of the packet into a register, or with `sourceRegister` writes them. */
const payload = attributes('NFTA_PAYLOAD', () => ({
  register: opt(u32be(C.NFTA_PAYLOAD_DREG)),
  /** The header that `offset` counts from. inner: what the transport header carries. tunnel: the tunnel's own header, in `inner`. */
  base: attribute(
    C.NFTA_PAYLOAD_BASE,
    named(U32_BE, {
      link: C.NFT_PAYLOAD_LL_HEADER,
      network: C.NFT_PAYLOAD_NETWORK_HEADER,
      transport: C.NFT_PAYLOAD_TRANSPORT_HEADER,
      inner: C.NFT_PAYLOAD_INNER_HEADER,
      tunnel: C.NFT_PAYLOAD_TUN_HEADER,
    }),
  ),
  /** Bytes from the beginning of the header. */
  offset: u32be(C.NFTA_PAYLOAD_OFFSET),
  /** Bytes. */
  length: u32be(C.NFTA_PAYLOAD_LEN),
  /** The register whose content is written into the packet. */
  sourceRegister: opt(u32be(C.NFTA_PAYLOAD_SREG)),
  checksumType: byDefault(
    opt(
      attribute(
        C.NFTA_PAYLOAD_CSUM_TYPE,
        named(U32_BE, { none: C.NFT_PAYLOAD_CSUM_NONE, inet: C.NFT_PAYLOAD_CSUM_INET, sctp: C.NFT_PAYLOAD_CSUM_SCTP }),
      ),
    ),
    'none',
  ),
  /** Where in the header the checksum stands. */
  checksumOffset: byDefault(opt(u32be(C.NFTA_PAYLOAD_CSUM_OFFSET)), 0),
  /** pseudo-header: the transport's checksum covers these bytes too, and is corrected. */
  checksumFlags: opt(
    attribute(C.NFTA_PAYLOAD_CSUM_FLAGS, flags(U32_BE, { 'pseudo-header': C.NFT_PAYLOAD_L4CSUM_PSEUDOHDR })),
  ),
}));

/** Loads from an IPv6 extension header, a TCP or IPv4 option, or an SCTP or DCCP chunk; with `sourceRegister` writes; with neither, removes a TCP option. */
const exthdr = attributes(
  'NFTA_EXTHDR',
  () => ({
    register: opt(u32be(C.NFTA_EXTHDR_DREG)),
    /** The number of the header, option or chunk. */
    type: u8(C.NFTA_EXTHDR_TYPE),
    /** Bytes from its beginning. */
    offset: byDefault(opt(u32be(C.NFTA_EXTHDR_OFFSET)), 0),
    /** Bytes. */
    length: opt(u32be(C.NFTA_EXTHDR_LEN)),
    /** present: loads 1 if it is there, else 0. */
    flags: opt(attribute(C.NFTA_EXTHDR_FLAGS, flags(U32_BE, { present: C.NFT_EXTHDR_F_PRESENT }))),
    /** What it is an extension of; absent is IPv6. */
    op: byDefault(
      opt(
        attribute(
          C.NFTA_EXTHDR_OP,
          named(U32_BE, {
            ipv6: C.NFT_EXTHDR_OP_IPV6,
            tcp: C.NFT_EXTHDR_OP_TCPOPT,
            ipv4: C.NFT_EXTHDR_OP_IPV4,
            sctp: C.NFT_EXTHDR_OP_SCTP,
            dccp: C.NFT_EXTHDR_OP_DCCP,
          }),
        ),
      ),
      'ipv6',
    ),
    /** The register whose content is written. */
    sourceRegister: opt(u32be(C.NFTA_EXTHDR_SREG)),
  }),
  { facets: { accepted: acceptedExthdr } satisfies TableFacets },
);

/** A message that removes a TCP option has nothing but its number. One that writes a header field has no flags, not even none. */
function acceptedExthdr(fields: Fields): Fields {
  if (fields.register === undefined && fields.sourceRegister === undefined)
    return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== 0 && !isEmpty(value)));
  return fields.sourceRegister === undefined ? fields : withoutEmptyFlags(fields);
}

/** NFT_META_*, in lower case. */
export const META_KEYS = {
  len: C.NFT_META_LEN,
  protocol: C.NFT_META_PROTOCOL,
  priority: C.NFT_META_PRIORITY,
  mark: C.NFT_META_MARK,
  iif: C.NFT_META_IIF,
  oif: C.NFT_META_OIF,
  iifname: C.NFT_META_IIFNAME,
  oifname: C.NFT_META_OIFNAME,
  iiftype: C.NFT_META_IIFTYPE,
  oiftype: C.NFT_META_OIFTYPE,
  skuid: C.NFT_META_SKUID,
  skgid: C.NFT_META_SKGID,
  nftrace: C.NFT_META_NFTRACE,
  rtclassid: C.NFT_META_RTCLASSID,
  secmark: C.NFT_META_SECMARK,
  nfproto: C.NFT_META_NFPROTO,
  l4proto: C.NFT_META_L4PROTO,
  'bri-iifname': C.NFT_META_BRI_IIFNAME,
  'bri-oifname': C.NFT_META_BRI_OIFNAME,
  pkttype: C.NFT_META_PKTTYPE,
  cpu: C.NFT_META_CPU,
  iifgroup: C.NFT_META_IIFGROUP,
  oifgroup: C.NFT_META_OIFGROUP,
  cgroup: C.NFT_META_CGROUP,
  prandom: C.NFT_META_PRANDOM,
  secpath: C.NFT_META_SECPATH,
  iifkind: C.NFT_META_IIFKIND,
  oifkind: C.NFT_META_OIFKIND,
  'bri-iifpvid': C.NFT_META_BRI_IIFPVID,
  'bri-iifvproto': C.NFT_META_BRI_IIFVPROTO,
  'time-ns': C.NFT_META_TIME_NS,
  'time-day': C.NFT_META_TIME_DAY,
  'time-hour': C.NFT_META_TIME_HOUR,
  sdif: C.NFT_META_SDIF,
  sdifname: C.NFT_META_SDIFNAME,
  'bri-broute': C.NFT_META_BRI_BROUTE,
  'bri-iifhwaddr': C.NFT_META_BRI_IIFHWADDR,
} as const;

/** Loads what the kernel knows about the packet besides its bytes, or with `sourceRegister` sets it. */
const meta = attributes('NFTA_META', () => ({
  register: opt(u32be(C.NFTA_META_DREG)),
  key: attribute(C.NFTA_META_KEY, named(U32_BE, META_KEYS)),
  sourceRegister: opt(u32be(C.NFTA_META_SREG)),
}));

/** NFT_CT_*, in lower case. */
export const CT_KEYS = {
  state: C.NFT_CT_STATE,
  direction: C.NFT_CT_DIRECTION,
  status: C.NFT_CT_STATUS,
  mark: C.NFT_CT_MARK,
  secmark: C.NFT_CT_SECMARK,
  expiration: C.NFT_CT_EXPIRATION,
  helper: C.NFT_CT_HELPER,
  l3protocol: C.NFT_CT_L3PROTOCOL,
  src: C.NFT_CT_SRC,
  dst: C.NFT_CT_DST,
  protocol: C.NFT_CT_PROTOCOL,
  'proto-src': C.NFT_CT_PROTO_SRC,
  'proto-dst': C.NFT_CT_PROTO_DST,
  labels: C.NFT_CT_LABELS,
  pkts: C.NFT_CT_PKTS,
  bytes: C.NFT_CT_BYTES,
  avgpkt: C.NFT_CT_AVGPKT,
  zone: C.NFT_CT_ZONE,
  eventmask: C.NFT_CT_EVENTMASK,
  'src-ip': C.NFT_CT_SRC_IP,
  'dst-ip': C.NFT_CT_DST_IP,
  'src-ip6': C.NFT_CT_SRC_IP6,
  'dst-ip6': C.NFT_CT_DST_IP6,
  id: C.NFT_CT_ID,
} as const;

export const CT_DIRECTION = named(U8, { original: IP_CT_DIR_ORIGINAL, reply: IP_CT_DIR_REPLY });

/** Loads what connection tracking knows about the packet's connection, or with `sourceRegister` sets it. */
const ct = attributes(
  'NFTA_CT',
  () => ({
    register: opt(u32be(C.NFTA_CT_DREG)),
    key: attribute(C.NFTA_CT_KEY, named(U32_BE, CT_KEYS)),
    /** Of keys that each direction has its own of. */
    direction: opt(attribute(C.NFTA_CT_DIRECTION, CT_DIRECTION)),
    sourceRegister: opt(u32be(C.NFTA_CT_SREG)),
  }),
  { facets: { canonical: canonicalCt } satisfies TableFacets },
);

/** Keys that are another thing in each direction. Beside the others, the kernel takes a direction and does not give it back. */
const DIRECTED: ReadonlySet<unknown> = /* @__PURE__ */ new Set<keyof typeof CT_KEYS>([
  'src',
  'dst',
  'src-ip',
  'dst-ip',
  'src-ip6',
  'dst-ip6',
  'proto-src',
  'proto-dst',
  'bytes',
  'pkts',
  'avgpkt',
  'zone',
]);

function canonicalCt(fields: Fields): void {
  if (!DIRECTED.has(fields.key)) delete fields.direction;
}

export const expressions = { payload, exthdr, meta, ct };
