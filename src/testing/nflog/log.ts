import { NETLINK_NETFILTER, NLMSG_DONE } from '../../linux/netlink.ts';
import { NFNL_SUBSYS_ULOG } from '../../linux/nfnetlink.ts';
import * as Log from '../../linux/nfnetlink_log.ts';
import type { Machine } from '../machine/machine.ts';
import type { Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import type { Namespace } from '../machine/state.ts';
import { type Packet, u16 } from '../packets/packet.ts';
import { EBUSY, EINVAL, ENODEV, EOPNOTSUPP, EPERM, refuse } from '../refusal.ts';
import { Attributes, Writer } from '../wire/attributes.ts';
import type { LogGroup } from './state.ts';

/** nlmsghdr and nfgenmsg. */
const HEADERS = 20;
const PACKET_TYPE = (NFNL_SUBSYS_ULOG << 8) | Log.NFULNL_MSG_PACKET;
/** NLMSG_GOODSIZE; a group begins with these settings (instance_create). */
const BUFFER = 3776;
const THRESHOLD = 100;
const TIMEOUT = 100;
const RANGE = 0xffff;
/** A timeout is in hundredths of a second. */
const UNIT = 10n;
/** What a message takes besides its payload, as the kernel estimates it. */
const OVERHEAD = 200;

/** A request that configures a group (nfulnl_recv_config). */
export function answer(machine: Machine, socket: MemorySocket, request: Request): void {
  if ((request.type & 0xff) !== Log.NFULNL_MSG_CONFIG || request.bytes.length < HEADERS) refuse(EINVAL);
  const namespace = machine.namespace(socket.namespace);
  const { groups } = namespace.nflog;
  const number = u16(request.bytes, 18);
  const attributes = new Attributes(request.bytes, HEADERS, request.bytes.length);
  const command = attributes.u8(Log.NFULA_CFG_CMD);
  const existing = groups.get(number);
  if (existing !== undefined && existing.port !== socket.port) refuse(EPERM);
  const flags = attributes.u16be(Log.NFULA_CFG_FLAGS);
  if (flags !== undefined && (flags & Log.NFULNL_CFG_F_CONNTRACK) !== 0) refuse(EOPNOTSUPP);
  let group = existing;
  if (command === Log.NFULNL_CFG_CMD_BIND) {
    if (existing !== undefined) refuse(EBUSY);
    group = {
      port: socket.port,
      mode: Log.NFULNL_COPY_PACKET,
      range: RANGE,
      buffer: BUFFER,
      timeout: TIMEOUT,
      threshold: THRESHOLD,
      flags: 0,
      sequence: 0,
      waiting: [],
      due: undefined,
    };
    groups.set(number, group);
  } else if (command === Log.NFULNL_CFG_CMD_UNBIND) {
    if (existing === undefined) refuse(ENODEV);
    flush(machine, number, existing);
    groups.delete(number);
    return;
  } else if (command !== undefined && command > 4) refuse(EOPNOTSUPP);
  if (group === undefined) {
    if (command === undefined) refuse(ENODEV);
    return;
  }
  const mode = attributes.get(Log.NFULA_CFG_MODE)?.bytes;
  if (mode !== undefined) {
    group.range = new DataView(mode.buffer, mode.byteOffset).getUint32(0);
    group.mode = mode[4]!;
    if (group.range === 0 || group.range > RANGE) group.range = RANGE;
  }
  group.timeout = attributes.u32be(Log.NFULA_CFG_TIMEOUT) ?? group.timeout;
  group.buffer = attributes.u32be(Log.NFULA_CFG_NLBUFSIZ) ?? group.buffer;
  group.threshold = attributes.u32be(Log.NFULA_CFG_QTHRESH) ?? group.threshold;
  group.flags = flags ?? group.flags;
}

/** What a rule says of a packet that it logs. */
export interface LogRule {
  readonly group: number;
  readonly prefix: string;
  readonly copyLength: number | undefined;
  readonly threshold: number | undefined;
}

/** Logs a packet to a group, if anybody listens (nfulnl_log_packet). */
export function log(
  machine: Machine,
  namespace: Namespace,
  packet: Packet,
  point: { family: number; hook: number },
  rule: LogRule,
): void {
  const group = namespace.nflog.groups.get(rule.group);
  if (group === undefined) return;
  const range = Math.min(group.range, rule.copyLength ?? group.range);
  const copied = group.mode === Log.NFULNL_COPY_PACKET ? Math.min(range, packet.bytes.length) : 0;
  const size = OVERHEAD + copied;
  const waiting = group.waiting.reduce((sum, each) => sum + each.length, 0);
  if (group.waiting.length > 0 && waiting + size > group.buffer) flush(machine, rule.group, group);
  group.waiting.push(message(machine, namespace, packet, point, rule, group, copied));
  const threshold = rule.threshold === undefined ? group.threshold : Math.min(group.threshold, rule.threshold);
  if (group.waiting.length >= threshold) flush(machine, rule.group, group);
  else group.due ??= machine.state.now + BigInt(group.timeout) * UNIT;
}

/** Delivers what waits; several packets are ended by a message of their own. */
export function flush(machine: Machine, number: number, group: LogGroup): void {
  const { waiting } = group;
  group.waiting = [];
  group.due = undefined;
  if (waiting.length === 0) return;
  if (waiting.length > 1) {
    const writer = new Writer();
    writer.message({ type: NLMSG_DONE, flags: 0, sequence: 0, port: 0 }, () =>
      writer.raw(Uint8Array.of(0, 0, number >> 8, number)),
    );
    waiting.push(writer.take());
  }
  machine.deliverTo(NETLINK_NETFILTER, group.port, Buffer.concat(waiting));
}

/** Delivers what has waited long enough. */
export function expire(machine: Machine, { nflog }: Namespace): void {
  for (const [number, group] of nflog.groups)
    if (group.due !== undefined && group.due <= machine.state.now) flush(machine, number, group);
}

const PREROUTING_OR_FORWARD = 2;

function message(
  machine: Machine,
  { nflog }: Namespace,
  packet: Packet,
  { family, hook }: { family: number; hook: number },
  rule: LogRule,
  group: LogGroup,
  copied: number,
): Uint8Array {
  const writer = new Writer();
  writer.message({ type: PACKET_TYPE, flags: 0, sequence: 0, port: 0 }, () => {
    writer.raw(Uint8Array.of(family, 0, rule.group >> 8, rule.group));
    const { inDevice, outDevice, link, mark, user, group: userGroup } = packet;
    writer.attribute(Log.NFULA_PACKET_HDR, Uint8Array.of(packet.protocol >> 8, packet.protocol, hook, 0));
    writer.text(Log.NFULA_PREFIX, rule.prefix);
    if (inDevice !== undefined) writer.u32be(Log.NFULA_IFINDEX_INDEV, inDevice.index);
    if (outDevice !== undefined) writer.u32be(Log.NFULA_IFINDEX_OUTDEV, outDevice.index);
    if (mark !== 0) writer.u32be(Log.NFULA_MARK, mark);
    if (inDevice !== undefined && link !== undefined) {
      // The sender's address, in a structure with its length.
      const address = new Uint8Array(12);
      address.set([0, 6, 0, 0]);
      address.set(link.subarray(6, 12), 4);
      writer.attribute(Log.NFULA_HWADDR, address);
      writer.u16be(Log.NFULA_HWTYPE, 1);
      writer.u16be(Log.NFULA_HWLEN, link.length);
      writer.attribute(Log.NFULA_HWHEADER, link);
    }
    if (hook <= PREROUTING_OR_FORWARD) {
      const time = new Uint8Array(16);
      const view = new DataView(time.buffer);
      view.setBigUint64(0, machine.wallClock / 1_000_000_000n);
      view.setBigUint64(8, (machine.wallClock % 1_000_000_000n) / 1000n);
      writer.attribute(Log.NFULA_TIMESTAMP, time);
    }
    if (user !== undefined) {
      writer.u32be(Log.NFULA_UID, user);
      writer.u32be(Log.NFULA_GID, userGroup ?? 0);
    }
    if ((group.flags & Log.NFULNL_CFG_F_SEQ) !== 0) writer.u32be(Log.NFULA_SEQ, group.sequence++);
    if ((group.flags & Log.NFULNL_CFG_F_SEQ_GLOBAL) !== 0) writer.u32be(Log.NFULA_SEQ_GLOBAL, nflog.sequence++);
    if (copied > 0) writer.attribute(Log.NFULA_PAYLOAD, packet.bytes.slice(0, copied));
  });
  return writer.take();
}

/** The groups of a socket that has been closed. */
export function closed(machine: Machine, socket: MemorySocket): void {
  const groups = machine.state.namespaces.get(socket.namespace)?.nflog.groups;
  if (groups === undefined) return;
  for (const [number, { port }] of groups) if (port === socket.port) groups.delete(number);
}
