import { jhash } from '../hash.ts';
import type { Namespace } from '../machine/state.ts';
import { type Packet, setU16, u16 } from '../packets/packet.ts';
import {
  type Connection,
  IPS_DST_NAT,
  IPS_DST_NAT_DONE,
  IPS_SRC_NAT,
  IPS_SRC_NAT_DONE,
  type Tracked,
  type Tuple,
  tupleKey,
} from './state.ts';
import { inverse } from './track.ts';

const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMPV6 = 58;
const WITH_PORTS = new Set([TCP, UDP, 132, 33, 136]);
/** NF_NAT_RANGE_ */
const PORTS = 2;
const RANDOM = 4 | 16;
const PERSISTENT = 8;
const NETMAP = 64;
/** So many ports are tried one after the other. */
const TRIES = 128;

/** What a connection's source or destination is changed to: each within bounds. */
export interface Range {
  readonly flags: number;
  readonly addressMin: Uint8Array | undefined;
  readonly addressMax: Uint8Array | undefined;
  readonly portMin: number | undefined;
  readonly portMax: number | undefined;
}

export type Manip = 'source' | 'destination';
export const isDone = ({ status }: Connection, manip: Manip): boolean =>
  (status & (manip === 'source' ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE)) !== 0;

const numberOf = (bytes: Uint8Array): bigint => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
function bytesOf(value: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = length - 1, rest = value; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}

const addressOf = (tuple: Tuple, manip: Manip): Uint8Array => (manip === 'source' ? tuple.source : tuple.destination);
/** The id of an ICMP message is its port, whichever end changes. */
const portOf = (tuple: Tuple, protocol: number, manip: Manip): number =>
  manip === 'source' || protocol === ICMP || protocol === ICMPV6 ? tuple.sourcePort : tuple.destinationPort;

function withEnd(tuple: Tuple, protocol: number, manip: Manip, address: Uint8Array, port: number): Tuple {
  if (manip === 'source') return { ...tuple, source: address, sourcePort: port };
  return protocol === ICMP || protocol === ICMPV6
    ? { ...tuple, destination: address, sourcePort: port }
    : { ...tuple, destination: address, destinationPort: port };
}

/** Whether another connection has these answers already. */
function isTaken({ conntrack }: Namespace, connection: Connection, tuple: Tuple): boolean {
  const reply = inverse(connection.protocol, tuple)!;
  const known = conntrack.tuples.get(tupleKey(connection.family, connection.protocol, connection.zone, reply));
  return known !== undefined && known.connection !== connection;
}

/** Sets up the translation of a connection's first packet (nf_nat_setup_info). */
export function setUp(namespace: Namespace, connection: Connection, range: Range | undefined, manip: Manip): void {
  const { protocol } = connection;
  // What the packet looks like by now: what the answers are the inverse of.
  const current = inverse(protocol, connection.reply)!;
  const chosen = choose(namespace, connection, current, range ?? nothing(current, manip), manip);
  connection.reply = inverse(protocol, chosen)!;
  const isChanged =
    !equal(addressOf(chosen, manip), addressOf(current, manip)) ||
    portOf(chosen, protocol, manip) !== portOf(current, protocol, manip);
  const [changes, done] = manip === 'source' ? [IPS_SRC_NAT, IPS_SRC_NAT_DONE] : [IPS_DST_NAT, IPS_DST_NAT_DONE];
  connection.status |= done | (isChanged ? changes : 0);
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, i) => byte === b[i]);

/** The range of a connection that no rule translates: its own address. */
function nothing(tuple: Tuple, manip: Manip): Range {
  const address = addressOf(tuple, manip);
  return { flags: 1, addressMin: address, addressMax: address, portMin: undefined, portMax: undefined };
}

/** get_unique_tuple: the address, then the port. */
function choose(namespace: Namespace, connection: Connection, current: Tuple, range: Range, manip: Manip): Tuple {
  const { protocol } = connection;
  const isRandom = (range.flags & RANDOM) !== 0;
  const fits = (tuple: Tuple) => isWithin(tuple, protocol, range, manip);
  if (manip === 'source' && !isRandom) {
    if (fits(current) && !isTaken(namespace, connection, current)) return current;
    const before = sameSource(namespace, connection, current, range);
    if (before !== undefined && !isTaken(namespace, connection, before)) return before;
  }
  const address = chooseAddress(current, range, manip);
  const port = portOf(current, protocol, manip);
  const tuple = withEnd(current, protocol, manip, address, port);
  const hasRange = (range.flags & PORTS) !== 0 && range.portMin !== undefined;
  if (!WITH_PORTS.has(protocol) && protocol !== ICMP && protocol !== ICMPV6) return tuple;
  if (!isRandom) {
    if (hasRange) {
      const isInside = port >= range.portMin! && port <= range.portMax!;
      if (range.portMin === range.portMax) return withEnd(current, protocol, manip, address, range.portMin!);
      if (isInside && !isTaken(namespace, connection, tuple)) return tuple;
    } else if (!isTaken(namespace, connection, tuple)) return tuple;
  }
  return choosePort(namespace, connection, tuple, range, manip, hasRange);
}

