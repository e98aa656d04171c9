import { checkObject, checkOneOf } from '../codec/index.ts';
import { atIndex, BatchError, type BatchFailure, type NetlinkError, typeError } from '../errors.ts';
import { DESTINATION } from '../ip_vs/destination.ts';
import { readKey, SERVICE, writeKey } from '../ip_vs/service.ts';
import type { SyncDaemon, SyncState } from '../ip_vs/sync-daemon.ts';
import type { RuleCommand } from '../ipvsadm/command.ts';
import { PlainLines } from '../ipvsadm/plain-lines.ts';
import { eachLine, readRules } from '../ipvsadm/read-rules.ts';
import type { RuleNames } from '../ipvsadm/service-names.ts';
import type { Operation } from '../netlink/index.ts';
import type { Backends } from './backends/automatic.ts';
import type { Backend } from './backends/backend.ts';
import { type BatchOptions, type BatchResult, carryOut } from './batch.ts';
import { asRefusal, seenThrough } from './batch-run.ts';
import { startSync, stopSync, syncDaemons } from './daemon.ts';
import { Batch } from './operation.ts';
import type { DestinationPatch, IpvsOperation, ServicePatch } from './operation-types.ts';

/** What a line of ipvsadm's format asks for: an operation, or one about a sync daemon. */
export type RuleOperation =
  | IpvsOperation
  | {
      /** What to do. */
      op: 'startSync';
      /** The synchronization daemon. */
      daemon: SyncDaemon;
    }
  | {
      /** What to do. */
      op: 'stopSync';
      /** Which daemon to stop. */
      state: SyncState;
    };

/** An operation and the number of its line, counted from 1. */
export interface RuleLine {
  /** The number of the line, counted from 1. */
  line: number;
  /** What the line asks for. */
  operation: RuleOperation;
}

/**
 * Reads the format of `ipvsadm -S` line by line, and sends nothing.
 *
 * It takes every option that `ipvsadm -R` takes, with its long forms, its defaults (scheduler wlc, weight 1, forward 'direct', persistence of 360 s) and
 * its habits: with -g and -i the port of a destination is that of the service, and -E and -e replace everything. Beyond ipvsadm it takes quotes,
 * comments (#), [addresses] without a port, prefix lengths as -M of IPv4, options in any order after the command, and the options that `save()`
 * writes if ipvsadm has none. Operations of lines with --as-is are what a kernel held: `restore` carries them out, while `apply` checks them as
 * those of any caller.
 * @param text the lines
 * @param names what names of hosts and ports mean, if not the usual: ports as in /etc/services, and localhost
 * @throws RuleError the first wrong line, with its number.
 * @example
 * for (const { line, operation } of parseRuleLines('-A -t 10.0.0.1:80 -s rr')) console.log(line, operation.op);
 */
export function parseRuleLines(text: string, names: RuleNames = {}): RuleLine[] {
  const lines: RuleLine[] = [];
  readRules(text, names, (command, line) => lines.push({ line, operation: operationOf(command) }));
  return lines;
}

function operationOf(command: RuleCommand): RuleOperation {
  switch (command.op) {
    case 'editService': {
      const { schedulerFlags = [], onePacket = false } = command.service;
      const patch = { ...SERVICE.replacing(command.service), schedulerFlags, onePacket } as ServicePatch;
      return { op: 'editService', key: readKey(writeKey(command.service)), patch };
    }
    case 'editDestination': {
      const { address, port } = command.destination;
      const patch = DESTINATION.replacing(command.destination) as DestinationPatch;
      return { op: 'editDestination', key: command.key, destinationKey: { address, port }, patch };
    }
    default:
      return command;
  }
}

