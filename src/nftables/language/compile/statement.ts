import { typeError } from '../../../errors.ts';
import type { Expression } from '../../expression.ts';
import type { JsonExpression } from '../json.ts';
import { type Datatype, TYPES } from '../tables/datatypes.ts';
import { CT, type KeyRow, META } from '../tables/keys.ts';
import {
  ICMP_CODE,
  ICMPV6_CODE,
  ICMPX_CODE,
  LOG_FLAG,
  LOG_FLAGS_ALL,
  LOG_LEVEL,
  type Symbols,
} from '../tables/symbols.ts';
import { argument, fitting } from './argument.ts';
import type { Evaluator } from './evaluate.ts';
import { addProtocol, evaluateExtension } from './header.ts';
import { type Linearizer, referTo, registerNumber } from './linearize.ts';
import { evaluatePayloadWrite } from './mangle.ts';
import { evaluateRelation, type RelationOperator, relationStep } from './match.ts';
import { evaluateNat } from './nat.ts';
import { entryOf, fieldsOf, flagsOf, numberOf, onlyKey, parseExpression, parseVerdict } from './parse.ts';
import { declareSet, evaluateObjectMap } from './set.ts';
import { statefulExpression } from './stateful.ts';
import {
  type Element,
  type Exthdr,
  element,
  isConstant,
  LINK,
  NETWORK,
  type Payload,
  Place,
  refuse,
  setLiteral,
  type Term,
  TRANSPORT,
  type Value,
} from './term.ts';
import { textOf } from './wire-set.ts';

/* One function for each statement of nft's JSON. */

type Fields = Record<string, unknown>;
type Compile = (e: Evaluator, json: unknown, place: Place, name: string) => void;

export function compileStatement(e: Evaluator, statement: unknown, place: Place): void {
  const name = onlyKey(statement, place);
  if (!Object.hasOwn(STATEMENTS, name)) {
    const known = Object.keys(STATEMENTS).join(', ');
    throw typeError(place.path, `a statement (${known})`, statement, 'ERR_UNKNOWN_FIELD');
  }
  STATEMENTS[name]!(e, (statement as Fields)[name], new Place(place, name), name);
}

export function emit(e: Evaluator, expression: Expression): void {
  e.steps.push({ statement: e.statement, emit: linearizer => linearizer.push(expression) });
}

/** Expressions that were not decompiled, as they are. */
function raw(e: Evaluator, json: unknown, place: Place): void {
  if (!Array.isArray(json)) throw typeError(place.path, 'an array of expressions', json);
  for (const expression of json) emit(e, expression as Expression);
}

function step(e: Evaluator, work: (linearizer: Linearizer) => void): void {
  e.steps.push({ statement: e.statement, emit: work });
}

function parse(json: unknown, place: Place, name?: string): Term {
  return parseExpression(json as JsonExpression, name === undefined ? place : new Place(place, name));
}

function single(term: Term): Term {
  if (term.kind === 'range') throw refuse(term.place, 'a single value', 'a range');
  return term;
}

const OPERATORS: Readonly<Record<string, RelationOperator>> = {
  '==': '==',
  '!=': '!=',
  '<': '<',
  '>': '>',
  '<=': '<=',
  '>=': '>=',
  in: 'in',
  '!': '!',
};

function match(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  const op = entryOf(OPERATORS, fields.op, new Place(place, 'op'));
  const left = parse(fields.left, place, 'left');
  const right = parse(fields.right, place, 'right');
  e.expectNothing();
  const relation = evaluateRelation(e, { op, left, right, place });
  e.steps.push(relationStep(e, relation));
}

const verdict: Compile = (e, json, place, name) => {
  const term = parseVerdict(json, place, name);
  step(e, linearizer => linearizer.load(term, 0));
};

