import { IFA_F_NOPREFIXROUTE, IFA_F_SECONDARY } from '../../linux/if_addr.ts';
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Rt from '../../linux/rtnetlink.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import type { Machine } from '../machine/machine.ts';
import { isSince, type Link, type Namespace, type Route } from '../machine/state.ts';
import {
  EAFNOSUPPORT,
  EEXIST,
  EHOSTUNREACH,
  EINVAL,
  ENETDOWN,
  ENETUNREACH,
  ENODEV,
  ENOENT,
  ESRCH,
  refuse,
} from '../refusal.ts';
import { inSameSubnet, inTable, isLocal, lookUp } from '../routes.ts';
import type { Writer } from '../wire/attributes.ts';
import { hasCarrier } from './bridges.ts';
import { type Call, equal, HEADER, LEAST_MTU, message, partsOf, tell, tellOf, viewOf } from './call.ts';

/* Routes that programs make (net/ipv4/fib_trie.c, net/ipv6/route.c). Those that the kernel makes for addresses follow from these. */

/** rtmsg */
const LENGTH = 12;
/** Types of routes that lead to a device, and those that lead nowhere. */
const NOWHERE: readonly number[] = [Rt.RTN_BLACKHOLE, Rt.RTN_UNREACHABLE, Rt.RTN_PROHIBIT, Rt.RTN_THROW];
const TOLD_WITH_SOURCE = [6, 7] as const;
const IPV6_PRIORITY = 1024;

const tableOf = ({ table }: Route): number => table ?? Rt.RT_TABLE_MAIN;
const typeOf = ({ type }: Route): number => type ?? Rt.RTN_UNICAST;

interface Read {
  readonly route: Route;
  readonly hasDevice: boolean;
}

function read(call: Call, isNew: boolean): Read {
  const { header, attributes } = partsOf(call, LENGTH);
  const family = header.getUint8(0);
  if (family !== AF_INET && family !== AF_INET6) refuse(EAFNOSUPPORT);
  const width = family === AF_INET ? 4 : 16;
  const prefix = header.getUint8(1);
  if (prefix > width * 8) refuse(EINVAL);
  if (attributes.has(Rt.RTA_MULTIPATH)) call.machine.notModelled('routes of several ways');
  if (attributes.has(Rt.RTA_NH_ID)) call.machine.notModelled('nexthop objects');
  if (attributes.has(Rt.RTA_VIA)) call.machine.notModelled('gateways of the other IP version');
  const to = new Uint8Array(width);
  to.set(attributes.get(Rt.RTA_DST)?.bytes.subarray(0, width) ?? []);
  const isHostFree = hasNoHostBits(to, prefix);
  if (!isHostFree) {
    if (family === AF_INET) refuse(EINVAL);
    clearHostBits(to, prefix);
  }
  const type = header.getUint8(7);
  const isNowhere = NOWHERE.includes(type);
  const asked = attributes.u32(Rt.RTA_OIF);
  const via = attributes.get(Rt.RTA_GATEWAY)?.bytes.slice();
  if (isNew && type !== Rt.RTN_UNICAST && !isNowhere) call.machine.notModelled(`routes of the type ${type}`);
  const protocol = header.getUint8(5);
  const scope = header.getUint8(6);
  const priority = attributes.u32(Rt.RTA_PRIORITY);
  const source = attributes.get(Rt.RTA_PREFSRC)?.bytes.slice();
  const metrics = attributes.get(Rt.RTA_METRICS)?.bytes.slice();
  const table = attributes.u32(Rt.RTA_TABLE) ?? header.getUint8(4);
  const flags = header.getUint32(8, true) & Rt.RTNH_F_ONLINK;
  const route: Route = {
    to,
    prefix,
    device: asked ?? 0,
    via: via?.some(byte => byte !== 0) ? via : undefined,
    table: table === 0 ? Rt.RT_TABLE_MAIN : table,
    type,
    scope: family === AF_INET ? scope : 0,
    protocol,
    priority: priority || (family === AF_INET6 ? IPV6_PRIORITY : 0),
    tos: header.getUint8(3),
    ...(source !== undefined && { source }),
    ...(metrics !== undefined && { metrics }),
    flags,
  };
  return { route: isNew ? placed(call, route) : route, hasDevice: asked !== undefined };
}

const hasNoHostBits = (bytes: Uint8Array, prefix: number): boolean => {
  const copy = bytes.slice();
  clearHostBits(copy, prefix);
  return equal(copy, bytes);
};
function clearHostBits(bytes: Uint8Array, prefix: number): void {
  for (let i = 0; i < bytes.length; i++) {
    const bits = Math.min(Math.max(prefix - i * 8, 0), 8);
    bytes[i] = bytes[i]! & (0xff << (8 - bits));
  }
}

