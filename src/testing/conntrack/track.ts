import { IPS_ASSURED, IPS_CONFIRMED, IPS_EXPECTED, IPS_SEEN_REPLY } from '../../linux/nf_conntrack_common.ts';
import { AF_INET } from '../../linux/socket.ts';
import { isSince, type Namespace } from '../machine/state.ts';
import { checksum, familyOf, type Packet, pseudoSum, u16 } from '../packets/packet.ts';
import { follow, takeExpected } from './expectations.ts';
import type { Kernel } from './kernel.ts';
import { EVENT, tell } from './messages.ts';
import { count, refresh, type Seen } from './refresh.ts';
import { settingOf, timeoutOf } from './settings.ts';
import { BOTH_DIRECTIONS, type Connection, NO_ZONE, type Tracked, type Tuple, type Zone } from './state.ts';
import { insert, isOver, makeRoom, newConnection, remove } from './table.ts';
import { areValid, type Effect, trackTcp } from './tcp.ts';
import {
  DCCP,
  findTuple,
  GRE,
  ICMP,
  ICMPV6,
  inverse,
  isSameAddress,
  SCTP,
  TCP,
  tupleOf,
  UDP,
  UDPLITE,
} from './tuples.ts';

/* What connection tracking says of packets (net/netfilter/nf_conntrack_core.c, nf_conntrack_in). */

/** A stream of UDP is one that is older than this. */
const STREAM_AFTER = 2000n;
const ICMP_REQUESTS: Record<number, readonly number[]> = { [ICMP]: [8, 13, 15, 17], [ICMPV6]: [128, 139] };
const ICMP_ERRORS: readonly number[] = [3, 4, 5, 11, 12];
const MOST_ICMP = 18;
/** Queries and reports of multicast, and the discovery of neighbours. */
const UNTRACKED_ICMPV6 = new Set([130, 131, 132, 133, 134, 135, 136, 143]);

/** 'dropped' where the table is full; undefined where the packet is invalid. */
export type Finding = Tracked | 'dropped' | 'untracked' | undefined;

/**
 * Finds the connection of a packet, or begins one.
 * @param checks whether checksums are looked at: at prerouting only
 */
export function track(kernel: Kernel, namespace: Namespace, packet: Packet, checks: boolean): Finding {
  const finding = find(kernel, namespace, packet, checks);
  if (finding === undefined) namespace.conntrack.statistics.invalid++;
  return finding;
}

function find(kernel: Kernel, namespace: Namespace, packet: Packet, checks: boolean): Finding {
  const { transport, transportProtocol: protocol, bytes, fragmentOffset } = packet;
  if (transport === undefined || protocol === undefined || fragmentOffset > 0) return undefined;
  const family = familyOf(packet);
  const isV4 = family === AF_INET;
  const sums = checks && settingOf(namespace, 'checksum') === 1;
  const zone: Zone = packet.zone ?? NO_ZONE;
  if (protocol === ICMP || protocol === ICMPV6) {
    if (transport + 8 > bytes.length || (sums && !isSummed(packet, protocol, transport))) return undefined;
    const type = bytes[transport]!;
    if (protocol === ICMP && type > MOST_ICMP) return undefined;
    if (protocol === ICMPV6 && UNTRACKED_ICMPV6.has(type)) return 'untracked';
    if (protocol === ICMP ? ICMP_ERRORS.includes(type) : type < 128)
      return related(namespace, packet, protocol === ICMP, transport, zone);
  }
  const tuple = tupleOf(bytes, 0, isV4, protocol, transport);
  if (tuple === undefined) return undefined;
  for (;;) {
    const found = findLive(kernel, namespace, family, protocol, tuple, zone);
    const connection = found?.connection ?? begin(kernel, namespace, family, protocol, tuple, zone);
    if (connection === undefined || connection === 'full') return connection && 'dropped';
    const direction = found?.direction ?? 0;
    const wasAnswered = (connection.status & IPS_SEEN_REPLY) !== 0;
    const seen: Seen = { packet, direction, isConfirmed: (connection.status & IPS_CONFIRMED) !== 0, notes: [] };
    const effect = judge(kernel, namespace, connection, seen, sums);
    if (effect === 'invalid') return undefined;
    if (effect === 'again') {
      remove(kernel, namespace, connection);
      continue;
    }
    if (effect === 'ended') {
      count(connection, seen);
      remove(kernel, namespace, connection);
    }
    if (direction === 1 && !wasAnswered) {
      connection.status |= IPS_SEEN_REPLY;
      seen.notes.push(EVENT.reply);
    }
    for (const note of seen.notes) noteEvent(connection, note);
    const state =
      direction === 1 || wasAnswered ? 'established' : (connection.status & IPS_EXPECTED) !== 0 ? 'related' : 'new';
    return { connection, direction, state };
  }
}

