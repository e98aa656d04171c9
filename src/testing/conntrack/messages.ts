import { NLA_F_NESTED as NESTED, NETLINK_NETFILTER, NLM_F_CREATE, NLM_F_EXCL } from '../../linux/netlink.ts';
import { IPS_DYING } from '../../linux/nf_conntrack_common.ts';
import {
  NFNL_SUBSYS_CTNETLINK,
  NFNLGRP_CONNTRACK_DESTROY,
  NFNLGRP_CONNTRACK_NEW,
  NFNLGRP_CONNTRACK_UPDATE,
} from '../../linux/nfnetlink.ts';
import * as Ct from '../../linux/nfnetlink_conntrack.ts';
import { AF_INET } from '../../linux/socket.ts';
import type { MemorySocket } from '../machine/socket.ts';
import { isSince, type Namespace } from '../machine/state.ts';
import { Writer } from '../wire/attributes.ts';
import type { Kernel } from './kernel.ts';
import { settingOf } from './settings.ts';
import type { Connection, Tuple } from './state.ts';
import { GRE, hasPorts, ICMP, ICMPV6, SCTP, TCP } from './tuples.ts';

/* How ctnetlink tells connections, in dumps and in events (net/netfilter/nf_conntrack_netlink.c). */

/** IPCT_: what has become of a connection, as bits. */
export const EVENT = {
  new: 1,
  related: 2,
  destroy: 4,
  reply: 8,
  assured: 16,
  protocol: 32,
  helper: 64,
  mark: 128,
  adjustment: 256,
  label: 1024,
  synproxy: 2048,
} as const;

/** Who has asked for a change, and whether it wants to be told (NLM_F_ECHO). */
export interface Author {
  readonly socket: MemorySocket;
  readonly echo: boolean;
}

type Protocol = Pick<Connection, 'family' | 'protocol'>;

export function writeTuple(
  writer: Writer,
  type: number,
  tuple: Tuple,
  { family, protocol }: Protocol,
  zone: number | undefined,
): void {
  writer.nest(type | NESTED, () => {
    writeAddresses(writer, tuple, family);
    writePorts(writer, tuple, protocol);
    if (zone !== undefined) writer.u16be(Ct.CTA_TUPLE_ZONE, zone);
  });
}

export function writeAddresses(writer: Writer, { source, destination }: Tuple, family: number): void {
  const isV4 = family === AF_INET;
  writer.nest(Ct.CTA_TUPLE_IP | NESTED, () => {
    writer.attribute(isV4 ? Ct.CTA_IP_V4_SRC : Ct.CTA_IP_V6_SRC, source);
    writer.attribute(isV4 ? Ct.CTA_IP_V4_DST : Ct.CTA_IP_V6_DST, destination);
  });
}

function writePorts(writer: Writer, { sourcePort, destinationPort }: Tuple, protocol: number): void {
  writer.nest(Ct.CTA_TUPLE_PROTO | NESTED, () => {
    writer.u8(Ct.CTA_PROTO_NUM, protocol);
    if (protocol === ICMP) {
      writer.u16be(Ct.CTA_PROTO_ICMP_ID, sourcePort);
      writer.u8(Ct.CTA_PROTO_ICMP_TYPE, destinationPort >> 8);
      writer.u8(Ct.CTA_PROTO_ICMP_CODE, destinationPort & 255);
    } else if (protocol === ICMPV6) {
      writer.u16be(Ct.CTA_PROTO_ICMPV6_ID, sourcePort);
      writer.u8(Ct.CTA_PROTO_ICMPV6_TYPE, destinationPort >> 8);
      writer.u8(Ct.CTA_PROTO_ICMPV6_CODE, destinationPort & 255);
    } else if (hasPorts(protocol) || protocol === GRE) {
      writer.u16be(Ct.CTA_PROTO_SRC_PORT, sourcePort);
      writer.u16be(Ct.CTA_PROTO_DST_PORT, destinationPort);
    }
  });
}

function writeTuples(writer: Writer, connection: Connection): void {
  const { original, reply, zone, zoneDirections } = connection;
  const zoneOf = (bit: number) => (zone !== 0 && zoneDirections === bit ? zone : undefined);
  writeTuple(writer, Ct.CTA_TUPLE_ORIG, original, connection, zoneOf(1));
  writeTuple(writer, Ct.CTA_TUPLE_REPLY, reply, connection, zoneOf(2));
  if (zone !== 0 && zoneDirections === 3) writer.u16be(Ct.CTA_ZONE, zone);
}