/** The device of a new route, which its gateway may decide (fib_create_info). */
function placed(call: Call, route: Route): Route {
  const { namespace } = call;
  const isV4 = route.to.length === 4;
  if (NOWHERE.includes(typeOf(route))) {
    if (isV4 && (route.device !== 0 || route.via !== undefined))
      refuse(EINVAL, undefined, 'Gateway, device and multipath can not be specified for this route type');
    return { ...route, device: isV4 ? 0 : 1, via: undefined };
  }
  const found = { ...route, device: deviceOf(call, route, isV4) };
  const { source } = route;
  if (source !== undefined && !isLocal(namespace, source))
    refuse(EINVAL, undefined, isV4 ? 'Invalid prefsrc address' : 'Invalid source address');
  return found;
}

function deviceOf({ namespace }: Call, route: Route, isV4: boolean): number {
  const { links } = namespace;
  const { via } = route;
  const device = links.find(({ index }) => index === route.device);
  const up = (): Link => {
    const one = hasIp(device ?? refuse(ENODEV));
    if (!one.up) refuse(ENETDOWN, undefined, 'Device for nexthop is not up');
    return one;
  };
  const hasIp = (link: Link): Link => (isV4 && link.mtu < LEAST_MTU ? refuse(ENODEV) : link);
  if (via === undefined) {
    if (isV4 && ((route.flags ?? 0) & Rt.RTNH_F_ONLINK) !== 0)
      refuse(EINVAL, undefined, 'Invalid flags for nexthop - PERVASIVE and ONLINK can not be set');
    return up().index;
  }
  if (isV4 && (route.scope ?? 0) >= Rt.RT_SCOPE_LINK) refuse(EINVAL, undefined, 'Nexthop has invalid scope');
  if (((route.flags ?? 0) & Rt.RTNH_F_ONLINK) !== 0) {
    const { index } = device ?? refuse(isV4 ? ENODEV : EINVAL, undefined, 'Nexthop device required for onlink');
    up();
    if (isLocal(namespace, via)) refuse(EINVAL, undefined, 'Nexthop has invalid gateway');
    return index;
  }
  if (!isV4) up();
  const flow = { destination: via, device: route.device, scope: Rt.RT_SCOPE_LINK };
  const table = tableOf(route);
  let way = table === Rt.RT_TABLE_MAIN ? ENETUNREACH : inTable(namespace, flow, table);
  if (typeof way === 'number') way = lookUp(namespace, flow);
  if (typeof way === 'number') return refuse(isV4 ? way : EHOSTUNREACH, undefined, 'Nexthop has invalid gateway');
  if (way.type !== Rt.RTN_UNICAST && way.type !== Rt.RTN_LOCAL)
    refuse(EINVAL, undefined, 'Nexthop has invalid gateway');
  if (!way.link.up) refuse(ENETDOWN);
  return way.link.index;
}

type Around = Pick<Call, 'machine' | 'namespace'>;

/** Flags of a route, with those that its device adds. */
function flagsOf({ machine, namespace }: Around, { flags = 0, device, scope = 0 }: Route): number {
  const link = namespace.links.find(({ index }) => index === device);
  const isDown = link !== undefined && scope < Rt.RT_SCOPE_HOST && !hasCarrier(machine, link);
  return flags | (isDown ? Rt.RTNH_F_LINKDOWN : 0);
}

function write(writer: Writer, around: Around, route: Route): void {
  const isV4 = route.to.length === 4;
  const table = tableOf(route);
  const header = new Uint8Array(LENGTH);
  const scope = route.scope ?? (route.via === undefined ? Rt.RT_SCOPE_LINK : 0);
  header.set([isV4 ? AF_INET : AF_INET6, route.prefix, 0, route.tos ?? 0, table < 256 ? table : 252]);
  header.set([route.protocol ?? Rt.RTPROT_BOOT, scope, typeOf(route)], 5);
  viewOf(header).setUint32(8, flagsOf(around, route), true);
  writer.raw(header);
  writer.u32(Rt.RTA_TABLE, table);
  if (route.prefix > 0) writer.attribute(Rt.RTA_DST, route.to);
  const attributes = {
    priority: () => {
      if ((route.priority ?? 0) !== 0) writer.u32(Rt.RTA_PRIORITY, route.priority!);
    },
    metrics: () => {
      if (route.metrics !== undefined) writer.attribute(Rt.RTA_METRICS, route.metrics);
    },
    source: () => {
      if (route.source !== undefined) writer.attribute(Rt.RTA_PREFSRC, route.source);
    },
    way: () => {
      if (route.via !== undefined) writer.attribute(Rt.RTA_GATEWAY, route.via);
      if (route.device !== 0) writer.u32(Rt.RTA_OIF, route.device);
    },
  };
  if (isV4) for (const name of ['priority', 'metrics', 'source', 'way'] as const) attributes[name]();
  else {
    for (const name of ['source', 'metrics', 'priority', 'way'] as const) attributes[name]();
    writer.attribute(Rt.RTA_CACHEINFO, new Uint8Array(32));
    writer.u8(Rt.RTA_PREF, 0);
  }
}

