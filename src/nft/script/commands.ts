import { SCOPES } from '../data/scopes.ts';
import { parseRuleStatements } from '../parse/rule.ts';
import { T } from '../parse/tokens.ts';
import { chainBlock } from './chains.ts';
import {
  family,
  handle,
  inTable,
  inTableOrHandle,
  isFamily,
  named,
  nameInTable,
  tableName,
  tableOrHandle,
} from './names.ts';
import { flowtableBlock, objectContent, objectKind } from './objects.ts';
import type { Fields, Placed, Reader } from './reader.ts';
import { elementsOf, OBJECT_WORDS, setBlock } from './sets.ts';
import { elementsEntry, ruleEntry, tableBlock } from './tables.ts';

/* Commands: what a line of a text begins with. Without a verb a command adds. */

/** What a command is about, and the commands that a block brings with it. */
interface Subject {
  readonly kind: string;
  readonly object: Fields | null;
  readonly more?: Iterable<Placed>;
}

type Verb = (reader: Reader, verb: string) => Subject;

/** Reads one command. Only a command that ends well is carried out. */
export function command(reader: Reader): void {
  const { parser } = reader;
  const { start, text } = parser;
  const verb = parser.kind === T.WORD ? verbOf(reader, text) : undefined;
  if (verb !== undefined) parser.next();
  else if (!beginsObject(reader)) parser.unexpected();
  const name = verb === undefined ? 'add' : text;
  const { kind, object, more } = (verb ?? add)(reader, name);
  const span = reader.spanFrom(start);
  if (!parser.isSeparator() && !parser.is(T.EOF)) parser.unexpected('end of file', 'newline', 'semicolon');
  reader.add({ [name]: { [kind]: object } }, span);
  for (const placed of more ?? []) reader.add(placed.entry, placed.span);
}

function verbOf({ parser }: Reader, word: string): Verb | undefined {
  return word === 'destroy' && !parser.dialect.hasNewerCommands ? undefined : VERBS.get(word);
}

const ADDED: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'table',
  'chain',
  'rule',
  'set',
  'map',
  'element',
  'flowtable',
  'ct',
  ...OBJECT_WORDS,
]);

/** Does something stand here that can be added without a verb? */
const beginsObject = (reader: Reader): boolean =>
  reader.parser.isString() || isFamily(reader) || (reader.parser.is(T.WORD) && ADDED.has(reader.parser.text));

function add(reader: Reader, verb: string): Subject {
  const { parser } = reader;
  if (parser.acceptWord('table')) {
    const table = tableName(reader);
    return parser.is(T.LBRACE)
      ? { kind: 'table', object: table, more: tableBlock(reader, table) }
      : subject('table', table);
  }
  if (parser.acceptWord('chain')) {
    const chain = nameInTable(reader);
    const rules = parser.is(T.LBRACE) ? chainBlock(reader, chain) : [];
    return { kind: 'chain', object: chain, more: rules.map(ruleEntry) };
  }
  if (parser.isWord('set') || parser.isWord('map')) {
    const kind = parser.text;
    parser.next();
    const set = nameInTable(reader);
    const elements = setBlock(reader, set, kind === 'map');
    return { kind, object: set, more: elements === undefined ? [] : [elementsEntry(reader, set, elements)] };
  }
  if (parser.acceptWord('element')) return subject('element', elementsOf(reader, inTable(reader)));
  if (parser.acceptWord('flowtable')) {
    const flowtable = nameInTable(reader);
    flowtableBlock(reader, flowtable);
    return subject('flowtable', flowtable);
  }
  const kind = objectKind(reader);
  if (kind !== undefined) {
    const object = nameInTable(reader);
    objectContent(reader, kind, object);
    return subject(kind, object);
  }
  if (verb === 'create') parser.unexpected();
  return rule(reader, verb);
}

const subject = (kind: string, object: Fields | null): Subject => ({ kind, object });

