import { argument } from '../compile/argument.ts';
import { evaluateExtension } from '../compile/header.ts';
import type { Evaluator } from '../compile/ir.ts';
import { fieldsOf } from '../compile/json-fields.ts';
import { loaded, parse, single, step } from '../compile/lower.ts';
import type { Registers } from '../decompile/registers.ts';
import { listOf } from '../decompile/shapes.ts';
import { nodeJson } from '../decompile/to-json.ts';
import { nodeText } from '../decompile/to-text.ts';
import { ct, ctRow } from '../expressions/ct.ts';
import { exthdr } from '../expressions/exthdr.ts';
import { meta, metaRow } from '../expressions/meta.ts';
import { payload } from '../expressions/payload.ts';
import type { Json, JsonObject } from '../json-object.ts';
import { setType } from '../nodes.ts';
import type { Parser } from '../parse/parser.ts';
import { type Exthdr, type Node, Place, refuse } from '../tree.ts';
import type { Construct } from './construct.ts';
import { isReference, objectReference } from './object-reference.ts';
import { completePayloadWrite, evaluatePayloadWrite } from './payload-write.ts';

/* `mangle`: writes a field of the packet, its meta data, or its connection. In text it is `<expression> set <value>`. */

export interface MangleStatement {
  kind: 'mangle';
  target: Node;
  value: Node;
}

/** The value to write, with the type of the key. */
function valueFor(e: Evaluator, key: Extract<Node, { kind: 'meta' | 'ct' }>, written: Node): Node {
  e.statementBits = key.bits;
  return single(argument(e, written, key.type, key.bits, key.order));
}

function extensionWrite(e: Evaluator, key: Exthdr, written: Node): void {
  const field = evaluateExtension(e, key);
  const term = single(argument(e, written, field.type, field.bits, 'big'));
  if (field.kind !== 'exthdr') throw refuse(key.place, 'a field of whole bytes', key.bits);
  const { number: type, offset, bits, op } = field;
  step(e, emitter => {
    const sourceRegister = loaded(emitter, term);
    emitter.push({ exthdr: { type, offset: offset / 8, length: Math.ceil(bits / 8), op, sourceRegister } });
  });
}

/** The statement that writes the content of a register. */
function written(registers: Registers, sourceRegister: number, target: Node): MangleStatement {
  const value = registers.get(sourceRegister);
  setType(value, target.type, target.order);
  return { kind: 'mangle', target, value };
}

/** Reads the value behind `set`. `start` is where the written expression begins. */
export function readMangle(p: Parser, key: Json, start: number): JsonObject {
  const end = p.lastEnd;
  p.next();
  const at = p.start;
  const value = p.grammar.value(p);
  // A context for the packet's security mark is the name of an object.
  if (isSecmark(key) && isReference(value)) {
    const statement = { secmark: value };
    p.note(statement, 'secmark', at);
    return statement;
  }
  const mangle = { key, value };
  p.noteSpan(mangle, 'key', start, end);
  p.note(mangle, 'value', at);
  const statement = { mangle };
  p.note(statement, 'mangle', start);
  return statement;
}

function isSecmark(json: Json): boolean {
  const meta = typeof json === 'object' && json !== null && !Array.isArray(json) ? json.meta : undefined;
  return typeof meta === 'object' && meta !== null && !Array.isArray(meta) && meta.key === 'secmark';
}

export const MANGLE: Construct<MangleStatement, 'mangle'> = {
  compile: {
    mangle(e, json, place) {
      const fields = fieldsOf(json, place);
      const key = parse(fields.key, place, 'key');
      const given = parse(fields.value, place, 'value');
      switch (key.kind) {
        case 'payload':
          evaluatePayloadWrite(e, key, given);
          return;
        case 'exthdr':
          extensionWrite(e, key, given);
          return;
        case 'meta': {
          const { key: kernelKey } = metaRow(key.key);
          const term = valueFor(e, key, given);
          step(e, emitter => emitter.push({ meta: { key: kernelKey, sourceRegister: loaded(emitter, term) } }));
          return;
        }
        case 'ct': {
          if (key.key === 'helper') {
            objectReference(e, fields.value, new Place(place, 'value'), 'ct helper');
            return;
          }
          const { key: kernelKey } = ctRow(key.key);
          const term = valueFor(e, key, given);
          const { direction } = key;
          step(e, emitter => {
            const sourceRegister = loaded(emitter, term);
            emitter.push({ ct: { key: kernelKey, ...(direction !== undefined && { direction }), sourceRegister } });
          });
          return;
        }
        default:
          throw refuse(key.place, 'a field, meta data, or the data of a connection', key.kind);
      }
    },
  },
  read: {
    payload: (registers, expression) =>
      expression.sourceRegister === undefined
        ? undefined
        : {
            kind: 'mangle',
            target: payload.read(expression, registers),
            value: registers.get(expression.sourceRegister),
          },
    exthdr: (registers, expression) =>
      expression.sourceRegister === undefined
        ? undefined
        : written(registers, expression.sourceRegister, exthdr.read(expression, registers)),
    meta: (registers, expression) =>
      expression.register === undefined
        ? written(registers, expression.sourceRegister ?? 0, meta.read(expression, registers))
        : undefined,
    ct: (registers, expression) =>
      expression.register === undefined
        ? written(registers, expression.sourceRegister ?? 0, ct.read(expression, registers))
        : undefined,
  },
  complete(statement, rule) {
    const { target } = statement;
    if (target.kind === 'exthdr') return;
    if (target.kind === 'payload') completePayloadWrite(statement, target, rule);
    statement.value = rule.node(statement.value);
    if (target.kind === 'ct' && target.key === 'event' && statement.value.kind === 'binary')
      statement.value = listOf(statement.value);
  },
  text: ({ target, value }, options) => `${nodeText(target, options)} set ${nodeText(value, options)}`,
  json: ({ target, value }, options) => ({
    mangle: { key: nodeJson(target, options), value: nodeJson(value, options) },
  }),
};
