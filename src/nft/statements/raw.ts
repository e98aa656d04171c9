import { printable, typeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { type Compile, emit } from '../compile/lower.ts';
import type { Vocabulary } from '../decompile/format-value.ts';

/* `raw`: the kernel's own expressions, where nft has no words. nft has no such statement; netsteer does. */

export const compileRaw: Compile = (e, json, place) => {
  if (!Array.isArray(json)) throw typeError(place.path, 'an array of expressions', json);
  for (const expression of json as Expression[]) emit(e, expression);
};

/** The text of something that nft has no words for. nft cannot read it. */
export function bracketed(content: object, words: Vocabulary): string {
  words.unwritable.note('what nft has no words for');
  const json = JSON.stringify(content, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
  return `[ ${printable(json)} ]`;
}
