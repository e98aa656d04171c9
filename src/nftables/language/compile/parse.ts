import { typeError } from '../../../errors.ts';
import type { Expression } from '../../expression.ts';
import type { JsonExpression } from '../json.ts';
import { TYPES } from '../tables/datatypes.ts';
import {
  DCCP_OPTION_FIELDS,
  type Extension,
  IP_OPTIONS,
  IPV6_EXTENSIONS,
  SCTP_CHUNKS,
  TCP_OPTION_ALIASES,
  TCP_OPTIONS,
} from '../tables/extensions.ts';
import * as keys from '../tables/keys.ts';
import { type FieldRow, type Header, PROTOCOLS } from '../tables/protocols.ts';
import { statefulExpression } from './stateful.ts';
import {
  type BinaryOperator,
  binary,
  concatenation,
  type Element,
  type Exthdr,
  element,
  INNER,
  LINK,
  type Load,
  type Mapping,
  NETWORK,
  type Payload,
  Place,
  prefix,
  range,
  refuse,
  setLiteral,
  type Term,
  TRANSPORT,
} from './term.ts';

/* From JSON to terms whose types are not known yet. */

type Fields = Record<string, unknown>;

const BASES = { link: LINK, network: NETWORK, transport: TRANSPORT, inner: INNER } as const;
const RAW_BASES: Readonly<Record<string, number>> = { ll: LINK, nh: NETWORK, th: TRANSPORT, ih: INNER };
const MAXIMUM_BITS = 64 * 8;

export function parseExpression(json: JsonExpression, place: Place | undefined): Term {
  if (typeof json === 'string' || typeof json === 'number' || typeof json === 'bigint') return parseWord(json, place);
  if (typeof json === 'boolean') {
    return { kind: 'value', place, type: TYPES.boolean, order: 'host', bits: 8, value: json ? 1n : 0n };
  }
  if (Array.isArray(json)) {
    const items = json.map((item, i) => parseExpression(item, new Place(place, i)));
    return { kind: 'list', place, type: TYPES.invalid, order: undefined, bits: 0, items };
  }
  const name = onlyKey(json, place);
  const parser = PARSERS[name];
  if (parser === undefined || !Object.hasOwn(PARSERS, name)) {
    const known = Object.keys(PARSERS).join(', ');
    throw typeError(place?.path ?? [], `an expression (${known})`, json, 'ERR_UNKNOWN_FIELD');
  }
  return parser((json as unknown as Fields)[name], new Place(place, name), name);
}

function parseWord(word: string | number | bigint, place: Place | undefined): Term {
  if (typeof word === 'string') {
    if (word.startsWith('@'))
      return { kind: 'named-set', place, type: TYPES.invalid, order: undefined, bits: 0, name: word.slice(1) };
    if (word === '*') return { kind: 'catch-all', place, type: TYPES.invalid, order: undefined, bits: 0 };
  }
  return { kind: 'word', place, type: TYPES.invalid, order: undefined, bits: 0, word };
}

/** The name of an object with one key. */
export function onlyKey(json: unknown, place: Place | undefined): string {
  let only: string | undefined;
  if (typeof json === 'object' && json !== null) {
    for (const key in json) {
      if (only !== undefined) {
        only = undefined;
        break;
      }
      only = key;
    }
  }
  if (only === undefined) throw typeError(place?.path ?? [], 'an object with one key', json);
  return only;
}

export function fieldsOf(json: unknown, place: Place | undefined): Fields {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw typeError(place?.path ?? [], 'an object', json);
  return json as Fields;
}

function textOf(fields: Fields, name: string, place: Place | undefined): string {
  const text = fields[name];
  if (typeof text !== 'string') throw typeError([...(place?.path ?? []), name], 'a string', text);
  return text;
}

export function numberOf(fields: Fields, name: string, place: Place | undefined, maximum = 0xffffffff): number {
  const number = fields[name];
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > maximum)
    throw refuse(new Place(place, name), `a whole number, 0 to ${maximum}`, number);
  return number;
}

