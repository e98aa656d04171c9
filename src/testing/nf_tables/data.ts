import { NF_ACCEPT, NF_DROP } from '../../linux/netfilter.ts';
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
import { EBUSY, EINVAL, ENOENT, EOPNOTSUPP, EOVERFLOW, ERANGE, refuse } from '../refusal.ts';
import type { Attribute, Attributes, Writer } from '../wire/attributes.ts';
import type { Batch, RuleContext } from './context.ts';
import { DATA, VERDICT } from './policies.ts';
import { parsed, parsedInside } from './policy.ts';
import type { Chain, Table, Verdict } from './state.ts';

const PLAIN = new Set([NF_DROP, NF_ACCEPT, NFT_CONTINUE, NFT_BREAK, NFT_RETURN]);

interface Wanted {
  /** Both are taken where it is left out. */
  readonly wants?: 'value' | 'verdict';
  /** How long a value must be. */
  readonly length?: number | undefined;
  readonly ofElement?: boolean;
}

/** A value or a verdict (nft_data_init). */
export function readData(
  context: Pick<RuleContext, 'work' | 'table'>,
  within: Attributes,
  attribute: Attribute,
  most: number,
  { wants, length, ofElement = false }: Wanted = {},
): Uint8Array | Verdict {
  const inside = parsedInside(within, attribute, DATA);
  const value = inside.get(NFTA_DATA_VALUE);
  if (value !== undefined) {
    if (wants === 'verdict' || value.bytes.length === 0) refuse(EINVAL);
    if (value.bytes.length > most) refuse(EOVERFLOW);
    if (length !== undefined && value.bytes.length !== length) refuse(EINVAL);
    return value.bytes.slice();
  }
  const verdict = parsed(inside, NFTA_DATA_VERDICT, VERDICT);
  return verdict === undefined || wants === 'value' ? refuse(EINVAL) : readVerdict(context, verdict, ofElement);
}

/** A value of a length that is known: a key of a set. */
export function readValue(
  context: Pick<RuleContext, 'work' | 'table'>,
  within: Attributes,
  attribute: Attribute,
  most: number,
  length?: number,
): Uint8Array {
  return readData(context, within, attribute, most, { wants: 'value', length }) as Uint8Array;
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
  const chain = name === undefined ? madeChain(work.batch, table, id!) : table.chains.find(each => each.name === name);
  return chain ?? refuse(ENOENT);
}

/** A chain by the number that this batch has given it, the first of equal numbers; it may be gone again. */
export function madeChain({ chains }: Batch, table: Table, id: number): Chain | undefined {
  return chains.find(each => each.id === id && each.chain.table === table && table.chains.includes(each.chain))?.chain;
}

/** A chain that belongs to one rule gets it (nf_tables_bind_chain). */
export function bindChain({ work, chain: from }: RuleContext, chain: Chain | undefined): void {
  if (chain === undefined || !chain.binding) return;
  if (from?.binding === true) refuse(EOPNOTSUPP);
  if (chain.bound) refuse(EBUSY);
  chain.bound = true;
  chain.jumps++;
  work.batch.undo.push(() => {
    chain.bound = false;
    chain.jumps--;
  });
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

/** A copy of what a program keeps with an object; empty ones are none. */
export const presentBytes = (bytes: Uint8Array | undefined): Uint8Array | undefined =>
  bytes === undefined || bytes.length === 0 ? undefined : bytes.slice();

/** HZ 250: times are cut to jiffies. */
const JIFFY = 4n;
/** So many milliseconds are too many nanoseconds. */
const TOO_LONG = ((1n << 64n) - 1n) / 1_000_000n;

/** Milliseconds as the kernel keeps them: whole jiffies, at least one (nf_msecs_to_jiffies64). */
export function jiffies(milliseconds: bigint): bigint {
  if (milliseconds >= TOO_LONG) refuse(ERANGE);
  const cut = (milliseconds / JIFFY) * JIFFY;
  return cut === 0n && milliseconds > 0n ? JIFFY : cut;
}
