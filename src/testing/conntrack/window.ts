import { u16, u32 } from '../packets/packet.ts';
import { newEnd, type TcpEnd, type TcpTracker } from './state.ts';

/*
 * The windows of TCP: which segments can belong to a connection (net/netfilter/nf_conntrack_proto_tcp.c, tcp_in_window; after Guido van
 * Rooij, "Real Stateful TCP Packet Filtering in IP Filter").
 */

/** IP_CT_TCP_FLAG_ and IP_CT_EXP_CHALLENGE_ACK. */
export const FLAG = {
  windowScale: 1,
  selective: 2,
  closeBegun: 4,
  liberal: 8,
  unacknowledged: 0x10,
  ackSeen: 0x20,
  challenge: 0x40,
  simultaneous: 0x80,
} as const;

export const SYN = 2;
export const FIN = 1;
export const RST = 4;
export const ACK = 16;
const LARGEST_SCALE = 14;
/** MAXACKWINCONST */
const ACK_WINDOW = 66_000;

/** A segment. */
export interface Segment {
  readonly flags: number;
  readonly sequence: number;
  readonly ack: number;
  readonly window: number;
  /** The sequence number behind it. */
  readonly end: number;
  readonly options: Uint8Array;
}

export function segmentOf(bytes: Uint8Array, transport: number): Segment {
  const header = (bytes[transport + 12]! >> 4) * 4;
  const flags = bytes[transport + 13]!;
  const sequence = u32(bytes, transport + 4);
  const length = bytes.length - transport - header + ((flags & SYN) !== 0 ? 1 : 0) + ((flags & FIN) !== 0 ? 1 : 0);
  return {
    flags,
    sequence,
    ack: u32(bytes, transport + 8),
    window: u16(bytes, transport + 14),
    end: (sequence + length) >>> 0,
    options: bytes.subarray(transport + 20, transport + header),
  };
}

/** Numbers of sequences go round: a is before b if it is behind by less than half of them. */
export const isBefore = (a: number, b: number): boolean => ((a - b) | 0) < 0;
const isAfter = (a: number, b: number): boolean => isBefore(b, a);

/** Options by their kinds, up to the first that is broken. */
function* optionsOf(options: Uint8Array): Generator<readonly [kind: number, value: Uint8Array]> {
  for (let at = 0; at < options.length; ) {
    const kind = options[at]!;
    if (kind === 0) return;
    if (kind === 1) {
      at++;
      continue;
    }
    const length = options[at + 1] ?? 0;
    if (length < 2 || at + length > options.length) return;
    yield [kind, options.subarray(at + 2, at + length)];
    at += length;
  }
}

/** Notes the options of a SYN (tcp_options). */
export function noteOptions(end: TcpEnd, { options }: Segment): void {
  if (options.length === 0) return;
  end.scale = 0;
  end.flags &= FLAG.liberal;
  for (const [kind, value] of optionsOf(options)) {
    if (kind === 4 && value.length === 0) end.flags |= FLAG.selective;
    else if (kind === 3 && value.length === 1) {
      end.scale = Math.min(value[0]!, LARGEST_SCALE);
      end.flags |= FLAG.windowScale;
    }
  }
}

/** The highest edge that selective acknowledgements name. */
function highestAck({ options, ack }: Segment): number {
  let highest = ack;
  for (const [kind, value] of optionsOf(options)) {
    if (kind !== 5 || value.length < 8 || value.length % 8 !== 0) continue;
    for (let at = 0; at < value.length; at += 8) {
      const edge = u32(value, at + 4);
      if (isAfter(edge, highest)) highest = edge;
    }
    break;
  }
  return highest;
}

/** What a first packet tells of its sender (tcp_new). @param isPicked the connection began before it was tracked */
export function beginWindow(tracker: TcpTracker, segment: Segment, isPicked: boolean): void {
  const [first, second] = tracker.ends;
  first.end = segment.end;
  first.maxWindow = Math.max(segment.window, 1);
  first.maxEnd = isPicked ? (first.end + first.maxWindow) >>> 0 : first.end;
  if (isPicked) first.flags = second.flags = FLAG.selective | FLAG.liberal;
  else noteOptions(first, segment);
}

function beginSender(sender: TcpEnd, receiver: TcpEnd, segment: Segment, direction: number): void {
  sender.end = sender.maxEnd = segment.end;
  sender.maxWindow = Math.max(segment.window, 1);
  noteOptions(sender, segment);
  // Both ends must offer to scale windows for either to do so (RFC 7323).
  if (direction === 1 && (sender.flags & receiver.flags & FLAG.windowScale) === 0) sender.scale = receiver.scale = 0;
}

const SYN_SENT = 1;
const SYN_RECV = 2;
const ONLY_ACK = 3;

/**
 * Whether a segment is inside the windows; what it tells is noted then.
 * @param kind of packet, as in the table of states
 * @returns 'ignored' for one that is outside but harmless
 */
