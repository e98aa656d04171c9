import { typeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { TYPES } from '../data/datatypes.ts';
import { EXPRESSIONS } from '../expressions/registry.ts';
import type { JsonExpression } from '../json.ts';
import {
  binary,
  catchAll,
  concat,
  element,
  list,
  mapLookup,
  mapping,
  prefix,
  range,
  setLiteral,
  value,
  verdict,
} from '../nodes.ts';
import { compileState } from '../statements/stateful.ts';
import { type BinaryOperator, type Element, type Mapping, type Node, Place, refuse } from '../tree.ts';
import { fieldsOf, millisecondsOf, numberOf, onlyKey, textOf } from './json-fields.ts';

/* Parses JSON into nodes. Their types are not known yet. */

const LONGEST_PREFIX = 64 * 8;

export function parseExpression(json: JsonExpression, place: Place | undefined): Node {
  if (typeof json === 'string' || typeof json === 'number' || typeof json === 'bigint') return parseWord(json, place);
  if (typeof json === 'boolean') return value(8, json ? 1n : 0n, TYPES.boolean, 'host', place);
  if (Array.isArray(json))
    return list(
      json.map((item, i) => parseExpression(item, new Place(place, i))),
      place,
    );
  const name = onlyKey(json, place, json === undefined ? 'a value' : 'a value, or an expression with one key');
  const parser = PARSERS[name];
  if (parser === undefined || !Object.hasOwn(PARSERS, name)) {
    const known = Object.keys(PARSERS).join(', ');
    throw typeError(place?.path ?? [], `an expression (${known})`, json, 'ERR_UNKNOWN_FIELD');
  }
  return parser(fieldsOf(json, place)[name], new Place(place, name), name, parseUnknown);
}

const parseUnknown = (json: unknown, place: Place): Node => parseExpression(json as JsonExpression, place);

function parseWord(word: string | number | bigint, place: Place | undefined): Node {
  if (typeof word === 'string') {
    if (word.startsWith('@'))
      return { kind: 'named-set', place, type: TYPES.invalid, order: undefined, bits: 0, name: word.slice(1) };
    if (word === '*') return catchAll(0, place);
  }
  return { kind: 'word', place, type: TYPES.invalid, order: undefined, bits: 0, word };
}

type Parser = (json: unknown, place: Place, name: string, parse: (json: unknown, place: Place) => Node) => Node;

const PARSERS: Readonly<Record<string, Parser>> = /* @__PURE__ */ Object.fromEntries<Parser>([
  ['set', parseSet],
  ['prefix', parsePrefix],
  ['range', parseRange],
  ['concat', parseConcat],
  ['map', parseMap],
  ['elem', parseElement],
  ...['|', '&', '^', '<<', '>>'].map((op): [string, Parser] => [op, parseBinary]),
  ...['accept', 'drop', 'continue', 'return', 'jump', 'goto'].map((name): [string, Parser] => [name, parseVerdict]),
  ...Object.values(EXPRESSIONS).flatMap(({ words, parse }) => words.map((word): [string, Parser] => [word, parse])),
]);

function parsePrefix(json: unknown, place: Place): Node {
  const fields = fieldsOf(json, place);
  const base = parseUnknown(fields.addr, new Place(place, 'addr'));
  return prefix(base, numberOf(fields, 'len', place, LONGEST_PREFIX), 0, place);
}

function parseRange(json: unknown, place: Place): Node {
  if (!Array.isArray(json) || json.length !== 2) throw typeError(place.path, 'two values', json);
  const left = parseUnknown(json[0], new Place(place, 0));
  return range(left, parseUnknown(json[1], new Place(place, 1)), place);
}

function parseConcat(json: unknown, place: Place): Node {
  if (!Array.isArray(json) || json.length < 2) throw typeError(place.path, 'two expressions or more', json);
  return concat(
    json.map((part, i) => parseUnknown(part, new Place(place, i))),
    place,
  );
}

function parseMap(json: unknown, place: Place): Node {
  const fields = fieldsOf(json, place);
  const key = parseUnknown(fields.key, new Place(place, 'key'));
  return mapLookup(key, parseUnknown(fields.data, new Place(place, 'data')), place);
}

function parseBinary(json: unknown, place: Place, name: string): Node {
  if (!Array.isArray(json) || json.length < 2) throw typeError(place.path, 'two operands or more', json);
  const op = name as BinaryOperator;
  return json
    .map((operand, i) => parseUnknown(operand, new Place(place, i)))
    .reduce((left, right) => binary(op, left, right, 0, place));
}

export function parseVerdict(json: unknown, place: Place, name: string): Node {
  const jumps = name === 'jump' || name === 'goto';
  const fields = jumps ? fieldsOf(json, place) : undefined;
  if (fields?.chainId !== undefined) return verdict(name, undefined, place, numberOf(fields, 'chainId', place));
  const chain = fields === undefined ? undefined : textOf(fields, 'target', place);
  if (chain === '') throw refuse(new Place(place, 'target'), 'the name of a chain', chain);
  return verdict(name, chain, place);
}

function parseElement(json: unknown, place: Place): Element {
  const fields = fieldsOf(json, place);
  const key = parseUnknown(fields.val, new Place(place, 'val'));
  const expressions: Expression[] = [];
  for (const name in fields) {
    const expression = compileState(name, fields[name], new Place(place, name));
    if (expression !== undefined) expressions.push(expression);
  }
  const [timeout, expires] = ['timeout', 'expires'].map(name => millisecondsOf(fields, name, place));
  const comment = fields.comment === undefined ? undefined : textOf(fields, 'comment', place);
  return element(key, { timeout, expires, comment, expressions }, place);
}

export const asElement = (node: Node): Element => (node.kind === 'element' ? node : element(node, {}, node.place));

function parseSet(json: unknown, place: Place): Node {
  if (!Array.isArray(json)) {
    const only = parseUnknown(json, place);
    return only.kind === 'named-set' ? only : setLiteral([asElement(only)], place);
  }
  if (json.length === 0) throw refuse(place, 'an element or more', json, 'Set is empty');
  const members = json.map((member, i) => parseMember(member, new Place(place, i)));
  return setLiteral(members, place);
}

export function parseMember(member: unknown, place: Place): Element | Mapping {
  if (!Array.isArray(member) || member.length !== 2) return asElement(parseUnknown(member, place));
  const left = asElement(parseUnknown(member[0], new Place(place, 0)));
  return mapping(left, parseUnknown(member[1], new Place(place, 1)), place);
}
