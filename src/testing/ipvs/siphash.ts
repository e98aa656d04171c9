/* SipHash with one round a word and three at the end: hsiphash() of lib/siphash.c on 64-bit kernels. Words of 64 bits are pairs of 32 here. */

type Pair = [high: number, low: number];

const pair = (value: bigint): Pair => [Number(value >> 32n) | 0, Number(value & 0xffff_ffffn) | 0];

function add(a: Pair, b: Pair): void {
  const low = (a[1] >>> 0) + (b[1] >>> 0);
  a[0] = (a[0] + b[0] + (low > 0xffff_ffff ? 1 : 0)) | 0;
  a[1] = low | 0;
}
function exclusive(a: Pair, b: Pair): void {
  a[0] ^= b[0];
  a[1] ^= b[1];
}
function rotate(a: Pair, by: number): void {
  const [high, low] = a;
  if (by === 32) {
    a[0] = low;
    a[1] = high;
    return;
  }
  a[0] = (high << by) | (low >>> (32 - by));
  a[1] = (low << by) | (high >>> (32 - by));
}

function round(v0: Pair, v1: Pair, v2: Pair, v3: Pair): void {
  add(v0, v1);
  rotate(v1, 13);
  exclusive(v1, v0);
  rotate(v0, 32);
  add(v2, v3);
  rotate(v3, 16);
  exclusive(v3, v2);
  add(v0, v3);
  rotate(v3, 21);
  exclusive(v3, v0);
  add(v2, v1);
  rotate(v1, 17);
  exclusive(v1, v2);
  rotate(v2, 32);
}

/** Of one word of 32 bits, with both halves of the key the same. */
export function hsiphash(word: number, key: bigint): number {
  const v0 = pair(0x736f6d6570736575n ^ key);
  const v1 = pair(0x646f72616e646f6dn ^ key);
  const v2 = pair(0x6c7967656e657261n ^ key);
  const v3 = pair(0x7465646279746573n ^ key);
  // The length stands in the highest byte.
  const block: Pair = [4 << 24, word | 0];
  exclusive(v3, block);
  round(v0, v1, v2, v3);
  exclusive(v0, block);
  v2[1] ^= 0xff;
  for (let i = 0; i < 3; i++) round(v0, v1, v2, v3);
  return (v0[1] ^ v1[1] ^ v2[1] ^ v3[1]) >>> 0;
}