/** How `Ipvs.restore` carries out a text. */
export interface RestoreOptions extends BatchOptions {
  /** If one line fails, undo the others (default true). False leaves them, as ipvsadm does. */
  rollback?: boolean;
  /**
   * Empty the table first (default false), as `ipvsadm -C` does, in the same send as the first lines: for a moment there is no service. Timeouts and sync
   * daemons stay. If a line fails, the old table is restored. False adds the lines to the table, as `ipvsadm -R` does.
   */
  replace?: boolean;
  /** The meaning of names of hosts and ports (`ipvsadm -S` without -n writes them), if not the usual: ports as in /etc/services, and localhost. */
  names?: RuleNames;
}

/** An operation that the kernel refused, with the number of its line. */
export type RuleFailure = BatchFailure & { readonly line: number };

/** What became of the lines of a text. `failures` and `applied` count operations, which are the lines without the empty ones. */
export type RestoreResult = Omit<BatchResult, 'failures'> & {
  /** The lines that failed. */
  failures: readonly RuleFailure[];
};

/**
 * Carries out the lines of a text in ipvsadm's format. The whole text is read before anything is sent. Lines about sync daemons are carried out last,
 * and only if no other line failed. If one of them fails, everything is undone, too.
 */
export function* restoreRules(
  backends: Backends,
  text: string,
  options: RestoreOptions = {},
): Operation<RestoreResult> {
  checkObject(options, ['options'], ['onError', 'rollback', 'replace', 'signal', 'names']);
  const { onError: how = 'throw', names = {}, rollback = true, replace = false } = options;
  const onError = checkOneOf(how, ['options', 'onError'], ['throw', 'collect']);
  if (typeof rollback !== 'boolean') throw typeError(['options', 'rollback'], 'a boolean', rollback);
  if (typeof replace !== 'boolean') throw typeError(['options', 'replace'], 'a boolean', replace);
  checkObject(names, ['options', 'names'], ['host', 'port']);
  const rules = new RuleBatch(text, names, replace);
  const { batch, first, daemons } = rules;
  // Indexes count in this order: the table's operations, then the daemon's.
  const count = batch.length - first;
  const { backend } = backends;
  const running = rollback && daemons.length > 0 ? yield* syncDaemons(backend) : [];
  const { result: done, undo } = yield* carryOut(backends, batch, rollback);
  const emptying = done.failures.find(({ index }) => index < first);
  if (emptying !== undefined) throw emptying;
  let { outcome, rolledBack } = done;
  const failures = done.failures.map(failure => atIndex(failure, failure.index - first));
  let applied = first === 0 ? done.applied : done.applied.map(index => index - first).filter(index => index >= 0);
  if (failures.length === 0 && daemons.length > 0) {
    const tried = yield* seenThrough(carryOutDaemons(backend, daemons));
    failures.push(...tried.failures.map(failure => atIndex(failure, failure.index + count)));
    if (failures.length > 0 && undo !== undefined) {
      rolledBack = yield* seenThrough(undoDaemons(backend, tried.done, running));
      rolledBack = (yield* seenThrough(undo())) && rolledBack;
      applied = [];
      outcome = rolledBack ? 'none' : 'unknown';
    } else {
      applied = [...applied, ...tried.applied.map(index => index + count)];
      if (failures.length > 0) outcome = applied.length > 0 || replace ? 'partial' : 'none';
    }
  }
  const result = {
    failures: failures.map(failure => Object.assign(failure, { line: rules.lineOf(failure.index) })),
    applied,
    outcome,
    rolledBack,
  };
  if (failures.length === 0) batch.messages.release();
  if (onError === 'throw' && failures.length > 0) throw lineError(result);
  return result;
}

/** Characters of a short line, for a guess of how many lines a text has. */
const USUAL_LINE = 40;

/** The lines of a text, checked and encoded before anything is sent. Plain lines are read again if their operations are needed: after a refusal. */
class RuleBatch {
  readonly batch: Batch;
  /** The index of the first line's operation in the batch. */
  readonly first: number;
  readonly daemons: DaemonLine[] = [];
  readonly #text: string;
  /** The operations of lines that are not plain, by the number of their line. */
  readonly #others = new Map<number, IpvsOperation>();
  #lines: OperationLine[] | undefined;

