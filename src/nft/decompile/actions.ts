import type { Expression } from '../../nf_tables/expression.ts';
import type { DynamicSet } from '../../nf_tables/expressions/nested.ts';
import { type Datatype, TYPES } from '../data/datatypes.ts';
import type { AddressFamily } from '../json.ts';
import { rangeOrPrefix } from './intervals.ts';
import { type Of, type Registers, reference, word, words } from './registers.ts';
import { statementOf } from './statements.ts';
import {
  type NatStatement,
  type Node,
  range,
  registerValue,
  type SetShape,
  setType,
  Undecompilable,
  untyped,
  value,
} from './tree.ts';

/* Expressions that do something with the packet, its connection, or a set: each ends a statement. */

const ADDRESS_TYPES: Readonly<Record<string, Datatype>> = { ip: TYPES.ipv4_addr, ip6: TYPES.ipv6_addr };

function addressFamily(family: string | number | undefined): AddressFamily | undefined {
  return family === 'ip' || family === 'ip6' ? family : undefined;
}

const asPort = (node: Node) => setType(node, TYPES.inet_service, 'big');

/** One port, or a range; the kernel repeats the first where there is none. */
export function ports(registers: Registers, from: number | undefined, to: number | undefined): Node | undefined {
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

export function natFlags(flags: readonly (string | number)[] | undefined): string[] {
  return words(flags, NAT_FLAGS).filter(flag => SHOWN_NAT_FLAGS.includes(flag));
}

function mapOf(node: Node | undefined): SetShape | undefined {
  return node?.kind === 'map' && node.right.kind === 'set-reference' ? node.right.set : undefined;
}

const ADDRESS_BITS: Readonly<Record<string, number>> = { ip: 32, ip6: 128 };

export function nat(registers: Registers, expression: Of<'nat'>): void {
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

export function dynset(registers: Registers, expression: DynamicSet<Expression>): void {
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
  } else if (key.type === TYPES.invalid && registers.dialect.typesKeysOfChanges) {
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

export function objref(registers: Registers, expression: Of<'objref'>): void {
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

export function queue(registers: Registers, expression: Of<'queue'>): void {
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

export function dup(registers: Registers, expression: Of<'dup'>): void {
  const address = registers.optional(expression.addressRegister);
  const type = ADDRESS_TYPES[registers.family];
  if (address !== undefined && type !== undefined) setType(address, type, 'big');
  const device = registers.optional(expression.deviceRegister);
  if (device !== undefined) setType(device, TYPES.iface_index, 'host');
  registers.push(
    address === undefined ? { kind: 'dup', to: device, device: undefined } : { kind: 'dup', to: address, device },
  );
}

export function fwd(registers: Registers, expression: Of<'fwd'>): void {
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

export function tproxy(registers: Registers, expression: Of<'tproxy'>): void {
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
