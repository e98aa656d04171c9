import { parsePriority } from '../data/priorities.ts';
import type { LineRule, RulePlace } from '../parse/lines.ts';
import { parseRuleStatements } from '../parse/rule.ts';
import { T } from '../parse/tokens.ts';
import { comment, devices, variable, wordsIn } from './names.ts';
import type { Fields, Reader } from './reader.ts';

/* Chains with their rules. */

const TYPES: readonly string[] = ['filter', 'nat', 'route'];
const HOOKS: readonly string[] = ['prerouting', 'input', 'forward', 'postrouting', 'output', 'ingress', 'egress'];

/** A rule of a block, and where it stands. */
export interface BlockRule {
  readonly json: Fields | LineRule;
  readonly start: number;
  readonly span: ReturnType<Reader['spanFrom']>;
}

/** Reads the block of a chain, alone or within that of its table. Its settings become fields of the chain. Returns its rules. */
export function chainBlock(reader: Reader, chain: Fields, isInner = false): BlockRule[] {
  const rules: BlockRule[] = [];
  const { parser } = reader;
  const { family } = parser;
  let hasPolicy = false;
  reader.scoped(() => {
    parser.family = family;
    if (parser.isWord('type')) replaceHook(reader, chain);
    else if (parser.isWord('policy')) {
      if (hasPolicy) {
        const { start } = parser;
        policy(reader, chain);
        parser.fail('you cannot set chain policy twice', start);
      }
      policy(reader, chain);
      hasPolicy = true;
    } else if (parser.isWord('flags')) {
      const { start } = parser;
      parser.next();
      parser.expectWord('offload');
      chain.flags = 'offload';
      parser.note(chain, 'flags', start);
    } else if (parser.dialect.hasNewerCommands && parser.isWord('devices')) {
      parser.next();
      const { start } = parser;
      parser.expect(T.ASSIGN);
      setDevices(reader, chain, start);
    } else if (parser.isWord('comment')) comment(reader, chain);
    else {
      const place = { family: chain.family, table: chain.table, chain: chain.name };
      if (readLines(reader, place, rules)) return;
      const { start } = parser;
      const json: Fields = { ...place, ...parseRuleStatements(parser, true) };
      rules.push({ json, start, span: reader.spanFrom(start) });
      if (parser.is(T.NEWLINE)) reader.lines?.note(parser.source.text.slice(start, parser.end), parser.family);
    }
    parser.separator();
  }, isInner);
  return rules;
}

/** Reads lines whose form is known. Returns false if the next line must be parsed. */
function readLines(reader: Reader, place: RulePlace, rules: BlockRule[]): boolean {
  const { parser, lines } = reader;
  if (lines === undefined) return false;
  const { text } = parser.source;
  const { family, start } = parser;
  const span = reader.spanFrom(start);
  let at = start;
  for (;;) {
    const json = lines.read(text, at, place, family);
    if (json === undefined) break;
    rules.push({ json, start: at, span });
    at = lines.end;
    while (BLANKS.includes(text.charAt(at)) && at < text.length) at++;
  }
  if (at === start) return false;
  parser.goOnAt(at);
  return true;
}

const BLANKS = ' \t\n';

function setDevices(reader: Reader, object: Fields, start: number): void {
  const list = devices(reader);
  object.dev = list.length === 1 ? list[0] : list;
  reader.parser.note(object, 'dev', start);
}

const HOOK_FIELDS = ['type', 'hook', 'dev', 'prio'] as const;

/** Reads the line of the hook in the place of one before. A line that does not end well says nothing. */
function replaceHook(reader: Reader, chain: Fields): void {
  const before = HOOK_FIELDS.map(field => chain[field]);
  for (const field of HOOK_FIELDS) delete chain[field];
  const { start } = reader.parser;
  try {
    hookLine(reader, chain);
    const isOfDevice = chain.family === 'netdev' || chain.hook === 'ingress';
    if (isOfDevice && chain.dev === undefined && !reader.parser.dialect.hasNewerCommands)
      reader.parser.report({ message: "Missing `device' in this chain definition", span: reader.spanFrom(start) });
  } catch (error) {
    for (const [i, field] of HOOK_FIELDS.entries()) {
      delete chain[field];
      if (before[i] !== undefined) chain[field] = before[i];
    }
    throw error;
  }
}

/** Reads `type T hook H [device D] priority P`. */
function hookLine(reader: Reader, chain: Fields): void {
  const { parser } = reader;
  parser.next();
  let { start } = parser;
  chain.type = parser.name();
  if (!TYPES.includes(chain.type as string)) parser.fail('unknown chain type', start);
  parser.note(chain, 'type', start);
  parser.expectWord('hook');
  hook(reader, chain);
  start = parser.start;
  if (parser.acceptWord('device')) {
    start = parser.start;
    chain.dev = parser.is(T.DOLLAR) ? wordsIn(variable(reader).value)[0] : parser.string("'$'");
    parser.note(chain, 'dev', start);
  } else if (parser.acceptWord('devices')) {
    parser.expect(T.ASSIGN);
    setDevices(reader, chain, parser.start);
  }
  priority(reader, chain);
}

/** Reads the name of a hook. */
export function hook({ parser }: Reader, object: Fields): void {
  const { start } = parser;
  const name = parser.name();
  if (!HOOKS.includes(name)) parser.fail('unknown chain hook', start);
  object.hook = name;
  parser.note(object, 'hook', start);
}

/** Reads `priority P`: a number, a name with a number added, or a variable with one of these. */
export function priority(reader: Reader, object: Fields): void {
  const { parser } = reader;
  const { start } = parser;
  parser.expectWord('priority');
  const text = priorityText(reader);
  const isNumber = /^-?\d+$/.test(text);
  const family = object.type === undefined ? 'netdev' : String(object.family);
  const named = isNumber ? undefined : parsePriority(text, family, String(object.hook), parser.dialect);
  object.prio = isNumber ? Number(text) | 0 : (named ?? text);
  parser.note(object, 'prio', start);
}

function priorityText(reader: Reader): string {
  const { parser } = reader;
  if (parser.is(T.DOLLAR)) return wordsIn(variable(reader).value)[0] ?? '';
  if (parser.accept(T.DASH)) return `-${parser.number()}`;
  if (parser.is(T.NUMBER)) return String(parser.number());
  const name = parser.isWord('out') || parser.isWord('last') ? parser.text : undefined;
  if (name === undefined && !parser.isString()) parser.unexpected();
  const word = parser.text;
  parser.next();
  if (parser.accept(T.DASH)) return `${word} - ${parser.number()}`;
  if (parser.is(T.PLUS)) {
    parser.next();
    if (parser.accept(T.DASH)) return `${word} - ${parser.number()}`;
    return `${word} + ${parser.number()}`;
  }
  return word;
}

function policy(reader: Reader, chain: Fields): void {
  const { parser } = reader;
  const { start } = parser;
  parser.next();
  if (parser.is(T.DOLLAR)) {
    const found = variable(reader);
    const [word] = wordsIn(found.value);
    if (word !== 'accept' && word !== 'drop') parser.failAt(`invalid policy expression (${word})`, found.span);
    chain.policy = word;
  } else if (parser.isWord('accept') || parser.isWord('drop')) {
    chain.policy = parser.text;
    parser.next();
  } else parser.unexpected('accept', 'drop', "'$'");
  parser.note(chain, 'policy', start);
}
