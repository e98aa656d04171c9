import type { Expression } from '../../expression.ts';
import type { DynamicSet, Inner } from '../../expressions/nested.ts';
import type { AddressFamily } from '../json.ts';
import { type Datatype, TYPES } from '../tables/datatypes.ts';
import { LOG_LEVEL } from '../tables/symbols.ts';
import { extensionNode } from './extensions.ts';
import { BASE_INNER, BASE_NUMBERS, type Header, tunnelHeader } from './headers.ts';
import { rangeOrPrefix } from './intervals.ts';
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
import { type SetShape, type Sets, splice, verdict } from './sets.ts';
import { type FlowStatement, type NatStatement, stateful, statementOf } from './statements.ts';
import {
  type BinaryOperator,
  binary,
  type Concat,
  clone,
  isString,
  lowestZero,
  type MapLookup,
  type Node,
  paddedBits,
  prefix,
  type RelationOperator,
  range,
  registerValue,
  relation,
  type SetReference,
  setType,
  Undecompilable,
  untyped,
  type Value,
  value,
} from './tree.ts';

/*
 * From bytecode to statements: what each register holds is followed, up to the expressions that end a statement.
 */

type Of<K extends string> = Extract<Expression, Record<K, unknown>>[K & keyof Extract<Expression, Record<K, unknown>>];

const COMPARISONS: Readonly<Record<string, RelationOperator>> = {
  eq: '==',
  neq: '!=',
  lt: '<',
  lte: '<=',
  gt: '>',
  gte: '>=',
};

/** Those that nft has words for; the rest of a register's 64 bytes is the kernel's. */
const REGISTERS_MAX = 20;

export interface RegistersOptions {
  family: string;
  sets: Sets;
  /** As nft 1.0.6. */
  old: boolean;
}

/** The statements of one rule, as its expressions are given to it one after the other. */
export class Registers {
  readonly statements: FlowStatement[] = [];
  readonly #options: RegistersOptions;
  readonly #registers: (Node | undefined)[] = [];
  /** While the packet in a tunnel is looked at: the register that was loaded last. */
  #loaded = 0;

  constructor(options: RegistersOptions) {
    this.#options = options;
  }

  /** @throws Undecompilable for what no statement stands for */
  take(expression: Expression): void {
    for (const name in expression) {
      const content = (expression as unknown as Record<string, { unknown?: unknown }>)[name]!;
      const handler = HANDLERS[name];
      if (handler === undefined || content.unknown !== undefined) throw new Undecompilable(`the expression ${name}`);
      handler(this, content as never);
    }
  }

  get family(): string {
    return this.#options.family;
  }

  get old(): boolean {
    return this.#options.old;
  }

  push(statement: FlowStatement): void {
    this.statements.push(statement);
  }

  match(op: RelationOperator, left: Node, right: Node): void {
    this.push({ kind: 'match', node: relation(op, left, right) });
  }

  set(register: number, node: Node): void {
    const at = wordOf(register);
    if (at < 1 || at > REGISTERS_MAX) throw new Undecompilable(`the register ${register}`);
    this.#registers[at] = node;
    this.#loaded = register;
  }

  get(register: number): Node {
    return this.#word(wordOf(register));
  }

