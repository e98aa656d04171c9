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
  /** The family of the table. */
  family: Family;
  /** The name of the table. */
  table: string;
  /** Its name. */
  name?: string;
  /** The kernel's number for it, in the place of the name. */
  handle?: number | bigint;
  /** A comment, as nft shows it. */
  comment?: string;
}

/** A table, as nft's JSON has it. */
export interface JsonTable {
  /** The family of the table. */
  family: Family;
  /** Its name. */
  name?: string;
  /** The kernel's number for it, in the place of the name. */
  handle?: number | bigint;
  /** Its flags. */
  flags?: OneOrMore<'dormant' | 'owner' | 'persist'>;
  /** A comment, as nft shows it. */
  comment?: string;
}

/** A priority: a number, or nft's name of one, also with a distance from it: 'dstnat + 10'. */
export type JsonPriority = Priority | `${PriorityName} ${'+' | '-'} ${number}` | `${number}`;

/** A chain, as nft's JSON has it. */
export interface JsonChain extends InTable {
  /** The type of the chain: 'filter', 'nat' or 'route'; of a set, that of its keys. */
  type?: ChainType;
  /** The hook. */
  hook?: Hook;
  /** The priority, a number or a name. */
  prio?: JsonPriority;
  /** The device, or a list of them. */
  dev?: OneOrMore<string>;
  /** Of a base chain, what becomes of packets that no rule decides about; of a set, what its implementation is chosen for. */
  policy?: 'accept' | 'drop';
  /** Only our JSON has them. */
  /** Its flags. */
  flags?: OneOrMore<'offload'>;
  /** The new name. */
  newname?: string;
}

/** A rule, as nft's JSON has it. */
export interface JsonRule {
  /** The family of the table. */
  family: Family;
  /** The name of the table. */
  table: string;
  /** A chain. */
  chain: string;
  /** The statements. */
  expr?: Statement[];
  /** Of the rule to replace or delete, or to insert before. */
  /** The kernel's number for it, in the place of the name. */
  handle?: number | bigint;
  /** The handle of the rule to add behind, or to insert before. Only our JSON has it: nft's text says `position`. */
  /** The handle of the rule to add behind, or to insert before. */
  position?: number | bigint;
  /** The place of the rule to add behind, or to insert before, counted from 0. */
  /** The place of the rule to add behind, or to insert before, counted from 0. */
  index?: number;
  /** A comment, as nft shows it. */
  comment?: string;
}

/** A type by name, several of a concatenation, or the expression that the keys are taken from. */
export type JsonSetType =
  | SetType
  | JsonSetType[]
  | {
      /** The expression whose type the keys have. */
      typeof: JsonExpression;
    };

/** A set or map, as nft's JSON has it. */
export interface JsonSet extends InTable {
  /** The type of the chain: 'filter', 'nat' or 'route'; of a set, that of its keys. */
  type?: JsonSetType;
  /** The type of a map's values, or the kind of its objects. Only our JSON can say that the values are ranges. */
  /** The type of the values: this is a map. */
  map?:
    | JsonSetType
    | 'verdict'
    | ObjectName
    | {
        /** The values are ranges of this type. */
        interval: JsonSetType;
      };
  /** Of a base chain, what becomes of packets that no rule decides about; of a set, what its implementation is chosen for. */
  policy?: 'performance' | 'memory';
  /** Its flags. */
  flags?: OneOrMore<SetFlag>;
  /** The elements. */
  elem?: SetMember[];
  /** Seconds; a fraction has milliseconds. */
  /** The lifetime of elements, in seconds. */
  timeout?: number;
  /** How often ended elements are removed, in seconds. */
  'gc-interval'?: number;
  /** The largest number of elements. */
  size?: number;
  /** Ranges that touch become one. */
  'auto-merge'?: boolean;
  /** The states that each element gets. */
  stmt?: Stateful[];
}

/** Elements of a set or map, as nft's JSON has it. */
export interface JsonElement {
  /** The family of the table. */
  family: Family;
  /** The name of the table. */
  table: string;
  /** Its name. */
  name: string;
  /** A list, one element, or `{ set: [...] }`. */
  /** The elements. */
  elem: SetMember | SetMember[];
}

/** A flowtable, as nft's JSON has it. */
export interface JsonFlowtable extends InTable {
  /** The hook. */
  hook?: 'ingress';
  /** The priority, a number or a name. */
  prio?: JsonPriority;
  /** The device, or a list of them. */
  dev?: OneOrMore<string>;
  /** Its flags. */
  flags?: OneOrMore<'offload' | 'counter'>;
}

/** A counter, quota, limit or another object: its fields as libnftables-json(5) has them. */
export interface JsonObject extends InTable {
  [field: string]: unknown;
}

/** One thing that commands are about. */
export type JsonSubject =
  | {
      /** The name of the table. */
      table: JsonTable;
    }
  | {
      /** A chain. */
      chain: JsonChain;
    }
  | {
      /** A rule. */
      rule: JsonRule;
    }
  | {
      /** A set. */
      set: JsonSet;
    }
  | {
      /** The type of the values: this is a map. */
      map: JsonSet;
    }
  | {
      /** Elements of a set. */
      element: JsonElement;
    }
  | {
      /** A flowtable. */
      flowtable: JsonFlowtable;
    }
  | { [K in ObjectName]: { [P in K]: JsonObject } }[ObjectName]
  | {
      /** All tables. */
      ruleset: {
        /** The family of the table. */
        family?: Family;
      } | null;
    };

/** One entry of a document: a command, or an object alone, which is added. */
export type JsonCommand =
  | {
      /** The versions of the program that wrote it; ignored. */
      metainfo: object;
    }
  | JsonSubject
  | {
      /** Adds it, if it is not there. */
      add: JsonSubject;
    }
  | {
      /** Adds it; fails if it is there. */
      create: JsonSubject;
    }
  | {
      /** Puts a rule before others. */
      insert: JsonSubject;
    }
  | {
      /** Replaces a rule. */
      replace: JsonSubject;
    }
  | {
      /** Deletes it; fails if it is not there. */
      delete: JsonSubject;
    }
  | {
      /** Deletes it, if it is there. */
      destroy: JsonSubject;
    }
  | {
      /** Empties it. */
      flush: JsonSubject;
    }
  | {
      /** Gives a chain another name. */
      rename: JsonSubject;
    };

/** An entry of a listing in nft's JSON. A document takes it as it is. */
export type JsonListing = Record<string, unknown> &
  (
    | {
        /** The versions of the program that wrote it; ignored. */
        metainfo: object;
      }
    | JsonSubject
  );

/** A document of commands, as nft's JSON has it. */
export interface NftDocument {
  /** The commands, in their order. */
  nftables: JsonCommand[];
}
