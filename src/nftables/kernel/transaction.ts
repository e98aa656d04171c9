import { checkObject } from '../../codec/index.ts';
import { typeError } from '../../errors.ts';
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE } from '../../linux/netlink.ts';
import { withAcceptedExpressions, withoutTold } from '../../nf_tables/accepted.ts';
import type { Chain, ChainKey } from '../../nf_tables/chain.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { withCompat } from '../../nf_tables/expressions/xt-compat.ts';
import { type Family, familyNumber } from '../../nf_tables/family.ts';
import type { Flowtable } from '../../nf_tables/flowtable.ts';
import type { NftObject } from '../../nf_tables/object.ts';
import type { RuleKey, RuleTarget } from '../../nf_tables/rule.ts';
import { type NftSet, type SetKey, setTable } from '../../nf_tables/set.ts';
import type { Table } from '../../nf_tables/table.ts';
import type { MessageList } from '../write/encoded.ts';
import type { Fields, NewObjectOf, ObjectKinds, Verb } from '../write/new-objects.ts';
import {
  CREATE,
  FAMILY,
  keyOf,
  OBJECTS,
  type ObjectContext,
  required,
  SET_OF_ELEMENTS,
  WITH_KEY,
} from '../write/object-operations.ts';
import { type Kinds, OperationList } from '../write/operation-list.ts';
import { RuleEncoder } from '../write/rule-encoder.ts';
import { writeWireElements } from '../write/wire-elements.ts';

/** A rule in the kernel's own expressions. */
export type KernelRule = Omit<RuleTarget, 'index'> & {
  /** The expressions. */
  expressions: Expression[];
};

/** A set or map in the kernel's own form: `keyType` and `keyLength`, and of maps `dataType` and `dataLength`. */
export type KernelSet = SetKey &
  Partial<Omit<NftSet, keyof SetKey>> & {
    /** The elements, in the kernel's form. */
    elements?: WireElement[];
  };

/** Elements of a set or map, as the kernel has them: keys and values are bytes as hex, a range is its beginning and its end. */
export interface KernelElements {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** The table. */
  table: string;
  /** The set's name. */
  set: string;
  /** The set by the number that it has within this transaction. */
  setId?: number;
  /** The elements, in the kernel's form. */
  elements: WireElement[];
}

type NamedObjects = { [K in keyof ObjectKinds]: { [P in K]: NewObjectOf<ObjectKinds[K]> } }[keyof ObjectKinds];

/** One object under the name of its kind, as the kernel has it. */
export type KernelObject =
  | {
      /** The table. */
      table: Table;
    }
  | {
      /** The chain. */
      chain: Chain;
    }
  | {
      /** The rule. */
      rule: KernelRule;
    }
  | {
      /** The set. */
      set: KernelSet;
    }
  | {
      /** The map. */
      map: KernelSet;
    }
  | {
      /** Elements of a set or map. */
      element: KernelElements;
    }
  | {
      /** The flowtable. */
      flowtable: Flowtable;
    }
  | {
      /** The named object. */
      object: NftObject;
    }
  | NamedObjects;

type Named<Place> = Place &
  (
    | {
        /** Its name. */
        name: string;
      }
    | {
        /** The kernel's number for it, in the place of its name. */
        handle: bigint;
      }
  );
interface InTable {
  /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
  family: Family;
  /** The table. */
  table: string;
}

/** The object to remove, under the name of its kind: by its name or handle; a rule by its handle. */
export type KernelReference =
  | {
      /** The table. */
      table: Named<{
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family: Family;
      }>;
    }
  | {
      /** The chain. */
      chain: Named<InTable>;
    }
  | {
      /** The rule. */
      rule: RuleKey;
    }
  | {
      /** The set. */
      set: Named<InTable>;
    }
  | {
      /** The map. */
      map: Named<InTable>;
    }
  | {
      /** Elements of a set or map. */
      element: KernelElements;
    }
  | {
      /** The flowtable. */
      flowtable: Named<InTable>;
    }
  | {
      /** The named object. */
      object: Named<InTable> & Pick<NftObject, 'type'>;
    }
  | { [K in keyof ObjectKinds]: { [P in K]: Named<InTable> } }[keyof ObjectKinds];

