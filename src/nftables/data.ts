import {
  attribute,
  attributes,
  bytes,
  type Infer,
  named,
  opt,
  S32_BE,
  string,
  type Type,
  u32be,
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

const dataTable = attributes('NFTA_DATA', {
  value: opt(bytes(C.NFTA_DATA_VALUE, { max: 64 })),
  verdict: opt(attribute(C.NFTA_DATA_VERDICT, verdictTable)),
});

/** The content of a register: bytes as hex, or a verdict. */
export type Data = string | Verdict;

/** NFTA_DATA_VALUE or NFTA_DATA_VERDICT, as one value. */
export const DATA: Type<Data> = {
  kind: 'nest',
  write(writer, data, context) {
    if (typeof data === 'object' && data !== null && !((data as unknown) instanceof Uint8Array)) {
      dataTable.write(writer, { verdict: data }, context);
    } else if (typeof data === 'string' || (data as unknown) instanceof Uint8Array) {
      dataTable.write(writer, { value: data as string }, context);
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
