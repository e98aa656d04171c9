import type { Attribute, Need } from '../codec/index.ts';

/*
 * Properties of a row besides its encoding. They decide how a desired object is compared with one of the kernel's (content.ts), and which fields of an
 * object that was read are written again (accepted.ts).
 */

/**
 * told: the kernel says it, and writing ignores it. local: a number within one transaction. state: it changes with packets and with time. unused: the
 * kernel takes it and looks at it no more. shown: nft keeps it so as to print the object, and the kernel does not look at it.
 */
export type Role = 'told' | 'local' | 'state' | 'unused' | 'shown';

export interface RowFacets {
  readonly role?: Role;
  /** The kernel takes one of these where the field is left out: all of them mean the same. */
  readonly defaults?: readonly unknown[];
  /** Flags that the kernel derives from the other fields. */
  readonly derived?: readonly string[];
}

export type Fields = Record<string, unknown>;

export interface TableFacets {
  /** Removes from a copy what means nothing beside the other fields, and makes of two ways to say the same one. It comes after the facets of the rows. */
  readonly canonical?: (fields: Fields) => void;
  /** The fields as the kernel accepts them: it does not accept all that it gives. The same object where nothing must change. */
  readonly accepted?: (fields: Fields) => Fields;
}

const withFacets =
  (facets: RowFacets) =>
  <T, N extends Need>(row: Attribute<T, N>): Attribute<T, N> => ({ ...row, facets: { ...row.facets, ...facets } });

export const told = withFacets({ role: 'told' });
export const local = withFacets({ role: 'local' });
export const state = withFacets({ role: 'state' });
export const unused = withFacets({ role: 'unused' });
export const shown = withFacets({ role: 'shown' });

/** `byDefault(row, 0)`: the kernel takes 0 where the field is left out. */
export const byDefault = <T, N extends Need>(row: Attribute<T, N>, ...defaults: NoInfer<T>[]): Attribute<T, N> =>
  withFacets({ defaults })(row);

/** `derived(row, 'depleted')`: the kernel says the flag, and it follows from something else. */
export const derived = <T, N extends Need>(
  row: Attribute<T[], N>,
  ...flags: (string & NoInfer<T>)[]
): Attribute<T[], N> => withFacets({ derived: flags })(row);

export const isEmpty = (list: unknown): boolean => Array.isArray(list) && list.length === 0;

/** The kernel gives flags where there are none, and refuses them here. */
export function withoutEmptyFlags(fields: Fields): Fields {
  if (!isEmpty(fields.flags)) return fields;
  const { flags: _, ...rest } = fields;
  return rest;
}
