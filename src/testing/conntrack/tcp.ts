import { IPS_ASSURED, IPS_SEEN_REPLY } from '../../linux/nf_conntrack_common.ts';
import type { Namespace } from '../machine/state.ts';
import type { Kernel } from './kernel.ts';
import { EVENT } from './messages.ts';
import { refresh, type Seen } from './refresh.ts';
import { settingOf, timeoutOf } from './settings.ts';
import { type Connection, newEnd, newTcpTracker } from './state.ts';
import {
  ACK,
  beginWindow,
  endOfIgnored,
  FIN,
  FLAG,
  forgotten,
  isBefore,
  noteOptions,
  passesWindow,
  RST,
  type Segment,
  SYN,
  segmentOf,
} from './window.ts';

/*
 * The states of a TCP connection (net/netfilter/nf_conntrack_proto_tcp.c): by direction, by the kind of packet, by the state before.
 */

const [NONE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
] as const;
/** The packet is not of this connection. */
const INVALID = -1;
/** The packet changes nothing. */
const IGNORE = -2;

const [IV, IG] = [INVALID, IGNORE];
const [SS, SR, ES, FW, CW, LA, TW, CL, S2] = [
  SYN_SENT,
  SYN_RECV,
  ESTABLISHED,
  FIN_WAIT,
  CLOSE_WAIT,
  LAST_ACK,
  TIME_WAIT,
  CLOSE,
  SYN_SENT2,
];

