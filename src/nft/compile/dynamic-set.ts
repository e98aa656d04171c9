import { typeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { argument, fitting } from './argument.ts';
import type { Evaluator } from './ir.ts';
import { entryOf, type Fields, fieldsOf, numberOf, onlyKey } from './json-fields.ts';
import { referTo, registerNumber } from './linearize.ts';
import { type Compile, loaded, parse, step } from './lower.ts';
import { declareSet } from './set.ts';
import { statefulExpression } from './stateful.ts';
import { type Element, element, isConstant, Place, refuse, setLiteral, type Term } from './term.ts';

/* Rules that add to sets. */

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

export const dynamicSet: Compile = (e, json, place, name) => {
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
  step(e, emitter => {
    const unit = emitter.take(elem.key);
    emitter.load(elem.key, unit);
    let dataRegister: number | undefined;
    if (data !== undefined) {
      const second = emitter.take(data);
      emitter.load(data, second);
      emitter.release(data);
      dataRegister = registerNumber(second);
    }
    emitter.release(elem.key);
    emitter.push({
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

/** The kernel has no meters: it becomes a dynamic set of the meter's name, made with the rule unless it is there, which outlives the rule. */
export function meter(e: Evaluator, json: unknown, place: Place): void {
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
  step(e, emitter => {
    const keyRegister = loaded(emitter, elem.key);
    emitter.push({
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
