import { NETLINK_NETFILTER, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_MULTI } from '../../linux/netlink.ts';
import {
  NFNL_SUBSYS_CTNETLINK,
  NFNLGRP_CONNTRACK_DESTROY,
  NFNLGRP_CONNTRACK_NEW,
  NFNLGRP_CONNTRACK_UPDATE,
} from '../../linux/nfnetlink.ts';
import * as Ct from '../../linux/nfnetlink_conntrack.ts';
import type { Machine } from '../machine/machine.ts';
import { packed, type Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import type { Namespace } from '../machine/state.ts';
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, refuse } from '../refusal.ts';
import { Attributes, Writer } from '../wire/attributes.ts';
import { type Connection, IPS_CONFIRMED, IPS_DYING, type Tuple, tupleKey } from './state.ts';
import { remove } from './track.ts';

/* ctnetlink: the table of connections over nfnetlink (net/netfilter/nf_conntrack_netlink.c). */

/** nlmsghdr and nfgenmsg. */
const HEADERS = 20;
const AF_INET = 2;
const ICMP = 1;
const ICMPV6 = 58;
const TCP = 6;
const WITH_PORTS = new Set([6, 17, 33, 132, 136]);
/** NLM_F_DUMP_FILTERED: the kernel has looked at the family. */
const FILTERED = 0x20;
/** IPS_UNCHANGEABLE_MASK of what a program may not take away or give. */
const FIXED = 0x1d | 0x3f0;
const MAX_CONNECTIONS = 262_144;

export function answer(machine: Machine, socket: MemorySocket, request: Request): void {
  if (request.bytes.length < HEADERS) refuse(EINVAL);
  const namespace = machine.namespace(socket.namespace);
  const kind = request.type & 0xff;
  const attributes = new Attributes(request.bytes, HEADERS, request.bytes.length);
  const family = request.bytes[16]!;
  const isDump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP;
  switch (kind) {
    case Ct.IPCTNL_MSG_CT_GET:
    case Ct.IPCTNL_MSG_CT_GET_CTRZERO: {
      const zeroes = kind === Ct.IPCTNL_MSG_CT_GET_CTRZERO;
      if (isDump) {
        if (!socket.start(packed(dump(machine, namespace, request, attributes, family, zeroes), request))) refuse(-16);
        return;
      }
      const connection = find(namespace, attributes, family) ?? refuse(ENOENT);
      socket.deliver(message(machine, namespace, request, connection, NLM_F_MULTI));
      if (zeroes) zero(connection);
      return;
    }
    case Ct.IPCTNL_MSG_CT_DELETE:
      deleteConnections(machine, namespace, request, attributes, family);
      return;
    case Ct.IPCTNL_MSG_CT_NEW:
      change(machine, namespace, request, attributes, family);
      return;
    case Ct.IPCTNL_MSG_CT_GET_STATS: {
      const writer = new Writer();
      writer.message({ type: request.type, flags: 0, sequence: request.sequence, port: request.port }, () => {
        writer.raw(Uint8Array.of(0, 0, 0, 0));
        writer.u32be(Ct.CTA_STATS_GLOBAL_ENTRIES, namespace.conntrack.connections.size);
        writer.u32be(Ct.CTA_STATS_GLOBAL_MAX_ENTRIES, MAX_CONNECTIONS);
      });
      socket.deliver(writer.take());
      return;
    }
    default:
      refuse(EOPNOTSUPP);
  }
}

