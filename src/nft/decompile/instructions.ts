import type { Expression } from '../../nf_tables/expression.ts';
import type { Inner } from '../../nf_tables/expressions/nested.ts';
import { TYPES } from '../data/datatypes.ts';
import { readLog } from '../statements/log.ts';
import { dup, dynset, fwd, nat, natFlags, objref, ports, queue, tproxy } from './actions.ts';
import { lowestZero } from './bits.ts';
import { extensionNode } from './extensions.ts';
import { BASE_INNER, BASE_NUMBERS, type Header, tunnelHeader } from './headers.ts';
import {
  ctNode,
  ctRow,
  fibNode,
  hashNode,
  ipsecNode,
  metaNode,
  metaRow,
  numgenNode,
  osfNode,
  rawNode,
  routeNode,
  socketNode,
  tunnelNode,
} from './loads.ts';
import { hexOf, type Of, type Registers, reference, word, words } from './registers.ts';
import { verdict } from './sets.ts';
import { stateful } from './statements.ts';
import {
  type BinaryOperator,
  binary,
  isString,
  type MapLookup,
  type Node,
  prefix,
  type RelationOperator,
  range,
  registerValue,
  setType,
  Undecompilable,
  untyped,
  value,
} from './tree.ts';

/*
 * From bytecode to statements: each expression loads a register, or ends a statement.
 */

type Handler<T> = (registers: Registers, expression: T) => void;

/** @throws Undecompilable for what no statement stands for */
export function takeExpression(registers: Registers, expression: Expression): void {
  for (const name in expression) {
    const content = (expression as unknown as Record<string, { unknown?: unknown }>)[name]!;
    const handler = HANDLERS[name];
    if (handler === undefined || content.unknown !== undefined) throw new Undecompilable(`the expression ${name}`);
    handler(registers, content as never);
  }
}

const COMPARISONS: Readonly<Record<string, RelationOperator>> = {
  eq: '==',
  neq: '!=',
  lt: '<',
  lte: '<=',
  gt: '>',
  gte: '>=',
};

