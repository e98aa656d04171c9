import { ETH_P_IP } from '../../../linux/if_ether.ts';
import { NF_DROP, NF_QUEUE } from '../../../linux/netfilter.ts';
import { checksumWith } from '../../packets/checksums.ts';
import { type Packet, setU16, sourceOf, u16 } from '../../packets/packet.ts';
import { route } from '../../routes.ts';
import { XT_CONNECTION_TARGETS } from './xt-connection-targets.ts';
import { bytesAt, type XtTarget } from './xt-info.ts';
import { MSS, MSS_LENGTH, serviceOf } from './xt-matches.ts';

/* Targets of xtables, by their names and revisions: their C structures are read as they are (include/uapi/linux/netfilter/xt_*.h). */

const mark: XtTarget = (info, { packet }) => {
  packet.mark = ((packet.mark & ~info.getUint32(4, true)) ^ info.getUint32(0, true)) >>> 0;
  return undefined;
};

const SET = 0;
const SAVE = 1;
const RIGHT = 1;
const connmark =
  (hasShift: boolean): XtTarget =>
  (info, { packet }) => {
    const connection = packet.tracked?.connection;
    if (connection === undefined) return undefined;
    const [value, ofConnection, ofPacket] = [0, 4, 8].map(at => info.getUint32(at, true)) as [number, number, number];
    const bits = hasShift ? info.getUint8(13) : 0;
    const shifted = (mark: number) => (info.getUint8(12) === RIGHT && hasShift ? mark >>> bits : mark << bits);
    switch (info.getUint8(hasShift ? 14 : 12)) {
      case SET:
        connection.mark = shifted(((connection.mark & ~ofConnection) ^ value) >>> 0) >>> 0;
        return undefined;
      case SAVE:
        connection.mark = ((connection.mark & ~ofConnection) ^ shifted((packet.mark & ofPacket) >>> 0)) >>> 0;
        return undefined;
      default:
        packet.mark = ((packet.mark & ~ofPacket) ^ shifted((connection.mark & ofConnection) >>> 0)) >>> 0;
        return undefined;
    }
  };

/** By ipt_reject_with and ip6t_reject_with: the ICMP code; an echo's answer was never sent. */
const FOUR_CODES: Readonly<Record<number, number>> = { 0: 0, 1: 1, 2: 2, 3: 3, 5: 9, 6: 10, 8: 13 };
const SIX_CODES: Readonly<Record<number, number>> = { 0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 7: 5, 8: 6 };
const FOUR_RESET = 7;
const SIX_RESET = 6;

const reject: XtTarget = (info, run) => {
  const kind = info.getUint32(0, true);
  const isV4 = run.packet.protocol === ETH_P_IP;
  if (kind === (isV4 ? FOUR_RESET : SIX_RESET)) return run.path.reject(undefined, run);
  const code = (isV4 ? FOUR_CODES : SIX_CODES)[kind];
  return code === undefined
    ? run.engine.notModelled('the target REJECT of xtables with an echo reply')
    : run.path.reject(code, run);
};

/** Writes one byte of the header, and corrects the checksum of IPv4. */
function writeByte({ bytes, protocol }: Packet, at: number, value: number): void {
  const word = at & ~1;
  const old = bytes.slice(word, word + 2);
  bytes[at] = value;
  if (protocol === ETH_P_IP) setU16(bytes, 10, checksumWith(u16(bytes, 10), old, bytes.subarray(word, word + 2)));
}

const hops =
  (at: number): XtTarget =>
  (info, { packet }) => {
    const [mode, value] = [info.getUint8(0), info.getUint8(1)];
    const now = packet.bytes[at]!;
    // Set, more, fewer: within what a byte holds.
    const next = mode === SET ? value : mode === 1 ? Math.min(255, now + value) : Math.max(0, now - value);
    if (next !== now) writeByte(packet, at, next);
    return undefined;
  };

function setService(packet: Packet, value: number): void {
  if (serviceOf(packet) === value) return;
  if (packet.protocol === ETH_P_IP) writeByte(packet, 1, value);
  else setU16(packet.bytes, 0, (u16(packet.bytes, 0) & 0xf00f) | (value << 4));
}
const dscp: XtTarget = (info, { packet }) => {
  setService(packet, (serviceOf(packet) & 3) | (info.getUint8(0) << 2));
  return undefined;
};
const tos: XtTarget = (info, { packet }) => {
  setService(packet, (serviceOf(packet) & ~info.getUint8(1) & 0xff) ^ info.getUint8(0));
  return undefined;
};

const trace: XtTarget = (_, { packet }) => {
  packet.trace = true;
  return undefined;
};
const classify: XtTarget = (info, { packet }) => {
  packet.priority = info.getUint32(0, true);
  return undefined;
};

