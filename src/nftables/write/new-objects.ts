import type { Infer } from '../../codec/index.ts';
import type { Chain, ChainKey } from '../../nf_tables/chain.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import type { Family } from '../../nf_tables/family.ts';
import type { Flowtable } from '../../nf_tables/flowtable.ts';
import type { NftObject, NftObjectOf, ObjectData } from '../../nf_tables/object.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import type { Table } from '../../nf_tables/table.ts';
import type { GivenElement } from '../../nft/element-forms.ts';
import type { SetMember } from '../../nft/json.ts';
import type { Rule } from '../../nft/rule.ts';
import type { SetDescription, SetType } from '../../nft/set-types.ts';

/** What identifies a table, chain, set, object or flowtable: its name, or the kernel's number for it. */
type Reference<Place> = Place &
  (
    | {
        /** Its name; left out where the handle is given. */
        name: string;
        /** The kernel's number for it, in the place of its name. */
        handle?: bigint;
      }
    | {
        /** Its name; left out where the handle is given. */
        name?: undefined;
        /** The kernel's number for it, in the place of its name. */
        handle: bigint;
      }
  );
interface InFamily {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
}
interface InTable extends InFamily {
  /** The table. */
  table: string;
}
interface InChain extends InTable {
  /** The name of the chain. */
  chain: string;
}

type ReadOnlySetFields = 'family' | 'table' | 'name' | 'handle' | 'backend' | 'count' | 'expression' | 'expressions';

/** A set as it is written. One that was read can be written as it is. */
export interface NewSet extends InTable, Partial<Omit<NftSet, ReadOnlySetFields>> {
  /** At most 255 bytes. */
  name: string;
  /** The type of its keys by nft's name: 'ipv4_addr', 'ipv4_addr . inet_service'. Else give `keyType` and `keyLength`. */
  key?: SetType;
  /** How many elements it may have. */
  size?: number;
  /**
   * Ranges that touch or overlap become one, and a part of one that is deleted is cut out: as nft does, which keeps this note with the set. Without it
   * ranges that overlap are refused. Not of maps and concatenations.
   */
  autoMerge?: boolean;
  /** Each element gets them: counters, limits, quotas ... */
  expressions?: Expression[];
  /** The field in nft's JSON. */
  expression?: Expression;
  /** Its first elements: values, or as they were read, in the kernel's form. */
  elements?: GivenElement[];
  /** In sets of ranges, marks what lies before the first one as not belonging to the set, as nft does. */
  leadingEnd?: boolean;
  /** The kernel's number for it, in the place of its name. */
  handle?: bigint;
  /** The kernel's implementation of the set. Read only. */
  backend?: string;
  /** How many. */
  count?: number;
}

/** A map: a set whose keys have values. */
export interface NewMap extends NewSet {
  /**
   * The type of its values by nft's name, 'verdict' among them. Else give `dataType` and `dataLength`; a map of objects (counters, limits ...)
   * has an `objectType` instead.
   */
  data?: SetType | 'verdict';
}

/** Elements of one set or map. */
export interface NewElements extends InTable {
  /** The set's name. */
  set?: string;
  /** The set by the number that it has within this transaction. */
  setId?: number;
  /** The elements. */
  elements: GivenElement[];
  /**
   * The form of the elements: 'wire' is the kernel's, in which a range has its beginning and its end apart. It is needed only where all that there
   * is are beginnings: elements that can only be in one of the forms are taken in either.
   */
  as?: 'wire' | 'values';
  /**
   * What the set is like, which says how values become bytes. It is known where the set is made in the same transaction; where it is left out,
   * `commit` asks the kernel (some microseconds), and the transaction is bound to the generation of its reply.
   */
  type?: {
    /** The type of the keys. */
    key?: SetType;
    /** The type of the values. */
    data?: SetType | 'verdict';
  } & SetDescription;
  /** In sets of ranges, marks what lies before the first one as not belonging to the set, as nft does in a set that was empty. */
  leadingEnd?: boolean;
}

/** Elements of one set or map in nft's JSON. */
export interface JsonElements extends InTable {
  set: string;
  json: SetMember | SetMember[];
  leadingEnd?: boolean;
}

/** An object with a name, its fields beside the name: `{ counter: { family, table, name } }`. */
export type NewObjectOf<K extends keyof ObjectData> = InTable & {
  /** At most 255 bytes. */
  name: string;
  /** A remark for people; `nft list` prints it. At most 128 bytes. */
  comment?: string;
  /** The kernel's number for it. Writing ignores it where there is a name. */
  handle?: bigint;
  /** References to it. Read only. */
  use?: number;
} & Infer<ObjectData[K]>;

