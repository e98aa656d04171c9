import { checkAddress, checkInteger, checkObject, checkOneOf, checkString } from '../codec/index.ts';
import type { Protocol } from '../ctnetlink/protocol.ts';
import { STATUS, type StatusFlag, TCP_STATES, type WireFlow } from '../ctnetlink/tables.ts';
import { type Path, rangeError, typeError } from '../errors.ts';
import { checkTuple, type Flow, type FlowTranslation, type FlowTuple, labelBits, numberOfFamily } from './flow.ts';

/** An entry to create. A flow that was read is accepted: fields that only the kernel sets are ignored. */
export interface NewFlow extends Partial<Omit<Flow, 'protocol' | 'original' | 'reply' | 'timeoutSeconds'>> {
  protocol: Protocol;
  original: FlowTuple;
  /** The addresses of replies. Default: `original` with the two ends swapped. With `nat`, the kernel chooses them. */
  reply?: FlowTuple;
  /** Seconds until the kernel forgets the flow if no packet arrives, 1 to 2,147,483. */
  timeoutSeconds: number;
}

/** Changes of a flow. Fields that are left out stay as they are. */
export interface FlowPatch {
  /** 1 to 2,147,483. To end a flow, use `delete`. */
  timeoutSeconds?: number;
  /** The new mark, or only the bits of it that are set in `mask`. */
  mark?: number | { value: number; mask: number };
  /** Flags to set. The kernel never clears a flag. */
  status?: readonly SettableStatus[];
  /** The complete new set of labels. */
  labels?: readonly number[];
  /** '' removes the helper. The kernel cannot give a helper to a flow that has already begun. */
  helper?: string;
}

/** The status flags that a program can set. */
export type SettableStatus = 'seen-reply' | 'assured' | 'fixed-timeout';

const SETTABLE: readonly SettableStatus[] = ['seen-reply', 'assured', 'fixed-timeout'];
const STATUS_NAMES = Object.keys(STATUS) as StatusFlag[];
/** Says for each field whether a new flow can have it, or only the kernel sets it. The compiler reports a field that is missing here. */
const FIELDS: Readonly<Record<keyof NewFlow, 'given' | 'kernel'>> = {
  family: 'given',
  protocol: 'given',
  original: 'given',
  reply: 'given',
  status: 'given',
  timeoutSeconds: 'given',
  mark: 'given',
  zone: 'given',
  labels: 'given',
  tcp: 'given',
  sctp: 'given',
  nat: 'given',
  helper: 'given',
  master: 'given',
  id: 'kernel',
  use: 'kernel',
  counters: 'kernel',
  timestamp: 'kernel',
  dccp: 'kernel',
  helperInfo: 'kernel',
  securityContext: 'kernel',
  eventNanoseconds: 'kernel',
  synproxy: 'kernel',
  sequenceAdjustment: 'kernel',
  unknown: 'kernel',
};
/** INT_MAX divided by the highest timer frequency of a kernel (HZ 1000). Above it, some kernels store a shorter timeout than requested. */
const MAX_TIMEOUT_SECONDS = 2_147_483;
const MAX_HELPER_BYTES = 15;

const checkTimeout = (seconds: unknown): number => checkInteger(seconds, ['timeoutSeconds'], 1, MAX_TIMEOUT_SECONDS);

/** @throws TypeError, RangeError with the path */
export function checkNewFlow(flow: NewFlow): { family: number; wire: WireFlow } {
  checkObject(flow, [], Object.keys(FIELDS));
  const { protocol, original, reply, status = [], mark = 0, zone = 0, labels = [], tcp, sctp, nat = {}, helper } = flow;
  const checked = checkTuple(original, protocol, ['original']);
  if (flow.family !== undefined && flow.family !== checked.family)
    throw rangeError(['family'], `${checked.family}, as the addresses`, flow.family);
  checkObject(nat, ['nat'], ['source', 'destination']);
  const translated = nat.source !== undefined || nat.destination !== undefined;
  // The kernel sets up NAT only if the reply is `original` with the ends swapped. With other replies, the entry would exist but change no
  // packet.
  const answer = reply === undefined || translated ? turnedRound(original) : reply;
  const answers = checkTuple(answer, protocol, ['reply']);
  if (answers.family !== checked.family)
    throw rangeError(['reply', 'source'], `an address of ${checked.family}, as the original's`, answer.source);
  const wire: WireFlow = {
    original: checked.wire,
    reply: answers.wire,
    status: [statusBits(status) | STATUS.confirmed],
    timeoutSeconds: checkTimeout(flow.timeoutSeconds),
  };
  if (checkInteger(mark, ['mark'], 0, 0xffffffff) !== 0) wire.mark = mark;
  if (checkInteger(zone, ['zone'], 0, 0xffff) !== 0) wire.zone = zone;
  if (labels.length > 0) wire.labels = labelBits(labels, ['labels']);
  if (nat.source !== undefined) wire.sourceTranslation = translationOf(nat.source, checked.family, ['nat', 'source']);
  if (nat.destination !== undefined)
    wire.destinationTranslation = translationOf(nat.destination, checked.family, ['nat', 'destination']);
  if (tcp !== undefined) wire.tcp = tcpOf(tcp, protocol);
  if (sctp !== undefined) wire.sctp = sctp;
  if (helper !== undefined) wire.helper = checkString(helper, ['helper'], MAX_HELPER_BYTES);
  if (flow.master !== undefined) {
    const { protocol: of, ...tuple } = flow.master;
    wire.master = checkTuple(tuple, of, ['master']).wire;
  }
  return { family: numberOfFamily(checked.family), wire };
}

