import { UnsupportedError } from '../errors.ts';
import * as Rule from '../linux/fib_rules.ts';
import { IFA_F_NOPREFIXROUTE, IFA_F_SECONDARY } from '../linux/if_addr.ts';
import * as Rt from '../linux/rtnetlink.ts';
import { AF_INET, AF_INET6 } from '../linux/socket.ts';
import type { Address, Link, Namespace } from './machine/state.ts';
import { EACCES, EAGAIN, EHOSTUNREACH, EINVAL, ENETUNREACH } from './refusal.ts';
import type { PolicyRule } from './rtnetlink/state.ts';
import { textOf } from './wire/attributes.ts';

/* Where packets go: what the addresses and the routes of a namespace say of an address. */

/** What becomes of packets whose route or whose rule leads nowhere. */
const OF_TYPES: Readonly<Record<number, number>> = {
  [Rt.RTN_BLACKHOLE]: EINVAL,
  [Rt.RTN_UNREACHABLE]: EHOSTUNREACH,
  [Rt.RTN_PROHIBIT]: EACCES,
  [Rt.RTN_THROW]: EAGAIN,
};
const OF_RULES: Readonly<Record<number, number>> = {
  [Rule.FR_ACT_BLACKHOLE]: EINVAL,
  [Rule.FR_ACT_UNREACHABLE]: ENETUNREACH,
  [Rule.FR_ACT_PROHIBIT]: EACCES,
};
/** Flags of addresses that bring no route to their network. */
const WITHOUT_NETWORK = IFA_F_NOPREFIXROUTE | IFA_F_SECONDARY;
/** Of a rule: what only packets have. */
const OF_PACKETS = [Rule.FRA_TUN_ID, Rule.FRA_UID_RANGE, Rule.FRA_SPORT_RANGE, Rule.FRA_DPORT_RANGE, Rule.FRA_IP_PROTO];

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);
export function isInside(address: Uint8Array, network: Uint8Array, prefix: number): boolean {
  if (address.length !== network.length) return false;
  for (let bit = 0; bit < prefix; bit += 8) {
    const mask = prefix - bit >= 8 ? 0xff : (0xff << (8 - (prefix - bit))) & 0xff;
    if (((address[bit >> 3]! ^ network[bit >> 3]!) & mask) !== 0) return false;
  }
  return true;
}

export type AddressType = 'unicast' | 'local' | 'broadcast' | 'multicast';
/** RTN_UNICAST and its like. */
export const RTN: Record<AddressType, number> = { unicast: 1, local: 2, broadcast: 3, multicast: 5 };

export function typeOfAddress({ links }: Namespace, address: Uint8Array): AddressType {
  if (address.length === 4) {
    if ((address[0]! & 0xf0) === 0xe0) return 'multicast';
    if (address.every(byte => byte === 255)) return 'broadcast';
    if (address[0] === 127) return 'local';
  } else if (address[0] === 0xff) return 'multicast';
  for (const { addresses } of links) for (const { bytes } of addresses) if (equal(bytes, address)) return 'local';
  return 'unicast';
}

/** By which device a packet goes, and to which gateway where it does not go to the destination itself. */
export interface Way {
  readonly link: Link;
  readonly via: Uint8Array | undefined;
  /** RTN_UNICAST or RTN_LOCAL and the like. */
  readonly type: number;
}

/** What a route is asked for. */
export interface Flow {
  readonly destination: Uint8Array;
  /** The index of the device by which it must lead; 0 is any. */
  readonly device: number;
  /** Routes of a wider scope do not count. */
  readonly scope: number;
}

/** The device through which an address is reached. */
export const route = (namespace: Namespace, destination: Uint8Array): Link | undefined =>
  wayTo(namespace, destination)?.link;

/** The neighbour to which a packet goes: the gateway of the route, or the destination itself. */
export const nextHop = (namespace: Namespace, destination: Uint8Array): Uint8Array =>
  wayTo(namespace, destination)?.via ?? destination;

function wayTo(namespace: Namespace, destination: Uint8Array): Way | undefined {
  const found = lookUp(namespace, { destination, device: 0, scope: 0 }, true);
  return typeof found === 'number' ? undefined : found;
}

/**
 * Rules choose tables, and in a table the longest prefix wins, then the least priority (fib_rules_lookup, fib_table_lookup).
 * @param isForeign the destination is none of this host: of a packet
 * @returns the errno where there is no way
 */
export function lookUp(namespace: Namespace, flow: Flow, isForeign = false): Way | number {
  const family = flow.destination.length === 4 ? AF_INET : AF_INET6;
  for (const rule of namespace.policyRules) {
    if (rule.family !== family || (isForeign && rule.table === Rt.RT_TABLE_LOCAL)) continue;
    if (isForeign && !isPlain(rule))
      throw new UnsupportedError(
        'rules that choose a table by more than the destination',
        undefined,
        'the kernel in memory does not model it',
      );
    if (!suits(namespace, rule, flow)) continue;
    const error = OF_RULES[rule.action];
    if (error !== undefined) return error;
    if (rule.action !== Rule.FR_ACT_TO_TBL) continue;
    const found = inTable(namespace, flow, rule.table);
    if (found !== EAGAIN) return found;
  }
  return ENETUNREACH;
}

const isPlain = ({ from, tos, flags, others }: PolicyRule): boolean =>
  from === undefined && others.size === 0 && tos === 0 && flags === 0;

