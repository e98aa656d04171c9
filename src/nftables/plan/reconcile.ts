import { checkObject } from '../../codec/index.ts';
import { NetlinkError, StateError } from '../../errors.ts';
import { type Exchange, NetlinkSocket, type Operation } from '../../transport/index.ts';
import { commit } from '../commit.ts';
import type { Features } from '../features.ts';
import { interfacesOf } from '../interfaces.ts';
import { ruleset } from '../listing.ts';
import type { DesiredRuleset } from './model.ts';
import { planOf, type RulesetPlan, type TableOwner, transactionOf } from './plan.ts';

/** Others commit between the reading and the commit this many times in a row. */
const ATTEMPTS = 20;

/** What is there to what is wanted: see NftablesOperations.plan. */
export function* plan(exchange: Exchange, desired: DesiredRuleset, owner: TableOwner): Operation<RulesetPlan> {
  const { wire } = exchange;
  const port = wire instanceof NetlinkSocket ? wire.port : undefined;
  return planOf(yield* ruleset(exchange, { elements: true }), desired, owner, {
    port,
    interfaces: interfacesOf(wire).interfaces,
  });
}

export interface ReconcileOptions {
  /** Acts before a send; once the kernel has the bytes, the promise says what became of them. */
  signal?: AbortSignal;
}

/** Plans and commits: see NftablesOperations.reconcile. */
export function* reconcile(
  exchange: Exchange,
  features: Features,
  desired: DesiredRuleset,
  owner: TableOwner,
  options: ReconcileOptions = {},
): Operation<RulesetPlan> {
  checkObject(options, [], ['signal']);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const planned = yield* plan(exchange, desired, owner);
    if (planned.operations.length === 0) return planned;
    try {
      yield* commit(exchange, features, transactionOf(planned), { generation: planned.generation });
      return planned;
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.code !== 'ERESTART') throw error;
    }
  }
  throw new StateError('ERR_DUMP_INTERRUPTED', `others committed ${ATTEMPTS} times in a row before this could`);
}