  #word(at: number): Node {
    const node = this.#registers[at];
    if (node === undefined) throw new Undecompilable('a register that nothing was loaded into');
    return clone(node);
  }

  optional(register: number | undefined): Node | undefined {
    return register === undefined ? undefined : this.get(register);
  }

  /** Several registers from this one on. */
  concat(register: number, bits: number, each?: (node: Node, index: number) => void): Concat {
    const parts: Node[] = [];
    let at = wordOf(register);
    for (let left = bits; left > 0; ) {
      const node = this.#word(at);
      if (node.bits === 0) throw new Undecompilable('a part of a concatenation without a length');
      each?.(node, parts.length);
      parts.push(node);
      left -= paddedBits(node.bits);
      at += paddedBits(node.bits) / 32;
    }
    return { kind: 'concat', ...untyped(), parts };
  }

  /** What a set is asked for: one register, or as many as its keys have parts. */
  key(register: number, shape: SetShape): Node {
    const node = this.get(register);
    return node.bits < shape.key.bits ? this.concat(register, shape.key.bits) : node;
  }

  find({ set, setId }: { set?: string | undefined; setId?: number | undefined }): SetShape {
    return this.#options.sets.find(set, setId);
  }

  /** The same value's parts, each as long as what stands in its register. */
  parts(register: number, whole: Value): Concat {
    const parts: Node[] = [];
    let at = wordOf(register);
    for (let left = whole.bits; left > 0; ) {
      const { bits } = this.#word(at);
      parts.push(splice(whole, bits));
      whole.bits -= paddedBits(bits) - bits;
      left -= paddedBits(bits);
      at += paddedBits(bits) / 32;
    }
    return { kind: 'concat', ...untyped(), parts };
  }

  get loaded(): number {
    return this.#loaded;
  }
}

/** The 128-bit registers 1 to 4 are four words each; from 8 on they are words. */
function wordOf(register: number): number {
  if (register >= 1 && register <= 4) return 1 + (register - 1) * 4;
  return register >= 8 ? register - 7 : 0;
}

function hexOf(data: unknown): string {
  if (typeof data !== 'string') throw new Undecompilable('a verdict where a value belongs');
  return data;
}

export function reference(set: SetShape): SetReference {
  return {
    kind: 'set-reference',
    ...untyped(),
    type: set.key.type,
    set,
    literal: set.isAnonymous ? set.literal() : undefined,
  };
}

type Handler<T> = (registers: Registers, expression: T) => void;

/** Unknown names of an enumeration or set of flags are numbers. */
function words(flags: readonly (string | number)[] | undefined, allowed: readonly string[]): string[] {
  for (const flag of flags ?? []) if (!allowed.includes(flag as string)) throw new Undecompilable(`the flag ${flag}`);
  return allowed.filter(flag => flags?.includes(flag));
}

function word(name: string | number | undefined): string {
  if (typeof name !== 'string') throw new Undecompilable(`the number ${name}`);
  return name;
}

const ADDRESS_TYPES: Readonly<Record<string, Datatype>> = { ip: TYPES.ipv4_addr, ip6: TYPES.ipv6_addr };

function addressFamily(family: string | number | undefined): AddressFamily | undefined {
  return family === 'ip' || family === 'ip6' ? family : undefined;
}

const asPort = (node: Node) => setType(node, TYPES.inet_service, 'big');

/** One port, or a range; the kernel repeats the first where there is none. */
function ports(registers: Registers, from: number | undefined, to: number | undefined): Node | undefined {
  const first = registers.optional(from);
  if (first === undefined) return undefined;
  asPort(first);
  if (to === undefined || to === from) return first;
  const last = registers.get(to);
  asPort(last);
  return range(first, last);
}

const NAT_FLAGS = ['map-addresses', 'ports-specified', 'random', 'fully-random', 'persistent', 'netmap'];
const SHOWN_NAT_FLAGS = NAT_FLAGS.slice(2);

function natFlags(flags: readonly (string | number)[] | undefined): string[] {
  return words(flags, NAT_FLAGS).filter(flag => SHOWN_NAT_FLAGS.includes(flag));
}

function mapOf(node: Node | undefined): SetShape | undefined {
  return node?.kind === 'map' && node.right.kind === 'set-reference' ? node.right.set : undefined;
}

const ADDRESS_BITS: Readonly<Record<string, number>> = { ip: 32, ip6: 128 };

