import type { ArgumentError } from '../errors.ts';
import type { WireElement } from '../nf_tables/element.ts';
import type { Expression } from '../nf_tables/expression.ts';
import type { Family } from '../nf_tables/family.ts';
import { bytesOf, reverseBytes } from './bits.ts';
import { compileStatements } from './compile/compile.ts';
import type { Datatype } from './data/datatypes.ts';
import type { Vocabulary } from './decompile/format-value.ts';
import type { SetFinder, Sets } from './decompile/sets.ts';
import { isFlags, isKnown } from './nodes.ts';
import { type FlowStatement, statementsJson } from './statements/registry.ts';
import { type ListedSet, type Node, ORDERS, Undecompilable } from './tree.ts';

/*
 * A workaround for nft 1.0.6, which prints calculations that it cannot read or reads as others: a mark that is set from an address, a shift
 * of a mark, a mask of a field that is shorter than the written one. A rule with a calculation is compiled again, as that nft does it, and
 * compared. It can go together with support for 1.0.6.
 */

interface CalculatingRule {
  readonly family: string;
  readonly expressions: readonly Expression[];
}

/** Does nft 1.0.6 read these statements as the same rule? */
export function readsBack(
  { family, expressions }: CalculatingRule,
  statements: readonly FlowStatement[],
  sets: Sets,
  words: Vocabulary,
): boolean {
  const calculating = statements.map(calculates);
  if (!calculating.includes(true)) return true;
  const numbered: Vocabulary = { ...words, interfaceName: () => undefined };
  try {
    const json = statementsJson(statements, { words: numbered });
    const compiled = compileStatements(family as Family, json, {
      version: words.dialect.version,
      names: words.names,
      sets: name => sets.listed(name),
      table: '',
    });
    const own: SetFinder = (name, id) => {
      const found = compiled.sets?.find(({ set }) => set.id === id);
      return found === undefined ? sets.listed(name, id) : { ...found.set, elements: found.elements };
    };
    const listed: SetFinder = (name, id) => sets.listed(name, id);
    return meaning(compiled.expressions, own) === meaning(expressions, listed);
  } catch (error) {
    // The refusal of a statement without a calculation does not matter here.
    if (error instanceof TypeError || error instanceof RangeError)
      return calculating[Number((error as ArgumentError).path?.[0])] !== true;
    if (error instanceof Undecompilable) return false;
    throw error;
  }
}

/** nft's JSON has no numbers of these types: bits of an interface's index, for instance. */
const UNREAD: ReadonlySet<Datatype['kind']> = /* @__PURE__ */ new Set<Datatype['kind']>(['interface', 'time', 'date']);

/** Values that each nft accepts in each place. */
const MADE: ReadonlySet<string> = /* @__PURE__ */ new Set(['value', 'map', 'hash', 'numgen']);
const isMade = (node: Node): boolean => MADE.has(node.kind === 'load' ? node.name : node.kind);

function calculates(statement: FlowStatement): boolean {
  switch (statement.kind) {
    case 'match': {
      const { node } = statement;
      if (node.kind !== 'relation') break;
      if (node.left.kind === 'unary' && node.left.argument.kind === 'payload' && node.right.kind === 'range')
        return true;
      if (isFlags(node.right.type) && ORDERS.has(node.op) && !isSymmetric(node.right)) return true;
      break;
    }
    case 'mangle':
      // A write of bits without a name includes the bits around them.
      if (statement.target.kind === 'payload' && !isKnown(statement.target)) return false;
      if (!isMade(statement.value)) return true;
      break;
    default:
  }
  return Object.values(statement).some(part => isNode(part) && isCalculated(part));
}

/** Are the flags the same in either byte order? */
function isSymmetric(node: Node): boolean {
  const flags = flagsOf(node);
  return reverseBytes(flags, bytesOf(node.bits || node.type.bits)) === flags;
}

function flagsOf(node: Node): bigint {
  if (node.kind === 'binary') return flagsOf(node.left) | flagsOf(node.right);
  return node.kind === 'value' ? node.value : 0n;
}

