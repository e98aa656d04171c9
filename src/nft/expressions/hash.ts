import type { ContentOf } from '../../nf_tables/expression.ts';
import { bytesOf } from '../bits.ts';
import { fieldsOf, numberOf } from '../compile/json-fields.ts';
import { GENERATED } from '../data/keys.ts';
import { SCOPES } from '../data/scopes.ts';
import type { JsonObject } from '../json-object.ts';
import type { Parser } from '../parse/parser.ts';
import { type Load, type Node, Place, Undecompilable } from '../tree.ts';
import { type LoadExpression, load, takeExpectedType } from './expression.ts';

/**
 * `jhash`: a hash of any value. `symhash`, without an argument: a hash of the connection's addresses and ports. Both are modulo a number.
 */
interface Hash extends Load {
  readonly modulus: number;
  readonly seed: number | undefined;
  /** The number that is added to the result. */
  readonly offset: number;
  readonly symmetric: boolean;
}

const made = (fields: Pick<Hash, 'modulus' | 'seed' | 'offset' | 'symmetric' | 'argument'>, place?: Place): Hash =>
  load('hash', GENERATED, place, { ...fields });

/** Reads the numbers of a hash behind its argument. */
function readHash(p: Parser): JsonObject {
  if (!p.acceptWord('mod')) p.unexpectedIn(SCOPES.jhash, 'mod');
  const content: JsonObject = { mod: p.whole() };
  if (p.acceptWord('seed')) content.seed = p.whole();
  if (p.acceptWord('offset')) content.offset = p.whole();
  p.hold(SCOPES.jhash);
  return content;
}

export const hash: LoadExpression<Hash> = {
  kernel: 'hash',
  words: ['jhash', 'symhash'],
  typeof: { kind: 24, needs: [0, 1, 2, 3, 4] },

  fromText: {
    jhash(p) {
      const { start } = p;
      const expr = p.within(SCOPES.jhash, () => p.nested(() => p.grammar.expression(p)));
      const end = p.lastEnd;
      const content: JsonObject = { ...readHash(p), expr };
      p.noteSpan(content, 'expr', start, end);
      return { jhash: content };
    },
    symhash: p => ({ symhash: readHash(p) }),
  },
  parse(json, place, name, parseArgument) {
    const fields = fieldsOf(json, place);
    const symmetric = name === 'symhash';
    const argument = symmetric ? undefined : parseArgument(fields.expr, new Place(place, 'expr'));
    const seed = symmetric || fields.seed === undefined ? undefined : numberOf(fields, 'seed', place);
    const modulus = numberOf(fields, 'mod', place);
    const offset = fields.offset === undefined ? 0 : numberOf(fields, 'offset', place);
    return made({ modulus, seed, offset, symmetric, argument }, place);
  },

  evaluate(node, e) {
    takeExpectedType(node, e);
    if (node.argument === undefined) return;
    e.expectNothing();
    node.argument = e.evaluate(node.argument);
  },
  maximum: ({ modulus, offset }) => modulus + offset - 1,

  write({ modulus, seed, offset, symmetric, argument }, register, source): ContentOf<'hash'> {
    const fields: ContentOf<'hash'> = { register, modulus, offset, type: symmetric ? 'symmetric' : 'jenkins' };
    if (seed !== undefined) fields.seed = seed;
    if (argument !== undefined) {
      fields.sourceRegister = source!;
      fields.length = bytesOf(argument.bits);
    }
    return fields;
  },
  read(expression: ContentOf<'hash'>, registers) {
    const { type, sourceRegister, length = 0, modulus, seed, offset = 0 } = expression;
    const symmetric = type === 'symmetric';
    let argument: Node | undefined;
    if (!symmetric) {
      if (sourceRegister === undefined) throw new Undecompilable('a hash of nothing');
      argument = registers.get(sourceRegister);
      if (argument.bits < length * 8) argument = registers.concat(sourceRegister, length * 8);
    }
    return made({ modulus, seed, offset, symmetric, argument });
  },

  json({ modulus, seed, offset, symmetric, argument }, options, print) {
    const content: JsonObject = { mod: modulus };
    if (seed !== undefined) content.seed = seed;
    if (offset !== 0) content.offset = offset;
    return symmetric ? { symhash: content } : { jhash: { ...content, expr: print(argument!, options) } };
  },
  text({ modulus, seed, offset, symmetric, argument }, options, print) {
    const of = symmetric ? 'symhash' : `jhash ${print(argument!, options)}`;
    const from = seed === undefined ? '' : ` seed 0x${seed.toString(16)}`;
    return `${of} mod ${modulus}${from}${offset === 0 ? '' : ` offset ${offset}`}`;
  },

  describe: ({ modulus, seed, offset, symmetric }) => [
    [0, symmetric ? 1 : 0],
    [1, offset],
    [2, modulus],
    [3, seed ?? 0],
    [4, seed === undefined ? 0 : 1],
  ],
  described: at =>
    made({
      symmetric: at(0) === 1,
      argument: undefined,
      modulus: at(2)!,
      seed: at(4) === 0 ? undefined : at(3)!,
      offset: at(1)!,
    }),
  isSafe: at => at(0) === 1,
};