/** The object to empty: a table or chain of its rules, a set of its elements, a namespace of its tables. */
export type KernelFlush =
  | {
      /** The table. */
      table: {
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family: Family;
        /** Its name. */
        name: string;
      };
    }
  | {
      /** The chain. */
      chain: ChainKey;
    }
  | {
      /** The set. */
      set: SetKey;
    }
  | {
      /** The map. */
      map: SetKey;
    }
  | {
      /** All tables. */
      ruleset: {
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family?: Family;
      };
    };

/** What the operations of one transaction share. */
class KernelContext implements ObjectContext {
  list: MessageList;
  operation = 0;
  needsMore = false;
  readonly resolved = undefined;
  readonly ranged = undefined;
  readonly rules = new RuleEncoder(undefined);
  /** Numbers that the caller gives are small. */
  nextId = 0x10000;

  constructor(list: MessageList) {
    this.list = list;
  }

  begin(operation: number): void {
    this.operation = operation;
  }
  rollBack(): void {
    this.needsMore = false;
  }
}

/**
 * A list of operations that the kernel carries out together or not at all, as `Transaction` of netsteer/nftables, in the kernel's own terms.
 * @example
 * const rule = { family: 'inet', table: 'web', chain: 'input' } as const;
 * const tx = new KernelTransaction()
 *   .add({ table: { family: 'inet', name: 'web' } })
 *   .add({ chain: { family: 'inet', table: 'web', name: 'input', type: 'filter', hook: 'input', priority: 0 } })
 *   .add({ rule: { ...rule, expressions: [{ counter: {} }] } });
 */
export class KernelTransaction extends OperationList<KernelContext> {
  constructor() {
    super(KINDS, list => new KernelContext(list));
  }

  /**
   * Makes sure that an object is there. A rule is appended to its chain, or put after `position`.
   * @param object one object under the name of its kind
   * @throws TypeError, RangeError with the path of what is wrong
   * @example
   * tx.add({ table: { family: 'inet', name: 'web' } });
   */
  add(object: KernelObject): this {
    return this.push('add', object);
  }
  /**
   * Makes an object that must not be there yet (EEXIST).
   * @param object one object under the name of its kind
   * @example
   * tx.create({ table: { family: 'inet', name: 'web' } });
   */
  create(object: Exclude<KernelObject, { rule: KernelRule }>): this {
    return this.push('create', object);
  }
  /**
   * Puts a rule at the beginning of its chain, or before `position`.
   * @param object the rule
   * @example
   * tx.insert({ rule: { family: 'inet', table: 'web', chain: 'input', expressions: [{ counter: {} }] } });
   */
  insert(object: {
    /** The rule. */
    rule: KernelRule;
  }): this {
    return this.push('insert', object);
  }
  /**
   * Puts a rule in the place of the one with its `handle`.
   * @param object the rule, with `handle`
   * @example
   * tx.replace({ rule: { family: 'inet', table: 'web', chain: 'input', handle: 4n, expressions: [{ counter: {} }] } });
   */
  replace(object: {
    /** The rule. */
    rule: KernelRule & { handle: bigint };
  }): this {
    return this.push('replace', object);
  }
  /**
   * Removes what must be there (ENOENT). A table goes with all that is in it.
   * @param object what names the object, under the name of its kind
   * @example
   * tx.delete({ rule: { family: 'inet', table: 'web', chain: 'input', handle: 4n } });
   */
  delete(object: KernelReference): this {
    return this.push('delete', object);
  }
  /**
   * Makes sure that an object is not there; the table that it would be in must be.
   * Tables, chains and counters by name on every kernel; others need Linux 6.3, or `commit` throws an UnsupportedError.
   * @param object what names the object, under the name of its kind
   * @example
   * tx.destroy({ table: { family: 'inet', name: 'web' } });
   */
  destroy(object: KernelReference): this {
    return this.push('destroy', object);
  }
  /**
   * Removes all rules of a table or chain, all elements of a set or map, or all tables of a namespace.
   * @param object what is to be emptied: `{ table }`, `{ chain }`, `{ set }`, `{ map }` or `{ ruleset: {} }`
   * @example
   * tx.flush({ chain: { family: 'inet', table: 'web', name: 'input' } });
   */
  flush(object: KernelFlush): this {
    return this.push('flush', object);
  }
  /**
   * Gives a chain another name.
   * @param object the chain, by its handle, with its new name
   * @example
   * tx.rename({ chain: { family: 'inet', table: 'web', handle: 1n, newName: 'in' } });
   */
  rename(object: {
    /** The chain. */
    chain: InTable & {
      /** The kernel's number for it, in the place of its name. */
      handle: bigint;
      /** The new name. */
      newName: string;
    };
  }): this {
    return this.push('rename', object);
  }
}

