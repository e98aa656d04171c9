import { type OptionPlace, refused } from './extension.ts';
import { leadingNumber } from './values.ts';

/* The values of the fields TOS and DSCP, as iptables takes them. */

/** Saved as numbers. */
const DSCP_CLASSES: ReadonlyMap<string, number> = new Map([
  ...Array.from({ length: 8 }, (_, i): [string, number] => [`CS${i}`, i * 8]),
  ['BE', 0],
  ['AF11', 0x0a],
  ['AF12', 0x0c],
  ['AF13', 0x0e],
  ['AF21', 0x12],
  ['AF22', 0x14],
  ['AF23', 0x16],
  ['AF31', 0x1a],
  ['AF32', 0x1c],
  ['AF33', 0x1e],
  ['AF41', 0x22],
  ['AF42', 0x24],
  ['AF43', 0x26],
  ['EF', 0x2e],
]);

/** In lower case. */
export const TOS_NAMES: ReadonlyMap<string, number> = new Map([
  ['minimize-delay', 16],
  ['maximize-throughput', 8],
  ['maximize-reliability', 4],
  ['minimize-cost', 2],
  ['normal-service', 0],
]);

/** With names, only these bits count. */
const TOS_NAME_MASK = 0x3f;

/** `0x10`, `0x10/0x3f`, or a name. */
export function parseTos(text: string, place: OptionPlace): { value: number; mask: number } {
  const value = leadingNumber(text, 0xffn);
  if (value === undefined) {
    const named = TOS_NAMES.get(text.toLowerCase());
    if (named === undefined) throw refused(place, `Symbolic name "${text}" is unknown`);
    return { value: named, mask: TOS_NAME_MASK };
  }
  const mask = value.rest[0] === '/' ? leadingNumber(value.rest.slice(1), 0xffn) : { value: 0xffn, rest: value.rest };
  if (mask === undefined || mask.rest !== '') throw refused(place, `Illegal value: "${text}"`);
  return { value: Number(value.value), mask: Number(mask.value) };
}

export function parseDscpClass(word: string, place: OptionPlace): number {
  const value = DSCP_CLASSES.get(word.toUpperCase());
  if (value === undefined) throw refused(place, `Invalid DSCP value \`${word}'`);
  return value;
}
