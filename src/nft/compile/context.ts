import type { NftSet } from '../../nf_tables/set.ts';
import type { Names } from '../names.ts';

/** The surroundings that a rule is compiled in. */
export interface CompileContext {
  /** The version of nft that writes the same instructions; default 1.1.6. */
  version?: '1.1.6' | '1.0.6';
  /** The sets and maps of the rule's table, by the names that the rule refers to with '@'. */
  sets?: readonly NftSet[] | ((name: string) => NftSet | undefined);
  /** The rule's table. The sets that the rule brings with it are made there. */
  table?: string;
  /** The number of the first such set within the transaction; default 1. */
  firstSetId?: number;
  /** The names of numbers; default the files of this system. */
  names?: Names;
  /**
   * Returns the index of an interface, for iif, oif, dup and fwd. By default only `lo` is known: its index is always 1. Handles of a
   * namespace use the interfaces of their namespace.
   */
  interfaces?: (name: string) => number | undefined;
}
