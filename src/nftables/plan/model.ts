import type { Path } from '../../errors.ts';
import type { Chain } from '../../nf_tables/chain.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { Flowtable } from '../../nf_tables/flowtable.ts';
import type { NftObject } from '../../nf_tables/object.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { Table } from '../../nf_tables/table.ts';
import type { SourceMap } from '../../nft/compile/compile.ts';
import type { Rule } from '../../nft/rule.ts';
import type { SetModel } from './set-model.ts';

export interface RuleModel {
  readonly content: string;
  readonly rule: Rule | RuleEntry;
  readonly expressions: readonly Expression[];
  /** Of a rule in statements: the statement of each expression. */
  readonly origin: SourceMap | undefined;
  readonly handle: bigint | undefined;
  /** Sets and chains of its own, by the name or number that its expressions have for them. */
  readonly sets: ReadonlyMap<string | number, SetModel>;
  readonly chains: ReadonlyMap<string, readonly RuleModel[]>;
  /** The objects that it refers to: 'chain web', 'set blocked', 'object counter hits', 'flowtable f'. */
  readonly uses: ReadonlySet<string>;
  /** Where it stands in what is wanted. */
  readonly path: Path;
}

export interface ChainModel {
  readonly chain: Chain;
  /** Without its policy, which can be changed. */
  readonly content: string;
  readonly policy: unknown;
  readonly rules: readonly RuleModel[];
  /** Of a base chain: the kernel's lists that it is registered in, each with its priority there. */
  readonly hooks: readonly string[];
  readonly path: Path;
}

export interface ObjectModel {
  readonly object: NftObject;
  readonly content: string;
  /** Of an object with timeouts of connections: by state. The kernel takes the namespace's own timeout for a state that is left out. */
  readonly states: ReadonlyMap<string, unknown>;
  readonly path: Path;
}

export interface FlowtableModel {
  readonly flowtable: Flowtable;
  readonly content: string;
  readonly path: Path;
}

export interface TableModel {
  readonly table: Table;
  /** In the order in which they are made. */
  readonly chains: ReadonlyMap<string, ChainModel>;
  /** Those with a name. */
  readonly sets: ReadonlyMap<string, SetModel>;
  /** By type and name: 'counter hits'. */
  readonly objects: ReadonlyMap<string, ObjectModel>;
  readonly flowtables: ReadonlyMap<string, FlowtableModel>;
  /** Of a part of a table: all of it. Elements may lead to what is outside of the part. */
  names?: { readonly chains: { has(name: string): boolean }; readonly objects: { has(key: string): boolean } };
  readonly path: Path;
}

export const tableKey = ({ family, name }: { family: string; name: string }): string => `${family} ${name}`;
