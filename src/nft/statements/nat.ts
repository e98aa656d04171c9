import type { ContentOf } from '../../nf_tables/expression.ts';
import type { Family } from '../../nf_tables/family.ts';
import { NAT_FLAGS } from '../../nf_tables/names.ts';
import { paddedBytes } from '../bits.ts';
import { argument } from '../compile/argument.ts';
import type { Emitter, Evaluator } from '../compile/ir.ts';
import { fieldsOf, flagNames, flagsOf } from '../compile/json-fields.ts';
import { registerNumber } from '../compile/linearize.ts';
import { type Compile, parse, step } from '../compile/lower.ts';
import { concatenationOf, TYPES } from '../data/datatypes.ts';
import { SCOPES } from '../data/scopes.ts';
import { rangeOrPrefix } from '../decompile/intervals.ts';
import { word, words } from '../decompile/kernel-words.ts';
import type { Registers } from '../decompile/registers.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import { NETWORK, TRANSPORT } from '../headers.ts';
import type { AddressFamily, JsonExpression } from '../json.ts';
import { defined, flagsJson, type Json, type JsonObject, orNull } from '../json-object.ts';
import { setType } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import { type MapLookup, type Node, Place, refuse, refuseWith, type SetInfo, statementOf } from '../tree.ts';
import { ADDRESS_TYPES, addressType, bracketedAddress, isAddressFamily, natFamily, readPorts } from './address.ts';
import type { Construct } from './construct.ts';

/* Rewriting addresses and ports: snat, dnat, masquerade, redirect. */

/** In the order in which nft prints them. The kernel has the same names. */
const FLAGS = { random: 'random', 'fully-random': 'fully-random', persistent: 'persistent', netmap: 'netmap' } as const;
/** Bits for this file alone: the kernel has none of them. */
const TYPE_FLAGS = { interval: 1, prefix: 2, concat: 4 } as const;

/** The way in which a translation chooses ports and addresses. */
export type NatFlag = keyof typeof FLAGS;
/** The form of the values in a translation's map. */
export type NatTypeFlag = keyof typeof TYPE_FLAGS;

/** The ports of masquerade and redirect; default those of the packet. */
export interface PortNat {
  /** The port, or a range. */
  port?: JsonExpression;
  /** 'random', 'fully-random' or 'persistent'. */
  flags?: NatFlag | NatFlag[];
  /** 'interval', 'prefix' or 'concat': what the values of a map are. */
  type_flags?: NatTypeFlag | NatTypeFlag[];
}

/** The address, and the ports, that a translation writes. */
export interface AddressNat extends PortNat {
  /** The family of the address, in tables of family inet. */
  family?: AddressFamily;
  /** The address, or a range. */
  addr?: JsonExpression;
}

type Name = 'snat' | 'dnat' | 'masquerade' | 'redirect';
type KernelFlags = NonNullable<ContentOf<'nat'>['flags']>;

export interface NatStatement {
  kind: 'nat';
  type: Name;
  family: AddressFamily | undefined;
  address: Node | undefined;
  port: Node | undefined;
  flags: NatFlag[];
}

const compile: Compile = (e, json, place, name) => {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const { scope } = e;
  const given = natFamily(e, fields, place, 'NAT is only supported for IPv4/IPv6');
  let address = fields.addr === undefined ? undefined : parse(fields.addr, place, 'addr');
  let port = fields.port === undefined ? undefined : parse(fields.port, place, 'port');
  const flags: NatFlag[] = flagNames(FLAGS, fields.flags, new Place(place, 'flags'));
  let form = flagsOf(TYPE_FLAGS, fields.type_flags, new Place(place, 'type_flags'));
  let family: Family | undefined = address === undefined && scope.family === 'inet' ? 'inet' : given;
  if (address !== undefined) {
    const network = scope.at(NETWORK);
    const networkFamily = isAddressFamily(network) ? network : undefined;
    family ??= networkFamily;
    if (networkFamily !== undefined && family !== networkFamily)
      throw refuseWith(
        scope.toldNetwork,
        new Place(place, 'family'),
        `the family of the match before it (${networkFamily})`,
        family,
        `conflicting protocols specified: ${networkFamily} vs. ${family}. You must specify ip or ip6 family in nat statement`,
      );
    if (isConcatMap(e, address)) form |= TYPE_FLAGS.concat;
    if (form & TYPE_FLAGS.concat && port !== undefined)
      throw refuse(new Place(place, 'port'), 'no port besides a map that has ports', fields.port);
    family ??= inferred(address);
    const type = addressType(family, new Place(place, 'family'), 'ip or ip6, for the rule does not tell');
    if (form & TYPE_FLAGS.concat) {
      const both = concatenationOf([type, TYPES.inet_service]);
      e.expect(both, both.order, both.bits);
      address = e.evaluate(address);
      requireTransport(e, address, new Place(place, 'addr'));
      if (address.kind === 'map' && mapped(address).dataInterval) form |= TYPE_FLAGS.interval;
    } else {
      address = argument(e, address, type, type.bits, 'big');
    }
  }
  const written: KernelFlags = flags.length < 2 ? flags : flags.sort((a, b) => NAT_FLAGS[a] - NAT_FLAGS[b]);
  if (port !== undefined) {
    // nft 1.0.6 looks for the protocol before it reads the port, whose expression may tell it.
    if (!e.dialect.hasNewerExpressions) requireTransport(e, address, new Place(place, 'port'));
    port = argument(e, port, TYPES.inet_service, 16, 'big');
    requireTransport(e, address, new Place(place, 'port'));
    written.unshift('ports-specified');
  }
  const nat: Nat = { name, family: family ?? scope.family, address, port, flags: written, form };
  step(e, emitter => emitNat(emitter, nat));
};