function findLive(
  kernel: Kernel,
  namespace: Namespace,
  family: number,
  protocol: number,
  tuple: Tuple,
  zone: Zone,
): { connection: Connection; direction: 0 | 1 } | undefined {
  const found = findTuple(namespace.conntrack, family, protocol, tuple, zone);
  if (found === undefined || !isOver(kernel, namespace, found.connection)) return found;
  remove(kernel, namespace, found.connection);
  return undefined;
}

function begin(
  kernel: Kernel,
  namespace: Namespace,
  family: number,
  protocol: number,
  tuple: Tuple,
  zone: Zone,
): Connection | undefined | 'full' {
  const reply = inverse(protocol, tuple);
  if (reply === undefined) return undefined;
  if (!makeRoom(kernel, namespace)) return 'full';
  const connection = newConnection(kernel, namespace, family, protocol, tuple, reply, zone);
  const expected = takeExpected(kernel, namespace, connection);
  if (expected !== undefined) {
    connection.status |= IPS_EXPECTED;
    connection.master = expected.master;
    connection.helper = expected.helper;
    connection.mark = expected.master.mark;
    namespace.conntrack.statistics.expectNew++;
    follow(kernel, namespace, connection, expected);
  }
  return connection;
}

/** Remembers what there is to tell of a connection until a packet of it has come through. */
export function noteEvent(connection: Connection, event: number): void {
  if (connection.events !== undefined) connection.events |= event;
}

/** What a packet does to its connection (nf_conntrack_handle_packet). */
function judge(kernel: Kernel, namespace: Namespace, connection: Connection, seen: Seen, sums: boolean): Effect {
  const { protocol } = connection;
  const { packet } = seen;
  const { bytes } = packet;
  const transport = packet.transport!;
  const length = bytes.length - transport;
  const keep = (timeout: string): Effect => {
    refresh(kernel, connection, seen, timeoutOf(namespace, timeout));
    return 'accepted';
  };
  switch (protocol) {
    case TCP: {
      const header = (bytes[transport + 12]! >> 4) * 4;
      if (length < 20 || header < 20 || header > length) return 'invalid';
      if (sums && !isSummed(packet, protocol, transport)) return 'invalid';
      return areValid(bytes[transport + 13]!) ? trackTcp(kernel, namespace, connection, seen) : 'invalid';
    }
    case UDP:
    case UDPLITE: {
      if (!isDatagram(packet, protocol, transport, sums)) return 'invalid';
      return trackUdp(kernel, namespace, connection, seen);
    }
    case ICMP:
    case ICMPV6:
      if (!ICMP_REQUESTS[protocol]!.includes(connection.original.destinationPort >> 8)) return 'invalid';
      return keep(protocol === ICMP ? 'icmp_timeout' : 'icmpv6_timeout');
    case GRE:
      if ((connection.status & IPS_SEEN_REPLY) === 0) return keep('gre_timeout');
      assure(connection, seen);
      return keep('gre_timeout_stream');
    case DCCP:
      // Since Linux 6.16 it is a protocol like others.
      if (!isSince(kernel.release, [6, 16])) kernel.notModelled('connections of DCCP before Linux 6.16');
      return keep('generic_timeout');
    case SCTP:
      return kernel.notModelled('connections of SCTP: their chunks are not followed');
    default:
      return keep('generic_timeout');
  }
}

