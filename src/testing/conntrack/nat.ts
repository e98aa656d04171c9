import { IPS_DST_NAT, IPS_DST_NAT_DONE, IPS_SRC_NAT, IPS_SRC_NAT_DONE } from '../../linux/nf_conntrack_common.ts';
import { jhash } from '../hash.ts';
import type { Namespace } from '../machine/state.ts';
import type { Connection, Tuple } from './state.ts';
import { hasPorts, inverse, isIcmp, tupleKey } from './tuples.ts';

/* Which address and which port a translated connection gets (net/netfilter/nf_nat_core.c). */

/** NF_NAT_RANGE_ */
const PORTS = 2;
const RANDOM = 4 | 16;
const PERSISTENT = 8;
const OFFSET = 32;
const NETMAP = 64;
/** So many ports are tried one after the other. */
const TRIES = 128;
const FEWEST_TRIES = 16;

/** What a connection's source or destination is changed to: each within bounds. */
export interface Range {
  readonly flags: number;
  readonly addressMin: Uint8Array | undefined;
  readonly addressMax: Uint8Array | undefined;
  readonly portMin: number | undefined;
  readonly portMax: number | undefined;
  /** The port that is changed into the first one, where ports are moved by an offset. */
  readonly portBase?: number | undefined;
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

export const addressOf = (tuple: Tuple, manip: Manip): Uint8Array =>
  manip === 'source' ? tuple.source : tuple.destination;
/** The id of an ICMP message is its port, whichever end changes. */
export const portOf = (tuple: Tuple, protocol: number, manip: Manip): number =>
  manip === 'source' || isIcmp(protocol) ? tuple.sourcePort : tuple.destinationPort;

function withEnd(tuple: Tuple, protocol: number, manip: Manip, address: Uint8Array, port: number): Tuple {
  if (manip === 'source') return { ...tuple, source: address, sourcePort: port };
  return isIcmp(protocol)
    ? { ...tuple, destination: address, sourcePort: port }
    : { ...tuple, destination: address, destinationPort: port };
}

/** Whether another connection has these answers already. */
function isTaken({ conntrack }: Namespace, connection: Connection, tuple: Tuple): boolean {
  const known = conntrack.tuples.get(tupleKey(connection, inverse(connection.protocol, tuple)!, 1));
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
  const isFree = (tuple: Tuple) => !isTaken(namespace, connection, tuple);
  if (manip === 'source' && !isRandom) {
    if (isWithin(current, protocol, range, manip)) {
      if (isFree(current)) return current;
    } else {
      const before = sameSource(namespace, connection, current, range);
      if (before !== undefined && isFree(before)) return before;
    }
  }
  const address = chooseAddress(connection, current, range, manip);
  const tuple = withEnd(current, protocol, manip, address, portOf(current, protocol, manip));
  if (!isRandom) {
    if (hasRange(range)) {
      const isInside = (range.flags & OFFSET) === 0 && portIsWithin(tuple, protocol, range, manip);
      if (isInside && (range.portMin === range.portMax || isFree(tuple))) return tuple;
    } else if (isFree(tuple)) return tuple;
  }
  return choosePort(namespace, connection, tuple, range, manip);
}

const hasRange = ({ flags, portMin }: Range): boolean => (flags & PORTS) !== 0 && portMin !== undefined;

/** nf_nat_l4proto_unique_tuple */
function choosePort(namespace: Namespace, connection: Connection, tuple: Tuple, range: Range, manip: Manip): Tuple {
  const { protocol } = connection;
  if (!hasPorts(protocol) && !isIcmp(protocol)) return tuple;
  const port = portOf(tuple, protocol, manip);
  let min: number;
  let max: number;
  if (hasRange(range)) [min, max] = [range.portMin!, range.portMax!].sort((a, b) => a - b) as [number, number];
  else if (isIcmp(protocol)) [min, max] = [0, 65_535];
  // The destination's port is never changed without a range.
  else if (manip === 'destination') return tuple;
  else if (port < 512) [min, max] = [1, 511];
  else if (port < 1024) [min, max] = [600, 1023];
  else [min, max] = [1024, 65_535];
  const size = max - min + 1;
  const isRandom = manip === 'source' || (range.flags & RANDOM) !== 0;
  let first = isRandom ? Math.floor(Math.random() * 65_536) : 0;
  if ((range.flags & OFFSET) !== 0) first = (port - (range.portBase ?? 0)) & 0xffff;
  let next = tuple;
  for (let tries = Math.min(size, TRIES); ; tries >>= 1) {
    for (let i = 0; i < tries; i++) {
      next = withEnd(tuple, protocol, manip, addressOf(tuple, manip), min + ((first + i) % size));
      if (!isTaken(namespace, connection, next)) return next;
    }
    if (tries >= size || tries < FEWEST_TRIES) return next;
    first = Math.floor(Math.random() * 65_536);
  }
}

function isWithin(tuple: Tuple, protocol: number, range: Range, manip: Manip): boolean {
  const { addressMin, addressMax } = range;
  if (addressMin !== undefined) {
    const address = numberOf(addressOf(tuple, manip));
    if (address < numberOf(addressMin) || address > numberOf(addressMax!)) return false;
  }
  return !hasRange(range) || portIsWithin(tuple, protocol, range, manip);
}

function portIsWithin(tuple: Tuple, protocol: number, { portMin, portMax }: Range, manip: Manip): boolean {
  const port = portOf(tuple, protocol, manip);
  return port >= portMin! && port <= portMax!;
}

/** The translation that the same source has already (find_appropriate_src). */
function sameSource({ conntrack }: Namespace, connection: Connection, current: Tuple, range: Range): Tuple | undefined {
  for (const other of [...conntrack.connections].reverse()) {
    if ((other.status & IPS_SRC_NAT_DONE) === 0 || other.zone !== connection.zone) continue;
    if (other.protocol !== connection.protocol || other.family !== connection.family) continue;
    if (!equal(other.original.source, current.source) || other.original.sourcePort !== current.sourcePort) continue;
    const { source, sourcePort } = inverse(other.protocol, other.reply)!;
    const tuple = { ...current, source, sourcePort };
    if (isWithin(tuple, connection.protocol, range, 'source')) return tuple;
  }
  return undefined;
}

/** find_best_ips_proto: by a hash of the ends, so that a client has one address. */
function chooseAddress(
  { zone }: Connection,
  current: Tuple,
  { addressMin, addressMax, flags }: Range,
  manip: Manip,
): Uint8Array {
  const own = addressOf(current, manip);
  if (addressMin === undefined || addressMax === undefined) return own;
  if (equal(addressMin, addressMax)) return addressMin;
  if ((flags & NETMAP) !== 0) {
    const [min, max] = [numberOf(addressMin), numberOf(addressMax)];
    const mask = min ^ max;
    return bytesOf((min & ~mask) | (numberOf(own) & mask), own.length);
  }
  const isPersistent = (flags & PERSISTENT) !== 0;
  const last = own.length - 4;
  const words = new Uint8Array(16);
  words.set(current.source);
  let hash = jhash(words, isPersistent ? 0 : (viewOf(current.destination).getUint32(last, true) ^ zone) >>> 0);
  const chosen = new Uint8Array(own.length);
  const [min, max] = [viewOf(addressMin), viewOf(addressMax)];
  // Once a word is below that of the largest address, all words behind it are free.
  let isFree = false;
  for (let at = 0; at <= last; at += 4) {
    const least = isFree ? 0 : min.getUint32(at);
    const distance = isFree ? 0xffff_ffff : (max.getUint32(at) - least + 1) >>> 0;
    const word = (least + Number((BigInt(hash) * BigInt(distance)) >> 32n)) >>> 0;
    viewOf(chosen).setUint32(at, word);
    if (word !== max.getUint32(at)) isFree = true;
    if (!isPersistent) hash = (hash ^ viewOf(current.destination).getUint32(at, true)) >>> 0;
  }
  return chosen;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