function nat(registers: Registers, expression: Of<'nat'>): void {
  const family = word(expression.family);
  const addressType = ADDRESS_TYPES[family];
  const flags = natFlags(expression.flags);
  const statement: NatStatement = {
    kind: 'nat',
    type: word(expression.type) as 'snat' | 'dnat',
    family: registers.family === 'inet' ? addressFamily(family) : undefined,
    address: undefined,
    port: undefined,
    flags,
    prefix: flags.includes('netmap'),
  };
  registers.push(statement);
  const { addressRegister: from, lastAddressRegister: to } = expression;
  const typed = (register: number) => {
    const node = registers.get(register);
    setType(node, addressType ?? TYPES.ipv6_addr, 'big');
    return node;
  };
  if (from !== undefined) {
    statement.address = typed(from);
    const map = mapOf(statement.address);
    const bits = ADDRESS_BITS[family] ?? 0;
    // Maps of addresses to ranges of them, without and with ports.
    if (map?.dataIsRange && (map.data?.bits === 2 * bits || map.data?.bits === 2 * (bits + 32))) {
      statement.family = addressFamily(family);
      return;
    }
  }
  if (to !== undefined && to !== from) {
    const last = typed(to);
    statement.address = statement.address === undefined ? last : rangeOrPrefix(statement.address, last);
  }
  const map = mapOf(statement.address);
  if (map !== undefined && map.data?.bits === (ADDRESS_BITS[family] ?? 0) + 32) {
    statement.family = addressFamily(family);
    return;
  }
  statement.port = ports(registers, expression.portRegister, expression.lastPortRegister);
}

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
    node = binary(op === 'shift-left' ? '<<' : '>>', left, by, registers.old ? left.bits : expression.length * 8);
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