function verdictMap(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  const term: Term = {
    kind: 'map',
    place,
    type: TYPES.invalid,
    order: undefined,
    bits: 0,
    key: parse(fields.key, place, 'key'),
    mappings: parse(fields.data, place, 'data'),
  };
  e.expect(TYPES.verdict, undefined, 0);
  const map = fitting(e, e.evaluate(term), TYPES.verdict, 0, undefined);
  step(e, linearizer => linearizer.verdict(map));
}

/** A stateful statement with a state of its own, or an object with a name. */
const stateful: Compile = (e, json, place, name) => {
  if (typeof json === 'string' || isMap(json)) objectReference(e, json, place, name);
  else emit(e, statefulExpression(name, json, place)!);
};

const isMap = (json: unknown): boolean => typeof json === 'object' && json !== null && 'map' in json;

const OBJECT_TYPES: Readonly<Record<string, string>> = {
  counter: 'counter',
  quota: 'quota',
  limit: 'limit',
  'ct count': 'connlimit',
  'ct helper': 'ct-helper',
  'ct timeout': 'ct-timeout',
  'ct expectation': 'ct-expectation',
  synproxy: 'synproxy',
  secmark: 'secmark',
  tunnel: 'tunnel',
};
const OBJECT_NAME_BITS = 255 * 8;

const objectReference: Compile = (e, json, place, name) => {
  const type = OBJECT_TYPES[name]! as 'counter';
  let term = parse(json, place);
  if (term.kind === 'map') {
    const map = term;
    evaluateObjectMap(e, map, type);
    step(e, linearizer => {
      const unit = linearizer.take(map.key);
      linearizer.load(map.key, unit);
      linearizer.release(map.key);
      const { set } = map.mappings as Extract<Term, { kind: 'set-reference' }>;
      linearizer.push({ objref: { sourceRegister: registerNumber(unit), ...referTo(set) } });
    });
    return;
  }
  e.expect(TYPES.string, 'host', OBJECT_NAME_BITS);
  term = e.evaluate(term);
  if (term.kind !== 'value') throw refuse(place, "an object's name, or a map of names", term.kind);
  emit(e, { objref: { type, name: textOf(term) } });
};

/** By the number of the bit. */
const LOG_FLAG_NAMES = ['tcp-sequence', 'tcp-options', 'ip-options', 'skuid', 'nflog', 'ether'] as const;

function log(e: Evaluator, json: unknown, place: Place): void {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const { prefix, level } = fields;
  if (prefix !== undefined && (typeof prefix !== 'string' || prefix === '' || Buffer.byteLength(prefix) > 127))
    throw refuse(new Place(place, 'prefix'), 'text of 1 to 127 bytes', prefix);
  const flags = flagsOf({ ...LOG_FLAG, all: LOG_FLAGS_ALL }, fields.flags, new Place(place, 'flags'));
  const levelNumber = level === undefined ? undefined : entryOf<number>(LOG_LEVEL, level, new Place(place, 'level'));
  const toGroup = ['group', 'snaplen', 'queue-threshold'].some(name => fields[name] !== undefined);
  if (toGroup && (levelNumber !== undefined || flags !== 0))
    throw refuse(place, "a group, or the level and flags of the kernel's own log", json);
  if (levelNumber === LOG_LEVEL.audit && (prefix !== undefined || flags !== 0))
    throw refuse(place, 'nothing besides level audit', json);
  const written: Extract<Expression, { log: unknown }>['log'] = {};
  if (fields.group !== undefined) written.group = numberOf(fields, 'group', place, 0xffff);
  if (prefix !== undefined) written.prefix = prefix as string;
  if (fields.group !== undefined) {
    if (fields.snaplen !== undefined) written.snaplen = numberOf(fields, 'snaplen', place);
    if (fields['queue-threshold'] !== undefined)
      written.queueThreshold = numberOf(fields, 'queue-threshold', place, 0xffff);
  } else {
    if (levelNumber !== undefined) written.level = levelNumber;
    if (flags !== 0) written.flags = LOG_FLAG_NAMES.filter((_, bit) => flags & (1 << bit));
  }
  emit(e, { log: written });
}

