import { type AttributeTable, NO_CONTEXT, type Source, type Writer } from '../codec/index.ts';
import { expectationTable, flowTable, totalsTable, type WireExpectation, type WireFlow } from '../ctnetlink/tables.ts';
import { NetlinkError, type Path, UnsupportedError } from '../errors.ts';
import { NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP } from '../linux/nfnetlink.ts';
import * as C from '../linux/nfnetlink_conntrack.ts';
import {
  type Call,
  type Exchange,
  type Message,
  nfgenmsg,
  nfnetlinkType,
  type Operation,
  writeHeader,
} from '../netlink/index.ts';
import { type Flow, flowOf } from './flow.ts';

/*
 * Requests to ctnetlink. When the kernel refuses a request, it explains only format errors of attributes. So each request here says what
 * each errno means for it.
 */

/** Explains the kernel's refusals, by the name of the errno. */
export interface Refusals {
  readonly hints?: Readonly<Record<string, string>>;
  /** The field that most likely caused the refusal. */
  readonly blame?: Readonly<Record<string, Path>>;
}

const COMMON: Readonly<Record<string, string>> = {
  EPERM: 'this needs CAP_NET_ADMIN in the user namespace that owns the network namespace',
  ENOENT: 'there is no such flow (any more), or it is in another zone',
};

function call<T>(
  subsystem: number,
  message: number,
  syscall: string,
  table: AttributeTable<T>,
  family: number,
  wire: T,
  { subject, flags = 0, refusals = {} }: { subject?: unknown; flags?: number; refusals?: Refusals | undefined },
): Call {
  return {
    type: nfnetlinkType(subsystem, message),
    flags,
    syscall,
    subject,
    write(writer: Writer) {
      writeHeader(writer, family, 0);
      table.write(writer, wire, NO_CONTEXT);
    },
    hint: code => refusals.hints?.[code] ?? COMMON[code],
    blame: code => refusals.blame?.[code],
  };
}

type Options = { subject?: unknown; flags?: number; refusals?: Refusals | undefined };

const FLOW_CALLS = {
  new: [C.IPCTNL_MSG_CT_NEW, 'IPCTNL_MSG_CT_NEW'],
  get: [C.IPCTNL_MSG_CT_GET, 'IPCTNL_MSG_CT_GET'],
  getAndZero: [C.IPCTNL_MSG_CT_GET_CTRZERO, 'IPCTNL_MSG_CT_GET_CTRZERO'],
  statistics: [C.IPCTNL_MSG_CT_GET_STATS_CPU, 'IPCTNL_MSG_CT_GET_STATS_CPU'],
  totals: [C.IPCTNL_MSG_CT_GET_STATS, 'IPCTNL_MSG_CT_GET_STATS'],
} as const;

export function flowCall(name: keyof typeof FLOW_CALLS, family: number, wire: WireFlow, options: Options = {}): Call {
  const [message, syscall] = FLOW_CALLS[name];
  return call(NFNL_SUBSYS_CTNETLINK, message, syscall, flowTable, family, wire, options);
}

/**
 * Ends one flow. The kernel treats a DELETE without a tuple as "all flows", so the type of this function requires a whole tuple. Only
 * `flushCall` writes that message without a tuple.
 */
export function deleteCall(
  family: number,
  wire: { original: NonNullable<WireFlow['original']>; zone?: number; id?: number },
  subject: unknown,
): Call {
  const { original, zone, id } = wire;
  const only: WireFlow = { original, ...(zone !== undefined && { zone }), ...(id !== undefined && { id }) };
  return call(NFNL_SUBSYS_CTNETLINK, C.IPCTNL_MSG_CT_DELETE, 'IPCTNL_MSG_CT_DELETE', flowTable, family, only, {
    subject,
  });
}

/** Ends all flows of the namespace. */
export const flushCall = (): Call =>
  call(NFNL_SUBSYS_CTNETLINK, C.IPCTNL_MSG_CT_DELETE, 'IPCTNL_MSG_CT_DELETE', flowTable, 0, {}, {});

const EXPECTATION_CALLS = {
  new: [C.IPCTNL_MSG_EXP_NEW, 'IPCTNL_MSG_EXP_NEW'],
  get: [C.IPCTNL_MSG_EXP_GET, 'IPCTNL_MSG_EXP_GET'],
  delete: [C.IPCTNL_MSG_EXP_DELETE, 'IPCTNL_MSG_EXP_DELETE'],
  statistics: [C.IPCTNL_MSG_EXP_GET_STATS_CPU, 'IPCTNL_MSG_EXP_GET_STATS_CPU'],
} as const;

export function expectationCall(
  name: keyof typeof EXPECTATION_CALLS,
  family: number,
  wire: WireExpectation,
  options: Options = {},
): Call {
  const [message, syscall] = EXPECTATION_CALLS[name];
  return call(NFNL_SUBSYS_CTNETLINK_EXP, message, syscall, expectationTable, family, wire, options);
}

/** The address family in the header of a message. */
export const familyOfMessage = (source: Source, payload: number): number => source.bytes[payload]!;
/** The position of the first attribute in a message. */
export const attributesAt = (payload: number): number => payload + nfgenmsg.size;

export const FLOW_MESSAGE = nfnetlinkType(NFNL_SUBSYS_CTNETLINK, C.IPCTNL_MSG_CT_NEW);
export const FLOW_DELETED = nfnetlinkType(NFNL_SUBSYS_CTNETLINK, C.IPCTNL_MSG_CT_DELETE);
export const EXPECTATION_MESSAGE = nfnetlinkType(NFNL_SUBSYS_CTNETLINK_EXP, C.IPCTNL_MSG_EXP_NEW);
export const EXPECTATION_DELETED = nfnetlinkType(NFNL_SUBSYS_CTNETLINK_EXP, C.IPCTNL_MSG_EXP_DELETE);
/** Reads the flow of a reply or an event; undefined if the tuple is incomplete, because then nothing can name the flow. */
export function readFlow({ source, payload, end }: Message): Flow | undefined {
  const wire = flowTable.read(source, attributesAt(payload), end, NO_CONTEXT);
  return wire && flowOf(wire, familyOfMessage(source, payload));
}

/** The errors that the kernel returns for a subsystem that it does not have. */
const LACKING: readonly string[] = ['EINVAL', 'EOPNOTSUPP'];

const isLacking = (error: unknown): boolean => error instanceof NetlinkError && LACKING.includes(error.code);

/** Counts the entries of the namespace, including expired ones. @throws UnsupportedError the kernel has no ctnetlink */
export function* countFlows(exchange: Exchange): Operation<number> {
  try {
    return yield* exchange.get(flowCall('totals', 0, {}), ({ source, payload, end }) => {
      return totalsTable.read(source, attributesAt(payload), end, NO_CONTEXT)?.entries;
    });
  } catch (error) {
    if (!isLacking(error)) throw error;
    throw new UnsupportedError('ctnetlink', undefined, 'its module nf_conntrack_netlink is not loaded');
  }
}

/** Returns the error to throw for a refused request. The kernel may lack ctnetlink, so this sends a simple request to find out. */
export function* explained(exchange: Exchange, error: unknown): Operation<unknown> {
  if (!isLacking(error)) return error;
  try {
    yield* countFlows(exchange);
    return error;
  } catch (instead) {
    return instead instanceof UnsupportedError ? instead : error;
  }
}