function writeProtocol(writer: Writer, { protocol, tcp, sctp }: Connection, ended: boolean): void {
  if (protocol === SCTP)
    writer.nest(Ct.CTA_PROTOINFO | NESTED, () =>
      writer.nest(Ct.CTA_PROTOINFO_SCTP | NESTED, () => {
        writer.u8(Ct.CTA_PROTOINFO_SCTP_STATE, sctp.state);
        if (ended) return;
        writer.u32be(Ct.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, sctp.tags[0]);
        writer.u32be(Ct.CTA_PROTOINFO_SCTP_VTAG_REPLY, sctp.tags[1]);
      }),
    );
  if (protocol !== TCP) return;
  writer.nest(Ct.CTA_PROTOINFO | NESTED, () =>
    writer.nest(Ct.CTA_PROTOINFO_TCP | NESTED, () => {
      writer.u8(Ct.CTA_PROTOINFO_TCP_STATE, tcp.state);
      if (ended) return;
      writer.u8(Ct.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, tcp.ends[0].scale);
      writer.u8(Ct.CTA_PROTOINFO_TCP_WSCALE_REPLY, tcp.ends[1].scale);
      writer.attribute(Ct.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, Uint8Array.of(tcp.ends[0].flags, 0));
      writer.attribute(Ct.CTA_PROTOINFO_TCP_FLAGS_REPLY, Uint8Array.of(tcp.ends[1].flags, 0));
    }),
  );
}

function writeCounters(writer: Writer, { counters }: Connection): void {
  for (const [i, type] of [Ct.CTA_COUNTERS_ORIG, Ct.CTA_COUNTERS_REPLY].entries()) {
    const counter = counters?.[i];
    if (counter === undefined) return;
    writer.nest(type | NESTED, () => {
      writer.u64be(Ct.CTA_COUNTERS_PACKETS, counter.packets);
      writer.u64be(Ct.CTA_COUNTERS_BYTES, counter.bytes);
    });
  }
}

function writeTimes(writer: Writer, { started }: Connection, stopped: bigint | undefined): void {
  if (started === undefined) return;
  writer.nest(Ct.CTA_TIMESTAMP | NESTED, () => {
    writer.u64be(Ct.CTA_TIMESTAMP_START, started);
    if (stopped !== undefined) writer.u64be(Ct.CTA_TIMESTAMP_STOP, stopped);
  });
}

function writeMaster(writer: Writer, { master }: Connection): void {
  if (master === undefined) return;
  writeTuple(writer, Ct.CTA_TUPLE_MASTER, master.original, master, undefined);
}

function writeHelper(writer: Writer, { helper }: Connection): void {
  if (helper !== undefined) writer.nest(Ct.CTA_HELP | NESTED, () => writer.text(Ct.CTA_HELP_NAME, helper));
}

function writeLabels(writer: Writer, { labels }: Connection): void {
  if (labels?.some(byte => byte !== 0)) writer.attribute(Ct.CTA_LABELS, labels);
}

const SEQUENCES_ADJUSTED = 0x40;
function writeAdjustments(writer: Writer, { adjustments, status }: Connection): void {
  if (adjustments === undefined || (status & SEQUENCES_ADJUSTED) === 0) return;
  for (const [i, type] of [Ct.CTA_SEQ_ADJ_ORIG, Ct.CTA_SEQ_ADJ_REPLY].entries())
    writer.nest(type | NESTED, () => {
      const [position, before, after] = adjustments[i]!;
      writer.u32be(Ct.CTA_SEQADJ_CORRECTION_POS, position);
      writer.u32be(Ct.CTA_SEQADJ_OFFSET_BEFORE, before);
      writer.u32be(Ct.CTA_SEQADJ_OFFSET_AFTER, after);
    });
}

function writeProxy(writer: Writer, { synproxy }: Connection): void {
  if (synproxy === undefined) return;
  writer.nest(Ct.CTA_SYNPROXY | NESTED, () => {
    for (const [i, type] of [Ct.CTA_SYNPROXY_ISN, Ct.CTA_SYNPROXY_ITS, Ct.CTA_SYNPROXY_TSOFF].entries())
      writer.u32be(type, synproxy[i]!);
  });
}