/** One of the names in a table. */
export function entryOf<T>(table: Readonly<Record<string, T>>, name: unknown, place: Place | undefined): T {
  if (typeof name !== 'string' || !Object.hasOwn(table, name))
    throw refuse(place, `one of ${Object.keys(table).join(', ')}`, name);
  return table[name]!;
}

/** Names of flags, one or a list: their numbers together. */
export function flagsOf(table: Readonly<Record<string, number>>, json: unknown, place: Place | undefined): number {
  if (json === undefined || json === null) return 0;
  if (!Array.isArray(json)) return entryOf(table, json, place);
  return json.reduce<number>((all, flag, i) => all | entryOf(table, flag, new Place(place, i)), 0);
}

type Parser = (json: unknown, place: Place, name: string) => Term;

const PARSERS: Readonly<Record<string, Parser>> = {
  payload: parsePayload,
  meta: parseMeta,
  ct: parseCt,
  set: parseSet,
  prefix(json, place) {
    const fields = fieldsOf(json, place);
    const base = parseExpression(fields.addr as JsonExpression, new Place(place, 'addr'));
    return prefix(place, base, numberOf(fields, 'len', place, MAXIMUM_BITS));
  },
  range(json, place) {
    if (!Array.isArray(json) || json.length !== 2) throw typeError(place.path, 'two values', json);
    const [left, right] = json.map((end, i) => parseExpression(end, new Place(place, i)));
    return range(place, left!, right!);
  },
  concat(json, place) {
    if (!Array.isArray(json) || json.length < 2) throw typeError(place.path, 'two expressions or more', json);
    return concatenation(
      place,
      json.map((part, i) => parseExpression(part, new Place(place, i))),
    );
  },
  map(json, place) {
    const fields = fieldsOf(json, place);
    const key = parseExpression(fields.key as JsonExpression, new Place(place, 'key'));
    const mappings = parseExpression(fields.data as JsonExpression, new Place(place, 'data'));
    return { kind: 'map', place, type: TYPES.invalid, order: undefined, bits: 0, key, mappings };
  },
  elem: (json, place) => parseElement(json, place),
  '|': parseBinary,
  '&': parseBinary,
  '^': parseBinary,
  '<<': parseBinary,
  '>>': parseBinary,
  exthdr: parseExthdr,
  'tcp option': parseTcpOption,
  'ip option': (json, place) => parseNamedExtension('ipv4', IP_OPTIONS, json, place),
  'sctp chunk': (json, place) => parseNamedExtension('sctp', SCTP_CHUNKS, json, place),
  'dccp option'(json, place) {
    const header = numberOf(fieldsOf(json, place), 'type', place, 255);
    return extension('dccp', { type: header, fields: DCCP_OPTION_FIELDS }, DCCP_OPTION_FIELDS.type, 1, true, place);
  },
  rt(json, place) {
    const fields = fieldsOf(json, place);
    const key = textOf(fields, 'key', place);
    const row = entryOf<keys.KeyRow>(keys.RT, key, new Place(place, 'key'));
    const known = fields.family !== undefined || key !== 'nexthop';
    const used = key === 'nexthop' && family(fields, place) === 'ip6' ? keys.RT_NEXTHOP6 : row;
    const load = loadOf('rt', used, { key: used.key }, place, [[0, RT_NUMBERS[used.key]!]]);
    // The rule's family decides.
    if (!known) load.type = TYPES.invalid;
    return load;
  },
  socket(json, place) {
    const fields = fieldsOf(json, place);
    const row = entryOf<keys.KeyRow>(keys.SOCKET, fields.key, new Place(place, 'key'));
    const level = fields.level === undefined ? 0 : numberOf(fields, 'level', place);
    const maximum = row.key === 'transparent' || row.key === 'wildcard' ? 1 : undefined;
    return loadOf('socket', row, { key: row.key, level }, place, [[0, SOCKET_NUMBERS[row.key]!]], maximum);
  },
  osf(json, place) {
    const fields = fieldsOf(json, place);
    const flags = entryOf({ name: [] as string[], version: ['version'] }, fields.key, new Place(place, 'key'));
    const ttl =
      fields.ttl === undefined
        ? 'exact'
        : entryOf({ loose: 'loose', skip: 'skip' }, fields.ttl, new Place(place, 'ttl'));
    return loadOf('osf', keys.OSF, flags.length > 0 ? { ttl, flags } : { ttl }, place, []);
  },
  ipsec(json, place) {
    const fields = fieldsOf(json, place);
    const key = textOf(fields, 'key', place);
    const row = entryOf<keys.KeyRow>(keys.IPSEC, key, new Place(place, 'key'));
    const used = (key === 'saddr' || key === 'daddr') && family(fields, place) === 'ip6' ? keys.IPSEC6[key] : row;
    const direction = entryOf({ in: 0, out: 1 }, fields.dir ?? 'in', new Place(place, 'dir'));
    const index = fields.spnum === undefined ? 0 : numberOf(fields, 'spnum', place, 255);
    return loadOf('xfrm', used, { key: used.key, direction, index }, place, [
      [0, XFRM_NUMBERS[used.key]!],
      [1, index],
      [2, direction],
    ]);
  },
  tunnel(json, place) {
    const row = entryOf<keys.KeyRow>(keys.TUNNEL, fieldsOf(json, place).key, new Place(place, 'key'));
    return loadOf('tunnel', row, { key: row.key }, place, []);
  },
  fib: parseFib,
  numgen(json, place) {
    const fields = fieldsOf(json, place);
    const type = entryOf({ inc: 'incremental', random: 'random' }, fields.mode, new Place(place, 'mode'));
    const modulus = numberOf(fields, 'mod', place);
    const offset = fields.offset === undefined ? 0 : numberOf(fields, 'offset', place);
    const numbers = [[0, type === 'random' ? 1 : 0] as const, [1, modulus] as const, [2, offset] as const];
    return loadOf('numgen', GENERATED, { modulus, type, offset }, place, numbers, modulus + offset - 1);
  },
  jhash(json, place) {
    const fields = fieldsOf(json, place);
    const argument = parseExpression(fields.expr as JsonExpression, new Place(place, 'expr'));
    const seed = fields.seed === undefined ? undefined : numberOf(fields, 'seed', place);
    return hashOf(fields, place, 'jenkins', seed, argument);
  },
  symhash: (json, place) => hashOf(fieldsOf(json, place), place, 'symmetric', undefined, undefined),
  accept: parseVerdict,
  drop: parseVerdict,
  continue: parseVerdict,
  return: parseVerdict,
  jump: parseVerdict,
  goto: parseVerdict,
};

