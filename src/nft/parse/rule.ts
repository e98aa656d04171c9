import { onlyKey } from '../compile/json-fields.ts';
import { type Dialect, NFT_1_0_6, NFT_1_1_6 } from '../data/dialects.ts';
import { keywordsOf } from '../data/reserved.ts';
import { ct } from '../expressions/ct.ts';
import { exthdr } from '../expressions/exthdr.ts';
import { meta } from '../expressions/meta.ts';
import { payload } from '../expressions/payload.ts';
import { EXPRESSION_TEXTS } from '../expressions/registry.ts';
import type { Json, JsonObject } from '../json-object.ts';
import { readMangle } from '../statements/mangle.ts';
import { readMatch } from '../statements/match.ts';
import { readCtObject, readStateText } from '../statements/object-reference.ts';
import { STATEMENT_TEXTS, type Statement } from '../statements/registry.ts';
import {
  calculation,
  chainName,
  constant,
  expression,
  flags,
  mapOf,
  mappings,
  set,
  setName,
  value,
  verdicts,
} from './expression.ts';
import type { Grammar, Parser } from './parser.ts';
import { T } from './tokens.ts';

/* The statements of a rule in nft's text. */

/** A rule that stands in a text. */
export interface RuleText {
  expr: Statement[];
  comment?: string;
}

const CT_OBJECTS: ReadonlySet<string> = /* @__PURE__ */ new Set(['helper', 'timeout', 'expectation']);

/** Reads one statement. */
function readStatement(p: Parser): JsonObject {
  if (p.kind === T.WORD && !p.isAddress) {
    const { text } = p;
    const read = STATEMENT_TEXTS.get(text);
    if (read !== undefined && p.isKeyword()) {
      p.next();
      return read(p, text);
    }
    if (text === 'ct') return readCt(p);
  }
  return readLed(p);
}

function readCt(p: Parser): JsonObject {
  const state = readStateText(p);
  if (state !== undefined) return state;
  if (!CT_OBJECTS.has(p.peek() ?? '')) return readLed(p);
  const { start } = p;
  p.next();
  if (p.peek() === 'set') return readCtObject(p);
  return readLed(p, 'ct', start);
}

/** Reads a statement that an expression leads: a match, a write, or a look-up of a verdict. */
function readLed(p: Parser, word?: string, from = p.start): JsonObject {
  p.led = word;
  let left = p.kind === T.LBRACE ? set(p) : expression(p);
  if (p.kind === T.WORD) {
    const { text } = p;
    if (text === 'set') return isWritable(left) ? readMangle(p, left, from) : p.unexpected();
    if (text === 'map') left = mapOf(p, left, from);
    if (text === 'vmap') {
      const end = p.lastEnd;
      p.next();
      const at = p.start;
      const vmap = { key: left, data: verdicts(p) };
      p.noteSpan(vmap, 'key', from, end);
      p.note(vmap, 'data', at);
      const statement = { vmap };
      p.note(statement, 'vmap', from);
      return statement;
    }
  }
  return readMatch(p, left, from);
}

const WRITABLE: ReadonlySet<string> = /* @__PURE__ */ new Set([
  ...payload.words,
  ...exthdr.words,
  ...meta.words,
  ...ct.words,
]);

/** Can a statement write what an expression reads? */
function isWritable(json: Json): boolean {
  for (const key in json as JsonObject) return WRITABLE.has(key);
  return false;
}

/** Errors of these statements point at the first word alone, as in nft. */
const NAMED_BY_WORD: ReadonlySet<string> = /* @__PURE__ */ new Set(
  'counter log reject snat dnat masquerade redirect queue'.split(' '),
);

/** Can a statement begin with the current token? */
function canBegin(p: Parser): boolean {
  switch (p.kind) {
    case T.WORD:
      return (
        p.isAddress || !p.isKeyword() || p.text === 'ct' || STATEMENT_TEXTS.has(p.text) || EXPRESSION_TEXTS.has(p.text)
      );
    case T.STAR_WORD:
    case T.QUOTED:
    case T.NUMBER:
    case T.DOLLAR:
    case T.LPAREN:
    case T.LBRACE:
    case T.AT:
      return true;
    default:
      return false;
  }
}

/** Does the rule end here? */
const isEnd = ({ kind }: Parser): boolean =>
  kind === T.NEWLINE || kind === T.SEMICOLON || kind === T.RBRACE || kind === T.EOF;

/** What can end a rule, for errors. */
const ENDS_IN_BLOCK = ['newline', 'semicolon'];
const ENDS_OF_COMMAND = ['end of file', ...ENDS_IN_BLOCK];

/** Reads the statements of a rule, up to the newline, semicolon or brace behind it. */
export function parseRuleStatements(p: Parser, isInBlock = false): RuleText {
  const expr: JsonObject[] = [];
  let comment: string | undefined;
  do {
    if (p.kind === T.WORD && p.text === 'comment' && expr.length > 0) {
      p.next();
      comment = p.string();
      break;
    }
    if (expr.length > 0 && !canBegin(p)) p.unexpected(...(isInBlock ? ENDS_IN_BLOCK : ENDS_OF_COMMAND));
    const { start, end, text } = p;
    const statement = readStatement(p);
    expr.push(statement);
    if (NAMED_BY_WORD.has(text)) p.noteSpan(expr, expr.length - 1, start, end);
    else p.note(expr, expr.length - 1, start);
  } while (!isEnd(p));
  const statements = expr as unknown as Statement[];
  return comment === undefined ? { expr: statements } : { expr: statements, comment };
}

/** Reads the rules of a chain without a name, in braces. */
function readRules(p: Parser): Json[] {
  const rules: RuleText[] = [];
  p.expect(T.LBRACE);
  p.nested(() => {
    p.separators();
    while (p.kind !== T.RBRACE && p.kind !== T.EOF) {
      const rule = p.recover(() => {
        const found = parseRuleStatements(p, true);
        p.separator();
        return found;
      });
      if (rule !== undefined) rules.push(rule);
      p.separators();
    }
  });
  p.expect(T.RBRACE);
  return rules as unknown as Json[];
}

const ENDS: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'accept',
  'drop',
  'return',
  'jump',
  'goto',
  'reject',
  'queue',
  'snat',
  'dnat',
  'masquerade',
  'redirect',
]);

/** The index of the first statement that no packet reaches; undefined if there is none. nft refuses it. */
export function deadStatement(statements: readonly object[]): number | undefined {
  const end = statements.findIndex(statement => ENDS.has(onlyKey(statement, undefined)));
  return end === -1 || end === statements.length - 1 ? undefined : end + 1;
}

/** The language in one version of nft. */
export function grammarOf(dialect: Dialect): Grammar {
  return dialect.reservesNewerWords ? NEWER : OLDER;
}

function makeGrammar(dialect: Dialect): Grammar {
  const keywords = keywordsOf(dialect);
  return {
    keywords,
    expressions: EXPRESSION_TEXTS,
    expression,
    calculation,
    constant,
    flags,
    value,
    mappings,
    chain: chainName,
    setName,
    led: readLed,
    state: readStateText,
    rules: readRules,
  };
}

const NEWER = /* @__PURE__ */ makeGrammar(NFT_1_1_6);
const OLDER = /* @__PURE__ */ makeGrammar(NFT_1_0_6);
