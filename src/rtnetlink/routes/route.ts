import { checkObject, checkOneOf, namedBits, type UnknownAttribute } from '../../codec/index.ts';
import { RTM_GETROUTE, RTNH_F_ONLINK } from '../../linux/rtnetlink.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import type { Scope } from '../address.ts';
import { type Devices, present } from '../devices.ts';
import { FAMILIES, FAMILY_NAMES, familyName, type IpFamily } from '../prefix.ts';
import { dump } from '../request.ts';
import {
  type RawNextHop,
  ROUTE,
  ROUTE_FLAGS,
  type RouteAttributes,
  type RouteFlag,
  type RouteHeader,
  type RouteProtocol,
  type RouteTable,
  type RouteType,
  tableName,
  tableNumber,
} from './attributes.ts';

/** One of several next hops of a route. */
export interface NextHop {
  /** The device that packets leave by. */
  device?: string;
  /** The next router, IPv4 or IPv6. */
  via?: string;
  /** The share of the traffic, 1 to 256. */
  weight: number;
  /** The router counts as reachable over `device`, even if no address says so. */
  onLink?: true;
  /** The realm of the route. */
  realm?: number;
  /** Read-only; `onLink` sets 'onlink'. Bits without a name follow as one number. */
  flags: (RouteFlag | number)[];
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

/** A route, as it was read. */
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
  /** Only for packets that came in through this device. */
  inDevice?: string;
  /** The device through which packets leave. */
  device?: string;
  /** The next router; an IPv4 route may have an IPv6 one (Linux 5.2). */
  via?: string;
  /** Several next hops, in place of `device` and `via`. */
  nextHops?: NextHop[];
  /** `via` counts as reachable over `device`, even if no address says so. */
  onLink?: true;
  table: RouteTable | number;
  /** Who added the route: 'kernel' for the networks of addresses, 'boot' for `ip route add` and, by default, for this library. */
  protocol: RouteProtocol | number;
  /** How far the destination is: 'global', 'link', 'host' and others. */
  scope: Scope | number;
  /** The type of the route: 'unicast', 'blackhole' and others. */
  type: RouteType | number;
  /** The type of service that packets must have. Absent for 0, which matches any. */
  tos?: number;
  /** Read-only; `onLink` sets 'onlink'. Bits without a name follow as one number. */
  flags: (RouteFlag | number)[];
  /** IPv6: seconds until the kernel removes the route. */
  expiresSeconds?: number;
}

function prefixText(address: string | undefined, length: number, family: IpFamily): string {
  return `${address ?? (family === 'ipv4' ? '0.0.0.0' : '::')}/${length}`;
}

/** The indexes of the devices that a route refers to. */
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
    expires: _expires,
    table = header.rtm_table,
    ...rest
  } = value;
  const { rtm_dst_len: length, rtm_src_len: fromLength } = header;
  const route: Route = {
    family,
    to: length === 0 ? 'default' : prefixText(to, length, family),
    ...(fromLength > 0 && { from: prefixText(from, fromLength, family) }),
    ...rest,
    table: tableName(table),
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
  if ((header.rtm_flags & RTNH_F_ONLINK) !== 0) route.onLink = true;
  if (header.rtm_tos !== 0) route.tos = header.rtm_tos;
  if (nextHops !== undefined) route.nextHops = nextHops.map(hop => readNextHop(hop, nameOf));
  // A lifetime is in hundredths of a second (USER_HZ); 0 means no limit.
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
    ...((hop.flags & RTNH_F_ONLINK) !== 0 && { onLink: true as const }),
    ...(realm !== undefined && { realm }),
    flags: namedBits<RouteFlag>(hop.flags, ROUTE_FLAGS),
    ...(unknown !== undefined && { unknown }),
  };
}

/** Selects the routes of a list. */
export interface RouteFilter {
  /** Only the routes of this table. */
  table?: RouteTable | number;
  /** Only routes of this family. */
  family?: IpFamily;
  /** Ends the call: before the send, and between reads. */
  signal?: AbortSignal;
}

/** Lists the routes of all tables and families, or of some. */
export function* listRoutes(exchange: Exchange, devices: Devices, filter: RouteFilter): Operation<Route[]> {
  checkObject(filter, [], ['table', 'family', 'signal']);
  const table = filter.table === undefined ? undefined : tableNumber(filter.table);
  const family = filter.family === undefined ? undefined : checkOneOf(filter.family, ['family'], FAMILY_NAMES);
  const header: RouteHeader = {
    rtm_family: family === undefined ? 0 : FAMILIES[family],
    rtm_dst_len: 0,
    rtm_src_len: 0,
    rtm_tos: 0,
    rtm_table: 0,
    rtm_protocol: 0,
    rtm_scope: 0,
    rtm_type: 0,
    rtm_flags: 0,
  };
  const found = yield* dump(exchange, ROUTE, { syscall: 'RTM_GETROUTE', type: RTM_GETROUTE, header });
  const wanted = found.filter(([head, attributes]) => {
    return table === undefined || (attributes.table ?? head.rtm_table) === table;
  });
  const nameOf = yield* devices.names(wanted.flatMap(([, attributes]) => devicesOf(attributes)));
  return present(wanted, ([head, attributes]) => {
    // The device, and with it the route, was removed while the routes were read.
    if (devicesOf(attributes).some(index => nameOf(index) === undefined)) return undefined;
    return readRoute(head, attributes, nameOf);
  });
}