/** A tuple in a message. */
function readTuple(
  attributes: Attributes,
  type: number,
  family: number,
): { tuple: Tuple; protocol: number; zone: number } | undefined {
  const inside = attributes.nested(type);
  if (inside === undefined) return undefined;
  const addresses = inside.nested(Ct.CTA_TUPLE_IP) ?? refuse(EINVAL);
  const isV4 = family === AF_INET;
  const source = addresses.get(isV4 ? Ct.CTA_IP_V4_SRC : Ct.CTA_IP_V6_SRC)?.bytes.slice();
  const destination = addresses.get(isV4 ? Ct.CTA_IP_V4_DST : Ct.CTA_IP_V6_DST)?.bytes.slice();
  const ports = inside.nested(Ct.CTA_TUPLE_PROTO) ?? refuse(EINVAL);
  const protocol = ports.u8(Ct.CTA_PROTO_NUM);
  if (source === undefined || destination === undefined || protocol === undefined) return refuse(EINVAL);
  const zone = inside.u16be(Ct.CTA_TUPLE_ZONE) ?? attributes.u16be(Ct.CTA_ZONE) ?? 0;
  if (protocol === ICMP || protocol === ICMPV6) {
    const [idType, kindType, codeType] =
      protocol === ICMP
        ? [Ct.CTA_PROTO_ICMP_ID, Ct.CTA_PROTO_ICMP_TYPE, Ct.CTA_PROTO_ICMP_CODE]
        : [Ct.CTA_PROTO_ICMPV6_ID, Ct.CTA_PROTO_ICMPV6_TYPE, Ct.CTA_PROTO_ICMPV6_CODE];
    const [id, kind, code] = [ports.u16be(idType), ports.u8(kindType), ports.u8(codeType)];
    if (id === undefined || kind === undefined || code === undefined) return refuse(EINVAL);
    return { tuple: { source, destination, sourcePort: id, destinationPort: (kind << 8) | code }, protocol, zone };
  }
  const sourcePort = ports.u16be(Ct.CTA_PROTO_SRC_PORT);
  const destinationPort = ports.u16be(Ct.CTA_PROTO_DST_PORT);
  if (WITH_PORTS.has(protocol) && (sourcePort === undefined || destinationPort === undefined)) return refuse(EINVAL);
  return {
    tuple: { source, destination, sourcePort: sourcePort ?? 0, destinationPort: destinationPort ?? 0 },
    protocol,
    zone,
  };
}

function find({ conntrack }: Namespace, attributes: Attributes, family: number): Connection | undefined {
  const named = readTuple(attributes, Ct.CTA_TUPLE_ORIG, family) ?? readTuple(attributes, Ct.CTA_TUPLE_REPLY, family);
  if (named === undefined) return refuse(EINVAL);
  return conntrack.tuples.get(tupleKey(family, named.protocol, named.zone, named.tuple))?.connection;
}

function* dump(
  machine: Machine,
  namespace: Namespace,
  request: Request,
  attributes: Attributes,
  family: number,
  zeroes: boolean,
): Generator<Uint8Array> {
  if (attributes.has(Ct.CTA_FILTER)) machine.notModelled('filters of tuples in a dump of connections');
  const wants = filterOf(attributes, family);
  for (const connection of namespace.conntrack.connections) {
    if (connection.expires <= machine.state.now || !wants(connection)) continue;
    yield message(machine, namespace, request, connection, NLM_F_MULTI | (family === 0 ? 0 : FILTERED));
    if (zeroes) zero(connection);
  }
}

function filterOf(attributes: Attributes, family: number): (connection: Connection) => boolean {
  const mark = attributes.u32be(Ct.CTA_MARK);
  const mask = attributes.u32be(Ct.CTA_MARK_MASK) ?? 0xffff_ffff;
  const status = attributes.u32be(Ct.CTA_STATUS);
  const statusMask = attributes.u32be(Ct.CTA_STATUS_MASK) ?? status ?? 0;
  const zone = attributes.u16be(Ct.CTA_ZONE);
  return connection =>
    (family === 0 || connection.family === family) &&
    (mark === undefined || ((connection.mark ^ mark) & mask) === 0) &&
    (status === undefined || ((connection.status ^ status) & statusMask) === 0) &&
    (zone === undefined || connection.zone === zone);
}

function zero({ counters }: Connection): void {
  for (const counter of counters) Object.assign(counter, { packets: 0n, bytes: 0n });
}

function deleteConnections(
  machine: Machine,
  namespace: Namespace,
  request: Request,
  attributes: Attributes,
  family: number,
): void {
  const { conntrack } = namespace;
  const isNamed = attributes.has(Ct.CTA_TUPLE_ORIG) || attributes.has(Ct.CTA_TUPLE_REPLY);
  const end = (connection: Connection) => {
    remove(conntrack, connection);
    tell(machine, namespace, 'destroy', connection, request.port);
  };
  if (!isNamed) {
    const wants = filterOf(attributes, family);
    for (const connection of [...conntrack.connections]) if (wants(connection)) end(connection);
    return;
  }
  const connection = find(namespace, attributes, family) ?? refuse(ENOENT);
  const id = attributes.u32be(Ct.CTA_ID);
  if (id !== undefined && id !== connection.id) refuse(ENOENT);
  end(connection);
}

