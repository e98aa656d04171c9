import { type AttributeTable, attributes, opt, u32be } from '../codec/index.ts';
import { DecodeError } from '../errors.ts';
import * as C from '../linux/nf_tables.ts';
import {
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
} from '../linux/nfnetlink.ts';
import type { Message } from '../netlink/message.ts';
import { nfgenmsg, nfnetlinkType } from '../netlink/nfnetlink.ts';
import { chainTable } from './chain.ts';
import { elementsTable, type WireElement } from './element.ts';
import type { RuleContext } from './expressions/xt.ts';
import { familyName } from './family.ts';
import { flowtableTable } from './flowtable.ts';
import { generationTable } from './generation.ts';
import { type NftObject, objectTable } from './object.ts';
import { type RuleEntry, ruleEntryTable, ruleRemovalTable, ruleTable } from './rule.ts';
import { type NftSet, setTable } from './set.ts';
import { type Table, tableTable } from './table.ts';
import type { XtLayouts } from './xt/layout.ts';

const batchTable = attributes('NFNL_BATCH', () => ({ generation: opt(u32be(NFNL_BATCH_GENID)) }));

/** A kind of message. */
export interface Kind {
  readonly number: number;
  /** The kernel's name: 'NFT_MSG_NEWRULE'. */
  readonly kernelName: string;
  readonly table: AttributeTable<unknown>;
}

type Rows<K extends string> = Readonly<Record<K, readonly [number: number, table: AttributeTable<unknown>]>>;

/** The kinds of messages of a subsystem. The kernel's names are these with the prefix. */
function kinds<K extends string>(subsystem: number, prefix: string, rows: Rows<K>): Readonly<Record<K, Kind>> {
  const made = Object.entries<Rows<K>[K]>(rows).map(([name, [number, table]]) => {
    const kernelName = prefix + name.toUpperCase();
    return [name, { kernelName, number: nfnetlinkType(subsystem, number), table }];
  });
  return Object.fromEntries(made) as Record<K, Kind>;
}

function marker(kernelName: string, number: number): Kind {
  return { kernelName, number, table: batchTable };
}

/** Requests for one object, and for its removal, name only what identifies it. */
const key = {
  table: tableTable.partial(),
  chain: chainTable.partial(),
  rule: ruleTable.partial(),
  set: setTable.partial(),
  object: objectTable.partial(),
  flowtable: flowtableTable.partial(),
};