const turnedRound = ({ source, destination, sourcePort, destinationPort, icmp }: FlowTuple): FlowTuple => ({
  source: destination,
  destination: source,
  ...(destinationPort !== undefined && { sourcePort: destinationPort }),
  ...(sourcePort !== undefined && { destinationPort: sourcePort }),
  ...(icmp !== undefined && { icmp: { ...icmp, type: ANSWERS.get(icmp.type) ?? icmp.type } }),
});

/** Pairs of requests and replies in ICMP and ICMPv6 (invmap of nf_conntrack_proto_icmp.c and _icmpv6.c). */
const ANSWERS = new Map([
  [8, 0],
  [0, 8],
  [13, 14],
  [14, 13],
  [15, 16],
  [16, 15],
  [17, 18],
  [18, 17],
  [128, 129],
  [129, 128],
  [139, 140],
  [140, 139],
]);

/** The status bits that a request may set. The kernel sets the others itself, or ignores them. */
function statusBits(status: unknown): number {
  if (!Array.isArray(status)) throw typeError(['status'], 'an array of flags', status);
  let bits = 0;
  for (const [i, flag] of status.entries()) {
    if (typeof flag === 'number') continue;
    checkOneOf(flag, ['status', i], STATUS_NAMES);
    if (SETTABLE.includes(flag as SettableStatus)) bits |= STATUS[flag as SettableStatus];
  }
  return bits;
}

function translationOf(given: FlowTranslation, family: string, path: Path): NonNullable<WireFlow['sourceTranslation']> {
  checkObject(given, path, ['address', 'port']);
  const { address, port } = given;
  const version = checkAddress(address, [...path, 'address']);
  if ((version === 4) !== (family === 'ipv4'))
    throw rangeError([...path, 'address'], `an address of ${family}, as the flow's`, address);
  const addresses =
    version === 4
      ? { firstAddress4: address, lastAddress4: address }
      : { firstAddress6: address, lastAddress6: address };
  if (port === undefined) return addresses;
  checkInteger(port, [...path, 'port'], 0, 0xffff);
  return { ...addresses, firstPort: port, lastPort: port };
}

function tcpOf(tcp: NonNullable<Flow['tcp']>, protocol: Protocol): NonNullable<WireFlow['tcp']> {
  if (protocol !== 'tcp' && protocol !== 6) throw rangeError(['tcp'], 'nothing: the protocol is another', tcp);
  if (typeof tcp.state === 'string') checkOneOf(tcp.state, ['tcp', 'state'], Object.keys(TCP_STATES));
  return tcp;
}

/** @throws TypeError, RangeError with the path */
export function checkPatch(patch: FlowPatch): WireFlow {
  checkObject(patch, [], ['timeoutSeconds', 'mark', 'status', 'labels', 'helper']);
  const { timeoutSeconds, mark, status, labels, helper } = patch;
  const wire: WireFlow = {};
  if (timeoutSeconds !== undefined) wire.timeoutSeconds = checkTimeout(timeoutSeconds);
  if (mark !== undefined) Object.assign(wire, markOf(mark));
  if (labels !== undefined) wire.labels = labelBits(labels, ['labels']);
  if (helper !== undefined) wire.helper = helper === '' ? '' : checkString(helper, ['helper'], MAX_HELPER_BYTES);
  if (status !== undefined) {
    if (!Array.isArray(status)) throw typeError(['status'], 'an array of flags', status);
    for (const [i, flag] of status.entries()) checkOneOf(flag, ['status', i], SETTABLE);
    wire.status = [statusBits(status)];
  }
  if (Object.keys(wire).length === 0) throw rangeError([], 'at least one change', patch, 'ERR_MISSING');
  return wire;
}

function markOf(mark: NonNullable<FlowPatch['mark']>): Pick<WireFlow, 'mark' | 'markMask'> {
  if (typeof mark !== 'object' || mark === null) return { mark: checkInteger(mark, ['mark'], 0, 0xffffffff) };
  checkObject(mark, ['mark'], ['value', 'mask']);
  const value = checkInteger(mark.value, ['mark', 'value'], 0, 0xffffffff);
  const markMask = checkInteger(mark.mask, ['mark', 'mask'], 0, 0xffffffff);
  // The kernel inverts those bits of the mark that are set in the value but not in the mask.
  if ((value & ~markMask) !== 0) throw rangeError(['mark', 'value'], 'no bits outside of the mask', value);
  return { mark: value, markMask };
}
