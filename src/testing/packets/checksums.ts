/**
 * A checksum after bytes have been replaced (RFC 1624: HC' = ~(~HC + ~m + m')). The first byte is taken for the upper one of a word, as the
 * kernel does, wherever it stands.
 */
export function checksumWith(sum: number, old: Uint8Array, bytes: Uint8Array): number {
  let result = ~sum & 0xffff;
  for (let i = 0; i < bytes.length; i++) {
    const shift = i % 2 === 0 ? 8 : 0;
    // Of a last word only half is there.
    result += (0xffff ^ (old[i]! << shift)) + (bytes[i]! << shift);
  }
  while (result > 0xffff) result = (result & 0xffff) + (result >>> 16);
  return ~result & 0xffff;
}

const CASTAGNOLI = 0x82f63b78;

/** CRC32c of an SCTP packet: its own field counts as 0. It is written the lower byte first. */
export function sctpChecksum(bytes: Uint8Array, start: number): number {
  let sum = 0xffff_ffff;
  for (let at = start; at < bytes.length; at++) {
    const byte = at >= start + 8 && at < start + 12 ? 0 : bytes[at]!;
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? CASTAGNOLI : 0);
  }
  return ~sum >>> 0;
}