/** The messages about objects, by the kernel's NFT_MSG_ name in lower case, and those of nfnetlink's batches. Steps of traces and hooks: all-messages.ts. */
export const MESSAGES = {
  ...kinds(NFNL_SUBSYS_NFTABLES, 'NFT_MSG_', {
    newtable: [C.NFT_MSG_NEWTABLE, tableTable],
    gettable: [C.NFT_MSG_GETTABLE, key.table],
    deltable: [C.NFT_MSG_DELTABLE, key.table],
    destroytable: [C.NFT_MSG_DESTROYTABLE, key.table],

    newchain: [C.NFT_MSG_NEWCHAIN, chainTable],
    getchain: [C.NFT_MSG_GETCHAIN, key.chain],
    delchain: [C.NFT_MSG_DELCHAIN, key.chain],
    destroychain: [C.NFT_MSG_DESTROYCHAIN, key.chain],

    // The chain may be given by its number instead of its name.
    newrule: [C.NFT_MSG_NEWRULE, key.rule],
    getrule: [C.NFT_MSG_GETRULE, key.rule],
    getrule_reset: [C.NFT_MSG_GETRULE_RESET, key.rule],
    delrule: [C.NFT_MSG_DELRULE, ruleRemovalTable],
    destroyrule: [C.NFT_MSG_DESTROYRULE, ruleRemovalTable],

    newset: [C.NFT_MSG_NEWSET, setTable],
    getset: [C.NFT_MSG_GETSET, key.set],
    delset: [C.NFT_MSG_DELSET, key.set],
    destroyset: [C.NFT_MSG_DESTROYSET, key.set],

    newsetelem: [C.NFT_MSG_NEWSETELEM, elementsTable],
    getsetelem: [C.NFT_MSG_GETSETELEM, elementsTable],
    getsetelem_reset: [C.NFT_MSG_GETSETELEM_RESET, elementsTable],
    delsetelem: [C.NFT_MSG_DELSETELEM, elementsTable],
    destroysetelem: [C.NFT_MSG_DESTROYSETELEM, elementsTable],

    newobj: [C.NFT_MSG_NEWOBJ, objectTable],
    getobj: [C.NFT_MSG_GETOBJ, key.object],
    getobj_reset: [C.NFT_MSG_GETOBJ_RESET, key.object],
    delobj: [C.NFT_MSG_DELOBJ, key.object],
    destroyobj: [C.NFT_MSG_DESTROYOBJ, key.object],

    newflowtable: [C.NFT_MSG_NEWFLOWTABLE, flowtableTable],
    getflowtable: [C.NFT_MSG_GETFLOWTABLE, key.flowtable],
    delflowtable: [C.NFT_MSG_DELFLOWTABLE, key.flowtable],
    destroyflowtable: [C.NFT_MSG_DESTROYFLOWTABLE, key.flowtable],

    newgen: [C.NFT_MSG_NEWGEN, generationTable],
    getgen: [C.NFT_MSG_GETGEN, generationTable.partial()],
  }),

  'batch-begin': marker('NFNL_MSG_BATCH_BEGIN', NFNL_MSG_BATCH_BEGIN),
  'batch-end': marker('NFNL_MSG_BATCH_END', NFNL_MSG_BATCH_END),
} as const satisfies Record<string, Kind>;

/** The name of a kind of message: 'newrule', 'delchain' ... */
export type MessageName = keyof typeof MESSAGES;

/** What messages of a type hold. */
interface Objects {
  newtable: Table;
  newset: NftSet;
  newobj: NftObject;
  newsetelem: { elements?: WireElement[] };
  newgen: { id: number; processId?: number; processName?: string };
}

/** The object of a message that is known to be of this type, with the family as its first field: as in the ruleset. */
export function readObject<K extends keyof Objects>(type: K, message: Message): Objects[K];
/** @param xt the structures of xtables' matches and targets: rules have their bytes without them */
export function readObject(type: 'newrule', message: Message, xt: XtLayouts | undefined): RuleEntry;
export function readObject(type: MessageName, message: Message, xt: XtLayouts | undefined): Record<string, unknown>;
export function readObject(type: MessageName, message: Message, xt?: XtLayouts): unknown {
  return readWhole(MESSAGES[type], message, xt, type === 'newrule' || type === 'delrule' ? ruleEntryTable : undefined);
}

/** The object of a message of a kind, with the family as its first field. */
export function readWhole(
  kind: Kind,
  message: Message,
  xt?: XtLayouts,
  table: unknown = kind.table,
): Record<string, unknown> {
  if (message.payload + nfgenmsg.size > message.end) throw new DecodeError('a message without its nfgenmsg header');
  const into = { family: familyName(message.source.view.getUint8(message.payload)) };
  return readFields(kind, message, into, xt, table);
}

/** Reads the attributes of a message into an object. */
export function readFields(
  { kernelName, table: own }: Kind,
  { source, payload, end }: Message,
  into: object,
  xt: XtLayouts | undefined,
  table: unknown = own,
): Record<string, unknown> {
  const context: RuleContext = { family: source.view.getUint8(payload), xt };
  const object = (table as AttributeTable<Record<string, unknown>>).readTolerant(
    source,
    payload + nfgenmsg.size,
    end,
    context,
    into,
  );
  if (object === undefined) throw new DecodeError(`${kernelName} without an attribute that it must have`);
  return object;
}