/** The family of the addresses in the key of a map. */
function inferred(term: Node): Family | undefined {
  if (term.kind !== 'map') return undefined;
  let found: Family | undefined;
  for (const part of term.key.kind === 'concat' ? term.key.parts : [term.key])
    if (part.kind === 'payload' && (part.header?.name === 'ip' || part.header?.name === 'ip6'))
      found = part.header.name;
  return found;
}

function isConcatMap(e: Evaluator, term: Node): boolean {
  if (term.kind !== 'map') return false;
  if (term.mappings.kind === 'set')
    return term.mappings.members.some(member => member.kind === 'mapping' && member.right.kind === 'concat');
  if (term.mappings.kind === 'named-set') {
    term.mappings = e.evaluate(term.mappings);
    const { data } = mapped(term);
    return data?.kind === 'concat' || data?.type.parts !== undefined;
  }
  return false;
}

function mapped(term: MapLookup): SetInfo {
  if (term.mappings.kind !== 'set-reference') throw refuse(term.place, 'a map', term.mappings.kind);
  return term.mappings.set;
}

/** Only transport protocols have ports: an earlier match, or the key of the map, must say which one it is. */
function requireTransport(e: Evaluator, address: Node | undefined, place: Place): void {
  if (e.scope.at(TRANSPORT) !== undefined) return;
  if (address?.kind === 'map' && address.key.kind === 'concat') {
    for (const part of address.key.parts) {
      if (part.kind === 'payload' && part.header?.name !== 'th' && part.base === TRANSPORT) return;
      if (part.kind === 'meta' && part.key === 'l4proto') return;
      if (part.kind === 'payload' && part.tellsProtocol && part.base === NETWORK) return;
    }
  }
  throw refuseWith(
    statementOf(place),
    place,
    "a match of the transport protocol before it, such as meta.l4proto.eq('tcp') or tcp.dport.eq(80)",
    undefined,
    'transport protocol mapping is only valid after transport protocol match',
  );
}

interface Nat {
  readonly name: string;
  readonly family: Family;
  readonly address: Node | undefined;
  readonly port: Node | undefined;
  readonly flags: KernelFlags;
  /** Bits of TYPE_FLAGS. */
  readonly form: number;
}

/** Registers in units of four bytes. */
interface NatRegisters {
  address?: number;
  lastAddress?: number;
  port?: number;
  lastPort?: number;
}

function emitNat(emitter: Emitter, nat: Nat): void {
  const registers: NatRegisters = {};
  const taken = loadAddress(emitter, nat, registers) + loadPort(emitter, nat, registers);
  for (let i = 0; i < taken; i++) emitter.release();
  const { name, family } = nat;
  if (name === 'masquerade') {
    emitter.push({ masq: withPorts({}, registers, nat) });
  } else if (name === 'redirect') {
    emitter.push({ redir: withPorts({}, registers, nat) });
  } else {
    const content: ContentOf<'nat'> = { type: name === 'snat' ? 'snat' : 'dnat', family };
    const { address, lastAddress } = registers;
    if (address !== undefined) content.addressRegister = registerNumber(address);
    if (lastAddress !== undefined) content.lastAddressRegister = registerNumber(lastAddress);
    emitter.push({ nat: withPorts(content, registers, nat) });
  }
}

