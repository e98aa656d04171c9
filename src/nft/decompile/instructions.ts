import type { ContentOf, Expression } from '../../nf_tables/expression.ts';
import type { Inner } from '../../nf_tables/expressions/nested.ts';
import { lowestZero } from '../bits.ts';
import { EXPRESSIONS } from '../expressions/registry.ts';
import { INNER, tunnelHeader } from '../headers.ts';
import { binary, mapLookup, registerValue, unary, untyped, value } from '../nodes.ts';
import { type BinaryOperator, type Node, Undecompilable } from '../tree.ts';
import { word, words } from './kernel-words.ts';
import { hexOf, type Registers, reference } from './registers.ts';

/* The expressions that load registers. The files of the statements have those that end a statement. */

type Handler<T> = (registers: Registers, expression: T) => void;

/** @throws Undecompilable if nft has no words for an expression */
export function loadRegister(registers: Registers, expression: Expression): void {
  for (const name in expression) {
    const content = (expression as unknown as Record<string, { unknown?: unknown }>)[name]!;
    const handler = HANDLERS[name];
    if (handler === undefined || content.unknown !== undefined) throw new Undecompilable(`the expression ${name}`);
    handler(registers, content as never);
  }
}

function maskXor(left: Node, expression: ContentOf<'bitwise'>): Node {
  const mask = registerValue(hexOf(expression.mask));
  const xor = registerValue(hexOf(expression.xor));
  let [m, x, o] = [mask.value, xor.value, 0n];
  if (lowestZero(m, 0) !== mask.bits || x !== 0n) {
    o = (m & x) ^ x;
    x &= m;
    m |= o;
  }
  let node = left;
  if (left.bits === 0 || lowestZero(m, 0) < left.bits) {
    mask.value = m;
    node = binary('&', node, mask, left.bits);
  }
  if (x !== 0n) node = binary('^', node, value(xor.bits, x), left.bits);
  if (o !== 0n) node = binary('|', node, value(xor.bits, o), left.bits);
  return node;
}

const BOOLEAN_OPERATORS: Readonly<Record<string, BinaryOperator>> = { and: '&', or: '|', xor: '^' };

function bitwise(registers: Registers, expression: ContentOf<'bitwise'>): void {
  const left = registers.get(expression.sourceRegister);
  const op = expression.op ?? 'mask-xor';
  let node: Node;
  if (op === 'mask-xor') {
    node = maskXor(left, expression);
  } else if (op === 'shift-left' || op === 'shift-right') {
    const by = registerValue(hexOf(expression.data));
    by.order = 'host';
    node = binary(
      op === 'shift-left' ? '<<' : '>>',
      left,
      by,
      registers.dialect.widensShifts ? expression.length * 8 : left.bits,
    );
  } else {
    const operator = BOOLEAN_OPERATORS[op];
    if (operator === undefined || expression.secondSourceRegister === undefined)
      throw new Undecompilable(`the operation ${op}`);
    node = binary(operator, left, registers.get(expression.secondSourceRegister), left.bits);
  }
  registers.set(expression.register, node);
}

function lookup(registers: Registers, expression: ContentOf<'lookup'>): void {
  const set = registers.find(expression);
  const left = registers.key(expression.sourceRegister, set);
  const right = reference(set);
  words(expression.flags, ['invert']);
  registers.set(targetOf(expression), mapLookup(left, right));
}

/** Returns the register that is loaded. */
function targetOf({ register }: { register?: number | undefined }): number {
  if (register === undefined) throw new Undecompilable('a load without a register');
  return register;
}

function inner(registers: Registers, { type, headerSize, flags, expression }: Inner<Expression>): void {
  const tunnel = tunnelHeader(type, headerSize, flags);
  if (tunnel === undefined || !('payload' in expression || 'meta' in expression))
    throw new Undecompilable('the packet of a tunnel that is not known');
  loadRegister(registers, expression);
  const node = registers.get(registers.loaded);
  if (node.kind !== 'payload' && node.kind !== 'meta') throw new Undecompilable('no load from a tunnel');
  if (node.kind === 'payload' && node.base === INNER) {
    const { offset, bits } = node;
    const field = tunnel.fields.find(each => each.offset === offset && each.bits === bits);
    // Bits of a field are recognised later, by their mask.
    node.header = tunnel;
    node.field = field;
    if (field === undefined) throw new Undecompilable("bits of a tunnel's own header");
  }
  node.tunnel = tunnel;
  registers.set(registers.loaded, node);
}

/** Expressions that only load a register. */
const LOADS: Readonly<Record<string, Handler<never>>> = /* @__PURE__ */ Object.fromEntries(
  /* @__PURE__ */ Object.values(EXPRESSIONS).map(({ kernel, read }): [string, Handler<{ register?: number }>] => [
    kernel,
    (registers, expression) => registers.set(targetOf(expression), read(expression, registers)),
  ]),
);

const HANDLERS: Readonly<Record<string, Handler<never>>> = {
  ...LOADS,
  immediate: ((registers, { register, data }) => registers.set(register, registerValue(hexOf(data)))) as Handler<
    ContentOf<'immediate'>
  >,
  lookup,
  bitwise,
  byteorder: ((registers, { register, sourceRegister, op }) => {
    const argument = registers.get(sourceRegister);
    const node = unary(argument, word(op) === 'network-to-host' ? 'host' : 'big');
    registers.set(register, Object.assign(node, untyped(argument.bits)));
  }) as Handler<ContentOf<'byteorder'>>,
  inner,
};
