import { sourceOf, Writer } from '../codec/index.ts';
import { DecodeError, objectOf, oneOf, typeError, within } from '../errors.ts';
import { NFPROTO_UNSPEC } from '../linux/netfilter.ts';
import { beginMessage, endMessage, type Message, messageAt } from '../netlink/message.ts';
import { nfgenmsg, writeHeader } from '../netlink/nfnetlink.ts';
import { ALL_MESSAGES, type AnyMessageName, messageName } from './all-messages.ts';
import type { RuleContext } from './expressions/xt.ts';
import { familyName, familyNumber, type MessageFamily } from './family.ts';
import { readFields } from './message.ts';
import { XT_LAYOUTS } from './xt/layouts.ts';

/* Whole messages as objects and back, with their headers. */

/** One nf_tables netlink message as an object. */
export interface NftMessage {
  /** 'newrule', 'delchain' ...: the kernel's NFT_MSG_ name in lower case. */
  type: AnyMessageName;
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

/**
 * Encodes one message as bytes, netlink header included.
 * @param message its type, flags, sequence, family and object
 * @throws TypeError, RangeError with the path of the bad field
 * @example
 * const bytes = encodeMessage({ type: 'newtable', family: 'inet', object: { name: 'web' } });
 */
export function encodeMessage(message: NftMessage): Uint8Array {
  if (typeof message !== 'object' || message === null)
    throw typeError([], objectOf(['type', 'family', 'object']), message);
  if (!Object.hasOwn(ALL_MESSAGES, message.type)) {
    throw typeError(['type'], oneOf(Object.keys(ALL_MESSAGES), message.type), message.type);
  }
  const { number, table } = ALL_MESSAGES[message.type];
  const { family = 'unspecified' } = message;
  const familyOf =
    typeof family === 'number' ? family : family === 'unspecified' ? NFPROTO_UNSPEC : familyNumber(family, ['family']);
  const writer = new Writer(512);
  const start = beginMessage(writer, number, message.flags ?? 0, message.sequence ?? 0);
  writeHeader(writer, familyOf, message.resource ?? 0);
  const context: RuleContext = { family: familyOf, xt: XT_LAYOUTS };
  try {
    table.write(writer, message.object, context);
  } catch (error) {
    throw within(error, ['object']);
  }
  endMessage(writer, start);
  return writer.copy();
}

/**
 * Reads one message. Attributes that are unknown, or not as they should be, are kept raw.
 * @param bytes the message, netlink header included
 * @throws DecodeError it is no message of nf_tables
 * @example
 * const { type, object } = decodeMessage(encodeMessage({ type: 'newtable', family: 'inet', object: { name: 'web' } }));
 */
export function decodeMessage(bytes: Uint8Array): NftMessage {
  if (!(bytes instanceof Uint8Array)) throw typeError([], 'the bytes of a message (Uint8Array)', bytes);
  return readMessage(messageAt(sourceOf(bytes), 0, bytes.length));
}

export function readMessage(message: Message): NftMessage {
  const type = messageName(message.type);
  if (type === undefined) throw new DecodeError(`message type ${message.type} is none of nf_tables`);
  const { source, payload } = message;
  if (payload + nfgenmsg.size > message.end) throw new DecodeError('a message without its nfgenmsg header');
  return {
    type,
    flags: message.flags,
    sequence: message.sequence,
    family: familyName(source.view.getUint8(payload)),
    resource: source.view.getUint16(payload + 2, false),
    object: readFields(ALL_MESSAGES[type], message, {}, XT_LAYOUTS),
  };
}
