import {
  attribute,
  attributes,
  type Infer,
  IP_ADDRESS,
  named,
  nested,
  opt,
  S32_NE,
  string,
  struct,
  type Type,
  U8,
  U16_NE,
  U32_NE,
  u32ne,
} from '../../codec/index.ts';
import { oneOf, type Path, rangeError, typeError } from '../../errors.ts';
import * as C from '../../linux/rtnetlink.ts';
import { SCOPES } from '../address.ts';
import { FAMILIES } from '../prefix.ts';
import { kind } from '../request.ts';

export const TABLES = { default: C.RT_TABLE_DEFAULT, main: C.RT_TABLE_MAIN, local: C.RT_TABLE_LOCAL } as const;
/** A routing table with a name (RT_TABLE_*). Other tables have only numbers. */
export type RouteTable = keyof typeof TABLES;

export const PROTOCOLS = {
  unspec: C.RTPROT_UNSPEC,
  redirect: C.RTPROT_REDIRECT,
  kernel: C.RTPROT_KERNEL,
  boot: C.RTPROT_BOOT,
  static: C.RTPROT_STATIC,
  ra: C.RTPROT_RA,
  zebra: C.RTPROT_ZEBRA,
  bird: C.RTPROT_BIRD,
  dhcp: C.RTPROT_DHCP,
  keepalived: C.RTPROT_KEEPALIVED,
  babel: C.RTPROT_BABEL,
  bgp: C.RTPROT_BGP,
  isis: C.RTPROT_ISIS,
  ospf: C.RTPROT_OSPF,
  rip: C.RTPROT_RIP,
  eigrp: C.RTPROT_EIGRP,
} as const;
/** Who added a route (RTPROT_*). */
export type RouteProtocol = keyof typeof PROTOCOLS;

export const TYPES = {
  unspec: C.RTN_UNSPEC,
  unicast: C.RTN_UNICAST,
  local: C.RTN_LOCAL,
  broadcast: C.RTN_BROADCAST,
  anycast: C.RTN_ANYCAST,
  multicast: C.RTN_MULTICAST,
  blackhole: C.RTN_BLACKHOLE,
  unreachable: C.RTN_UNREACHABLE,
  prohibit: C.RTN_PROHIBIT,
  throw: C.RTN_THROW,
  nat: C.RTN_NAT,
} as const;
/** The action of a route on packets (RTN_*). */
export type RouteType = keyof typeof TYPES;

export const ROUTE_FLAGS = {
  dead: C.RTNH_F_DEAD,
  pervasive: C.RTNH_F_PERVASIVE,
  onlink: C.RTNH_F_ONLINK,
  offload: C.RTNH_F_OFFLOAD,
  linkdown: C.RTNH_F_LINKDOWN,
  unresolved: C.RTNH_F_UNRESOLVED,
  trap: C.RTNH_F_TRAP,
  cloned: C.RTM_F_CLONED,
  'route-offload': C.RTM_F_OFFLOAD,
  'route-trap': C.RTM_F_TRAP,
} as const;
/** A flag of a route or of one of its next hops (RTNH_F_*, RTM_F_*). */
export type RouteFlag = keyof typeof ROUTE_FLAGS;

export const rtmsg = struct('rtmsg', {
  rtm_family: [1, U8],
  rtm_dst_len: [1, U8],
  rtm_src_len: [1, U8],
  rtm_tos: [1, U8],
  rtm_table: [1, U8],
  rtm_protocol: [1, named(U8, PROTOCOLS)],
  rtm_scope: [1, named(U8, SCOPES)],
  rtm_type: [1, named(U8, TYPES)],
  rtm_flags: [4, U32_NE],
});

export const rta_cacheinfo = struct('rta_cacheinfo', {
  rta_clntref: [4, U32_NE],
  rta_lastuse: [4, U32_NE],
  rta_expires: [4, S32_NE],
  rta_error: [4, U32_NE],
  rta_used: [4, U32_NE],
  rta_id: [4, U32_NE],
  rta_ts: [4, U32_NE],
  rta_tsage: [4, U32_NE],
});