function withPorts<C extends ContentOf<'masq'>>(content: C, { port, lastPort }: NatRegisters, { flags }: Nat): C {
  if (port !== undefined) content.portRegister = registerNumber(port);
  if (lastPort !== undefined) content.lastPortRegister = registerNumber(lastPort);
  if (flags.length > 0) content.flags = flags;
  return content;
}

/** Returns how many registers it has taken. */
function loadAddress(emitter: Emitter, { address, family, form }: Nat, registers: NatRegisters): number {
  if (address === undefined) return 0;
  const concat = (form & TYPE_FLAGS.concat) !== 0;
  const width = paddedBytes(family === 'ip6' ? 128 : 32) / 4;
  let unit = emitter.take();
  let taken = 1;
  registers.address = unit;
  if (address.kind === 'range') {
    registers.lastAddress = emitter.take();
    taken++;
    emitter.load(address.left, unit);
    emitter.load(address.right, registers.lastAddress);
  } else {
    emitter.load(address, unit);
    if (address.kind === 'map' && mapped(address).dataInterval) {
      unit += width;
      if (concat) registers.port = unit;
      else registers.lastAddress = unit;
    }
  }
  if (!concat) return taken;
  if (form & TYPE_FLAGS.interval) {
    registers.lastAddress = unit + width;
    registers.lastPort = unit + 2 * width;
  } else {
    registers.port = unit + width;
  }
  return taken;
}

function loadPort(emitter: Emitter, { port }: Nat, registers: NatRegisters): number {
  if (port === undefined) return 0;
  const unit = emitter.take();
  registers.port = unit;
  if (port.kind !== 'range') {
    emitter.load(port, unit);
    return 1;
  }
  registers.lastPort = emitter.take();
  emitter.load(port.left, unit);
  emitter.load(port.right, registers.lastPort);
  return 2;
}

function readFlags(flags: ContentOf<'nat'>['flags']): NatFlag[] {
  const set = words(flags, ['map-addresses', 'ports-specified', ...Object.values(FLAGS)]);
  return Object.values(FLAGS).filter(flag => set.includes(flag));
}

const mapOf = (node: Node | undefined): SetInfo | undefined =>
  node?.kind === 'map' && node.mappings.kind === 'set-reference' ? node.mappings.set : undefined;

function readNat(registers: Registers, expression: ContentOf<'nat'>): NatStatement {
  const family = word(expression.family);
  const named = isAddressFamily(family) ? family : undefined;
  const type = named === undefined ? TYPES.ipv6_addr : ADDRESS_TYPES[named];
  const bits = named === undefined ? 0 : type.bits;
  const statement: NatStatement = {
    kind: 'nat',
    type: word(expression.type),
    family: registers.family === 'inet' ? named : undefined,
    address: undefined,
    port: undefined,
    flags: readFlags(expression.flags),
  };
  const { addressRegister: from, lastAddressRegister: to } = expression;
  const typed = (register: number) => {
    const node = registers.get(register);
    setType(node, type, 'big');
    return node;
  };
  if (from !== undefined) {
    statement.address = typed(from);
    const map = mapOf(statement.address);
    // The value is a range of addresses, with or without ports.
    if (map?.dataInterval && (map.data?.bits === 2 * bits || map.data?.bits === 2 * (bits + 32)))
      return { ...statement, family: named };
  }
  if (to !== undefined && to !== from) {
    const last = typed(to);
    statement.address = statement.address === undefined ? last : rangeOrPrefix(statement.address, last);
  }
  const map = mapOf(statement.address);
  if (map !== undefined && map.data?.bits === bits + 32) return { ...statement, family: named };
  statement.port = readPorts(registers, expression.portRegister, expression.lastPortRegister);
  return statement;
}

function readPortNat(registers: Registers, type: Name, expression: ContentOf<'masq'>): NatStatement {
  return {
    kind: 'nat',
    type,
    family: undefined,
    address: undefined,
    port: readPorts(registers, expression.portRegister, expression.lastPortRegister),
    flags: readFlags(expression.flags),
  };
}

/** Is one prefix mapped to another, address by address? */
const hasPrefix = ({ type, flags }: NatStatement): boolean =>
  (type === 'snat' || type === 'dnat') && flags.includes('netmap');

