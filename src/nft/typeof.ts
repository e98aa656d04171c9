import { fromHex, HOST_IS_LITTLE_ENDIAN, toHex } from '../codec/index.ts';
import { bytesOf, paddedBits } from './bits.ts';
import { concatenationOf, TYPES } from './data/datatypes.ts';
import type { Dialect } from './data/dialects.ts';
import type { NumberAt, TypeofRow } from './expressions/expression.ts';
import { EXPRESSIONS, expressionOf } from './expressions/registry.ts';
import { concat, value, verdict } from './nodes.ts';
import type { Node } from './tree.ts';

/*
 * The description that nft stores with a set to know its keys and values: `typeof tcp dport`. It has a record of the kind of expression,
 * and a record of its numbers. Each record is a type and a length (a byte each), then the value. Numbers are four bytes in the host's
 * order. The kernel stores the bytes and does not read them. The kinds and numbers of an expression are in its file in expressions/.
 */

/** The kinds of nodes that are no loads (EXPR_*). */
const VERDICT: TypeofRow = { kind: 1, needs: [] };
const VALUE: TypeofRow = { kind: 4, needs: [], newer: true };
const CONCAT: TypeofRow = { kind: 13, needs: [] };

const KIND = 0;
const DATA = 1;
/** nft reads no more parts of a concatenation than this. */
const MOST_PARTS = 4;
const NUMBER_BYTES = 4;
const VERDICT_BITS = 128;

/** Returns the description of a key or a value as hex; undefined if nft has none. */
export function describe(node: Node, dialect: Dialect): string | undefined {
  const kind = kindOf(node, dialect);
  if (kind === undefined) return undefined;
  const records = new Records();
  records.number(KIND, kind);
  records.nest(DATA, () => {
    describeData(records, node, dialect);
    return true;
  });
  return records.hex;
}

class Records {
  readonly #bytes: number[] = [];

  number(type: number, number: number): void {
    this.#bytes.push(type, NUMBER_BYTES);
    for (let i = 0; i < NUMBER_BYTES; i++)
      this.#bytes.push((number >>> ((HOST_IS_LITTLE_ENDIAN ? i : NUMBER_BYTES - 1 - i) * 8)) & 0xff);
  }

  /** Writes a nested record. Returns false if `work` could not finish; the bytes that it has written stay. */
  nest(type: number, work: () => boolean): boolean {
    this.#bytes.push(type, 0);
    const start = this.#bytes.length;
    const whole = work();
    this.#bytes[start - 1] = whole ? this.#bytes.length - start : 0;
    return whole;
  }

