import type { WireElement } from '../nf_tables/element.ts';
import type { SetKey } from '../nf_tables/set.ts';
import type { ElementValue } from '../nft/element-values.ts';
import type { RulesetJson } from '../nft/ruleset-json.ts';
import type { NftDocument } from './commands.ts';
import type { NftQuery } from './queries.ts';
import type { ElementsOptions, Ruleset } from './read/listing.ts';
import type { RulesetOptions } from './read/ruleset.ts';
import type { CommitOptions, CommitResult } from './write/commit.ts';
import type { Transaction } from './write/transaction.ts';

/*
 * The methods of `Nftables` whose result depends on what is asked for: their overloads, as promises and at once.
 */

/** `commit` resolves to something only where that is asked for. */
export interface CommitForms {
  promise: {
    (transaction: Transaction, options: CommitOptions & { echo: true }): Promise<CommitResult>;
    (transaction: Transaction, options?: CommitOptions): Promise<CommitResult | undefined>;
  };
  sync: {
    (transaction: Transaction, options: CommitOptions & { echo: true }): CommitResult;
    (transaction: Transaction, options?: CommitOptions): CommitResult | undefined;
  };
}

/** `apply` resolves to the reply where the document asks something. */
export interface ApplyForms {
  promise: {
    (document: NftQuery): Promise<RulesetJson>;
    (document: NftDocument, options?: CommitOptions): Promise<CommitResult | undefined>;
    (document: NftDocument | NftQuery, options?: CommitOptions): Promise<CommitResult | RulesetJson | undefined>;
  };
  sync: {
    (document: NftQuery): RulesetJson;
    (document: NftDocument, options?: CommitOptions): CommitResult | undefined;
    (document: NftDocument | NftQuery, options?: CommitOptions): CommitResult | RulesetJson | undefined;
  };
}

/** `ruleset` resolves to objects, or to JSON or text where that is asked for. */
export interface RulesetForms {
  promise: {
    (options: RulesetOptions & { as: 'json' }): Promise<RulesetJson>;
    (options: RulesetOptions & { as: 'text' }): Promise<string>;
    (options?: RulesetOptions & { as?: 'objects' }): Promise<Ruleset>;
    (options?: RulesetOptions): Promise<Ruleset | RulesetJson | string>;
  };
  sync: {
    (options: RulesetOptions & { as: 'json' }): RulesetJson;
    (options: RulesetOptions & { as: 'text' }): string;
    (options?: RulesetOptions & { as?: 'objects' }): Ruleset;
    (options?: RulesetOptions): Ruleset | RulesetJson | string;
  };
}

/** What `elements` resolves to depends on the form that is asked for. */
export interface ElementsForms {
  promise: {
    (set: SetKey, options: ElementsOptions & { as: 'values' }): Promise<ElementValue[]>;
    (set: SetKey, options?: ElementsOptions & { as?: 'wire' }): Promise<WireElement[]>;
  };
  sync: {
    (set: SetKey, options: ElementsOptions & { as: 'values' }): ElementValue[];
    (set: SetKey, options?: ElementsOptions & { as?: 'wire' }): WireElement[];
  };
}
