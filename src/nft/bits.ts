import { HOST_IS_LITTLE_ENDIAN } from '../codec/index.ts';

/* Arithmetic of bits. */

const LOW = 0xffffffffn;

/** The place of the lowest bit that is set; Infinity where there is none. */
export function lowestOne(number: bigint): number {
  if (number === 0n) return Infinity;
  let rest = number;
  let place = 0;
  while ((rest & LOW) === 0n) {
    rest >>= 32n;
    place += 32;
  }
  const low = Number(rest & LOW) | 0;
  return place + 31 - Math.clz32(low & -low);
}

/** The place of the lowest bit from `from` on that is not set. */
export function lowestZero(number: bigint, from: number): number {
  if (from === Infinity) return Infinity;
  let rest = number >> BigInt(from);
  let place = from;
  while ((rest & LOW) === LOW) {
    rest >>= 32n;
    place += 32;
  }
  const low = ~Number(rest & LOW) | 0;
  return place + 31 - Math.clz32(low & -low);
}

export function countOnes(number: bigint): number {
  let count = 0;
  for (let rest = number; rest > 0n; rest &= rest - 1n) count++;
  return count;
}

const MASKS: readonly bigint[] = /* @__PURE__ */ Array.from({ length: 129 }, (_, bits) => (1n << BigInt(bits)) - 1n);
/** So many ones. */
export const bitmask = (bits: number): bigint => MASKS[bits] ?? (1n << BigInt(bits)) - 1n;
export const prefixMask = (bits: number, length: number): bigint => bitmask(bits) ^ bitmask(bits - length);

export const bytesOf = (bits: number): number => (bits + 7) >> 3;
/** Registers are filled up to four bytes. */
export const paddedBits = (bits: number): number => (bits + 31) & ~31;
export const paddedBytes = (bits: number): number => paddedBits(bits) >> 3;

export function reverseBytes(number: bigint, bytes: number): bigint {
  if (bytes <= 1) return number;
  let result = 0n;
  let rest = number;
  for (let i = 0; i < bytes; i++) {
    result = (result << 8n) | (rest & 0xffn);
    rest >>= 8n;
  }
  return result;
}

/** The number that has these bytes in this machine's order instead of the packet's, and back. */
export const swapped = (number: bigint, bytes: number): bigint =>
  HOST_IS_LITTLE_ENDIAN ? reverseBytes(number, bytes) : number;

/** From the order of the bytes in memory to the number that this machine reads there, and back. */
export function switchOrder(node: { value: bigint; bits: number }): void {
  if (HOST_IS_LITTLE_ENDIAN) node.value = reverseBytes(node.value, Math.floor(node.bits / 8));
}

/** The text that a number is, as this machine has it in memory. */
export function textOf(number: bigint, bits: number): string {
  const length = bytesOf(bits);
  const bytes = Buffer.alloc(length);
  let rest = number;
  for (let i = 0; i < length; i++) {
    bytes[HOST_IS_LITTLE_ENDIAN ? i : length - 1 - i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? length : end);
}

/** The number that a text is in this machine's memory. */
export function textNumber(text: string): { value: bigint; bits: number } {
  const bytes = Buffer.from(text);
  let number = 0n;
  for (let i = 0; i < bytes.length; i++) {
    number = (number << 8n) | BigInt(bytes[HOST_IS_LITTLE_ENDIAN ? bytes.length - 1 - i : i]!);
  }
  return { value: number, bits: bytes.length * 8 };
}
