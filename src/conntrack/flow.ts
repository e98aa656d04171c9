import {
  addressVersion,
  checkAddress,
  checkInteger,
  checkObject,
  fromHex,
  toHex,
  type UnknownAttribute,
} from '../codec/index.ts';
import { type Protocol, protocolNumber, protocolOf } from '../ctnetlink/protocol.ts';
import type { StatusFlag, WireFlow, WireTuple } from '../ctnetlink/tables.ts';
import { type Path, rangeError, typeError } from '../errors.ts';
import {
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_ICMP,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../linux/in.ts';
import { IPPROTO_ICMPV6 } from '../linux/in6.ts';
import { AF_INET, AF_INET6 } from '../linux/socket.ts';

/** The IP version of a flow's addresses. */
export type FlowFamily = 'ipv4' | 'ipv6';

/** The fields that ICMP has in place of ports: the type and code of a message, and an id that the reply repeats. */
export interface IcmpKey {
  /** 0 to 255. */
  type: number;
  /** 0 to 255. */
  code: number;
  /** 0 to 65535. */
  id: number;
}

/** One direction of a flow: the addresses of its packets. */
export interface FlowTuple {
  /** Where packets come from. */
  source: string;
  /** Where packets go to. */
  destination: string;
  /** 0 to 65535, for protocols with ports. For GRE, it is the key. */
  sourcePort?: number;
  /** The destination port; absent where the protocol has none. */
  destinationPort?: number;
  /** Only for ICMP and ICMPv6. */
  icmp?: IcmpKey;
  /** The zone of this direction, if the directions have different zones (`ct original zone set`), 1 to 65535. */
  zone?: number;
}

/** Identifies a flow by one of its two directions. */
export interface FlowKey extends Omit<FlowTuple, 'zone'> {
  /** The transport protocol, by name or number. */
  protocol: Protocol;
  /** The zone of the flow; default 0. */
  zone?: number;
}

/** A flow that was read, or a key. The operations on one flow take this. */
export type FlowReference =
  | FlowKey
  | {
      /** The transport protocol, by name or number. */
      protocol: Protocol;
      /** The direction of the first packet. */
      original: FlowTuple;
      zone?: number;
    };

/** The packets and bytes that one direction of a flow has carried. */
export interface FlowCounters {
  /** Packets of this direction. */
  packets: bigint;
  /** Bytes of this direction, headers of IP included. */
  bytes: bigint;
}

/** The address and the port that NAT put in place of others. */
export interface FlowTranslation {
  /** The address that stands in the place of the original one. */
  address: string;
  /** The port that stands in the place of the original one. */
  port?: number;
}

/** One entry of the kernel's table of connections. */
export interface Flow {
  /** 'ipv4' or 'ipv6'. */
  family: FlowFamily;
  /** The transport protocol, by name or number. */
  protocol: Protocol;
  /** The addresses of the first packet, as its sender sent it. */
  original: FlowTuple;
  /** The addresses of replies. They are those of `original` with the two ends swapped, unless NAT has changed them. */
  reply: FlowTuple;
  /** The status flags. Bits without a name follow as one number. */
  status: (StatusFlag | number)[];
  /** Seconds until the kernel forgets the flow if no packet arrives. Absent while a flowtable carries the flow. */
  timeoutSeconds?: number;
  /** The mark; 0 if the flow has none. */
  mark: number;
  /** The zone of both directions; 0 is the default zone. */
  zone: number;
  /** The numbers of the labels that are set, 0 to 127; empty if the flow has none. */
  labels: number[];
  /** The kernel's number for the flow. It does not change while the flow exists. */
  id: number;
  /** The number of references that the kernel holds. It differs from one read to the next. */
  use?: number;
  /** Present if net.netfilter.nf_conntrack_acct was on when the flow began. */
  counters?: {
    /** The direction of the first packet. */
    original: FlowCounters;
    /** The direction of the answers. */
    reply: FlowCounters;
  };
  /**
   * Nanoseconds since 1970. Present if net.netfilter.nf_conntrack_timestamp was on when the flow began. Only events have `stopNanoseconds`.
   */
  timestamp?: {
    /** When it began, in nanoseconds since 1970. */
    startNanoseconds: bigint;
    /** When it ended, in nanoseconds since 1970. */
    stopNanoseconds?: bigint;
  };
  /** The state of a TCP connection. */
  tcp?: WireFlow['tcp'];
  /** The state of an SCTP association. */
  sctp?: WireFlow['sctp'];
  /** The state of a DCCP connection. */
  dccp?: WireFlow['dccp'];
  /** The new source and destination that NAT gave to the first packet; empty if NAT changed nothing. */
  nat: {
    /** Where packets come from. */
    source?: FlowTranslation;
    /** Where packets go to. */
    destination?: FlowTranslation;
  };
  /** The helper that watches the flow, such as 'ftp'. */
  helper?: string;
  /** The helper's own data, in hexadecimal. */
  helperInfo?: string;
  /** The flow whose helper expected this flow. Absent if no helper expected it. */
  master?: FlowTuple & {
    /** The transport protocol, by name or number. */
    protocol: Protocol;
  };
  /** How sequence numbers are changed, by direction, where a helper changed a payload's length. */
  sequenceAdjustment?: {
    /** The direction of the first packet. */
    original?: WireFlow['originalAdjustment'];
    /** The direction of the answers. */
    reply?: WireFlow['replyAdjustment'];
  };
  /** What SYNPROXY changes in sequence numbers and timestamps. */
  synproxy?: WireFlow['synproxy'];
  /** The security context of the flow (SELinux). */
  securityContext?: string;
  /** The time of the event, in nanoseconds since 1970. Only in events, since Linux 6.14, with net.netfilter.nf_conntrack_timestamp on. */
  eventNanoseconds?: bigint;
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

const TUPLE_FIELDS = ['source', 'destination', 'sourcePort', 'destinationPort', 'icmp', 'zone'];
/** Protocols whose tuples have ports. A GRE tuple has its keys in the same place. */
const WITH_PORTS: ReadonlySet<number> = new Set([
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_DCCP,
  IPPROTO_GRE,
  IPPROTO_SCTP,
  IPPROTO_UDPLITE,
]);

export const familyOfNumber = (family: number): FlowFamily => (family === AF_INET6 ? 'ipv6' : 'ipv4');
export const numberOfFamily = (family: FlowFamily): number => (family === 'ipv6' ? AF_INET6 : AF_INET);

/** A checked tuple in the kernel's form, and the IP version of its addresses. */
export interface CheckedTuple {
  readonly family: FlowFamily;
  readonly wire: WireTuple;
}

/**
 * Checks one direction. All of its fields must be present. The kernel refuses an incomplete tuple, or takes it for a different flow.
 * @throws TypeError, RangeError with the path
 */
export function checkTuple(
  tuple: unknown,
  protocol: unknown,
  path: Path,
  others: readonly string[] = [],
): CheckedTuple {
  checkObject(tuple, path, [...TUPLE_FIELDS, ...others]);
  const { source, destination, sourcePort, destinationPort, icmp, zone } = tuple as Partial<FlowTuple>;
  const version = checkAddress(source, [...path, 'source']);
  if (checkAddress(destination, [...path, 'destination']) !== version)
    throw rangeError([...path, 'destination'], `an IPv${version} address, as the source`, destination);
  const number = protocolNumber(protocol as Protocol, [...path, 'protocol']);
  const wire: WireTuple =
    version === 4
      ? { source4: source!, destination4: destination!, protocol: number }
      : { source6: source!, destination6: destination!, protocol: number };
  if (WITH_PORTS.has(number)) {
    wire.sourcePort = checkInteger(sourcePort, [...path, 'sourcePort'], 0, 0xffff);
    wire.destinationPort = checkInteger(destinationPort, [...path, 'destinationPort'], 0, 0xffff);
  } else {
    for (const [field, value] of Object.entries({ sourcePort, destinationPort }))
      if (value !== undefined) throw rangeError([...path, field], `nothing: ${protocolOf(number)} has no ports`, value);
  }
  if (number === (version === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) writeIcmp(wire, icmp, [...path, 'icmp'], version);
  else if (icmp !== undefined)
    throw rangeError([...path, 'icmp'], `nothing: this is ${protocolOf(number)} over IPv${version}`, icmp);
  if (zone !== undefined && checkInteger(zone, [...path, 'zone'], 0, 0xffff) !== 0) wire.zone = zone;
  return { family: version === 4 ? 'ipv4' : 'ipv6', wire };
}

function writeIcmp(wire: WireTuple, icmp: unknown, path: Path, version: 4 | 6): void {
  checkObject(icmp, path, ['type', 'code', 'id']);
  const { type, code, id } = icmp as IcmpKey;
  checkInteger(type, [...path, 'type'], 0, 255);
  checkInteger(code, [...path, 'code'], 0, 255);
  checkInteger(id, [...path, 'id'], 0, 0xffff);
  Object.assign(
    wire,
    version === 4
      ? { icmpType: type, icmpCode: code, icmpId: id }
      : { icmpv6Type: type, icmpv6Code: code, icmpv6Id: id },
  );
}

/** Identifies one flow in a request, with its zone. */
export interface CheckedKey extends CheckedTuple {
  /** The zone of both directions; undefined means the default zone. */
  readonly zone: number | undefined;
}

/** @throws TypeError, RangeError with the path */
export function checkReference(reference: FlowReference, path: Path = []): CheckedKey {
  if (typeof reference !== 'object' || reference === null)
    throw typeError(path, 'a flow, or one direction of it: { protocol, source, destination, ... }', reference);
  if (!('original' in reference)) {
    const { family, wire } = checkTuple(reference, reference.protocol, path, ['protocol']);
    // The zone of a key belongs to the whole flow. Only the tuple of a flow that was read can have a zone for one direction.
    const { zone, ...tuple } = wire;
    return { family, wire: tuple, zone };
  }
  const { protocol, original, zone = 0 } = reference;
  checkInteger(zone, [...path, 'zone'], 0, 0xffff);
  const checked = checkTuple(original, protocol, [...path, 'original']);
  // The kernel refuses a request that has both zones.
  if (zone !== 0 && checked.wire.zone !== undefined)
    throw rangeError([...path, 'zone'], "0 beside a zone of the tuple's", zone);
  return { ...checked, zone: zone === 0 ? undefined : zone };
}

export function tupleOf(wire: WireTuple | undefined): FlowTuple | undefined {
  if (wire === undefined) return undefined;
  const source = wire.source4 ?? wire.source6;
  const destination = wire.destination4 ?? wire.destination6;
  if (source === undefined || destination === undefined) return undefined;
  const tuple: FlowTuple = { source, destination };
  if (wire.sourcePort !== undefined) tuple.sourcePort = wire.sourcePort;
  if (wire.destinationPort !== undefined) tuple.destinationPort = wire.destinationPort;
  const type = wire.icmpType ?? wire.icmpv6Type;
  if (type !== undefined)
    tuple.icmp = { type, code: wire.icmpCode ?? wire.icmpv6Code ?? 0, id: wire.icmpId ?? wire.icmpv6Id ?? 0 };
  if (wire.zone !== undefined) tuple.zone = wire.zone;
  return tuple;
}

/** Returns the numbers of the bits that are set, in the kernel's order: label n is bit n % 8 of byte n / 8. */
export function labelNumbers(hex: string | undefined): number[] {
  const numbers: number[] = [];
  for (const [i, byte] of (fromHex(hex ?? '') ?? []).entries())
    for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) numbers.push(i * 8 + bit);
  return numbers;
}

const LABEL_BYTES = 16;

/** @throws TypeError, RangeError */
export function labelBits(labels: unknown, path: Path): string {
  if (!Array.isArray(labels)) throw typeError(path, 'an array of label numbers', labels);
  const bits = new Uint8Array(LABEL_BYTES);
  for (const [i, label] of labels.entries()) {
    checkInteger(label, [...path, i], 0, LABEL_BYTES * 8 - 1);
    bits[label >> 3]! |= 1 << (label & 7);
  }
  return toHex(bits);
}

/** Converts a message to a flow; undefined if the tuple is incomplete, because then nothing can name the flow. */
export function flowOf(wire: WireFlow, family: number): Flow | undefined {
  const original = tupleOf(wire.original);
  const reply = tupleOf(wire.reply);
  if (original === undefined || reply === undefined || wire.original?.protocol === undefined) return undefined;
  const { status = [] } = wire;
  const flow: Flow = {
    family: familyOfNumber(addressVersion(original.source) === 6 ? AF_INET6 : family),
    protocol: protocolOf(wire.original.protocol),
    original,
    reply,
    status,
    mark: wire.mark ?? 0,
    zone: wire.zone ?? 0,
    labels: labelNumbers(wire.labels),
    id: wire.id ?? 0,
    nat: {},
  };
  // Replies go to the new source that NAT chose, and come from the new destination.
  if (status.includes('source-nat')) flow.nat.source = translation(reply.destination, reply.destinationPort);
  if (status.includes('destination-nat')) flow.nat.destination = translation(reply.source, reply.sourcePort);
  const { originalCounters, replyCounters, startNanoseconds, stopNanoseconds } = wire;
  if (originalCounters !== undefined || replyCounters !== undefined)
    flow.counters = { original: countersOf(originalCounters), reply: countersOf(replyCounters) };
  if (startNanoseconds !== undefined)
    flow.timestamp = { startNanoseconds, ...(stopNanoseconds !== undefined && { stopNanoseconds }) };
  const { originalAdjustment, replyAdjustment } = wire;
  if (originalAdjustment !== undefined || replyAdjustment !== undefined)
    flow.sequenceAdjustment = {
      ...(originalAdjustment && { original: originalAdjustment }),
      ...(replyAdjustment && { reply: replyAdjustment }),
    };
  const master = tupleOf(wire.master);
  if (master !== undefined && wire.master?.protocol !== undefined)
    flow.master = { protocol: protocolOf(wire.master.protocol), ...master };
  copy(flow, wire, SAME);
  return flow;
}

/** Fields that have a different form in a flow than in a message, and fields that only requests have. */
type OtherForm =
  | 'original'
  | 'reply'
  | 'status'
  | 'mark'
  | 'zone'
  | 'labels'
  | 'id'
  | 'originalCounters'
  | 'replyCounters'
  | 'startNanoseconds'
  | 'stopNanoseconds'
  | 'originalAdjustment'
  | 'replyAdjustment'
  | 'master'
  | 'sourceTranslation'
  | 'destinationTranslation'
  | 'markMask'
  | 'labelsMask'
  | 'filter'
  | 'statusMask';
/** Fields that are the same in a flow and in a message. The compiler reports a field of the table that is in neither list. */
const SAME = Object.keys({
  timeoutSeconds: true,
  use: true,
  tcp: true,
  sctp: true,
  dccp: true,
  helper: true,
  helperInfo: true,
  synproxy: true,
  securityContext: true,
  eventNanoseconds: true,
  unknown: true,
} satisfies Record<Exclude<keyof WireFlow, OtherForm>, true>) as readonly (keyof WireFlow & keyof Flow)[];

function copy(flow: Flow, wire: WireFlow, fields: typeof SAME): void {
  const target = flow as unknown as Record<string, unknown>;
  for (const field of fields) if (wire[field] !== undefined) target[field] = wire[field];
}

const countersOf = (counters: WireFlow['originalCounters']): FlowCounters => ({
  packets: counters?.packets ?? 0n,
  bytes: counters?.bytes ?? 0n,
});

const translation = (address: string, port: number | undefined): FlowTranslation =>
  port === undefined ? { address } : { address, port };
