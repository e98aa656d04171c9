import { ETH_P_IP } from '../../../linux/if_ether.ts';
import { RTN_ANYCAST, RTN_UNREACHABLE, RTN_UNSPEC } from '../../../linux/rtnetlink.ts';
import type { Link, Namespace } from '../../machine/state.ts';
import { destinationOf, sourceOf } from '../../packets/packet.ts';
import { RTN, route, typeOfAddress } from '../../routes.ts';
import { compare, type Run } from './type.ts';
import { bytesAt, type XtMatch } from './xt-info.ts';

/* Matches of xtables that look at addresses: include/uapi/linux/netfilter/xt_addrtype.h and xt_iprange.h. */

const INVERT_SOURCE = 1;
const INVERT_DESTINATION = 2;
const LIMIT_IN = 4;
const LIMIT_OUT = 8;

const addrtype: XtMatch = (info, run) => {
  const { packet } = run;
  const flags = info.getUint32(4, true);
  const device = (flags & LIMIT_IN) !== 0 ? packet.inDevice : (flags & LIMIT_OUT) !== 0 ? packet.outDevice : undefined;
  const isOfType = packet.protocol === ETH_P_IP ? isOfTypeFour : isOfTypeSix;
  const matches = (at: number, address: Uint8Array, bit: number) => {
    const wanted = info.getUint16(at, true);
    return wanted === 0 || isOfType(run, address, device, wanted) !== ((flags & bit) !== 0);
  };
  return matches(0, sourceOf(packet), INVERT_SOURCE) && matches(2, destinationOf(packet), INVERT_DESTINATION);
};

/** One type is enough. An address of another device is a stranger's. */
function isOfTypeFour({ namespace }: Run, address: Uint8Array, device: Link | undefined, wanted: number): boolean {
  const type = typeOfAddress(namespace, address);
  const isOther = type === 'local' && device !== undefined && !isOwn(namespace, device, address);
  return ((wanted >> RTN[isOther ? 'unicast' : type]) & 1) !== 0;
}

/** Whether a device has an address; the loopback device has all that begin with 127. */
const isOwn = ({ links }: Namespace, device: Link, address: Uint8Array): boolean =>
  address[0] === 127 && address.length === 4
    ? links.some(link => link.loopback && link === device)
    : device.addresses.some(({ bytes }) => compare(bytes, address) === 0 && bytes.length === address.length);

const bit = (type: number): number => 1 << type;

/** Of the types of IPv6, multicast, unicast and unspecified must all be true; of the others one is enough (match_type6). */
function isOfTypeSix(
  { engine, namespace }: Run,
  address: Uint8Array,
  device: Link | undefined,
  wanted: number,
): boolean {
  const isMulticast = address[0] === 0xff;
  const isUnspecified = address.every(byte => byte === 0);
  if ((wanted & bit(RTN.multicast)) !== 0 && !isMulticast) return false;
  if ((wanted & bit(RTN.unicast)) !== 0 && (isMulticast || isUnspecified)) return false;
  if ((wanted & bit(RTN_UNSPEC)) !== 0 && !isUnspecified) return false;
  if ((wanted & bit(RTN_ANYCAST)) !== 0)
    return engine.notModelled('the match addrtype of xtables, where it asks for anycast addresses of IPv6');
  if ((wanted & (bit(RTN.local) | bit(RTN_UNREACHABLE))) === 0) return true;
  const isLocal = typeOfAddress(namespace, address) === 'local';
  const isReachable = isLocal || isMulticast || route(namespace, address) !== undefined;
  if (!isReachable) return (wanted & bit(RTN_UNREACHABLE)) !== 0;
  return (wanted & bit(RTN.local)) !== 0 && isLocal && (device === undefined || isOwn(namespace, device, address));
}

const iprange: XtMatch = (info, { packet }) => {
  const flags = info.getUint8(64);
  const matches = (at: number, address: Uint8Array, bit: number, inverted: number) => {
    if ((flags & bit) === 0) return true;
    const { length } = address;
    const inside =
      compare(address, bytesAt(info, at, length)) >= 0 && compare(address, bytesAt(info, at + 16, length)) <= 0;
    return inside !== ((flags & inverted) !== 0);
  };
  return matches(0, sourceOf(packet), 1, 16) && matches(32, destinationOf(packet), 2, 32);
};

export const XT_ADDRESS_MATCHES: Readonly<Record<string, XtMatch>> = { 'addrtype 1': addrtype, 'iprange 1': iprange };
