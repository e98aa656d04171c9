import {
  attribute,
  attributes,
  checkInteger,
  checkObject,
  checkOneOf,
  type Infer,
  IP_ADDRESS,
  named,
  namedBits,
  nested,
  opt,
  S32_NE,
  struct,
  type Type,
  U8,
  U16_NE,
  U32_NE,
  type UnknownAttribute,
  u32ne,
} from '../codec/index.ts';
import { type Path, rangeError, typeError } from '../errors.ts';
import * as C from '../linux/rtnetlink.ts';
import { SCOPES, type Scope } from './address.ts';
import { checkBoolean, checkName, DEVICE_DOWN, quote } from './device.ts';
import { checkHost, checkPrefix, FAMILIES, familyName, type IpFamily } from './prefix.ts';
import { kind, type Refusals } from './request.ts';

const TABLES = { default: C.RT_TABLE_DEFAULT, main: C.RT_TABLE_MAIN, local: C.RT_TABLE_LOCAL } as const;
export type RouteTable = keyof typeof TABLES;

const PROTOCOLS = {
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
export type RouteProtocol = keyof typeof PROTOCOLS;

const TYPES = {
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
export type RouteType = keyof typeof TYPES;
/** Types of routes that lead nowhere, and so need no device. */
const DEAD_ENDS: readonly unknown[] = ['blackhole', 'unreachable', 'prohibit', 'throw'];

const ROUTE_FLAGS = {
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

/** What TCP and the like assume of the way. */
export const RTAX = attributes('RTAX', {
  /** Which of the other metrics are not to be learned otherwise: one bit each, by number. */
  lock: opt(u32ne(C.RTAX_LOCK)),
  /** Bytes of the largest packet. */
  mtu: opt(u32ne(C.RTAX_MTU)),
  /** Bytes of the largest window that is announced. */
  window: opt(u32ne(C.RTAX_WINDOW)),
  /** Round-trip time, in eighths of a millisecond. */
  rtt: opt(u32ne(C.RTAX_RTT)),
  /** Bytes of the largest segment that is announced. */
  advertisedMss: opt(u32ne(C.RTAX_ADVMSS)),
  hopLimit: opt(u32ne(C.RTAX_HOPLIMIT)),
  /** Segments that may be under way at the beginning. */
  initialCongestionWindow: opt(u32ne(C.RTAX_INITCWND)),
  /** Segments that are taken at the beginning. */
  initialReceiveWindow: opt(u32ne(C.RTAX_INITRWND)),
});

const GATEWAY = {
  /** The next router. */
  gateway: opt(attribute(C.RTA_GATEWAY, IP_ADDRESS)),
  /** The next router where it is of another family than the route (Linux 5.2). */
  via: opt(attribute(C.RTA_VIA, VIA)),
};

const NEXT_HOP = attributes('RTA', { ...GATEWAY, realm: opt(u32ne(C.RTA_FLOW)) });
const rtnexthop = struct('rtnexthop', {
  rtnh_len: [2, U16_NE],
  rtnh_flags: [1, U8],
  rtnh_hops: [1, U8],
  rtnh_ifindex: [4, S32_NE],
});

interface RawNextHop {
  flags: number;
  /** The weight, less one. */
  hops: number;
  index: number;
  attributes: Infer<typeof NEXT_HOP>;
}

/** RTA_MULTIPATH: structures that each say how long they are, with attributes behind them. */
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

export const RTA = attributes('RTA', {
  /** The destination; absent for the default route. Its length is in the header. */
  to: opt(attribute(C.RTA_DST, IP_ADDRESS)),
  /** IPv6: only for packets from this network. Its length is in the header. */
  from: opt(attribute(C.RTA_SRC, IP_ADDRESS)),
  /** Only for packets that came in by this device. */
  inDevice: opt(u32ne(C.RTA_IIF)),
  /** Index of the device that packets leave by. */
  device: opt(u32ne(C.RTA_OIF)),
  ...GATEWAY,
  /** The lowest of several to the same destination is taken. */
  metric: opt(u32ne(C.RTA_PRIORITY)),
  /** The source address of packets that have none yet. */
  source: opt(attribute(C.RTA_PREFSRC, IP_ADDRESS)),
  /** What TCP and the like assume of the way. */
  metrics: opt(nested(C.RTA_METRICS, RTAX)),
  /** Several ways, taken by turns. */
  nextHops: opt(attribute(C.RTA_MULTIPATH, MULTIPATH)),
  /** Realm of the traffic controller. */
  realm: opt(u32ne(C.RTA_FLOW)),
  /** Use and lifetime. */
  cacheInfo: opt(attribute(C.RTA_CACHEINFO, rta_cacheinfo)),
  /** The table; the header has room for numbers up to 255 only. */
  table: opt(u32ne(C.RTA_TABLE)),
  /** Firewall mark, in lookups. */
  mark: opt(u32ne(C.RTA_MARK)),
  /** IPv6: preference of the router that announced it (RFC 4191): 0 medium, 1 high, 3 low. */
  preference: opt(attribute(C.RTA_PREF, U8)),
  /** Nexthop object that the route uses (ip nexthop). */
  nextHopId: opt(u32ne(C.RTA_NH_ID)),
});

export type RouteAttributes = Infer<typeof RTA>;
export type RouteHeader = Infer<typeof rtmsg>;
export const ROUTE = kind(rtmsg, RTA);

/** One of several ways of a route. */
export interface NextHop {
  device?: string;
  /** The next router, of either family. */
  via?: string;
  /** Its share of the traffic, 1 to 256. */
  weight: number;
  /** It is believed to be reachable over `device`, whatever the addresses say. */
  onLink?: true;
  realm?: number;
  /** Read only but for 'onlink', which `onLink` says again. Bits without a name are one number at the end. */
  flags: (RouteFlag | number)[];
  unknown?: UnknownAttribute[];
}

/** One of several ways of a route that is added; it has a device, a router, or both. */
export interface NewNextHop extends Partial<Omit<NextHop, 'onLink'>> {
  onLink?: boolean;
}

export interface Route
  extends Pick<
    RouteAttributes,
    'metric' | 'source' | 'metrics' | 'realm' | 'mark' | 'preference' | 'nextHopId' | 'unknown'
  > {
  family: IpFamily;
  /** 'default', or a prefix: '10.0.0.0/24'. */
  to: string;
  /** IPv6: only for packets from this prefix. */
  from?: string;
  /** Only for packets that came in by this device. */
  inDevice?: string;
  /** The device that packets leave by. */
  device?: string;
  /** The next router; an IPv4 route may have an IPv6 one (Linux 5.2). */
  via?: string;
  /** Several ways, in place of `device` and `via`. */
  nextHops?: NextHop[];
  /** `via` is believed to be reachable over `device`, whatever the addresses say. */
  onLink?: true;
  table: RouteTable | number;
  /** Who made it: 'kernel' for the networks of addresses, 'boot' for `ip route add` and this library unless told otherwise. */
  protocol: RouteProtocol | number;
  scope: Scope | number;
  type: RouteType | number;
  /** Type of service that packets must have; absent for 0, which is any. */
  tos?: number;
  /** Read only but for 'onlink', which `onLink` says again. Bits without a name are one number at the end. */
  flags: (RouteFlag | number)[];
  /** IPv6: goes in so many seconds. */
  expiresSeconds?: number;
}

const TABLE_NAMES = new Map(Object.entries(TABLES).map(([name, number]) => [number as number, name as RouteTable]));

function prefixText(address: string | undefined, length: number, family: IpFamily): string {
  return `${address ?? (family === 'ipv4' ? '0.0.0.0' : '::')}/${length}`;
}

/** The devices that a route names. */
export function devicesOf({ device, inDevice, nextHops = [] }: RouteAttributes): number[] {
  return [device, inDevice, ...nextHops.map(hop => hop.index)].filter(
    index => index !== undefined && index !== 0,
  ) as number[];
}

export function readRoute(
  header: RouteHeader,
  value: RouteAttributes,
  nameOf: (index: number) => string | undefined,
): Route | undefined {
  const family = familyName(header.rtm_family);
  if (family === undefined) return undefined;
  const {
    to,
    from,
    inDevice,
    device,
    gateway,
    via = gateway,
    nextHops,
    cacheInfo,
    table = header.rtm_table,
    ...rest
  } = value;
  const { rtm_dst_len: length, rtm_src_len: fromLength } = header;
  const route: Route = {
    family,
    to: length === 0 ? 'default' : prefixText(to, length, family),
    ...(fromLength > 0 && { from: prefixText(from, fromLength, family) }),
    ...rest,
    table: TABLE_NAMES.get(table) ?? table,
    protocol: header.rtm_protocol,
    scope: header.rtm_scope,
    type: header.rtm_type,
    flags: namedBits<RouteFlag>(header.rtm_flags, ROUTE_FLAGS),
  };
  const name = device === undefined ? undefined : nameOf(device);
  const inName = inDevice === undefined ? undefined : nameOf(inDevice);
  if (name !== undefined) route.device = name;
  if (inName !== undefined) route.inDevice = inName;
  if (via !== undefined) route.via = via;
  if ((header.rtm_flags & C.RTNH_F_ONLINK) !== 0) route.onLink = true;
  if (header.rtm_tos !== 0) route.tos = header.rtm_tos;
  if (nextHops !== undefined) route.nextHops = nextHops.map(hop => readNextHop(hop, nameOf));
  // A lifetime is in hundredths of a second (USER_HZ); 0 is none.
  if (cacheInfo !== undefined && cacheInfo.rta_expires !== 0) route.expiresSeconds = cacheInfo.rta_expires / 100;
  return route;
}

function readNextHop(hop: RawNextHop, nameOf: (index: number) => string | undefined): NextHop {
  const { gateway, via = gateway, realm, unknown } = hop.attributes;
  const device = nameOf(hop.index);
  return {
    ...(device !== undefined && { device }),
    ...(via !== undefined && { via }),
    weight: hop.hops + 1,
    ...((hop.flags & C.RTNH_F_ONLINK) !== 0 && { onLink: true as const }),
    ...(realm !== undefined && { realm }),
    flags: namedBits<RouteFlag>(hop.flags, ROUTE_FLAGS),
    ...(unknown !== undefined && { unknown }),
  };
}

/**
 * A route to add. It needs a device, a router, or both, unless its type leads nowhere. One that was read can be added as it is: what only the kernel says of
 * a route (`flags`, the rest of its lifetime) is ignored.
 */
export interface NewRoute
  extends Partial<Pick<Route, 'family' | 'from' | 'metrics' | 'realm' | 'preference' | 'nextHopId' | 'tos'>>,
    Partial<Pick<Route, 'flags' | 'expiresSeconds' | 'inDevice' | 'mark' | 'unknown'>> {
  /** 'default' (of the family of `via` or `source`, else IPv4), or a prefix: '10.0.0.0/24', '::/0'. An address alone is that one host. */
  to: string;
  /**
   * The next router. It must be reachable without another router: an address of the device's network comes first. An IPv4 route may have an IPv6
   * one, beside its `device` (Linux 5.2).
   */
  via?: string;
  /** Several ways, in place of `device` and `via`. */
  nextHops?: NewNextHop[];
  /** The device to leave by; found from `via` where left out. */
  device?: string;
  /** The source address of packets that have none yet; one of this namespace's own. */
  source?: string;
  /** The lowest of several to one destination is taken, 0 to 2^32-1. Default 0 with IPv4, 1024 with IPv6. */
  metric?: number;
  /** 'main' where left out. A number from 1 for the others. */
  table?: RouteTable | number;
  /** 'unicast' where left out. */
  type?: RouteType | number;
  /** Who made it; 'boot' where left out, as with `ip route add`. */
  protocol?: RouteProtocol | number;
  /** IPv4: 'link' for a route without `via`, else 'global'. IPv6 has none. */
  scope?: Scope | number;
  /** Believe that `via` is reachable over `device`, whatever the addresses say. */
  onLink?: boolean;
}

/** Which route to remove: what is given must match, and of several that match the first goes. */
export type RouteKey = NewRoute;

/** What only the kernel says of a route. */
const TOLD_FIELDS = ['flags', 'expiresSeconds', 'inDevice', 'mark', 'unknown'] as const;
const KEY_FIELDS = [
  'family',
  'to',
  'from',
  'via',
  'device',
  'nextHops',
  'source',
  'metric',
  'metrics',
  'realm',
  'preference',
  'nextHopId',
  'table',
  'type',
  'protocol',
  'scope',
  'tos',
  'onLink',
  ...TOLD_FIELDS,
] as const;

/** A number, or one of the names of a number. */
function number(value: unknown, path: Path, names: Readonly<Record<string, number>>, max: number): number {
  if (typeof value === 'string' && Object.hasOwn(names, value)) return names[value]!;
  const expected = `a number up to ${max}, or one of ${Object.keys(names).join(', ')}`;
  if (typeof value !== 'number' && typeof value !== 'string') throw typeError(path, expected, value);
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max)
    throw rangeError(path, expected, value);
  return value;
}

function writeCommon(route: RouteKey): { header: RouteHeader; attributes: RouteAttributes; family: IpFamily } {
  const prefix = route.to === 'default' ? undefined : checkPrefix(route.to, ['to']);
  if (prefix !== undefined && !prefix.isNetwork) {
    throw rangeError(['to'], 'a prefix whose host bits are zero', route.to, 'ERR_INVALID_ADDRESS');
  }
  const via = route.via === undefined ? undefined : checkHost(route.via, ['via']);
  const source = route.source === undefined ? undefined : checkHost(route.source, ['source']);
  const family = prefix?.family ?? route.family ?? via ?? source ?? 'ipv4';
  if (
    route.family !== undefined &&
    checkOneOf(route.family, ['family'], Object.keys(FAMILIES) as IpFamily[]) !== family
  )
    throw rangeError(['family'], `'${family}', as the destination is`, route.family, 'ERR_FAMILY_MISMATCH');
  const attributes: RouteAttributes = {};
  if (prefix !== undefined && prefix.length > 0) attributes.to = prefix.address;
  if (source !== undefined) {
    if (source !== family) throw mismatch('source', family, route.source);
    attributes.source = route.source!;
  }
  if (via !== undefined) Object.assign(attributes, router(route.via!, via, family, ['via'], route.device));
  const from = route.from === undefined ? undefined : checkPrefix(route.from, ['from']);
  if (from !== undefined) {
    if (from.family !== 'ipv6' || family !== 'ipv6') throw mismatch('from', 'ipv6', route.from);
    attributes.from = from.address;
  }
  for (const field of ['realm', 'nextHopId'] as const)
    if (route[field] !== undefined) attributes[field] = checkInteger(route[field], [field], 0, 0xffffffff);
  // IPv6 routes always have one, which says nothing by itself.
  if (route.preference) attributes.preference = checkInteger(route.preference, ['preference'], 0, 0xff);
  if (route.metrics !== undefined) attributes.metrics = route.metrics;
  if (route.device !== undefined) checkName(route.device, ['device']);
  if (route.metric !== undefined) attributes.metric = checkInteger(route.metric, ['metric'], 0, 0xffffffff);
  const table = route.table === undefined ? C.RT_TABLE_MAIN : number(route.table, ['table'], TABLES, 0xffffffff);
  if (table > 0xff) attributes.table = table;
  const header: RouteHeader = {
    rtm_family: FAMILIES[family],
    rtm_dst_len: prefix?.length ?? 0,
    rtm_src_len: from?.length ?? 0,
    rtm_tos: route.tos === undefined ? 0 : checkInteger(route.tos, ['tos'], 0, 0xff),
    rtm_table: table > 0xff ? C.RT_TABLE_UNSPEC : table,
    rtm_protocol: route.protocol === undefined ? 'unspec' : number(route.protocol, ['protocol'], PROTOCOLS, 0xff),
    rtm_scope: route.scope === undefined ? 'nowhere' : number(route.scope, ['scope'], SCOPES, 0xff),
    rtm_type: route.type === undefined ? 'unspec' : number(route.type, ['type'], TYPES, 0xff),
    rtm_flags: 0,
  };
  return { header, attributes, family };
}

function mismatch(field: string, family: IpFamily, value: unknown): Error {
  return rangeError([field], `an address of ${family}, as the destination is`, value, 'ERR_FAMILY_MISMATCH');
}

/** The next router, in the attribute that its family has in a route of another: there only a device says where it is. */
function router(
  via: string,
  own: IpFamily,
  family: IpFamily,
  path: Path,
  device: string | undefined,
): Infer<typeof NEXT_HOP> {
  if (own === family) return { gateway: via };
  if (family === 'ipv6' || device === undefined)
    throw rangeError(path, `an address of ${family}, as the destination is`, via, 'ERR_FAMILY_MISMATCH');
  return { via };
}

/** The ways of a route, but for the indexes of their devices. */
function writeNextHops(hops: unknown, family: IpFamily): RawNextHop[] {
  if (!Array.isArray(hops) || hops.length === 0) throw typeError(['nextHops'], 'an array of ways', hops);
  return (hops as NewNextHop[]).map((hop, i) => {
    const path: Path = ['nextHops', i];
    checkObject(hop, path, ['device', 'via', 'weight', 'onLink', 'realm', 'flags', 'unknown']);
    const { device, via, weight = 1, onLink, realm } = hop;
    if (device !== undefined) checkName(device, [...path, 'device']);
    if (device === undefined && via === undefined)
      throw typeError([...path, 'device'], 'a device, or a router in via', undefined, 'ERR_MISSING');
    const place: Path = [...path, 'via'];
    return {
      flags: onLink !== undefined && checkBoolean(onLink, [...path, 'onLink']) ? C.RTNH_F_ONLINK : 0,
      hops: checkInteger(weight, [...path, 'weight'], 1, 256) - 1,
      index: 0,
      attributes: {
        ...(via !== undefined && router(via, checkHost(via, place), family, place, device)),
        ...(realm !== undefined && { realm: checkInteger(realm, [...path, 'realm'], 0, 0xffffffff) }),
      },
    };
  });
}

/** The message for a new route, but for the device's index. */
export function writeRoute(route: NewRoute): { header: RouteHeader; attributes: RouteAttributes } {
  checkObject(route, [], KEY_FIELDS);
  const { header, attributes, family } = writeCommon(route);
  if (route.protocol === undefined) header.rtm_protocol = 'boot';
  if (route.type === undefined) header.rtm_type = 'unicast';
  const leads = route.via ?? route.device ?? route.nextHops ?? route.nextHopId;
  if (leads === undefined && !DEAD_ENDS.includes(route.type)) {
    throw typeError(['device'], 'a device, or a gateway in via', undefined, 'ERR_MISSING');
  }
  if (route.nextHops !== undefined) {
    for (const field of ['via', 'device'] as const)
      if (route[field] !== undefined) throw typeError([field], 'nothing beside nextHops', route[field]);
    attributes.nextHops = writeNextHops(route.nextHops, family);
  }
  if (route.scope === undefined) header.rtm_scope = usualScope(route, family);
  if (route.onLink !== undefined && checkBoolean(route.onLink, ['onLink'])) header.rtm_flags = C.RTNH_F_ONLINK;
  return { header, attributes };
}

/** As iproute2 has it: the kernel believes what it is told, and refuses gateways in routes of scope link. */
function usualScope({ type = 'unicast', via, nextHops }: NewRoute, family: IpFamily): Scope {
  if (family === 'ipv6' || DEAD_ENDS.includes(type)) return 'global';
  if (type === 'local' || type === 'nat') return 'host';
  const routed = via !== undefined || nextHops?.some(hop => hop.via !== undefined) === true;
  return type === 'unicast' && routed ? 'global' : 'link';
}

/** The message that names a route to remove: zeros, and the scope 'nowhere', match all. */
export function writeRouteKey(route: RouteKey): { header: RouteHeader; attributes: RouteAttributes } {
  checkObject(route, [], KEY_FIELDS);
  const { header, attributes, family } = writeCommon(route);
  if (route.nextHops !== undefined) attributes.nextHops = writeNextHops(route.nextHops, family);
  return { header, attributes };
}

/** From a field of a message to that of the object that the caller gave. */
export function fieldOfRoute(path: Path): Path {
  return path[0] === 'gateway' ? ['via'] : path;
}

export function refusalsOfRoute({ via, device, source }: RouteKey): Refusals {
  const place = device === undefined ? 'this namespace' : quote(device);
  const gateway = `the gateway is on no network of ${place}: first add an address of its network and switch the device on, or use onLink`;
  const own = 'source must be an address of this namespace, and via must not be one';
  const viaPath = via === undefined ? undefined : ['via'];
  return {
    hints: {
      EEXIST: 'there is a route to this destination with this metric',
      ESRCH: 'there is no such route',
      ENETUNREACH: gateway,
      EHOSTUNREACH: gateway,
      ENETDOWN: DEVICE_DOWN,
      EINVAL: source === undefined && via === undefined ? undefined : own,
    },
    blame: {
      EEXIST: ['to'],
      ENETUNREACH: viaPath,
      EHOSTUNREACH: viaPath,
      ENETDOWN: device === undefined ? viaPath : ['device'],
      EINVAL: source === undefined ? viaPath : via === undefined ? ['source'] : undefined,
    },
  };
}

export interface RouteFilter {
  /** Only the routes of this table. */
  table?: RouteTable | number;
  family?: IpFamily;
  signal?: AbortSignal;
}

export function tableNumber(table: unknown): number {
  return number(table, ['table'], TABLES, 0xffffffff);
}