function mangle(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  const key = parse(fields.key, place, 'key');
  const written = parse(fields.value, place, 'value');
  switch (key.kind) {
    case 'payload':
      evaluatePayloadWrite(e, key, written);
      return;
    case 'exthdr':
      extensionWrite(e, key, written);
      return;
    case 'meta': {
      const row = (META as Readonly<Record<string, KeyRow>>)[key.key]!;
      e.statementBits = key.bits;
      const term = single(argument(e, written, key.type, key.bits, key.order));
      step(e, linearizer => {
        const register = loaded(linearizer, term);
        linearizer.push({ meta: { key: row.key as 'mark', sourceRegister: register } });
      });
      return;
    }
    case 'ct': {
      if (key.key === 'helper') {
        objectReference(e, fields.value, new Place(place, 'value'), 'ct helper');
        return;
      }
      const row = (CT as Readonly<Record<string, KeyRow>>)[key.key]!;
      e.statementBits = key.bits;
      const term = single(argument(e, written, key.type, key.bits, key.order));
      const { direction } = key;
      step(e, linearizer => {
        const register = loaded(linearizer, term);
        linearizer.push({
          ct: { key: row.key as 'mark', ...(direction !== undefined && { direction }), sourceRegister: register },
        });
      });
      return;
    }
    default:
      throw refuse(key.place, 'a field, meta data, or the data of a connection', key.kind);
  }
}

/** Loads a term into the next free register, and gives that back at once: the instruction after it reads it. */
function loaded(linearizer: Linearizer, term: Term): number {
  const unit = linearizer.take(term);
  linearizer.load(term, unit);
  linearizer.release(term);
  return registerNumber(unit);
}

function extensionWrite(e: Evaluator, key: Exthdr, written: Term): void {
  const field = evaluateExtension(e, key);
  const term = single(argument(e, written, field.type, field.bits, 'big'));
  if (field.kind !== 'exthdr') throw refuse(key.place, 'a field of whole bytes', key.bits);
  step(e, linearizer => {
    const sourceRegister = loaded(linearizer, term);
    linearizer.push({
      exthdr: {
        type: field.header,
        offset: field.offset / 8,
        length: Math.ceil(field.bits / 8),
        op: field.op,
        sourceRegister,
      },
    });
  });
}

function reset(e: Evaluator, json: unknown, place: Place): void {
  const term = parse(json, place);
  if (term.kind !== 'exthdr' || term.op !== 'tcp') throw refuse(place, 'a TCP option', json);
  emit(e, { exthdr: { type: term.header, op: 'tcp' } });
}

const REJECT_CODES: Readonly<Record<string, { symbols: Symbols; family?: 'ip' | 'ip6' }>> = {
  icmp: { symbols: ICMP_CODE, family: 'ip' },
  icmpv6: { symbols: ICMPV6_CODE, family: 'ip6' },
  icmpx: { symbols: ICMPX_CODE },
};
const PORT_UNREACHABLE = { ip: 3, ip6: 4, icmpx: 1 } as const;

