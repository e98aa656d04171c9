import { TYPES } from '../data/datatypes.ts';
import { fieldsOf, flagsOf, numberOf } from './json-fields.ts';
import { referTo, registerNumber } from './linearize.ts';
import { type Compile, emit, parse, step } from './lower.ts';
import { evaluateObjectMap } from './set.ts';
import { statefulExpression } from './stateful.ts';
import { Place, refuse, type Term } from './term.ts';
import { textOf } from './wire-set.ts';

/* Objects with a name, and what has a state of its own in their place. */

/** A stateful statement with a state of its own, or an object with a name. */
export const stateful: Compile = (e, json, place, name) => {
  if (typeof json === 'string' || isMap(json)) objectReference(e, json, place, name);
  else emit(e, statefulExpression(name, json, place)!);
};

const isMap = (json: unknown): boolean => typeof json === 'object' && json !== null && 'map' in json;

const OBJECT_TYPES: Readonly<Record<string, string>> = {
  counter: 'counter',
  quota: 'quota',
  limit: 'limit',
  'ct count': 'connlimit',
  'ct helper': 'ct-helper',
  'ct timeout': 'ct-timeout',
  'ct expectation': 'ct-expectation',
  synproxy: 'synproxy',
  secmark: 'secmark',
  tunnel: 'tunnel',
};
const OBJECT_NAME_BITS = 255 * 8;

export const objectReference: Compile = (e, json, place, name) => {
  const type = OBJECT_TYPES[name]! as 'counter';
  let term = parse(json, place);
  if (term.kind === 'map') {
    const map = term;
    evaluateObjectMap(e, map, type);
    step(e, emitter => {
      const unit = emitter.take(map.key);
      emitter.load(map.key, unit);
      emitter.release(map.key);
      const { set } = map.mappings as Extract<Term, { kind: 'set-reference' }>;
      emitter.push({ objref: { sourceRegister: registerNumber(unit), ...referTo(set) } });
    });
    return;
  }
  e.expect(TYPES.string, 'host', OBJECT_NAME_BITS);
  term = e.evaluate(term);
  if (term.kind !== 'value') throw refuse(place, "an object's name, or a map of names", term.kind);
  emit(e, { objref: { type, name: textOf(term) } });
};

const SYNPROXY_FLAGS = { timestamp: 1, 'sack-perm': 2 } as const;

export const synproxy: Compile = (e, json, place, name) => {
  if (typeof json === 'string' || isMap(json)) {
    objectReference(e, json, place, name);
    return;
  }
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const bits = flagsOf(SYNPROXY_FLAGS, fields.flags, new Place(place, 'flags'));
  const flags: ('maximum-segment-size' | 'window-scale' | 'sack-permitted' | 'timestamp')[] = [];
  if (fields.mss !== undefined) flags.push('maximum-segment-size');
  if (fields.wscale !== undefined) flags.push('window-scale');
  if (bits & SYNPROXY_FLAGS['sack-perm']) flags.push('sack-permitted');
  if (bits & SYNPROXY_FLAGS.timestamp) flags.push('timestamp');
  emit(e, {
    synproxy: {
      maximumSegmentSize: fields.mss === undefined ? 0 : numberOf(fields, 'mss', place, 0xffff),
      windowScale: fields.wscale === undefined ? 0 : numberOf(fields, 'wscale', place, 14),
      flags,
    },
  });
};
