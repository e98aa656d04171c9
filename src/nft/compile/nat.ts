import type { Expression } from '../../nf_tables/expression.ts';
import type { Family } from '../../nf_tables/family.ts';
import { concatenationOf, type Datatype, TYPES } from '../data/datatypes.ts';
import type { JsonExpression } from '../json.ts';
import { argument } from './argument.ts';
import type { Emitter, Evaluator } from './ir.ts';
import { entryOf, fieldsOf, flagsOf } from './json-fields.ts';
import { registerNumber } from './linearize.ts';
import { parseExpression } from './parse.ts';
import { type MapTerm, NETWORK, Place, paddedBytes, refuse, type SetInfo, type Term, TRANSPORT } from './term.ts';

/* Rewriting addresses and ports: snat, dnat, masquerade, redirect, and tproxy, which takes the same arguments. */

const FLAGS = { random: 1, persistent: 2, 'fully-random': 4, netmap: 8 } as const;
const FLAG_NAMES = ['random', 'persistent', 'fully-random', 'netmap'] as const;
const TYPE_FLAGS = { interval: 1, prefix: 2, concat: 4 } as const;

type NatFlags = NonNullable<Extract<Expression, { nat: unknown }>['nat']['flags']>;

export function evaluateNat(e: Evaluator, json: unknown, place: Place, name: string): void {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const { scope } = e;
  const given =
    fields.family === undefined
      ? undefined
      : entryOf({ ip: 'ip', ip6: 'ip6' } as const, fields.family, new Place(place, 'family'));
  let family: Family | undefined = given;
  if (scope.family !== 'ip' && scope.family !== 'ip6' && scope.family !== 'inet')
    throw refuse(place, 'a rule of family ip, ip6 or inet', scope.family);
  if (scope.family !== 'inet') family ??= scope.family;
  const network = scope.at(NETWORK);
  const networkFamily = network === 'ip' || network === 'ip6' ? network : undefined;

  let address =
    fields.addr === undefined ? undefined : parseExpression(fields.addr as JsonExpression, new Place(place, 'addr'));
  let port =
    fields.port === undefined ? undefined : parseExpression(fields.port as JsonExpression, new Place(place, 'port'));
  const bits = flagsOf(FLAGS, fields.flags, new Place(place, 'flags'));
  let typeBits = flagsOf(TYPE_FLAGS, fields.type_flags, new Place(place, 'type_flags'));
  if (name === 'tproxy') {
    evaluateTproxy(e, place, family, address, port);
    return;
  }
  if (address === undefined && scope.family === 'inet') family = 'inet';
  if (address !== undefined) family ??= networkFamily;

  if (address !== undefined) {
    if (networkFamily !== undefined && family !== undefined && family !== networkFamily)
      throw refuse(new Place(place, 'family'), `the family of the match before it (${networkFamily})`, family);
    if (isConcatMap(e, address)) typeBits |= TYPE_FLAGS.concat;
    if (typeBits & TYPE_FLAGS.concat) {
      if (port !== undefined)
        throw refuse(new Place(place, 'port'), 'no port besides a map that has ports', fields.port);
      family ??= inferred(address);
      const type = concatenationOf([addressType(family, place), TYPES.inet_service]);
      e.expect(type, type.order, type.bits);
      address = e.evaluate(address);
      requireTransport(e, address, place);
      if (address.kind === 'map' && mapped(address).dataInterval) typeBits |= TYPE_FLAGS.interval;
    } else {
      family ??= inferred(address);
      const type = addressType(family, place);
      address = argument(e, address, type, type.bits, 'big');
    }
  }
  let specified = false;
  if (port !== undefined) {
    port = argument(e, port, TYPES.inet_service, 16, 'big');
    requireTransport(e, address, place);
    specified = true;
  }
  const flags: NatFlags = FLAG_NAMES.filter(flag => bits & FLAGS[flag]);
  if (specified) flags.unshift('ports-specified');
  const write = { name, family: family ?? scope.family, address, port, flags, typeBits };
  e.steps.push({ statement: e.statement, emit: emitter => linearize(emitter, write) });
}

function addressType(family: Family | undefined, place: Place): Datatype {
  if (family === 'ip') return TYPES.ipv4_addr;
  if (family === 'ip6') return TYPES.ipv6_addr;
  throw refuse(new Place(place, 'family'), 'ip or ip6, for the rule does not tell', family);
}

/** The family of the addresses that a map is asked with. */
function inferred(term: Term): Family | undefined {
  if (term.kind !== 'map') return undefined;
  let found: Family | undefined;
  for (const part of term.key.kind === 'concat' ? term.key.parts : [term.key])
    if (part.kind === 'payload' && (part.protocol === 'ip' || part.protocol === 'ip6')) found = part.protocol;
  return found;
}

