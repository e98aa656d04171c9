import { type AttributeTable, attributes, opt, sourceOf, u32be, Writer } from '../codec/index.ts';
import { DecodeError, typeError, within } from '../errors.ts';
import {
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
} from '../transport/constants.ts';
import {
  beginMessage,
  endMessage,
  type Message,
  messageAt,
  nfgenmsg,
  nfnetlinkType,
  writeHeader,
} from '../transport/index.ts';
import { chainTable } from './chain.ts';
import * as C from './constants.ts';
import { familyName, familyNumber, type MessageFamily } from './family.ts';
import { generationTable } from './generation.ts';
import { ruleTable } from './rule.ts';
import { tableTable } from './table.ts';

const batchTable = attributes('NFNL_BATCH', { generation: opt(u32be(NFNL_BATCH_GENID)) });

interface Kind {
  readonly number: number;
  /** The kernel's name: 'NFT_MSG_NEWRULE'. */
  readonly kernelName: string;
  readonly table: AttributeTable<never>;
}

function kind(kernelName: string, number: number, table: unknown): Kind {
  return { kernelName, number: nfnetlinkType(NFNL_SUBSYS_NFTABLES, number), table: table as AttributeTable<never> };
}

/** Requests for one object, and for its removal, name only what identifies it. */
const key = { table: tableTable.partial(), chain: chainTable.partial(), rule: ruleTable.partial() };

/** Every message of nf_tables that this library knows, by the name that it has here. */
export const MESSAGES = {
  newtable: kind('NFT_MSG_NEWTABLE', C.NFT_MSG_NEWTABLE, tableTable),
  gettable: kind('NFT_MSG_GETTABLE', C.NFT_MSG_GETTABLE, key.table),
  deltable: kind('NFT_MSG_DELTABLE', C.NFT_MSG_DELTABLE, key.table),
  newchain: kind('NFT_MSG_NEWCHAIN', C.NFT_MSG_NEWCHAIN, chainTable),
  getchain: kind('NFT_MSG_GETCHAIN', C.NFT_MSG_GETCHAIN, key.chain),
  delchain: kind('NFT_MSG_DELCHAIN', C.NFT_MSG_DELCHAIN, key.chain),
  newrule: kind('NFT_MSG_NEWRULE', C.NFT_MSG_NEWRULE, ruleTable.partial()),
  getrule: kind('NFT_MSG_GETRULE', C.NFT_MSG_GETRULE, key.rule),
  delrule: kind('NFT_MSG_DELRULE', C.NFT_MSG_DELRULE, key.rule),
  newgen: kind('NFT_MSG_NEWGEN', C.NFT_MSG_NEWGEN, generationTable),
  getgen: kind('NFT_MSG_GETGEN', C.NFT_MSG_GETGEN, generationTable.partial()),
  'batch-begin': {
    kernelName: 'NFNL_MSG_BATCH_BEGIN',
    number: NFNL_MSG_BATCH_BEGIN,
    table: batchTable as unknown as AttributeTable<never>,
  },
  'batch-end': {
    kernelName: 'NFNL_MSG_BATCH_END',
    number: NFNL_MSG_BATCH_END,
    table: batchTable as unknown as AttributeTable<never>,
  },
} as const satisfies Record<string, Kind>;

export type MessageName = keyof typeof MESSAGES;

const byNumber = new Map<number, MessageName>(
  (Object.keys(MESSAGES) as MessageName[]).map(name => [MESSAGES[name].number, name]),
);

/** One nf_tables netlink message as an object. */
export interface NftMessage {
  /** 'newrule', 'delchain' ...: the kernel's NFT_MSG_ name in lower case. */
  type: MessageName;
  /** NLM_F_* bits of the netlink header; default 0. */
  flags?: number;
  /** Default 0. */
  sequence?: number;
  /** Of the nfgenmsg header; default 'unspecified'. */
  family?: MessageFamily;
  /** The header's resource: in dumps and events, the lower 16 bits of the generation; in batch markers, the subsystem. */
  resource?: number;
  /** The object, with its fields as in the ruleset. */
  object: Record<string, unknown>;
}

/** One message as bytes, netlink header included. @throws TypeError, RangeError with the path of the bad field */
export function encodeMessage(message: NftMessage): Uint8Array {
  if (!Object.hasOwn(MESSAGES, message.type)) {
    throw typeError(['type'], `one of ${Object.keys(MESSAGES).join(', ')}`, message.type);
  }
  const { number, table } = MESSAGES[message.type];
  const { family = 'unspecified' } = message;
  const familyOf =
    typeof family === 'number'
      ? family
      : family === 'unspecified'
        ? C.NFPROTO_UNSPEC
        : familyNumber(family, ['family']);
  const writer = new Writer(512);
  const start = beginMessage(writer, number, message.flags ?? 0, message.sequence ?? 0);
  writeHeader(writer, familyOf, message.resource ?? 0);
  try {
    (table as AttributeTable<unknown>).write(writer, message.object, { family: familyOf });
  } catch (error) {
    throw within(error, ['object']);
  }
  endMessage(writer, start);
  return writer.copy();
}

/** Reads one message. Attributes that are unknown, or not as they should be, are kept raw. @throws DecodeError where it is none of nf_tables */
export function decodeMessage(bytes: Uint8Array): NftMessage {
  return readMessage(messageAt(sourceOf(bytes), 0, bytes.length));
}

export function readMessage(message: Message): NftMessage {
  const type = byNumber.get(message.type);
  if (type === undefined) throw new DecodeError(`message type ${message.type} is none of nf_tables`);
  const header = nfgenmsg.read(message.source, message.payload, message.end);
  if (header === undefined) throw new DecodeError('a message without its nfgenmsg header');
  const context = { family: header.nfgen_family };
  const table = MESSAGES[type].table as AttributeTable<Record<string, unknown>>;
  const object = table.read(message.source, message.payload + nfgenmsg.size, message.end, context);
  if (object === undefined)
    throw new DecodeError(`${MESSAGES[type].kernelName} without an attribute that it must have`);
  return {
    type,
    flags: message.flags,
    sequence: message.sequence,
    family: familyName(header.nfgen_family),
    resource: header.res_id,
    object,
  };
}
