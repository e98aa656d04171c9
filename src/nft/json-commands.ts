import type { ChainType, Hook, Priority, PriorityName } from '../nf_tables/chain.ts';
import type { Family } from '../nf_tables/family.ts';
import type { SetFlag } from './compile/named-set.ts';
import type { ObjectName } from './data/objects.ts';
import type { JsonExpression, SetMember } from './json.ts';
import type { SetType } from './set-types.ts';
import type { Statement } from './statements/registry.ts';
import type { Stateful } from './statements/stateful.ts';

/* The objects of a ruleset in nft's JSON, and the commands over them: libnftables-json(5). Statements and expressions have files of their own. */

type OneOrMore<T> = T | T[];

interface InTable {
  family: Family;
  table: string;
  name?: string;
  handle?: number | bigint;
  comment?: string;
}

/** A table, as nft's JSON has it. */
export interface JsonTable {
  family: Family;
  name?: string;
  handle?: number | bigint;
  flags?: OneOrMore<'dormant' | 'owner' | 'persist'>;
  comment?: string;
}

/** A priority: a number, or nft's name of one, also with a distance from it: 'dstnat + 10'. */
export type JsonPriority = Priority | `${PriorityName} ${'+' | '-'} ${number}` | `${number}`;

/** A chain, as nft's JSON has it. */
export interface JsonChain extends InTable {
  type?: ChainType;
  hook?: Hook;
  prio?: JsonPriority;
  dev?: OneOrMore<string>;
  policy?: 'accept' | 'drop';
  /** Only our JSON has them. */
  flags?: OneOrMore<'offload'>;
  newname?: string;
}

/** A rule, as nft's JSON has it. */
export interface JsonRule {
  family: Family;
  table: string;
  chain: string;
  expr?: Statement[];
  /** Of the rule to replace or delete, or to insert before. */
  handle?: number | bigint;
  /** The handle of the rule to add behind, or to insert before. Only our JSON has it: nft's text says `position`. */
  position?: number | bigint;
  /** The place of the rule to add behind, or to insert before, counted from 0. */
  index?: number;
  comment?: string;
}

/** A type by name, several of a concatenation, or the expression that the keys are taken from. */
export type JsonSetType = SetType | JsonSetType[] | { typeof: JsonExpression };

/** A set or map, as nft's JSON has it. */
export interface JsonSet extends InTable {
  type?: JsonSetType;
  /** The type of a map's values, or the kind of its objects. Only our JSON can say that the values are ranges. */
  map?: JsonSetType | 'verdict' | ObjectName | { interval: JsonSetType };
  policy?: 'performance' | 'memory';
  flags?: OneOrMore<SetFlag>;
  elem?: SetMember[];
  /** Seconds; a fraction has milliseconds. */
  timeout?: number;
  'gc-interval'?: number;
  size?: number;
  'auto-merge'?: boolean;
  stmt?: Stateful[];
}

/** Elements of a set or map, as nft's JSON has it. */
export interface JsonElement {
  family: Family;
  table: string;
  name: string;
  /** A list, one element, or `{ set: [...] }`. */
  elem: SetMember | SetMember[];
}

/** A flowtable, as nft's JSON has it. */
export interface JsonFlowtable extends InTable {
  hook?: 'ingress';
  prio?: JsonPriority;
  dev?: OneOrMore<string>;
  flags?: OneOrMore<'offload' | 'counter'>;
}

/** A counter, quota, limit or another object: its fields as libnftables-json(5) has them. */
export interface JsonObject extends InTable {
  [field: string]: unknown;
}

/** One thing that commands are about. */
export type JsonSubject =
  | { table: JsonTable }
  | { chain: JsonChain }
  | { rule: JsonRule }
  | { set: JsonSet }
  | { map: JsonSet }
  | { element: JsonElement }
  | { flowtable: JsonFlowtable }
  | { [K in ObjectName]: { [P in K]: JsonObject } }[ObjectName]
  | { ruleset: { family?: Family } | null };

/** One entry of a document: a command, or an object alone, which is added. */
export type JsonCommand =
  | { metainfo: object }
  | JsonSubject
  | { add: JsonSubject }
  | { create: JsonSubject }
  | { insert: JsonSubject }
  | { replace: JsonSubject }
  | { delete: JsonSubject }
  | { destroy: JsonSubject }
  | { flush: JsonSubject }
  | { rename: JsonSubject };

/** An entry of a listing in nft's JSON. A document takes it as it is. */
export type JsonListing = Record<string, unknown> & ({ metainfo: object } | JsonSubject);

/** A document of commands, as nft's JSON has it. */
export interface NftDocument {
  nftables: JsonCommand[];
}