/** By the kind of packet: syn, syn and ack, fin, ack, rst, none of them. */
const ORIGINAL = [
  [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
  [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
  [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
  [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
  [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
  [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
];
const REPLY = [
  [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
  [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
  [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
  [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
  [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
  [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
];

const PSH = 8;
const URG = 32;
/** The combinations of flags that are no nonsense, without ECE, CWR and PSH. */
const VALID = new Set([SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG]);
export const areValid = (flags: number): boolean => VALID.has(flags & 0x3f & ~PSH);

const [ONLY_SYN, SYN_ACK, HAS_FIN, ONLY_ACK, RESET, NOTHING] = [0, 1, 2, 3, 4, 5];
function kindOf({ flags }: Segment): number {
  if ((flags & RST) !== 0) return RESET;
  if ((flags & SYN) !== 0) return (flags & ACK) !== 0 ? SYN_ACK : ONLY_SYN;
  if ((flags & FIN) !== 0) return HAS_FIN;
  return (flags & ACK) !== 0 ? ONLY_ACK : NOTHING;
}

/** The names of the settings of timeouts, by the state. */
const TIMEOUTS = [
  'syn_sent',
  'syn_sent',
  'syn_recv',
  'established',
  'fin_wait',
  'close_wait',
  'last_ack',
  'time_wait',
  'close',
  'syn_sent',
];
const timeoutIn = (namespace: Namespace, state: number): bigint =>
  timeoutOf(namespace, `tcp_timeout_${TIMEOUTS[state]!}`);

/** What a packet means for its connection: 'again' has the connection ended and the packet looked at anew, 'ended' has it ended. */
export type Effect = 'accepted' | 'invalid' | 'again' | 'ended';

/** Moves a connection of TCP on (nf_conntrack_tcp_packet). */
export function trackTcp(kernel: Kernel, namespace: Namespace, connection: Connection, seen: Seen): Effect {
  const segment = segmentOf(seen.packet.bytes, seen.packet.transport!);
  const kind = kindOf(segment);
  if (!seen.isConfirmed && !begin(namespace, connection, segment, kind)) return 'invalid';
  const { tcp } = connection;
  const { direction } = seen;
  const before = tcp.state;
  const next = (direction === 0 ? ORIGINAL : REPLY)[kind]![before]!;
  if (next === INVALID) return 'invalid';
  let after: number = next;
  let isChecked = true;
  if (next === IGNORE || (next === SYN_SENT && before >= TIME_WAIT)) {
    if (next === SYN_SENT && isReopened(connection, direction)) return 'again';
    if (!answersIgnored(connection, direction, kind, segment)) {
      noteIgnored(connection, direction, kind, segment);
      return 'accepted';
    }
    after = SYN_RECV;
  } else if (next === TIME_WAIT) {
    // The answer to a SYN that does not belong here (RFC 5961) acknowledges no FIN.
    const isChallenge =
      before === LAST_ACK &&
      kind === ONLY_ACK &&
      tcp.lastDirection !== direction &&
      tcp.lastKind === ONLY_SYN &&
      (tcp.lastFlags & FLAG.challenge) !== 0;
    if (isChallenge) {
      tcp.lastFlags &= ~FLAG.challenge;
      return 'accepted';
    }
  } else if (next === SYN_SENT2) tcp.lastFlags |= FLAG.simultaneous;
  else if (next === SYN_RECV) {
    const isOpen = direction === 1 && kind === ONLY_ACK && (tcp.lastFlags & FLAG.simultaneous) !== 0;
    if (isOpen) after = ESTABLISHED;
  } else if (next === CLOSE && kind === RESET) {
    if (isEnding(before)) isChecked = false;
    else {
      const reset = judgeReset(namespace, connection, direction, segment);
      if (reset === 'invalid') return 'invalid';
      if (reset === 'kept') after = before;
      isChecked = !answersLetThrough(connection, direction, segment, before);
    }
  }
  if (isChecked) {
    const isLiberal = settingOf(namespace, 'tcp_be_liberal') === 1;
    const verdict = passesWindow(tcp, direction, kind, segment, isLiberal);
    if (verdict === 'ignored') return 'accepted';
    if (verdict === 'invalid') {
      shorten(kernel, namespace, connection, direction, kind);
      return 'invalid';
    }
  }
  tcp.lastKind = kind;
  tcp.lastDirection = direction;
  const from = next === IGNORE || (next === SYN_SENT && before >= TIME_WAIT) ? SYN_SENT : before;
  tcp.state = after;
  if (from !== after && after === FIN_WAIT) tcp.ends[direction].flags |= FLAG.closeBegun;
  let timeout = timeoutAfter(namespace, connection, kind);
  if (after !== from) seen.notes.push(EVENT.protocol);
  if ((connection.status & IPS_SEEN_REPLY) === 0) {
    if (kind === RESET) return 'ended';
    // The repetition of a SYN keeps nothing alive.
    if (kind === ONLY_SYN && from === SYN_SENT) return 'accepted';
    const unanswered = timeoutOf(namespace, 'tcp_timeout_unacknowledged');
    if (after === ESTABLISHED && timeout > unanswered) timeout = unanswered;
  } else if (
    (connection.status & IPS_ASSURED) === 0 &&
    (from === SYN_RECV || from === ESTABLISHED) &&
    after === ESTABLISHED
  ) {
    connection.status |= IPS_ASSURED;
    seen.notes.push(EVENT.assured);
  }
  refresh(kernel, connection, seen, timeout);
  return 'accepted';
}

function begin(namespace: Namespace, connection: Connection, segment: Segment, kind: number): boolean {
  const state = ORIGINAL[kind]![NONE]!;
  if (state === INVALID) return false;
  if (state !== SYN_SENT && settingOf(namespace, 'tcp_loose') === 0) return false;
  connection.tcp = newTcpTracker();
  beginWindow(connection.tcp, segment, state !== SYN_SENT);
  connection.tcp.lastKind = NOTHING;
  return true;
}

/** A SYN after the end of a connection opens it again. */
function isReopened({ tcp }: Connection, direction: number): boolean {
  const flags = tcp.ends[0].flags | tcp.ends[1].flags;
  return (flags & FLAG.closeBegun) !== 0 || (tcp.lastDirection === direction && tcp.lastKind === RESET);
}

/** Whether a SYN with an acknowledgement answers a SYN that was ignored: both ends are in step, and only this entry is not. */
function answersIgnored({ tcp }: Connection, direction: 0 | 1, kind: number, segment: Segment): boolean {
  const answers =
    kind === SYN_ACK && tcp.lastKind === ONLY_SYN && tcp.lastDirection !== direction && segment.ack === tcp.lastEnd;
  if (!answers) return false;
  tcp.lastFlags &= ~FLAG.challenge;
  tcp.ends[tcp.lastDirection as 0 | 1] = endOfIgnored(tcp);
  tcp.ends[direction] = forgotten(tcp.ends[direction]);
  return true;
}

function noteIgnored({ tcp }: Connection, direction: number, kind: number, segment: Segment): void {
  tcp.lastKind = kind;
  tcp.lastDirection = direction;
  tcp.lastSequence = segment.sequence;
  tcp.lastEnd = segment.end;
  tcp.lastWindow = segment.window;
  if (kind === ONLY_SYN && direction === 0) {
    const options = newEnd();
    noteOptions(options, segment);
    tcp.lastScale = (options.flags & FLAG.windowScale) !== 0 ? options.scale : 0;
    tcp.lastFlags = options.flags & (FLAG.windowScale | FLAG.selective);
    if (tcp.state === LAST_ACK) tcp.lastFlags |= FLAG.challenge;
  }
  if (tcp.state === SYN_SENT && kind === ONLY_ACK && direction === 1) tcp.lastAck = segment.ack;
}

/** Whether a connection is about to end: its ports may be in use again, so nothing is expected of a reset (tcp_can_early_drop). */
const isEnding = (state: number): boolean => state >= FIN_WAIT && state <= CLOSE;

/** Whether a reset can be meant: 'kept' is one that only an answer can confirm. */
function judgeReset(
  namespace: Namespace,
  { tcp, status }: Connection,
  direction: 0 | 1,
  { sequence }: Segment,
): 'meant' | 'kept' | 'invalid' {
  const other = tcp.ends[direction === 0 ? 1 : 0];
  if ((other.flags & FLAG.ackSeen) === 0) return 'meant';
  const isEstablished = tcp.state === ESTABLISHED && (status & IPS_ASSURED) !== 0;
  if (sequence === 0 && !isEstablished) return 'meant';
  if (isBefore(sequence, other.maxAck) && settingOf(namespace, 'tcp_ignore_invalid_rst') === 0) return 'invalid';
  if (!isEstablished || sequence === other.maxAck) return 'meant';
  const isOfTrain = tcp.lastKind === ONLY_ACK && tcp.lastDirection === direction && sequence === tcp.lastEnd;
  return isOfTrain ? 'meant' : 'kept';
}

/** A reset that answers a packet which was let through without being understood. */
function answersLetThrough({ tcp, status }: Connection, direction: number, segment: Segment, before: number): boolean {
  const afterSyn = (status & IPS_SEEN_REPLY) !== 0 && tcp.lastKind === ONLY_SYN;
  const afterAck = (status & IPS_ASSURED) === 0 && tcp.lastKind === ONLY_ACK;
  if ((afterSyn || afterAck) && segment.ack === tcp.lastEnd) return true;
  return (
    direction === 0 &&
    before === SYN_SENT &&
    tcp.lastKind === ONLY_ACK &&
    tcp.lastDirection === 1 &&
    segment.sequence === tcp.lastAck
  );
}

function timeoutAfter(namespace: Namespace, { tcp }: Connection, kind: number): bigint {
  const usual = timeoutIn(namespace, tcp.state);
  const retransmitted = timeoutOf(namespace, 'tcp_timeout_max_retrans');
  const unanswered = timeoutOf(namespace, 'tcp_timeout_unacknowledged');
  if (tcp.retransmissions >= settingOf(namespace, 'tcp_max_retrans') && usual > retransmitted) return retransmitted;
  if (kind === RESET) return timeoutOf(namespace, 'tcp_timeout_close');
  const waits = ((tcp.ends[0].flags | tcp.ends[1].flags) & FLAG.unacknowledged) !== 0;
  if (waits && usual > unanswered) return unanswered;
  return tcp.lastWindow === 0 && usual > retransmitted ? retransmitted : usual;
}

/** Ends of connections that are out of their windows shorten the wait (nf_tcp_handle_invalid). */
function shorten(kernel: Kernel, namespace: Namespace, connection: Connection, direction: number, kind: number): void {
  if ((connection.status & IPS_ASSURED) === 0 || (kind !== RESET && kind !== HAS_FIN)) return;
  const { tcp } = connection;
  if (tcp.lastDirection === direction || (tcp.lastKind !== HAS_FIN && tcp.lastKind !== RESET)) {
    tcp.lastKind = kind;
    tcp.lastDirection = direction;
    return;
  }
  const left = connection.expires - kernel.now;
  const timeout = timeoutOf(namespace, 'tcp_timeout_unacknowledged');
  if (left >= 120_000n && left > timeout) connection.expires = kernel.now + timeout;
}
