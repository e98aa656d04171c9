import { checkAddress, checkInteger, checkObject, checkOneOf, checkString } from '../codec/index.ts';
import { type Protocol, protocolNumber } from '../ctnetlink/protocol.ts';
import {
  adjustmentTable,
  DCCP_STATES,
  dccpTable,
  SCTP_STATES,
  STATUS,
  type StatusFlag,
  sctpTable,
  synproxyTable,
  TCP_STATES,
  tcpTable,
  type WireFlow,
} from '../ctnetlink/tables.ts';
import { type Path, rangeError, typeError, UnsupportedError } from '../errors.ts';
import {
  checkTuple,
  type Flow,
  type FlowTranslation,
  type FlowTuple,
  labelBits,
  labelNumbers,
  numberOfFamily,
} from './flow.ts';

/** An entry to create. A flow that was read is accepted: fields that only the kernel sets are ignored. */
export interface NewFlow extends Partial<Omit<Flow, 'protocol' | 'original' | 'reply' | 'timeoutSeconds'>> {
  /** The transport protocol. */
  protocol: Protocol;
  /** The direction of the first packet. */
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
  mark?:
    | number
    | {
        /** The bits to set. */
        value: number;
        /** The bits to change. */
        mask: number;
      };
  /** Flags to set. The kernel never clears a flag. */
  status?: readonly SettableStatus[];
  /** The complete new set of labels. */
  labels?: readonly number[];
  /** '' removes the helper. The kernel cannot give a helper to a flow that has already begun. */
  helper?: string;
  /** Only for TCP. Fields that are left out stay as they are. */
  tcp?: Flow['tcp'];
  /** Only for SCTP. The kernel needs all three fields. */
  sctp?: Flow['sctp'];
  /** Only for DCCP, which Linux 6.17 removed. The kernel needs `state` and `role`. */
  dccp?: Flow['dccp'];
  /** The correction of TCP sequence numbers: for each direction that is given, all of its three fields. */
  sequenceAdjustment?: NonNullable<Flow['sequenceAdjustment']>;
  /** The numbers that SYNPROXY subtracts from the packets of a TCP connection: all three fields. */
  synproxy?: Flow['synproxy'];
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
  dccp: 'given',
  sequenceAdjustment: 'given',
  synproxy: 'given',
  nat: 'given',
  helper: 'given',
  master: 'given',
  id: 'kernel',
  use: 'kernel',
  counters: 'kernel',
  timestamp: 'kernel',
  helperInfo: 'kernel',
  securityContext: 'kernel',
  eventNanoseconds: 'kernel',
  unknown: 'kernel',
};
/** INT_MAX divided by the highest timer frequency of a kernel (HZ 1000). Above it, some kernels store a shorter timeout than requested. */
const MAX_TIMEOUT_SECONDS = 2_147_483;
const MAX_HELPER_BYTES = 15;

const CHANGES: Readonly<Record<keyof FlowPatch, true>> = {
  timeoutSeconds: true,
  mark: true,
  status: true,
  labels: true,
  helper: true,
  tcp: true,
  sctp: true,
  dccp: true,
  sequenceAdjustment: true,
  synproxy: true,
};

const checkTimeout = (seconds: unknown): number => checkInteger(seconds, ['timeoutSeconds'], 1, MAX_TIMEOUT_SECONDS);

