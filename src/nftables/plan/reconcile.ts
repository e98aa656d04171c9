import { atIndex, BatchError, NetlinkError, type Path } from '../../errors.ts';
import { type Exchange, NetlinkSocket, type Operation } from '../../netlink/index.ts';
import { isMoved, retry } from '../../netlink/retry.ts';
import type { Features } from '../features.ts';
import { interfacesOf } from '../interfaces.ts';
import { type Ruleset, ruleset } from '../read/listing.ts';
import { commit } from '../write/commit.ts';
import type { DesiredRuleset } from './desired.ts';
import { type PlacedPlan, planOf, type RulesetPlan, type TableOwner, transactionOf } from './plan.ts';
import type { PlacedOperation } from './table-plan.ts';

/** Whose tables these are, and when to give up. */
export type ReconcileOptions = TableOwner & {
  /** Acts before a send and between reads; once the kernel has the bytes, the promise says what became of them. */
  signal?: AbortSignal;
};

function placedPlan(
  { transport }: Exchange,
  present: Ruleset,
  desired: DesiredRuleset,
  options: ReconcileOptions,
): PlacedPlan {
  const port = transport instanceof NetlinkSocket ? transport.port : undefined;
  return planOf(present, desired, options, { port, interfaces: interfacesOf(transport).interfaces });
}

/** Reads the owner's tables and compares them with the desired ones: see NftablesOperations.plan. */
export function* plan(exchange: Exchange, desired: DesiredRuleset, options: ReconcileOptions): Operation<RulesetPlan> {
  const present = yield* ruleset(exchange, { elements: true });
  const { generation, operations } = placedPlan(exchange, present, desired, options);
  return { generation, operations };
}

/** Plans and commits: see NftablesOperations.reconcile. */
export function* reconcile(
  exchange: Exchange,
  features: Features,
  desired: DesiredRuleset,
  options: ReconcileOptions,
): Operation<RulesetPlan> {
  return yield* retry(
    'the reconciling of the ruleset',
    function* () {
      const present = yield* ruleset(exchange, { elements: true });
      const { generation, operations, places } = placedPlan(exchange, present, desired, options);
      if (operations.length === 0) return { generation, operations };
      try {
        yield* commit(exchange, features, transactionOf({ operations }), { generation }, { known: present });
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