function choosePort(
  namespace: Namespace,
  connection: Connection,
  tuple: Tuple,
  range: Range,
  manip: Manip,
  hasRange: boolean,
): Tuple {
  const { protocol } = connection;
  const port = portOf(tuple, protocol, manip);
  let [min, max] = [range.portMin ?? 0, range.portMax ?? 0];
  if (!hasRange) {
    // The destination's port is never changed without a range.
    if (manip === 'destination') return tuple;
    if (protocol === ICMP || protocol === ICMPV6) [min, max] = [0, 65_535];
    else if (port < 512) [min, max] = [1, 511];
    else if (port < 1024) [min, max] = [600, 1023];
    else [min, max] = [1024, 65_535];
  }
  const size = max - min + 1;
  const isRandom = manip === 'source' || (range.flags & RANDOM) !== 0;
  const first = isRandom ? Math.floor(Math.random() * size) : 0;
  for (let i = 0; i < Math.min(size, TRIES); i++) {
    const next = withEnd(tuple, protocol, manip, addressOf(tuple, manip), min + ((first + i) % size));
    if (!isTaken(namespace, connection, next)) return next;
  }
  return tuple;
}

function isWithin(
  tuple: Tuple,
  protocol: number,
  { flags, addressMin, addressMax, portMin, portMax }: Range,
  manip: Manip,
): boolean {
  if (addressMin !== undefined) {
    const address = numberOf(addressOf(tuple, manip));
    if (address < numberOf(addressMin) || address > numberOf(addressMax!)) return false;
  }
  if ((flags & PORTS) === 0 || portMin === undefined) return true;
  const port = portOf(tuple, protocol, manip);
  return port >= portMin && port <= portMax!;
}

/** The translation that the same source has already (find_appropriate_src). */
function sameSource({ conntrack }: Namespace, connection: Connection, current: Tuple, range: Range): Tuple | undefined {
  for (const other of conntrack.connections) {
    if (other.protocol !== connection.protocol || other.family !== connection.family) continue;
    if (!equal(other.original.source, current.source) || other.original.sourcePort !== current.sourcePort) continue;
    const { source, sourcePort } = inverse(other.protocol, other.reply)!;
    const tuple = { ...current, source, sourcePort };
    if (isWithin(tuple, connection.protocol, range, 'source')) return tuple;
  }
  return undefined;
}

/** find_best_ips_proto: by a hash of the ends, so that a client has one address. */
function chooseAddress(current: Tuple, { addressMin, addressMax, flags }: Range, manip: Manip): Uint8Array {
  const own = addressOf(current, manip);
  if (addressMin === undefined || addressMax === undefined) return own;
  if (equal(addressMin, addressMax)) return addressMin;
  const [min, max] = [numberOf(addressMin), numberOf(addressMax)];
  if ((flags & NETMAP) !== 0) {
    const mask = min ^ max;
    return bytesOf((min & ~mask) | (numberOf(own) & mask), own.length);
  }
  const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset);
  const words = new Uint8Array(16);
  words.set(current.source.subarray(-4));
  const seed =
    (flags & PERSISTENT) !== 0 ? 0 : view(current.destination).getUint32(current.destination.length - 4, true);
  const hash = jhash(words, seed);
  const offset = (BigInt(hash) * (max - min + 1n)) >> 32n;
  return bytesOf(min + offset, own.length);
}

/** Rewrites a packet of a translated connection (nf_nat_packet). */
export function translate(packet: Packet, { connection, direction, state }: Tracked, manip: Manip): void {
  const bit = (manip === 'source') === (direction === 0) ? IPS_SRC_NAT : IPS_DST_NAT;
  if ((connection.status & bit) === 0) return;
  const { protocol } = connection;
  const target = inverse(protocol, direction === 0 ? connection.reply : connection.original)!;
  if (state === 'related' && protocol !== packet.transportProtocol) return;
  const isV4 = packet.protocol === 0x0800;
  const length = isV4 ? 4 : 16;
  const addressAt = (isV4 ? 12 : 8) + (manip === 'source' ? 0 : length);
  const { bytes, transport } = packet;
  const address = addressOf(target, manip);
  const old = bytes.slice(addressAt, addressAt + length);
  bytes.set(address, addressAt);
  if (isV4) setU16(bytes, 10, incremental(u16(bytes, 10), old, address));
  if (transport === undefined) return;
  const sumAt = { [TCP]: 16, [UDP]: 6, 136: 6, [ICMP]: 2, [ICMPV6]: 2 }[protocol];
  const portAt = protocol === ICMP || protocol === ICMPV6 ? 4 : manip === 'source' ? 0 : 2;
  const hasPort = WITH_PORTS.has(protocol) || protocol === ICMP || protocol === ICMPV6;
  const port = portOf(target, protocol, manip);
  const oldPort = hasPort ? bytes.slice(transport + portAt, transport + portAt + 2) : new Uint8Array(0);
  if (hasPort) setU16(bytes, transport + portAt, port);
  if (sumAt === undefined) return;
  const place = transport + sumAt;
  const sum = u16(bytes, place);
  if (protocol === UDP && sum === 0) return;
  const newPort = hasPort ? Uint8Array.of(port >> 8, port) : new Uint8Array(0);
  const withAddress = protocol === ICMP ? sum : incremental(sum, old, address);
  const result = incremental(withAddress, oldPort, newPort);
  setU16(bytes, place, result === 0 && protocol === UDP ? 0xffff : result);
}

/** A checksum after words have been replaced (RFC 1624). */
export function incremental(sum: number, old: Uint8Array, bytes: Uint8Array): number {
  let result = ~sum & 0xffff;
  for (let i = 0; i < bytes.length; i += 2) result += (~u16(old, i) & 0xffff) + u16(bytes, i);
  while (result > 0xffff) result = (result & 0xffff) + (result >>> 16);
  return ~result & 0xffff;
}
