import { typeError } from '../../errors.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { Place, refuse } from './term.ts';

/* Statements with a state of their own, which set elements can have too. */

const BYTE_UNITS: Readonly<Record<string, bigint>> = { bytes: 1n, kbytes: 1024n, mbytes: 1024n * 1024n };
const TIME_UNITS: Readonly<Record<string, bigint>> = {
  second: 1n,
  minute: 60n,
  hour: 3600n,
  day: 86_400n,
  week: 604_800n,
};
const DEFAULT_BURST = 5;

/** The instruction of a stateful statement; undefined where the name is that of something else. */
export function statefulExpression(name: string, json: unknown, place: Place): Expression | undefined {
  switch (name) {
    case 'counter':
      return counter(json, place);
    case 'quota':
      return quota(json, place);
    case 'limit':
      return limit(json, place);
    case 'last':
      return last(json, place);
    case 'ct count':
      return connectionLimit(json, place);
    default:
      return undefined;
  }
}

function fieldsOf(json: unknown, place: Place): Record<string, unknown> {
  if (typeof json !== 'object' || json === null) throw typeError(place.path, 'an object', json);
  return json as Record<string, unknown>;
}

function wholeNumber(json: unknown, place: Place): bigint {
  if (typeof json === 'bigint' ? json >= 0n : Number.isSafeInteger(json) && (json as number) >= 0)
    return BigInt(json as number);
  throw refuse(place, 'a whole number that is not negative', json);
}

function unitOf(units: Readonly<Record<string, bigint>>, name: unknown, place: Place): bigint {
  if (typeof name !== 'string' || !Object.hasOwn(units, name))
    throw refuse(place, `one of ${Object.keys(units).join(', ')}`, name);
  return units[name]!;
}

function counter(json: unknown, place: Place): Expression {
  if (json === null || json === undefined) return { counter: {} };
  const { packets = 0, bytes = 0 } = fieldsOf(json, place);
  const counted = {
    bytes: wholeNumber(bytes, new Place(place, 'bytes')),
    packets: wholeNumber(packets, new Place(place, 'packets')),
  };
  return {
    counter: {
      ...(counted.bytes !== 0n && { bytes: counted.bytes }),
      ...(counted.packets !== 0n && { packets: counted.packets }),
    },
  };
}

function quota(json: unknown, place: Place): Expression {
  const { val, val_unit = 'bytes', used = 0, used_unit = 'bytes', inv = false } = fieldsOf(json, place);
  const bytes = wholeNumber(val, new Place(place, 'val')) * unitOf(BYTE_UNITS, val_unit, new Place(place, 'val_unit'));
  const consumed =
    wholeNumber(used, new Place(place, 'used')) * unitOf(BYTE_UNITS, used_unit, new Place(place, 'used_unit'));
  return { quota: { bytes, consumed, flags: inv ? ['invert'] : [] } };
}

function limit(json: unknown, place: Place): Expression {
  const { rate, rate_unit = 'packets', per, burst = 0, burst_unit = 'bytes', inv = false } = fieldsOf(json, place);
  const number = wholeNumber(rate, new Place(place, 'rate'));
  const unitSeconds = unitOf(TIME_UNITS, per, new Place(place, 'per'));
  const count = wholeNumber(burst, new Place(place, 'burst'));
  const flags: 'invert'[] = inv ? ['invert'] : [];
  if (rate_unit === 'packets')
    return { limit: { rate: number, unitSeconds, burst: Number(count) || DEFAULT_BURST, type: 'packets', flags } };
  const unit = unitOf(BYTE_UNITS, rate_unit, new Place(place, 'rate_unit'));
  const bytes = Number(
    count * (burst_unit === 'packets' ? 1n : unitOf(BYTE_UNITS, burst_unit, new Place(place, 'burst_unit'))),
  );
  return { limit: { rate: number * unit, unitSeconds, ...(bytes > 0 && { burst: bytes }), type: 'bytes', flags } };
}

function last(json: unknown, place: Place): Expression {
  const used = json === null || json === undefined ? null : (fieldsOf(json, place).used ?? null);
  if (used === null || used === -1) return { last: { seen: 0, milliseconds: 0n } };
  return { last: { seen: 1, milliseconds: wholeNumber(used, new Place(place, 'used')) } };
}

function connectionLimit(json: unknown, place: Place): Expression {
  const { val, inv = false } = fieldsOf(json, place);
  return {
    connlimit: { count: Number(wholeNumber(val, new Place(place, 'val'))), flags: inv ? ['invert'] : [] },
  };
}