/** `struct rtvia`: the family in the host's byte order, then an address of that family. */
const VIA: Type<string> = {
  kind: 'rtvia',
  write(writer, value, context) {
    const start = writer.length;
    U16_NE.write(writer, 0, context);
    IP_ADDRESS.write(writer, value, context);
    const family = writer.length - start === 6 ? FAMILIES.ipv4 : FAMILIES.ipv6;
    const end = writer.length;
    writer.length = start;
    U16_NE.write(writer, family, context);
    writer.length = end;
  },
  read: (source, start, end, context) =>
    end - start > 2 ? IP_ADDRESS.read(source, start + 2, end, context) : undefined,
};

/** The values that TCP and other protocols assume for the route. */
export const RTAX = attributes('RTAX', () => ({
  /** The metrics that the kernel must not learn by itself: one bit each, by number. */
  lock: opt(u32ne(C.RTAX_LOCK)),
  /** The size of the largest packet, in bytes. */
  mtu: opt(u32ne(C.RTAX_MTU)),
  /** The largest window to announce, in bytes. */
  window: opt(u32ne(C.RTAX_WINDOW)),
  /** Round-trip time, in eighths of a millisecond. */
  rtt: opt(u32ne(C.RTAX_RTT)),
  /** The variation of the round-trip time, in quarters of a millisecond. */
  rttVariance: opt(u32ne(C.RTAX_RTTVAR)),
  /** The number of segments up to which the window grows fast. */
  slowStartThreshold: opt(u32ne(C.RTAX_SSTHRESH)),
  /** The number of segments that may be under way. It works only with its bit in `lock`. */
  congestionWindow: opt(u32ne(C.RTAX_CWND)),
  /** The largest segment to announce, in bytes. */
  advertisedMss: opt(u32ne(C.RTAX_ADVMSS)),
  /** How far out of order a packet may arrive before another counts as lost. */
  reordering: opt(u32ne(C.RTAX_REORDERING)),
  /** The hop limit of packets, 1 to 255. */
  hopLimit: opt(u32ne(C.RTAX_HOPLIMIT)),
  /** The number of segments that may be under way at the start of a connection. */
  initialCongestionWindow: opt(u32ne(C.RTAX_INITCWND)),
  /** RTAX_FEATURE_*: 1 explicit congestion notification, 16 TCP's microsecond timestamps. */
  features: opt(u32ne(C.RTAX_FEATURES)),
  /** The shortest time before TCP sends a segment again, in milliseconds. */
  minimumRetransmissionMilliseconds: opt(u32ne(C.RTAX_RTO_MIN)),
  /** The number of segments that fit into the receiver's window at the start of a connection. */
  initialReceiveWindow: opt(u32ne(C.RTAX_INITRWND)),
  /** 1: TCP acknowledges packets at once. */
  quickAck: opt(u32ne(C.RTAX_QUICKACK)),
  /** The name of TCP's congestion control algorithm, such as 'bbr'. */
  congestionControl: opt(string(C.RTAX_CC_ALGO, 15)),
  /** 1: TCP Fast Open without a cookie. */
  fastOpenNoCookie: opt(u32ne(C.RTAX_FASTOPEN_NO_COOKIE)),
}));

const GATEWAY = {
  /** The next router. */
  gateway: opt(attribute(C.RTA_GATEWAY, IP_ADDRESS)),
  /** The next router, if it is of another family than the route (Linux 5.2). */
  via: opt(attribute(C.RTA_VIA, VIA)),
};

const NEXT_HOP = attributes('RTA', () => ({ ...GATEWAY, realm: opt(u32ne(C.RTA_FLOW)) }));
export type NextHopAttributes = Infer<typeof NEXT_HOP>;

const rtnexthop = struct('rtnexthop', {
  rtnh_len: [2, U16_NE],
  rtnh_flags: [1, U8],
  rtnh_hops: [1, U8],
  rtnh_ifindex: [4, S32_NE],
});

export interface RawNextHop {
  flags: number;
  /** The weight of the next hop, minus one. */
  hops: number;
  index: number;
  attributes: NextHopAttributes;
}