/** Reads a rule with its place. The word `rule` may be left out with `add`. */
function rule(reader: Reader, verb: string): Subject {
  const { parser } = reader;
  if (verb !== 'add') parser.expectWord('rule');
  else parser.acceptWord('rule');
  const place = nameInTable(reader, 'chain');
  if (verb === 'replace') handle(reader, place);
  else if (parser.isWord('handle')) handle(reader, place, 'position');
  else if (parser.acceptWord('position')) number(reader, place, 'position');
  else if (parser.isWord('index')) {
    const { start } = parser;
    parser.next();
    place.index = parser.number();
    parser.note(place, 'index', start);
  }
  Object.assign(place, parseRuleStatements(parser));
  return subject('rule', place);
}

function number({ parser }: Reader, object: Fields, field: string): void {
  const { start } = parser;
  object[field] = parser.number();
  parser.note(object, field, start);
}

function remove(reader: Reader): Subject {
  const { parser } = reader;
  if (parser.acceptWord('table')) return subject('table', tableOrHandle(reader));
  if (parser.acceptWord('chain')) return subject('chain', inTableOrHandle(reader));
  if (parser.acceptWord('rule')) {
    const place = nameInTable(reader, 'chain');
    handle(reader, place);
    return subject('rule', place);
  }
  if (parser.acceptWord('element')) return subject('element', elementsOf(reader, inTable(reader)));
  if (parser.isWord('set') || parser.isWord('map')) {
    const kind = parser.text;
    parser.next();
    return subject(kind, inTableOrHandle(reader));
  }
  if (parser.acceptWord('flowtable')) {
    const flowtable = inTableOrHandle(reader);
    if (parser.is(T.LBRACE)) flowtableBlock(reader, flowtable);
    return subject('flowtable', flowtable);
  }
  const kind = objectKind(reader);
  if (kind === undefined) return parser.unexpected();
  return subject(kind, inTableOrHandle(reader));
}

function flush(reader: Reader): Subject {
  const { parser } = reader;
  if (parser.acceptWord('table')) return subject('table', tableName(reader));
  if (parser.acceptWord('chain')) return subject('chain', nameInTable(reader));
  if (parser.acceptWord('set')) return subject('set', nameInTable(reader));
  if (parser.acceptWord('map')) return subject('map', nameInTable(reader));
  if (parser.acceptWord('meter')) return subject('set', nameInTable(reader));
  if (parser.acceptWord('flow')) {
    parser.expectWord('table');
    return subject('set', nameInTable(reader));
  }
  if (!parser.acceptWord('ruleset')) parser.unexpected();
  return subject('ruleset', scopeOf(reader));
}

/** Reads `[FAMILY]`: null is all. */
function scopeOf(reader: Reader): Fields | null {
  const found = family(reader);
  return found === undefined ? null : { family: found };
}

function rename(reader: Reader): Subject {
  reader.parser.expectWord('chain');
  const chain = nameInTable(reader);
  named(reader, chain, 'newname');
  return subject('chain', chain);
}

/** The plural words of what is listed, by the single ones. */
const LISTED: ReadonlyMap<string, string> = /* @__PURE__ */ new Map([
  ['tables', 'tables'],
  ['chains', 'chains'],
  ['sets', 'sets'],
  ['maps', 'maps'],
  ['meters', 'meters'],
  ['flowtables', 'flowtables'],
  ['counters', 'counters'],
  ['quotas', 'quotas'],
  ['limits', 'limits'],
  ['secmarks', 'secmarks'],
  ['synproxys', 'synproxys'],
]);
const ONE: readonly string[] = [
  'chain',
  'set',
  'map',
  'meter',
  'flowtable',
  'counter',
  'quota',
  'limit',
  'secmark',
  'synproxy',
];

