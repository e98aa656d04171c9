import { referTo, registerNumber } from '../compile/linearize.ts';
import { type Compile, emit, parse, step } from '../compile/lower.ts';
import { evaluateObjectMap } from '../compile/set.ts';
import { textOf } from '../compile/wire-set.ts';
import { TYPES } from '../data/datatypes.ts';
import { OBJECTS, type ObjectName, objectName } from '../data/objects.ts';
import { SCOPES } from '../data/scopes.ts';
import { type Registers, reference } from '../decompile/registers.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import type { Json, JsonObject } from '../json-object.ts';
import { mapLookup, registerValue } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import { type Node, refuse, Undecompilable } from '../tree.ts';
import type { Construct } from './construct.ts';
import { COUNTER } from './counter.ts';
import {
  compileState,
  STATES,
  type StateName,
  type StateStatement,
  stateJson,
  stateRow,
  stateText,
} from './stateful.ts';

/* Statements that refer to an object: by its name, or by a map with a name for each key. */

const OBJECT_NAME_BITS = 255 * 8;

/** Is this a name, or a map of names, in the place of a statement's own fields? */
export const isReference = (json: unknown): boolean =>
  typeof json === 'string' || (typeof json === 'object' && json !== null && Object.hasOwn(json, 'map'));

/** Compiles a reference. `name` is the name of the statement. */
export const objectReference: Compile = (e, json, place, name) => {
  const type = name === 'ct count' ? 'connlimit' : OBJECTS[name as ObjectName].type;
  let term = parse(json, place);
  if (term.kind === 'map') {
    const map = term;
    evaluateObjectMap(e, map, type);
    step(e, emitter => {
      const unit = emitter.take(map.key);
      emitter.load(map.key, unit);
      emitter.release(map.key);
      if (map.mappings.kind !== 'set-reference') throw refuse(map.place, 'a map', map.mappings.kind);
      emitter.push({ objref: { sourceRegister: registerNumber(unit), ...referTo(map.mappings.set) } });
    });
    return;
  }
  e.expect(TYPES.string, 'host', OBJECT_NAME_BITS);
  term = e.evaluate(term);
  if (term.kind !== 'value') throw refuse(place, "an object's name, or a map of names", term.kind);
  emit(e, { objref: { type, name: textOf(term) } });
};

/** Reads a name, or a map of names. */
export function readReference(p: Parser): Json {
  const { start } = p;
  const reference = p.grammar.value(p);
  if (isReference(reference)) return reference;
  return p.fail('invalid object reference', start);
}

/** Reads `helper set "name"` behind `ct`. */
export function readCtObject(p: Parser): JsonObject {
  const name = `ct ${p.text}`;
  p.next();
  p.expectWord('set');
  const { start } = p;
  const statement = { [name]: readReference(p) };
  p.note(statement, name, start);
  return statement;
}

export interface ObjectStatement {
  kind: 'object';
  name: ObjectName;
  reference: Node;
}

/** Statements that give an object to the packet or its connection, and all that have the name of an object in the place of their fields. */
export const OBJECT: Construct<ObjectStatement, Exclude<ObjectName, 'counter' | 'quota' | 'limit' | 'synproxy'>> = {
  compile: {
    secmark: objectReference,
    tunnel: objectReference,
    'ct helper': objectReference,
    'ct timeout': objectReference,
    'ct expectation': objectReference,
  },
  fromText: {
    tunnel(p, word) {
      if (p.acceptWord('name')) return { tunnel: readReference(p) };
      return p.grammar.led(p, word);
    },
  },
  read: {
    objref(registers, expression) {
      let node: Node;
      let { type } = expression;
      if (expression.name !== undefined) {
        node = registerValue(Buffer.from(`${expression.name}\0`).toString('hex'));
        node.type = TYPES.string;
        node.order = 'host';
      } else {
        const set = registers.find(expression);
        if (expression.sourceRegister === undefined) throw new Undecompilable('a map without a key');
        node = mapLookup(registers.key(expression.sourceRegister, set), reference(set));
        node.type = TYPES.string;
        node.order = 'host';
        type = set.set.objectType;
      }
      const name = objectName(type);
      if (name === undefined) throw new Undecompilable(`an object of the type ${type}`);
      return { kind: 'object', name, reference: node };
    },
  },
  complete(statement, rule) {
    statement.reference = rule.node(statement.reference);
  },
  text({ name, reference: to }, options) {
    const row = OBJECTS[name];
    return `${'sets' in row ? row.sets : `${name} name`} ${nodeText(to, options)}`;
  },
  json: ({ name, reference: to }, options) => ({ [name]: nodeJson(to, options) }),
};

/** The states that can be objects with names. */
type StateScope = 'counter' | 'quota' | 'limit';

function readStateful(p: Parser, word: string, isOfElement = false): JsonObject {
  const name = word === 'ct' ? 'ct count' : word;
  const { start } = p;
  if (name === 'counter' && !p.isWord('name')) {
    // The most frequent one.
    const counter = { counter: COUNTER.fromText(p, isOfElement) };
    p.note(counter, name, start);
    return counter;
  }
  const isReferred = name !== 'ct count' && !isOfElement && p.acceptWord('name');
  const at = isReferred ? p.start : start;
  const statement: JsonObject = isReferred
    ? { [name]: p.within(SCOPES[name as StateScope], () => readReference(p)) }
    : { [name]: stateRow(name).fromText(p, isOfElement) };
  p.note(statement, name, at);
  return statement;
}

/** Reads a statement with a state, if the current word begins one. */
export function readStateText(p: Parser, isOfElement = false): JsonObject | undefined {
  const { text } = p;
  if (p.kind !== T.WORD) return undefined;
  if (text === 'ct') {
    if (p.peek() !== 'count') {
      if (!isOfElement) return undefined;
      p.next();
      p.unexpectedIn(SCOPES.ct, 'count');
    }
    p.next();
  } else if (!Object.hasOwn(STATES, text) || (text === 'last' && !p.dialect.hasNewerExpressions)) {
    return undefined;
  }
  p.next();
  return readStateful(p, text, isOfElement);
}

const compileStateful: Compile = (e, json, place, name) => {
  if (name !== 'last' && isReference(json)) objectReference(e, json, place, name);
  else emit(e, compileState(name, json, place)!);
};

const names = /* @__PURE__ */ Object.keys(STATES) as StateName[];

/** The statements with a state of their own: the rule has the state, or the name of an object with the state. */
export const STATEFUL: Construct<StateStatement, StateName> = {
  compile: /* @__PURE__ */ Object.fromEntries(/* @__PURE__ */ names.map(name => [name, compileStateful])) as Record<
    StateName,
    Compile
  >,
  read: /* @__PURE__ */ Object.fromEntries(
    /* @__PURE__ */ names.map(name => {
      const row = stateRow(name);
      return [row.expression, (_: Registers, expression: never) => row.read(expression)];
    }),
  ),
  fromText: /* @__PURE__ */ Object.fromEntries(
    /* @__PURE__ */ names.filter(name => name !== 'ct count').map(name => [name, readStateful]),
  ),
  text: stateText,
  json: stateJson,
};