const isNode = (part: unknown): part is Node => typeof part === 'object' && part !== null && 'kind' in part;

function isCalculated(node: Node): boolean {
  switch (node.kind) {
    case 'binary':
      return !UNREAD.has(node.left.type.kind);
    case 'map':
      return node.mappings.kind === 'set-reference' && node.mappings.literal !== undefined && isCalculated(node.key);
    case 'relation':
    case 'flag-comparison':
      return isCalculated(node.left);
    case 'concat':
      return node.parts.some(isCalculated);
    case 'element':
      return isCalculated(node.key);
    case 'unary':
      return node.argument.kind === 'payload' || isCalculated(node.argument);
    case 'load':
      return node.argument !== undefined && isCalculated(node.argument);
    default:
      return false;
  }
}

/** The expressions as text, equal for equal effects: a range counts as two comparisons, and a calculation without effect as none. */
function meaning(expressions: readonly Expression[], find: SetFinder): string {
  const lines: string[] = [];
  let flips: { register: number; xor: bigint } | undefined;
  for (const expression of expressions) {
    if ('range' in expression && expression.range.op === 'eq') {
      const { register, from, to } = expression.range;
      lines.push(line({ cmp: { register, op: 'gte', data: from } }), line({ cmp: { register, op: 'lte', data: to } }));
      continue;
    }
    if ('bitwise' in expression && (expression.bitwise.op ?? 'mask-xor') === 'mask-xor') {
      const { sourceRegister, register, mask, xor } = expression.bitwise;
      const flipped = BigInt(`0x${xor as string}`);
      if (sourceRegister === register && /^f+$/.test(mask as string) && flipped === 0n) continue;
      flips = flipped === 0n ? undefined : { register, xor: flipped };
      lines.push(line({ bitwise: { ...expression.bitwise, op: 'mask-xor' } }));
      continue;
    }
    if ('cmp' in expression && flips?.register === expression.cmp.register) {
      const { op, data, register } = expression.cmp;
      if (typeof data === 'string' && (op === 'eq' || op === 'neq')) {
        // (x & mask) ^ bits == value is x & mask == value ^ bits.
        const before = lines.pop()!.replace(/"xor":"[0-9a-f]+"/, '"xor":"0"');
        const compared = (BigInt(`0x${data}`) ^ flips.xor).toString(16).padStart(data.length, '0');
        if (!/"mask":"f+"/.test(before)) lines.push(before);
        lines.push(line({ cmp: { register, op, data: compared } }));
        flips = undefined;
        continue;
      }
    }
    flips = undefined;
    lines.push(setLine(expression, find) ?? line(expression));
  }
  return lines.join('\n');
}

/** A look-up in a set without a name, by the elements of the set. */
function setLine(expression: Expression, find: SetFinder): string | undefined {
  if (!('lookup' in expression)) return undefined;
  const { set: name, setId, ...rest } = expression.lookup;
  const set = find(name ?? '', setId);
  if (set === undefined || !set.flags?.includes('anonymous')) return line({ lookup: { ...rest, set: name } });
  return line({ lookup: { ...rest, elements: elementsOf(set) } });
}

function elementsOf({ elements = [] }: ListedSet): string[] {
  return elements
    .filter(({ key, flags }) => !(flags?.includes('interval-end') && /^0+$/.test(String(key))))
    .map(({ key, keyEnd, data, flags }: WireElement) =>
      line({ key, keyEnd, data, end: flags?.includes('interval-end') ?? false }),
    )
    .sort();
}

/** Empty lists of flags count as none, and the order of the fields does not matter. */
function line(content: unknown): string {
  return JSON.stringify(content, (_key, each: unknown) => {
    if (typeof each === 'bigint') return String(each);
    if (Array.isArray(each) && each.length === 0) return undefined;
    if (typeof each !== 'object' || each === null || Array.isArray(each)) return each;
    return Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
