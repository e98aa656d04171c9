import { HOST_IS_LITTLE_ENDIAN } from '../../codec/index.ts';
import type { ByteOrder } from '../data/datatypes.ts';

/** Returns the bytes of a number in a register as hex. A number without a byte order is written in network byte order. */
export function toBytes(number: bigint, order: ByteOrder, bytes: number): string {
  if (bytes <= 4 && number <= 0xffffffffn)
    return smallBytes(Number(number), order === 'host' && HOST_IS_LITTLE_ENDIAN, bytes);
  let hex = number.toString(16);
  if (hex.length > bytes * 2) hex = hex.slice(hex.length - bytes * 2);
  else if (hex.length < bytes * 2) hex = hex.padStart(bytes * 2, '0');
  return order === 'host' && HOST_IS_LITTLE_ENDIAN ? reverse(hex) : hex;
}

/** The hex digits of each byte value. */
const BYTES: readonly string[] = /* @__PURE__ */ Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, '0'),
);

/** A fast path without big integers: nearly all compared values have at most four bytes. */
function smallBytes(number: number, little: boolean, bytes: number): string {
  if (bytes === 1) return BYTES[number & 0xff]!;
  const low = BYTES[number & 0xff]!;
  const second = BYTES[(number >>> 8) & 0xff]!;
  if (bytes === 2) return little ? low + second : second + low;
  const third = BYTES[(number >>> 16) & 0xff]!;
  if (bytes === 3) return little ? low + second + third : third + second + low;
  const high = BYTES[number >>> 24]!;
  return little ? low + second + third + high : high + third + second + low;
}

export function fromBytes(hex: string, order: ByteOrder): bigint {
  return BigInt(`0x${(order === 'host' && HOST_IS_LITTLE_ENDIAN ? reverse(hex) : hex) || '0'}`);
}

function reverse(hex: string): string {
  let reversed = '';
  for (let i = hex.length - 2; i >= 0; i -= 2) reversed += hex[i]! + hex[i + 1]!;
  return reversed;
}

const ENCODER = /* @__PURE__ */ new TextEncoder();

/** Returns text as hex, without a NUL at its end. */
export function textBytes(text: string): string {
  let hex = '';
  for (const byte of ENCODER.encode(text)) hex += byte.toString(16).padStart(2, '0');
  return hex;
}
