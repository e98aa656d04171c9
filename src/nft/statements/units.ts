import type { Parser } from '../parse/parser.ts';
import { Undecompilable } from '../tree.ts';

/* The units of limits and quotas, by nft's words. */

/** The units in bytes. */
export const BYTE_UNITS = { bytes: 1n, kbytes: 1024n, mbytes: 1024n * 1024n } as const;
/** The units in seconds. */
export const TIME_UNITS = { second: 1n, minute: 60n, hour: 3600n, day: 86_400n, week: 604_800n } as const;

/** A unit of bytes: 1, 1024 or 1048576. */
export type ByteUnit = keyof typeof BYTE_UNITS;
/** The time unit of a rate. */
export type TimeUnit = keyof typeof TIME_UNITS;

/** The number of bytes in the largest unit that leaves a whole number. */
export function inLargestUnit(bytes: bigint): { amount: bigint; unit: ByteUnit } {
  let largest: ByteUnit = 'bytes';
  if (bytes !== 0n)
    for (const unit of ['kbytes', 'mbytes'] as const) if (bytes % BYTE_UNITS[unit] === 0n) largest = unit;
  return { amount: bytes / BYTE_UNITS[largest], unit: largest };
}

export function timeUnitOf(seconds: bigint): TimeUnit {
  for (const unit of Object.keys(TIME_UNITS) as TimeUnit[]) if (TIME_UNITS[unit] === seconds) return unit;
  throw new Undecompilable(`a limit per ${seconds} seconds`);
}

/** A word of text as a unit of bytes. nft takes all words that begin like one. */
export function byteUnit(word: string): ByteUnit | undefined {
  for (const unit of Object.keys(BYTE_UNITS) as ByteUnit[]) if (word.startsWith(unit)) return unit;
  return undefined;
}

/** Reads an amount and its unit: `25 mbytes`. The unit is undefined if nft has none that begins like the word. */
export function readAmount(p: Parser): [amount: number | bigint, unit: ByteUnit | undefined] {
  const amount = p.number();
  const { text } = p;
  if (!p.isString() && !p.isWord('bytes')) p.unexpected('string', 'bytes');
  p.next();
  return [amount, byteUnit(text)];
}
