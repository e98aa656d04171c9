import { entryOf, fieldsOf, wholeOf } from '../compile/json-fields.ts';
import { SCOPES } from '../data/scopes.ts';
import { defined, type JsonObject } from '../json-object.ts';
import type { Parser } from '../parse/parser.ts';
import { T } from '../parse/tokens.ts';
import { Place, Undecompilable } from '../tree.ts';
import { exactNumber, isInverted, type State, type StateOptions } from './state.ts';
import {
  BYTE_UNITS,
  type ByteUnit,
  byteUnit,
  inLargestUnit,
  readAmount,
  TIME_UNITS,
  type TimeUnit,
  timeUnitOf,
} from './units.ts';

/* `limit`: ends the rule for what exceeds a rate of packets or bytes. */

/** Ends the rule for what exceeds a rate; inverted, for what does not. */
export interface Limit {
  /** How many per unit of time. */
  rate: number | bigint;
  /** 'packets', or a unit of bytes. */
  rate_unit?: 'packets' | ByteUnit;
  /** The unit of time. */
  per: TimeUnit;
  /** Packets or bytes that may come at once; default 5 packets, 0 bytes. */
  burst?: number;
  /** The unit of the burst. */
  burst_unit?: 'packets' | ByteUnit;
  /** Ends the rule for what does not exceed the rate. */
  inv?: boolean;
}

export interface LimitStatement {
  kind: 'limit';
  rate: bigint;
  /** Seconds. */
  unit: bigint;
  burst: number;
  /** The rate is one of bytes. */
  bytes: boolean;
  inverted: boolean;
}

/** Packets. */
const DEFAULT_BURST = 5;

/** The time of a rate: `second`. */
function readTimeUnit(p: Parser): TimeUnit {
  const { text } = p;
  if (p.kind !== T.WORD || !Object.hasOwn(TIME_UNITS, text)) return p.unexpected();
  p.next();
  return text as TimeUnit;
}

/** The unit and the time of a rate of bytes. Without spaces `kbytes/second` is one word. */
function readRate(p: Parser, start: number): [unit: ByteUnit, per: TimeUnit] {
  const { text } = p;
  if (!p.isString() && !p.isWord('bytes')) p.unexpected('/', 'string', 'bytes');
  p.next();
  const [word, per] = text.split('/', 2);
  if (!per) {
    if (per === undefined && p.kind !== T.SLASH) p.fail('wrong rate format', start);
    const unit = byteUnit(word!) ?? p.fail('Wrong rate format', start);
    if (per === undefined) p.next();
    return [unit, readTimeUnit(p)];
  }
  const unit = byteUnit(word!) ?? p.fail('Wrong rate format', start);
  if (!Object.hasOwn(TIME_UNITS, per)) p.fail('Wrong rate format', start);
  return [unit, per as TimeUnit];
}

function readLimit(p: Parser, isOfElement: boolean): JsonObject {
  if (!p.acceptWord('rate')) p.unexpected(...(isOfElement ? ['rate'] : ['name', 'rate']));
  const inv = p.acceptWord('over');
  if (!inv) p.acceptWord('until');
  const { start } = p;
  const rate = p.number();
  const limit: JsonObject = { rate };
  let isBytes = false;
  if (p.accept(T.SLASH)) {
    limit.burst = DEFAULT_BURST;
    limit.per = readTimeUnit(p);
  } else {
    isBytes = true;
    const [unit, per] = readRate(p, start);
    Object.assign(limit, { rate_unit: unit, per, burst: 0, burst_unit: 'bytes' });
  }
  const from = p.start;
  if (p.acceptWord('burst')) {
    if (isBytes) {
      const at = p.start;
      const [amount, unit] = readAmount(p);
      Object.assign(limit, { burst: amount, burst_unit: unit ?? p.fail('Wrong rate format', at) });
    } else {
      limit.burst = p.number();
      p.expectWord('packets');
      if (Number(limit.burst) === 0) p.fail('packet limit burst must be > 0', from);
    }
  }
  if (isOfElement && Number(limit.burst) === 0 && !p.dialect.hasNewerExpressions)
    p.fail('limit burst must be > 0', p.lastEnd - 1);
  if (inv) limit.inv = true;
  return limit;
}

export const LIMIT: State<LimitStatement, 'limit'> = {
  expression: 'limit',
  compile(json, place) {
    const { rate, rate_unit = 'packets', per, burst = 0, burst_unit = 'bytes', inv = false } = fieldsOf(json, place);
    const number = wholeOf(rate, new Place(place, 'rate'));
    const unitSeconds = entryOf<bigint>(TIME_UNITS, per, new Place(place, 'per'));
    const count = wholeOf(burst, new Place(place, 'burst'));
    const flags: 'invert'[] = inv ? ['invert'] : [];
    if (rate_unit === 'packets')
      return { limit: { rate: number, unitSeconds, burst: Number(count) || DEFAULT_BURST, type: 'packets', flags } };
    const bytesOf = (unit: unknown, name: string) => entryOf<bigint>(BYTE_UNITS, unit, new Place(place, name));
    const bytes = number * bytesOf(rate_unit, 'rate_unit');
    const most = Number(count * (burst_unit === 'packets' ? 1n : bytesOf(burst_unit, 'burst_unit')));
    return { limit: { rate: bytes, unitSeconds, ...(most > 0 && { burst: most }), type: 'bytes', flags } };
  },
  fromText: (p, isOfElement = false) => p.within(SCOPES.limit, () => readLimit(p, isOfElement)),
  read({ rate, unitSeconds: unit, burst = 0, type, flags }) {
    if (typeof type === 'number') throw new Undecompilable(`a limit of ${type}`);
    return { kind: 'limit', rate, unit, burst, bytes: type === 'bytes', inverted: isInverted(flags) };
  },
  text: (statement, options) => `limit ${limitText(statement, options, true)}`,
  json({ rate, burst, unit, bytes, inverted }) {
    const scaled = bytes ? inLargestUnit(rate) : { amount: rate, unit: undefined };
    const most = bytes ? inLargestUnit(BigInt(burst)) : { amount: BigInt(burst), unit: undefined };
    return defined({
      rate: exactNumber(scaled.amount),
      burst: exactNumber(most.amount),
      per: timeUnitOf(unit),
      inv: inverted || undefined,
      rate_unit: scaled.unit,
      burst_unit: most.unit,
    });
  },
};

/** The text without the word `limit`, as in objects with a name. With `always` the versions of nft that print the default burst do so. */
export function limitText(
  { rate, unit, burst, bytes, inverted }: LimitStatement,
  { words }: StateOptions,
  always: boolean,
): string {
  const over = inverted ? 'over ' : '';
  if (!bytes) {
    const isShown = (always && words.dialect.printsDefaultBurst) || (burst !== 0 && burst !== DEFAULT_BURST);
    return `rate ${over}${rate}/${timeUnitOf(unit)}${isShown ? ` burst ${burst} packets` : ''}`;
  }
  const scaled = inLargestUnit(rate);
  const most = inLargestUnit(BigInt(burst));
  const allowed = burst === 0 ? '' : ` burst ${most.amount} ${most.unit}`;
  return `rate ${over}${scaled.amount} ${scaled.unit}/${timeUnitOf(unit)}${allowed}`;
}
