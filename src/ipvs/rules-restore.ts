import { checkObject, checkOneOf } from '../codec/index.ts';
import { atIndex, BatchError, type BatchFailure, NetlinkError, typeError } from '../errors.ts';
import type { Operation } from '../transport/index.ts';
import { applyOperations, type BatchOptions, type BatchResult } from './batch.ts';
import { type SyncDaemon, type SyncState, startSync, stopSync } from './daemon.ts';
import type { Carriers } from './ipvs-carrier.ts';
import type { Carrier } from './netlink.ts';
import type { IpvsOperation } from './operation.ts';
import { type RuleCommand, type RuleNames, readRules } from './rules.ts';

/** What a line asks for: an operation, or one about the sync daemon. */
export type RuleOperation =
  | IpvsOperation
  | { op: 'startSync'; daemon: SyncDaemon }
  | { op: 'stopSync'; state: SyncState };

/** An operation and the line that it stands in, counted from 1. */
export interface RuleLine {
  line: number;
  operation: RuleOperation;
}

/**
 * Reads the format of `ipvsadm -S`, line by line, and sends nothing: every option that `ipvsadm -R` takes, its long forms, its defaults
 * (scheduler wlc, weight 1, forward 'direct', persistence of 360 s) and its habits (with -g and -i a server's port is the service's; -E and -e
 * replace everything). Beyond ipvsadm it takes quotes, comments (#), [addresses] without a port, prefix lengths as -M of IPv4, and options in
 * any order behind the command. Names of hosts and ports are only taken with `names`.
 * @throws RuleError with the line's number; the first bad line ends it.
 */
export function parseRuleLines(text: string, names: RuleNames = {}): RuleLine[] {
  const lines: RuleLine[] = [];
  readRules(text, names, (command, line) => lines.push({ line, operation: operationOf(command) }));
  return lines;
}

function operationOf(command: RuleCommand): RuleOperation {
  switch (command.op) {
    case 'editService': {
      const { scheduler, schedulerFlags = [], persistence, onePacket = false, ...key } = command.service;
      // What the line leaves out is taken away.
      const patch = { scheduler, schedulerFlags, persistence, onePacket };
      return { op: 'editService', key, patch: patch as WithoutUndefined<typeof patch> };
    }
    case 'editDestination': {
      const { address, port, forward, weight, upperThreshold = 0, lowerThreshold = 0, tunnel } = command.destination;
      const patch = { forward, weight, upperThreshold, lowerThreshold, tunnel };
      return {
        op: 'editDestination',
        key: command.key,
        destinationKey: { address, port },
        patch: patch as WithoutUndefined<typeof patch>,
      };
    }
    default:
      return command;
  }
}

/** Patches may hold undefined, which their types do not say. */
type WithoutUndefined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

export interface RestoreOptions extends BatchOptions {
  /** Default true: if one line fails, what the others did is undone. False leaves it, as ipvsadm does. */
  rollback?: boolean;
  /** For texts that were saved with names (`ipvsadm -S` without -n). */
  names?: RuleNames;
}

/** The line that failed. */
export type RuleFailure = BatchFailure & { readonly line: number };

/** `failures` and `applied` count operations, which are the lines without the empty ones; each failure has its `line`. */
export type RestoreResult = Omit<BatchResult, 'failures'> & { failures: readonly RuleFailure[] };

/**
 * Carries out the lines of a text in ipvsadm's format. All of it is read before anything is sent. Lines about the sync daemon come after all
 * others, if those went well, and are not undone.
 */
export function* restoreRules(
  carriers: Carriers,
  text: string,
  options: RestoreOptions = {},
): Operation<RestoreResult> {
  checkObject(options, ['options'], ['onError', 'rollback', 'signal', 'names']);
  const { onError: how = 'throw', names = {}, rollback = true } = options;
  const onError = checkOneOf(how, ['options', 'onError'], ['throw', 'collect']);
  if (typeof rollback !== 'boolean') throw typeError(['options', 'rollback'], 'a boolean', rollback);
  checkObject(names, ['options', 'names'], ['host', 'port']);
  // Indexes count in this order: the table's operations, then the daemon's.
  const operations: IpvsOperation[] = [];
  const lines: number[] = [];
  const daemons: RuleLine[] = [];
  readRules(text, names, (command, line) => {
    const operation = operationOf(command);
    if (isDaemon(operation)) daemons.push({ line, operation });
    else {
      operations.push(operation);
      lines.push(line);
    }
  });
  const lineOf = (index: number) => lines[index] ?? daemons[index - lines.length]!.line;
  const done = yield* applyOperations(carriers, operations, { onError: 'collect', rollback });
  const failures = [...done.failures];
  const applied = [...done.applied];
  if (failures.length === 0) {
    for (const [i, { operation }] of daemons.entries()) {
      const index = lines.length + i;
      const error = yield* attempt(carriers.carrier, operation);
      if (error === undefined) applied.push(index);
      else failures.push(atIndex(error, index));
    }
  }
  const result = {
    ...done,
    applied,
    failures: failures.map(failure => Object.assign(failure, { line: lineOf(failure.index) })),
    outcome: done.failures.length === 0 && failures.length > 0 ? ('partial' as const) : done.outcome,
  };
  if (onError === 'throw' && failures.length > 0) throw lineError(result);
  return result;
}

function isDaemon(operation: RuleOperation): operation is Exclude<RuleOperation, IpvsOperation> {
  return operation.op === 'startSync' || operation.op === 'stopSync';
}

function* attempt(carrier: Carrier, operation: RuleOperation): Operation<NetlinkError | undefined> {
  try {
    if (operation.op === 'startSync') yield* startSync(carrier, operation.daemon);
    else if (operation.op === 'stopSync') yield* stopSync(carrier, operation.state);
    return undefined;
  } catch (error) {
    if (error instanceof NetlinkError) return error;
    throw error;
  }
}

/** A BatchError that names the line where others name the index. */
function lineError(result: RestoreResult): BatchError {
  const error = new BatchError(result);
  const [first] = result.failures;
  error.message = error.message.replace(`[${first?.index}]`, `line ${first?.line}:`);
  return error;
}
