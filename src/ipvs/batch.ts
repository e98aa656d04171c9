import { checkObject, checkOneOf } from '../codec/index.ts';
import { BatchError, type BatchFailure, type BatchOutcome, typeError } from '../errors.ts';
import type { WireCommand } from '../ip_vs/attributes.ts';
import { readTimeouts } from '../ip_vs/timeouts.ts';
import { serviceId, settable, settableDestination } from '../ip_vs/wire.ts';
import * as C from '../linux/ip_vs.ts';
import type { Operation } from '../netlink/index.ts';
import { Disturbed, retry } from '../netlink/retry.ts';
import type { Backends } from './backends/automatic.ts';
import { describe } from './backends/requests.ts';
import { Run, seenThrough } from './batch-run.ts';
import { Batch } from './operation.ts';
import type { IpvsOperation } from './operation-types.ts';
import { changesBetween, toCommand } from './plan.ts';
import { readServiceStates, type ServiceState } from './snapshot.ts';

/** How a batch treats operations that fail. */
export interface BatchOptions {
  /** After all operations were tried: throw one BatchError with every failure (the default), or return the failures in the result. */
  onError?: 'throw' | 'collect';
  /**
   * If one operation fails, undo the others (default false). The services that they touch are read before and restored afterwards. Counters that were
   * set to zero and connections that have ended do not come back. Changes that other programs make to the same services meanwhile are undone, too.
   */
  rollback?: boolean;
  /** Ends the call before the first send. After that the batch is completed. */
  signal?: AbortSignal;
}

/** What became of the operations of a batch. */
export interface BatchResult {
  /** The operations that the kernel refused. */
  failures: readonly BatchFailure[];
  /** The indexes of the operations that the kernel has carried out; none after a rollback. */
  applied: readonly number[];
  /** How much of the batch the kernel holds now; 'unknown' only if a rollback failed halfway. */
  outcome: BatchOutcome;
  /** Something failed and the rest was undone: the kernel holds what it held before. */
  rolledBack: boolean;
}

/** Sends operations in few datagrams. IPVS has no transactions: the kernel carries out each operation on its own, in their order. */
export function* applyOperations(
  backends: Backends,
  operations: readonly IpvsOperation[],
  options: BatchOptions = {},
): Operation<BatchResult> {
  checkObject(options, ['options'], ['onError', 'rollback', 'signal']);
  const { onError: how = 'throw', rollback = false } = options;
  const onError = checkOneOf(how, ['options', 'onError'], ['throw', 'collect']);
  if (typeof rollback !== 'boolean') throw typeError(['options', 'rollback'], 'a boolean', rollback);
  const batch = Batch.of(operations);
  const { result } = yield* carryOut(backends, batch, rollback);
  if (result.outcome === 'all') batch.messages.release();
  if (onError === 'throw' && result.failures.length > 0) throw new BatchError(result);
  return result;
}

/** A batch that was carried out, and with `rollback` the way to undo it. */
export interface CarriedOut {
  result: BatchResult;
  /** Returns whether the kernel took all of it. */
  undo: (() => Operation<boolean>) | undefined;
}

/**
 * Carries out a batch. With `rollback` it is undone if one operation fails, and can be undone later if none does: until then its messages are needed.
 */
export function* carryOut(backends: Backends, batch: Batch, rollback: boolean): Operation<CarriedOut> {
  const before = rollback ? yield* remember(backends, batch) : undefined;
  const run = new Run(backends, batch);
  yield* run.all();
  const failures = run.failures.toSorted((a, b) => a.index - b.index);
  const { applied } = run;
  const outcome = failures.length === 0 ? 'all' : applied.length === 0 ? 'none' : 'partial';
  const result: BatchResult = { failures, applied, outcome, rolledBack: false };
  const undo = before && (() => undoAll(backends, before));
  if (failures.length === 0 || undo === undefined) return { result, undo };
  const whole = yield* seenThrough(undo());
  return { result: { failures, applied: [], outcome: whole ? 'none' : 'unknown', rolledBack: whole }, undo: undefined };
}

/** The state before a batch of everything that the batch may change. */
interface Memory {
  /** Is a service among what the batch may change? */
  touches(id: string): boolean;
  servers: ServiceState[];
  timeouts: WireCommand | undefined;
}

const GET_CONFIG = describe('IPVS_CMD_GET_CONFIG', C.IPVS_CMD_GET_CONFIG, undefined, {});

function* remember(backends: Backends, batch: Batch): Operation<Memory> {
  const touched = onceAsked(() => servicesOf(batch));
  const touches = (id: string) => batch.hasFlush || touched().has(id);
  const servers = yield* readServiceStates(backends, { wanted: service => touches(serviceId(service)) });
  const timeouts = batch.hasTimeouts ? yield* backends.backend.get(GET_CONFIG, readTimeouts) : undefined;
  return { touches, servers, timeouts };
}

function servicesOf(batch: Batch): Set<string | undefined> {
  const services = new Set<string | undefined>();
  for (let index = 0; index < batch.length; index++) services.add(batch.checked(index).serviceId);
  return services;
}

/** Computes a value when it is first needed. A batch that fills an empty table never needs it. */
function onceAsked<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** How often to undo again if answers were lost. */
const UNDO_ATTEMPTS = 3;

/** Restores everything that the batch may have changed. Returns whether the kernel took all of it. */
function* undoAll(backends: Backends, { touches, servers, timeouts }: Memory): Operation<boolean> {
  const before = servers.map(({ service, destinations }) => ({
    service: settable(service),
    // The kernel lists the newest first: added in reverse, the destinations get their old order.
    destinations: destinations.map(settableDestination).reverse(),
  }));
  return yield* retry('the undoing', function* (attempt) {
    const now = yield* readServiceStates(backends, { wanted: service => touches(serviceId(service)) });
    const commands = changesBetween(now, before, { prune: true }).map(toCommand);
    if (timeouts !== undefined) {
      commands.push(describe('IPVS_CMD_SET_CONFIG', C.IPVS_CMD_SET_CONFIG, timeouts, timeouts));
    }
    const { failures, unknownFrom } = yield* backends.backend.pipeline(commands);
    if (unknownFrom === undefined) return failures.length === 0;
    if (attempt === UNDO_ATTEMPTS) return false;
    throw new Disturbed();
  });
}
