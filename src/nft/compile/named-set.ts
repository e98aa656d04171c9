import { oneOf, typeError } from '../../errors.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { Family } from '../../nf_tables/family.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import { bytesOf, paddedBytes } from '../bits.ts';
import { concatenationOf, type Datatype, datatypeByName, TYPES } from '../data/datatypes.ts';
import { dialectOf } from '../data/dialects.ts';
import { OBJECTS, type ObjectName } from '../data/objects.ts';
import type { JsonExpression, SetMember } from '../json.ts';
import { concat, elementOf, setLiteral, value, verdict } from '../nodes.ts';
import { compileStates } from '../statements/stateful.ts';
import { type Node, Place, refuse, type SetInfo } from '../tree.ts';
import type { CompileContext } from './context.ts';
import { RuleEvaluator } from './evaluate.ts';
import { intervalsOf } from './interval.ts';
import { millisecondsOf, onlyKey } from './json-fields.ts';
import { parseExpression, parseMember } from './parse.ts';
import { evaluateSet } from './set.ts';
import { setInfo, wireElements, wireSet } from './wire-set.ts';

/* Named sets and maps with their elements, as nft's JSON describes them. */

type Fields = Record<string, unknown>;

const FLAGS = ['constant', 'interval', 'timeout', 'dynamic'] as const;
/** A flag of a set in nft's words. */
export type SetFlag = (typeof FLAGS)[number];

/** Returns the attributes of a set or map that nft's JSON describes. */
export function declaredSet(json: Fields, version?: CompileContext['version']): NftSet {
  const flags = listOf(json.flags, 'flags');
  for (const flag of flags)
    if (!FLAGS.some(known => known === flag)) throw refuse(new Place(undefined, 'flags'), oneOf(FLAGS, flag), flag);
  const key = typeTerm(json.type, new Place(undefined, 'type'));
  const { of: map, ranges: isOfRanges } = mapType(json.map);
  const objectType =
    typeof map === 'string' && Object.hasOwn(OBJECTS, map) ? OBJECTS[map as ObjectName].type : undefined;
  const data =
    map === undefined || objectType !== undefined
      ? undefined
      : typeTerm(isTypeof(json.type) ? describedType(map) : map, new Place(undefined, 'map'));
  // nft describes the values of a map only where it was made with `typeof`.
  const isPlainVerdict = map === 'verdict' && !isTypeof(json.type);
  const interval = flags.includes('interval');
  const ranges = data !== undefined && (isOfRanges || listOfAny(json.elem ?? []).some(hasRange));
  if (ranges) data.bits *= 2;
  const concatenated = interval && key.kind === 'concat';
  const info: SetInfo = {
    name: json.name as string,
    id: undefined,
    anonymous: false,
    map: map !== undefined,
    object: objectType !== undefined,
    interval,
    concatenation: concatenated,
    merges: json['auto-merge'] === true && !concatenated,
    timeout: flags.includes('timeout') || (json.timeout !== undefined && json.timeout !== 0),
    // nft 1.0.6 leaves the flag 'dynamic' out of its JSON. Only dynamic sets can count connections.
    dynamic:
      flags.includes('dynamic') || listOfAny(json.stmt ?? []).some(each => onlyKey(each, undefined) === 'ct count'),
    key,
    // nft stores this type for each map of objects, in addition to the kind of object.
    data: objectType !== undefined ? OBJECT_NAME() : isPlainVerdict ? value(0, 0n, TYPES.verdict, undefined) : data,
    dataInterval: ranges,
    objectType,
    size: numberIn(json, 'size'),
    fields: concatenated ? key.fields : undefined,
    members: [],
  };
  const { set } = wireSet(info, { family: json.family as Family, table: json.table as string }, dialectOf(version));
  const { id: _, ...wire } = set;
  const written: NftSet = wire;
  if (flags.includes('constant')) written.flags = [...(written.flags ?? []), 'constant'];
  if (json.policy === 'memory') written.policy = 'memory';
  else if (json.policy !== undefined && json.policy !== 'performance')
    throw refuse(new Place(undefined, 'policy'), 'memory or performance', json.policy);
  const timeout = millisecondsOf(json, 'timeout', undefined);
  if (timeout) written.timeoutMilliseconds = timeout;
  const collects = millisecondsOf(json, 'gc-interval', undefined);
  if (collects) written.gcIntervalMilliseconds = Number(collects);
  if (json.comment !== undefined) written.comment = json.comment as string;
  const expressions = compileStates(
    json.stmt === undefined ? undefined : listOfAny(json.stmt),
    new Place(undefined, 'stmt'),
  );
  if (expressions.length === 1) written.expression = expressions[0]!;
  if (expressions.length > 1) {
    written.expressions = expressions;
    written.flags = [...(written.flags ?? []), 'expressions'];
  }
  return written;
}

/** The type of a map's values. nft's JSON cannot say that they are ranges: ours has `{ interval: type }`. */
function mapType(json: unknown): { of: unknown; ranges: boolean } {
  if (typeof json !== 'object' || json === null || !('interval' in json)) return { of: json, ranges: false };
  return { of: json.interval, ranges: true };
}

/** Returns whether the value of an element is a range. The JSON of a map does not say whether its values are ranges. */
function hasRange(member: unknown): boolean {
  const data: unknown = Array.isArray(member) && member.length === 2 ? member[1] : undefined;
  if (typeof data !== 'object' || data === null) return false;
  const { concat } = data as { concat?: unknown };
  return Array.isArray(concat) ? concat.some(isRange) : isRange(data);
}

