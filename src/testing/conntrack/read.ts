import * as Ct from '../../linux/nfnetlink_conntrack.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import { EINVAL, EOPNOTSUPP, refuse } from '../refusal.ts';
import type { Attributes } from '../wire/attributes.ts';
import { BOTH_DIRECTIONS, type Tuple, type Zone } from './state.ts';
import { GRE, hasPorts, ICMP, ICMPV6, isPaired } from './tuples.ts';

/* Tuples and zones as programs write them (ctnetlink_parse_tuple). A filter reads only what its flags name. */

export interface NamedTuple {
  readonly tuple: Tuple;
  readonly protocol: number;
}

const ALL = 0xfff;

export function readAddresses(inside: Attributes, family: number, flags = ALL): Pick<Tuple, 'source' | 'destination'> {
  const addresses = inside.nested(Ct.CTA_TUPLE_IP) ?? refuse(EINVAL);
  if (family !== AF_INET && family !== AF_INET6) refuse(EOPNOTSUPP);
  const isV4 = family === AF_INET;
  const address = (flag: number, type: number): Uint8Array => {
    const bytes = addresses.get(type)?.bytes.slice();
    if ((flags & flag) !== 0 && bytes === undefined) refuse(EINVAL);
    return bytes ?? new Uint8Array(isV4 ? 4 : 16);
  };
  return {
    source: address(1, isV4 ? Ct.CTA_IP_V4_SRC : Ct.CTA_IP_V6_SRC),
    destination: address(2, isV4 ? Ct.CTA_IP_V4_DST : Ct.CTA_IP_V6_DST),
  };
}

export function readProtocol(
  inside: Attributes,
  flags = ALL,
): { readonly protocol: number; readonly tuple: Omit<Tuple, 'source' | 'destination'> } {
  const ports = inside.nested(Ct.CTA_TUPLE_PROTO) ?? refuse(EINVAL);
  const protocol = ports.u8(Ct.CTA_PROTO_NUM) ?? refuse(EINVAL);
  const needed = (flag: number, value: number | undefined): number =>
    value ?? ((flags & flag) === 0 ? 0 : refuse(EINVAL));
  if (protocol === ICMP || protocol === ICMPV6) {
    const isV4 = protocol === ICMP;
    const [typeFlag, codeFlag, idFlag] = isV4 ? [64, 128, 256] : [512, 1024, 2048];
    const kind = needed(typeFlag, ports.u8(isV4 ? Ct.CTA_PROTO_ICMP_TYPE : Ct.CTA_PROTO_ICMPV6_TYPE));
    const code = needed(codeFlag, ports.u8(isV4 ? Ct.CTA_PROTO_ICMP_CODE : Ct.CTA_PROTO_ICMPV6_CODE));
    const id = needed(idFlag, ports.u16be(isV4 ? Ct.CTA_PROTO_ICMP_ID : Ct.CTA_PROTO_ICMPV6_ID));
    if ((flags & typeFlag) !== 0 && !isPaired(protocol, kind)) refuse(EINVAL);
    return { protocol, tuple: { sourcePort: id, destinationPort: (kind << 8) | code } };
  }
  if (!hasPorts(protocol) && protocol !== GRE) return { protocol, tuple: { sourcePort: 0, destinationPort: 0 } };
  return {
    protocol,
    tuple: {
      sourcePort: needed(16, ports.u16be(Ct.CTA_PROTO_SRC_PORT)),
      destinationPort: needed(32, ports.u16be(Ct.CTA_PROTO_DST_PORT)),
    },
  };
}

/** The zone that both directions are in, or one of them. */
export function readZone(attributes: Attributes, ...tuples: readonly (readonly [type: number, bit: number])[]): Zone {
  const id = attributes.u16be(Ct.CTA_ZONE);
  let zone: Zone = { id: id ?? 0, directions: BOTH_DIRECTIONS };
  for (const [type, bit] of tuples) {
    const own = attributes.nested(type)?.u16be(Ct.CTA_TUPLE_ZONE);
    if (own === undefined) continue;
    if (zone.id !== 0) refuse(EINVAL);
    zone = { id: own, directions: bit };
  }
  return zone;
}

/** A whole tuple; undefined where the message has none of that name. */
export function readTuple(attributes: Attributes, type: number, family: number): NamedTuple | undefined {
  const inside = attributes.nested(type);
  if (inside === undefined) return undefined;
  const addresses = readAddresses(inside, family);
  const { protocol, tuple } = readProtocol(inside);
  return { protocol, tuple: { ...addresses, ...tuple } };
}
