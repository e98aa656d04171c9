import { type Compile, step } from '../compile/lower.ts';
import { parseVerdict } from '../compile/parse.ts';
import { verdictOf } from '../decompile/sets.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText, type TextOptions } from '../decompile/to-text.ts';
import type { JsonObject } from '../json-object.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import { Undecompilable, type Verdict } from '../tree.ts';
import type { Construct } from './construct.ts';

/* The verdicts: accept, drop, continue, return, and jump and goto to another chain. */

export interface VerdictStatement {
  kind: 'verdict';
  node: Verdict;
}

const compile: Compile = (e, json, place, name) => {
  const term = parseVerdict(json, place, name);
  step(e, emitter => emitter.load(term, 0));
};

/** The rules of a chain without a name, which stand in the place of the jump to it. */
function nestedText({ node }: VerdictStatement, options: Pick<TextOptions, 'nestedChain'>): string | undefined {
  const rules = node.chain === undefined ? undefined : options.nestedChain?.(node.chain);
  return rules === undefined ? undefined : `${node.verdict} {\n${rules}\t\t}`;
}

/** Reads the name of a chain, or the rules of one without a name. */
function readJump(p: Parser, word: string): JsonObject {
  if (p.kind === T.LBRACE) return { [word]: { rules: p.grammar.rules(p) } };
  const { start } = p;
  if (!p.isString() && p.kind !== T.DOLLAR) p.unexpected("'{'");
  const content: JsonObject = { target: p.grammar.chain(p) };
  p.note(content, 'target', start);
  return { [word]: content };
}

export const VERDICT: Construct<VerdictStatement, 'accept' | 'drop' | 'continue' | 'return' | 'jump' | 'goto'> = {
  compile: { accept: compile, drop: compile, continue: compile, return: compile, jump: compile, goto: compile },
  fromText: {
    // Written out: objects whose keys are computed take much longer, and rulesets have many of these.
    accept: () => ({ accept: null }),
    drop: () => ({ drop: null }),
    continue: () => ({ continue: null }),
    return: () => ({ return: null }),
    jump: readJump,
    goto: readJump,
  },
  read: {
    immediate(_, { register, data }) {
      if (register !== 0) return undefined;
      if (typeof data === 'string') throw new Undecompilable('a value as the verdict');
      return { kind: 'verdict', node: verdictOf(data) };
    },
  },
  text: (statement, options) => nestedText(statement, options) ?? nodeText(statement.node, options),
  // A chain without a name has no JSON: nft shows the text.
  json: (statement, options) => nestedText(statement, options) ?? nodeJson(statement.node, options),
  ends: ({ node }) => node.verdict !== 'continue',
};
