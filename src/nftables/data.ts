import {
  attribute,
  attributes,
  byteString,
  type Infer,
  named,
  opt,
  S32_BE,
  string,
  type Type,
  u32be,
  type Writer,
} from '../codec/index.ts';
import { typeError } from '../errors.ts';
import * as C from './constants.ts';

const VERDICTS = {
  accept: C.NF_ACCEPT,
  drop: C.NF_DROP,
  continue: C.NFT_CONTINUE,
  break: C.NFT_BREAK,
  jump: C.NFT_JUMP,
  goto: C.NFT_GOTO,
  return: C.NFT_RETURN,
} as const;

export const verdictTable = attributes('NFTA_VERDICT', {
  verdict: attribute(C.NFTA_VERDICT_CODE, named(S32_BE, VERDICTS)),
  /** Where jump and goto go. */
  chain: opt(string(C.NFTA_VERDICT_CHAIN, 255)),
  /** The chain by the number that it has within its own transaction. */
  chainId: opt(u32be(C.NFTA_VERDICT_CHAIN_ID)),
});

/** What becomes of the packet. */
export type Verdict = Infer<typeof verdictTable>;

/** NFT_DATA_VALUE_MAXLEN. */
const MAX_VALUE = 64;
const VALUE = byteString({ max: MAX_VALUE });

/** The value of a hex digit by its character code, 0xff for all others. */
const NIBBLES = Uint8Array.from({ length: 128 }, (_, code) => {
  const digit = Number.parseInt(String.fromCharCode(code), 16);
  return Number.isNaN(digit) ? 0xff : digit;
});

/** Writes hex without a detour through an array of its own; false where it is none, or too long, and nothing is written then. */
function writeHex(writer: Writer, hex: string): boolean {
  const size = hex.length / 2;
  if (!Number.isInteger(size) || size > MAX_VALUE) return false;
  const start = writer.reserve(size);
  const { bytes } = writer;
  for (let i = 0; i < size; i++) {
    const high = NIBBLES[hex.charCodeAt(2 * i)] ?? 0xff;
    const low = NIBBLES[hex.charCodeAt(2 * i + 1)] ?? 0xff;
    if (high > 15 || low > 15) {
      writer.length = start;
      return false;
    }
    bytes[start + i] = (high << 4) | low;
  }
  return true;
}

const dataTable = attributes('NFTA_DATA', {
  value: opt(attribute(C.NFTA_DATA_VALUE, VALUE)),
  verdict: opt(attribute(C.NFTA_DATA_VERDICT, verdictTable)),
});

/** The content of a register: bytes as hex, or a verdict. */
export type Data = string | Verdict;

/** NFTA_DATA_VALUE or NFTA_DATA_VERDICT, as one value. */
export const DATA: Type<Data> = {
  kind: 'nest',
  write(writer, data, context) {
    // Not by way of `dataTable`: every expression has one of these.
    if (typeof data === 'string' || (data as unknown) instanceof Uint8Array) {
      const start = writer.beginAttribute(C.NFTA_DATA_VALUE);
      // What is no hex, or too long, is refused where all bytes are.
      if (typeof data !== 'string' || !writeHex(writer, data)) VALUE.write(writer, data as string, context);
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
    const data = dataTable.read(source, start, end, context);
    if (data === undefined || data.unknown !== undefined) return undefined;
    return data.verdict === undefined || data.value === undefined ? (data.verdict ?? data.value) : undefined;
  },
  locate(source, start, end, offset, context) {
    // 'value' and 'verdict' are no fields of their own.
    return dataTable.locate(source, start, end, offset, context).slice(1);
  },
};
