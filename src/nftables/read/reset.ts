import { NetlinkError, typeError, UnsupportedError, within } from '../../errors.ts';
import * as C from '../../linux/netfilter.ts';
import type { Exchange, Message, Operation } from '../../netlink/index.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { Expression } from '../../nf_tables/expression.ts';
import { type Family, familyNumber } from '../../nf_tables/family.ts';
import { MESSAGES, type MessageName, readObject } from '../../nf_tables/message.ts';
import type { NftObject } from '../../nf_tables/object.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import { type ElementValue, wireElements } from '../../nft/element-values.ts';
import { shapeOf } from '../../nft/set-types.ts';
import { readSet, requestFor } from '../request.ts';

/**
 * What is to begin anew: one counter or quota, or without `name` all of its table; the counters of one rule, or without `handle` and `chain` of
 * its table's; those of a set's elements, all of them or some; or the objects and rules of a table, or of all (of a family).
 */
export type ResetReference =
  | {
      /** One counter, or all of a table. */
      counter: {
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family: Family;
        /** The name of the table; as a key, all of one table. */
        table: string;
        /** Its name. */
        name?: string;
      };
    }
  | {
      /** One quota, or all of a table. */
      quota: {
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family: Family;
        /** The name of the table; as a key, all of one table. */
        table: string;
        /** Its name. */
        name?: string;
      };
    }
  | {
      /** One rule, or all of a chain or table. */
      rule: {
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family: Family;
        /** The name of the table; as a key, all of one table. */
        table: string;
        /** The name of the chain. */
        chain?: string;
        /** The kernel's number for it. */
        handle?: bigint;
      };
    }
  | {
      /** The states of all elements of a set. */
      set: {
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family: Family;
        /** The name of the table; as a key, all of one table. */
        table: string;
        /** Its name. */
        name: string;
      };
    }
  | {
      /** The states of some elements of a set. */
      element: {
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family: Family;
        /** The name of the table; as a key, all of one table. */
        table: string;
        /** The states of all elements of a set. */
        set: string;
        /** The elements, with their values before. */
        elements: ElementValue[];
      };
    }
  | {
      /** The name of the table; as a key, all of one table. */
      table: {
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family: Family;
        /** Its name. */
        name: string;
      };
    }
  | {
      /** All counters and quotas. */
      ruleset: {
        /** The address family of the table: 'ip', 'ip6', 'inet', 'arp', 'bridge' or 'netdev'. */
        family?: Family;
      };
    };

/** The values from before. Lists that the reference does not concern are empty. */
export interface ResetValues {
  /** The counters and quotas, with their values before. */
  objects: NftObject[];
  /** The rules, with their values before. */
  rules: RuleEntry[];
  /** The elements, with their values before. */
  elements: WireElement[];
}

type ResetTarget = {
  family?: Family;
  table?: string;
  chain?: string;
  name?: string;
  handle?: bigint;
  set?: string;
  elements?: ElementValue[];
};
/** Of one request: the nest that holds them has at most 64 KiB. */
const ELEMENTS_AT_ONCE = 256;

/** Resets and returns what was: see NftablesOperations.reset. */
export function* reset(exchange: Exchange, reference: ResetReference): Operation<ResetValues> {
  const kinds = typeof reference === 'object' && reference !== null ? Object.keys(reference) : [];
  const kind = kinds[0];
  const place = kind === undefined ? undefined : (reference as unknown as Record<string, ResetTarget>)[kind];
  if (kinds.length !== 1 || typeof place !== 'object' || place === null)
    throw typeError([], 'an object with one key: counter, quota, rule, set, element, table or ruleset', reference);
  const values: ResetValues = { objects: [], rules: [], elements: [] };
  if (place.family !== undefined || kind !== 'ruleset') familyNumber(place.family, [kind!, 'family']);
  const named = (field: 'table' | 'name' | 'set') => {
    if (typeof place[field] !== 'string') throw typeError([kind!, field], 'a name', place[field]);
    return place[field];
  };
  switch (kind) {
    case 'counter':
    case 'quota':
      named('table');
      values.objects = yield* objects(exchange, place, kind);
      break;
    case 'rule':
      named('table');
      values.rules = yield* rules(exchange, place);
      break;
    case 'set':
      values.elements = yield* elements(exchange, { ...place, table: named('table'), name: named('name') });
      break;
    case 'element':
      values.elements = yield* someElements(exchange, place.family!, named('table'), named('set'), place.elements);
      break;
    case 'table':
    case 'ruleset': {
      const table = kind === 'table' ? { family: place.family!, table: named('name') } : place;
      values.rules = yield* rules(exchange, table);
      values.objects = yield* objects(exchange, table);
      break;
    }
    default:
      throw typeError([], 'counter, quota, rule, set, element, table or ruleset', reference);
  }
  return values;
}

const numberOf = (family: Family | undefined): number =>
  family === undefined ? C.NFPROTO_UNSPEC : familyNumber(family, ['family']);

/**
 * A dump that was disturbed is read again, but the counters that it read began again: the values of all readings are added up.
 */
class Sum<T extends object> {
  readonly #found = new Map<string, T>();
  readonly #add: (total: T, more: T) => void;

  constructor(add: (total: T, more: T) => void) {
    this.#add = add;
  }

  take(key: string, value: T): void {
    const total = this.#found.get(key);
    if (total === undefined) this.#found.set(key, value);
    else this.#add(total, value);
  }

