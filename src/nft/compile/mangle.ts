import { CT, type KeyRow, META } from '../data/keys.ts';
import { argument } from './argument.ts';
import { evaluateExtension } from './header.ts';
import type { Evaluator } from './ir.ts';
import { fieldsOf } from './json-fields.ts';
import { emit, loaded, parse, single, step } from './lower.ts';
import { objectReference } from './object-reference.ts';
import { evaluatePayloadWrite } from './payload-write.ts';
import { type Exthdr, Place, refuse, type Term } from './term.ts';

/* Statements that change the packet, its meta data, or its connection. */

export function mangle(e: Evaluator, json: unknown, place: Place): void {
  const fields = fieldsOf(json, place);
  const key = parse(fields.key, place, 'key');
  const written = parse(fields.value, place, 'value');
  switch (key.kind) {
    case 'payload':
      evaluatePayloadWrite(e, key, written);
      return;
    case 'exthdr':
      extensionWrite(e, key, written);
      return;
    case 'meta': {
      const row = (META as Readonly<Record<string, KeyRow>>)[key.key]!;
      e.statementBits = key.bits;
      const term = single(argument(e, written, key.type, key.bits, key.order));
      step(e, emitter => {
        const register = loaded(emitter, term);
        emitter.push({ meta: { key: row.key as 'mark', sourceRegister: register } });
      });
      return;
    }
    case 'ct': {
      if (key.key === 'helper') {
        objectReference(e, fields.value, new Place(place, 'value'), 'ct helper');
        return;
      }
      const row = (CT as Readonly<Record<string, KeyRow>>)[key.key]!;
      e.statementBits = key.bits;
      const term = single(argument(e, written, key.type, key.bits, key.order));
      const { direction } = key;
      step(e, emitter => {
        const register = loaded(emitter, term);
        emitter.push({
          ct: { key: row.key as 'mark', ...(direction !== undefined && { direction }), sourceRegister: register },
        });
      });
      return;
    }
    default:
      throw refuse(key.place, 'a field, meta data, or the data of a connection', key.kind);
  }
}

function extensionWrite(e: Evaluator, key: Exthdr, written: Term): void {
  const field = evaluateExtension(e, key);
  const term = single(argument(e, written, field.type, field.bits, 'big'));
  if (field.kind !== 'exthdr') throw refuse(key.place, 'a field of whole bytes', key.bits);
  step(e, emitter => {
    const sourceRegister = loaded(emitter, term);
    emitter.push({
      exthdr: {
        type: field.header,
        offset: field.offset / 8,
        length: Math.ceil(field.bits / 8),
        op: field.op,
        sourceRegister,
      },
    });
  });
}

export function reset(e: Evaluator, json: unknown, place: Place): void {
  const term = parse(json, place);
  if (term.kind !== 'exthdr' || term.op !== 'tcp') throw refuse(place, 'a TCP option', json);
  emit(e, { exthdr: { type: term.header, op: 'tcp' } });
}