function reject(e: Evaluator, json: unknown, place: Place): void {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const { scope } = e;
  const network = scope.at(NETWORK);
  const { family } = scope;
  if (family === 'arp') throw refuse(place, 'a rule of another family than arp', family);
  if (fields.type === 'tcp reset') {
    const transport = scope.at(TRANSPORT);
    if (transport !== undefined && transport !== 'tcp') throw refuse(place, 'a match of tcp', transport);
    if (transport === undefined) {
      // Before all else: what is logged and counted before it must be what is rejected.
      prepend(e, () => addProtocol(e, network ?? 'inet-service', 'tcp', { place } as Payload));
    }
    emit(e, { reject: { type: 'tcp-reset', code: 0 } });
    return;
  }
  let type: string;
  let code: number;
  if (fields.type === undefined && fields.expr === undefined) {
    const known =
      family === 'ip' || family === 'ip6' ? family : network === 'ip' || network === 'ip6' ? network : undefined;
    type = known === undefined ? 'icmpx' : known === 'ip' ? 'icmp' : 'icmpv6';
    code = PORT_UNREACHABLE[known ?? 'icmpx'];
  } else {
    type = (fields.type as string) ?? 'icmpx';
    const { symbols } = entryOf(REJECT_CODES, type, new Place(place, 'type'));
    code = codeOf(fields.expr, symbols, new Place(place, 'expr'));
  }
  if (type === 'icmpx') {
    if (family === 'ip' || family === 'ip6') throw refuse(place, 'icmp or icmpv6 in a rule of one family', 'icmpx');
    emit(e, { reject: { type: 'icmpx-unreachable', code } });
    return;
  }
  const wanted = REJECT_CODES[type]!.family!;
  if (network === undefined) {
    const link = scope.at(LINK) ?? family;
    const below = family === 'bridge' && link === 'ether' ? 'netdev' : link;
    prepend(e, () => addProtocol(e, below, wanted, { place } as Payload));
  } else if (network !== wanted) {
    throw refuse(place, `the code of ${network}`, type);
  }
  emit(e, { reject: { type: 'icmp-unreachable', code } });
}

function codeOf(json: unknown, symbols: Symbols, place: Place): number {
  if (json === undefined) return 0;
  if (typeof json === 'string' && Object.hasOwn(symbols, json)) return symbols[json]!;
  const number = typeof json === 'string' && /^\d+$/.test(json) ? Number(json) : json;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > 255)
    throw refuse(place, `0 to 255, or one of ${Object.keys(symbols).join(', ')}`, json);
  return number;
}

/** What a work adds comes before all that there is. */
function prepend(e: Evaluator, work: () => void): void {
  const before = e.steps;
  e.steps = [];
  work();
  e.steps = [...e.steps, ...before];
}

const QUEUE_FLAGS = { bypass: 1, fanout: 2 } as const;

function queue(e: Evaluator, json: unknown, place: Place): void {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const bits = flagsOf(QUEUE_FLAGS, fields.flags, new Place(place, 'flags'));
  const flags: ('bypass' | 'cpu-fanout')[] = [];
  if (bits & QUEUE_FLAGS.bypass) flags.push('bypass');
  if (bits & QUEUE_FLAGS.fanout) flags.push('cpu-fanout');
  const besides = flags.length > 0 ? { flags } : {};
  if (fields.num === undefined) {
    emit(e, { queue: { number: 0, total: 1, ...besides } });
    return;
  }
  const term = argument(e, parse(fields.num, place, 'num'), e.old ? TYPES.integer : TYPES.queue, 16, 'host');
  if (bits & QUEUE_FLAGS.fanout && term.kind !== 'range')
    throw refuse(place, 'a range of queues with fanout', fields.num);
  if (term.kind === 'range' || term.kind === 'value') {
    const first = Number((term.kind === 'range' ? (term.left as Value) : term).value);
    const last = Number((term.kind === 'range' ? (term.right as Value) : term).value);
    emit(e, { queue: { number: first, total: last - first + 1, ...besides } });
    return;
  }
  step(e, linearizer => {
    const numberRegister = loaded(linearizer, term);
    linearizer.push({ queue: { numberRegister, ...besides } });
  });
}

/** The statements that each new element of a set gets. */
function statementsOf(json: unknown, place: Place): Expression[] {
  if (json === undefined) return [];
  if (!Array.isArray(json)) throw typeError(place.path, 'an array of statements', json);
  return json.map((statement, i) => {
    const inner = new Place(place, i);
    const name = onlyKey(statement, inner);
    const expression = statefulExpression(name, (statement as Fields)[name], new Place(inner, name));
    if (expression === undefined) throw refuse(inner, 'counter, limit, quota, last or ct count', name);
    return expression;
  });
}

const OPERATIONS = { add: 'add', update: 'update', delete: 'delete' } as const;

