import { atIndex, BatchError, NetlinkError, type Path, typeError } from '../../errors.ts';
import { type EventLoopBudget, type Exchange, NetlinkSocket, type Operation } from '../../netlink/index.ts';
import { isMoved, retry } from '../../netlink/retry.ts';
import type { Chain, ChainKey } from '../../nf_tables/chain.ts';
import type { WireElement } from '../../nf_tables/element.ts';
import type { RuleEntry } from '../../nf_tables/rule.ts';
import type { SetKey } from '../../nf_tables/set.ts';
import type { Table, TableKey } from '../../nf_tables/table.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import type { Features } from '../features.ts';
import { interfacesOf } from '../interfaces.ts';
import { RulesetMemory } from '../read/dump-memory.ts';
import { type Ruleset, ruleset, type SetEntry } from '../read/listing.ts';
import { type MirrorParts, partsOf, presentOf, RulesetMirror } from '../watch/mirror.ts';
import { commit } from '../write/commit.ts';
import { Transaction } from '../write/transaction.ts';
import { copyOf } from './content.ts';
import type { DesiredRuleset } from './desired.ts';
import { ModelMemory, textOfPlain } from './model-memory.ts';
import { addTo, type PlacedPlan, planInParts, type RulesetPlan, type TableOwner } from './plan.ts';
import { DesiredNames, type PlanScope, Scope, type ScopeSource } from './scope.ts';
import { Settled } from './settled.ts';
import type { PlacedOperation } from './table-plan.ts';

/** Whose tables these are, what part of them is compared, and when to give up. */
export type ReconcileOptions = TableOwner & {
  /**
   * Limits the call to these chains (with their rules), sets and maps (with their elements) and tables: nothing else is read or changed. One that
   * is not desired is removed. `desired` has what the parts refer to. Default: all tables of the owner.
   */
  only?: readonly PlanScope[];
  /**
   * The state of the kernel as a monitor of all tables tells it: the first attempt plans from it, and reads nothing. If it is not that of the
   * kernel's generation, `reconcile` reads. A mirror does not know the elements that packets add.
   */
  mirror?: RulesetMirror;
  /** Acts before a send and between reads; once the kernel has the bytes, the promise says what became of them. */
  signal?: AbortSignal;
};

/** Whatever a handle has read and found out for its last plan. Nobody changes what was read, so an object of it is its own name. */
class Recollection {
  readonly owner: string;
  readonly read = new RulesetMemory();
  readonly there = new ModelMemory(object => object);
  readonly wanted = new ModelMemory(textOfPlain);
  /** What the last plan was made of, if it had nothing to do. */
  settled: Settled | undefined;

  constructor(owner: string) {
    this.owner = owner;
  }
}

/** The recollection of the last owner that a handle has planned for. */
export class Planner {
  /** Of calls that have a scope. */
  readonly names = new DesiredNames();
  #last: Recollection | undefined;

  recall({ comment, prefix, flag }: TableOwner): Recollection {
    const owner = JSON.stringify([comment, prefix, flag]);
    if (this.#last?.owner !== owner) this.#last = new Recollection(owner);
    return this.#last;
  }
}

/** The state that a mirror has: nothing is waited for. */
class MirrorSource implements ScopeSource {
  readonly #parts: MirrorParts;

