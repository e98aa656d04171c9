import type { Context, Source, Writer } from '../../codec/index.ts';
import { rangeError, typeError } from '../../errors.ts';
import type { Info, Layout } from './layout.ts';

/* The structure of the match u32 (include/uapi/linux/netfilter/xt_u32.h): up to eleven tests, each with up to eleven steps and ranges. */

const MOST = 11;
const TEST_BYTES = 180;
const SIZE = 1984;
const OPERATIONS = ['and', 'left', 'right', 'at'] as const;

/** One step to the number that is compared: it is taken at an offset, or changed. */
export interface U32Step {
  /** Of the first step none. */
  operation?: (typeof OPERATIONS)[number];
  /** What the operation takes: an offset, a mask, or a number of bits. */
  number: number;
}

/** A number of the packet, and the ranges that it may be in. */
export interface U32Test {
  /** How the number is read of the packet. */
  steps: U32Step[];
  /** It must be in one of these. */
  ranges: [first: number, last: number][];
}

function write(writer: Writer, info: Info, _context: Context): void {
  const tests = info.tests as U32Test[] | undefined;
  if (!Array.isArray(tests) || tests.length > MOST)
    throw rangeError(['tests'], `an array of at most ${MOST} tests`, tests);
  const bytes = new Uint8Array(SIZE);
  const view = new DataView(bytes.buffer);
  for (const [i, { steps, ranges }] of tests.entries()) {
    if (steps.length < 1 || steps.length > MOST || ranges.length < 1 || ranges.length > MOST)
      throw rangeError(['tests', i], `1 to ${MOST} steps and ranges`, tests[i]);
    const at = i * TEST_BYTES;
    for (const [n, { number }] of steps.entries()) {
      view.setUint32(at + n * 8, number, LITTLE);
      const next = steps[n + 1]?.operation;
      const operation = next === undefined ? 0 : OPERATIONS.indexOf(next);
      if (operation < 0)
        throw typeError(['tests', i, 'steps', n + 1, 'operation'], `one of ${OPERATIONS.join(', ')}`, next);
      bytes[at + (n + 1) * 8 + 4] = n + 1 < steps.length ? operation : 0;
    }
    for (const [n, [first, last]] of ranges.entries()) {
      view.setUint32(at + 88 + n * 8, first, LITTLE);
      view.setUint32(at + 88 + n * 8 + 4, last, LITTLE);
    }
    bytes[at + 176] = steps.length;
    bytes[at + 177] = ranges.length;
  }
  bytes[MOST * TEST_BYTES] = tests.length;
  bytes[MOST * TEST_BYTES + 1] = info.invert === true ? 1 : 0;
  writer.raw(bytes);
}

function read({ bytes, view }: Source, start: number): Info | undefined {
  const count = bytes[start + MOST * TEST_BYTES]!;
  if (count > MOST) return undefined;
  const tests: U32Test[] = [];
  for (let i = 0; i < count; i++) {
    const at = start + i * TEST_BYTES;
    const [numbers, values] = [bytes[at + 176]!, bytes[at + 177]!];
    if (numbers > MOST || values > MOST) return undefined;
    const test: U32Test = { steps: [], ranges: [] };
    for (let n = 0; n < numbers; n++) {
      const number = view.getUint32(at + n * 8, LITTLE);
      const operation = OPERATIONS[bytes[at + n * 8 + 4]!];
      test.steps.push(n === 0 || operation === undefined ? { number } : { operation, number });
    }
    for (let n = 0; n < values; n++)
      test.ranges.push([view.getUint32(at + 88 + n * 8, LITTLE), view.getUint32(at + 92 + n * 8, LITTLE)]);
    tests.push(test);
  }
  return bytes[start + MOST * TEST_BYTES + 1] === 0 ? { tests } : { tests, invert: true };
}

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

export const U32_LAYOUT: Layout = { size: SIZE, keys: ['tests', 'invert'], write, read };
