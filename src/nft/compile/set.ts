import { type Datatype, TYPES } from '../data/datatypes.ts';
import { mismatch } from '../data/descriptions.ts';
import { isConstant, isSingleton, range, setReference, value, verdict } from '../nodes.ts';
import {
  type Concat,
  type Element,
  type MapLookup,
  type Mapping,
  type Node,
  refuse,
  type SetInfo,
  type SetLiteral,
  type Value,
} from '../tree.ts';
import { convert } from './byte-order.ts';
import { intervalsOf } from './interval.ts';
import type { Evaluator } from './ir.ts';
import { foldKeyShift } from './shift-folding.ts';

/* Sets and maps that are written in a rule, and the named maps that it refers to. */

const OBJECT_NAME_BITS = 255 * 8;

export function evaluateElement(e: Evaluator, term: Element): Element {
  const { set } = e;
  if (set !== undefined) {
    e.expect(set.key.type, set.key.order, set.key.bits);
    e.key = set.key;
  }
  term.key = e.evaluate(term.key);
  if (set !== undefined && !set.anonymous && !set.interval) {
    const parts = term.key.kind === 'concat' ? term.key.parts : [term.key];
    const wide = parts.find(part => part.kind === 'prefix' || part.kind === 'range');
    if (wide !== undefined)
      throw refuse(
        wide.place,
        'a single value: the set has no intervals',
        wide.kind,
        `You must add 'flags interval' to your ${set.map ? 'map' : 'set'} declaration if you want to add ${wide.kind} elements`,
      );
  }
  if (set !== undefined && term.key.kind !== 'catch-all' && !compatible(set.key.type, term.key.type))
    throw refuse(
      term.place,
      `a key of type ${set.key.type.name}`,
      term.key.type.name,
      mismatch(set.key.type, term.key.type),
    );
  term.type = term.key.type;
  term.bits = term.key.bits;
  return term;
}

export function evaluateMapping(e: Evaluator, term: Mapping): Mapping {
  const { set } = e;
  if (set === undefined || !set.map)
    throw refuse(term.left.place, 'keys alone: this is no map', 'a key and a value', 'mapping outside of map context');
  e.expectType(set.key.type, set.key.bits);
  evaluateElement(e, term.left);
  if (!isConstant(term.left)) throw refuse(term.left.place, 'a constant key', term.left.key.kind);
  const { data } = set;
  if (data === undefined) throw refuse(term.right.place, 'a value of a known type', 'none');
  // The data of a map with ranges holds both ends.
  const bits = !set.anonymous && set.dataInterval ? data.bits / 2 : data.bits;
  e.expect(data.type, data.order, bits);
  term.right = e.evaluate(term.right);
  if (!isConstant(term.right)) throw refuse(term.right.place, 'a constant value', term.right.kind);
  if (set.anonymous && isWide(term.right)) set.dataInterval = true;
  if (!set.anonymous && set.dataInterval) widen(term);
  if (!set.dataInterval && !isSingleton(term.right)) throw refuse(term.right.place, 'a single value', term.right.kind);
  if (!set.object && !compatible(data.type, term.right.type))
    throw refuse(
      term.right.place,
      `a value of type ${data.type.name}`,
      term.right.type.name,
      mismatch(data.type, term.right.type),
    );
  return term;
}

function isWide(term: Node): boolean {
  if (term.kind === 'range' || term.kind === 'prefix') return true;
  return term.kind === 'concat' && term.parts.some(part => part.kind === 'range' || part.kind === 'prefix');
}

/** Makes a range of a single value. In a map of ranges, all values must be ranges. */
function widen(mapping: Mapping): void {
  const { right } = mapping;
  if (right.kind === 'value') mapping.right = asRange(right);
  else if (right.kind === 'concat') {
    right.parts.forEach((part, i) => {
      if (part.kind === 'value') right.parts[i] = asRange(part);
    });
    right.singleton = false;
  }
}

function asRange(single: Value): Node {
  return { ...range(single, { ...single }, single.place), type: single.type, order: single.order, bits: single.bits };
}

/** Returns whether a value of one type fits another. Marks take all numbers. */
export function compatible(wanted: Datatype, found: Datatype): boolean {
  if (wanted.id === found.id) return true;
  return (
    wanted.name === 'mark' && found.kind !== 'string' && found.kind !== 'concatenation' && found.kind !== 'verdict'
  );
}

export function evaluateSet(e: Evaluator, term: SetLiteral): SetLiteral {
  const members: (Element | Mapping)[] = [];
  for (let member of term.members) {
    const found = e.nested(() => e.evaluate(member)) as Element | Mapping;
    member = found;
    const element = member.kind === 'mapping' ? member.left : member;
    if (element.key.kind === 'set') {
      // The elements of a set within a set belong to the outer one.
      const inner = element.key;
      if (member.kind === 'mapping') {
        const { right } = member;
        for (const each of inner.members)
          members.push({ ...member, left: each.kind === 'mapping' ? each.left : each, right });
      } else {
        members.push(...inner.members);
        term.interval ||= inner.interval;
        term.concatenation ||= inner.concatenation;
      }
      continue;
    }
    if (element.key.kind === 'set-reference')
      throw refuse(element.place, 'an element: no set within a set', element.key.set.name);
    if (!isConstant(member)) throw refuse(element.place, 'something constant', element.key.kind);
    if (!isSingleton(element)) {
      term.interval = true;
      if (element.key.kind === 'concat') term.concatenation = true;
    }
    members.push(member);
  }
  term.members = members;
  if (e.set?.concatenation) term.concatenation = true;
  term.type = e.type ?? TYPES.invalid;
  term.bits = e.bits;
  return term;
}