/** Creates a connection, or changes what may be changed of one. */
function change(
  machine: Machine,
  namespace: Namespace,
  request: Request,
  attributes: Attributes,
  family: number,
): void {
  const { conntrack } = namespace;
  const named =
    readTuple(attributes, Ct.CTA_TUPLE_ORIG, family) ??
    readTuple(attributes, Ct.CTA_TUPLE_REPLY, family) ??
    refuse(EINVAL);
  const { tuple, protocol, zone } = named;
  const existing = conntrack.tuples.get(tupleKey(family, protocol, zone, tuple))?.connection;
  const { now } = machine.state;
  const timeout = attributes.u32be(Ct.CTA_TIMEOUT);
  if (existing === undefined) {
    if ((request.flags & NLM_F_CREATE) === 0) refuse(ENOENT);
    const reply = readTuple(attributes, Ct.CTA_TUPLE_REPLY, family) ?? refuse(EINVAL);
    const original = readTuple(attributes, Ct.CTA_TUPLE_ORIG, family) ?? refuse(EINVAL);
    const milliseconds = BigInt(timeout ?? refuse(EINVAL)) * 1000n;
    const connection: Connection = {
      id: ++conntrack.lastId,
      family,
      protocol,
      zone,
      original: original.tuple,
      reply: reply.tuple,
      status: ((attributes.u32be(Ct.CTA_STATUS) ?? 0) & ~FIXED) | IPS_CONFIRMED,
      mark: attributes.u32be(Ct.CTA_MARK) ?? 0,
      expires: now + milliseconds,
      timeout: milliseconds,
      tcp: attributes.nested(Ct.CTA_PROTOINFO)?.nested(Ct.CTA_PROTOINFO_TCP)?.u8(Ct.CTA_PROTOINFO_TCP_STATE) ?? 0,
      started: now,
      counters: [
        { packets: 0n, bytes: 0n },
        { packets: 0n, bytes: 0n },
      ],
      master: undefined,
    };
    conntrack.connections.add(connection);
    conntrack.tuples.set(tupleKey(family, protocol, zone, connection.original), { connection, direction: 0 });
    conntrack.tuples.set(tupleKey(family, protocol, zone, connection.reply), { connection, direction: 1 });
    tell(machine, namespace, 'new', connection, request.port);
    return;
  }
  if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST);
  if (timeout !== undefined) {
    existing.timeout = BigInt(timeout) * 1000n;
    existing.expires = now + existing.timeout;
  }
  const mark = attributes.u32be(Ct.CTA_MARK);
  if (mark !== undefined) {
    const mask = attributes.u32be(Ct.CTA_MARK_MASK) ?? 0;
    existing.mark = ((existing.mark & mask) ^ mark) >>> 0;
  }
  const status = attributes.u32be(Ct.CTA_STATUS);
  if (status !== undefined) existing.status |= status & ~FIXED;
  existing.tcp =
    attributes.nested(Ct.CTA_PROTOINFO)?.nested(Ct.CTA_PROTOINFO_TCP)?.u8(Ct.CTA_PROTOINFO_TCP_STATE) ?? existing.tcp;
  tell(machine, namespace, 'update', existing, request.port);
}

function writeTuple(writer: Writer, type: number, tuple: Tuple, { family, protocol }: Connection): void {
  writer.nest(type, () => {
    const isV4 = family === AF_INET;
    writer.nest(Ct.CTA_TUPLE_IP, () => {
      writer.attribute(isV4 ? Ct.CTA_IP_V4_SRC : Ct.CTA_IP_V6_SRC, tuple.source);
      writer.attribute(isV4 ? Ct.CTA_IP_V4_DST : Ct.CTA_IP_V6_DST, tuple.destination);
    });
    writer.nest(Ct.CTA_TUPLE_PROTO, () => {
      writer.u8(Ct.CTA_PROTO_NUM, protocol);
      if (protocol === ICMP) {
        writer.u16be(Ct.CTA_PROTO_ICMP_ID, tuple.sourcePort);
        writer.u8(Ct.CTA_PROTO_ICMP_TYPE, tuple.destinationPort >> 8);
        writer.u8(Ct.CTA_PROTO_ICMP_CODE, tuple.destinationPort & 255);
      } else if (protocol === ICMPV6) {
        writer.u16be(Ct.CTA_PROTO_ICMPV6_ID, tuple.sourcePort);
        writer.u8(Ct.CTA_PROTO_ICMPV6_TYPE, tuple.destinationPort >> 8);
        writer.u8(Ct.CTA_PROTO_ICMPV6_CODE, tuple.destinationPort & 255);
      } else if (WITH_PORTS.has(protocol)) {
        writer.u16be(Ct.CTA_PROTO_SRC_PORT, tuple.sourcePort);
        writer.u16be(Ct.CTA_PROTO_DST_PORT, tuple.destinationPort);
      }
    });
  });
}

