import { typeError } from '../../errors.ts';
import { fieldsOf, numberOf } from '../compile/json-fields.ts';
import { referTo } from '../compile/linearize.ts';
import { loaded, parse, step } from '../compile/lower.ts';
import { asElement } from '../compile/parse.ts';
import { declareSet } from '../compile/set.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import type { JsonObject } from '../json-object.ts';
import { isConstant, setLiteral } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { readSeconds } from '../parse/times.ts';
import { T } from '../parse/tokens.ts';
import { type Node, Place, refuse, type SetInfo } from '../tree.ts';
import type { Construct } from './construct.ts';
import { isMeter, readElement } from './dynamic-set.ts';
import { compileStates, readStates, type StateStatement, stateJson, statesText } from './stateful.ts';

/* `meter`: the word for dynamic sets in nft before 0.9.1. */

export interface MeterStatement {
  kind: 'meter';
  set: SetInfo;
  key: Node;
  size: number;
  statement: StateStatement;
}

/** Reads a meter behind its word: `m size 9 { ip saddr limit rate 1/second }`. */
function readMeter(p: Parser): JsonObject {
  const name = p.name();
  const content: JsonObject = {};
  if (p.acceptWord('size')) content.size = p.whole();
  else if (!p.is(T.LBRACE)) p.unexpected('size', "'{'");
  p.expect(T.LBRACE);
  const { start } = p;
  const { isList } = p;
  p.isList = true;
  const key = p.grammar.value(p);
  const end = p.lastEnd;
  content.key = p.acceptWord('timeout') ? { elem: { val: key, timeout: readSeconds(p) } } : key;
  p.noteSpan(content, 'key', start, end);
  const stmt = p.grammar.state(p);
  if (stmt === undefined) return p.unexpected();
  content.stmt = stmt;
  p.isList = isList;
  p.expect(T.RBRACE);
  content.name = name;
  return { meter: content };
}

/** Reads the oldest form, `flow table m { ... }`, at the word `table`. */
export function readFlowMeter(p: Parser, word: string): JsonObject {
  if (p.dialect.hasNewerExpressions) return p.unexpected('add', 'offload');
  p.next();
  void word;
  return readMeter(p);
}

export const METER: Construct<MeterStatement, 'meter'> = {
  compile: {
    /**
     * The kernel has no meters. The compiler makes a dynamic set with the meter's name, unless there is one. The set outlives the rule.
     */
    meter(e, json, place) {
      const fields = fieldsOf(json, place);
      const { name } = fields;
      if (typeof name !== 'string') throw typeError([...place.path, 'name'], 'a string', name);
      const elem = asElement(parse(fields.key, place, 'key'));
      e.expectNothing();
      elem.key = e.evaluate(elem.key);
      if (isConstant(elem.key)) throw refuse(elem.place, 'something that is loaded from the packet', elem.key.kind);
      const { timeout: timeoutMilliseconds } = elem;
      const timeout = timeoutMilliseconds !== undefined;
      const size = fields.size === undefined ? undefined : numberOf(fields, 'size', place);
      const set =
        e.findSet(name) ??
        declareSet(e, {
          key: elem.key,
          data: undefined,
          literal: setLiteral([], place),
          map: false,
          objectType: undefined,
          name,
          timeout,
          ...(size !== undefined && { size }),
        });
      const [expression] = compileStates([fields.stmt], new Place(place, 'stmt'));
      step(e, emitter => {
        const keyRegister = loaded(emitter, elem.key);
        emitter.push({
          dynset: {
            ...referTo(set),
            op: timeout ? 'update' : 'add',
            keyRegister,
            ...(timeout && { timeoutMilliseconds }),
            expression: expression!,
          },
        });
      });
    },
  },
  fromText: { meter: readMeter },
  read: {
    dynset(registers, expression) {
      const set = registers.find(expression);
      const [statement] = readStates(expression);
      if (statement === undefined || !isMeter(expression, set)) return undefined;
      const key = readElement(registers, expression, set);
      return { kind: 'meter', set, key, size: set.size ?? 0, statement };
    },
  },
  complete(statement, rule) {
    statement.key = rule.node(statement.key);
  },
  text({ set, size, key, statement }, options) {
    const name = options.words.unwritable.name('set', set.name, options.words.dialect);
    return `meter ${name} size ${size} { ${nodeText(key, options)}${statesText([statement], options)} }`;
  },
  json: ({ set, size, key, statement }, options) => ({
    meter: {
      key: nodeJson(key, options),
      stmt: stateJson(statement, { ...options, stateless: true }),
      size,
      name: set.name,
    },
  }),
};
