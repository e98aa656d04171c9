import type { Namespace } from '../machine/state.ts';
import { checksum, type Packet, pseudoSum, u16 } from '../packets/packet.ts';
import {
  type Connection,
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_EXPECTED,
  IPS_SEEN_REPLY,
  type Tracked,
  type Tuple,
  tupleKey,
} from './state.ts';
import {
  areValid,
  CLOSE,
  ESTABLISHED,
  IGNORE,
  INVALID,
  NONE,
  nextState,
  TCP_TIMEOUTS,
  TIME_WAIT,
  UNACKNOWLEDGED,
} from './tcp.ts';

const TCP = 6;
const UDP = 17;
const UDPLITE = 136;
const ICMP = 1;
const ICMPV6 = 58;
const AF_INET = 2;
const SECOND = 1000n;
const UDP_TIMEOUT = 30n * SECOND;
const UDP_STREAM = 120n * SECOND;
const ICMP_TIMEOUT = 30n * SECOND;
const GENERIC = 600n * SECOND;
/** A stream of UDP is one that is older than this. */
const STREAM_AFTER = 2n * SECOND;
/** Types of ICMP requests and the types of their answers. */
const ANSWERS: Record<number, Record<number, number>> = {
  [ICMP]: { 8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17 },
  [ICMPV6]: { 128: 129, 129: 128, 139: 140, 140: 139 },
};
const ICMP_REQUESTS: Record<number, readonly number[]> = { [ICMP]: [8, 13, 15, 17], [ICMPV6]: [128, 139] };
const ICMP_ERRORS: Record<number, readonly number[]> = { [ICMP]: [3, 4, 5, 11, 12], [ICMPV6]: [1, 2, 3, 4] };

const familyOf = (packet: Packet): number => (packet.protocol === 0x0800 ? AF_INET : 10);

/** The tuple of a packet, or of the packet that an ICMP error quotes; undefined where it has none. */
export function tupleOf(bytes: Uint8Array, isV4: boolean, protocol: number, transport: number): Tuple | undefined {
  const [start, length] = isV4 ? [12, 4] : [8, 16];
  const source = bytes.slice(start, start + length);
  const destination = bytes.slice(start + length, start + 2 * length);
  if (protocol === TCP || protocol === UDP || protocol === UDPLITE || protocol === 132 || protocol === 33) {
    if (transport + 4 > bytes.length) return undefined;
    return { source, destination, sourcePort: u16(bytes, transport), destinationPort: u16(bytes, transport + 2) };
  }
  if (protocol === ICMP || protocol === ICMPV6) {
    if (transport + 8 > bytes.length) return undefined;
    return { source, destination, sourcePort: u16(bytes, transport + 4), destinationPort: u16(bytes, transport) };
  }
  return { source, destination, sourcePort: 0, destinationPort: 0 };
}

/** The tuple of the answers; undefined where nothing answers. */
export function inverse(protocol: number, tuple: Tuple): Tuple | undefined {
  const { source, destination } = tuple;
  if (protocol !== ICMP && protocol !== ICMPV6)
    return {
      source: destination,
      destination: source,
      sourcePort: tuple.destinationPort,
      destinationPort: tuple.sourcePort,
    };
  const answer = ANSWERS[protocol]![tuple.destinationPort >> 8];
  if (answer === undefined) return undefined;
  return {
    source: destination,
    destination: source,
    sourcePort: tuple.sourcePort,
    destinationPort: (answer << 8) | (tuple.destinationPort & 0xff),
  };
}

/** Takes entries out whose time is over. */
export function expire({ conntrack }: Namespace, now: bigint): void {
  for (const connection of conntrack.connections) if (connection.expires <= now) remove(conntrack, connection);
}

export function remove(conntrack: Namespace['conntrack'], connection: Connection): void {
  const { family, protocol, zone, original, reply } = connection;
  conntrack.connections.delete(connection);
  for (const tuple of [original, reply]) conntrack.tuples.delete(tupleKey(family, protocol, zone, tuple));
}