function isConcatMap(e: Evaluator, term: Term): boolean {
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

function mapped(term: MapTerm): SetInfo {
  if (term.mappings.kind !== 'set-reference') throw refuse(term.place, 'a map', term.mappings.kind);
  return term.mappings.set;
}

/** Ports are rewritten only where there are some: in what an earlier match has said, or in the key of the map. */
function requireTransport(e: Evaluator, address: Term | undefined, place: Place): void {
  if (e.scope.at(TRANSPORT) !== undefined) return;
  if (address?.kind === 'map' && address.key.kind === 'concat') {
    for (const part of address.key.parts) {
      if (part.kind === 'payload' && part.protocol !== 'th' && part.base === TRANSPORT) return;
      if (part.kind === 'meta' && part.key === 'l4proto') return;
      if (part.kind === 'payload' && part.tellsProtocol && part.base === NETWORK) return;
    }
  }
  throw refuse(place, 'a match of the transport protocol before it', 'ports');
}

function evaluateTproxy(
  e: Evaluator,
  place: Place,
  family: Family | undefined,
  address: Term | undefined,
  port: Term | undefined,
): void {
  if (e.scope.at(TRANSPORT) === undefined) throw refuse(place, 'a match of the transport protocol before it', 'tproxy');
  if (address === undefined && port === undefined) throw refuse(place, 'an address or a port', 'neither');
  let to = address;
  if (to !== undefined) {
    const type = addressType(family, place);
    to = argument(e, to, type, type.bits, 'big');
    if (to.kind === 'range') throw refuse(to.place, 'one address', 'a range');
  }
  const toPort = port === undefined ? undefined : argument(e, port, TYPES.inet_service, 16, 'big');
  if (toPort?.kind === 'range') throw refuse(toPort.place, 'one port', 'a range');
  e.steps.push({
    statement: e.statement,
    emit(emitter) {
      const units: number[] = [];
      const registers = [to, toPort].map(term => {
        if (term === undefined) return undefined;
        const unit = emitter.take();
        units.push(unit);
        emitter.load(term, unit);
        return registerNumber(unit);
      });
      for (const _ of units) emitter.release();
      const [addressRegister, portRegister] = registers;
      emitter.push({
        tproxy: {
          family: (family ?? 'unspecified') as 'ip',
          ...(addressRegister !== undefined && { addressRegister }),
          ...(portRegister !== undefined && { portRegister }),
        },
      });
    },
  });
}

interface Nat {
  readonly name: string;
  readonly family: Family;
  readonly address: Term | undefined;
  readonly port: Term | undefined;
  readonly flags: NatFlags;
  readonly typeBits: number;
}

function linearize(emitter: Emitter, { name, family, address, port, flags, typeBits }: Nat): void {
  const registers: { address?: number; lastAddress?: number; port?: number; lastPort?: number } = {};
  let taken = 0;
  const take = () => {
    taken++;
    return emitter.take();
  };
  const concat = (typeBits & TYPE_FLAGS.concat) !== 0;
  if (address !== undefined) {
    const width = paddedBytes(family === 'ip6' ? 128 : 32) / 4;
    let unit = take();
    if (address.kind === 'range') {
      const last = take();
      emitter.load(address.left, unit);
      emitter.load(address.right, last);
      registers.address = unit;
      registers.lastAddress = last;
    } else {
      emitter.load(address, unit);
      registers.address = unit;
      if (address.kind === 'map' && mapped(address).dataInterval) {
        unit += width;
        if (concat) registers.port = unit;
        else registers.lastAddress = unit;
      }
    }
    if (concat) {
      let ports = unit;
      if (typeBits & TYPE_FLAGS.interval) {
        ports += width;
        registers.lastAddress = ports;
      }
      ports += width;
      if (typeBits & TYPE_FLAGS.interval) registers.lastPort = ports;
      else registers.port = ports;
    }
  }
  if (port !== undefined) {
    const unit = take();
    registers.port = unit;
    if (port.kind === 'range') {
      registers.lastPort = take();
      emitter.load(port.left, unit);
      emitter.load(port.right, registers.lastPort);
    } else {
      emitter.load(port, unit);
    }
  }
  for (; taken > 0; taken--) emitter.release();
  const written: Record<string, unknown> = {};
  if (name === 'snat' || name === 'dnat') {
    written.type = name;
    written.family = family;
    if (registers.address !== undefined) written.addressRegister = registerNumber(registers.address);
    if (registers.lastAddress !== undefined) written.lastAddressRegister = registerNumber(registers.lastAddress);
  }
  if (registers.port !== undefined) written.portRegister = registerNumber(registers.port);
  if (registers.lastPort !== undefined) written.lastPortRegister = registerNumber(registers.lastPort);
  if (flags.length > 0) written.flags = flags;
  const expression: Record<string, unknown> = {};
  expression[EXPRESSION_NAMES[name]!] = written;
  emitter.push(expression as Expression);
}

const EXPRESSION_NAMES: Readonly<Record<string, string>> = {
  snat: 'nat',
  dnat: 'nat',
  masquerade: 'masq',
  redirect: 'redir',
};