const groupOf = ({ to }: Route): number => (to.length === 4 ? Rt.RTNLGRP_IPV4_ROUTE : Rt.RTNLGRP_IPV6_ROUTE);
/** Routes among which one is chosen: those of one destination and one priority. */
const rivals = (a: Route, b: Route): boolean =>
  equal(a.to, b.to) &&
  a.prefix === b.prefix &&
  tableOf(a) === tableOf(b) &&
  (a.tos ?? 0) === (b.tos ?? 0) &&
  (a.priority ?? 0) === (b.priority ?? 0);
const sameWay = (a: Route, b: Route): boolean =>
  a.device === b.device && (a.via === undefined ? b.via === undefined : b.via !== undefined && equal(a.via, b.via));
const sameBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === undefined || b === undefined ? a === b : equal(a, b);
const isSame = (a: Route, b: Route): boolean =>
  rivals(a, b) &&
  typeOf(a) === typeOf(b) &&
  (a.scope ?? 0) === (b.scope ?? 0) &&
  sameWay(a, b) &&
  a.protocol === b.protocol &&
  sameBytes(a.source, b.source) &&
  sameBytes(a.metrics, b.metrics);

export function newRoute(call: Call): void {
  const { request, namespace, machine } = call;
  const { flags } = request;
  const { route } = read(call, true);
  const { routes } = namespace;
  const isV4 = route.to.length === 4;
  const others = routes.filter(each => rivals(each, route));
  const done = (told: number) =>
    tell(call, groupOf(route), Rt.RTM_NEWROUTE, told, writer => write(writer, call, route));
  if (others.length > 0) {
    if ((flags & NLM_F_EXCL) !== 0) refuse(EEXIST);
    if ((flags & NLM_F_REPLACE) !== 0) {
      const [first] = others;
      const equalOne = others.find(each => isSame(each, route));
      if (isV4 && equalOne === first) return;
      if (isV4 && equalOne !== undefined) refuse(EEXIST);
      if (!isV4 && others.length > 1) machine.notModelled('replacing several routes of IPv6');
      routes[routes.indexOf(first!)] = route;
      done(NLM_F_REPLACE);
      return;
    }
    if (others.some(each => isSame(each, route))) refuse(EEXIST);
    if (!isV4) machine.notModelled('routes of IPv6 with several ways');
    const isAppended = (flags & NLM_F_APPEND) !== 0;
    if ((flags & NLM_F_CREATE) === 0) refuse(ENOENT);
    const at = isAppended ? routes.indexOf(others.at(-1)!) + 1 : routes.indexOf(others[0]!);
    routes.splice(at, 0, route);
    done(isAppended ? NLM_F_CREATE | NLM_F_APPEND : NLM_F_CREATE);
    return;
  }
  if (isV4 && (flags & NLM_F_CREATE) === 0) refuse(ENOENT);
  if (!isV4 && (flags & NLM_F_REPLACE) !== 0 && (flags & NLM_F_CREATE) === 0) refuse(ENOENT);
  routes.push(route);
  done(isV4 ? NLM_F_CREATE | NLM_F_EXCL : NLM_F_CREATE);
}

/** What is given must agree; the first such route goes. */
export function deleteRoute(call: Call): void {
  const { namespace } = call;
  const { route, hasDevice } = read(call, false);
  const { header, attributes } = partsOf(call, LENGTH);
  const isV4 = route.to.length === 4;
  const hasPriority = attributes.has(Rt.RTA_PRIORITY);
  const scope = header.getUint8(6);
  const found =
    namespace.routes.find(
      each =>
        equal(each.to, route.to) &&
        each.prefix === route.prefix &&
        tableOf(each) === tableOf(route) &&
        (each.tos ?? 0) === (route.tos ?? 0) &&
        (!hasPriority || (each.priority ?? 0) === route.priority) &&
        (header.getUint8(7) === 0 || typeOf(each) === header.getUint8(7)) &&
        (!isV4 || scope === Rt.RT_SCOPE_NOWHERE || (each.scope ?? 0) === scope) &&
        (header.getUint8(5) === 0 || (each.protocol ?? Rt.RTPROT_BOOT) === header.getUint8(5)) &&
        (route.source === undefined || (each.source !== undefined && equal(each.source, route.source))) &&
        (!hasDevice || each.device === route.device) &&
        (route.via === undefined || (each.via !== undefined && equal(each.via, route.via))),
    ) ?? refuse(ESRCH);
  namespace.routes.splice(namespace.routes.indexOf(found), 1);
  tell(call, groupOf(found), Rt.RTM_DELROUTE, 0, writer => write(writer, call, found));
}

