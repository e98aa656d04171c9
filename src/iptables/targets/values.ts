import type { Info } from '../../nf_tables/xt/layout.ts';
import { guided, type OptionPlace, refused, type Value } from '../extension.ts';
import { hex, parseMark, parseNumber, text } from '../values.ts';

/* The kinds of values that only options of targets have. */

const U32 = 0xffffffff;

/** Text that is not saved if it is empty. `size` counts the final NUL. */
export function cut(key: string, size: number, options?: { required: boolean }): Value {
  const inner = text(key, size, options);
  return { ...inner, print: (info, at) => (info[key] === '' ? undefined : inner.print(info, at)) };
}

/** Text for a log: not empty, and of one line. */
export function logged(key: string, size: number): Value {
  const inner = cut(key, size, { required: true });
  return {
    words: 1,
    parse(info, words, place) {
      if (words[0]!.includes('\n')) throw refused(place, 'Newlines not allowed in --log-prefix');
      inner.parse(info, words, place);
    },
    print: inner.print,
  };
}

/** One of some words; the first one that begins with what is given counts, in upper or lower case. */
export function beginningOf(
  key: string,
  words: readonly (readonly [word: string, value: string])[],
  bad: (word: string) => string,
): Value {
  return {
    words: 1,
    parse(info, [given], place) {
      const found = words.find(([word]) => word.startsWith(given!.toLowerCase()));
      if (found === undefined) throw refused(place, bad(given!));
      info[key] = found[1];
    },
    print: info => (info[key] === undefined ? undefined : String(info[key])),
  };
}

/** Reads one number; `apply` puts it where it belongs. Saved by another option. */
export function numberFor(apply: (info: Info, value: number) => void, { min = 0, max = U32 } = {}): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      apply(info, parseBounded(text!, place, min, max));
    },
    print: () => undefined,
  };
}

/** A number within bounds, or the refusal that names them. */
export function parseBounded(text: string, place: OptionPlace, min: number, max: number): number {
  const value = parseNumber(text, max);
  if (value === undefined || value < min)
    throw guided(place, `bad value for option "--${place.option}", or out of range (${min}-${max}).`);
  return value;
}

/** A mark, and the bits of it that count. Both are saved, always. */
export function markAndMask(
  apply: (info: Info, mark: number, mask: number) => void,
  print: Value['print'] = () => undefined,
): Value {
  return {
    words: 1,
    parse(info, [text], place) {
      const { mark, mask } = parseMark(text!, U32, place);
      apply(info, mark, mask);
    },
    print,
  };
}

/** `0x1/0xff` of two members. */
export const slashed = (info: Info, value: string, mask: string): string =>
  `${hex((info[value] as number | undefined) ?? 0)}/${hex((info[mask] as number | undefined) ?? 0)}`;
