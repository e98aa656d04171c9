import type { Family } from '../../nf_tables/family.ts';
import type { Variable } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import type { Fields, Reader } from './reader.ts';

/* The names of tables and of what is in them, as commands give them: `ip t c`. Without a family it is ip. */

const FAMILIES: ReadonlyMap<string, Family> = /* @__PURE__ */ new Map(
  (['ip', 'ip6', 'inet', 'arp', 'bridge', 'netdev'] as const).map((family): [string, Family] => [family, family]),
);

/** Longer names do not fit the kernel's attribute. */
export const LONGEST_COMMENT = 128;

/** Reads a family, if one is there. Rules that follow are read as rules of this family. */
export function family({ parser }: Reader): Family | undefined {
  const found = parser.acceptOf(FAMILIES);
  if (found !== undefined) parser.family = found;
  return found;
}

/** Does a family stand here? */
export const isFamily = ({ parser }: Reader): boolean => parser.is(T.WORD) && FAMILIES.has(parser.text);

/** Reads a name as a field of an object. */
export function named({ parser }: Reader, object: Fields, field: string, ...others: string[]): string {
  const { start } = parser;
  const name = parser.name(...others);
  object[field] = name;
  parser.note(object, field, start);
  return name;
}

/** Reads `[FAMILY] NAME`: a table. */
export function tableName(reader: Reader): Fields {
  const table: Fields = { family: defaulted(reader) };
  named(reader, table, 'name');
  return table;
}

/** Reads `[FAMILY] TABLE`, the place of what is in a table. */
export function inTable(reader: Reader): Fields {
  const place: Fields = { family: defaulted(reader) };
  named(reader, place, 'table');
  return place;
}

/** Reads `[FAMILY] TABLE NAME`. */
export function nameInTable(reader: Reader, field = 'name'): Fields {
  const place = inTable(reader);
  named(reader, place, field);
  return place;
}

/** Reads `[FAMILY] NAME`, or `[FAMILY] handle NUMBER`. */
export function tableOrHandle(reader: Reader): Fields {
  const table: Fields = { family: defaulted(reader) };
  nameOrHandle(reader, table);
  return table;
}

/** Reads `[FAMILY] TABLE NAME`, or `[FAMILY] TABLE handle NUMBER`. */
export function inTableOrHandle(reader: Reader): Fields {
  const place = inTable(reader);
  nameOrHandle(reader, place);
  return place;
}

function nameOrHandle(reader: Reader, object: Fields): void {
  const { parser } = reader;
  if (parser.isWord('handle')) handle(reader, object);
  else if (parser.isString()) named(reader, object, 'name');
  else parser.unexpected('handle', 'string');
}

/** Reads `handle NUMBER`. */
export function handle({ parser }: Reader, object: Fields, field = 'handle'): void {
  parser.expectWord('handle');
  const { start } = parser;
  object[field] = parser.number();
  parser.note(object, field, start);
}

function defaulted(reader: Reader): Family {
  reader.parser.family = 'ip';
  return family(reader) ?? 'ip';
}

/** Reads `comment "text"`; the word has been seen. */
export function comment({ parser }: Reader, object: Fields): void {
  const { start } = parser;
  parser.next();
  const from = parser.start;
  const text = parser.string();
  if (Buffer.byteLength(text) > LONGEST_COMMENT)
    parser.fail(`comment too long, ${LONGEST_COMMENT} characters maximum allowed`, from);
  if (object.comment !== undefined) parser.fail('You can only specify this once. This statement is duplicated.', start);
  object.comment = text;
  parser.note(object, 'comment', start);
}

/** Reads `$name`. */
export function variable({ parser, scopes }: Reader): Variable {
  parser.expect(T.DOLLAR);
  const { start } = parser;
  const name = parser.name();
  const found = scopes.find(name);
  if (found !== undefined) return found;
  const near = scopes.nearest(name);
  const suggestion = near === undefined ? '' : `; did you mean identifier ‘${near}’?`;
  return parser.fail(`unknown identifier '${name}'${suggestion}`, start);
}

/** Reads the devices of a chain or flowtable: `{ lo, "eth0" }`, or a variable. */
export function devices(reader: Reader): string[] {
  const { parser } = reader;
  if (parser.is(T.DOLLAR)) return wordsIn(variable(reader).value);
  parser.expect(T.LBRACE, "'$'");
  const list: string[] = [];
  do {
    parser.newlines();
    if (list.length > 0 && parser.is(T.RBRACE)) break;
    if (parser.is(T.DOLLAR)) list.push(...wordsIn(variable(reader).value));
    else if (parser.is(T.QUOTED) || parser.isString() || (parser.is(T.STAR_WORD) && parser.dialect.hasDevicePrefixes))
      list.push(parser.string());
    else if (list.length > 0) parser.unexpected('comma', "'}'");
    else parser.unexpected('string', 'quoted string', "'$'");
    parser.newlines();
  } while (parser.accept(T.COMMA));
  if (!parser.accept(T.RBRACE)) parser.unexpected('comma', "'}'");
  return list;
}

/** The words of a variable's value: one, or those of a set. */
export function wordsIn(value: unknown): string[] {
  if (typeof value === 'string' || typeof value === 'number') return [String(value)];
  const set = typeof value === 'object' && value !== null && 'set' in value ? value.set : undefined;
  return Array.isArray(set) ? set.flatMap(wordsIn) : [];
}
