import type { ContentOf } from '../../nf_tables/expression.ts';
import { argument, fitting } from '../compile/argument.ts';
import { entryOf, fieldsOf } from '../compile/json-fields.ts';
import { referTo, registerNumber } from '../compile/linearize.ts';
import { type Compile, parse, step } from '../compile/lower.ts';
import { asElement } from '../compile/parse.ts';
import { TYPES } from '../data/datatypes.ts';
import { word, words } from '../decompile/kernel-words.ts';
import type { Registers } from '../decompile/registers.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import type { JsonExpression } from '../json.ts';
import { defined, type Json, type JsonObject } from '../json-object.ts';
import { element, setType } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { readSeconds } from '../parse/times.ts';
import { T } from '../parse/tokens.ts';
import { type Element, type Node, Place, refuse, type SetInfo, Undecompilable } from '../tree.ts';
import type { Construct } from './construct.ts';
import { compileStates, readStates, type Stateful, type StateStatement, statesJson, statesText } from './stateful.ts';

/* `set` and `map`: rules that change sets and maps while packets pass. */

const OPERATIONS = { add: 'add', update: 'update', delete: 'delete' } as const;
/** A change of a set; 'update' adds, and begins the lifetime of an element anew. */
export type SetOperation = keyof typeof OPERATIONS;

/** Adds, refreshes or removes an element while packets pass. */
export interface SetStatement {
  /** 'add', 'update' or 'delete'. */
  op: SetOperation;
  /** The key of the element. */
  elem: JsonExpression;
  /** '@name' */
  set: string;
  /** The states that each new element gets. */
  stmt?: Stateful[];
}

/** Adds, refreshes or removes an element of a map while packets pass. */
export interface MapStatement {
  /** 'add', 'update' or 'delete'. */
  op: SetOperation;
  /** The key of the element. */
  elem: JsonExpression;
  /** The value that the key gets. */
  data: JsonExpression;
  /** '@name' */
  map: string;
  /** The states that each new element gets. */
  stmt?: Stateful[];
}

export interface DynamicSetStatement {
  kind: 'dynamic-set';
  op: string;
  set: SetInfo;
  key: Node;
  /** The value, in maps. */
  data: Node | undefined;
  statements: StateStatement[];
}

const compile: Compile = (e, json, place, name) => {
  const fields = fieldsOf(json, place);
  const op = entryOf(OPERATIONS, fields.op, new Place(place, 'op'));
  const elem = asElement(parse(fields.elem, place, 'elem'));
  e.expectNothing();
  const reference = e.evaluate(parse(fields[name], place, name));
  if (reference.kind !== 'set-reference') throw refuse(reference.place, "a set's name: '@name'", fields[name]);
  const { set } = reference;
  elem.key = fitting(e, e.evaluate(elem.key), set.key.type, set.key.bits, set.key.order);
  let data: Node | undefined;
  if (name === 'map') {
    if (set.data === undefined) throw refuse(reference.place, 'a map', fields.map);
    const given = parse(fields.data, place, 'data');
    data = argument(e, given.kind === 'element' ? given.key : given, set.data.type, set.data.bits, set.data.order);
  }
  const expressions = compileStates(fields.stmt, new Place(place, 'stmt'));
  set.dynamic = true;
  step(e, emitter => {
    // nft 1.0.6 takes 16 bytes for the key of a map, whatever its length.
    const room = name === 'map' && !e.dialect.hasMapUpdates ? undefined : elem.key;
    const unit = emitter.take(room);
    emitter.load(elem.key, unit);
    let dataRegister: number | undefined;
    if (data !== undefined) {
      const second = emitter.take(data);
      emitter.load(data, second);
      emitter.release(data);
      dataRegister = registerNumber(second);
    }
    emitter.release(room);
    emitter.push({
      dynset: {
        ...referTo(set),
        op,
        keyRegister: registerNumber(unit),
        ...(dataRegister !== undefined && { dataRegister }),
        ...(elem.timeout !== undefined && { timeoutMilliseconds: elem.timeout }),
        ...(expressions.length === 1 && { expression: expressions[0]! }),
        ...(expressions.length > 1 && { expressions, ...(name === 'set' && { flags: ['expressions' as const] }) }),
      },
    });
  });
};

/** Reads a change behind its operation: `@s { ip saddr timeout 10s counter }`. */
function readChange(p: Parser, op: string): JsonObject {
  const { start } = p;
  const name = p.grammar.setName(p);
  const end = p.lastEnd;
  p.expect(T.LBRACE);
  const content: JsonObject = { op };
  const { stmt, data } = readChangedElement(p, content);
  p.expect(T.RBRACE);
  const kind = data === undefined ? 'set' : 'map';
  if (data !== undefined) content.data = data;
  content[kind] = name;
  p.noteSpan(content, kind, start, end);
  if (stmt.length > 0) content.stmt = stmt;
  return { [kind]: content };
}