const dynamicSet: Compile = (e, json, place, name) => {
  const fields = fieldsOf(json, place);
  const op = entryOf(OPERATIONS, fields.op, new Place(place, 'op'));
  const elem = asElement(parse(fields.elem, place, 'elem'));
  e.expectNothing();
  const reference = e.evaluate(parse(fields[name], place, name));
  if (reference.kind !== 'set-reference') throw refuse(reference.place, "a set's name: '@name'", fields[name]);
  const { set } = reference;
  const { key } = set;
  elem.key = fitting(e, e.evaluate(elem.key), key.type, key.bits, key.order);
  let data: Term | undefined;
  if (name === 'map') {
    if (set.data === undefined) throw refuse(reference.place, 'a map', fields.map);
    const given = parse(fields.data, place, 'data');
    data = argument(e, given.kind === 'element' ? given.key : given, set.data.type, set.data.bits, set.data.order);
  }
  const expressions = statementsOf(fields.stmt, new Place(place, 'stmt'));
  set.dynamic = true;
  step(e, linearizer => {
    const unit = linearizer.take(elem.key);
    linearizer.load(elem.key, unit);
    let dataRegister: number | undefined;
    if (data !== undefined) {
      const second = linearizer.take(data);
      linearizer.load(data, second);
      linearizer.release(data);
      dataRegister = registerNumber(second);
    }
    linearizer.release(elem.key);
    linearizer.push({
      dynset: {
        ...referTo(set),
        op,
        keyRegister: registerNumber(unit),
        ...(dataRegister !== undefined && { dataRegister }),
        ...(elem.timeoutMilliseconds !== undefined && { timeoutMilliseconds: elem.timeoutMilliseconds }),
        ...(expressions.length === 1 && { expression: expressions[0]! }),
        ...(expressions.length > 1 && { expressions, ...(name === 'set' && { flags: ['expressions' as const] }) }),
      },
    });
  });
};

const asElement = (term: Term): Element => (term.kind === 'element' ? term : element(term.place, term));

function meter(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  if (typeof fields.name !== 'string') throw typeError([...place.path, 'name'], 'a string', fields.name);
  const elem = asElement(parse(fields.key, place, 'key'));
  e.expectNothing();
  elem.key = e.evaluate(elem.key);
  if (isConstant(elem.key)) throw refuse(elem.place, 'something that is loaded from the packet', elem.key.kind);
  const timeout = elem.timeoutMilliseconds !== undefined;
  const size = fields.size === undefined ? undefined : numberOf(fields, 'size', place);
  const set =
    e.findSet(fields.name) ??
    declareSet(e, {
      key: elem.key,
      data: undefined,
      literal: setLiteral(place, []),
      map: false,
      objectType: undefined,
      name: fields.name,
      timeout,
      ...(size !== undefined && { size }),
    });
  const [expression] = statementsOf([fields.stmt], new Place(place, 'stmt'));
  step(e, linearizer => {
    const keyRegister = loaded(linearizer, elem.key);
    linearizer.push({
      dynset: {
        ...referTo(set),
        op: timeout ? 'update' : 'add',
        keyRegister,
        ...(timeout && { timeoutMilliseconds: elem.timeoutMilliseconds! }),
        expression: expression!,
      },
    });
  });
}

function addressType(family: unknown, place: Place): Datatype {
  return entryOf({ ip: TYPES.ipv4_addr, ip6: TYPES.ipv6_addr }, family, place);
}

function dup(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  const { family } = e.scope;
  const to = parse(fields.addr, place, 'addr');
  if (family === 'netdev') {
    const device = single(argument(e, to, TYPES.iface_index, 32, 'host'));
    step(e, linearizer => linearizer.push({ dup: { deviceRegister: loaded(linearizer, device) } }));
    return;
  }
  const type = addressType(family, place);
  const address = single(argument(e, to, type, type.bits, 'big'));
  const device =
    fields.dev === undefined
      ? undefined
      : single(argument(e, parse(fields.dev, place, 'dev'), TYPES.iface_index, 32, 'host'));
  step(e, linearizer => {
    const unit = linearizer.take(address);
    linearizer.load(address, unit);
    const deviceRegister = device === undefined ? undefined : loaded(linearizer, device);
    linearizer.release(address);
    linearizer.push({
      dup: { addressRegister: registerNumber(unit), ...(deviceRegister !== undefined && { deviceRegister }) },
    });
  });
}