const isRange = (json: unknown): boolean =>
  typeof json === 'object' && json !== null && ('range' in json || 'prefix' in json);

const OBJECT_NAME = (): Node => value(255 * 8, 0n, datatypeByName('string')!, 'host');
const listOfAny = (json: unknown): unknown[] => (Array.isArray(json) ? json : [json]);

/** Returns a list of words, also for a single word. */
export function listOf(json: unknown, name: string): string[] {
  if (json === undefined) return [];
  const words = listOfAny(json);
  words.forEach((word, i) => {
    if (typeof word !== 'string') throw typeError(Array.isArray(json) ? [name, i] : [name], 'a word', word);
  });
  return words as string[];
}

function numberIn(json: Fields, name: string): number | undefined {
  const number = json[name];
  if (number === undefined) return undefined;
  if (!Number.isSafeInteger(number) || (number as number) < 0)
    throw refuse(new Place(undefined, name), 'a whole number that is not negative', number);
  return number as number;
}

/** Parses the type of a set: 'ipv4_addr', ['ipv4_addr', 'inet_service'], or { typeof: an expression }. */
function typeTerm(json: unknown, place: Place): Node {
  if (typeof json === 'string') {
    // nft before 1.1 lists the values of maps in this form.
    if (json.includes(' . ')) return typeTerm(json.split(' . '), place);
    const type = datatypeByName(json);
    if (type === undefined) throw refuse(place, "nft's name of a type", json);
    return constantOf(type);
  }
  if (Array.isArray(json)) {
    const parts = json.map((each, i) => typeTerm(each, new Place(place, i)));
    return concatenated(parts, place);
  }
  if (typeof json !== 'object' || json === null || onlyKey(json, place) !== 'typeof')
    throw typeError(place.path, "a type's name, a list of them, or { typeof }", json);
  const term = parseExpression((json as { typeof: JsonExpression }).typeof, new Place(place, 'typeof'));
  return term.kind === 'concat' ? concatenated(term.parts, place) : checked(term);
}

const isTypeof = (json: unknown): boolean => typeof json === 'object' && json !== null && 'typeof' in json;

/**
 * Finds an expression of a type. nft lists the values of a map by their type, even if the map was made with `typeof`. But it shows the
 * `typeof` of the keys only if the values have one too. Any expression of the type will do.
 */
function describedType(type: unknown): unknown {
  const expression =
    typeof type === 'string' && Object.hasOwn(OF_TYPE, type) ? OF_TYPE[type as keyof typeof OF_TYPE] : undefined;
  return expression === undefined ? type : { typeof: expression };
}

const OF_TYPE = {
  mark: { meta: { key: 'mark' } },
  classid: { meta: { key: 'priority' } },
  ifname: { meta: { key: 'oifname' } },
  inet_proto: { meta: { key: 'l4proto' } },
  inet_service: { payload: { protocol: 'th', field: 'dport' } },
  ipv4_addr: { payload: { protocol: 'ip', field: 'daddr' } },
  ipv6_addr: { payload: { protocol: 'ip6', field: 'daddr' } },
  ether_addr: { payload: { protocol: 'ether', field: 'daddr' } },
} as const satisfies Record<string, JsonExpression>;

const constantOf = (type: Datatype): Node =>
  type.kind === 'verdict' ? verdict('accept') : value(type.bits, 0n, type, type.order);

function checked(term: Node): Node {
  if (term.bits === 0 && term.type.kind !== 'verdict')
    throw refuse(term.place, 'something whose length is known', term.type.name);
  return term;
}

function concatenated(parts: Node[], place: Place): Node {
  parts.forEach(checked);
  const types = parts.map(part => (part.type.bits === part.bits ? part.type : { ...part.type, bits: part.bits }));
  const bits = parts.reduce((sum, part) => sum + paddedBytes(part.bits) * 8, 0);
  const key = concat(parts, place);
  key.type = { ...concatenationOf(types), bits };
  key.bits = bits;
  key.fields = parts.map(part => bytesOf(part.bits));
  return key;
}

/** The elements as a list: nft's JSON has them as a list, as a set, or one alone. */
function membersOf(elements: readonly SetMember[] | SetMember): { members: readonly SetMember[]; place?: Place } {
  if (Array.isArray(elements)) return { members: elements as readonly SetMember[] };
  const { set } = (typeof elements === 'object' ? elements : {}) as { set?: unknown };
  return Array.isArray(set)
    ? { members: set as SetMember[], place: new Place(undefined, 'set') }
    : { members: [elements as SetMember] };
}

/** Compiles the elements that nft's JSON gives into the kernel's form. */
export function compileElements(
  set: NftSet,
  elements: readonly SetMember[] | SetMember,
  context: CompileContext & { leadingEnd?: boolean; removes?: boolean } = {},
): WireElement[] {
  const info = setInfo(set);
  const evaluator = new RuleEvaluator(set.family, context);
  const { members, place } = membersOf(elements);
  if (members.length === 0) return [];
  const literal = setLiteral(members.map((member, i) => parseMember(member, new Place(place, i))));
  evaluator.set = info;
  evaluateSet(evaluator, literal);
  info.members = literal.members;
  // Removal names each element, so the intervals must not be merged.
  const { removes = false } = context;
  if (info.interval && !info.concatenation)
    info.members = intervalsOf(literal.members, info.key, info.merges && !removes, !removes);
  // The kernel finds what goes by its key.
  if (removes) info.members = info.members.map(elementOf);
  return wireElements(info, context.leadingEnd === true);
}