const CLAMP = 0xffff;
/** Without the option, hosts take segments of that many bytes (RFC 1122 and 8200). */
const FOUR_DEFAULT = 536;
const SIX_DEFAULT = 1220;
/** Lowers the largest segment of a SYN, and never raises it; a SYN without the option gets one (tcpmss_mangle_packet). */
const tcpmss: XtTarget = (info, { namespace, packet }) => {
  const { transport: at, bytes, outDevice, protocol } = packet;
  if (packet.fragmentOffset > 0 || at === undefined) return undefined;
  const length = bytes.length - at;
  const header = (bytes[at + 12]! >> 4) * 4;
  if (length < 20 || header < 20 || length < header) return { code: NF_DROP };
  const isFour = protocol === ETH_P_IP;
  let wanted = info.getUint16(0, true);
  if (wanted === CLAMP) {
    const headers = (isFour ? 20 : at) + 20;
    const mtu = Math.min(outDevice?.mtu ?? CLAMP, route(namespace, sourceOf(packet))?.mtu ?? CLAMP);
    if (mtu <= headers) return { code: NF_DROP };
    wanted = mtu - headers;
  }
  const sumAt = at + 16;
  const correct = (old: Uint8Array, now: Uint8Array) => setU16(bytes, sumAt, checksumWith(u16(bytes, sumAt), old, now));
  for (let i = at + 20; i <= at + header - MSS_LENGTH; i += bytes[i]! < 2 ? 1 : bytes[i + 1] || 1) {
    if (bytes[i] !== MSS || bytes[i + 1] !== MSS_LENGTH) continue;
    if (u16(bytes, i + 2) <= wanted) return undefined;
    const old = bytes.slice(i + 2, i + 4);
    setU16(bytes, i + 2, wanted);
    correct(old, bytes.subarray(i + 2, i + 4));
    return undefined;
  }
  if (length > header || header >= 60) return undefined;
  addSegmentSize(packet, at, Math.min(wanted, isFour ? FOUR_DEFAULT : SIX_DEFAULT));
  return undefined;
};

/** Puts the option in front of the others; the sums of TCP and IPv4 are corrected. */
function addSegmentSize(packet: Packet, at: number, size: number): void {
  const { bytes: before } = packet;
  const option = Uint8Array.of(MSS, MSS_LENGTH, size >> 8, size);
  const bytes = new Uint8Array(before.length + MSS_LENGTH);
  bytes.set(before.subarray(0, at + 20));
  bytes.set(option, at + 20);
  bytes.set(before.subarray(at + 20), at + 20 + MSS_LENGTH);
  packet.bytes = bytes;
  const word = (value: number) => Uint8Array.of(value >> 8, value);
  const length = before.length - at;
  let sum = checksumWith(u16(bytes, at + 16), word(length), word(length + MSS_LENGTH));
  sum = checksumWith(sum, new Uint8Array(MSS_LENGTH), option);
  const flags = bytes.slice(at + 12, at + 14);
  bytes[at + 12]! += 1 << 4;
  setU16(bytes, at + 16, checksumWith(sum, flags, bytes.subarray(at + 12, at + 14)));
  if (packet.protocol === ETH_P_IP) {
    const whole = bytes.slice(2, 4);
    setU16(bytes, 2, u16(bytes, 2) + MSS_LENGTH);
    setU16(bytes, 10, checksumWith(u16(bytes, 10), whole, bytes.subarray(2, 4)));
  } else setU16(bytes, 4, u16(bytes, 4) + MSS_LENGTH);
}

const NAME = 16;
/** A copy for a neighbour, by the device that the rule names. */
const tee: XtTarget = (info, run) => {
  const gateway = bytesAt(info, 0, sourceOf(run.packet).length).slice();
  const text = Buffer.from(bytesAt(info, 16, NAME)).toString('latin1');
  const name = text.slice(0, text.indexOf('\0'));
  const index = name === '' ? undefined : run.namespace.links.find(each => each.name === name)?.index;
  if (name === '' || index !== undefined) run.path.copy(gateway, index, run);
  return undefined;
};

const PREFIX = 64;
/** With no length of its own, or without the flag that it counts, the whole packet is copied. */
const HAS_LENGTH = 1;
const nflog: XtTarget = (info, run) => {
  const prefix = Buffer.from(info.buffer, info.byteOffset + 12, PREFIX).toString('latin1');
  const values: Record<string, number | string> = {
    group: info.getUint16(4, true),
    prefix: prefix.slice(0, prefix.indexOf('\0')),
    threshold: info.getUint16(6, true),
  };
  if ((info.getUint16(8, true) & HAS_LENGTH) !== 0) values.copyLength = info.getUint32(0, true);
  run.path.log({ name: 'log', values }, run);
  return undefined;
};

const queue: XtTarget = () => ({ code: NF_QUEUE });

/** By name and revision. LOG goes to the kernel's own log, which nobody reads here. */
export const XT_TARGETS: Readonly<Record<string, XtTarget>> = {
  'CLASSIFY 0': classify,
  ...XT_CONNECTION_TARGETS,
  'CONNMARK 1': connmark(false),
  'CONNMARK 2': connmark(true),
  'DSCP 0': dscp,
  'HL 0': hops(7),
  'LOG 0': () => undefined,
  'MARK 2': mark,
  'NFLOG 0': nflog,
  'NFQUEUE 0': queue,
  'NFQUEUE 1': queue,
  'NFQUEUE 2': queue,
  'NFQUEUE 3': queue,
  'REJECT 0': reject,
  'TCPMSS 0': tcpmss,
  'TEE 1': tee,
  'TOS 1': tos,
  'TRACE 0': trace,
  'TTL 0': hops(8),
};
