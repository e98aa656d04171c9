import { checkInteger, checkObject } from '../../codec/index.ts';
import { DecodeError, oneOf, rangeError, typeError } from '../../errors.ts';
import { NLM_F_APPEND } from '../../linux/netlink.ts';
import { GroupIteration } from '../../netlink/group-iteration.ts';
import { type GroupReader, type Message, messagesIn } from '../../netlink/index.ts';
import { messageName } from '../../nf_tables/all-messages.ts';
import type { Chain } from '../../nf_tables/chain.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import { type Family, familyNumber } from '../../nf_tables/family.ts';
import type { Flowtable } from '../../nf_tables/flowtable.ts';
import { MESSAGES, type MessageName, readObject } from '../../nf_tables/message.ts';
import type { NftObject } from '../../nf_tables/object.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import type { Table } from '../../nf_tables/table.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import { checkSignal } from '../../signal.ts';
import type { Ruleset } from '../read/listing.ts';

/** The kind of object that an event is about. */
export type EventKind = 'table' | 'chain' | 'rule' | 'set' | 'element' | 'object' | 'flowtable';

/** What a monitor follows. */
export interface MonitorOptions {
  /** Only tables of this family. */
  family?: Family;
  /** With `family`: only what is in this table. */
  table?: string;
  /** Default all. */
  kinds?: EventKind[];
  /** Begins with the state that the first event changes: an item of type 'state'. Default false. */
  initial?: boolean;
  /** What the kernel keeps for a program that is slow; beyond it events are lost, and the state is read again. Default 8 MiB. */
  receiveBufferBytes?: number;
  /** Ends the iteration; it throws the signal's reason. */
  signal?: AbortSignal;
}

/**
 * Where a rule stands in its chain, once the events before it have been applied: 'first', 'last', behind the rule with this handle, or 'same':
 * it replaced the one that had its own handle.
 */
export type RulePlacement = 'first' | 'last' | 'same' | bigint;

interface EventObjects {
  table: Table;
  chain: Chain;
  set: NftSet;
  /** Elements of one set; several events may follow each other. */
  element: {
    /** Only tables of this family. */
    family: Family;
    /** The name of the table. */
    table: string;
    /** The name of the set. */
    set: string;
    /** 'wire': in the kernel's form. */
    as: 'wire';
    /** The elements. */
    elements: WireElement[];
  };
  object: NftObject;
  flowtable: Flowtable;
}

/** One change. 'new' is also an object that was changed: it has its handle, and its present content. */
export type RulesetEvent =
  | {
      [K in keyof EventObjects]: {
        /** Whether it is new or gone. */
        action: 'new' | 'delete';
        /** The kind of object. */
        kind: K;
        /** The object. */
        object: EventObjects[K];
      };
    }[keyof EventObjects]
  | {
      /** Whether it is new or gone. */
      action: 'new';
      /** The kind of object. */
      kind: 'rule';
      /** The object. */
      object: RuleEntry;
      /** Where the rule stands in its chain. */
      placement: RulePlacement;
    }
  | {
      /** Whether it is new or gone. */
      action: 'delete';
      /** The kind of object. */
      kind: 'rule';
      /** The object. */
      object: RuleEntry;
    };

/** What one transaction changed, in the order in which it did. */
export interface TransactionEvents {
  /** What the item is. */
  type: 'transaction';
  /** The generation that it made. */
  generation: number;
  /** Who committed it: as seen from the namespace of processes that the kernel was asked from. */
  processId?: number;
  /** The name of the process that made the change. */
  processName?: string;
  /** What has changed. */
  events: RulesetEvent[];
}

/**
 * The whole state, in place of events: at the beginning, after events were lost, and (rarely) where the kernel's events do not tell in which
 * order rules stand.
 */
export interface StateEvent {
  /** What the item is. */
  type: 'state';
  /** Why the state comes: it is the first, or events were lost. */
  reason: 'initial' | 'lost' | 'unclear';
  /** The generation of the ruleset. */
  generation: number;
  /** All that there is. */
  ruleset: Ruleset;
}

/** What a monitor gives: the events of one transaction, or the whole state after a loss. */
export type MonitorItem = TransactionEvents | StateEvent;

/** More than this in one transaction is not gathered: reading the state is cheaper. */
const MAX_EVENTS = 200_000;
export const MONITOR_BUFFER_BYTES = 8 * 1024 * 1024;
const MAX_BUFFER_BYTES = 1024 * 1024 * 1024;

