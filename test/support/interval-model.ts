import fc from 'fast-check';

/* Sets of ranges as anybody would keep them: lists of boxes, each with a first and a last number in every dimension. */

export type Span = readonly [first: bigint, last: bigint];
export type Box = readonly Span[];
export type Verb = 'add' | 'create' | 'delete';
export type Step = { verb: Verb; boxes: Box[] } | 'flush';

/** One part of a key. */
export interface Dimension {
  readonly type: string;
  readonly bits: number;
  readonly text: (value: bigint) => string;
  /** As a value of an element. */
  readonly value: (value: bigint) => string | number;
}

const ipv4 = (value: bigint): string => [24n, 16n, 8n, 0n].map(shift => String((value >> shift) & 255n)).join('.');
const ipv6 = (value: bigint): string =>
  [...Array(8).keys()].map(i => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16)).join(':');

export const IPV4: Dimension = { type: 'ipv4_addr', bits: 32, text: ipv4, value: ipv4 };
export const IPV6: Dimension = { type: 'ipv6_addr', bits: 128, text: ipv6, value: ipv6 };
export const PORT: Dimension = { type: 'inet_service', bits: 16, text: String, value: Number };

const EDGE = 9n;
export const last = ({ bits }: Dimension): bigint => (1n << BigInt(bits)) - 1n;

/** Numbers at both edges, where ranges meet often. */
const numbers = (dimension: Dimension) =>
  fc.nat({ max: Number(2n * EDGE - 1n) }).map(n => {
    const number = BigInt(n);
    return number < EDGE ? number : last(dimension) - (2n * EDGE - 1n - number);
  });

const spans = (dimension: Dimension) =>
  fc.oneof(
    fc.tuple(numbers(dimension), numbers(dimension)).map(([a, b]): Span => (a < b ? [a, b] : [b, a])),
    numbers(dimension).map((a): Span => [a, a]),
    fc.constant<Span>([0n, last(dimension)]),
  );

export const boxes = (dimensions: readonly Dimension[]): fc.Arbitrary<Box> => fc.tuple(...dimensions.map(spans));

export function steps(dimensions: readonly Dimension[], verbs: readonly Verb[]): fc.Arbitrary<Step[]> {
  // What is created is so alone: of a list, the forms of writing tell duplicates apart in different ways.
  const step = fc
    .record({
      verb: fc.constantFrom(...verbs),
      boxes: fc.array(boxes(dimensions), { minLength: 1, maxLength: 3 }),
    })
    .map(({ verb, boxes }) => ({ verb, boxes: verb === 'create' ? boxes.slice(0, 1) : boxes }));
  return fc.array(fc.oneof({ weight: 12, arbitrary: step }, { weight: 1, arbitrary: fc.constant('flush' as const) }), {
    minLength: 1,
    maxLength: 3,
  });
}

export const same = (a: Box, b: Box): boolean => a.every(([from, to], i) => from === b[i]![0] && to === b[i]![1]);
export const meets = (a: Box, b: Box): boolean => a.every(([from, to], i) => from <= b[i]![1] && b[i]![0] <= to);
const contains = (a: Box, b: Box): boolean => a.every(([from, to], i) => from <= b[i]![0] && b[i]![1] <= to);

/** 'overlap', 'exists' or 'missing' where a transaction is refused. */
export type Refusal = 'overlap' | 'exists' | 'missing';

/** The state after a transaction, or why there is none. */
export function after(state: readonly Box[], transaction: readonly Step[], merges: boolean): Box[] | Refusal {
  let now = [...state];
  for (const step of transaction) {
    if (step === 'flush') {
      now = [];
      continue;
    }
    const before = now;
    for (const box of step.boxes) {
      const next: Box[] | Refusal =
        step.verb === 'delete'
          ? without(now, box, merges)
          : merges
            ? merged(now, box, step.verb === 'create' ? before : [])
            : withOne(now, box, step.verb);
      if (typeof next === 'string') return next;
      now = next;
    }
  }
  return now;
}

function withOne(state: Box[], box: Box, verb: Verb): Box[] | Refusal {
  if (state.some(other => same(other, box))) return verb === 'create' ? 'exists' : state;
  return state.some(other => meets(other, box)) ? 'overlap' : [...state, box];
}

/** `mustNotMeet`: what was there before a list of elements that are created. */
function merged(state: Box[], box: Box, mustNotMeet: readonly Box[]): Box[] | Refusal {
  if (mustNotMeet.some(other => same(other, box))) return 'exists';
  if (mustNotMeet.some(other => meets(other, box))) return 'overlap';
  let [[from, to]] = box as [Span];
  const apart: Box[] = [];
  for (const other of state) {
    const [first, end] = other[0]!;
    if (first > to + 1n || end + 1n < from) apart.push(other);
  }
  for (const other of state) {
    if (apart.includes(other)) continue;
    const [first, end] = other[0]!;
    if (first < from) from = first;
    if (end > to) to = end;
  }
  return [...apart, [[from, to]]];
}

function without(state: Box[], box: Box, merges: boolean): Box[] | Refusal {
  const there = state.find(other => (merges ? contains(other, box) : same(other, box)));
  if (there === undefined) return 'missing';
  const others = state.filter(other => other !== there);
  if (!merges) return others;
  const [[first, end]] = there as [Span];
  const [[from, to]] = box as [Span];
  if (first < from) others.push([[first, from - 1n]]);
  if (to < end) others.push([[to + 1n, end]]);
  return others;
}

export const sorted = (state: readonly Box[]): string[] =>
  state.map(box => box.map(span => span.join('-')).join(' . ')).sort();

/** '10.0.0.1', '1-9', '10.0.0.1 . 1-9', as nft takes it. */
export const textOf = (box: Box, dimensions: readonly Dimension[]): string =>
  box
    .map(([from, to], i) => {
      const { text } = dimensions[i]!;
      return from === to ? text(from) : `${text(from)}-${text(to)}`;
    })
    .join(' . ');
