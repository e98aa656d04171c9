import {
  NFT_BREAK,
  NFT_CONTINUE,
  NFT_GOTO,
  NFT_JUMP,
  NFT_RETURN,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CHAIN_ID,
  NFTA_VERDICT_CODE,
} from '../../linux/nf_tables.ts';
import { EINVAL, ENOENT, EOPNOTSUPP, EOVERFLOW, refuse } from '../refusal.ts';
import type { Attribute, Attributes, Writer } from '../wire/attributes.ts';
import type { RuleContext } from './context.ts';
import type { Chain, Verdict } from './state.ts';

const NF_DROP = 0;
const NF_ACCEPT = 1;
const PLAIN = new Set([NF_DROP, NF_ACCEPT, NFT_CONTINUE, NFT_BREAK, NFT_RETURN]);

/** A value or a verdict (nft_data_init). */
export function readData(
  context: Pick<RuleContext, 'work' | 'table'>,
  within: Attributes,
  attribute: Attribute,
  most: number,
  ofElement = false,
): Uint8Array | Verdict {
  const inside = within.inside(attribute);
  const value = inside.get(NFTA_DATA_VALUE);
  if (value !== undefined) {
    if (value.bytes.length === 0) refuse(EINVAL);
    if (value.bytes.length > most) refuse(EOVERFLOW);
    return value.bytes.slice();
  }
  const verdict = inside.nested(NFTA_DATA_VERDICT);
  return verdict === undefined ? refuse(EINVAL) : readVerdict(context, verdict, ofElement);
}

function readVerdict(context: Pick<RuleContext, 'work' | 'table'>, inside: Attributes, ofElement: boolean): Verdict {
  const code = inside.u32be(NFTA_VERDICT_CODE);
  if (code === undefined) return refuse(EINVAL);
  const signed = code | 0;
  if (PLAIN.has(signed)) return { code: signed };
  if (signed !== NFT_JUMP && signed !== NFT_GOTO) return refuse(EINVAL);
  const chain = jumpTarget(context, inside);
  if (chain.base !== undefined) refuse(EOPNOTSUPP);
  if (chain.binding && (ofElement || chain.bound)) refuse(EINVAL);
  return { code: signed, chain };
}

function jumpTarget({ work, table }: Pick<RuleContext, 'work' | 'table'>, inside: Attributes): Chain {
  const name = inside.text(NFTA_VERDICT_CHAIN);
  const id = inside.u32be(NFTA_VERDICT_CHAIN_ID);
  if (name === undefined && id === undefined) return refuse(EINVAL);
  const chain = name === undefined ? work.batch.chains.get(id!) : table.chains.find(each => each.name === name);
  return chain ?? refuse(ENOENT);
}

/** Counts a jump to a chain, for as long as the batch holds. */
export function count(context: Pick<RuleContext, 'work'>, verdict: Verdict | undefined, by: 1 | -1): void {
  const chain = verdict?.chain;
  if (chain === undefined) return;
  chain.jumps += by;
  context.work.batch.undo.push(() => {
    chain.jumps -= by;
  });
}

export function writeData(writer: Writer, type: number, data: Uint8Array | Verdict): void {
  writer.nest(type, () => {
    if (data instanceof Uint8Array) writer.attribute(NFTA_DATA_VALUE, data);
    else
      writer.nest(NFTA_DATA_VERDICT, () => {
        writer.u32be(NFTA_VERDICT_CODE, data.code);
        if (data.chain !== undefined) writer.text(NFTA_VERDICT_CHAIN, data.chain.name);
      });
  });
}