/** RTA_MULTIPATH: structures that contain their own length, each followed by attributes. */
const MULTIPATH: Type<RawNextHop[]> = {
  kind: 'rtnexthop list',
  write(writer, value, context) {
    for (const { flags, hops, index, attributes } of value) {
      const start = writer.length;
      const header = { rtnh_flags: flags, rtnh_hops: hops, rtnh_ifindex: index };
      rtnexthop.write(writer, { ...header, rtnh_len: 0 });
      NEXT_HOP.write(writer, attributes, context);
      const end = writer.length;
      writer.length = start;
      rtnexthop.write(writer, { ...header, rtnh_len: end - start });
      writer.length = end;
    }
  },
  read(source, start, end, context) {
    const hops: RawNextHop[] = [];
    for (let at = start; at < end; ) {
      const header = rtnexthop.read(source, at, end);
      if (header === undefined || header.rtnh_len < rtnexthop.size || header.rtnh_len > end - at) return undefined;
      const attributes = NEXT_HOP.read(source, at + rtnexthop.size, at + header.rtnh_len, context);
      if (attributes === undefined) return undefined;
      hops.push({ flags: header.rtnh_flags, hops: header.rtnh_hops, index: header.rtnh_ifindex, attributes });
      at += (header.rtnh_len + 3) & ~3;
    }
    return hops;
  },
};

export const RTA = attributes('RTA', () => ({
  /** The destination; absent for the default route. The header has its length. */
  to: opt(attribute(C.RTA_DST, IP_ADDRESS)),
  /** IPv6: only for packets from this network. The header has its length. */
  from: opt(attribute(C.RTA_SRC, IP_ADDRESS)),
  /** Only for packets that came in through this device. */
  inDevice: opt(u32ne(C.RTA_IIF)),
  /** Index of the device through which packets leave. */
  device: opt(u32ne(C.RTA_OIF)),
  ...GATEWAY,
  /** Of several routes to one destination, the kernel uses the one with the lowest metric. */
  metric: opt(u32ne(C.RTA_PRIORITY)),
  /** The source address for packets that have none yet. */
  source: opt(attribute(C.RTA_PREFSRC, IP_ADDRESS)),
  /** The values that TCP and other protocols assume for the route. */
  metrics: opt(nested(C.RTA_METRICS, RTAX)),
  /** Several next hops that share the traffic. */
  nextHops: opt(attribute(C.RTA_MULTIPATH, MULTIPATH)),
  /** The realm, for traffic control. */
  realm: opt(u32ne(C.RTA_FLOW)),
  /** Use and lifetime of the route. */
  cacheInfo: opt(attribute(C.RTA_CACHEINFO, rta_cacheinfo)),
  /** The table. The header has room only for numbers up to 255. */
  table: opt(u32ne(C.RTA_TABLE)),
  /** The firewall mark, in lookups. */
  mark: opt(u32ne(C.RTA_MARK)),
  /** IPv6: preference of the router that announced it (RFC 4191): 0 medium, 1 high, 3 low. */
  preference: opt(attribute(C.RTA_PREF, U8)),
  /** IPv6, in a request: seconds until the kernel removes the route. A reply has this in `cacheInfo`. */
  expires: opt(u32ne(C.RTA_EXPIRES)),
  /** The nexthop object that the route uses (ip nexthop). */
  nextHopId: opt(u32ne(C.RTA_NH_ID)),
}));

export type RouteAttributes = Infer<typeof RTA>;
export type RouteHeader = Infer<typeof rtmsg>;
export const ROUTE = kind(rtmsg, RTA);

/** Checks a number, or a name that stands for a number. */
export function numberOf(value: unknown, path: Path, names: Readonly<Record<string, number>>, max: number): number {
  if (typeof value === 'string' && Object.hasOwn(names, value)) return names[value]!;
  const expected = `a number up to ${max}, or ${oneOf(Object.keys(names), value)}`;
  if (typeof value !== 'number' && typeof value !== 'string') throw typeError(path, expected, value);
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max)
    throw rangeError(path, expected, value);
  return value;
}

export function tableNumber(table: unknown): number {
  return numberOf(table, ['table'], TABLES, 0xffffffff);
}

const TABLE_NAMES = new Map(Object.entries(TABLES).map(([name, number]) => [number as number, name as RouteTable]));

export const tableName = (table: number): RouteTable | number => TABLE_NAMES.get(table) ?? table;