const GENERATED = { key: '', ...keys.GENERATED };
/** The kernel's numbers, in the user data of sets. */
const RT_NUMBERS: Readonly<Record<string, number>> = { classid: 0, nexthop4: 1, nexthop6: 2, tcpmss: 3, xfrm: 4 };
const SOCKET_NUMBERS: Readonly<Record<string, number>> = { transparent: 0, mark: 1, wildcard: 2, cgroupv2: 3 };
const XFRM_NUMBERS: Readonly<Record<string, number>> = {
  'daddr-ip4': 1,
  'daddr-ip6': 2,
  'saddr-ip4': 3,
  'saddr-ip6': 4,
  reqid: 5,
  spi: 6,
};

function family(fields: Fields, place: Place): 'ip' | 'ip6' | undefined {
  if (fields.family === undefined) return undefined;
  return entryOf({ ip: 'ip', ip6: 'ip6' }, fields.family, new Place(place, 'family'));
}

function loadOf(
  name: Load['name'],
  row: keys.KeyRow,
  instruction: Record<string, unknown>,
  place: Place,
  numbers: Load['numbers'],
  maximum?: number,
): Load {
  return {
    kind: 'load',
    place,
    type: TYPES[row.type],
    order: row.order,
    bits: row.bits,
    name,
    key: row.key,
    instruction,
    numbers,
    ...(maximum !== undefined && { maximum }),
  };
}

