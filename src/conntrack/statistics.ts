import { type AttributeTable, NO_CONTEXT } from '../codec/index.ts';
import { expectationStatisticsTable, statisticsTable } from '../ctnetlink/tables.ts';
import { NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP } from '../linux/nfnetlink.ts';
import * as C from '../linux/nfnetlink_conntrack.ts';
import { type Message, nfnetlinkType } from '../netlink/index.ts';
import { attributesAt } from './requests.ts';

/** The counters of one processor in the namespace. They start at zero when the namespace is created. */
export interface ConntrackStatistics {
  /** The processor's number. */
  cpu: number;
  /** Look-ups that found an entry. */
  found: number;
  /** Packets that could not be tracked. */
  invalid: number;
  /** Flows that were put into the table. */
  insert: number;
  /** Flows that were not put into the table, because another one was there. */
  insertFailed: number;
  /** Packets dropped because no entry could be made. */
  drop: number;
  /** Entries that the kernel ended early because the table was full. */
  earlyDrop: number;
  /** Errors, such as ICMP errors, that belong to no entry. */
  error: number;
  /** Look-ups that started again because the table was resized. */
  searchRestart: number;
  /** Times that two packets began the same flow at once. */
  clashResolve: number;
  /** Packets dropped because a hash chain of the table was too long. */
  chainTooLong: number;
}

/** The counters of one processor about expectations, in the namespace. */
export interface ExpectationStatistics {
  /** The processor's number. */
  cpu: number;
  /** Connections that had been expected and have begun. */
  new: number;
  /** Expectations that were made. */
  create: number;
  /** Expectations that were removed, or whose time was over. */
  delete: number;
}

const STATISTICS_MESSAGES: readonly number[] = [nfnetlinkType(NFNL_SUBSYS_CTNETLINK, C.IPCTNL_MSG_CT_GET_STATS_CPU)];
/** The kernel answers with the number of the other subsystem (ctnetlink_exp_stat_fill_info), so both are taken. */
const EXPECTATION_STATISTICS_MESSAGES: readonly number[] = [
  nfnetlinkType(NFNL_SUBSYS_CTNETLINK, C.IPCTNL_MSG_EXP_GET_STATS_CPU),
  nfnetlinkType(NFNL_SUBSYS_CTNETLINK_EXP, C.IPCTNL_MSG_EXP_GET_STATS_CPU),
];

/** The counters of one processor. The header of the message has the number of the processor. A counter that the kernel does not send is 0. */
function countersOf<T>(message: Message, types: readonly number[], table: AttributeTable<object>): T | undefined {
  if (!types.includes(message.type)) return undefined;
  const { source, payload, end } = message;
  const { unknown: _, ...known }: { unknown?: unknown } =
    table.read(source, attributesAt(payload), end, NO_CONTEXT) ?? {};
  const counters = Object.fromEntries(table.fields.map(({ key }) => [key, 0]));
  return { cpu: source.view.getUint16(payload + 2, false), ...counters, ...known } as T;
}

export const statisticsOf = (message: Message): ConntrackStatistics | undefined =>
  countersOf(message, STATISTICS_MESSAGES, statisticsTable);

export const expectationStatisticsOf = (message: Message): ExpectationStatistics | undefined =>
  countersOf(message, EXPECTATION_STATISTICS_MESSAGES, expectationStatisticsTable);