const APPENDED = NLM_F_CREATE | NLM_F_APPEND;

function rule(verb: Verb, object: Fields, { list, operation, rules }: KernelContext): void {
  const family = familyNumber(object.family, FAMILY);
  const { table = required(object, 'table'), chain, handle } = object;
  if (object.chainId === undefined) required(object, 'chain');
  if (object.statements !== undefined || object.index !== undefined)
    throw typeError([], 'expressions, and a position by handle: netsteer/nftables has statements and index', object);
  if (verb === 'delete' || verb === 'destroy') {
    const key = { table, chain, handle: required(object, 'handle') };
    list.write(verb === 'delete' ? 'delrule' : 'destroyrule', 0, family, operation, key);
  } else if (verb === 'replace') {
    required(object, 'handle');
    const written = withAcceptedExpressions(withCompat(object, family));
    list.write('newrule', NLM_F_REPLACE, family, operation, written);
  } else {
    // The handle of a rule that was read means nothing for a new one.
    const { handle: _, ...rest } = object;
    const written = handle === undefined ? object : rest;
    const start = rules.write(list, written, family, verb === 'add' ? APPENDED : NLM_F_CREATE);
    list.end(start, 'newrule', family, operation);
  }
}

function set(verb: Verb, object: Fields, to: KernelContext): void {
  const { list, operation } = to;
  const family = familyNumber(object.family, FAMILY);
  if (verb === 'flush') {
    const fields = { table: required(object, 'table'), set: required(object, 'name') };
    list.write('delsetelem', 0, family, operation, fields, SET_OF_ELEMENTS);
  } else if (verb === 'delete' || verb === 'destroy') {
    list.write(verb === 'delete' ? 'delset' : 'destroyset', 0, family, operation, keyOf(object));
  } else {
    const { elements, id = to.nextId++, ...rest } = object;
    const wire = { ...withAcceptedExpressions(withoutTold(setTable, rest)), id };
    list.write('newset', CREATE[verb]!, family, operation, wire);
    const { table, name } = rest;
    if (elements !== undefined && (elements as unknown[]).length > 0)
      element(verb, { family: object.family, table, set: name, setId: id, elements }, to);
  }
}

const ELEMENT_MESSAGES = {
  add: 'newsetelem',
  create: 'newsetelem',
  delete: 'delsetelem',
  destroy: 'destroysetelem',
} as const;

function element(verb: Verb, object: Fields, { list, operation }: KernelContext): void {
  checkObject(object, [], ['family', 'table', 'set', 'setId', 'elements']);
  const { elements, table, set: name, setId } = object as unknown as KernelElements;
  if (!Array.isArray(elements)) throw typeError(['elements'], 'an array', elements);
  const head = {
    name: ELEMENT_MESSAGES[verb as 'add'],
    flags: CREATE[verb] ?? 0,
    family: familyNumber(object.family, FAMILY),
    operation,
    table: table ?? required(object, 'table'),
    set: name,
    setId,
  };
  writeWireElements(list, head, elements);
}

function chain(verb: Verb, object: Fields, to: KernelContext): void {
  if (verb === 'rename') required(object, 'handle');
  OBJECTS.chain.write(verb, object, to);
}

const KINDS: Kinds<KernelContext> = {
  ...OBJECTS,
  chain: { verbs: OBJECTS.chain.verbs, write: chain },
  rule: { verbs: ['add', 'insert', 'replace', 'delete', 'destroy'], write: rule },
  set: { verbs: [...WITH_KEY, 'flush'], write: set },
  map: { verbs: [...WITH_KEY, 'flush'], write: set },
  element: { verbs: WITH_KEY, write: element },
};