/** Whether a rule is for a gateway that the kernel looks for: it has no sender and no mark, and comes from this host. */
function suits(
  { links }: Namespace,
  { from, to, tos, flags, others }: PolicyRule,
  { destination, device }: Flow,
): boolean {
  const nameIs = (type: number, name: string | undefined) => {
    const bytes = others.get(type);
    return bytes === undefined || textOf(bytes) === name;
  };
  const mark = others.get(Rule.FRA_FWMARK);
  const mask = others.get(Rule.FRA_FWMASK);
  const isMarked = mark?.some((byte, i) => (byte & (mask?.[i] ?? 255)) !== 0) ?? false;
  const matches =
    (to === undefined || isInside(destination, to.address, to.bits)) &&
    from === undefined &&
    tos === 0 &&
    !isMarked &&
    nameIs(Rule.FRA_IIFNAME, 'lo') &&
    nameIs(Rule.FRA_OIFNAME, device === 0 ? undefined : links.find(({ index }) => index === device)?.name) &&
    !OF_PACKETS.some(type => others.has(type));
  return matches !== ((flags & Rule.FIB_RULE_INVERT) !== 0);
}

/** The way in a table; EAGAIN where the next table is to be asked. */
export function inTable(
  { links, routes }: Namespace,
  { destination, device, scope }: Flow,
  table: number,
): Way | number {
  let best: Way | number = EAGAIN;
  let [most, least, first] = [-1, 0, 0];
  const offer = (way: Way | number, prefix: number, priority: number, order = 0) => {
    if (prefix < most) return;
    if (prefix === most && (priority > least || (priority === least && order >= first))) return;
    [best, most, least, first] = [way, prefix, priority, order];
  };
  for (const link of links) {
    if (device !== 0 && link.index !== device) continue;
    for (const address of link.addresses) {
      const { bytes, prefix, peer, metric = 0, flags = 0, order, networkOrder } = address;
      if (table === Rt.RT_TABLE_MAIN) {
        const isRoute = link.up && scope <= Rt.RT_SCOPE_LINK && (flags & WITHOUT_NETWORK) === 0;
        if (isRoute && isInside(destination, peer ?? bytes, prefix))
          offer({ link, via: undefined, type: Rt.RTN_UNICAST }, prefix, metric, networkOrder);
      } else if (table === Rt.RT_TABLE_LOCAL && scope <= Rt.RT_SCOPE_HOST) {
        const hasNetwork = link.loopback && networkOrder !== undefined && (flags & WITHOUT_NETWORK) === 0;
        const isOwn = equal(destination, bytes) || (hasNetwork && isInside(destination, peer ?? bytes, prefix));
        if (isOwn) offer({ link, via: undefined, type: Rt.RTN_LOCAL }, bytes.length * 8, 0, order);
        else if (link.up && scope <= Rt.RT_SCOPE_LINK && isBroadcast(destination, address))
          offer({ link, via: undefined, type: Rt.RTN_BROADCAST }, bytes.length * 8, 0, networkOrder);
      }
    }
  }
  for (const { to, prefix, device: own, via, table: its = Rt.RT_TABLE_MAIN, scope: reach = 0, tos, ...one } of routes) {
    if (its !== table || reach < scope || (tos ?? 0) !== 0 || !isInside(destination, to, prefix)) continue;
    const { type = Rt.RTN_UNICAST, priority = 0 } = one;
    const error = OF_TYPES[type];
    const link = links.find(({ index }) => index === own);
    if (error !== undefined) offer(error, prefix, priority);
    else if (link?.up && (device === 0 || own === device)) offer({ link, via, type }, prefix, priority);
  }
  return best;
}

/** Whether two addresses of a device are in one network: the second is a secondary one then. */
export const inSameSubnet = (a: Address, b: Address): boolean =>
  a.family === b.family && a.prefix === b.prefix && isInside(a.peer ?? a.bytes, b.peer ?? b.bytes, b.prefix);

/** Whether an address is one of this host, or in a network of its loopback device. */
export function isLocal(namespace: Namespace, destination: Uint8Array): boolean {
  const found = inTable(namespace, { destination, device: 0, scope: 0 }, Rt.RT_TABLE_LOCAL);
  return typeof found !== 'number' && found.type === Rt.RTN_LOCAL;
}

/** The last address of a network, or what is given as such. */
function isBroadcast(address: Uint8Array, { bytes, prefix, peer, broadcast, flags = 0 }: Address): boolean {
  if (bytes.length !== 4 || address.length !== 4) return false;
  if (broadcast !== undefined && equal(address, broadcast)) return true;
  if (prefix >= 31 || (flags & IFA_F_SECONDARY) !== 0 || !isInside(address, peer ?? bytes, prefix)) return false;
  return address.every((byte, i) => (byte | (0xff00 >> Math.min(Math.max(prefix - i * 8, 0), 8))) % 256 === 255);
}

/** Of the addresses of a device that with which it speaks to another: one of the same network, or the first. */
export function ownAddress(addresses: readonly Address[], other: Uint8Array): Uint8Array | undefined {
  const own = addresses.filter(({ bytes }) => bytes.length === other.length);
  return (own.find(({ bytes, prefix }) => isInside(other, bytes, prefix)) ?? own[0])?.bytes;
}

/** The address of this host that a packet to a destination gets. */
export function sourceTowards(namespace: Namespace, destination: Uint8Array): Uint8Array | undefined {
  return ownAddress(route(namespace, destination)?.addresses ?? [], destination);
}
