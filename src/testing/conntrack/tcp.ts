/*
 * The states of a TCP connection (net/netfilter/nf_conntrack_proto_tcp.c): by direction, by the kind of packet, by the state before.
 */

export const TCP_STATES = [
  'none',
  'syn-sent',
  'syn-recv',
  'established',
  'fin-wait',
  'close-wait',
  'last-ack',
  'time-wait',
  'close',
  'syn-sent2',
] as const;
export const [NONE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
] as const;
/** The packet is not of this connection. */
export const INVALID = -1;
/** The packet changes nothing. */
export const IGNORE = -2;

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

const [FIN, SYN, RST, PSH, ACK, URG] = [1, 2, 4, 8, 16, 32];

/** The combinations of flags that are no nonsense, without ECE, CWR and PSH. */
const VALID = new Set([SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG]);
export const areValid = (flags: number): boolean => VALID.has(flags & 0x3f & ~PSH);

export function nextState(direction: 0 | 1, flags: number, state: number): number {
  const kind =
    (flags & RST) !== 0
      ? 4
      : (flags & SYN) !== 0
        ? (flags & ACK) !== 0
          ? 1
          : 0
        : (flags & FIN) !== 0
          ? 2
          : (flags & ACK) !== 0
            ? 3
            : 5;
  return (direction === 0 ? ORIGINAL : REPLY)[kind]![state]!;
}

/** Seconds, by the state. */
export const TCP_TIMEOUTS: readonly number[] = [0, 120, 60, 432_000, 120, 60, 30, 120, 10, 120];
/** Of a connection that was picked up in its middle, until it is answered. */
export const UNACKNOWLEDGED = 300;
