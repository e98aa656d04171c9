import type { Expression } from '../../nf_tables/expression.ts';
import { LOG_FLAG, LOG_FLAGS_ALL, LOG_LEVEL } from '../data/symbols.ts';
import type { Evaluator } from './ir.ts';
import { entryOf, fieldsOf, flagsOf, numberOf } from './json-fields.ts';
import { emit } from './steps.ts';
import { Place, refuse } from './term.ts';

/** By the number of the bit. */
const LOG_FLAG_NAMES = ['tcp-sequence', 'tcp-options', 'ip-options', 'skuid', 'nflog', 'ether'] as const;

export function log(e: Evaluator, json: unknown, place: Place): void {
  const fields = json === null || json === undefined ? {} : fieldsOf(json, place);
  const { prefix, level } = fields;
  if (prefix !== undefined && (typeof prefix !== 'string' || prefix === '' || Buffer.byteLength(prefix) > 127))
    throw refuse(new Place(place, 'prefix'), 'text of 1 to 127 bytes', prefix);
  const flags = flagsOf({ ...LOG_FLAG, all: LOG_FLAGS_ALL }, fields.flags, new Place(place, 'flags'));
  const levelNumber = level === undefined ? undefined : entryOf<number>(LOG_LEVEL, level, new Place(place, 'level'));
  const toGroup = ['group', 'snaplen', 'queue-threshold'].some(name => fields[name] !== undefined);
  if (toGroup && (levelNumber !== undefined || flags !== 0))
    throw refuse(place, "a group, or the level and flags of the kernel's own log", json);
  if (levelNumber === LOG_LEVEL.audit && (prefix !== undefined || flags !== 0))
    throw refuse(place, 'nothing besides level audit', json);
  const written: Extract<Expression, { log: unknown }>['log'] = {};
  if (fields.group !== undefined) written.group = numberOf(fields, 'group', place, 0xffff);
  if (prefix !== undefined) written.prefix = prefix as string;
  if (fields.group !== undefined) {
    if (fields.snaplen !== undefined) written.snaplen = numberOf(fields, 'snaplen', place);
    if (fields['queue-threshold'] !== undefined)
      written.queueThreshold = numberOf(fields, 'queue-threshold', place, 0xffff);
  } else {
    if (levelNumber !== undefined) written.level = levelNumber;
    if (flags !== 0) written.flags = LOG_FLAG_NAMES.filter((_, bit) => flags & (1 << bit));
  }
  emit(e, { log: written });
}
