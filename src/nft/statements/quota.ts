import { entryOf, fieldsOf, wholeOf } from '../compile/json-fields.ts';
import { SCOPES } from '../data/scopes.ts';
import type { JsonObject } from '../json-object.ts';
import type { Parser } from '../parse/parser.ts';
import { Place } from '../tree.ts';
import { exactNumber, isInverted, type State, type StateOptions } from './state.ts';
import { BYTE_UNITS, type ByteUnit, inLargestUnit, readAmount } from './units.ts';

/* `quota`: ends the rule once so many bytes have passed. */

/** Ends the rule once so many bytes have passed; inverted, until then. */
export interface Quota {
  /** The quota. */
  val: number | bigint;
  /** Its unit. */
  val_unit?: ByteUnit;
  /** How much is used. */
  used?: number | bigint;
  /** Its unit. */
  used_unit?: ByteUnit;
  /** Ends the rule until so much has passed. */
  inv?: boolean;
}

export interface QuotaStatement {
  kind: 'quota';
  bytes: bigint;
  used: bigint;
  inverted: boolean;
}

function readQuota(p: Parser): JsonObject {
  const { lastStart: start } = p;
  const inv = p.acceptWord('over');
  if (!inv) p.acceptWord('until');
  const [val, val_unit] = readAmount(p);
  const content: JsonObject = { val, val_unit: val_unit ?? null };
  if (inv) content.inv = true;
  if (p.acceptWord('used')) [content.used, content.used_unit = null] = readAmount(p);
  if (content.val_unit === null || content.used_unit === null) p.fail('Wrong rate format', start);
  return content;
}

export const QUOTA: State<QuotaStatement, 'quota'> = {
  expression: 'quota',
  compile(json, place) {
    const fields = fieldsOf(json, place);
    const bytesOf = (name: 'val' | 'used', value: unknown) =>
      wholeOf(value, new Place(place, name)) *
      entryOf<bigint>(BYTE_UNITS, fields[`${name}_unit`] ?? 'bytes', new Place(place, `${name}_unit`));
    const bytes = bytesOf('val', fields.val);
    return { quota: { bytes, consumed: bytesOf('used', fields.used ?? 0), flags: fields.inv ? ['invert'] : [] } };
  },
  fromText: p => p.within(SCOPES.quota, () => readQuota(p)),
  read: ({ bytes = 0n, consumed: used = 0n, flags }) => ({ kind: 'quota', bytes, used, inverted: isInverted(flags) }),
  text: (statement, options) => `quota ${quotaText(statement, options)}`,
  json({ bytes, used, inverted }, { stateless }) {
    const total = inLargestUnit(bytes);
    const content: JsonObject = { val: exactNumber(total.amount), val_unit: total.unit };
    if (inverted) content.inv = true;
    if (stateless || used === 0n) return content;
    const past = inLargestUnit(used);
    return { ...content, used: exactNumber(past.amount), used_unit: past.unit };
  },
};

/** The text without the word `quota`, as in objects with a name. */
export function quotaText({ bytes, used, inverted }: QuotaStatement, { stateless }: StateOptions): string {
  const total = inLargestUnit(bytes);
  const past = inLargestUnit(used);
  const shown = stateless || used === 0n ? '' : ` used ${past.amount} ${past.unit}`;
  return `${inverted ? 'over ' : ''}${total.amount} ${total.unit}${shown}`;
}