function trackUdp(kernel: Kernel, namespace: Namespace, connection: Connection, seen: Seen): Effect {
  if (!seen.isConfirmed) connection.streamAfter = kernel.now + STREAM_AFTER;
  const isStream = (connection.status & IPS_SEEN_REPLY) !== 0 && kernel.now > connection.streamAfter;
  refresh(kernel, connection, seen, timeoutOf(namespace, isStream ? 'udp_timeout_stream' : 'udp_timeout'));
  if (isStream) assure(connection, seen);
  return 'accepted';
}

function assure(connection: Connection, seen: Seen): void {
  if ((connection.status & IPS_ASSURED) !== 0) return;
  connection.status |= IPS_ASSURED;
  seen.notes.push(EVENT.assured);
}

/** Of UDP-Lite, the field of the length says how much the checksum covers; a checksum it must have. */
function isDatagram(packet: Packet, protocol: number, transport: number, sums: boolean): boolean {
  const { bytes } = packet;
  const length = bytes.length - transport;
  if (length < 8) return false;
  const field = u16(bytes, transport + 4);
  const sum = u16(bytes, transport + 6);
  if (protocol === UDP) {
    if (field > length || field < 8) return false;
    return sum === 0 || !sums || isSummed(packet, protocol, transport);
  }
  const covered = field === 0 ? length : field;
  if (covered < 8 || covered > length || sum === 0) return false;
  return !sums || isSummed(packet, protocol, transport, covered, length);
}

function isSummed(
  packet: Packet,
  protocol: number,
  transport: number,
  covered = packet.bytes.length - transport,
  length = covered,
): boolean {
  const begun = protocol === ICMP ? 0 : pseudoSum(packet, protocol, length);
  return checksum(packet.bytes, transport, transport + covered, begun) === 0;
}

const EXTENSIONS = new Set([0, 43, 60]);

/** An ICMP error belongs to the connection whose packet it quotes; it begins none (nf_conntrack_inet_error). */
function related(
  { conntrack }: Namespace,
  { bytes }: Packet,
  isV4: boolean,
  transport: number,
  zone: Zone,
): Tracked | undefined {
  const quoted = transport + 8;
  if (bytes.length < quoted + (isV4 ? 20 : 40)) return undefined;
  if (isV4 && (u16(bytes, quoted + 6) & 0x1fff) !== 0) return undefined;
  let inner = bytes[quoted + (isV4 ? 9 : 6)]!;
  let at = quoted + (isV4 ? (bytes[quoted]! & 15) * 4 : 40);
  while (!isV4 && EXTENSIONS.has(inner) && at + 8 <= bytes.length) {
    inner = bytes[at]!;
    at += (bytes[at + 1]! + 1) * 8;
  }
  const tuple = tupleOf(bytes, quoted, isV4, inner, at);
  const turned = tuple && inverse(inner, tuple);
  if (turned === undefined) return undefined;
  const found = findTuple(conntrack, isV4 ? AF_INET : 10, inner, turned, zone);
  if (found === undefined) return undefined;
  const { connection, direction } = found;
  const own = direction === 0 ? connection.original : connection.reply;
  const [start, length] = isV4 ? [16, 4] : [24, 16];
  // The error goes to the sender of the quoted packet.
  if (!isSameAddress(own.destination, bytes.subarray(start, start + length))) return undefined;
  return { connection, direction, state: 'related' };
}

/** Puts a new connection into the table when its first packet has come through, and tells of it (nf_confirm). @returns whether there was room */
export function confirm(kernel: Kernel, namespace: Namespace, { connection }: Tracked): boolean {
  const { statistics } = namespace.conntrack;
  if ((connection.status & IPS_CONFIRMED) === 0) {
    if (!insert(namespace, connection)) {
      statistics.insertFailed++;
      statistics.drop++;
      return false;
    }
    connection.expires = kernel.now + connection.timeout;
    if (connection.started !== undefined) connection.started = kernel.wallClock;
    if (connection.helper !== undefined) noteEvent(connection, EVENT.helper);
    noteEvent(connection, connection.master === undefined ? EVENT.new : EVENT.related);
  }
  if (!namespace.conntrack.connections.has(connection)) return true;
  const events = connection.events ?? 0;
  if (connection.events !== undefined) connection.events = 0;
  tell(kernel, namespace, connection, events);
  return true;
}
