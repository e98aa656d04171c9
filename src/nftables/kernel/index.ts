/**
 * nf_tables in the kernel's own terms, for bundles whose size counts: objects, expressions and transactions, without nft's language.
 * @module
 */
export { NetNs } from '../../netns/netns.ts';
export type { Chain, ChainKey, Hook, Priority } from '../../nf_tables/chain.ts';
export type { Data, Verdict } from '../../nf_tables/data.ts';
export type { WireElement } from '../../nf_tables/element.ts';
export type { Expression } from '../../nf_tables/expression.ts';
export type { Family } from '../../nf_tables/family.ts';
export type { Flowtable } from '../../nf_tables/flowtable.ts';
export type { NftObject } from '../../nf_tables/object.ts';
export type { RuleEntry, RuleKey } from '../../nf_tables/rule.ts';
export type { NftSet, SetKey } from '../../nf_tables/set.ts';
export type { Table } from '../../nf_tables/table.ts';
export type { NftablesOptions } from '../open.ts';
export type { ListFilter, Ruleset, RulesetFilter, SetEntry } from '../read/listing.ts';
export { type KernelCommitOptions, KernelNftables } from './kernel-nftables.ts';
export {
  type KernelElements,
  type KernelFlush,
  type KernelObject,
  type KernelReference,
  type KernelRule,
  type KernelSet,
  KernelTransaction,
} from './transaction.ts';
