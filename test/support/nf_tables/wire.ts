import { NLM_F_REQUEST } from '../../../src/linux/netlink.ts';
import * as Nft from '../../../src/linux/nf_tables.ts';
import { NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES } from '../../../src/linux/nfnetlink.ts';

/* Messages of nf_tables as bytes, written without the library's codec. */

export type Attribute = readonly [type: number, value: Uint8Array | readonly Attribute[]];

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly family: number;
  readonly attributes: readonly Attribute[];
}

const align = (length: number): number => (length + 3) & ~3;

function attributeBytes([type, value]: Attribute): Buffer {
  const content = value instanceof Uint8Array ? Buffer.from(value) : Buffer.concat(value.map(attributeBytes));
  const bytes = Buffer.alloc(align(4 + content.length));
  bytes.writeUInt16LE(4 + content.length, 0);
  bytes.writeUInt16LE(value instanceof Uint8Array ? type : type | 0x8000, 2);
  content.copy(bytes, 4);
  return bytes;
}

function messageBytes(
  message: Omit<Message, 'attributes'>,
  resource: number,
  sequence: number,
  attributes: readonly Attribute[],
): Buffer {
  const content = Buffer.concat(attributes.map(attributeBytes));
  const bytes = Buffer.alloc(20 + content.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(message.type, 4);
  bytes.writeUInt16LE(message.flags, 6);
  bytes.writeUInt32LE(sequence, 8);
  bytes[16] = message.family;
  bytes.writeUInt16BE(resource, 18);
  content.copy(bytes, 20);
  return bytes;
}

const SUBSYSTEM = NFNL_SUBSYS_NFTABLES << 8;

/** A request outside of a batch. */
export const requestBytes = (message: Message, sequence: number): Buffer =>
  messageBytes({ ...message, type: message.type | SUBSYSTEM }, 0, sequence, message.attributes);

/** A whole batch; its first message has the sequence number. */
export function batchBytes(messages: readonly Message[], sequence: number, { ends = true, endFlags = 0 } = {}): Buffer {
  const begin = messageBytes(
    { type: NFNL_MSG_BATCH_BEGIN, flags: NLM_F_REQUEST, family: 0 },
    NFNL_SUBSYS_NFTABLES,
    sequence,
    [],
  );
  const end = messageBytes(
    { type: NFNL_MSG_BATCH_END, flags: NLM_F_REQUEST | endFlags, family: 0 },
    NFNL_SUBSYS_NFTABLES,
    sequence + messages.length + 1,
    [],
  );
  return Buffer.concat([
    begin,
    ...messages.map((each, i) => requestBytes(each, sequence + i + 1)),
    ...(ends ? [end] : []),
  ]);
}

export const u8 = (value: number): Buffer => Buffer.of(value);
export const u16 = (value: number): Buffer => Buffer.of(value >> 8, value & 255);
export const u32 = (value: number): Buffer =>
  Buffer.of((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
export const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};
export const text = (value: string): Buffer => Buffer.from(`${value}\0`, 'latin1');
export const host32 = (value: number): Buffer => u32(value).reverse();
/** Leaves out what is undefined. */
export const some = (...list: (Attribute | undefined | false)[]): Attribute[] =>
  list.filter(each => each !== undefined && each !== false);
export const ifPresent = <T>(
  type: number,
  value: T | undefined,
  write: (value: T) => Attribute[1],
): Attribute | undefined => (value === undefined ? undefined : [type, write(value)]);

export const value = (bytes: Uint8Array): Attribute[] => [[Nft.NFTA_DATA_VALUE, bytes]];

export const expression = (name: string, ...data: (Attribute | undefined | false)[]): Attribute[] => [
  [Nft.NFTA_EXPR_NAME, text(name)],
  [Nft.NFTA_EXPR_DATA, some(...data)],
];
export const plain = (name: string): Attribute[] =>
  name === 'counter'
    ? expression('counter')
    : name === 'quota'
      ? expression('quota', [Nft.NFTA_QUOTA_BYTES, u64(1000)])
      : name === 'connlimit'
        ? expression('connlimit', [Nft.NFTA_CONNLIMIT_COUNT, u32(4)])
        : name === 'last'
          ? expression('last')
          : expression('limit', [Nft.NFTA_LIMIT_RATE, u64(10)], [Nft.NFTA_LIMIT_UNIT, u64(1)]);