function list(reader: Reader): Subject {
  const { parser } = reader;
  if (parser.acceptWord('ruleset')) return subject('ruleset', scopeOf(reader));
  if (parser.acceptWord('table')) return subject('table', tableName(reader));
  if (parser.acceptWord('ct')) {
    for (const kind of ['helper', 'timeout', 'expectation']) {
      if (parser.acceptWord(kind)) return subject(`ct ${kind}`, nameInTable(reader));
      if (parser.acceptWord(`${kind}s`)) return subject(`ct ${kind}s`, listScope(reader));
    }
    return parser.unexpectedIn(SCOPES.ct, 'timeout', 'expectation', 'helper', 'helpers');
  }
  if (parser.acceptWord('flow')) {
    if (parser.acceptWord('tables')) return subject('meters', scopeOf(reader));
    parser.expectWord('table');
    return subject('meter', nameInTable(reader));
  }
  if (parser.acceptWord('hooks')) {
    const scope = scopeOf(reader);
    if (scope !== null && parser.acceptWord('device')) scope.device = parser.string();
    return subject('hooks', scope);
  }
  const many = parser.kind === T.WORD ? LISTED.get(parser.text) : undefined;
  if (many !== undefined) {
    parser.next();
    return subject(many, listScope(reader));
  }
  if (parser.kind !== T.WORD || !ONE.includes(parser.text)) parser.unexpected();
  const kind = parser.text;
  parser.next();
  return subject(kind, nameInTable(reader));
}

/** Reads `[FAMILY]`, or `table [FAMILY] NAME`. */
function listScope(reader: Reader): Fields | null {
  if (!reader.parser.acceptWord('table')) return scopeOf(reader);
  return inTable(reader);
}

function reset(reader: Reader): Subject {
  const { parser } = reader;
  for (const kind of ['counter', 'quota']) {
    if (parser.acceptWord(kind)) return subject(kind, nameInTable(reader));
    if (parser.acceptWord(`${kind}s`)) return subject(`${kind}s`, listScope(reader));
  }
  if (parser.dialect.hasNewerCommands) {
    if (parser.acceptWord('rules')) {
      if (parser.acceptWord('chain')) return subject('rules', nameInTable(reader, 'chain'));
      return subject('rules', listScope(reader));
    }
    if (parser.acceptWord('rule')) {
      const place = nameInTable(reader, 'chain');
      handle(reader, place);
      return subject('rule', place);
    }
    if (parser.isWord('set') || parser.isWord('map')) {
      const kind = parser.text;
      parser.next();
      return subject(kind, nameInTable(reader));
    }
    if (parser.acceptWord('element')) return subject('element', elementsOf(reader, inTable(reader)));
    return parser.unexpected();
  }
  return parser.unexpected('counter', 'counters', 'quotas', 'quota');
}

function get(reader: Reader): Subject {
  reader.parser.expectWord('element');
  return subject('element', elementsOf(reader, inTable(reader)));
}

function describe(reader: Reader): Subject {
  const expression = reader.parser.grammar.expression(reader.parser);
  return subject('expression', { expression });
}

const FORMATS: readonly string[] = ['xml', 'json', 'vm'];

function transfer(reader: Reader): Subject {
  const { parser } = reader;
  parser.acceptWord('ruleset');
  const { text } = parser;
  if (parser.kind !== T.WORD || !FORMATS.includes(text)) parser.unexpected('xml', 'json', 'vm');
  parser.next();
  return subject('ruleset', { format: text });
}

const EVENTS: readonly string[] = ['tables', 'chains', 'sets', 'rules', 'elements', 'ruleset', 'trace'];

function monitor(reader: Reader): Subject {
  const { parser } = reader;
  const object: Fields = {};
  if (parser.isString() && !EVENTS.includes(parser.text) && !FORMATS.includes(parser.text)) {
    object.event = parser.text;
    parser.next();
  }
  if (parser.kind === T.WORD && EVENTS.includes(parser.text)) {
    object.object = parser.text;
    parser.next();
  }
  if (parser.kind === T.WORD && FORMATS.includes(parser.text)) {
    object.format = parser.text;
    parser.next();
  }
  return subject('monitor', object);
}

const VERBS: ReadonlyMap<string, Verb> = /* @__PURE__ */ new Map<string, Verb>([
  ['add', add],
  ['create', add],
  ['insert', rule],
  ['replace', rule],
  ['delete', remove],
  ['destroy', remove],
  ['flush', flush],
  ['rename', rename],
  ['list', list],
  ['reset', reset],
  ['get', get],
  ['describe', describe],
  ['import', transfer],
  ['export', transfer],
  ['monitor', monitor],
]);