function inner(registers: Registers, { type, headerSize, flags, expression }: Inner): void {
  const tunnel: Header | undefined = tunnelHeader(type, headerSize, flags);
  if (tunnel === undefined || !('payload' in expression || 'meta' in expression))
    throw new Undecompilable('the packet of a tunnel that is not known');
  registers.take(expression);
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

function dynset(registers: Registers, expression: DynamicSet): void {
  const set = registers.find(expression);
  if (words(expression.flags, ['invert', 'expressions']).includes('invert'))
    throw new Undecompilable('an inverted change of a set');
  const parts = set.key.type.parts;
  let key = registers.get(expression.keyRegister);
  if (key.bits < set.key.bits) {
    key = registers.concat(expression.keyRegister, set.key.bits, (node, i) => {
      const type = parts?.[i];
      if (type !== undefined) setType(node, type, type.order);
    });
  } else if (key.type === TYPES.invalid && !registers.old) {
    setType(key, set.key.type, set.key.order);
  }
  const element: Node = {
    kind: 'element',
    type: key.type,
    order: key.order,
    bits: key.bits,
    key,
    timeout: expression.timeoutMilliseconds || undefined,
    statements: [],
    intervalEnd: false,
  };
  const expressions = expression.expressions ?? (expression.expression === undefined ? [] : [expression.expression]);
  const statements = expressions.map(statementOf);
  const op = word(expression.op);
  if (expression.dataRegister !== undefined) {
    let data = registers.get(expression.dataRegister);
    if (set.data === undefined) throw new Undecompilable('a value for a set');
    if (data.bits < set.data.bits) data = registers.concat(expression.dataRegister, set.data.bits);
    setType(data, set.data.type, set.data.order);
    registers.push({ kind: 'map-update', op, set, key: element, data, statements });
  } else if (statements.length > 0 && set.isAnonymous) {
    const size = set.set.description?.size ?? 0;
    registers.push({ kind: 'meter', set, key: element, size, statement: statements[0]! });
  } else {
    registers.push({ kind: 'set-update', op, set, key: element, statements });
  }
}

/** Names of objects that statements have a word for. */
const OBJECTS = [
  'counter',
  'quota',
  'ct-helper',
  'limit',
  'tunnel',
  'ct-timeout',
  'secmark',
  'ct-expectation',
  'synproxy',
];

function objref(registers: Registers, expression: Of<'objref'>): void {
  let node: Node;
  let { type } = expression;
  if (expression.name !== undefined) {
    node = registerValue(Buffer.from(`${expression.name}\0`).toString('hex'));
    node.type = TYPES.string;
    node.order = 'host';
  } else {
    const set = registers.find(expression);
    if (expression.sourceRegister === undefined) throw new Undecompilable('a map without a key');
    const left = registers.key(expression.sourceRegister, set);
    node = { kind: 'map', ...untyped(), type: TYPES.string, order: 'host', left, right: reference(set) };
    type = set.set.objectType;
  }
  if (!OBJECTS.includes(type as string)) throw new Undecompilable(`an object of the type ${type}`);
  registers.push({ kind: 'object', type: type as string, reference: node });
}

function queue(registers: Registers, expression: Of<'queue'>): void {
  const flags = words(expression.flags, ['bypass', 'cpu-fanout']).map(flag => (flag === 'bypass' ? flag : 'fanout'));
  let number: Node;
  if (expression.numberRegister !== undefined) {
    number = registers.get(expression.numberRegister);
  } else {
    const { number: first = 0, total = 0 } = expression;
    number = value(16, BigInt(first), TYPES.integer, 'host');
    if (total > 1) number = range(number, value(16, BigInt(first + total - 1), TYPES.integer, 'host'));
  }
  registers.push({ kind: 'queue', number, flags });
}

function dup(registers: Registers, expression: Of<'dup'>): void {
  const address = registers.optional(expression.addressRegister);
  const type = ADDRESS_TYPES[registers.family];
  if (address !== undefined && type !== undefined) setType(address, type, 'big');
  const device = registers.optional(expression.deviceRegister);
  if (device !== undefined) setType(device, TYPES.iface_index, 'host');
  registers.push(
    address === undefined ? { kind: 'dup', to: device, device: undefined } : { kind: 'dup', to: address, device },
  );
}

function fwd(registers: Registers, expression: Of<'fwd'>): void {
  const device = registers.get(expression.deviceRegister ?? 0);
  setType(device, TYPES.iface_index, 'host');
  const address = registers.optional(expression.addressRegister);
  const family = addressFamily(expression.family);
  if (address !== undefined) {
    if (family === undefined) throw new Undecompilable('an address without a family');
    setType(address, ADDRESS_TYPES[family]!, 'big');
  }
  registers.push({ kind: 'fwd', device, address, family });
}

function tproxy(registers: Registers, expression: Of<'tproxy'>): void {
  const family = addressFamily(expression.family);
  const address = registers.optional(expression.addressRegister);
  if (address !== undefined) {
    if (family === undefined) throw new Undecompilable('an address without a family');
    setType(address, ADDRESS_TYPES[family]!, 'big');
  }
  const port = registers.optional(expression.portRegister);
  if (port !== undefined) asPort(port);
  registers.push({
    kind: 'tproxy',
    family: registers.family === 'inet' ? family : undefined,
    address,
    port,
  });
}

function levelName(number: number): string {
  for (const name in LOG_LEVEL) if (LOG_LEVEL[name as keyof typeof LOG_LEVEL] === number) return name;
  throw new Undecompilable(`the level ${number}`);
}

const LOG_FLAGS = ['tcp-sequence', 'tcp-options', 'ip-options', 'skuid', 'ether', 'nflog'];
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
  fib: ((registers, { register, result, flags }) => registers.set(register, fibNode(result, flags ?? []))) as Handler<
    Of<'fib'>
  >,
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
  log: ((registers, { prefix: text, group, snaplen, queueThreshold, level, flags }) =>
    registers.push({
      kind: 'log',
      prefix: text,
      group,
      snaplen,
      threshold: queueThreshold,
      level: typeof level === 'number' ? levelName(level) : level,
      flags: words(flags, LOG_FLAGS),
    })) as Handler<Of<'log'>>,
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
