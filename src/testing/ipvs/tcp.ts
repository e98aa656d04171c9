/*
 * The states of TCP (net/netfilter/ipvs/ip_vs_proto_tcp.c). A letter stands for a state; rows are SYN, FIN, ACK and RST, columns the states in
 * the order of NAMES.
 */

const NAMES = [
  'NONE',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'SYNACK',
] as const;
type TcpState = (typeof NAMES)[number];

const LETTERS = 'nesrftcwalk';
type Direction = 'input' | 'output' | 'inputOnly';
type Table = Readonly<Record<Direction, readonly [syn: string, fin: string, ack: string, rst: string]>>;

const ORDINARY: Table = {
  input: ['reerrrrrrrr', 'cwstttcwalt', 'eeseftcwcle', 'cccrccccalr'],
  output: ['sesrssssslr', 'tfstftctalt', 'eeseftcwaee', 'ccscctccccc'],
  inputOnly: ['reerrrrrrrr', 'cfstftcwalt', 'eeseftcwcle', 'cccrccccalc'],
};
/** With secure_tcp. */
const SECURE: Table = {
  input: ['reerrrrrrrk', 'cwstttcwalk', 'eesrftcwclk', 'cccrccccalc'],
  output: ['seskssssslk', 'tfstftctalt', 'eeseftcwaee', 'ccscctccccc'],
  inputOnly: ['keerkkkkkkk', 'cfstftcwalt', 'eeseftcwcle', 'cccrccccalc'],
};

const FIN = 1;
const SYN = 2;
const RST = 4;
const ACK = 16;

/** The state after a segment with these flags. One with none of the four closes. */
export function nextState(state: string, flags: number, direction: Direction, isSecure: boolean): string {
  const row = flags & RST ? 3 : flags & SYN ? 0 : flags & FIN ? 1 : flags & ACK ? 2 : undefined;
  if (row === undefined) return 'CLOSE';
  const letter = (isSecure ? SECURE : ORDINARY)[direction][row][(NAMES as readonly string[]).indexOf(state)]!;
  return NAMES[LETTERS.indexOf(letter)]!;
}

const ACTIVE: ReadonlySet<string> = new Set<TcpState>(['ESTABLISHED', 'SYN_SENT', 'SYN_RECV', 'SYNACK']);
export const isActive = (state: string): boolean => ACTIVE.has(state);

/** Seconds. Three of them can be set. */
const TIMEOUTS: Readonly<Record<string, number>> = {
  NONE: 2,
  SYN_SENT: 120,
  SYN_RECV: 60,
  TIME_WAIT: 120,
  CLOSE: 10,
  CLOSE_WAIT: 60,
  LAST_ACK: 30,
  LISTEN: 120,
  SYNACK: 120,
};

export function timeoutOf(state: string, { tcp, tcpFin }: { readonly tcp: number; readonly tcpFin: number }): number {
  return state === 'ESTABLISHED' ? tcp : state === 'FIN_WAIT' ? tcpFin : TIMEOUTS[state]!;
}
