import { u16 } from '../packets/packet.ts';
import { type Connection, type Conntrack, NO_ZONE, type Tuple, type Zone } from './state.ts';

export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const DCCP = 33;
export const GRE = 47;
export const ICMPV6 = 58;
export const SCTP = 132;
export const UDPLITE = 136;

const WITH_PORTS = new Set([TCP, UDP, SCTP, UDPLITE]);
export const hasPorts = (protocol: number): boolean => WITH_PORTS.has(protocol);
export const isIcmp = (protocol: number): boolean => protocol === ICMP || protocol === ICMPV6;

/** Types of ICMP requests and the types of their answers. */
const ANSWERS: Record<number, Record<number, number>> = {
  [ICMP]: { 8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17 },
  [ICMPV6]: { 128: 129, 129: 128, 139: 140, 140: 139 },
};
export const isPaired = (protocol: number, type: number): boolean => ANSWERS[protocol]?.[type] !== undefined;

const text = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');

const keyOf = (family: number, protocol: number, zone: number, tuple: Tuple): string =>
  `${family} ${protocol} ${zone} ${text(tuple.source)}:${tuple.sourcePort} ${text(tuple.destination)}:${tuple.destinationPort}`;

const zoneIn = ({ id, directions }: Zone, direction: 0 | 1): number => ((directions & (1 << direction)) !== 0 ? id : 0);

/** The key of a connection's tuple in the table. */
export function tupleKey(
  { family, protocol, zone, zoneDirections }: Pick<Connection, 'family' | 'protocol' | 'zone' | 'zoneDirections'>,
  tuple: Tuple,
  direction: 0 | 1,
): string {
  return keyOf(family, protocol, zoneIn({ id: zone, directions: zoneDirections }, direction), tuple);
}

/** The connection that has a tuple, in either direction, and belongs to the zone in that direction. */
export function findTuple(
  { tuples }: Conntrack,
  family: number,
  protocol: number,
  tuple: Tuple,
  zone: Zone = NO_ZONE,
): { connection: Connection; direction: 0 | 1 } | undefined {
  for (const id of zone.id === 0 || zone.directions === 3 ? [zone.id] : [zone.id, 0]) {
    const found = tuples.get(keyOf(family, protocol, id, tuple));
    if (found !== undefined && zoneIn(zone, found.direction) === id) return found;
  }
  return undefined;
}

export const isSameAddress = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/**
 * The tuple of a packet, or of the packet that an ICMP error quotes; undefined where it has none.
 * @param from where the network header begins
 */
export function tupleOf(
  bytes: Uint8Array,
  from: number,
  isV4: boolean,
  protocol: number,
  transport: number,
): Tuple | undefined {
  const [start, length] = isV4 ? [from + 12, 4] : [from + 8, 16];
  const source = bytes.slice(start, start + length);
  const destination = bytes.slice(start + length, start + 2 * length);
  const left = bytes.length - transport;
  if (hasPorts(protocol)) {
    if (left < 4) return undefined;
    return { source, destination, sourcePort: u16(bytes, transport), destinationPort: u16(bytes, transport + 2) };
  }
  if (isIcmp(protocol)) {
    if (left < 8) return undefined;
    return { source, destination, sourcePort: u16(bytes, transport + 4), destinationPort: u16(bytes, transport) };
  }
  const whole = { source, destination, sourcePort: 0, destinationPort: 0 };
  if (protocol !== GRE || left < 4 || (bytes[transport + 1]! & 7) !== 1 || left < 8) return whole;
  // Version 1 of GRE, that of PPTP, has the id of the call.
  return u16(bytes, transport + 2) === 0x880b ? { ...whole, destinationPort: u16(bytes, transport + 6) } : undefined;
}

/** The tuple of the answers; undefined where nothing answers. */
export function inverse(protocol: number, tuple: Tuple): Tuple | undefined {
  const { source, destination, sourcePort, destinationPort } = tuple;
  if (!isIcmp(protocol))
    return { source: destination, destination: source, sourcePort: destinationPort, destinationPort: sourcePort };
  const answer = ANSWERS[protocol]![destinationPort >> 8];
  if (answer === undefined) return undefined;
  return {
    source: destination,
    destination: source,
    sourcePort,
    destinationPort: (answer << 8) | (destinationPort & 0xff),
  };
}
