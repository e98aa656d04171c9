import {
  type AttributeTable,
  align4,
  attribute,
  attributes,
  byteString,
  HOST_IS_LITTLE_ENDIAN,
  NLA_HDRLEN,
  NLA_TYPE_MASK,
  named,
  opt,
  S32_BE,
  type ShapeOf,
  string,
  type Type,
  u32be,
} from '../codec/index.ts';
import { typeError } from '../errors.ts';
import { NF_ACCEPT, NF_DROP } from '../linux/netfilter.ts';
import * as C from '../linux/nf_tables.ts';

const VERDICTS = {
  accept: NF_ACCEPT,
  drop: NF_DROP,
  continue: C.NFT_CONTINUE,
  break: C.NFT_BREAK,
  jump: C.NFT_JUMP,
  goto: C.NFT_GOTO,
  return: C.NFT_RETURN,
} as const;

const verdictRows = {
  /** The verdict: 'accept', 'drop', 'jump' and others. */
  verdict: attribute(C.NFTA_VERDICT_CODE, named(S32_BE, VERDICTS)),
  /** Where jump and goto go. */
  chain: opt(string(C.NFTA_VERDICT_CHAIN, 255)),
  /** The chain by the number that it has within its own transaction. */
  chainId: opt(u32be(C.NFTA_VERDICT_CHAIN_ID)),
};

/** What becomes of the packet. */
export interface Verdict extends ShapeOf<typeof verdictRows> {}

export const verdictTable: AttributeTable<Verdict> = attributes('NFTA_VERDICT', verdictRows);

/** NFT_DATA_VALUE_MAXLEN is 64. */
const VALUE = byteString({ max: 64 });

const dataTable = attributes('NFTA_DATA', () => ({
  value: opt(attribute(C.NFTA_DATA_VALUE, VALUE)),
  verdict: opt(attribute(C.NFTA_DATA_VERDICT, verdictTable)),
}));

/** The content of a register: bytes as hex, or a verdict. */
export type Data = string | Verdict;

/** NFTA_DATA_VALUE or NFTA_DATA_VERDICT, as one value. */
export const DATA: Type<Data> = {
  kind: 'nest',
  inside: dataTable as Type<unknown>,
  write(writer, data, context) {
    // Not by way of `dataTable`: every expression has one of these.
    if (typeof data === 'string' || (data as unknown) instanceof Uint8Array) {
      const start = writer.beginAttribute(C.NFTA_DATA_VALUE);
      VALUE.write(writer, data as string, context);
      writer.endAttribute(start);
    } else if (typeof data === 'object' && data !== null) {
      const start = writer.beginNest(C.NFTA_DATA_VERDICT);
      verdictTable.write(writer, data, context);
      writer.endAttribute(start);
    } else {
      throw typeError([], 'bytes as hex, or a verdict', data);
    }
  },
  read(source, start, end, context) {
    // A value alone, as nearly always.
    const size = end - start;
    if (size >= NLA_HDRLEN) {
      const length = source.view.getUint16(start, HOST_IS_LITTLE_ENDIAN);
      const type = source.view.getUint16(start + 2, HOST_IS_LITTLE_ENDIAN) & NLA_TYPE_MASK;
      if (type === C.NFTA_DATA_VALUE && length >= NLA_HDRLEN && length <= size && align4(length) >= size)
        return VALUE.read(source, start + NLA_HDRLEN, start + length, context);
    }
    const data = dataTable.read(source, start, end, context);
    if (data === undefined || data.unknown !== undefined) return undefined;
    return data.verdict === undefined || data.value === undefined ? (data.verdict ?? data.value) : undefined;
  },
  locate(source, start, end, offset, context) {
    // 'value' and 'verdict' are no fields of their own.
    return dataTable.locate(source, start, end, offset, context).slice(1);
  },
};
