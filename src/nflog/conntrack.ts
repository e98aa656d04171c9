import { NO_CONTEXT, type Source, type UnknownAttribute } from '../codec/index.ts';
import { type Protocol, protocolOf } from '../ctnetlink/protocol.ts';
import { flowTable, type StatusFlag, type WireFlow, type WireTuple } from '../ctnetlink/tables.ts';
import { DecodeError } from '../errors.ts';
import * as C from '../linux/nf_conntrack_common.ts';

/*
 * The connection of a packet, as ctnetlink writes it (net/netfilter/nf_conntrack_netlink.c, __ctnetlink_glue_build): what is in it depends on
 * the kernel's version, configuration and sysctls.
 */

/** One direction of a connection. */
export interface ConntrackTuple {
  source?: string;
  destination?: string;
  protocol?: Protocol;
  /** Of protocols with ports. */
  sourcePort?: number;
  destinationPort?: number;
  /** Of icmp and icmpv6. */
  icmpType?: number;
  icmpCode?: number;
  icmpId?: number;
  /** Where the zone is of this direction only. */
  zone?: number;
  unknown?: UnknownAttribute[];
}

/** The other end that NAT has put in place of one of this connection. */
export interface Translation {
  address: string;
  port?: number;
}

/** What only requests to ctnetlink hold. */
type RequestField =
  | 'sourceTranslation'
  | 'destinationTranslation'
  | 'markMask'
  | 'labelsMask'
  | 'filter'
  | 'statusMask';

/** The connection that a packet belongs to (nf_conntrack). */
export interface Conntrack
  extends Omit<
    WireFlow,
    | 'original'
    | 'reply'
    | 'master'
    | 'mark'
    | 'status'
    | 'originalCounters'
    | 'replyCounters'
    | 'startNanoseconds'
    | 'stopNanoseconds'
    | RequestField
  > {
  /** What the packet is to it: 'new' begins it, 'related' is another one's (an ICMP error, an FTP transfer). */
  state: 'new' | 'established' | 'related' | number;
  /** Which way the packet goes. */
  direction: 'original' | 'reply';
  /** The first packet's addresses as it was sent. */
  original?: ConntrackTuple;
  /** What answers look like: other addresses than `original` turned round are NAT's. */
  reply?: ConntrackTuple;
  /** Of an expected connection: the one that it belongs to. */
  master?: ConntrackTuple;
  /** What the sender's address was changed to. */
  sourceNat?: Translation;
  /** What the receiver's address was changed to. */
  destinationNat?: Translation;
  /** Bits without a name are one number at the end. */
  status: (StatusFlag | number)[];
  /** 0 where it has none. */
  mark: number;
  /** With net.netfilter.nf_conntrack_acct, from Linux 6.16 on. */
  counters?: { original?: WireFlow['originalCounters']; reply?: WireFlow['replyCounters'] };
  /** When it began, since 1970; with net.netfilter.nf_conntrack_timestamp, from Linux 6.16 on. */
  startedAtMicroseconds?: number;
  stoppedAtMicroseconds?: number;
}

function tupleOf(wire: WireTuple): ConntrackTuple {
  const { source4, source6, destination4, destination6, icmpv6Id, icmpv6Type, icmpv6Code, ...rest } = wire;
  const tuple: Record<string, unknown> = {
    source: source4 ?? source6,
    destination: destination4 ?? destination6,
    ...rest,
    protocol: wire.protocol === undefined ? undefined : protocolOf(wire.protocol),
    icmpType: wire.icmpType ?? icmpv6Type,
    icmpCode: wire.icmpCode ?? icmpv6Code,
    icmpId: wire.icmpId ?? icmpv6Id,
  };
  return withoutHoles(tuple);
}

function withoutHoles<T>(value: Record<string, unknown>): T {
  for (const key in value) if (value[key] === undefined) delete value[key];
  return value as T;
}

/** Reads what stands there; `info` is NFULA_CT_INFO. Undefined where it is no connection. */
export function readConntrack(source: Source, start: number, end: number, info: number): Conntrack | undefined {
  let wire: WireFlow | undefined;
  try {
    wire = flowTable.read(source, start, end, NO_CONTEXT);
  } catch (error) {
    // A nest that lies about its inside holds no connection.
    if (!(error instanceof DecodeError)) throw error;
  }
  return wire && conntrackOf(wire, info);
}

const STATES: Record<number, Conntrack['state']> = {
  [C.IP_CT_ESTABLISHED]: 'established',
  [C.IP_CT_RELATED]: 'related',
  [C.IP_CT_NEW]: 'new',
};

function conntrackOf(wire: WireFlow, info: number): Conntrack {
  const { original, reply, master, originalCounters, replyCounters, status = [], mark = 0, ...more } = wire;
  const { startNanoseconds, stopNanoseconds, ...rest } = more;
  const answers = reply && tupleOf(reply);
  const isReply = info >= C.IP_CT_IS_REPLY;
  const counters =
    originalCounters || replyCounters ? withoutHoles({ original: originalCounters, reply: replyCounters }) : undefined;
  return withoutHoles({
    state: STATES[isReply ? info - C.IP_CT_IS_REPLY : info] ?? info,
    direction: isReply ? 'reply' : 'original',
    original: original && tupleOf(original),
    reply: answers,
    master: master && tupleOf(master),
    // Answers go to whom the sender was changed to, and come from whom the receiver was changed to.
    sourceNat: status.includes('source-nat') ? translation(answers?.destination, answers?.destinationPort) : undefined,
    destinationNat: status.includes('destination-nat') ? translation(answers?.source, answers?.sourcePort) : undefined,
    status,
    mark,
    ...rest,
    counters,
    startedAtMicroseconds: microseconds(startNanoseconds),
    stoppedAtMicroseconds: microseconds(stopNanoseconds),
  });
}

function microseconds(nanoseconds: bigint | undefined): number | undefined {
  return nanoseconds === undefined ? undefined : Number(nanoseconds / 1000n);
}

function translation(address: string | undefined, port: number | undefined): Translation | undefined {
  if (address === undefined) return undefined;
  return port === undefined ? { address } : { address, port };
}
