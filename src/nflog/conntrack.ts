import { NO_CONTEXT, type Source, type UnknownAttribute } from '../codec/index.ts';
import { type Protocol, protocolOf } from '../ctnetlink/protocol.ts';
import { flowTable, type StatusFlag, type WireFlow, type WireTuple } from '../ctnetlink/tables.ts';
import { DecodeError } from '../errors.ts';
import * as C from '../linux/nf_conntrack_common.ts';

/*
 * The connection of a packet, as ctnetlink writes it (net/netfilter/nf_conntrack_netlink.c, __ctnetlink_glue_build).
 * Its contents depend on the kernel's version, configuration and sysctls.
 */

/** One direction of a connection. */
export interface ConntrackTuple {
  /** Where packets come from. */
  source?: string;
  /** Where packets go to. */
  destination?: string;
  /** The protocol, by name or number. */
  protocol?: Protocol;
  /** Of protocols with ports. */
  sourcePort?: number;
  /** The destination port. */
  destinationPort?: number;
  /** Of icmp and icmpv6. */
  icmpType?: number;
  /** The code of an ICMP message. */
  icmpCode?: number;
  /** The identifier of an ICMP echo. */
  icmpId?: number;
  /** Only if the zone is of this direction alone. */
  zone?: number;
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

/** An address, and a port, that NAT has put in place of another. */
export interface Translation {
  /** The address that stands in the place of the original one. */
  address: string;
  /** The port that stands in the place of the original one. */
  port?: number;
}

/** Fields of requests only. */
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
  /**
   * The packet's place in the connection: 'new' begins it; 'related' packets belong to another connection (an ICMP
   * error, an FTP transfer).
   */
  state: 'new' | 'established' | 'related' | number;
  /** The packet's direction. */
  direction: 'original' | 'reply';
  /** The addresses of the first packet, as it was sent. */
  original?: ConntrackTuple;
  /** The addresses of answers. If they are not those of `original` turned round, NAT has changed them. */
  reply?: ConntrackTuple;
  /** Of an expected connection: the connection that expected it. */
  master?: ConntrackTuple;
  /** NAT has changed the sender's address to this one. */
  sourceNat?: Translation;
  /** NAT has changed the receiver's address to this one. */
  destinationNat?: Translation;
  /** Bits without a name are one number at the end. */
  status: (StatusFlag | number)[];
  /** 0 if it has none. */
  mark: number;
  /** With net.netfilter.nf_conntrack_acct, from Linux 6.16 on. */
  counters?: {
    /** The original direction. */
    original?: WireFlow['originalCounters'];
    /** The reply direction. */
    reply?: WireFlow['replyCounters'];
  };
  /** When it began, since 1970; with net.netfilter.nf_conntrack_timestamp, from Linux 6.16 on. */
  startedAtMicroseconds?: number;
  /** When it ended, in microseconds since 1970. */
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

/** Reads the connection; `info` is NFULA_CT_INFO. Undefined if the bytes are no connection. */
export function readConntrack(source: Source, start: number, end: number, info: number): Conntrack | undefined {
  let wire: WireFlow | undefined;
  try {
    wire = flowTable.read(source, start, end, NO_CONTEXT);
  } catch (error) {
    // A nest with a wrong length inside holds no connection.
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
    // An answer goes to the sender's new address, and comes from the receiver's new address.
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
