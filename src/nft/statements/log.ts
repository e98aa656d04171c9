import type { Expression } from '../../nf_tables/expression.ts';
import type { Evaluator } from '../compile/ir.ts';
import { entryOf, fieldsOf, flagsOf, numberOf } from '../compile/json-fields.ts';
import { emit } from '../compile/lower.ts';
import { Place, refuse } from '../compile/term.ts';
import type { Vocabulary } from '../decompile/format-value.ts';
import { type Registers, words } from '../decompile/registers.ts';
import { type FlowStatement, Undecompilable } from '../decompile/tree.ts';
import { defined, type Json, type JsonObject, orNull } from '../json-object.ts';

/* `log`: to the kernel's log, or to the readers of an NFLOG group. Its JSON, its text, and its expression, in both directions. */

type LogExpression = Extract<Expression, { log: unknown }>['log'];
type LogStatement = Extract<FlowStatement, { kind: 'log' }>;

/** The kernel's flags by their bits. */
const BITS = ['tcp-sequence', 'tcp-options', 'ip-options', 'skuid', 'nflog', 'ether'] as const;
/** nft's words for them, in its order. `nflog` has none: the kernel sets it. */
const WORDS = {
  'tcp-sequence': 'tcp sequence',
  'tcp-options': 'tcp options',
  'ip-options': 'ip options',
  skuid: 'skuid',
  ether: 'ether',
} as const;
type Flag = keyof typeof WORDS;
const FLAGS = Object.keys(WORDS) as Flag[];

const bitOf = (flag: Flag): number => 1 << BITS.indexOf(flag);
/** By nft's words. */
export const LOG_FLAG: Readonly<Record<string, number>> = /* @__PURE__ */ Object.fromEntries(
  /* @__PURE__ */ FLAGS.map(flag => [WORDS[flag], bitOf(flag)]),
);
/** NF_LOG_MASK: all of them. */
export const LOG_FLAGS_ALL = /* @__PURE__ */ FLAGS.reduce((all, flag) => all | bitOf(flag), 0);

/** syslog's levels; `audit` writes an audit record instead. */
export const LOG_LEVEL = {
  emerg: 0,
  alert: 1,
  crit: 2,
  err: 3,
  warn: 4,
  notice: 5,
  info: 6,
  debug: 7,
  audit: 8,
} as const;

/** Compiles `{ log: ... }`. */
export function log(e: Evaluator, json: unknown, place: Place): void {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const { prefix, level } = fields;
  if (prefix !== undefined && (typeof prefix !== 'string' || prefix === '' || Buffer.byteLength(prefix) > 127))
    throw refuse(new Place(place, 'prefix'), 'text of 1 to 127 bytes', prefix);
  const flags = flagsOf({ ...LOG_FLAG, all: LOG_FLAGS_ALL }, fields.flags, new Place(place, 'flags'));
  const levelNumber = level === undefined ? undefined : entryOf<number>(LOG_LEVEL, level, new Place(place, 'level'));
  const toGroup = ['group', 'snaplen', 'queue-threshold'].some(name => fields[name] !== undefined);
  if (toGroup && (levelNumber !== undefined || flags !== 0))
    throw refuse(place, "a group, or the level and flags of the kernel's own log", json);
  if (levelNumber === LOG_LEVEL.audit && (prefix !== undefined || flags !== 0))
    throw refuse(place, 'nothing besides level audit', json);
  const written: Extract<Expression, { log: unknown }>['log'] = {};
  if (fields.group !== undefined) written.group = numberOf(fields, 'group', place, 0xffff);
  if (prefix !== undefined) written.prefix = prefix as string;
  if (fields.group !== undefined) {
    if (fields.snaplen !== undefined) written.snaplen = numberOf(fields, 'snaplen', place);
    if (fields['queue-threshold'] !== undefined)
      written.queueThreshold = numberOf(fields, 'queue-threshold', place, 0xffff);
  } else {
    if (levelNumber !== undefined) written.level = levelNumber;
    if (flags !== 0) written.flags = BITS.filter((_, bit) => flags & (1 << bit));
  }
  emit(e, { log: written });
}

/** The statement of an expression. */
export function readLog(registers: Registers, expression: LogExpression): void {
  const { prefix, group, snaplen, queueThreshold: threshold, level, flags } = expression;
  registers.push({
    kind: 'log',
    prefix,
    group,
    snaplen,
    threshold,
    level: typeof level === 'number' ? levelName(level) : level,
    flags: words(flags, [...FLAGS, 'nflog']),
  });
}

function levelName(number: number): string {
  for (const name in LOG_LEVEL) if (LOG_LEVEL[name as keyof typeof LOG_LEVEL] === number) return name;
  throw new Undecompilable(`the level ${number}`);
}

/** nft's text; the level warn is its default. */
export function logText({ prefix, group, snaplen, threshold, level, flags }: LogStatement, words: Vocabulary): string {
  let text = 'log';
  if (prefix !== undefined) text += ` prefix ${words.unwritable.prefix(prefix)}`;
  if (group !== undefined) text += ` group ${group}`;
  if (snaplen !== undefined) text += ` snaplen ${snaplen}`;
  if (threshold !== undefined) text += ` queue-threshold ${threshold}`;
  if (level !== undefined && level !== 'warn') text += ` level ${level}`;
  const named = FLAGS.filter(flag => flags.includes(flag));
  if (named.length === FLAGS.length) return `${text} flags all`;
  const tcp = named.filter(flag => WORDS[flag].startsWith('tcp '));
  if (tcp.length > 0)
    text += ` flags ${tcp
      .map(flag => WORDS[flag])
      .join(',')
      .replace(',tcp ', ',')}`;
  for (const flag of named) if (!tcp.includes(flag)) text += ` flags ${WORDS[flag]}`;
  return text;
}

/** What stands behind `log` in nft's JSON. */
export function logJson({ prefix, group, snaplen, threshold, level, flags }: LogStatement, words: Vocabulary): Json {
  const named = FLAGS.filter(flag => flags.includes(flag));
  const shown = named.length === FLAGS.length ? ['all'] : named.map(flag => WORDS[flag]);
  const content: JsonObject = {
    prefix,
    group,
    snaplen,
    'queue-threshold': threshold,
    level: level === 'warn' ? undefined : level,
  };
  if (shown.length > 0) content.flags = shown.length === 1 && !words.dialect.listsSingleFlags ? shown[0]! : [...shown];
  return orNull(defined(content));
}