function hashOf(
  fields: Fields,
  place: Place,
  type: 'jenkins' | 'symmetric',
  seed: number | undefined,
  argument: Term | undefined,
): Load {
  const modulus = numberOf(fields, 'mod', place);
  const offset = fields.offset === undefined ? 0 : numberOf(fields, 'offset', place);
  const instruction = { modulus, ...(seed !== undefined && { seed }), offset, type };
  const numbers = [
    [0, type === 'jenkins' ? 0 : 1] as const,
    [1, offset] as const,
    [2, modulus] as const,
    [3, seed ?? 0] as const,
    [4, seed === undefined ? 0 : 1] as const,
  ];
  const load = loadOf('hash', GENERATED, instruction, place, numbers, modulus + offset - 1);
  if (argument !== undefined) load.argument = argument;
  return load;
}

const FIB_FLAGS: Readonly<Record<string, number>> = { saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16 };
const FIB_PRESENT = 32;
const FIB_NUMBERS: Readonly<Record<string, number>> = { oif: 1, oifname: 2, 'address-type': 3 };

function parseFib(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  const flagsPlace = new Place(place, 'flags');
  const flags = flagsOf(FIB_FLAGS, fields.flags, flagsPlace);
  if ((flags & 3) !== 1 && (flags & 3) !== 2) throw refuse(flagsPlace, 'either saddr or daddr', fields.flags);
  if ((flags & 24) === 24) throw refuse(flagsPlace, 'at most one of iif and oif', fields.flags);
  const check = fields.result === 'check';
  const row = check ? keys.FIB.oif : entryOf<keys.KeyRow>(keys.FIB, fields.result, new Place(place, 'result'));
  const names = Object.keys(FIB_FLAGS).filter(name => flags & FIB_FLAGS[name]!);
  const instruction = { result: row.key, flags: check ? [...names, 'present'] : names };
  const load = loadOf('fib', row, instruction, place, [
    [0, FIB_NUMBERS[row.key]!],
    [1, check ? flags | FIB_PRESENT : flags],
  ]);
  if (check) asBoolean(load);
  return load;
}

function asBoolean(load: Load): void {
  load.type = TYPES.boolean;
  load.bits = 8;
}

/** What is compared with true or false is not what a route leads to, but whether there is one. */
export function askWhether(load: Load): void {
  if (load.name !== 'fib' || load.type.kind === 'boolean') return;
  const { flags } = load.instruction as { flags: string[] };
  load.instruction = { ...load.instruction, flags: [...flags, 'present'] };
  asBoolean(load);
}

function parseMeta(json: unknown, place: Place): Term {
  const key = fieldsOf(json, place).key;
  const word =
    typeof key === 'string' && Object.hasOwn(keys.META_ALIASES, key) ? keys.META_ALIASES[key as 'secpath'] : key;
  const row = entryOf<keys.KeyRow>(keys.META, word, new Place(place, 'key'));
  return metaTerm(word as keys.MetaKey, row, place);
}

export function metaTerm(key: keys.MetaKey, row: keys.KeyRow, place: Place | undefined): Term {
  return { kind: 'meta', place, type: TYPES[row.type], order: row.order, bits: row.bits, key, tunnel: undefined };
}

/** Those that each direction of a connection has its own of. */
const DIRECTED: ReadonlySet<string> = new Set<keys.CtKey>([
  'l3proto',
  'saddr',
  'daddr',
  'protocol',
  'proto-src',
  'proto-dst',
  'packets',
  'bytes',
  'avgpkt',
  'zone',
  'ip saddr',
  'ip daddr',
  'ip6 saddr',
  'ip6 daddr',
]);

function parseCt(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  let key = textOf(fields, 'key', place);
  const which = family(fields, place);
  if (which !== undefined && (key === 'saddr' || key === 'daddr')) key = `${which} ${key}`;
  const row = entryOf<keys.KeyRow>(keys.CT, key, new Place(place, 'key'));
  const direction =
    fields.dir === undefined
      ? undefined
      : entryOf({ original: 'original', reply: 'reply' } as const, fields.dir, new Place(place, 'dir'));
  if (direction !== undefined && !DIRECTED.has(key))
    throw refuse(new Place(place, 'dir'), `no direction of ${key}`, direction);
  return {
    kind: 'ct',
    place,
    type: TYPES[row.type],
    order: row.order,
    bits: row.bits,
    key,
    direction,
    family: undefined,
  };
}