export function passesWindow(
  tracker: TcpTracker,
  direction: 0 | 1,
  kind: number,
  segment: Segment,
  isLiberal: boolean,
): 'accepted' | 'ignored' | 'invalid' {
  const sender = tracker.ends[direction];
  const receiver = tracker.ends[direction === 0 ? 1 : 0];
  const { flags, window: rawWindow } = segment;
  let { sequence, ack, end, window } = segment;
  const isSyn = (flags & SYN) !== 0;
  const hasAck = (flags & ACK) !== 0;
  let highest = (receiver.flags & FLAG.selective) !== 0 ? highestAck(segment) : ack;
  const outside = (verdict: 'ignored' | 'invalid') =>
    isLiberal || (sender.flags & FLAG.liberal) !== 0 ? 'accepted' : verdict;

  if (sender.maxWindow === 0) {
    if (isSyn) {
      beginSender(sender, receiver, segment, direction);
      if (!hasAck) return 'accepted';
    } else {
      sender.end = end;
      sender.maxWindow = (window << sender.scale) >>> 0 || 1;
      sender.maxEnd = (end + sender.maxWindow) >>> 0;
      if (receiver.maxWindow === 0) receiver.end = receiver.maxEnd = highest;
      else if (highest === (receiver.end + 1) >>> 0) receiver.end = (receiver.end + 1) >>> 0;
    }
  } else if (isSyn && isAfter(end, sender.end) && (tracker.state === SYN_SENT || tracker.state === SYN_RECV)) {
    beginSender(sender, receiver, segment, direction);
    if (direction === 1 && !hasAck) return 'accepted';
  }
  // Without an acknowledgement, or with that of a broken reset, nothing can be said of it.
  if (!hasAck || ((flags & RST) !== 0 && ack === 0)) ack = highest = receiver.end;
  // The answer to a SYN that is refused.
  if ((flags & RST) !== 0 && sequence === 0 && tracker.state === SYN_SENT) sequence = end = sender.end;

  const ackWindow = Math.max(sender.maxWindow, ACK_WINDOW);
  const isAckRecent = isAfter(highest, (receiver.end - ackWindow - 1) >>> 0);
  const isAckKnown = isBefore(highest, (receiver.end + 1) >>> 0);
  const reachesWindow = isAfter(end, (sender.end - receiver.maxWindow - 1) >>> 0);
  if (!isBefore(sequence, (sender.maxEnd + 1) >>> 0)) {
    const overshot = (end - sender.maxEnd + 1) >>> 0;
    const isSlightlyOver =
      receiver.maxWindow !== 0 && reachesWindow && isAckRecent && overshot <= receiver.maxWindow && isAckKnown;
    if (!isSlightlyOver) return outside('invalid');
    sender.end = end;
    sender.flags |= FLAG.unacknowledged;
    return outside('ignored');
  }
  if (!isAckKnown) return outside('invalid');
  if (receiver.maxWindow !== 0 && !reachesWindow) return outside('ignored');
  if (!isAckRecent) return outside('ignored');

  if (!isSyn) window = (window << sender.scale) >>> 0;
  const wide = (window + (highest - ack)) >>> 0;
  if (sender.maxWindow < wide) sender.maxWindow = wide;
  if (isAfter(end, sender.end)) {
    sender.end = end;
    sender.flags |= FLAG.unacknowledged;
  }
  if (hasAck && ((sender.flags & FLAG.ackSeen) === 0 || isAfter(ack, sender.maxAck))) {
    sender.maxAck = ack;
    sender.flags |= FLAG.ackSeen;
  }
  if (receiver.maxWindow !== 0 && isAfter(end, sender.maxEnd))
    receiver.maxWindow = (receiver.maxWindow + (end - sender.maxEnd)) >>> 0;
  const edge = (highest + window) >>> 0;
  if (isAfter(edge, (receiver.maxEnd - 1) >>> 0)) receiver.maxEnd = window === 0 ? (edge + 1) >>> 0 : edge;
  if (ack === receiver.end) receiver.flags &= ~FLAG.unacknowledged;
  if (kind === ONLY_ACK) noteRetransmission(tracker, direction, sequence, ack, end, rawWindow);
  return 'accepted';
}

function noteRetransmission(
  tracker: TcpTracker,
  direction: number,
  sequence: number,
  ack: number,
  end: number,
  window: number,
): void {
  const isSame =
    tracker.lastDirection === direction &&
    tracker.lastSequence === sequence &&
    tracker.lastAck === ack &&
    tracker.lastEnd === end &&
    tracker.lastWindow === window;
  if (isSame) {
    tracker.retransmissions++;
    return;
  }
  tracker.lastDirection = direction;
  tracker.lastSequence = sequence;
  tracker.lastAck = ack;
  tracker.lastEnd = end;
  tracker.lastWindow = window;
  tracker.retransmissions = 0;
}

/** An end of which nothing is known any more. */
export const forgotten = ({ flags }: TcpEnd): TcpEnd => ({ ...newEnd(), flags: flags & FLAG.liberal });

/** The end of a client whose SYN was ignored and has been answered after all. */
export function endOfIgnored({ lastEnd, lastWindow, lastScale, lastFlags }: TcpTracker): TcpEnd {
  return {
    ...newEnd(),
    end: lastEnd,
    maxEnd: lastEnd,
    maxWindow: lastWindow === 0 ? 1 : lastWindow,
    scale: lastScale,
    flags: lastFlags & ~FLAG.challenge,
  };
}