const EVENTS: Partial<Record<MessageName, { action: 'new' | 'delete'; kind: EventKind }>> = {
  newtable: { action: 'new', kind: 'table' },
  deltable: { action: 'delete', kind: 'table' },
  newchain: { action: 'new', kind: 'chain' },
  delchain: { action: 'delete', kind: 'chain' },
  newrule: { action: 'new', kind: 'rule' },
  delrule: { action: 'delete', kind: 'rule' },
  newset: { action: 'new', kind: 'set' },
  delset: { action: 'delete', kind: 'set' },
  newsetelem: { action: 'new', kind: 'element' },
  delsetelem: { action: 'delete', kind: 'element' },
  newobj: { action: 'new', kind: 'object' },
  delobj: { action: 'delete', kind: 'object' },
  newflowtable: { action: 'new', kind: 'flowtable' },
  delflowtable: { action: 'delete', kind: 'flowtable' },
};
const KINDS = [...new Set(Object.values(EVENTS).map(({ kind }) => kind))];

/** What a monitor reads besides events. */
export interface MonitorSource {
  /** The present state, elements included. */
  ruleset(filter: { family?: Family; table?: string }): Promise<Ruleset>;
  /** The handles of a chain's rules in their order; empty where it is gone. */
  order(chain: { family: Family; table: string; chain: string }): Promise<bigint[]>;
  /** The number of the present state. */
  generation(): Promise<number>;
}

interface Filter {
  family: Family | undefined;
  table: string | undefined;
  kinds: ReadonlySet<EventKind>;
}

/**
 * Events of the ruleset, transaction by transaction. Applied to the state in order, they give what a new reading would show.
 * @example
 * for await (const item of nft.monitor()) {
 *   if (item.type === 'state') console.log('read again after a loss');
 * }
 */
export class Monitor extends GroupIteration<MonitorItem> {
  /** @internal */
  constructor(reader: GroupReader, source: MonitorSource, options: MonitorOptions, closed: () => void) {
    super('monitor', reader, new RulesetItems(reader, source, options).items(), options.signal, closed);
  }
}

class RulesetItems {
  readonly #reader: GroupReader;
  readonly #source: MonitorSource;
  readonly #filter: Filter;
  readonly #initial: boolean;

  constructor(reader: GroupReader, source: MonitorSource, options: MonitorOptions) {
    this.#reader = reader;
    this.#source = source;
    this.#filter = { family: options.family, table: options.table, kinds: new Set(options.kinds ?? KINDS) };
    this.#initial = options.initial ?? false;
  }

  async *items(): AsyncGenerator<MonitorItem, void> {
    /** The generation that was told last: older events are part of it. */
    let known: number | undefined;
    if (this.#initial && !this.#reader.closed) {
      const state = await this.#state('initial');
      known = state.generation;
      yield state;
    }
    let events: RulesetEvent[] = [];
    let lost = false;
    for (;;) {
      if (lost) {
        events = [];
        lost = false;
        if (this.#reader.closed) return;
        // The kernel delivers nothing until all that is there has been read.
        this.#reader.drain();
        const state = await this.#state('lost');
        // Nothing has happened since what was told last.
        if (state.generation === known) continue;
        known = state.generation;
        yield state;
      }
      const read = await this.#reader.read();
      if (read === 'closed') return;
      if (read === 'lost') {
        lost = true;
        continue;
      }
      try {
        for (const message of messagesIn(this.#reader.source, 0, read.length)) {
          if (message.type !== MESSAGES.newgen.number) {
            const event = eventOf(message, this.#filter);
            if (event !== undefined) pushEvent(events, event);
            if (events.length > MAX_EVENTS) lost = true;
            continue;
          }
          const transaction = transactionOf(message, events);
          events = [];
          if (known !== undefined && (transaction.generation - known) << 0 <= 0) continue;
          if (transaction.events.length === 0 || lost) continue;
          if (await this.#placeRules(transaction)) {
            known = transaction.generation;
            yield transaction;
            continue;
          }
          const state = await this.#state('unclear');
          known = state.generation;
          yield state;
        }
      } catch (error) {
        // Nothing that the kernel says is thrown away unread.
        if (!(error instanceof DecodeError)) throw error;
        lost = true;
      }
    }
  }

  async #state(reason: StateEvent['reason']): Promise<StateEvent> {
    const { family, table, kinds } = this.#filter;
    const ruleset = await this.#source.ruleset({
      ...(family !== undefined && { family }),
      ...(table !== undefined && { table }),
    });
    const has = (kind: EventKind) => kinds.has(kind);
    const sets = has('element') ? ruleset.sets : ruleset.sets.map(({ elements: _, ...set }) => set);
    return {
      type: 'state',
      reason,
      generation: ruleset.generation,
      ruleset: {
        generation: ruleset.generation,
        tables: has('table') ? ruleset.tables : [],
        chains: has('chain') ? ruleset.chains : [],
        sets: has('set') || has('element') ? sets : [],
        rules: has('rule') ? ruleset.rules : [],
        objects: has('object') ? ruleset.objects : [],
        flowtables: has('flowtable') ? ruleset.flowtables : [],
      },
    };
  }