function writeProtocol(writer: Writer, { protocol, tcp }: Connection): void {
  if (protocol !== TCP) return;
  writer.nest(Ct.CTA_PROTOINFO, () =>
    writer.nest(Ct.CTA_PROTOINFO_TCP, () => {
      writer.u8(Ct.CTA_PROTOINFO_TCP_STATE, tcp);
      writer.u8(Ct.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, 0);
      writer.u8(Ct.CTA_PROTOINFO_TCP_WSCALE_REPLY, 0);
      writer.attribute(Ct.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, new Uint8Array(2));
      writer.attribute(Ct.CTA_PROTOINFO_TCP_FLAGS_REPLY, new Uint8Array(2));
    }),
  );
}

function writeCounters(writer: Writer, namespace: Namespace, { counters }: Connection): void {
  if (namespace.sysctls.get('net/netfilter/nf_conntrack_acct') !== '1') return;
  for (const [i, type] of [Ct.CTA_COUNTERS_ORIG, Ct.CTA_COUNTERS_REPLY].entries())
    writer.nest(type, () => {
      writer.u64be(Ct.CTA_COUNTERS_PACKETS, counters[i]!.packets);
      writer.u64be(Ct.CTA_COUNTERS_BYTES, counters[i]!.bytes);
    });
}

const left = ({ expires }: Connection, now: bigint): number => Number((expires > now ? expires - now : 0n) / 1000n);

/** A connection as a dump tells it. */
function message(
  machine: Machine,
  namespace: Namespace,
  request: Request,
  connection: Connection,
  flags: number,
): Uint8Array {
  const writer = new Writer();
  const type = (NFNL_SUBSYS_CTNETLINK << 8) | Ct.IPCTNL_MSG_CT_NEW;
  writer.message({ type, flags, sequence: request.sequence, port: request.port }, () => {
    writer.raw(Uint8Array.of(connection.family, 0, 0, 0));
    writeTuple(writer, Ct.CTA_TUPLE_ORIG, connection.original, connection);
    writeTuple(writer, Ct.CTA_TUPLE_REPLY, connection.reply, connection);
    if (connection.zone !== 0) writer.u16be(Ct.CTA_ZONE, connection.zone);
    writer.u32be(Ct.CTA_STATUS, connection.status);
    writer.u32be(Ct.CTA_MARK, connection.mark);
    writer.u32be(Ct.CTA_ID, connection.id);
    writer.u32be(Ct.CTA_USE, 1);
    writer.u32be(Ct.CTA_TIMEOUT, left(connection, machine.state.now));
    writeCounters(writer, namespace, connection);
    writeProtocol(writer, connection);
  });
  return writer.take();
}

const GROUPS = { new: NFNLGRP_CONNTRACK_NEW, update: NFNLGRP_CONNTRACK_UPDATE, destroy: NFNLGRP_CONNTRACK_DESTROY };

/** Tells those that listen what has become of a connection. @param port of the program that did it; 0 where packets did */
export function tell(
  machine: Machine,
  namespace: Namespace,
  kind: keyof typeof GROUPS,
  connection: Connection,
  port = 0,
): void {
  const writer = new Writer();
  const type = (NFNL_SUBSYS_CTNETLINK << 8) | (kind === 'destroy' ? Ct.IPCTNL_MSG_CT_DELETE : Ct.IPCTNL_MSG_CT_NEW);
  const flags = kind === 'new' ? NLM_F_CREATE | NLM_F_EXCL : 0;
  const status = kind === 'destroy' ? connection.status | IPS_DYING : connection.status;
  writer.message({ type, flags, sequence: 0, port }, () => {
    writer.raw(Uint8Array.of(connection.family, 0, 0, 0));
    writeTuple(writer, Ct.CTA_TUPLE_ORIG, connection.original, connection);
    writeTuple(writer, Ct.CTA_TUPLE_REPLY, connection.reply, connection);
    if (connection.zone !== 0) writer.u16be(Ct.CTA_ZONE, connection.zone);
    writer.u32be(Ct.CTA_ID, connection.id);
    writer.u32be(Ct.CTA_STATUS, status);
    if (kind === 'destroy') writeCounters(writer, namespace, connection);
    else writer.u32be(Ct.CTA_TIMEOUT, left(connection, machine.state.now));
    writeProtocol(writer, connection);
    if (connection.mark !== 0) writer.u32be(Ct.CTA_MARK, connection.mark);
  });
  machine.multicast(namespace, NETLINK_NETFILTER, GROUPS[kind], writer.take());
}
