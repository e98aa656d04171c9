import { checkInteger, checkObject, checkOneOf } from '../../codec/index.ts';
import { type Path, rangeError, typeError } from '../../errors.ts';
import { NLM_F_CREATE, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as C from '../../linux/rtnetlink.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import { SCOPES, type Scope } from '../address.ts';
import { checkBoolean, checkDevice, DEVICE_DOWN, quote } from '../device.ts';
import type { Devices } from '../devices.ts';
import { checkHost, checkPrefix, FAMILIES, FAMILY_NAMES, type IpFamily } from '../prefix.ts';
import { CREATE, type Refusals, request } from '../request.ts';
import {
  type NextHopAttributes,
  numberOf,
  PROTOCOLS,
  type RawNextHop,
  ROUTE,
  type RouteAttributes,
  type RouteHeader,
  type RouteProtocol,
  type RouteTable,
  type RouteType,
  TYPES,
  tableNumber,
} from './attributes.ts';
import type { NextHop, Route } from './route.ts';

/** One of several next hops of a new route. It has a device, a router, or both. */
export interface NewNextHop extends Partial<Omit<NextHop, 'onLink'>> {
  /** The gateway is on the link, whatever the addresses of the device say. */
  onLink?: boolean;
}

/**
 * A route to add. It needs a device, a router, or both, unless its type leads nowhere. A route that was read is accepted: fields that only
 * the kernel sets (`flags`) are ignored.
 */
export interface NewRoute
  extends Partial<Pick<Route, 'family' | 'from' | 'metrics' | 'realm' | 'preference' | 'nextHopId' | 'tos'>>,
    Partial<Pick<Route, 'flags' | 'inDevice' | 'mark' | 'unknown'>> {
  /** IPv6: seconds until the kernel removes it, 1 to 2,147,483. */
  expiresSeconds?: number;
  /**
   * 'default' (of the family of `via` or `source`, else IPv4), or a prefix: '10.0.0.0/24', '::/0'. A plain address means that single host.
   */
  to: string;
  /**
   * The next router. It must be reachable without another router, so first add an address of the device's network. An IPv4 route may have
   * an IPv6 router, if `device` is given (Linux 5.2).
   */
  via?: string;
  /** Several next hops, in place of `device` and `via`. */
  nextHops?: NewNextHop[];
  /** The device through which packets leave. Default: the kernel finds it from `via`. */
  device?: string;
  /** The source address for packets that have none yet. It must belong to this namespace. */
  source?: string;
  /** The route with the lowest metric to one destination wins, 0 to 2^32-1. Default 0 for IPv4, 1024 for IPv6. */
  metric?: number;
  /** A name, or a number from 1. Default 'main'. */
  table?: RouteTable | number;
  /** The action on packets. Default 'unicast'. */
  type?: RouteType | number;
  /** Who added the route. Default 'boot', as with `ip route add`. */
  protocol?: RouteProtocol | number;
  /** Default for IPv4: 'link' for a route without `via`, else 'global'. IPv6 has no scopes. */
  scope?: Scope | number;
  /** Treat `via` as reachable over `device`, even if no address says so. */
  onLink?: boolean;
}

/** INT_MAX / HZ of a kernel with 1000 ticks a second. */
const MAX_LIFETIME = 2_147_483;

/** Selects the route to remove: all given fields must match. If several routes match, the first is removed. */
export type RouteKey = NewRoute;

/** The type of this object makes the compiler report a field that is missing here. */
const KEY_FIELDS = Object.keys({
  family: true,
  to: true,
  from: true,
  via: true,
  device: true,
  nextHops: true,
  source: true,
  metric: true,
  metrics: true,
  realm: true,
  preference: true,
  nextHopId: true,
  table: true,
  type: true,
  protocol: true,
  scope: true,
  tos: true,
  onLink: true,
  // Only the kernel sets this field.
  flags: true,
  expiresSeconds: true,
  inDevice: true,
  mark: true,
  unknown: true,
} satisfies Record<keyof NewRoute, true>);

/** Types of routes that lead nowhere, and so need no device. */
const DEAD_ENDS: readonly unknown[] = ['blackhole', 'unreachable', 'prohibit', 'throw'];

/** The message for a route, without the indexes of its devices. */
interface RouteMessage {
  header: RouteHeader;
  attributes: RouteAttributes;
}

function writeCommon(route: RouteKey): RouteMessage & { family: IpFamily } {
  const prefix = route.to === 'default' ? undefined : checkPrefix(route.to, ['to']);
  if (prefix !== undefined && !prefix.isNetwork) {
    throw rangeError(['to'], 'a prefix whose host bits are zero', route.to, 'ERR_INVALID_ADDRESS');
  }
  const via = route.via === undefined ? undefined : checkHost(route.via, ['via']);
  const source = route.source === undefined ? undefined : checkHost(route.source, ['source']);
  const family = prefix?.family ?? route.family ?? via ?? source ?? 'ipv4';
  if (route.family !== undefined && checkOneOf(route.family, ['family'], FAMILY_NAMES) !== family)
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
  // Every IPv6 route has a preference, usually 0, so that value is not sent.
  if (route.preference) attributes.preference = checkInteger(route.preference, ['preference'], 0, 0xff);
  if (route.metrics !== undefined) attributes.metrics = route.metrics;
  if (route.device !== undefined) checkDevice(route.device, ['device']);
  if (route.metric !== undefined) attributes.metric = checkInteger(route.metric, ['metric'], 0, 0xffffffff);
  const table = route.table === undefined ? C.RT_TABLE_MAIN : tableNumber(route.table);
  if (table > 0xff) attributes.table = table;
  const header: RouteHeader = {
    rtm_family: FAMILIES[family],
    rtm_dst_len: prefix?.length ?? 0,
    rtm_src_len: from?.length ?? 0,
    rtm_tos: route.tos === undefined ? 0 : checkInteger(route.tos, ['tos'], 0, 0xff),
    rtm_table: table > 0xff ? C.RT_TABLE_UNSPEC : table,
    rtm_protocol: route.protocol === undefined ? 'unspec' : numberOf(route.protocol, ['protocol'], PROTOCOLS, 0xff),
    rtm_scope: route.scope === undefined ? 'nowhere' : numberOf(route.scope, ['scope'], SCOPES, 0xff),
    rtm_type: route.type === undefined ? 'unspec' : numberOf(route.type, ['type'], TYPES, 0xff),
    rtm_flags: 0,
  };
  return { header, attributes, family };
}

function mismatch(field: string, family: IpFamily, value: unknown): Error {
  return rangeError([field], `an address of ${family}, as the destination is`, value, 'ERR_FAMILY_MISMATCH');
}

/** Writes the attribute for the next router. A router of another family than the route also needs a device. */
function router(
  via: string,
  own: IpFamily,
  family: IpFamily,
  path: Path,
  device: string | undefined,
): NextHopAttributes {
  if (own === family) return { gateway: via };
  if (family === 'ipv6' || device === undefined)
    throw rangeError(path, `an address of ${family}, as the destination is`, via, 'ERR_FAMILY_MISMATCH');
  return { via };
}

/** Writes the next hops of a route, without the indexes of their devices. */
function writeNextHops(hops: unknown, family: IpFamily): RawNextHop[] {
  if (!Array.isArray(hops) || hops.length === 0) throw typeError(['nextHops'], 'an array of ways', hops);
  return (hops as NewNextHop[]).map((hop, i) => {
    const path: Path = ['nextHops', i];
    checkObject(hop, path, ['device', 'via', 'weight', 'onLink', 'realm', 'flags', 'unknown']);
    const { device, via, weight = 1, onLink, realm } = hop;
    if (device !== undefined) checkDevice(device, [...path, 'device']);
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

/** Removes the next hops of a route that was read if it uses a nexthop object. The kernel reports both, but does not accept both. */
function withoutWays(route: NewRoute): NewRoute {
  if (route.nextHopId === undefined) return route;
  const { via: _via, device: _device, nextHops: _hops, onLink: _onLink, ...rest } = route;
  if (route.flags !== undefined) return rest;
  for (const field of ['via', 'device', 'nextHops'] as const)
    if (route[field] !== undefined) throw typeError([field], 'nothing beside nextHopId', route[field], 'ERR_CONFLICT');
  return rest;
}

/** Refuses fields that the kernel would accept but ignore. */
function refuseForeign({ tos, expiresSeconds, preference }: NewRoute, family: IpFamily): void {
  if (tos !== undefined && tos !== 0 && family === 'ipv6')
    throw typeError(['tos'], 'nothing: IPv6 routes have no type of service', tos, 'ERR_CONFLICT');
  if (expiresSeconds !== undefined && family === 'ipv4')
    throw typeError(
      ['expiresSeconds'],
      'nothing: IPv4 routes stay until they are removed',
      expiresSeconds,
      'ERR_CONFLICT',
    );
  if (preference !== undefined && family === 'ipv4')
    throw typeError(['preference'], 'nothing: only IPv6 routes have one', preference, 'ERR_CONFLICT');
}

/** Writes the message for a new route, without the indexes of its devices. */
export function writeRoute(given: NewRoute): RouteMessage {
  checkObject(given, [], KEY_FIELDS);
  const route = withoutWays(given);
  const { header, attributes, family } = writeCommon(route);
  refuseForeign(route, family);
  if (route.expiresSeconds !== undefined)
    attributes.expires = checkInteger(Math.ceil(route.expiresSeconds), ['expiresSeconds'], 1, MAX_LIFETIME);
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

/** Chooses the scope as iproute2 does. The kernel accepts any scope, but refuses gateways in routes of scope link. */
function usualScope({ type = 'unicast', via, nextHops }: NewRoute, family: IpFamily): Scope {
  if (family === 'ipv6' || DEAD_ENDS.includes(type)) return 'global';
  if (type === 'local' || type === 'nat') return 'host';
  const routed = via !== undefined || nextHops?.some(hop => hop.via !== undefined) === true;
  return type === 'unicast' && routed ? 'global' : 'link';
}

/** Writes the message that identifies the route to remove. Zeros, and the scope 'nowhere', match every route. */
export function writeRouteKey(route: RouteKey): RouteMessage {
  checkObject(route, [], KEY_FIELDS);
  const { header, attributes, family } = writeCommon(route);
  if (route.nextHops !== undefined) attributes.nextHops = writeNextHops(route.nextHops, family);
  return { header, attributes };
}

/** Maps a field of a message to the field of the caller's object, for errors. */
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

/** Adds or removes a route. */
export function* changeRoute(
  exchange: Exchange,
  devices: Devices,
  change: 'add' | 'set' | 'remove',
  route: RouteKey,
  { header, attributes }: RouteMessage,
): Operation<void> {
  const adding = change !== 'remove';
  if (route.device !== undefined && attributes.nextHopId === undefined)
    attributes.device = yield* devices.indexOf(route.device, 'device', route);
  for (const [i, hop] of (attributes.nextHops ?? []).entries()) {
    const { device } = route.nextHops![i]!;
    if (device !== undefined) hop.index = yield* devices.indexOf(device, 'nextHops', route);
  }
  const call = request(ROUTE, {
    syscall: adding ? 'RTM_NEWROUTE' : 'RTM_DELROUTE',
    type: adding ? C.RTM_NEWROUTE : C.RTM_DELROUTE,
    flags: !adding ? 0 : change === 'set' ? NLM_F_CREATE | NLM_F_REPLACE : CREATE,
    header,
    value: attributes,
    subject: route,
    rename: fieldOfRoute,
    refusals: refusalsOfRoute(route),
  });
  yield* exchange.request(call);
}