function parsePayload(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  if (fields.base !== undefined) {
    const base = entryOf(RAW_BASES, fields.base, new Place(place, 'base'));
    const bits = numberOf(fields, 'len', place, MAXIMUM_BITS);
    if (bits === 0) throw refuse(new Place(place, 'len'), `1 to ${MAXIMUM_BITS} bits`, bits);
    return rawPayload(base, numberOf(fields, 'offset', place), bits, place);
  }
  const protocol = fields.protocol;
  const header = entryOf<Header>(PROTOCOLS, protocol, new Place(place, 'protocol'));
  const field = entryOf(header.fields, fields.field, new Place(place, 'field'));
  const term = headerField(protocol as string, header, fields.field as string, field, place);
  if (fields.tunnel !== undefined) {
    const tunnel = entryOf<Header>(PROTOCOLS, fields.tunnel, new Place(place, 'tunnel'));
    if (tunnel.tunnel === undefined) throw refuse(new Place(place, 'tunnel'), 'a tunnel', fields.tunnel);
    term.tunnel = fields.tunnel as string;
  }
  return term;
}

/** nft's numbers of fields: their places, from 1 on, unless the table has another. */
export function numberOfField(fields: Readonly<Record<string, FieldRow>>, name: string, first: number): number {
  let number = first;
  for (const each in fields) {
    if (each === name) return fields[each]![3] ?? number;
    number++;
  }
  return 0;
}

export function headerField(
  protocol: string,
  header: Header,
  name: string,
  row: FieldRow,
  place: Place | undefined,
): Payload {
  return {
    kind: 'payload',
    place,
    type: TYPES[row[2] ?? 'integer'],
    order: 'big',
    bits: row[1],
    protocol,
    field: row,
    fieldName: name,
    icmp: header.icmp?.[name],
    base: BASES[header.base],
    offset: row[0],
    raw: protocol === 'th',
    tunnel: undefined,
    evaluated: false,
    tellsProtocol: name === header.next,
  };
}

export function rawPayload(base: number, offset: number, bits: number, place: Place | undefined): Payload {
  return {
    kind: 'payload',
    place,
    type: TYPES.xinteger,
    order: 'big',
    bits,
    protocol: undefined,
    field: undefined,
    fieldName: undefined,
    icmp: undefined,
    base,
    offset,
    raw: true,
    tunnel: undefined,
    evaluated: false,
    tellsProtocol: false,
  };
}

function extension(
  op: Exthdr['op'],
  { type, number }: Extension,
  [offset, bits, fieldType = 'integer']: FieldRow,
  fieldNumber: number,
  present: boolean,
  place: Place,
): Exthdr {
  return {
    kind: 'exthdr',
    place,
    type: TYPES[fieldType],
    order: 'big',
    bits,
    op,
    header: type,
    number: number ?? type,
    fieldNumber,
    offset,
    present,
  };
}

function parseNamedExtension(
  op: 'ipv4' | 'sctp',
  table: Readonly<Record<string, Extension>>,
  json: unknown,
  place: Place,
): Term {
  const fields = fieldsOf(json, place);
  const found = entryOf(table, fields.name, new Place(place, 'name'));
  const name = fields.field ?? 'type';
  const row = entryOf(found.fields, name, new Place(place, 'field'));
  return extension(op, found, row, numberOfField(found.fields, name as string, 0), fields.field === undefined, place);
}

function parseExthdr(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  const found = entryOf<Extension>(IPV6_EXTENSIONS, fields.name, new Place(place, 'name'));
  if (fields.field === undefined) {
    const first = Object.values(found.fields)[0]!;
    return extension('ipv6', found, first, 1, true, place);
  }
  const name = textOf(fields, 'field', place);
  // rt0's addresses come as addr[1] with how many to go on from there.
  const places = Object.keys(found.fields);
  const at = places.indexOf(name) + (fields.offset === undefined ? 0 : numberOf(fields, 'offset', place, 1));
  const row = entryOf(found.fields, fields.offset === undefined ? name : places[at], new Place(place, 'field'));
  return extension('ipv6', found, row, at + 1, false, place);
}