/** @throws TypeError, RangeError with the path */
export function checkNewFlow(flow: NewFlow): { family: number; wire: WireFlow } {
  checkObject(flow, [], Object.keys(FIELDS));
  const { protocol, original, reply, status = [], mark = 0, zone = 0, labels = [], nat = {}, helper } = flow;
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
  addProtocolState(wire, flow, protocol);
  // Every flow that was made by netlink has room for SYNPROXY's numbers, and shows zeros.
  if (wire.synproxy !== undefined && isZero(wire.synproxy)) delete wire.synproxy;
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

/** The fields that only flows of one protocol have, with the names of their states. */
const STATES = {
  tcp: { table: tcpTable, states: TCP_STATES },
  sctp: { table: sctpTable, states: SCTP_STATES },
  dccp: { table: dccpTable, states: DCCP_STATES },
};
interface Fields {
  readonly fields: readonly { readonly key: string }[];
}
const keysOf = ({ fields }: Fields): string[] => [...fields.map(({ key }) => key), 'unknown'];

const ADJUSTMENTS = { original: 'originalAdjustment', reply: 'replyAdjustment' } as const;

type ProtocolState = Pick<FlowPatch, keyof typeof STATES | 'sequenceAdjustment' | 'synproxy'>;

/** The kernel ignores the state of one protocol in a flow of another, so that is refused here. */
function addProtocolState(wire: WireFlow, given: ProtocolState, protocol: Protocol): void {
  const number = protocolNumber(protocol, ['protocol']);
  for (const name of ['tcp', 'sctp', 'dccp'] as const) {
    const info = given[name];
    if (info === undefined) continue;
    if (protocolNumber(name, []) !== number) throw rangeError([name], 'nothing: the protocol is another', info);
    const { table, states } = STATES[name];
    checkObject(info, [name], keysOf(table));
    if (typeof info.state === 'string') checkOneOf(info.state, [name, 'state'], Object.keys(states));
    Object.assign(wire, { [name]: info });
  }
  const { sequenceAdjustment, synproxy } = given;
  if (sequenceAdjustment !== undefined) {
    checkObject(sequenceAdjustment, ['sequenceAdjustment'], ['original', 'reply']);
    for (const side of ['original', 'reply'] as const) {
      const numbers = sequenceAdjustment[side];
      if (numbers !== undefined)
        wire[ADJUSTMENTS[side]] = allOf(numbers, ['sequenceAdjustment', side], adjustmentTable);
    }
  }
  if (synproxy !== undefined) wire.synproxy = allOf(synproxy, ['synproxy'], synproxyTable);
}

/** The kernel refuses a group of numbers unless all of them are there. */
function allOf<T extends object>(numbers: T, path: Path, table: Fields): T {
  checkObject(numbers, path, keysOf(table));
  const given = new Map<string, unknown>(Object.entries(numbers));
  for (const { key } of table.fields) checkInteger(given.get(key), [...path, key], 0, 0xffffffff);
  return numbers;
}

const isZero = (numbers: object): boolean => Object.values(numbers).every(number => number === 0);

const REASONS: Readonly<Record<string, string>> = {
  labels: 'no rule of the namespace sets a label (`ct label set`), so the flow has no room for labels',
  synproxy: 'this kernel has no SYNPROXY, or the flow began without it',
  dccp: 'this kernel does not track the state of DCCP (Linux 6.17 removed it)',
};

const lacksRoom = (field: string): UnsupportedError =>
  new UnsupportedError(
    `${field} of a flow`,
    undefined,
    REASONS[field] ?? 'the flow has no room for it: it has no helper and no NAT, and netlink did not make it',
  );

/**
 * Finds a field of a request that the kernel has acknowledged and dropped, because this flow has no room for it or the kernel does not have
 * it. @returns the error to throw
 */
export function droppedField(wanted: WireFlow, read: Flow): UnsupportedError | undefined {
  const { labels, sequenceAdjustment = {}, synproxy, dccp } = read;
  if (labelNumbers(wanted.labels).length > 0 && labels.length === 0) return lacksRoom('labels');
  for (const side of ['original', 'reply'] as const)
    if (differs(wanted[ADJUSTMENTS[side]], sequenceAdjustment[side])) return lacksRoom(`sequenceAdjustment.${side}`);
  if (differs(wanted.synproxy, synproxy)) return lacksRoom('synproxy');
  return differs(wanted.dccp, dccp) ? lacksRoom('dccp') : undefined;
}

/** Whether a request has fields that `droppedField` looks at. */
export const mayBeDropped = ({ labels, originalAdjustment, replyAdjustment, synproxy, dccp }: WireFlow): boolean =>
  (labels ?? originalAdjustment ?? replyAdjustment ?? synproxy ?? dccp) !== undefined;

function differs(wanted: object | undefined, read: object | undefined): boolean {
  if (wanted === undefined) return false;
  const found = new Map<string, unknown>(Object.entries(read ?? {}));
  return Object.entries(wanted).some(([key, value]) => found.get(key) !== value);
}

/** @throws TypeError, RangeError with the path */
export function checkPatch(patch: FlowPatch, protocol: Protocol): WireFlow {
  checkObject(patch, [], Object.keys(CHANGES));
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
  addProtocolState(wire, patch, protocol);
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
