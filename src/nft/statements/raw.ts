import { printable, typeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { type Compile, emit } from '../compile/lower.ts';
import type { Vocabulary } from '../decompile/format-value.ts';

/* `raw`: the kernel's own expressions, for what nft has no words for. It is a statement of netsteer's, not of nft's. */

export const compileRaw: Compile = (e, json, place) => {
  if (!Array.isArray(json)) throw typeError(place.path, 'an array of expressions', json);
  for (const expression of json as Expression[]) emit(e, expression);
};

/** Something that nft has no words for, as text that it does not read. */
export function bracketed(content: object, words: Vocabulary): string {
  words.unwritable.note('what nft has no words for');
  const json = JSON.stringify(content, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
  return `[ ${printable(json)} ]`;
}