function fwd(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  if (e.scope.family !== 'netdev') throw refuse(place, 'a rule of family netdev', e.scope.family);
  const device = single(argument(e, parse(fields.dev, place, 'dev'), TYPES.iface_index, 32, 'host'));
  const family = fields.addr === undefined ? undefined : (fields.family as 'ip');
  let address: Term | undefined;
  if (fields.addr !== undefined) {
    const type = addressType(fields.family, new Place(place, 'family'));
    address = single(argument(e, parse(fields.addr, place, 'addr'), type, type.bits, 'big'));
  }
  step(e, linearizer => {
    const unit = linearizer.take(device);
    linearizer.load(device, unit);
    const addressRegister = address === undefined ? undefined : loaded(linearizer, address);
    linearizer.release(device);
    linearizer.push({
      fwd: {
        deviceRegister: registerNumber(unit),
        ...(addressRegister !== undefined && { addressRegister }),
        ...(family !== undefined && { family }),
      },
    });
  });
}

const SYNPROXY_FLAGS = { timestamp: 1, 'sack-perm': 2 } as const;

const synproxy: Compile = (e, json, place, name) => {
  if (typeof json === 'string' || isMap(json)) {
    objectReference(e, json, place, name);
    return;
  }
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const bits = flagsOf(SYNPROXY_FLAGS, fields.flags, new Place(place, 'flags'));
  const flags: ('maximum-segment-size' | 'window-scale' | 'sack-permitted' | 'timestamp')[] = [];
  if (fields.mss !== undefined) flags.push('maximum-segment-size');
  if (fields.wscale !== undefined) flags.push('window-scale');
  if (bits & SYNPROXY_FLAGS['sack-perm']) flags.push('sack-permitted');
  if (bits & SYNPROXY_FLAGS.timestamp) flags.push('timestamp');
  emit(e, {
    synproxy: {
      maximumSegmentSize: fields.mss === undefined ? 0 : numberOf(fields, 'mss', place, 0xffff),
      windowScale: fields.wscale === undefined ? 0 : numberOf(fields, 'wscale', place, 14),
      flags,
    },
  });
};

function flow(e: Evaluator, json: unknown, place: Place): void {
  const { op, flowtable } = fieldsOf(json, place);
  entryOf({ add: true }, op, new Place(place, 'op'));
  if (typeof flowtable !== 'string' || !flowtable.startsWith('@'))
    throw refuse(new Place(place, 'flowtable'), "a flowtable's name: '@name'", flowtable);
  emit(e, { flow_offload: { flowtable: flowtable.slice(1) } });
}

const STATEMENTS: Readonly<Record<string, Compile>> = {
  raw,
  match,
  accept: verdict,
  drop: verdict,
  continue: verdict,
  return: verdict,
  jump: verdict,
  goto: verdict,
  vmap: verdictMap,
  counter: stateful,
  quota: stateful,
  limit: stateful,
  last: stateful,
  'ct count': stateful,
  mangle,
  snat: evaluateNat,
  dnat: evaluateNat,
  masquerade: evaluateNat,
  redirect: evaluateNat,
  tproxy: evaluateNat,
  log,
  reject,
  queue,
  set: dynamicSet,
  map: dynamicSet,
  meter,
  flow,
  fwd,
  dup,
  notrack: e => emit(e, { notrack: {} }),
  synproxy,
  reset,
  secmark: objectReference,
  tunnel: objectReference,
  'ct helper': objectReference,
  'ct timeout': objectReference,
  'ct expectation': objectReference,
};
