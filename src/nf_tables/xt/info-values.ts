/* Values that the structures of several extensions have. A flag without a name is its number. */

/** Flags by their names. */
export type Flags<Names extends string> = (Names | number)[];
/** A value by its name. */
export type Named<Names extends string> = Names | number;
/** An address of the rule's family, or null for none. */
export type Address = string | null;