function parseTcpOption(json: unknown, place: Place): Term {
  const fields = fieldsOf(json, place);
  if (fields.base !== undefined) {
    const type = numberOf(fields, 'base', place, 255);
    const offset = numberOf(fields, 'offset', place, 320);
    const bits = numberOf(fields, 'len', place, MAXIMUM_BITS);
    const known: Extension | undefined = Object.values<Extension>(TCP_OPTIONS).find(each => each.type === type);
    const row = known && Object.values(known.fields).find(each => each[0] === offset && each[1] === bits);
    const present = offset === 0 && bits === 8;
    return extension('tcp', { type, fields: {} }, row ?? [offset, bits], 0, present, place);
  }
  const alias = TCP_OPTION_ALIASES[fields.name as 'sack0'] ?? fields.name;
  const found = entryOf<Extension>(TCP_OPTIONS, alias, new Place(place, 'name'));
  const name = fields.field ?? 'kind';
  const row = entryOf(found.fields, name, new Place(place, 'field'));
  return extension(
    'tcp',
    found,
    row,
    numberOfField(found.fields, name as string, 0),
    fields.field === undefined,
    place,
  );
}

function parseBinary(json: unknown, place: Place, name: string): Term {
  if (!Array.isArray(json) || json.length < 2) throw typeError(place.path, 'two operands or more', json);
  const op = name as BinaryOperator;
  return json
    .map((operand, i) => parseExpression(operand, new Place(place, i)))
    .reduce((left, right) => binary(place, op, left, right));
}

export function parseVerdict(json: unknown, place: Place, name: string): Term {
  const verdict = name as 'accept';
  const jumps = name === 'jump' || name === 'goto';
  const chain = jumps ? textOf(fieldsOf(json, place), 'target', place) : undefined;
  if (chain === '') throw refuse(new Place(place, 'target'), 'the name of a chain', chain);
  return { kind: 'verdict', place, type: TYPES.verdict, order: undefined, bits: 0, verdict, chain };
}

function parseElement(json: unknown, place: Place): Element {
  const fields = fieldsOf(json, place);
  const made = element(place, parseExpression(fields.val as JsonExpression, new Place(place, 'val')));
  const expressions: Expression[] = [];
  for (const name in fields) {
    const expression = statefulExpression(name, fields[name], new Place(place, name));
    if (expression !== undefined) expressions.push(expression);
  }
  return {
    ...made,
    timeoutMilliseconds: fields.timeout === undefined ? undefined : BigInt(numberOf(fields, 'timeout', place)) * 1000n,
    expirationMilliseconds:
      fields.expires === undefined ? undefined : BigInt(numberOf(fields, 'expires', place)) * 1000n,
    comment: fields.comment === undefined ? undefined : textOf(fields, 'comment', place),
    expressions,
  };
}

const asElement = (term: Term): Element => (term.kind === 'element' ? term : element(term.place, term));

function parseSet(json: unknown, place: Place): Term {
  if (!Array.isArray(json)) {
    const only = parseExpression(json as JsonExpression, place);
    return only.kind === 'named-set' ? only : setLiteral(place, [asElement(only)]);
  }
  if (json.length === 0) throw refuse(place, 'an element or more', json);
  const members = json.map((member, i) => parseMember(member, new Place(place, i)));
  return setLiteral(place, members);
}

export function parseMember(member: unknown, place: Place): Element | Mapping {
  if (!Array.isArray(member) || member.length !== 2) return asElement(parseExpression(member as JsonExpression, place));
  const left = asElement(parseExpression(member[0], new Place(place, 0)));
  const right = parseExpression(member[1], new Place(place, 1));
  return { kind: 'mapping', place, type: TYPES.invalid, order: undefined, bits: 0, left, right };
}