interface Declaration {
  readonly key: Node;
  readonly data: Node | undefined;
  readonly literal: SetLiteral;
  readonly map: boolean;
  readonly objectType: string | undefined;
  readonly name?: string;
  readonly timeout?: boolean;
  readonly size?: number;
}

/** Makes a set for this rule. */
export function declareSet(
  e: Evaluator,
  { key, data, literal, map, objectType, name, timeout, size }: Declaration,
): SetInfo {
  const anonymous = name === undefined;
  const set: SetInfo = {
    name: name ?? (map ? '__map%d' : objectType !== undefined ? '__objmap%d' : '__set%d'),
    id: e.nextSetId++,
    anonymous,
    map: map || objectType !== undefined,
    object: objectType !== undefined,
    interval: literal.interval,
    concatenation: literal.concatenation,
    merges: literal.interval,
    timeout: timeout ?? false,
    dynamic: !anonymous,
    key,
    data: objectType === undefined ? data : value(OBJECT_NAME_BITS, 0n, TYPES.string, 'host'),
    dataInterval: false,
    objectType,
    size,
    fields: undefined,
    members: literal.members,
  };
  describeConcatenation(set);
  e.sets.push(set);
  if (anonymous && set.interval && !set.concatenation) sortIntervals(set);
  return set;
}

/** Notes the parts of keys that are ranges, because the kernel has to know them. */
function describeConcatenation(set: SetInfo): void {
  if (!set.interval || set.key.kind !== 'concat') return;
  set.fields = set.key.fields;
  set.concatenation = true;
  set.merges = false;
}

function sortIntervals(set: SetInfo): void {
  set.members = intervalsOf(set.members, set.key, !set.map, set.map);
}

/** Evaluates a map that is looked up with a key from the packet. */
export function evaluateMap(e: Evaluator, term: MapLookup): Node {
  const wanted = e.expectation();
  e.expectNothing();
  term.key = e.evaluate(term.key);
  if (isConstant(term.key)) throw refuse(term.key.place, 'something that is loaded from the packet', term.key.kind);
  e.statementBits = 0;
  if (term.mappings.kind === 'set') {
    if (wanted.type === undefined) throw refuse(term.place, 'a map of values whose type is known', 'none');
    const literal = term.mappings;
    const key = keyOf(e, term);
    const data = wanted.type.kind === 'verdict' ? verdict('accept') : value(wanted.bits, 0n, wanted.type, wanted.order);
    if (data.kind === 'value') data.order = wanted.type.id === TYPES.integer.id ? wanted.order : wanted.type.order;
    const set = declareSet(e, { key, data, literal, map: true, objectType: undefined });
    fillMap(e, set, literal);
    e.expectType(set.key.type, set.key.bits);
    term.mappings = setReference(set, data, undefined, literal.place);
    foldKeyShift(e, term);
    if (set.dataInterval) {
      data.bits *= 2;
      for (const member of set.members) if (member.kind === 'mapping') widen(member);
    }
    set.key.bits = e.bits;
  } else {
    term.mappings = e.evaluate(term.mappings);
    if (term.mappings.kind !== 'set-reference' || !term.mappings.set.map || term.mappings.set.object)
      throw refuse(term.mappings.place, 'a map', term.mappings.kind);
  }
  const { set } = term.mappings as Extract<Node, { kind: 'set-reference' }>;
  finish(e, term, set);
  const { data } = set;
  term.type = data?.type ?? TYPES.invalid;
  // nft takes length and order of a map's value from the place where it is used.
  return term;
}

/** Returns the key of a map that is made for this rule. The evaluation of the key has left its type as expectation. */
function keyOf(e: Evaluator, term: MapLookup): Node {
  const { key } = e;
  if (key?.kind === 'concat') return cloneConcat(key);
  const type = e.type ?? term.key.type;
  return value(e.bits, 0n, type, e.order);
}

function cloneConcat(concat: Concat): Concat {
  return { ...concat, parts: concat.parts.map(part => ({ ...part })), fields: [...concat.fields] };
}

function fillMap(e: Evaluator, set: SetInfo, literal: SetLiteral): void {
  const outer = e.set;
  e.set = set;
  evaluateSet(e, literal);
  e.set = outer;
  set.members = literal.members;
  set.interval ||= literal.interval;
  set.concatenation ||= literal.concatenation;
  set.merges = false;
  if (set.interval && !literal.concatenation) sortIntervals(set);
  if (set.interval) describeConcatenation(set);
}

function finish(_e: Evaluator, term: MapLookup, set: SetInfo): void {
  if (!compatible(set.key.type, term.key.type))
    throw refuse(
      term.key.place,
      `a key of type ${set.key.type.name}`,
      term.key.type.name,
      mismatch(set.key.type, term.key.type),
    );
  if (set.interval) term.key = convert(term.key, 'big');
}

/** Evaluates a map from keys to objects. */
export function evaluateObjectMap(e: Evaluator, term: MapLookup, objectType: string): void {
  e.expectNothing();
  term.key = e.evaluate(term.key);
  if (isConstant(term.key)) throw refuse(term.key.place, 'something that is loaded from the packet', term.key.kind);
  if (term.mappings.kind === 'set') {
    const literal = term.mappings;
    const key = keyOf(e, term);
    const set = declareSet(e, { key, data: undefined, literal, map: false, objectType });
    fillMap(e, set, literal);
    const name = value(0, 0n, TYPES.string, 'host');
    term.mappings = setReference(set, name, undefined, literal.place);
  } else {
    term.mappings = e.evaluate(term.mappings);
    if (term.mappings.kind !== 'set-reference' || !term.mappings.set.object)
      throw refuse(term.mappings.place, 'a map of objects', term.mappings.kind);
  }
  finish(e, term, term.mappings.set);
}