function maskXor(left: Node, expression: Of<'bitwise'>): Node {
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

function bitwise(registers: Registers, expression: Of<'bitwise'>): void {
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

function cmp(registers: Registers, { register, op, data }: Of<'cmp'>): void {
  let left = registers.get(register);
  const right = registerValue(hexOf(data));
  // A truth value has no prefix. nft before 1.0.7 compares four bytes of it, others write one.
  if (left.type === TYPES.boolean) left.bits = right.bits;
  const operator = COMPARISONS[op];
  if (operator === undefined) throw new Undecompilable(`the comparison ${op}`);
  if (left.bits > right.bits && !isString(left.type)) {
    const { bits } = right;
    right.value <<= BigInt(left.bits - bits);
    right.bits = left.bits;
    registers.match(operator, left, prefix(right, bits));
    return;
  }
  if (left.bits > 0 && left.bits < right.bits) {
    left = registers.concat(register, right.bits);
    registers.match(operator, left, registers.parts(register, right));
    return;
  }
  registers.match(operator, left, right);
}

function lookup(registers: Registers, expression: Of<'lookup'>): void {
  const set = registers.find(expression);
  const left = registers.key(expression.sourceRegister, set);
  const right = reference(set);
  const inverted = words(expression.flags, ['invert']).length > 0;
  if (expression.register === undefined) {
    registers.match(inverted ? '!=' : '==', left, right);
    return;
  }
  const map: MapLookup = { kind: 'map', ...untyped(), left, right };
  if (expression.register === 0) registers.push({ kind: 'match', node: map });
  else registers.set(expression.register, map);
}

function payload(registers: Registers, expression: Of<'payload'>): void {
  const { base, offset, length, register, sourceRegister } = expression;
  const layer = base === 'tunnel' ? BASE_INNER : BASE_NUMBERS[base as keyof typeof BASE_NUMBERS];
  if (layer === undefined) throw new Undecompilable(`the header ${base}`);
  const node = rawNode(layer, offset * 8, length * 8);
  if (register !== undefined) registers.set(register, node);
  else if (sourceRegister !== undefined)
    registers.push({ kind: 'set-payload', target: node, value: registers.get(sourceRegister) });
  else throw new Undecompilable('a load without a register');
}

function inner(registers: Registers, { type, headerSize, flags, expression }: Inner<Expression>): void {
  const tunnel: Header | undefined = tunnelHeader(type, headerSize, flags);
  if (tunnel === undefined || !('payload' in expression || 'meta' in expression))
    throw new Undecompilable('the packet of a tunnel that is not known');
  takeExpression(registers, expression);
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

function exthdr(registers: Registers, expression: Of<'exthdr'>): void {
  const op = word(expression.op ?? 'ipv6') as 'ipv6';
  const offset = (expression.offset ?? 0) * 8;
  const bits = (expression.length ?? 0) * 8;
  const present = words(expression.flags, ['present']).length > 0;
  const node = extensionNode(op, expression.type, offset, bits, present);
  if (!registers.dialect.knowsIpOptionAddresses && node.op === 'ipv4' && node.type === TYPES.ipv4_addr)
    node.type = TYPES.integer;
  if (expression.register !== undefined) {
    registers.set(expression.register, node);
  } else if (expression.sourceRegister !== undefined) {
    const written = registers.get(expression.sourceRegister);
    setType(written, node.type, node.order);
    registers.push({ kind: 'set-extension', target: node, value: written });
  } else {
    node.present = true;
    registers.push({ kind: 'reset-option', target: node });
  }
}

function meta(registers: Registers, { key, register, sourceRegister }: Of<'meta'>): void {
  if (register !== undefined) {
    registers.set(register, metaNode(key));
    return;
  }
  const row = metaRow(key);
  const written = registers.get(sourceRegister ?? 0);
  setType(written, TYPES[row.type], row.order);
  registers.push({ kind: 'set-meta', key: row.word, value: written });
}

function ct(registers: Registers, { key, direction, register, sourceRegister }: Of<'ct'>): void {
  const node = ctNode(key, direction);
  if (register !== undefined) {
    registers.set(register, node);
    return;
  }
  const written = registers.get(sourceRegister ?? 0);
  const row = ctRow(key);
  setType(written, TYPES[row.type], row.order);
  registers.push({ kind: 'set-ct', key: row.word, direction: node.direction, value: written });
}

function hash(registers: Registers, expression: Of<'hash'>): void {
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

const WATCHERS = ['log', 'nflog'];
const OSF_TTL = { exact: undefined, loose: 'loose', skip: 'skip' } as const;

const HANDLERS: Readonly<Record<string, Handler<never>>> = {
  immediate: ((registers, { register, data }) => {
    if (register !== 0) registers.set(register, registerValue(hexOf(data)));
    else if (typeof data === 'string') throw new Undecompilable('a value as the verdict');
    else registers.push({ kind: 'verdict', node: verdict(data) });
  }) as Handler<Of<'immediate'>>,
  cmp,
  range: ((registers, { register, op, from, to }) => {
    const left = registers.get(register);
    const operator = COMPARISONS[op];
    if (operator === undefined) throw new Undecompilable(`the comparison ${op}`);
    registers.match(operator, left, range(registerValue(hexOf(from)), registerValue(hexOf(to))));
  }) as Handler<Of<'range'>>,
  lookup,
  bitwise,
  byteorder: ((registers, { register, sourceRegister, op }) => {
    word(op);
    const argument = registers.get(sourceRegister);
    registers.set(register, { kind: 'unary', ...untyped(argument.bits), argument });
  }) as Handler<Of<'byteorder'>>,
  payload,
  inner,
  exthdr,
  meta,
  ct,
  socket: ((registers, { register, key, level }) => registers.set(register, socketNode(key, level ?? 0))) as Handler<
    Of<'socket'>
  >,
  tunnel: ((registers, { register, key, mode }) => {
    if (mode !== undefined && mode !== 'none') throw new Undecompilable('the mode of a tunnel');
    registers.set(register, tunnelNode(key));
  }) as Handler<Of<'tunnel'>>,
  osf: ((registers, { register, ttl, flags }) => {
    const how = word(ttl ?? 'exact') as keyof typeof OSF_TTL;
    registers.set(register, osfNode(OSF_TTL[how], words(flags, ['version']).length > 0));
  }) as Handler<Of<'osf'>>,
  rt: ((registers, { register, key }) => registers.set(register, routeNode(key))) as Handler<Of<'rt'>>,
  fib: ((registers, { register, result, flags }) =>
    registers.set(register, fibNode(result, flags ?? [], registers.dialect))) as Handler<Of<'fib'>>,
  xfrm: ((registers, { register, key, direction, index }) =>
    registers.set(register, ipsecNode(key, direction, index ?? 0))) as Handler<Of<'xfrm'>>,
  numgen: ((registers, { register, type, modulus, offset }) =>
    registers.set(register, numgenNode(word(type) === 'random' ? 'random' : 'inc', modulus, offset ?? 0))) as Handler<
    Of<'numgen'>
  >,
  hash,
  dynset,
  objref,
  notrack: (registers => registers.push({ kind: 'notrack' })) as Handler<unknown>,
  flow_offload: ((registers, { flowtable }) => registers.push({ kind: 'flow', flowtable })) as Handler<
    Of<'flow_offload'>
  >,
  log: readLog,
  reject: ((registers, { type, code }) =>
    registers.push({
      kind: 'reject',
      type: word(type) as 'tcp-reset',
      code: value(8, BigInt(code ?? 0), TYPES.integer, 'host'),
      family: undefined,
      verbose: false,
    })) as Handler<Of<'reject'>>,
  nat,
  masq: ((registers, { flags, portRegister, lastPortRegister }) =>
    registers.push({
      kind: 'nat',
      type: 'masquerade',
      family: undefined,
      address: undefined,
      port: ports(registers, portRegister, lastPortRegister),
      flags: natFlags(flags),
      prefix: false,
    })) as Handler<Of<'masq'>>,
  redir: ((registers, { flags, portRegister, lastPortRegister }) =>
    registers.push({
      kind: 'nat',
      type: 'redirect',
      family: undefined,
      address: undefined,
      port: ports(registers, portRegister, lastPortRegister),
      flags: natFlags(flags),
      prefix: false,
    })) as Handler<Of<'redir'>>,
  tproxy,
  queue,
  dup,
  fwd,
  synproxy: ((registers, { maximumSegmentSize, windowScale, flags }) =>
    registers.push({
      kind: 'synproxy',
      mss: maximumSegmentSize ?? 0,
      wscale: windowScale ?? 0,
      flags: words(flags, ['maximum-segment-size', 'window-scale', 'timestamp', 'sack-permitted', 'ecn']),
    })) as Handler<Of<'synproxy'>>,
  match: ((registers, { name }) => registers.push({ kind: 'xt', type: 'match', name })) as Handler<Of<'match'>>,
  target: ((registers, { name }) =>
    registers.push({
      kind: 'xt',
      type: registers.family === 'bridge' && WATCHERS.includes(name) ? 'watcher' : 'target',
      name,
    })) as Handler<Of<'target'>>,
  counter: (registers, expression: Of<'counter'>) => registers.push(stateful({ counter: expression })),
  limit: (registers, expression: Of<'limit'>) => registers.push(stateful({ limit: expression })),
  quota: (registers, expression: Of<'quota'>) => registers.push(stateful({ quota: expression })),
  last: (registers, expression: Of<'last'>) => registers.push(stateful({ last: expression })),
  connlimit: (registers, expression: Of<'connlimit'>) => registers.push(stateful({ connlimit: expression })),
};
