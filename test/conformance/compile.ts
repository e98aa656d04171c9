import { fromHex, sourceOf } from '../../src/codec/index.ts';
import { messagesIn } from '../../src/netlink/index.ts';
import { type CompiledSet, compileRule } from '../../src/nft/compile/compile.ts';
import { Names } from '../../src/nft/names.ts';
import { parseRule } from '../../src/nft/parse-rule.ts';
import type { Statement } from '../../src/nft/statements/registry.ts';
import { decodeMessage, encodeMessage, type Family, type NftMessage, type NftSet } from '../../src/nftables/index.ts';
import { filesLike, type Outcome, readLines, tryAll } from './corpus.ts';

interface Case {
  t: string;
  line: number;
  family: Family;
  table: string;
  chain: string;
  rule: string;
  sent: string[];
  dump?: string[];
  json?: Statement[];
}

/** Way 3: the statements that nft lists for a rule are compiled to what nft has sent for it. */
export function compile(): Outcome[] {
  return filesLike(/^nft-.*-rules\.jsonl\.gz$/).map(file => {
    const version = file.includes('1.0.6') ? '1.0.6' : '1.1.6';
    const cases = readLines<Case>(file).filter(one => one.json !== undefined && one.sent.length > 0);
    return tryAll('compile', file, cases, nameOf, one => differenceIn(one, version));
  });
}

/** The recorded text of each rule is parsed, and compiled to what nft has sent for it. */
export function parse(): Outcome[] {
  return filesLike(/^nft-.*-rules\.jsonl\.gz$/).map(file => {
    const version = file.includes('1.0.6') ? '1.0.6' : '1.1.6';
    const cases = readLines<Case>(file).filter(one => (one.sent ?? []).length > 0);
    return tryAll('parse', file, cases, nameOf, one =>
      differenceIn({ ...one, json: parseRule(one.rule, { family: one.family, version }) }, version),
    );
  });
}

// The names of this system: the recordings have some of Debian.
const names = new Names();

const nameOf = ({ t, line, family, rule }: Case): string => `${t}:${line} ${family}: ${rule}`;

function decoded(datagrams: readonly string[]): NftMessage[] {
  return datagrams.flatMap(hex => {
    const bytes = fromHex(hex);
    if (bytes === undefined) throw new Error(`not hex: ${hex}`);
    return [...messagesIn(sourceOf(bytes))].map(({ start, end }) => decodeMessage(bytes.subarray(start, end)));
  });
}

function differenceIn(one: Case, version: '1.1.6' | '1.0.6'): string | undefined {
  const sent = decoded(one.sent);
  const existing = decoded(one.dump ?? [])
    .filter(message => message.type === 'newset')
    .map(message => ({ family: one.family, ...message.object }) as unknown as NftSet);
  const rule = compileRule(
    { family: one.family, chain: one.chain, statements: one.json! },
    {
      version,
      names,
      table: one.table,
      sets: existing,
    },
  );
  const expected = comparable(sent);
  const written = (rule.sets ?? []).flatMap(set => messagesOf(set, one.family));
  const object = { table: one.table, chain: one.chain, expressions: rule.expressions };
  const actual = comparable([...written, roundTrip('newrule', one.family, object)]);
  return expected === actual ? undefined : `${expected}\n    ${actual}`;
}

function messagesOf({ set, elements }: CompiledSet, family: Family): NftMessage[] {
  const { family: _, ...fields } = set;
  const head = roundTrip('newset', family, fields);
  if (elements.length === 0) return [head];
  const { table, name, id } = set;
  return [head, roundTrip('newsetelem', family, { table, set: name, setId: id, elements })];
}

function roundTrip(type: 'newrule' | 'newset' | 'newsetelem', family: Family, object: object): NftMessage {
  return decodeMessage(encodeMessage({ type, family, object } as NftMessage));
}

/** Sets by their order, elements sorted, fields in the order of their names; a set that was there before only by its name. */
function comparable(messages: readonly NftMessage[]): string {
  const ids = new Map<unknown, number>();
  const shown: unknown[] = [];
  for (const { type, object } of messages) {
    if (type.startsWith('batch')) continue;
    const { numbered: _, ...fields } = object as Record<string, unknown>;
    if (type === 'newset') ids.set(fields.id, ids.size + 1);
    if (Array.isArray(fields.elements)) fields.elements = fields.elements.map(each => sorted(each)).sort(byText);
    shown.push({ type, ...fields });
  }
  return JSON.stringify(sorted(shown), (key, value) => {
    if (key === 'id' || key === 'setId') return ids.get(value);
    if (key === 'objref') return withNames(value);
    // The kernel's default: nft writes it or leaves it out, and which of both a listing does not tell.
    if (key === 'op' && value === 'mask-xor') return undefined;
    return typeof value === 'bigint' ? `${value}` : value;
  });
}

const OBJREF_NAMES: Readonly<Record<number, string>> = { 2: 'name', 4: 'set' };

/** nft sends the names in a reference to an object without their NUL, which the codec keeps raw: here both are alike. */
function withNames(reference: { unknown?: { type: number; bytes: string }[] }): object {
  const { unknown = [], ...rest } = reference;
  const fields: Record<string, unknown> = { ...rest };
  const others = unknown.filter(({ type, bytes }) => {
    const field = OBJREF_NAMES[type];
    if (field === undefined || bytes.endsWith('00')) return true;
    fields[field] = Buffer.from(bytes, 'hex').toString();
    return false;
  });
  if (others.length > 0) fields.unknown = others;
  return sorted(fields) as object;
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? `${each}` : each));

function byText(a: unknown, b: unknown): number {
  const [left, right] = [text(a), text(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => [key, sorted(each)]),
  );
}
