import type { ContentOf, Expression } from '../../nf_tables/expression.ts';
import type { Inner } from '../../nf_tables/expressions/nested.ts';
import { TYPES } from '../data/datatypes.ts';
import type { Dialect } from '../data/dialects.ts';
import { lowestZero } from './bits.ts';
import { extensionNode } from './extensions.ts';
import { BASE_INNER, BASE_NUMBERS, type Header, tunnelHeader } from './headers.ts';
import {
  ctNode,
  fibNode,
  hashNode,
  ipsecNode,
  metaNode,
  numgenNode,
  osfNode,
  rawNode,
  routeNode,
  socketNode,
  tunnelNode,
} from './loads.ts';
import { hexOf, type Registers, reference, word, words } from './registers.ts';
import {
  type BinaryOperator,
  binary,
  type ExtensionNode,
  type Node,
  type PayloadNode,
  registerValue,
  Undecompilable,
  untyped,
  value,
} from './tree.ts';

/* The expressions that load registers. Those that end a statement are in the files of the statements. */

type Handler<T> = (registers: Registers, expression: T) => void;

/** @throws Undecompilable where nft has no words for an expression */
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
  registers.set(targetOf(expression), { kind: 'map', ...untyped(), left, right });
}

/** The bits of the packet that an expression loads or writes. */
export function payloadOf(base: ContentOf<'payload'>['base'], offset: number, length: number): PayloadNode {
  const layer = base === 'tunnel' ? BASE_INNER : BASE_NUMBERS[base as keyof typeof BASE_NUMBERS];
  if (layer === undefined) throw new Undecompilable(`the header ${base}`);
  return rawNode(layer, offset * 8, length * 8);
}

/** The header, option or chunk that an expression loads, writes or removes. */
export function extensionOf(dialect: Dialect, expression: ContentOf<'exthdr'>): ExtensionNode {
  const { op, type, offset = 0, length = 0, flags } = expression;
  const present = words(flags, ['present']).length > 0;
  const node = extensionNode(word(op ?? 'ipv6'), type, offset * 8, length * 8, present);
  if (!dialect.knowsIpOptionAddresses && node.op === 'ipv4' && node.type === TYPES.ipv4_addr) node.type = TYPES.integer;
  return node;
}

/** The register that is loaded. */
function targetOf({ register }: { register?: number | undefined }): number {
  if (register === undefined) throw new Undecompilable('a load without a register');
  return register;
}

function inner(registers: Registers, { type, headerSize, flags, expression }: Inner<Expression>): void {
  const tunnel: Header | undefined = tunnelHeader(type, headerSize, flags);
  if (tunnel === undefined || !('payload' in expression || 'meta' in expression))
    throw new Undecompilable('the packet of a tunnel that is not known');
  loadRegister(registers, expression);
  const node = registers.get(registers.loaded);
  if (node.kind !== 'payload' && node.kind !== 'meta') throw new Undecompilable('no load from a tunnel');
  if (node.kind === 'payload' && node.base === BASE_INNER) {
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

function hash(registers: Registers, expression: ContentOf<'hash'>): void {
  const symmetric = expression.type === 'symmetric';
  let argument: Node | undefined;
  if (!symmetric) {
    if (expression.sourceRegister === undefined) throw new Undecompilable('a hash of nothing');
    argument = registers.get(expression.sourceRegister);
    const bits = (expression.length ?? 0) * 8;
    if (argument.bits < bits) argument = registers.concat(expression.sourceRegister, bits);
  }
  registers.set(
    expression.register,
    hashNode({
      symmetric,
      argument,
      modulus: expression.modulus,
      seed: expression.seed,
      offset: expression.offset ?? 0,
    }),
  );
}

const OSF_TTL = { exact: undefined, loose: 'loose', skip: 'skip' } as const;

const HANDLERS: Readonly<Record<string, Handler<never>>> = {
  immediate: ((registers, { register, data }) => registers.set(register, registerValue(hexOf(data)))) as Handler<
    ContentOf<'immediate'>
  >,
  lookup,
  bitwise,
  byteorder: ((registers, { register, sourceRegister, op }) => {
    word(op);
    const argument = registers.get(sourceRegister);
    registers.set(register, { kind: 'unary', ...untyped(argument.bits), argument });
  }) as Handler<ContentOf<'byteorder'>>,
  payload: ((registers, expression) => {
    const { base, offset, length } = expression;
    registers.set(targetOf(expression), payloadOf(base, offset, length));
  }) as Handler<ContentOf<'payload'>>,
  inner,
  exthdr: ((registers, expression) =>
    registers.set(targetOf(expression), extensionOf(registers.dialect, expression))) as Handler<ContentOf<'exthdr'>>,
  meta: ((registers, expression) => registers.set(targetOf(expression), metaNode(expression.key))) as Handler<
    ContentOf<'meta'>
  >,
  ct: ((registers, expression) =>
    registers.set(targetOf(expression), ctNode(expression.key, expression.direction))) as Handler<ContentOf<'ct'>>,
  socket: ((registers, { register, key, level }) => registers.set(register, socketNode(key, level ?? 0))) as Handler<
    ContentOf<'socket'>
  >,
  tunnel: ((registers, { register, key, mode }) => {
    if (mode !== undefined && mode !== 'none') throw new Undecompilable('the mode of a tunnel');
    registers.set(register, tunnelNode(key));
  }) as Handler<ContentOf<'tunnel'>>,
  osf: ((registers, { register, ttl, flags }) => {
    const how = word(ttl ?? 'exact') as keyof typeof OSF_TTL;
    registers.set(register, osfNode(OSF_TTL[how], words(flags, ['version']).length > 0));
  }) as Handler<ContentOf<'osf'>>,
  rt: ((registers, { register, key }) => registers.set(register, routeNode(key))) as Handler<ContentOf<'rt'>>,
  fib: ((registers, { register, result, flags }) =>
    registers.set(register, fibNode(result, flags ?? [], registers.dialect))) as Handler<ContentOf<'fib'>>,
  xfrm: ((registers, { register, key, direction, index }) =>
    registers.set(register, ipsecNode(key, direction, index ?? 0))) as Handler<ContentOf<'xfrm'>>,
  numgen: ((registers, { register, type, modulus, offset }) =>
    registers.set(register, numgenNode(word(type) === 'random' ? 'random' : 'inc', modulus, offset ?? 0))) as Handler<
    ContentOf<'numgen'>
  >,
  hash,
};
