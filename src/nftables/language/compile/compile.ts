import { type Path, typeError, within } from '../../../errors.ts';
import type { WireElement } from '../../element.ts';
import type { Expression } from '../../expression.ts';
import type { Family } from '../../family.ts';
import type { NftSet } from '../../set.ts';
import type { Statement } from '../json.ts';
import { Names } from '../names.ts';
import { Evaluator } from './evaluate.ts';
import { Linearizer } from './linearize.ts';
import { reduce } from './reduce.ts';
import { compileStatement } from './statement.ts';
import { Place, type SetInfo } from './term.ts';
import { setInfo, wireSet } from './wire-set.ts';

/** For each expression, where the statement stands that it came from. */
export type Origin = Path[];

/** A set that a rule brings with it: it comes before the rule, in the same transaction. */
export interface CompiledSet {
  /** `id` is the number that the rule's expressions refer to as `setId`. */
  set: NftSet & { id: number };
  elements: WireElement[];
}

/** What a rule is compiled against. */
export interface CompileContext {
  /** Whose bytecode; default that of nft 1.1.6. */
  version?: '1.1.6' | '1.0.6';
  /** Sets and maps of the rule's table, by the names that it refers to with '@'. */
  sets?: readonly NftSet[] | ((name: string) => NftSet | undefined);
  /** The rule's table, for the sets that it brings with it. */
  table?: string;
  /** The number of the first such set within the transaction; default 1. */
  firstSetId?: number;
  /** Names of numbers; default this system's files. */
  names?: Names;
  /** Indexes of interfaces, for iif, oif, dup and fwd; default knows lo only, whose index is always 1. */
  interfaces?: (name: string) => number | undefined;
}

export interface CompiledRule {
  expressions: Expression[];
  /** `origin[i]` is the path of the statement that expression i came from. */
  origin: Origin;
  /** Sets without a name that belong to the rule. */
  sets?: CompiledSet[];
}

const LOOPBACK = 1;

/**
 * Translates nft's statements into the kernel's expressions, as nft does: instruction for instruction, so that `nft list` prints the rule as
 * a person would have written it.
 * @throws TypeError, RangeError with the path of what cannot be translated
 */
export function compileRule(
  rule: { family: Family; chain?: string; statements: Statement[] },
  context: CompileContext = {},
): CompiledRule {
  try {
    return compileStatements(rule.family, rule.statements, context);
  } catch (error) {
    throw within(error, ['statements']);
  }
}

const places: Path[] = [];

/** The path of the statement at an index: the same array each time, for each expression of each rule refers to one. */
function placeOf(index: number): Path {
  places[index] ??= ['statements', index];
  return places[index];
}

export function compileStatements(
  family: Family,
  statements: readonly Statement[],
  context: CompileContext,
): CompiledRule {
  if (!Array.isArray(statements)) throw typeError([], 'an array of statements', statements);
  const old = context.version === '1.0.6';
  let { names } = context;
  const evaluator = new Evaluator(family, {
    words: {
      old,
      names: () => {
        names ??= new Names();
        return names;
      },
      interfaceIndex: context.interfaces ?? (name => (name === 'lo' ? LOOPBACK : undefined)),
    },
    findSet: finder(context.sets),
    firstSetId: context.firstSetId ?? 1,
  });
  for (let i = 0; i < statements.length; i++) {
    evaluator.statement = i;
    evaluator.statementBits = 0;
    evaluator.expectNothing();
    compileStatement(evaluator, statements[i], new Place(undefined, i));
    evaluator.tunnel = undefined;
  }
  const linearizer = new Linearizer(old);
  linearizer.run(reduce(evaluator.steps, family));
  const compiled: CompiledRule = {
    expressions: linearizer.expressions,
    origin: linearizer.statements.map(placeOf),
  };
  if (evaluator.sets.length > 0) {
    const table = context.table ?? '';
    compiled.sets = evaluator.sets.map(set => wireSet(set, { family, table }, old));
  }
  return compiled;
}

function finder(sets: CompileContext['sets']): (name: string) => SetInfo | undefined {
  if (sets === undefined) return () => undefined;
  const find = typeof sets === 'function' ? sets : (name: string) => sets.find(set => set.name === name);
  const found = new Map<string, SetInfo>();
  return name => {
    let info = found.get(name);
    if (info !== undefined) return info;
    const set = find(name);
    if (set === undefined) return undefined;
    info = setInfo(set);
    found.set(name, info);
    return info;
  };
}
