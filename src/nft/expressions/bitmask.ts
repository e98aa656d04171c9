import { TYPES } from '../data/datatypes.ts';
import { CT } from '../data/keys.ts';
import { NAMED_HEADERS } from '../headers.ts';
import type { Json } from '../json-object.ts';

const ROWS: Readonly<Record<string, { readonly type: keyof typeof TYPES } | undefined>> = CT;

/** Returns whether the values of an expression are flags: without an operator, a match of them asks for any of the flags. */
export function isBitmask(json: Json): boolean {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return false;
  for (const name in json) {
    const content = json[name];
    if (Array.isArray(content)) return name !== 'concat' && isBitmask(content[0]!);
    if (typeof content !== 'object' || content === null) return false;
    if (name === 'ct') return isFlags(ROWS[String(content.key)]?.type);
    if (name !== 'payload') return false;
    const field = NAMED_HEADERS[String(content.protocol)]?.byName[String(content.field)];
    return field !== undefined && field.type.kind === 'bitmask';
  }
  return false;
}

function isFlags(type: keyof typeof TYPES | undefined): boolean {
  const kind = type === undefined ? undefined : TYPES[type].kind;
  return kind === 'bitmask' || kind === 'label';
}