  get values(): T[] {
    return [...this.#found.values()];
  }
}

function* objects(exchange: Exchange, place: ResetTarget, type?: 'counter' | 'quota'): Operation<NftObject[]> {
  const { family, table, name } = place;
  // Without the type the kernel would reset the other objects of the table, too.
  const object = { table, name, type };
  const sum = new Sum<NftObject>((total, more) =>
    addState(total.data as State | undefined, more.data as State | undefined),
  );
  const take = (message: Message) => {
    if (message.type !== MESSAGES.newobj.number) return undefined;
    const found = readObject('newobj', message);
    const counts = found.type === 'counter' || found.type === 'quota';
    if (counts && (type === undefined || found.type === type) && (table === undefined || found.table === table))
      sum.take(`${found.family} ${found.table} ${found.type} ${found.name}`, found);
    return undefined;
  };
  const call = requestFor('getobj_reset', numberOf(family), object);
  if (name === undefined) yield* exchange.dump(call, take);
  else yield* exchange.request(call, take);
  return sum.values;
}

function* rules(exchange: Exchange, place: ResetTarget): Operation<RuleEntry[]> {
  const { family, table, chain, handle } = place;
  const sum = new Sum<RuleEntry>((total, more) => addExpressions(total.expressions, more.expressions));
  const take = (message: Message) => {
    if (message.type !== MESSAGES.newrule.number) return undefined;
    const found = readObject('newrule', message, XT_LAYOUTS);
    if (found.expressions?.some(hasState)) sum.take(`${found.family} ${found.table} ${found.handle}`, found);
    return undefined;
  };
  const call = requestFor('getrule_reset', numberOf(family), { table, chain, handle });
  yield* supported('getrule_reset', 'resetting the counters of rules', '6.2', function* () {
    if (handle === undefined) yield* exchange.dump(call, take);
    else yield* exchange.request(call, take);
  });
  return sum.values;
}

function* elements(exchange: Exchange, { family, table, name }: ResetTarget): Operation<WireElement[]> {
  const stateOf = ({ expression, expressions }: WireElement): Expression[] =>
    expressions ?? (expression === undefined ? [] : [expression]);
  const sum = new Sum<WireElement>((total, more) => addExpressions(stateOf(total), stateOf(more)));
  const call = requestFor('getsetelem_reset', numberOf(family), { table, set: name });
  yield* supported('getsetelem_reset', 'resetting the counters of elements', '6.5', () =>
    exchange.dump(call, message => {
      if (message.type !== MESSAGES.newsetelem.number) return undefined;
      for (const element of readObject('newsetelem', message).elements ?? [])
        sum.take(`${JSON.stringify(element.key)} ${JSON.stringify(element.keyEnd)} ${element.flags}`, element);
      return undefined;
    }),
  );
  return sum.values;
}

/** As given, each by its key; of a range, its beginning is what counts. */
function* someElements(
  exchange: Exchange,
  family: Family,
  table: string,
  name: string,
  values: unknown,
): Operation<WireElement[]> {
  if (!Array.isArray(values)) throw typeError(['element', 'elements'], 'an array', values);
  const shape = shapeOf(yield* readSet(exchange, numberOf(family), table, name));
  let wanted: WireElement[];
  try {
    wanted = wireElements(values as ElementValue[], shape, { keysOnly: true }).elements;
  } catch (error) {
    throw within(error, ['element', 'elements']);
  }
  const found: WireElement[] = [];
  for (let first = 0; first < wanted.length; first += ELEMENTS_AT_ONCE) {
    const elements = wanted.slice(first, first + ELEMENTS_AT_ONCE);
    const call = requestFor('getsetelem_reset', numberOf(family), { table, set: name, elements });
    yield* supported('getsetelem_reset', 'resetting the counters of elements', '6.5', () =>
      exchange.request(call, message => {
        if (message.type !== MESSAGES.newsetelem.number) return;
        for (const element of readObject('newsetelem', message).elements ?? [])
          if (!element.flags?.includes('interval-end')) found.push(element);
      }),
    );
  }
  return found;
}

/** A kernel that does not know the message says EINVAL and points at nothing. */
function* supported<T>(
  message: MessageName,
  feature: string,
  minimumKernel: string,
  run: () => Operation<T>,
): Operation<void> {
  try {
    yield* run();
  } catch (error) {
    const unknown =
      error instanceof NetlinkError && error.code === 'EINVAL' && error.syscall === MESSAGES[message].kernelName;
    throw unknown ? new UnsupportedError(feature, minimumKernel) : error;
  }
}

const hasState = (expression: Expression): boolean => 'counter' in expression || 'quota' in expression;

type State = { packets?: bigint; bytes?: bigint; consumed?: bigint };

/** Of a counter what it counted, of a quota what was used of it. */
function addState(total: State | undefined, more: State | undefined): void {
  if (total === undefined || more === undefined) return;
  const fields = total.consumed === undefined ? (['packets', 'bytes'] as const) : (['consumed'] as const);
  for (const field of fields) total[field] = (total[field] ?? 0n) + (more[field] ?? 0n);
}

function addExpressions(total: readonly Expression[], more: readonly Expression[]): void {
  for (const [i, expression] of total.entries()) {
    const other = more[i];
    if (other === undefined) continue;
    if ('counter' in expression && 'counter' in other) addState(expression.counter as State, other.counter as State);
    else if ('quota' in expression && 'quota' in other) addState(expression.quota as State, other.quota as State);
  }
}