  /**
   * The kernel tells a new rule's place as it is when the transaction is complete, and it tells the same of a rule that was
   * appended and of one that replaced the first. Where that leaves a doubt, the chain's order settles it. False where the order is of a later
   * state: rules that have gone meanwhile may have stood between those that are left, and later events may say that a rule came behind one of them.
   */
  async #placeRules({ events, generation }: TransactionEvents): Promise<boolean> {
    for (const { place, added, deleted } of ruleChanges(events)) {
      const doubtful = added.some(({ object, placement }) => {
        if (typeof placement === 'bigint') return placement > object.handle;
        if (placement === 'same') return false;
        return deleted && (placement === 'last' || added.length > 1);
      });
      if (!doubtful) continue;
      const order = await this.#source.order(place);
      if ((await this.#source.generation()) !== generation) return false;
      for (const event of added) {
        if (event.placement === 'same') continue;
        const { handle } = event.object;
        const at = order.indexOf(handle);
        if (at < 0) return false;
        // Handles only grow: lower ones were there, or were told of, before this one.
        event.placement = order.slice(0, at).findLast(other => other < handle) ?? 'first';
      }
    }
    return true;
  }
}

/** A rule that was replaced comes as deleted and new again: that is one change. */
function pushEvent(events: RulesetEvent[], event: RulesetEvent): void {
  if (event.kind === 'rule' && event.action === 'new') {
    const at = events.findLastIndex(({ kind }) => kind === 'rule');
    const before = events[at];
    if (before?.kind === 'rule' && before.action === 'delete' && isSame(before.object, event.object)) {
      events.splice(at, 1);
      event.placement = 'same';
    }
  }
  events.push(event);
}

const isSame = (a: RuleEntry, b: RuleEntry): boolean =>
  a.handle === b.handle && a.chain === b.chain && a.table === b.table && a.family === b.family;

type NewRule = Extract<RulesetEvent, { kind: 'rule'; action: 'new' }>;

interface RuleChanges {
  place: { family: Family; table: string; chain: string };
  added: NewRule[];
  deleted: boolean;
}

/** The changes of rules in one transaction, chain by chain. */
function ruleChanges(events: readonly RulesetEvent[]): Iterable<RuleChanges> {
  const chains = new Map<string, RuleChanges>();
  for (const event of events) {
    if (event.kind !== 'rule') continue;
    const { family, table, chain } = event.object;
    const key = JSON.stringify([family, table, chain]);
    const changes: RuleChanges = chains.get(key) ?? { place: { family, table, chain }, added: [], deleted: false };
    chains.set(key, changes);
    if (event.action === 'new') changes.added.push(event);
    else changes.deleted = true;
  }
  return chains.values();
}

function eventOf(message: Message, filter: Filter): RulesetEvent | undefined {
  const name = messageName(message.type);
  if (name === undefined || name === 'trace' || name === 'hook') return undefined;
  const kind = EVENTS[name];
  if (kind === undefined || !filter.kinds.has(kind.kind)) return undefined;
  const object = readObject(name, message, XT_LAYOUTS);
  if (filter.family !== undefined && object.family !== filter.family) return undefined;
  const table = kind.kind === 'table' ? object.name : object.table;
  if (filter.table !== undefined && table !== filter.table) return undefined;
  if (kind.kind === 'element') object.as = 'wire';
  const event = { ...kind, object } as unknown as RulesetEvent;
  if (event.kind === 'rule' && event.action === 'new') {
    event.placement = event.object.previousHandle ?? ((message.flags & NLM_F_APPEND) !== 0 ? 'last' : 'first');
  }
  return event;
}

function transactionOf(message: Message, events: RulesetEvent[]): TransactionEvents {
  const { id, processId, processName } = readObject('newgen', message);
  const transaction: TransactionEvents = { type: 'transaction', generation: id as number, events };
  if (processId !== undefined) transaction.processId = processId as number;
  if (processName !== undefined) transaction.processName = processName as string;
  return transaction;
}

export function checkMonitorOptions(options: MonitorOptions): void {
  checkObject(options, [], ['family', 'table', 'kinds', 'initial', 'receiveBufferBytes', 'signal']);
  const { family, table, kinds, receiveBufferBytes } = options;
  checkSignal(options.signal, ['signal']);
  if (family !== undefined) familyNumber(family, ['family']);
  if (table !== undefined && family === undefined)
    throw typeError(['family'], 'a family with a table', undefined, 'ERR_MISSING');
  if (kinds !== undefined) {
    if (!Array.isArray(kinds)) throw typeError(['kinds'], 'an array of kinds', kinds);
    for (const [i, kind] of kinds.entries())
      if (!KINDS.includes(kind)) throw rangeError(['kinds', i], oneOf(KINDS, kind), kind);
  }
  if (receiveBufferBytes !== undefined)
    checkInteger(receiveBufferBytes, ['receiveBufferBytes'], 4096, MAX_BUFFER_BYTES);
}