/** Reads the flags at the end of a translation. `snat` and `dnat` may have them several times: nft takes the last ones. */
function readTextFlags(p: Parser, content: JsonObject, isRepeated: boolean): void {
  const isFlag = () => p.kind === T.WORD && p.text !== 'netmap' && Object.hasOwn(FLAGS, p.text);
  while (isFlag() && (isRepeated || content.flags === undefined)) {
    const flags: string[] = [];
    do {
      if (!isFlag()) p.unexpected('random', 'fully-random', 'persistent');
      flags.push(p.text);
      p.next();
    } while (p.accept(T.COMMA));
    content.flags = flags.length === 1 ? flags[0]! : flags;
  }
  p.hold(SCOPES.nat);
}

/** Words that may stand behind the family. */
const BEHIND_FAMILY: ReadonlySet<string | undefined> = /* @__PURE__ */ new Set(['to', 'addr', 'prefix', 'interval']);

function readAddressNat(p: Parser, word: string): JsonObject {
  return p.within(SCOPES.nat, () => {
    const content: JsonObject = {};
    if ((p.isWord('ip') || p.isWord('ip6')) && BEHIND_FAMILY.has(p.peek())) {
      content.family = p.text;
      p.next();
      if (p.acceptWord('addr')) {
        p.expect(T.DOT);
        p.expectWord('port');
      }
    }
    if (p.acceptWord('prefix')) {
      content.flags = 'netmap';
      content.type_flags = 'prefix';
    } else if (p.acceptWord('interval')) {
      content.type_flags = 'interval';
    }
    if (Object.keys(content).length > 0) p.expectWord('to');
    else p.acceptWord('to');
    readTarget(p, content, 'addr');
    const { flags } = content;
    readTextFlags(p, content, true);
    if (flags === 'netmap' && content.flags !== flags) content.flags = [...[content.flags].flat(), flags] as Json[];
    return { [word]: content };
  });
}

/** Reads an address, a port behind a colon, or both. */
export function readTarget(p: Parser, content: JsonObject, name: 'addr' | 'port'): void {
  let { start } = p;
  if (p.kind !== T.COLON) {
    content[name] = p.grammar.value(p);
    p.note(content, name, start);
    if (name === 'port' || !p.is(T.COLON)) return;
  }
  p.next();
  start = p.start;
  content.port = p.grammar.value(p);
  p.note(content, 'port', start);
}

function readPortText(p: Parser, word: string): JsonObject {
  return p.within(SCOPES.nat, () => {
    const content: JsonObject = {};
    if (p.acceptWord('to')) {
      if (word === 'masquerade' && p.kind !== T.COLON) p.unexpected('colon');
      readTarget(p, content, 'port');
    }
    readTextFlags(p, content, false);
    return { [word]: orNull(content) };
  });
}

export const NAT: Construct<NatStatement, Name> = {
  compile: { snat: compile, dnat: compile, masquerade: compile, redirect: compile },
  fromText: { snat: readAddressNat, dnat: readAddressNat, masquerade: readPortText, redirect: readPortText },
  read: {
    nat: readNat,
    masq: (registers, expression) => readPortNat(registers, 'masquerade', expression),
    redir: (registers, expression) => readPortNat(registers, 'redirect', expression),
  },
  complete(statement, rule) {
    if (statement.address !== undefined) statement.address = rule.node(statement.address);
    if (statement.port === undefined) return;
    if (rule.dialect.forgetsBeforePorts) rule.forget();
    statement.port = rule.node(statement.port);
  },
  text(statement, options) {
    const { type, family, address, port, flags } = statement;
    let text: string = type;
    if (address !== undefined || port !== undefined)
      text += `${family === undefined ? '' : ` ${family}`}${hasPrefix(statement) ? ' prefix' : ''} to `;
    if (address !== undefined)
      text += port === undefined ? nodeText(address, options) : bracketedAddress(address, options);
    if (port !== undefined) text += `:${nodeText(port, options)}`;
    const shown = flags.filter(flag => flag !== 'netmap');
    return shown.length === 0 ? text : `${text} ${shown.join(',')}`;
  },
  json(statement, options) {
    const { type, family, address, port, flags } = statement;
    const content = defined({
      family,
      addr: address && nodeJson(address, options),
      port: port && nodeJson(port, options),
      flags: flagsJson(flags, options.words.dialect),
      type_flags: flagsJson(hasPrefix(statement) ? ['prefix'] : [], options.words.dialect),
    });
    return { [type]: orNull(content) };
  },
  ends: () => true,
};