/** Each kind of object with a name, and its NFT_OBJECT_ type. */
export const OBJECT_KINDS = {
  counter: 'counter',
  quota: 'quota',
  limit: 'limit',
  connlimit: 'connlimit',
  ctHelper: 'ct-helper',
  ctTimeout: 'ct-timeout',
  ctExpectation: 'ct-expectation',
  synproxy: 'synproxy',
  secmark: 'secmark',
  tunnel: 'tunnel',
} as const satisfies Record<string, keyof ObjectData>;

/** The methods of a transaction. */
export type Verb = 'add' | 'create' | 'insert' | 'replace' | 'delete' | 'destroy' | 'flush' | 'rename';

/** What a transaction's objects stand under: `{ rule: { ... } }`. */
export type ObjectKind =
  | 'table'
  | 'chain'
  | 'rule'
  | 'set'
  | 'map'
  | 'element'
  | 'flowtable'
  | 'object'
  | 'ruleset'
  | keyof typeof OBJECT_KINDS;

/** An object whose fields are not checked yet. */
export type Fields = Record<string, unknown>;

/** The NFT_OBJECT_ type of each kind. */
export type ObjectKinds = typeof OBJECT_KINDS;
type Kinds = ObjectKinds;
/** `objects()` gives the fields in `data`, beside the type: that is taken, too. */
type NamedObject =
  | { [K in keyof Kinds]: { [P in K]: NewObjectOf<Kinds[K]> | NftObjectOf<Kinds[K]> } }[keyof Kinds]
  | {
      /** A named object. */
      object: NftObject;
    };
type NamedObjectReference =
  | { [K in keyof Kinds]: { [P in K]: Reference<InTable> } }[keyof Kinds]
  | {
      /** A named object. */
      object: Reference<InTable> & Pick<NftObject, 'type'>;
    };

/** One object under the name of its kind, for `add`. */
export type NewObject =
  | {
      /** The table. */
      table: Table;
    }
  | {
      /** The name of the chain. */
      chain: Chain;
    }
  | {
      /** A rule. */
      rule: Rule;
    }
  | {
      /** A set. */
      set: NewSet;
    }
  | {
      /** A map. */
      map: NewMap;
    }
  | {
      /** Elements of a set or map. */
      element: NewElements;
    }
  | {
      /** A flowtable. */
      flowtable: Flowtable;
    }
  | NamedObject;

/** For `create`: rules are never there already. */
export type CreatedObject = Exclude<NewObject, { rule: Rule }>;

/** One rule: by its handle, or by its place in its chain, counted from 0, which `commit` looks up. */
export type RuleReference = InChain &
  (
    | {
        /** The kernel's number for it, in the place of its name. */
        handle: bigint;
        /** The rule's place in its chain, in the place of its handle. */
        index?: undefined;
      }
    | {
        /** The rule's place in its chain, in the place of its handle. */
        index: number;
        /** The kernel's number for it, in the place of its name. */
        handle?: undefined;
      }
  );

/** Elements that are to go. A map's values need not be given. */
export type ElementsReference = Omit<NewElements, 'leadingEnd'>;

/** The object to remove, under the name of its kind. */
export type ObjectReference =
  | {
      /** The table. */
      table: Reference<InFamily>;
    }
  | {
      /** The name of the chain. */
      chain: Reference<InTable>;
    }
  | {
      /** A rule. */
      rule: RuleReference;
    }
  | {
      /** A set. */
      set: Reference<InTable>;
    }
  | {
      /** A map. */
      map: Reference<InTable>;
    }
  | {
      /** Elements of a set or map. */
      element: ElementsReference;
    }
  | {
      /** A flowtable. */
      flowtable: Reference<InTable>;
    }
  | NamedObjectReference;

/** The object to empty: a table or chain of its rules, a set or map of its elements, a namespace (or one family in it) of its tables. */
export type FlushReference =
  | {
      /** The table. */
      table: InFamily & {
        /** Its name; left out where the handle is given. */
        name: string;
      };
    }
  | {
      /** The name of the chain. */
      chain: ChainKey;
    }
  | {
      /** A set. */
      set: InTable & {
        /** Its name; left out where the handle is given. */
        name: string;
      };
    }
  | {
      /** A map. */
      map: InTable & {
        /** Its name; left out where the handle is given. */
        name: string;
      };
    }
  | {
      /** All tables. */
      ruleset: Partial<InFamily>;
    };

/** A chain by its name, which `commit` looks up, or by its handle; and its new name. */
export type ChainRename = Reference<InTable> & {
  /** The new name. */
  newName: string;
};

/** A rule in the place of another. */
export type ReplacedRule = Rule & ({ handle: bigint } | { index: number });

/** A set of a rule's own, in the kernel's form: it is numbered within its transaction and goes with the rule. */
export interface RuleSet {
  /** `id` is the number that the rule's expressions refer to as `setId`. */
  set: Omit<NftSet, 'family' | 'table'> & { id: number };
  elements: WireElement[];
}
