import { NETLINK_NETFILTER, NLMSG_DONE } from '../../linux/netlink.ts';
import { NFNL_SUBSYS_ULOG } from '../../linux/nfnetlink.ts';
import * as Log from '../../linux/nfnetlink_log.ts';
import type { Machine } from '../machine/machine.ts';
import type { Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import type { Namespace } from '../machine/state.ts';
import { check, type Policy, silently } from '../nf_tables/policy.ts';
import { type Packet, u16 } from '../packets/packet.ts';
import { EBUSY, EINVAL, ENODEV, ENOTSUPP, EOPNOTSUPP, EPERM, refuse } from '../refusal.ts';
import { Attributes, Writer } from '../wire/attributes.ts';
import type { LogGroup } from './state.ts';

/** nlmsghdr and nfgenmsg. */
const HEADERS = 20;
const PACKET_TYPE = (NFNL_SUBSYS_ULOG << 8) | Log.NFULNL_MSG_PACKET;
/** NLMSG_GOODSIZE, and the most that a program may ask for; a group begins with these settings (instance_create). */
const BUFFER = 3776;
const MOST_BUFFER = 131_072;
const THRESHOLD = 100;
const TIMEOUT = 100;
/** The longest payload of an attribute. */
const RANGE = 0xffff - 4;
/** A timeout is in hundredths of a second. */
const UNIT = 10n;
/** NFPROTO_NUMPROTO */
const FAMILIES = 11;
const [PF_BIND, PF_UNBIND] = [3, 4];

const POLICY: Policy = {
  [Log.NFULA_CFG_CMD]: { kind: 'number', length: 1 },
  [Log.NFULA_CFG_MODE]: { kind: 'number', length: 6 },
  [Log.NFULA_CFG_NLBUFSIZ]: { kind: 'number', length: 4 },
  [Log.NFULA_CFG_TIMEOUT]: { kind: 'number', length: 4 },
  [Log.NFULA_CFG_QTHRESH]: { kind: 'number', length: 4 },
  [Log.NFULA_CFG_FLAGS]: { kind: 'number', length: 2 },
};

/** A request that configures a group (nfulnl_recv_config). */
export function answer(machine: Machine, socket: MemorySocket, request: Request): void {
  if (request.bytes.length < HEADERS) return;
  const type = request.type & 0xff;
  if (type === Log.NFULNL_MSG_PACKET) refuse(ENOTSUPP);
  if (type !== Log.NFULNL_MSG_CONFIG) refuse(EINVAL);
  const namespace = machine.namespace(socket.namespace);
  const { groups } = namespace.nflog;
  const number = u16(request.bytes, 18);
  const attributes = new Attributes(request.bytes, HEADERS, request.bytes.length);
  silently(() => check(attributes, POLICY));
  const command = attributes.u8(Log.NFULA_CFG_CMD);
  // These make NFLOG the logger of a family, for what no rule logs.
  if (command === PF_BIND && request.bytes[16]! >= FAMILIES) refuse(EINVAL);
  if (command === PF_BIND || command === PF_UNBIND) return;
  const existing = groups.get(number);
  if (existing !== undefined && existing.port !== socket.port) refuse(EPERM);
  const flags = attributes.u16be(Log.NFULA_CFG_FLAGS);
  if (flags !== undefined && (flags & Log.NFULNL_CFG_F_CONNTRACK) !== 0) refuse(EOPNOTSUPP);
  if (command === Log.NFULNL_CFG_CMD_BIND) {
    if (existing !== undefined) refuse(EBUSY);
    const group = newGroup(socket.port);
    groups.set(number, group);
    configure(group, attributes, flags);
    return;
  }
  if (command !== undefined && command !== Log.NFULNL_CFG_CMD_UNBIND) refuse(ENOTSUPP);
  if (existing === undefined) refuse(ENODEV);
  if (command === undefined) {
    configure(existing, attributes, flags);
  } else {
    flush(machine, number, existing);
    groups.delete(number);
  }
}

const newGroup = (port: number): LogGroup => ({
  port,
  mode: Log.NFULNL_COPY_PACKET,
  range: RANGE,
  buffer: BUFFER,
  timeout: TIMEOUT,
  threshold: THRESHOLD,
  flags: 0,
  sequence: 0,
  waiting: [],
  room: 0,
  due: undefined,
});

/** Settings that are out of range are passed over in silence. */
function configure(group: LogGroup, attributes: Attributes, flags: number | undefined): void {
  const mode = attributes.get(Log.NFULA_CFG_MODE)?.bytes;
  if (mode !== undefined && mode[4]! <= Log.NFULNL_COPY_PACKET) {
    const range = new DataView(mode.buffer, mode.byteOffset).getUint32(0);
    group.mode = mode[4]!;
    group.range = range === 0 ? RANGE : Math.min(range, RANGE);
  }
  group.timeout = attributes.u32be(Log.NFULA_CFG_TIMEOUT) ?? group.timeout;
  const buffer = attributes.u32be(Log.NFULA_CFG_NLBUFSIZ);
  if (buffer !== undefined && buffer >= BUFFER && buffer <= MOST_BUFFER) group.buffer = buffer;
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
  const size = estimated(packet, rule.prefix, group, copied);
  if (group.waiting.length > 0 && size > group.room) flush(machine, rule.group, group);
  if (group.waiting.length === 0) group.room = roomOf(Math.max(group.buffer, size));
  const told = message(machine, namespace, packet, point, rule, group, copied);
  group.waiting.push(told);
  group.room -= told.length;
  // A rule's own threshold only lowers that of the group.
  const threshold = Math.min(group.threshold, rule.threshold || group.threshold);
  if (group.waiting.length >= threshold) flush(machine, rule.group, group);
  else group.due ??= machine.state.now + BigInt(group.timeout) * UNIT;
}

const aligned = (length: number): number => (length + 3) & ~3;
const sizeOf = (length: number): number => aligned(4 + length);
/** The headers of a message, ten attributes that it may have, and the message that ends a datagram of several. */
const FIXED = 20 + 8 * sizeOf(4) + sizeOf(12) + sizeOf(16) + 20;
const LINK_ADDRESSES = sizeOf(14) + 2 * sizeOf(2);

/** The room that the kernel wants for a packet: for all that a message may tell, whether it does or not. */
function estimated(packet: Packet, prefix: string, { flags, mode }: LogGroup, copied: number): number {
  let size = FIXED + sizeOf(Buffer.byteLength(prefix) + 1);
  if (packet.inDevice !== undefined && packet.link !== undefined) size += LINK_ADDRESSES;
  if ((flags & Log.NFULNL_CFG_F_SEQ) !== 0) size += sizeOf(4);
  if ((flags & Log.NFULNL_CFG_F_SEQ_GLOBAL) !== 0) size += sizeOf(4);
  return mode === Log.NFULNL_COPY_PACKET ? size + sizeOf(copied) : size;
}

/** struct skb_shared_info stands behind the bytes of a datagram, in memory that comes in powers of two. */
const SHARED_INFO = 320;
const roomOf = (bytes: number): number => 2 ** Math.ceil(Math.log2(bytes + SHARED_INFO)) - SHARED_INFO;

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