  constructor(parts: MirrorParts) {
    this.#parts = parts;
  }
  table(key: TableKey): Operation<Table | undefined> {
    return known(this.#parts.table(key));
  }
  chain(key: ChainKey): Operation<Chain | undefined> {
    return known(this.#parts.chain(key));
  }
  set(key: SetKey): Operation<SetEntry | undefined> {
    return known(this.#parts.set(key));
  }
  elements(key: SetKey): Operation<WireElement[]> {
    return known(this.#parts.elements(key));
  }
  rules(key: ChainKey): Operation<readonly RuleEntry[]> {
    return known(this.#parts.rules(key));
  }
  whole(key: TableKey): Operation<Ruleset> {
    return known(this.#parts.whole(key));
  }
}

function* known<T>(value: T): Operation<T> {
  yield* [];
  return value;
}

/** Compares with the state that a mirror has, or that is read. */
class Comparison {
  readonly #exchange: Exchange;
  readonly #desired: DesiredRuleset;
  readonly #options: ReconcileOptions;
  readonly #scope: Scope | undefined;
  /** Only the first attempt uses it: it may come behind for any time. */
  #mirror: RulesetMirror | undefined;
  readonly #names: DesiredNames;
  /** Of whole comparisons. A part is small. */
  readonly #memory: Recollection | undefined;

  constructor(exchange: Exchange, planner: Planner, desired: DesiredRuleset, options: ReconcileOptions) {
    const { only, mirror } = options ?? {};
    if (mirror !== undefined && !(mirror instanceof RulesetMirror))
      throw typeError(['mirror'], 'a RulesetMirror', mirror);
    this.#exchange = exchange;
    this.#desired = desired;
    this.#options = options;
    this.#scope = only === undefined ? undefined : new Scope(only, desired);
    this.#mirror = mirror;
    this.#names = planner.names;
    this.#memory = only === undefined ? planner.recall(options ?? {}) : undefined;
  }

  /** The plan from the present state, and that state. */
  *plan(): Operation<{ present: Ruleset; planned: PlacedPlan }> {
    const mirror = this.#mirror;
    this.#mirror = undefined;
    // Generations count from 1: this one has been told nothing yet.
    const isTold = mirror !== undefined && mirror.generation > 0;
    const present = isTold ? yield* this.#told(mirror) : yield* this.#read();
    const { transport, budget } = this.#exchange;
    const port = transport instanceof NetlinkSocket ? transport.port : undefined;
    const memory = this.#memory;
    if (memory?.settled !== undefined && (yield* memory.settled.holds(present, this.#desired, port, budget)))
      return { present, planned: { generation: present.generation, operations: [], places: [] } };
    // Devices come and go without a commit.
    let needsDevices = false;
    const { interfaces: find } = interfacesOf(transport);
    const interfaces = (name: string) => {
      needsDevices = true;
      return find(name);
    };
    const context = { port, interfaces, scope: this.#scope, names: this.#names, memory, isDecoded: !isTold, budget };
    const planned = yield* planInParts(present, this.#desired, this.#options, context);
    if (memory !== undefined) {
      const isSettled = planned.operations.length === 0 && !needsDevices;
      memory.settled = isSettled ? yield* Settled.of(present, this.#desired, port, budget) : undefined;
    }
    return { present, planned };
  }

  *#told(mirror: RulesetMirror): Operation<Ruleset> {
    if (this.#scope === undefined) return presentOf(mirror);
    return yield* this.#scope.from(new MirrorSource(partsOf(mirror)), mirror.generation, this.#desired);
  }

  #read(): Operation<Ruleset> {
    const exchange = this.#exchange;
    return (
      this.#scope?.read(exchange, this.#desired) ??
      ruleset(exchange, { elements: true }, XT_LAYOUTS, this.#memory?.read)
    );
  }

  /** What is known of the whole ruleset: it explains a refusal. */
  known(present: Ruleset): { known?: Ruleset } {
    return this.#scope === undefined ? { known: present } : {};
  }
}

/** Reads the owner's tables and compares them with the desired ones: see NftablesOperations.plan. */
export function* plan(
  exchange: Exchange,
  planner: Planner,
  desired: DesiredRuleset,
  options: ReconcileOptions,
): Operation<RulesetPlan> {
  const { planned } = yield* new Comparison(exchange, planner, desired, options).plan();
  const { generation, operations } = planned;
  // The caller may do with them as he likes.
  return { generation, operations: copyOf(operations) };
}

/** Plans and commits: see NftablesOperations.reconcile. */
export function* reconcile(
  exchange: Exchange,
  features: Features,
  planner: Planner,
  desired: DesiredRuleset,
  options: ReconcileOptions,
): Operation<RulesetPlan> {
  const comparison = new Comparison(exchange, planner, desired, options);
  return yield* retry(
    'the reconciling of the ruleset',
    function* () {
      const { present, planned } = yield* comparison.plan();
      const { generation, operations, places } = planned;
      if (operations.length === 0) return { generation, operations };
      try {
        const transaction = yield* transactionInParts(operations, exchange.budget);
        yield* commit(exchange, features, transaction, { generation }, comparison.known(present));
        return { generation, operations: copyOf(operations) };
      } catch (error) {
        throw isMoved(error) ? error : seenFrom(desired, places, error);
      }
    },
    { rest: exchange.budget },
  );
}

/** As `transactionOf`; the event loop may run in between. */
function* transactionInParts(operations: PlacedPlan['operations'], budget: EventLoopBudget): Operation<Transaction> {
  const transaction = new Transaction();
  for (let i = 0; i < operations.length; i++) {
    addTo(transaction, operations[i]!);
    if (i % OPERATIONS_IN_A_ROW === 0) yield budget.measured;
  }
  return transaction;
}

const OPERATIONS_IN_A_ROW = 64;

/** The kernel's refusal of a plan, with paths in the desired ruleset. A removal stands nowhere there: its operation in the plan is told. */
function seenFrom(desired: DesiredRuleset, places: PlacedPlan['places'], error: unknown): unknown {
  if (!(error instanceof BatchError)) return error;
  const failures = error.failures.map(failure => {
    const place = places[failure.index];
    if (place === undefined) return failure;
    const { errno, syscall, kernelMessage, hint, request } = failure;
    const path = [...place.path, ...insideOf(place, failure.path)];
    const told = {
      errno,
      syscall,
      operation: 'nftables.reconcile',
      subject: desired,
      path,
      kernelMessage,
      hint,
      request,
    };
    return atIndex(new NetlinkError(told), place.path[1] as number);
  });
  return new BatchError({ failures, outcome: error.outcome, applied: error.applied });
}

/** Where in the object that the caller gave: the operation's object may be another one. */
function insideOf({ rule }: NonNullable<PlacedOperation['place']>, [kind, field, index, ...rest]: Path): Path {
  if (rule === undefined) {
    // Sets of rules, and elements of sets, stand elsewhere than where they were given.
    const isOwn = kind === 'table' || kind === 'chain' || kind === 'object' || kind === 'flowtable';
    if (!isOwn || field === undefined) return kind === 'element' ? ['elements'] : [];
    return [field, ...(index === undefined ? [] : [index]), ...rest];
  }
  if (field !== 'expressions' || typeof index !== 'number') return field === undefined ? [] : [field];
  const { origin } = rule;
  return origin === undefined ? ['expressions', index, ...rest] : (origin[index] ?? ['statements']);
}
