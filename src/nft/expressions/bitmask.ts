import { TYPES } from '../data/datatypes.ts';
import { CT } from '../data/keys.ts';
import { NAMED_HEADERS } from '../headers.ts';
import type { Json } from '../json-object.ts';

const ROWS: Readonly<Record<string, { readonly type: keyof typeof TYPES } | undefined>> = CT;

/** Returns whether the values of an expression are flags: without an operator, a match of them asks for any of the flags. */
export function isBitmask(json: Json): boolean {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return false;
  // The most frequent ones first.
  if (json.meta !== undefined) return false;
  const { payload } = json;
  if (payload !== undefined) return isFlagsField(payload);
  for (const name in json) {
    const content = json[name];
    if (Array.isArray(content)) return name !== 'concat' && isBitmask(content[0]!);
    if (typeof content !== 'object' || content === null) return false;
    if (name === 'ct') return isFlags(ROWS[String(content.key)]?.type);
    return false;
  }
  return false;
}

function isFlagsField(payload: Json): boolean {
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) return false;
  const field = NAMED_HEADERS()[String(payload.protocol)]?.byName[String(payload.field)];
  return field !== undefined && field.type.kind === 'bitmask';
}

function isFlags(type: keyof typeof TYPES | undefined): boolean {
  const kind = type === undefined ? undefined : TYPES[type].kind;
  return kind === 'bitmask' || kind === 'label';
}
