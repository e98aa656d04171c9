import { datatypeByName } from '../data/datatypes.ts';
import { SCOPES } from '../data/scopes.ts';
import { elements as readElements, variable } from '../parse/expression.ts';
import type { Parser } from '../parse/parser.ts';
import { readSeconds } from '../parse/times.ts';
import { T } from '../parse/tokens.ts';
import { comment, named } from './names.ts';
import type { Fields, Reader } from './reader.ts';

/* Sets and maps with their elements, and flowtables. */

const FLAGS: readonly string[] = ['constant', 'interval', 'dynamic', 'timeout'];
/** Words that are keywords, and names of types all the same. */
const TYPE_WORDS: readonly string[] = ['mark', 'dscp', 'ecn', 'classid', 'time'];
/** The kinds of objects that a map can have for its keys. */
export const OBJECT_WORDS: readonly string[] = ['counter', 'quota', 'limit', 'secmark', 'synproxy'];

/** Elements that a block gives to its set, and where they stand. */
export interface BlockElements {
  readonly set: unknown[];
  readonly span: ReturnType<Reader['spanFrom']>;
}

/** Reads the block of a set or map, alone or within that of its table. Its settings become fields of the set. Returns its elements, if it has some. */
export function setBlock(reader: Reader, set: Fields, isMap: boolean, isInner = false): BlockElements | undefined {
  const { parser } = reader;
  let elements: BlockElements | undefined;
  reader.block(() => {
    const { start } = parser;
    if (!isMap && parser.acceptWord('auto-merge')) {
      set['auto-merge'] = true;
      parser.note(set, 'auto-merge', start);
    } else if (parser.acceptWord('elements')) {
      parser.expect(T.ASSIGN);
      const from = parser.start;
      elements = { set: elementList(parser), span: reader.spanFrom(from) };
    } else if (parser.isWord('comment')) {
      comment(reader, set);
      parser.separator();
    } else {
      const fields = setting(reader, set, isMap);
      // A line that does not end well says nothing.
      const end = parser.lastEnd;
      parser.separator();
      for (const field in fields) {
        set[field] = fields[field];
        parser.noteSpan(set, field, start, end);
      }
    }
  }, isInner);
  return elements;
}

/** Reads one setting of a set or map, up to its separator. */
function setting(reader: Reader, set: Fields, isMap: boolean): Fields {
  const { parser } = reader;
  if (parser.acceptWord('type')) return setTypes(reader, isMap, typeNames);
  if (parser.acceptWord('typeof')) return setTypes(reader, isMap, typeofTerm);
  if (parser.acceptWord('flags')) {
    const flags = setFlags(reader);
    return { flags: isMap && Array.isArray(set.flags) ? [...new Set([...set.flags, ...flags])] : flags };
  }
  if (parser.acceptWord('timeout')) return { timeout: readSeconds(parser) };
  if ((!isMap || parser.dialect.hasNewerCommands) && parser.acceptWord('gc-interval'))
    return { 'gc-interval': readSeconds(parser) };
  if (parser.acceptWord('size')) return { size: parser.whole() };
  if (parser.acceptWord('policy')) {
    const { text } = parser;
    if (text !== 'memory' && text !== 'performance') return parser.unexpected('memory', 'performance');
    parser.next();
    return { policy: text };
  }
  const states = [...((set.stmt as unknown[] | undefined) ?? [])];
  const first = parser.grammar.state(parser);
  if (first === undefined) return parser.unexpected();
  for (let next: unknown = first; next !== undefined; next = parser.grammar.state(parser)) states.push(next);
  return { stmt: states };
}

function setFlags({ parser }: Reader): string[] {
  const flags: string[] = [];
  do {
    if (parser.kind !== T.WORD || !FLAGS.includes(parser.text))
      parser.unexpected('constant', 'interval', 'dynamic', 'timeout');
    flags.push(parser.text);
    parser.next();
  } while (parser.accept(T.COMMA));
  if (!parser.isSeparator()) parser.unexpected('newline', 'semicolon', 'comma');
  return flags;
}

function setTypes(reader: Reader, isMap: boolean, read: (reader: Reader, ...others: string[]) => unknown): Fields {
  const { parser } = reader;
  const type = read(reader, ...(isMap ? ['colon'] : ['newline', 'semicolon']));
  if (!isMap || !parser.accept(T.COLON)) return { type };
  const { text } = parser;
  if (parser.kind === T.WORD && OBJECT_WORDS.includes(text)) {
    parser.next();
    return { type, map: text };
  }
  if (parser.acceptWord('interval')) return { type, map: { interval: read(reader, 'newline', 'semicolon') } };
  return { type, map: read(reader, 'newline', 'semicolon') };
}

/** Reads `ipv4_addr . inet_service`. */
function typeNames({ parser }: Reader, ...others: string[]): string | string[] {
  const names: string[] = [];
  do {
    const { start, text } = parser;
    if (parser.kind === T.WORD && TYPE_WORDS.includes(text)) parser.next();
    else if (parser.isString()) parser.next();
    else parser.unexpectedIn(SCOPES.type);
    if (datatypeByName(text) === undefined) parser.fail(`unknown datatype ${text}`, start);
    names.push(text);
  } while (parser.accept(T.DOT));
  if (!parser.isSeparator() && !(others.includes('colon') && parser.is(T.COLON))) parser.unexpected(...others, '.');
  return names.length === 1 ? names[0]! : names;
}

/** Reads `ip saddr . tcp dport`. */
function typeofTerm({ parser }: Reader): unknown {
  if (parser.isWord('verdict')) {
    parser.next();
    return 'verdict';
  }
  const { start } = parser;
  const term = parser.grammar.expression(parser);
  if (typeof term === 'string' && !parser.dialect.hasNewerExpressions)
    parser.fail("primary expression type 'symbol' lacks typeof serialization", start);
  return { typeof: term };
}

/** Reads elements in braces, or those of a variable. */
function elementList(parser: Parser): unknown[] {
  if (parser.is(T.LBRACE)) return readElements(parser);
  if (!parser.is(T.DOLLAR)) parser.unexpected("'{'", "'$'");
  const value = variable(parser);
  const set = typeof value === 'object' && value !== null && 'set' in value ? value.set : undefined;
  return Array.isArray(set) ? set : [value];
}

/** Reads `element SPEC { ... }`. */
export function elementsOf(reader: Reader, place: Fields): Fields {
  const { parser } = reader;
  named(reader, place, 'name');
  const { start } = parser;
  place.elem = { set: elementList(parser) };
  parser.note(place, 'elem', start);
  return place;
}
