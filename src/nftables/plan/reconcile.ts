import { atIndex, BatchError, NetlinkError, type Path, typeError } from '../../errors.ts';
import { type Exchange, NetlinkSocket, type Operation } from '../../netlink/index.ts';
import { isMoved, retry } from '../../netlink/retry.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import type { Features } from '../features.ts';
import { interfacesOf } from '../interfaces.ts';
import { type Ruleset, ruleset } from '../read/listing.ts';
import { RulesetMirror } from '../watch/mirror.ts';
import { commit } from '../write/commit.ts';
import type { DesiredRuleset } from './desired.ts';
import { type PlacedPlan, planOf, type RulesetPlan, type TableOwner, transactionOf } from './plan.ts';
import { type PlanScope, Scope } from './scope.ts';
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

/** Compares with the state that a mirror has, or that is read. */
class Comparison {
  readonly #exchange: Exchange;
  readonly #desired: DesiredRuleset;
  readonly #options: ReconcileOptions;
  readonly #scope: Scope | undefined;
  /** Only the first attempt uses it: it may come behind for any time. */
  #mirror: RulesetMirror | undefined;

  constructor(exchange: Exchange, desired: DesiredRuleset, options: ReconcileOptions) {
    const { only, mirror } = options ?? {};
    if (mirror !== undefined && !(mirror instanceof RulesetMirror))
      throw typeError(['mirror'], 'a RulesetMirror', mirror);
    this.#exchange = exchange;
    this.#desired = desired;
    this.#options = options;
    this.#scope = only === undefined ? undefined : new Scope(only, desired);
    this.#mirror = mirror;
  }

  *present(): Operation<Ruleset> {
    const mirror = this.#mirror;
    this.#mirror = undefined;
    // Generations count from 1: this one has been told nothing yet.
    if (mirror !== undefined && mirror.generation > 0) return mirror.ruleset;
    return yield* this.#scope?.read(this.#exchange, this.#desired) ??
      ruleset(this.#exchange, { elements: true }, XT_LAYOUTS);
  }

  plan(present: Ruleset): PlacedPlan {
    const { transport } = this.#exchange;
    const port = transport instanceof NetlinkSocket ? transport.port : undefined;
    const { interfaces } = interfacesOf(transport);
    return planOf(present, this.#desired, this.#options, { port, interfaces, scope: this.#scope });
  }

  /** What is known of the whole ruleset: it explains a refusal. */
  known(present: Ruleset): { known?: Ruleset } {
    return this.#scope === undefined ? { known: present } : {};
  }
}

/** Reads the owner's tables and compares them with the desired ones: see NftablesOperations.plan. */
export function* plan(exchange: Exchange, desired: DesiredRuleset, options: ReconcileOptions): Operation<RulesetPlan> {
  const comparison = new Comparison(exchange, desired, options);
  const { generation, operations } = comparison.plan(yield* comparison.present());
  return { generation, operations };
}

/** Plans and commits: see NftablesOperations.reconcile. */
export function* reconcile(
  exchange: Exchange,
  features: Features,
  desired: DesiredRuleset,
  options: ReconcileOptions,
): Operation<RulesetPlan> {
  const comparison = new Comparison(exchange, desired, options);
  return yield* retry(
    'the reconciling of the ruleset',
    function* () {
      const present = yield* comparison.present();
      const { generation, operations, places } = comparison.plan(present);
      if (operations.length === 0) return { generation, operations };
      try {
        yield* commit(exchange, features, transactionOf({ operations }), { generation }, comparison.known(present));
        return { generation, operations };
      } catch (error) {
        throw isMoved(error) ? error : seenFrom(desired, places, error);
      }
    },
    { rest: exchange.budget },
  );
}

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
