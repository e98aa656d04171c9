import { lazy } from '../codec/lazy.ts';
import { NFT_MSG_TRACE } from '../linux/nf_tables.ts';
import { NFNL_SUBSYS_HOOK, NFNL_SUBSYS_NFTABLES } from '../linux/nfnetlink.ts';
import { NFNL_MSG_HOOK_GET } from '../linux/nfnetlink_hook.ts';
import type { Message } from '../netlink/message.ts';
import { nfnetlinkType } from '../netlink/nfnetlink.ts';
import { hookTable } from './hook.ts';
import { type Kind, MESSAGES, readWhole } from './message.ts';
import { traceTable } from './trace.ts';

// Named as what they are, since their declarations cannot name the types of their tables.
const TRACE: Kind = {
  kernelName: 'NFT_MSG_TRACE',
  number: nfnetlinkType(NFNL_SUBSYS_NFTABLES, NFT_MSG_TRACE),
  table: traceTable,
};
const HOOK: Kind = {
  kernelName: 'NFNL_MSG_HOOK_GET',
  number: nfnetlinkType(NFNL_SUBSYS_HOOK, NFNL_MSG_HOOK_GET),
  table: hookTable,
};

/** Every message of nf_tables: those about objects, and the steps of traces and the hooks, which transactions have no use for. */
export const ALL_MESSAGES = {
  ...MESSAGES,
  trace: TRACE,
  // Request and reply have the same number.
  hook: HOOK,
} as const satisfies Record<string, Kind>;

/** The name of a kind of message: 'newrule', 'delchain' ... */
export type AnyMessageName = keyof typeof ALL_MESSAGES;

const byNumber = lazy(
  () => new Map((Object.keys(ALL_MESSAGES) as AnyMessageName[]).map(name => [ALL_MESSAGES[name].number, name])),
);

/** The name of a message type, where it is one of nf_tables. */
export function messageName(number: number): AnyMessageName | undefined {
  return byNumber().get(number);
}

/** Whether a message is a step of a trace. */
export const isStep = ({ type }: Message): boolean => type === TRACE.number;

/** What a step of a trace tells. */
export const readStep = (message: Message): Record<string, unknown> => readWhole(TRACE, message);
