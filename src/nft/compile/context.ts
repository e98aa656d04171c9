import type { NftSet } from '../../nf_tables/set.ts';
import type { Names } from '../names.ts';

/** What a rule is compiled against. */
export interface CompileContext {
  /** Whose bytecode; default that of nft 1.1.6. */
  version?: '1.1.6' | '1.0.6';
  /** Sets and maps of the rule's table, by the names that it refers to with '@'. */
  sets?: readonly NftSet[] | ((name: string) => NftSet | undefined);
  /** The rule's table, for the sets that it brings with it. */
  table?: string;
  /** The number of the first such set within the transaction; default 1. */
  firstSetId?: number;
  /** Names of numbers; default this system's files. */
  names?: Names;
  /**
   * Indexes of interfaces, for iif, oif, dup and fwd; default knows lo only, whose index is always 1. What a handle of a namespace writes takes
   * those of its namespace.
   */
  interfaces?: (name: string) => number | undefined;
}