/** Reads a key with its timeout, states and value. */
function readChangedElement(p: Parser, content: JsonObject): { stmt: Json[]; data: Json | undefined } {
  const { start } = p;
  const stmt: Json[] = [];
  const { isList } = p;
  p.isList = true;
  const key = p.grammar.value(p);
  const end = p.lastEnd;
  const options: JsonObject = {};
  for (;;) {
    const { text } = p;
    if (text === 'timeout' || text === 'expires') {
      if (!p.acceptWord(text)) break;
      options[text] = p.dialect.hasElementTimeoutNever && p.acceptWord('never') ? 0 : readSeconds(p);
    } else if (p.acceptWord('comment')) {
      options.comment = p.string();
    } else {
      const state = p.grammar.state(p);
      if (state === undefined) break;
      stmt.push(state);
    }
  }
  content.elem = Object.keys(options).length === 0 ? key : { elem: { val: key, ...options } };
  p.noteSpan(content, 'elem', start, end);
  let data: Json | undefined;
  if (p.accept(T.COLON)) {
    const at = p.start;
    data = p.grammar.value(p);
    p.note(content, 'data', at);
  }
  p.isList = isList;
  return { stmt, data };
}

/** Reads the older form, `set add ip saddr @s`. */
function readOldChange(p: Parser): JsonObject {
  const { text: op } = p;
  if (p.kind !== T.WORD || !Object.hasOwn(OPERATIONS, op)) return p.unexpected('add', 'update', 'delete');
  p.next();
  const content: JsonObject = { op };
  const { stmt } = readChangedElement(p, content);
  const { start } = p;
  content.set = p.grammar.setName(p);
  p.note(content, 'set', start);
  if (stmt.length > 0) content.stmt = stmt;
  return { set: content };
}

type Dynset = ContentOf<'dynset'>;

/** A change of a set without a name that keeps states: nft calls it a meter. */
export const isMeter = ({ dataRegister, expression, expressions = [] }: Dynset, set: SetInfo): boolean =>
  set.anonymous && dataRegister === undefined && (expression !== undefined || expressions.length > 0);

/** The key, with the timeout of the element. */
export function readElement(registers: Registers, expression: Dynset, set: SetInfo): Element {
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
  return element(key, { timeout: expression.timeoutMilliseconds || undefined });
}

function readData(registers: Registers, register: number, set: SetInfo): Node {
  let data = registers.get(register);
  if (set.data === undefined) throw new Undecompilable('a value for a set');
  if (data.bits < set.data.bits) data = registers.concat(register, set.data.bits);
  setType(data, set.data.type, set.data.order);
  return data;
}

const text: Construct<DynamicSetStatement>['text'] = ({ op, set, key, data, statements }, options) => {
  const { unwritable, dialect } = options.words;
  if (set.anonymous) unwritable.note('a change of a set without a name');
  const states = statesText(statements, options);
  const value = data === undefined ? '' : ` : ${nodeText(data, options)}`;
  return `${op} @${unwritable.name('set', set.name, dialect)} { ${nodeText(key, options)}${states}${value} }`;
};

export const DYNAMIC_SET: Construct<DynamicSetStatement, 'set' | 'map'> = {
  compile: { set: compile, map: compile },
  fromText: { add: readChange, update: readChange, delete: readChange, set: readOldChange },
  read: {
    dynset(registers, expression) {
      const set = registers.find(expression);
      if (isMeter(expression, set)) return undefined;
      const key = readElement(registers, expression, set);
      const { dataRegister } = expression;
      const statements = readStates(expression);
      const op = word(expression.op);
      const data = dataRegister === undefined ? undefined : readData(registers, dataRegister, set);
      return { kind: 'dynamic-set', op, set, key, data, statements };
    },
  },
  complete(statement, rule) {
    statement.key = rule.node(statement.key);
    if (statement.data !== undefined) statement.data = rule.node(statement.data);
  },
  text,
  json(statement, options) {
    const { op, set, key, data, statements } = statement;
    const stmt = statesJson(statements, options);
    const elem = nodeJson(key, options);
    if (data === undefined) return { set: defined({ op, elem, set: `@${set.name}`, stmt }) };
    // nft 1.0.6 has no JSON for it, and shows its text.
    if (!options.words.dialect.hasMapUpdates) return text(statement, { words: options.words });
    return { map: defined({ op, elem, data: nodeJson(data, options), map: `@${set.name}`, stmt }) };
  },
  looksAt: ({ key, data }) => (data === undefined ? key : undefined),
};
