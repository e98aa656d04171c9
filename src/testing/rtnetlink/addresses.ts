import * as Ifa from '../../linux/if_addr.ts';
import { NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Rt from '../../linux/rtnetlink.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import type { Machine } from '../machine/machine.ts';
import { type Address, isSince, type Link, type Namespace } from '../machine/state.ts';
import { EADDRNOTAVAIL, EAFNOSUPPORT, EEXIST, EINVAL, ENOBUFS, ENODEV, refuse } from '../refusal.ts';
import { inSameSubnet, isInside, isLocal } from '../routes.ts';
import type { Writer } from '../wire/attributes.ts';
import { type Call, equal, HEADER, LEAST_MTU, message, partsOf, tell, tellOf, viewOf } from './call.ts';
import { forgetNeighbours } from './neighbours.ts';
import { forgetRoutes, forgetSource } from './routes.ts';

/* Addresses of devices (net/ipv4/devinet.c, net/ipv6/addrconf.c). The detection of duplicates of IPv6 ends at once here. */

/** ifaddrmsg */
const LENGTH = 8;
/** From here on, lifetimes are looked at before the device. */
const LIFETIMES_FIRST = [6, 13] as const;
const MOST_OF_NAME = 15;
const FOREVER = 0xffff_ffff;
/** Flags that follow from other things. */
const DERIVED = Ifa.IFA_F_SECONDARY | Ifa.IFA_F_PERMANENT | Ifa.IFA_F_DEPRECATED | Ifa.IFA_F_TENTATIVE;

interface Read {
  readonly device: Link;
  readonly address: Address;
  readonly prefix: number;
}

function read(call: Call, isNew: boolean): Read {
  const { header, attributes } = partsOf(call, LENGTH);
  const family = header.getUint8(0);
  if (family !== AF_INET && family !== AF_INET6) refuse(EAFNOSUPPORT);
  const prefix = header.getUint8(1);
  const local = attributes.get(Ifa.IFA_LOCAL)?.bytes.slice();
  const other = attributes.get(Ifa.IFA_ADDRESS)?.bytes.slice();
  const bytes = local ?? (family === AF_INET6 ? other : undefined);
  const isWhole = prefix <= (family === AF_INET ? 32 : 128) && bytes !== undefined;
  if (isNew && !isWhole) refuse(EINVAL);
  const found = call.namespace.links.find(({ index }) => index === header.getInt32(4, true));
  const { now, release } = call.machine;
  if (!isSince(release, LIFETIMES_FIRST) || !isNew) found ?? refuse(ENODEV);
  const lifetimes = attributes.get(Ifa.IFA_CACHEINFO)?.bytes;
  const [preferred, valid] = lifetimes
    ? [viewOf(lifetimes).getUint32(0, true), viewOf(lifetimes).getUint32(4, true)]
    : [FOREVER, FOREVER];
  if (isNew && (valid === 0 || preferred > valid)) refuse(EINVAL);
  const device = found ?? refuse(ENODEV);
  if (family === AF_INET && device.mtu < LEAST_MTU) refuse(isNew ? ENOBUFS : ENODEV);
  const until = (seconds: number) => (seconds === FOREVER ? undefined : now + BigInt(seconds) * 1000n);
  const given = attributes.u32(Ifa.IFA_FLAGS) ?? header.getUint8(2);
  const broadcast = attributes.get(Ifa.IFA_BROADCAST)?.bytes.slice();
  const peer = local !== undefined && other !== undefined && !equal(local, other) ? other : undefined;
  const protocol = attributes.u8(Ifa.IFA_PROTO);
  const metric = attributes.u32(Ifa.IFA_RT_PRIORITY);
  const own = bytes ?? other ?? new Uint8Array(family === AF_INET ? 4 : 16);
  const address: Address = {
    family,
    bytes: own,
    prefix,
    ...(peer !== undefined && { peer }),
    ...(family === AF_INET && { label: attributes.text(Ifa.IFA_LABEL) ?? device.name }),
    ...(broadcast !== undefined && family === AF_INET && { broadcast }),
    scope: family === AF_INET ? header.getUint8(3) : scopeOf(own),
    ...(protocol !== undefined && { protocol }),
    flags: given & ~DERIVED,
    ...(metric !== undefined && metric !== 0 && { metric }),
    preferredUntil: until(preferred),
    validUntil: until(valid),
    order: ++call.namespace.lastAddress,
    made: now,
    changed: now,
  };
  return { device, address, prefix };
}

/** The scope of an address of IPv6. */
function scopeOf(bytes: Uint8Array): number {
  if (bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80) return Rt.RT_SCOPE_LINK;
  if (bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0xc0) return Rt.RT_SCOPE_SITE;
  return bytes[15] === 1 && bytes.subarray(0, 15).every(byte => byte === 0) ? Rt.RT_SCOPE_HOST : 0;
}

function flagsOf({ flags = 0, preferredUntil, validUntil }: Address, now: bigint): number {
  const isDeprecated = preferredUntil !== undefined && preferredUntil <= now;
  return flags | (validUntil === undefined ? Ifa.IFA_F_PERMANENT : 0) | (isDeprecated ? Ifa.IFA_F_DEPRECATED : 0);
}

function write(writer: Writer, machine: Machine, device: Link, address: Address): void {
  const { family, bytes, prefix, peer, label, broadcast, protocol, metric } = address;
  const { now } = machine;
  const flags = flagsOf(address, now);
  const header = new Uint8Array(LENGTH);
  const scope = address.scope ?? (device.loopback ? Rt.RT_SCOPE_HOST : 0);
  header.set([family, prefix, flags & 255, scope]);
  viewOf(header).setInt32(4, device.index, true);
  writer.raw(header);
  const times = new Uint8Array(16);
  const left = (until: bigint | undefined) =>
    until === undefined ? FOREVER : Number((until > now ? until - now : 0n) / 1000n);
  const view = viewOf(times);
  view.setUint32(0, left(address.preferredUntil), true);
  view.setUint32(4, left(address.validUntil), true);
  view.setUint32(8, Number((address.made ?? 0n) / 10n), true);
  view.setUint32(12, Number((address.changed ?? 0n) / 10n), true);
  if (family === AF_INET) {
    writer.attribute(Ifa.IFA_ADDRESS, peer ?? bytes);
    writer.attribute(Ifa.IFA_LOCAL, bytes);
    if (broadcast !== undefined) writer.attribute(Ifa.IFA_BROADCAST, broadcast);
    writer.text(Ifa.IFA_LABEL, label ?? device.name);
    if (protocol !== undefined && protocol !== 0) writer.u8(Ifa.IFA_PROTO, protocol);
    writer.u32(Ifa.IFA_FLAGS, flags);
    if (metric !== undefined) writer.u32(Ifa.IFA_RT_PRIORITY, metric);
    writer.attribute(Ifa.IFA_CACHEINFO, times);
    return;
  }
  if (peer !== undefined) writer.attribute(Ifa.IFA_LOCAL, bytes);
  writer.attribute(Ifa.IFA_ADDRESS, peer ?? bytes);
  if (metric !== undefined) writer.u32(Ifa.IFA_RT_PRIORITY, metric);
  writer.attribute(Ifa.IFA_CACHEINFO, times);
  writer.u32(Ifa.IFA_FLAGS, flags);
  if (protocol !== undefined && protocol !== 0) writer.u8(Ifa.IFA_PROTO, protocol);
}

const groupOf = ({ family }: Address): number => (family === AF_INET ? Rt.RTNLGRP_IPV4_IFADDR : Rt.RTNLGRP_IPV6_IFADDR);

export function newAddress(call: Call): void {
  const { device, address } = read(call, true);
  const { machine, request } = call;
  const isV4 = address.family === AF_INET;
  if (!isV4 && (address.bytes[0] === 0xff || address.bytes.every(byte => byte === 0))) refuse(EADDRNOTAVAIL);
  const found = device.addresses.find(
    each =>
      each.family === address.family &&
      equal(each.bytes, address.bytes) &&
      (!isV4 ||
        (each.prefix === address.prefix &&
          isInside(each.peer ?? each.bytes, address.peer ?? address.bytes, each.prefix))),
  );
  if (found !== undefined) {
    if ((request.flags & NLM_F_EXCL) !== 0 || (request.flags & NLM_F_REPLACE) === 0) refuse(EEXIST);
    // Flags of an address of IPv4 stay as they are.
    if (isV4) {
      found.metric = address.metric;
      found.protocol = address.protocol;
    } else {
      found.flags = address.flags;
      found.metric = address.metric ?? found.metric;
    }
    found.preferredUntil = address.preferredUntil;
    found.validUntil = address.validUntil;
    found.changed = machine.now;
    tell(call, groupOf(found), Rt.RTM_NEWADDR, 0, writer => write(writer, machine, device, found));
    return;
  }
  if (isV4) {
    const primary = device.addresses.find(
      each => inSameSubnet(each, address) && ((each.flags ?? 0) & Ifa.IFA_F_SECONDARY) === 0,
    );
    if (primary !== undefined) {
      if ((primary.scope ?? 0) !== (address.scope ?? 0)) refuse(EINVAL);
      address.flags = (address.flags ?? 0) | Ifa.IFA_F_SECONDARY;
    }
  }
  if (device.up) address.networkOrder = call.namespace.lastAddress;
  insert(device, address);
  tell(call, groupOf(address), Rt.RTM_NEWADDR, 0, writer => write(writer, machine, device, address));
}

/** Primary addresses of IPv4 come before the others, those of a wider scope first; of IPv6 the newest comes first in its scope. */
function insert(device: Link, address: Address): void {
  const { addresses } = device;
  const isSecondary = ((address.flags ?? 0) & Ifa.IFA_F_SECONDARY) !== 0;
  if (address.family === AF_INET6) {
    const at = addresses.findIndex(each => each.family === AF_INET6 && (each.scope ?? 0) <= (address.scope ?? 0));
    addresses.splice(at < 0 ? addresses.length : at, 0, address);
    return;
  }
  const last = isSecondary
    ? addresses.findLastIndex(each => each.family === AF_INET)
    : addresses.findLastIndex(
        each =>
          each.family === AF_INET &&
          ((each.flags ?? 0) & Ifa.IFA_F_SECONDARY) === 0 &&
          (address.scope ?? 0) <= (each.scope ?? 0),
      );
  const first = addresses.findIndex(each => each.family === AF_INET);
  addresses.splice(last >= 0 ? last + 1 : Math.max(first, 0), 0, address);
}

export function deleteAddress(call: Call): void {
  const { device, address, prefix } = read(call, false);
  const { machine, namespace } = call;
  const isV4 = address.family === AF_INET;
  const found =
    device.addresses.find(each =>
      isV4
        ? suits(call, each)
        : each.family === AF_INET6 && (prefix === 0 || each.prefix === prefix) && equal(each.bytes, address.bytes),
    ) ?? refuse(EADDRNOTAVAIL);
  for (const each of remove(device, found))
    tell(call, groupOf(each), Rt.RTM_DELADDR, 0, writer => write(writer, machine, device, each));
  afterRemoval(machine, namespace, device, found);
}

/** Whether an address of IPv4 is that which a request means: what is given must agree. */
function suits(call: Call, one: Address): boolean {
  const { header, attributes } = partsOf(call, LENGTH);
  const local = attributes.get(Ifa.IFA_LOCAL)?.bytes;
  const other = attributes.get(Ifa.IFA_ADDRESS)?.bytes;
  const label = attributes.text(Ifa.IFA_LABEL);
  return (
    one.family === AF_INET &&
    (local === undefined || equal(local, one.bytes)) &&
    (label === undefined || label === one.label) &&
    (other === undefined || (header.getUint8(1) === one.prefix && isInside(other, one.peer ?? one.bytes, one.prefix)))
  );
}

/** With a primary address of IPv4 those of the same network go, before it. */
function remove(device: Link, address: Address): Address[] {
  const isPrimary = address.family === AF_INET && ((address.flags ?? 0) & Ifa.IFA_F_SECONDARY) === 0;
  const others = isPrimary
    ? device.addresses.filter(
        each => each !== address && ((each.flags ?? 0) & Ifa.IFA_F_SECONDARY) !== 0 && inSameSubnet(each, address),
      )
    : [];
  const gone = [...others, address];
  device.addresses = device.addresses.filter(each => !gone.includes(each));
  return gone;
}

/** Without an address of IPv4 a device has no IPv4; and no route sends by an address that is gone (fib_del_ifaddr). */
function afterRemoval(machine: Machine, namespace: Namespace, device: Link, { family, bytes }: Address): void {
  if (family !== AF_INET) return;
  const isLast = !device.addresses.some(each => each.family === family);
  if (isLast) forgetNeighbours(machine, namespace, device.index, family);
  if (!isLocal(namespace, bytes)) forgetSource(machine, namespace, bytes);
  if (isLast) forgetRoutes(namespace, device.index, family);
}

/** The addresses of a device that goes, or of one that is too small for IPv4. */
export function forgetAddresses(machine: Machine, namespace: Namespace, device: Link, family?: number): void {
  const gone = device.addresses.filter(each => family === undefined || each.family === family);
  device.addresses = device.addresses.filter(each => !gone.includes(each));
  for (const each of gone) {
    tellOf(machine, namespace, groupOf(each), Rt.RTM_DELADDR, writer => write(writer, machine, device, each));
    afterRemoval(machine, namespace, device, each);
  }
}

/** Labels of addresses begin with the name of the device (inetdev_changename). */
export function renameLabels(machine: Machine, namespace: Namespace, device: Link): void {
  const own = device.addresses.filter(each => each.family === AF_INET);
  for (const [i, each] of own.entries()) {
    const [, behind] = /(:.*)$/.exec(each.label ?? '') ?? [];
    const suffix = i === 0 ? '' : (behind ?? `:${i}`);
    each.label = device.name.slice(0, MOST_OF_NAME - suffix.length) + suffix;
    tellOf(machine, namespace, groupOf(each), Rt.RTM_NEWADDR, writer => write(writer, machine, device, each));
  }
}

/** Takes addresses away whose time is over, and tells of those that are used no more. */
export function expireAddresses(machine: Machine, namespace: Namespace, before: bigint): void {
  for (const device of namespace.links)
    for (const address of [...device.addresses]) {
      const { validUntil, preferredUntil } = address;
      if (validUntil !== undefined && validUntil <= machine.now) {
        for (const each of remove(device, address))
          tellOf(machine, namespace, groupOf(each), Rt.RTM_DELADDR, writer => write(writer, machine, device, each));
        afterRemoval(machine, namespace, device, address);
      } else if (preferredUntil !== undefined && preferredUntil <= machine.now && preferredUntil > before)
        tellOf(machine, namespace, groupOf(address), Rt.RTM_NEWADDR, writer => write(writer, machine, device, address));
    }
}

export function* listAddresses({ machine, namespace, request }: Call): Generator<Uint8Array> {
  const family = request.bytes[HEADER] ?? 0;
  const wanted = request.bytes.length >= HEADER + LENGTH ? viewOf(request.bytes).getInt32(HEADER + 4, true) : 0;
  for (const device of namespace.links)
    if (wanted === 0 || device.index === wanted)
      for (const address of device.addresses)
        if (family === 0 || address.family === family)
          yield message(request, Rt.RTM_NEWADDR, NLM_F_MULTI, writer => write(writer, machine, device, address));
}
