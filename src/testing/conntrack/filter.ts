import * as Ct from '../../linux/nfnetlink_conntrack.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import { isSince, type Release } from '../machine/state.ts';
import { EINVAL, EOPNOTSUPP, refuse } from '../refusal.ts';
import type { Attributes } from '../wire/attributes.ts';
import { readAddresses, readProtocol, readZone } from './read.ts';
import type { Connection, Tuple } from './state.ts';
import { hasPorts, ICMP, ICMPV6, isSameAddress, TCP, UDP } from './tuples.ts';

/* Filters of dumps and flushes (ctnetlink_alloc_filter). */

type Wants = (connection: Connection) => boolean;

/** CTA_FILTER_F_: what of a tuple is compared. */
const [IP_SRC, IP_DST, PROTO_NUM, SRC_PORT, DST_PORT] = [1, 2, 8, 16, 32];
const ICMP_FLAGS = { type: 64, code: 128, id: 256 };
const ICMPV6_FLAGS = { type: 512, code: 1024, id: 2048 };
const ALL_FLAGS = 0xfff;

/** Whether the kernel looks at connections one by one: family, mark, status, zone or a filter of tuples are given. */
export const isFiltered = (release: Release, attributes: Attributes, family: number): boolean =>
  family !== 0 ||
  [Ct.CTA_MARK, Ct.CTA_STATUS, ...(isSince(release, [6, 8]) ? [Ct.CTA_ZONE] : []), Ct.CTA_FILTER].some(type =>
    attributes.has(type),
  );

/** @param ofMessage the family in the header, by which tuples are read; in a flush, `family` is not always the same */
export function filterOf(release: Release, attributes: Attributes, family: number, ofMessage = family): Wants {
  const wants: Wants[] = [];
  if (family !== 0) wants.push(connection => connection.family === family);
  const [mark, markMask] = [attributes.u32be(Ct.CTA_MARK), attributes.u32be(Ct.CTA_MARK_MASK)];
  if (mark !== undefined) {
    const mask = markMask ?? 0xffff_ffff;
    wants.push(connection => (connection.mark & mask) >>> 0 === mark);
  } else if (markMask !== undefined) refuse(EINVAL);
  const [status, statusMask] = [attributes.u32be(Ct.CTA_STATUS), attributes.u32be(Ct.CTA_STATUS_MASK)];
  if (status !== undefined) {
    const mask = statusMask ?? status;
    if (mask === 0) refuse(EINVAL);
    wants.push(connection => (connection.status & mask) >>> 0 === status);
  } else if (statusMask !== undefined) refuse(EINVAL);
  const zone = isSince(release, [6, 8]) ? attributes.u16be(Ct.CTA_ZONE) : undefined;
  if (zone !== undefined) wants.push(connection => connection.zone === zone);
  const filter = attributes.nested(Ct.CTA_FILTER);
  if (filter !== undefined) {
    const sides = [
      [Ct.CTA_FILTER_ORIG_FLAGS, Ct.CTA_TUPLE_ORIG, 'original'],
      [Ct.CTA_FILTER_REPLY_FLAGS, Ct.CTA_TUPLE_REPLY, 'reply'],
    ] as const;
    for (const [flagsAt, tupleAt, side] of sides) {
      const flags = filter.u32(flagsAt) ?? 0;
      if ((flags & ~ALL_FLAGS) !== 0) refuse(EINVAL);
      if (flags !== 0) wants.push(tupleFilter(release, attributes, [family, ofMessage], flags, tupleAt, side));
    }
  }
  return connection => wants.every(each => each(connection));
}

function tupleFilter(
  release: Release,
  attributes: Attributes,
  [family, ofMessage]: readonly [number, number],
  flags: number,
  tupleAt: number,
  side: 'original' | 'reply',
): Wants {
  const inside = attributes.nested(tupleAt) ?? refuse(EINVAL);
  if (ofMessage !== AF_INET && ofMessage !== AF_INET6) refuse(EOPNOTSUPP);
  const addresses = (flags & (IP_SRC | IP_DST)) !== 0 ? readAddresses(inside, ofMessage, flags) : undefined;
  const needsProtocol = (flags & ~7) !== 0;
  if (needsProtocol && (flags & PROTO_NUM) === 0) refuse(EINVAL);
  const ports = needsProtocol ? readProtocol(inside, flags) : undefined;
  if (inside.has(Ct.CTA_TUPLE_ZONE)) readZone(inside);
  // Kernels but 6.12 compare addresses of IPv6 the wrong way round.
  const isInverted = family === AF_INET6 && !(release.version[0] === 6 && release.version[1] === 12);
  const isAddress = (own: Uint8Array, wanted: Uint8Array): boolean => isSameAddress(own, wanted) !== isInverted;
  // Without a family, the kernel compares no addresses.
  const comparesAddresses = family !== 0;
  return ({ protocol, [side]: tuple }) => {
    if (comparesAddresses && (flags & IP_SRC) !== 0 && !isAddress(tuple.source, addresses!.source)) return false;
    if (comparesAddresses && (flags & IP_DST) !== 0 && !isAddress(tuple.destination, addresses!.destination))
      return false;
    if (ports === undefined) return true;
    return protocol === ports.protocol && portsAgree(tuple, ports.tuple, protocol, flags);
  };
}

/** Ports count for TCP and UDP only. */
function portsAgree(
  tuple: Tuple,
  wanted: Omit<Tuple, 'source' | 'destination'>,
  protocol: number,
  flags: number,
): boolean {
  if (hasPorts(protocol) && (protocol === TCP || protocol === UDP)) {
    if ((flags & SRC_PORT) !== 0 && tuple.sourcePort !== wanted.sourcePort) return false;
    return (flags & DST_PORT) === 0 || tuple.destinationPort === wanted.destinationPort;
  }
  if (protocol !== ICMP && protocol !== ICMPV6) return true;
  const { type, code, id } = protocol === ICMP ? ICMP_FLAGS : ICMPV6_FLAGS;
  if ((flags & type) !== 0 && tuple.destinationPort >> 8 !== wanted.destinationPort >> 8) return false;
  if ((flags & code) !== 0 && (tuple.destinationPort & 255) !== (wanted.destinationPort & 255)) return false;
  return (flags & id) === 0 || tuple.sourcePort === wanted.sourcePort;
}