  get hex(): string {
    return toHex(Uint8Array.from(this.#bytes));
  }
}

function rowOf(node: Node): TypeofRow | undefined {
  switch (node.kind) {
    case 'payload':
    case 'exthdr':
    case 'meta':
    case 'ct':
    case 'load':
      return expressionOf(node).typeof;
    case 'verdict':
      return VERDICT;
    case 'value':
      return VALUE;
    case 'concat':
      return CONCAT;
    default:
      return undefined;
  }
}

function kindOf(node: Node, dialect: Dialect): number | undefined {
  const row = rowOf(node);
  if (row === undefined || (row.newer && !dialect.describesConstants)) return undefined;
  return dialect.countsTunnelKind ? row.kind : (row.oldKind ?? row.kind);
}

function describeData(records: Records, node: Node, dialect: Dialect): boolean {
  switch (node.kind) {
    case 'payload':
    case 'exthdr':
    case 'meta':
    case 'ct':
    case 'load':
      for (const [type, number] of expressionOf(node).describe(node)) records.number(type, number);
      return true;
    case 'verdict':
      return true;
    case 'concat':
      return node.parts.every((part, i) => describePart(records, part, i, dialect));
    default:
      return false;
  }
}

function describePart(records: Records, part: Node, index: number, dialect: Dialect): boolean {
  let described = part;
  if (dialect.describesCalculations) while (described.kind === 'binary') described = described.left;
  // Of a field whose bits need no shift, nft 1.0.6 describes the field, too.
  else if (described.kind === 'binary' && described.op === '&' && described.left.kind === 'payload')
    described = described.left;
  const kind = kindOf(described, dialect);
  if (kind === undefined || index >= MOST_PARTS) return false;
  return records.nest(index, () => {
    records.number(KIND, kind);
    return records.nest(DATA, () => describeData(records, described, dialect));
  });
}

type RecordMap = ReadonlyMap<number, Uint8Array>;

function recordsOf(bytes: Uint8Array): RecordMap | undefined {
  const found = new Map<number, Uint8Array>();
  for (let at = 0; at < bytes.length; ) {
    const end = at + 2 + (bytes[at + 1] ?? 0);
    if (at + 2 > bytes.length || end > bytes.length) return undefined;
    found.set(bytes[at]!, bytes.subarray(at + 2, end));
    at = end;
  }
  return found;
}

function numberIn(records: RecordMap | undefined, type: number): number | undefined {
  const bytes = records?.get(type);
  if (bytes?.length !== NUMBER_BYTES) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset, NUMBER_BYTES).getUint32(0, HOST_IS_LITTLE_ENDIAN);
}

/** Returns the expression of a description; undefined if it is not understood. The set's types count then. */
export function described(hex: string): Node | undefined {
  const bytes = fromHex(hex);
  return bytes && nodeIn(recordsOf(bytes));
}

function nodeIn(records: RecordMap | undefined): Node | undefined {
  const kind = numberIn(records, KIND);
  const data = records?.get(DATA);
  const fields = data && recordsOf(data);
  if (kind === undefined || fields === undefined) return undefined;
  const at: NumberAt = type => numberIn(fields, type);
  switch (kind) {
    case VERDICT.kind: {
      const node = verdict('verdict');
      node.bits = VERDICT_BITS;
      return node;
    }
    case VALUE.kind:
      return at(0) === 0 ? value(TYPES.queue.bits, 0n, TYPES.queue, 'host') : undefined;
    case CONCAT.kind:
      return concatIn(fields);
    default:
      return expressionByKind(kind, at)?.described(at);
  }
}

/**
 * Finds the expression of a number. Newer versions of nft use some numbers of 1.0.6 for other expressions. The one that needs most of the
 * given numbers is meant.
 */
function expressionByKind(kind: number, at: NumberAt) {
  const found = Object.values(EXPRESSIONS).filter(
    ({ typeof: row }) =>
      (row.kind === kind || row.oldKind === kind) && row.needs.every(number => at(number) !== undefined),
  );
  return found.sort((a, b) => b.typeof.needs.length - a.typeof.needs.length)[0];
}

function concatIn(fields: RecordMap): Node | undefined {
  const parts: Node[] = [];
  let bits = 0;
  for (const type of fields.keys()) if (type >= MOST_PARTS) return undefined;
  for (let i = 0; i < MOST_PARTS; i++) {
    const nested = fields.get(i);
    if (nested === undefined) break;
    const records = recordsOf(nested);
    if ((records?.get(DATA)?.length ?? 0) <= NUMBER_BYTES) return undefined;
    const part = nodeIn(records);
    if (part === undefined) return undefined;
    parts.push(part);
    bits += paddedBits(part.bits);
  }
  if (parts.length < 2) return undefined;
  const node = concat(parts);
  node.bits = bits;
  node.type = concatenationOf(parts.map(part => part.type));
  node.fields = parts.map(part => bytesOf(part.bits));
  return node;
}

/* Descriptions that nft 1.0.6 can read. */

interface Described {
  keyTypeof?: string;
  dataTypeof?: string;
}

/**
 * Returns a set without the descriptions that crash nft 1.0.6, which many systems still have. These are the ones of constants, IPsec,
 * hashes with a seed, and fields that it does not know. Every nft then uses the set's types instead.
 */
export function withReadableTypeof<T extends Described>(set: T): T {
  const { keyTypeof, dataTypeof, ...rest } = set;
  const kept = {
    ...rest,
    ...(isReadable(keyTypeof) && { keyTypeof }),
    ...(isReadable(dataTypeof) && { dataTypeof }),
  };
  return kept as unknown as T;
}

/** Returns whether a set has a description that crashes nft 1.0.6. */
export const hasUnreadableTypeof = ({ keyTypeof, dataTypeof }: Described): boolean =>
  [keyTypeof, dataTypeof].some(description => description !== undefined && !isReadable(description));

const isReadable = (description: string | undefined): boolean => {
  const bytes = description === undefined ? undefined : fromHex(description);
  return bytes !== undefined && isReadByAll(bytes, false);
};

/** Returns whether every nft can read the description. nft gives up a whole concatenation if it does not know the kind of one part. */
function isReadByAll(description: Uint8Array, isPart: boolean): boolean {
  const records = recordsOf(description);
  const kind = numberIn(records, KIND);
  const fields = recordsOf(records?.get(DATA) ?? new Uint8Array(0));
  const at: NumberAt = type => numberIn(fields, type);
  if (kind === VERDICT.kind) return true;
  if (kind === CONCAT.kind) return [...(fields?.values() ?? [])].every(part => isReadByAll(part, true));
  const expression = Object.values(EXPRESSIONS).find(({ typeof: row }) => row.kind === kind);
  // An unknown kind does no harm in a part, because nft gives up the concatenation.
  if (!isPart && (expression === undefined || expression.typeof.isUnsafe)) return false;
  return expression?.isSafe?.(at) ?? true;
}