/** Whole seconds that are left. */
export const secondsLeft = (expires: bigint, now: bigint): number =>
  Number((expires > now ? expires - now : 0n) / 1000n);

/** A connection as a dump tells it. */
export function connectionMessage(
  kernel: Kernel,
  { sequence, port, flags, use }: { sequence: number; port: number; flags: number; use: number },
  connection: Connection,
): Uint8Array {
  const writer = new Writer();
  const type = (NFNL_SUBSYS_CTNETLINK << 8) | Ct.IPCTNL_MSG_CT_NEW;
  writer.message({ type, flags, sequence, port }, () => {
    writer.raw(Uint8Array.of(connection.family, 0, 0, 0));
    writeTuples(writer, connection);
    writer.u32be(Ct.CTA_STATUS, connection.status);
    writer.u32be(Ct.CTA_MARK, connection.mark);
    writer.u32be(Ct.CTA_ID, connection.id);
    writer.u32be(Ct.CTA_USE, use);
    writeMaster(writer, connection);
    writer.u32be(Ct.CTA_TIMEOUT, secondsLeft(connection.expires, kernel.now));
    writeProtocol(writer, connection, false);
    writeCounters(writer, connection);
    writeTimes(writer, connection, undefined);
    writeHelper(writer, connection);
    writeLabels(writer, connection);
    writeAdjustments(writer, connection);
    writeProxy(writer, connection);
  });
  return writer.take();
}

/** Tells those that listen what has become of a connection (ctnetlink_conntrack_event). @param events IPCT_ bits */
export function tell(
  kernel: Kernel,
  namespace: Namespace,
  connection: Connection,
  events: number,
  author?: Author,
): void {
  if (connection.events === undefined || events === 0) return;
  const isEnd = (events & EVENT.destroy) !== 0;
  const isNew = (events & (EVENT.new | EVENT.related)) !== 0;
  const group = isEnd ? NFNLGRP_CONNTRACK_DESTROY : isNew ? NFNLGRP_CONNTRACK_NEW : NFNLGRP_CONNTRACK_UPDATE;
  const writer = new Writer();
  const type = (NFNL_SUBSYS_CTNETLINK << 8) | (isEnd ? Ct.IPCTNL_MSG_CT_DELETE : Ct.IPCTNL_MSG_CT_NEW);
  const flags = isNew && !isEnd ? NLM_F_CREATE | NLM_F_EXCL : 0;
  writer.message({ type, flags, sequence: 0, port: author?.socket.port ?? 0 }, () => {
    writer.raw(Uint8Array.of(connection.family, 0, 0, 0));
    writeTuples(writer, connection);
    writer.u32be(Ct.CTA_ID, connection.id);
    writer.u32be(Ct.CTA_STATUS, isEnd ? connection.status | IPS_DYING : connection.status);
    const left = secondsLeft(connection.expires, kernel.now);
    if (!isEnd || left > 0) writer.u32be(Ct.CTA_TIMEOUT, left);
    if (isEnd) {
      writeCounters(writer, connection);
      writeTimes(writer, connection, kernel.wallClock);
      writeProtocol(writer, connection, true);
    } else {
      if ((events & EVENT.protocol) !== 0) writeProtocol(writer, connection, false);
      writeHelper(writer, connection);
      if ((events & EVENT.label) !== 0) writeLabels(writer, connection);
      if ((events & EVENT.related) !== 0) writeMaster(writer, connection);
      if ((events & EVENT.adjustment) !== 0) writeAdjustments(writer, connection);
      if ((events & EVENT.synproxy) !== 0) writeProxy(writer, connection);
    }
    if (connection.mark !== 0 || (events & EVENT.mark) !== 0) writer.u32be(Ct.CTA_MARK, connection.mark);
    if (isSince(kernel.release, [6, 14]) && settingOf(namespace, 'timestamp') === 1)
      writer.u64be(Ct.CTA_TIMESTAMP_EVENT, kernel.wallClock);
  });
  const datagram = writer.take();
  // The author is told once, whether it listens or asks for an echo.
  const told = author?.echo === true ? author.socket : undefined;
  kernel.multicast(namespace, NETLINK_NETFILTER, group, datagram, told);
  told?.deliver(datagram);
}
