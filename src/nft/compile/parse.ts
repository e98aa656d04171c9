import { typeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { TYPES } from '../data/datatypes.ts';
import type { JsonExpression } from '../json.ts';
import { compileState } from '../statements/stateful.ts';
import { fieldsOf, numberOf, onlyKey, textOf } from './json-fields.ts';
import {
  MAXIMUM_BITS,
  parseDccpOption,
  parseExthdr,
  parseIpOption,
  parsePayload,
  parseSctpChunk,
  parseTcpOption,
} from './parse-header.ts';
import {
  hashOf,
  parseCt,
  parseFib,
  parseIpsec,
  parseMeta,
  parseNumgen,
  parseOsf,
  parseRt,
  parseSocket,
  parseTunnel,
} from './parse-load.ts';
import {
  type BinaryOperator,
  binary,
  concatenation,
  type Element,
  element,
  type Mapping,
  Place,
  prefix,
  range,
  refuse,
  setLiteral,
  type Term,
} from './term.ts';

/* From JSON to terms whose types are not known yet. */

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
  return parser((json as unknown as Record<string, unknown>)[name], new Place(place, name), name);
}

function parseWord(word: string | number | bigint, place: Place | undefined): Term {
  if (typeof word === 'string') {
    if (word.startsWith('@'))
      return { kind: 'named-set', place, type: TYPES.invalid, order: undefined, bits: 0, name: word.slice(1) };
    if (word === '*') return { kind: 'catch-all', place, type: TYPES.invalid, order: undefined, bits: 0 };
  }
  return { kind: 'word', place, type: TYPES.invalid, order: undefined, bits: 0, word };
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
  'ip option': parseIpOption,
  'sctp chunk': parseSctpChunk,
  'dccp option': parseDccpOption,
  rt: parseRt,
  socket: parseSocket,
  osf: parseOsf,
  ipsec: parseIpsec,
  tunnel: parseTunnel,
  fib: parseFib,
  numgen: parseNumgen,
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
    const expression = compileState(name, fields[name], new Place(place, name));
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

export const asElement = (term: Term): Element => (term.kind === 'element' ? term : element(term.place, term));

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