/**
 * Finds the connection of a packet, or begins one (nf_conntrack_in). @returns undefined where the packet is invalid
 * @param checks whether checksums are looked at: at prerouting only
 */
export function track(namespace: Namespace, packet: Packet, now: bigint, checks: boolean): Tracked | undefined {
  const { transport, transportProtocol: protocol, bytes } = packet;
  if (transport === undefined || protocol === undefined || packet.fragmentOffset > 0) return undefined;
  const family = familyOf(packet);
  if (!isSound(packet, protocol, transport, checks)) return undefined;
  if (ICMP_ERRORS[protocol]?.includes(bytes[transport]!)) return related(namespace, packet, protocol, transport);
  const tuple = tupleOf(bytes, family === AF_INET, protocol, transport);
  if (tuple === undefined) return undefined;
  const { conntrack } = namespace;
  const key = tupleKey(family, protocol, 0, tuple);
  const known = conntrack.tuples.get(key);
  if (known !== undefined && known.connection.expires <= now) remove(conntrack, known.connection);
  const found = conntrack.tuples.get(key);
  if (found === undefined) return begin(namespace, packet, family, protocol, tuple, now);
  const { connection, direction } = found;
  const wasAnswered = (connection.status & IPS_SEEN_REPLY) !== 0;
  const accepted = advance(connection, direction, packet, now);
  if (accepted === 'again') {
    remove(conntrack, connection);
    return begin(namespace, packet, family, protocol, tuple, now);
  }
  if (!accepted) return undefined;
  count(connection, direction, packet);
  if (direction === 1) {
    connection.status |= IPS_SEEN_REPLY;
    return { connection, direction, state: 'established' };
  }
  const state = wasAnswered ? 'established' : (connection.status & IPS_EXPECTED) !== 0 ? 'related' : 'new';
  return { connection, direction, state };
}

function begin(
  namespace: Namespace,
  packet: Packet,
  family: number,
  protocol: number,
  tuple: Tuple,
  now: bigint,
): Tracked | undefined {
  const reply = inverse(protocol, tuple);
  if (reply === undefined) return undefined;
  const { conntrack } = namespace;
  if ((protocol === ICMP || protocol === ICMPV6) && !ICMP_REQUESTS[protocol]!.includes(tuple.destinationPort >> 8))
    return undefined;
  const connection: Connection = {
    id: ++conntrack.lastId,
    family,
    protocol,
    zone: 0,
    original: tuple,
    reply,
    status: 0,
    mark: 0,
    expires: now,
    timeout: GENERIC,
    tcp: NONE,
    started: now,
    counters: [
      { packets: 0n, bytes: 0n },
      { packets: 0n, bytes: 0n },
    ],
    master: undefined,
  };
  if (advance(connection, 0, packet, now) !== true) return undefined;
  count(connection, 0, packet);
  return { connection, direction: 0, state: 'new' };
}

function count({ counters }: Connection, direction: 0 | 1, { bytes }: Packet): void {
  const counter = counters[direction]!;
  counter.packets++;
  counter.bytes += BigInt(bytes.length);
}

function isSound({ bytes, protocol: ether }: Packet, protocol: number, transport: number, checks: boolean): boolean {
  const length = bytes.length - transport;
  const packet = { bytes, protocol: ether } as Packet;
  if (protocol === TCP) {
    if (length < 20 || (bytes[transport + 12]! >> 4) * 4 > length || bytes[transport + 12]! >> 4 < 5) return false;
    if (!areValid(bytes[transport + 13]!)) return false;
  } else if (protocol === UDP) {
    if (length < 8 || u16(bytes, transport + 4) > length || u16(bytes, transport + 4) < 8) return false;
    if (u16(bytes, transport + 6) === 0) return true;
  } else if (protocol === ICMP) {
    if (length < 8 || bytes[transport]! > 18) return false;
    return !checks || checksum(bytes, transport, bytes.length) === 0;
  } else if (protocol !== ICMPV6) return true;
  if (!checks) return true;
  const summed = protocol === UDP ? u16(bytes, transport + 4) : length;
  return checksum(bytes, transport, transport + summed, pseudoSum(packet, protocol, summed)) === 0;
}