  constructor(text: string, names: RuleNames, replace: boolean) {
    if (typeof text !== 'string') throw typeError([], 'a string', text);
    this.#text = text;
    this.first = replace ? 1 : 0;
    // The lines are checked when they are read; those with --as-is hold values that are refused from a caller.
    const batch = new Batch(Math.ceil(text.length / USUAL_LINE), index => this.#line(index).operation, 'anything');
    this.batch = batch;
    if (replace) batch.add({ op: 'flush' });
    const visit = (command: RuleCommand, line: number) => {
      const operation = operationOf(command);
      if (isDaemon(operation)) this.daemons.push({ line, operation });
      else {
        batch.add(operation);
        this.#others.set(line, operation);
      }
    };
    readRules(text, names, visit, plain => batch.addPlain(plain));
  }

  /** The number of the line with an index among all lines, those about daemons included. */
  lineOf(index: number): number {
    const count = this.batch.length - this.first;
    return index < count ? this.#line(index + this.first).line : this.daemons[index - count]!.line;
  }

  #line(index: number): OperationLine {
    this.#lines ??= this.#readAgain();
    return this.#lines[index - this.first]!;
  }

  #readAgain(): OperationLine[] {
    const lines: OperationLine[] = [];
    const plain = new PlainLines(this.#text);
    eachLine(this.#text, (start, end, line) => {
      const operation = this.#others.get(line);
      if (operation !== undefined) lines.push({ line, operation });
      else if (plain.read(start, end)) lines.push({ line, operation: plain.operation() });
    });
    return lines;
  }
}

interface OperationLine {
  line: number;
  operation: IpvsOperation;
}

type DaemonOperation = Exclude<RuleOperation, IpvsOperation>;
interface DaemonLine {
  line: number;
  operation: DaemonOperation;
}

/** Carries out the lines about sync daemons, in their order; one that fails does not stop the others. Indexes count these lines. */
function* carryOutDaemons(backend: Backend, daemons: readonly DaemonLine[]) {
  const failures: BatchFailure[] = [];
  const applied: number[] = [];
  for (const [index, { operation }] of daemons.entries()) {
    const error = yield* attempt(backend, operation);
    if (error === undefined) applied.push(index);
    else failures.push(atIndex(error, index));
  }
  return { failures, applied, done: applied.map(index => daemons[index]!.operation) };
}

/** Undoes the lines about daemons, the last one first. Returns whether all of it went well. */
function* undoDaemons(
  backend: Backend,
  done: readonly DaemonOperation[],
  running: readonly SyncDaemon[],
): Operation<boolean> {
  let whole = true;
  for (const operation of done.toReversed()) {
    const state = operation.op === 'startSync' ? operation.daemon.state : operation.state;
    const before = running.find(daemon => daemon.state === state);
    const opposite: DaemonOperation | undefined =
      operation.op === 'startSync' ? { op: 'stopSync', state } : before && { op: 'startSync', daemon: before };
    if (opposite !== undefined && (yield* attempt(backend, opposite, 'anything')) !== undefined) whole = false;
  }
  return whole;
}

function isDaemon(operation: RuleOperation): operation is DaemonOperation {
  return operation.op === 'startSync' || operation.op === 'stopSync';
}

function* attempt(
  backend: Backend,
  operation: DaemonOperation,
  kept?: 'anything',
): Operation<NetlinkError | undefined> {
  try {
    if (operation.op === 'startSync') yield* startSync(backend, operation.daemon, kept);
    else yield* stopSync(backend, operation.state);
    return undefined;
  } catch (error) {
    return asRefusal(error, operation, 'ipvs.restore');
  }
}

/** A BatchError whose message names the line instead of the index. */
function lineError(result: RestoreResult): BatchError {
  const error = new BatchError(result);
  const [first] = result.failures;
  error.message = error.message.replace(`[${first?.index}]`, `line ${first?.line}:`);
  return error;
}