/** Routes that send by an address that is gone go, and are told (fib_sync_down_addr). */
export function forgetSource(machine: Machine, namespace: Namespace, source: Uint8Array): void {
  const isGone = (each: Route) =>
    tableOf(each) === Rt.RT_TABLE_MAIN && each.source !== undefined && equal(each.source, source);
  const gone = namespace.routes.filter(isGone);
  namespace.routes = namespace.routes.filter(each => !isGone(each));
  if (!isSince(machine.release, TOLD_WITH_SOURCE)) return;
  for (const each of gone)
    tellOf(machine, namespace, groupOf(each), Rt.RTM_DELROUTE, writer => write(writer, { machine, namespace }, each));
}

/** With a device its routes go, or those of a family: untold. */
export function forgetRoutes(namespace: Namespace, device: number, family?: number): void {
  const isKept = (each: Route) =>
    each.device !== device || (family !== undefined && (each.to.length === 4) !== (family === AF_INET));
  namespace.routes = namespace.routes.filter(isKept);
}

/** Tells the routes that are left, and those that addresses of IPv4 bring with them. */
export function* listRoutes(call: Call): Generator<Uint8Array> {
  const { namespace, request } = call;
  const family = request.bytes[HEADER] ?? 0;
  for (const route of [...namespace.routes, ...ofAddresses(namespace)])
    if (family === 0 || (route.to.length === 4) === (family === AF_INET))
      yield message(request, Rt.RTM_NEWROUTE, NLM_F_MULTI, writer => write(writer, call, route));
}

/** Two addresses may bring the same route. */
function ofAddresses(namespace: Namespace): Route[] {
  const found: Route[] = [];
  for (const one of eachOfAddresses(namespace)) if (!found.some(each => isSame(each, one))) found.push(one);
  return found;
}

function* eachOfAddresses({ links }: Namespace): Generator<Route> {
  const kernel = { via: undefined, protocol: Rt.RTPROT_KERNEL } as const;
  const local = { ...kernel, table: Rt.RT_TABLE_LOCAL } as const;
  for (const { up, index, addresses, loopback } of links)
    for (const address of addresses) {
      const { bytes, prefix, flags = 0, metric, peer } = address;
      if (bytes.length !== 4) continue;
      const isSecondary = (flags & IFA_F_SECONDARY) !== 0;
      const primary = isSecondary ? addresses.find(each => inSameSubnet(each, address)) : undefined;
      const own = { source: primary?.bytes ?? bytes, device: index };
      yield { ...local, ...own, to: bytes, prefix: 32, type: Rt.RTN_LOCAL, scope: Rt.RT_SCOPE_HOST };
      const to = (peer ?? bytes).slice();
      clearHostBits(to, prefix);
      const broadcast = (last: Uint8Array): Route => ({
        ...local,
        ...own,
        to: last,
        prefix: 32,
        type: Rt.RTN_BROADCAST,
        scope: Rt.RT_SCOPE_LINK,
      });
      const told = address.broadcast;
      if (up && told?.some(byte => byte !== 255)) yield broadcast(told);
      // Without the device, only the host itself is reached, but for what has been reached by the loopback device.
      if (
        !(up || (loopback && address.networkOrder !== undefined)) ||
        isSecondary ||
        (prefix === 32 && equal(to, bytes))
      )
        continue;
      if ((flags & IFA_F_NOPREFIXROUTE) === 0)
        yield {
          ...(loopback ? local : kernel),
          ...own,
          to,
          prefix,
          ...(loopback ? { type: Rt.RTN_LOCAL, scope: Rt.RT_SCOPE_HOST } : { scope: Rt.RT_SCOPE_LINK }),
          ...(metric !== undefined && { priority: metric }),
        };
      if (!up || prefix >= 31) continue;
      yield broadcast(to.map((byte, i) => byte | (0xff >> Math.min(Math.max(prefix - i * 8, 0), 8))));
    }
}