/** What a packet does to its connection. @returns false where it is not part of it; 'again' where a new one begins */
function advance(connection: Connection, direction: 0 | 1, packet: Packet, now: bigint): boolean | 'again' {
  const { protocol } = connection;
  const { bytes, transport } = packet;
  if (protocol === TCP) {
    const flags = bytes[transport! + 13]!;
    const before = connection.tcp;
    const next = nextState(direction, flags, before);
    if (next === INVALID) return false;
    const isSyn = (flags & 0x17) === 2;
    if (isSyn && direction === 0 && (before === TIME_WAIT || before === CLOSE)) return 'again';
    if (next === IGNORE) return true;
    connection.tcp = next;
    const answered = direction === 1 || (connection.status & IPS_SEEN_REPLY) !== 0;
    if (before === NONE && next === ESTABLISHED) setTimeout(connection, BigInt(UNACKNOWLEDGED) * SECOND, now);
    else if (next === ESTABLISHED && !answered) setTimeout(connection, BigInt(UNACKNOWLEDGED) * SECOND, now);
    else setTimeout(connection, BigInt(TCP_TIMEOUTS[next]!) * SECOND, now);
    if (next === ESTABLISHED && answered) connection.status |= IPS_ASSURED;
    return true;
  }
  if (protocol === UDP || protocol === UDPLITE) {
    const answered = direction === 1 || (connection.status & IPS_SEEN_REPLY) !== 0;
    const isStream = answered && now - connection.started > STREAM_AFTER;
    if (isStream) connection.status |= IPS_ASSURED;
    setTimeout(connection, isStream ? UDP_STREAM : UDP_TIMEOUT, now);
    return true;
  }
  setTimeout(connection, protocol === ICMP || protocol === ICMPV6 ? ICMP_TIMEOUT : GENERIC, now);
  return true;
}

function setTimeout(connection: Connection, timeout: bigint, now: bigint): void {
  connection.timeout = timeout;
  connection.expires = now + timeout;
}

/** An ICMP error belongs to the connection whose packet it quotes; it begins none. */
function related({ conntrack }: Namespace, packet: Packet, protocol: number, transport: number): Tracked | undefined {
  const { bytes } = packet;
  const quoted = bytes.subarray(transport + 8);
  const isV4 = protocol === ICMP;
  const header = isV4 ? (quoted[0]! & 15) * 4 : 40;
  if (quoted.length < header + 8) return undefined;
  const inner = quoted[isV4 ? 9 : 6]!;
  const tuple = tupleOf(quoted, isV4, inner, header);
  const turned = tuple && inverse(inner, tuple);
  if (turned === undefined) return undefined;
  const found = conntrack.tuples.get(tupleKey(isV4 ? AF_INET : 10, inner, 0, turned));
  if (found === undefined) return undefined;
  const { connection, direction } = found;
  const own = direction === 0 ? connection.original : connection.reply;
  const start = isV4 ? 16 : 24;
  // The error goes to whoever has sent the quoted packet.
  if (
    !own.destination.every((byte, i) => byte === bytes[start + i]) &&
    !own.source.every((byte, i) => byte === bytes[start + i])
  )
    return undefined;
  return { connection, direction, state: 'related' };
}

/** Puts a new connection into the table when its first packet has come through (nf_confirm). @returns whether there was room */
export function confirm({ conntrack }: Namespace, { connection }: Tracked, now: bigint): boolean {
  if ((connection.status & IPS_CONFIRMED) !== 0) return true;
  const { family, protocol, zone, original, reply } = connection;
  const keys = [original, reply].map(tuple => tupleKey(family, protocol, zone, tuple));
  if (keys.some(key => conntrack.tuples.has(key))) return false;
  connection.status |= IPS_CONFIRMED;
  connection.expires = now + connection.timeout;
  conntrack.connections.add(connection);
  conntrack.tuples.set(keys[0]!, { connection, direction: 0 });
  conntrack.tuples.set(keys[1]!, { connection, direction: 1 });
  return true;
}
