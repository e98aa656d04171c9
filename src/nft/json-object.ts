/* Parts of nft's JSON, on the way out. */

export type Json = string | number | boolean | bigint | null | Json[] | { [key: string]: Json | undefined };
export type JsonObject = { [key: string]: Json | undefined };

/** The object without the fields that have no value. */
export function defined(object: JsonObject): JsonObject {
  const result: JsonObject = {};
  for (const key in object) if (object[key] !== undefined) result[key] = object[key];
  return result;
}

/** The object, or null where it has no field. */
export function orNull(object: JsonObject): JsonObject | null {
  for (const _ in object) return object;
  return null;
}

/** A list of flags, undefined where there is none; in nft 1.0.6, a single one alone. */
export function flagsJson(flags: string[], { listsSingleFlags }: { listsSingleFlags: boolean }): Json | undefined {
  if (flags.length === 0) return undefined;
  return flags.length === 1 && !listsSingleFlags ? flags[0]! : flags;
}
