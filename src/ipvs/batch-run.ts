import { atIndex, type BatchFailure, isArgumentError, NetlinkError, UnsupportedError, within } from '../errors.ts';
import type { WireDestination, WireService } from '../ip_vs/attributes.ts';
import { writeDestination } from '../ip_vs/destination.ts';
import { writeService } from '../ip_vs/service.ts';
import { destinationId, destinationSettings, serviceId, serviceSettings } from '../ip_vs/wire.ts';
import type { Operation, PipelineResult } from '../netlink/index.ts';
import type { Backends } from './backends/automatic.ts';
import type { Backend, IpvsCommand } from './backends/backend.ts';
import { keyCommand } from './backends/requests.ts';
import {
  editDestination,
  editService,
  findService,
  ignoresTunnel,
  mayIgnoreTunnel,
  mergeDestination,
  mergeService,
  missingDestination,
} from './ipvs-edit.ts';
import { type Batch, type CheckedOperation, isEdit } from './operation.ts';
import type { IpvsOperation } from './operation-types.ts';
import { readDestinations, readServiceStates } from './snapshot.ts';

/** The services that were asked about, as the kernel has them. */
type State = Map<string, { service: WireService; destinations: Map<string, WireDestination> }>;

/** An edit merged with the present state: the object as it shall be, and the request. */
interface Target {
  wire: WireService | WireDestination;
  command: IpvsCommand;
}

/** Indexes of operations that follow each other. A batch of thousands needs no list of them. */
class Range {
  readonly first: number;
  readonly length: number;

  constructor(first: number, length: number) {
    this.first = first;
    this.length = length;
  }

  at(place: number): number {
    return this.first + place;
  }

  toArray(): number[] {
    return Array.from({ length: this.length }, (_, place) => this.first + place);
  }
}

interface Refusal {
  readonly error: NetlinkError;
}

/**
 * Carries out one batch. An edit reads before it writes, so the batch is cut before an edit of an object that an earlier operation changes. The
 * operations between two cuts are sent together.
 */
export class Run {
  readonly failures: BatchFailure[] = [];
  readonly #backends: Backends;
  readonly #batch: Batch;
  /** Which operations the kernel has carried out: 1 for yes. */
  readonly #applied: Uint8Array;
  readonly #targets = new Map<number, Target>();
  #sent = false;

  constructor(backends: Backends, batch: Batch) {
    this.#backends = backends;
    this.#batch = batch;
    this.#applied = new Uint8Array(batch.length);
  }

  get #backend(): Backend {
    return this.#backends.backend;
  }

  /** The indexes of the operations that the kernel has carried out. */
  get applied(): number[] {
    const applied = this.#applied;
    const indexes = new Array<number>(applied.length);
    let count = 0;
    for (let index = 0; index < applied.length; index++) if (applied[index] === 1) indexes[count++] = index;
    indexes.length = count;
    return indexes;
  }

  *all(): Operation<void> {
    const { hasEdits, length, odd } = this.#batch;
    if (odd.size > 0) yield* this.#allow(odd);
    if (!hasEdits) {
      yield* this.#send(new Range(0, length));
      if (this.#batch.isDoubtful) yield* seenThrough(this.#verify(new Range(0, length).toArray()));
      return;
    }
    for (let first = 0; first < length; ) {
      const part = this.#nextPart(first);
      first = part.at(-1)! + 1;
      yield* this.#merge(part);
      const ready = part.filter(index => this.#commandsOf(index).length > 0);
      if (ready.length === 0) continue;
      yield* this.#send(ready);
      yield* seenThrough(this.#verify(ready));
    }
  }

  /** What would be refused from a caller may stay as it is: looks whether it is. @throws the refusals of what is not. */
  *#allow(odd: ReadonlyMap<number, unknown>): Operation<void> {
    const state = yield* this.#read([...odd.keys()]);
    for (const [index, refusal] of odd) {
      const { operation, service, serviceId: id = '', destinationId: server = '' } = this.#batch.checked(index);
      const found = state.get(id);
      const kept = operation.op === 'setService' ? found?.service : found?.destinations.get(server);
      if (kept === undefined) throw refusal;
      try {
        if (operation.op === 'setService') writeService(operation.service, found!.service);
        else if (operation.op === 'setDestination') {
          const { key, destination } = operation;
          writeDestination(key, destination, service!.family, found!.destinations.get(server));
        }
      } catch (error) {
        const what = operation.op === 'setService' ? 'service' : 'destination';
        throw within(error, ['operations', index, what]);
      }
    }
  }

  /** The indexes from `first` on up to the next edit of something that one of them changes. */
  #nextPart(first: number): number[] {
    const part: number[] = [];
    const touched = new Set<string>();
    for (let index = first; index < this.#batch.length; index++) {
      const checked = this.#batch.checked(index);
      if (isEdit(checked.operation) && coversOf(checked).some(each => touched.has(each))) break;
      for (const each of touchedBy(checked)) touched.add(each);
      part.push(index);
    }
    return part;
  }

  #commandsOf(index: number): readonly IpvsCommand[] {
    const target = this.#targets.get(index);
    return target === undefined ? this.#batch.checked(index).commands : [target.command];
  }

  /** Finds out what the edits of a part come to. */
  *#merge(part: readonly number[]): Operation<void> {
    const edits = part.filter(index => isEdit(this.#batch.operation(index)));
    if (edits.length === 0) return;
    const reading = this.#read(edits);
    const state = yield* this.#sent ? seenThrough(reading) : reading;
    for (const index of edits) {
      try {
        this.#targets.set(index, targetOf(this.#batch.checked(index), state, this.#batch.kept));
      } catch (error) {
        // The patch does not fit the present state. As long as nothing was sent, the whole batch can be refused.
        if (isArgumentError(error) && !this.#sent) throw within(error, ['operations', index, 'patch']);
        this.#fail(index, error);
      }
    }
  }

  /** Reads the services of these operations: a few one by one, many with one dump of all. */
  *#read(indexes: readonly number[]): Operation<State> {
    const wanted = new Map<string, WireService>();
    for (const index of indexes) {
      const { service, serviceId: id } = this.#batch.checked(index);
      if (service !== undefined && id !== undefined) wanted.set(id, service);
    }
    const state: State = new Map();
    const add = (service: WireService, list: readonly WireDestination[]) => {
      const destinations = new Map(list.map(each => [destinationId(each, service.family), each]));
      state.set(serviceId(service), { service, destinations });
    };
    if (wanted.size > FEW) {
      const servers = yield* readServiceStates(this.#backends, { wanted: service => wanted.has(serviceId(service)) });
      for (const { service, destinations } of servers) add(service, destinations);
      return state;
    }
    for (const key of wanted.values()) {
      const service = yield* findService(this.#backend, key);
      if (service !== undefined) add(service, yield* readDestinations(this.#backend, key));
    }
    return state;
  }

  *#send(indexes: readonly number[] | Range): Operation<void> {
    for (let left = indexes; left.length > 0; ) {
      const { sent, firstOf } = yield* this.#stream(left);
      const { failures, unknownFrom = Number.POSITIVE_INFINITY, unsentFrom } = sent;
      this.#sent = true;
      const whole = failures.length === 0 && unsentFrom === firstOf(left.length) && sent.unknownFrom === undefined;
      if (whole) {
        for (let i = 0; i < left.length; i++) this.#applied[left.at(i)!] = 1;
        return;
      }
      const errors = new Map(failures.map(failure => [failure.index, failure]));
      const unknown: number[] = [];
      const unsent: number[] = [];
      for (let i = 0; i < left.length; i++) {
        const index = left.at(i)!;
        const start = firstOf(i);
        const end = firstOf(i + 1);
        if (end > unsentFrom) unsent.push(index);
        else if (end > unknownFrom && !(errors.has(start) && end === start + 1)) unknown.push(index);
        else this.#settle(index, errors.get(start), errors.get(start + 1));
      }
      if (unknown.length > 0) yield* seenThrough(this.#findOut(unknown));
      left = unsent;
    }
  }

  /** Sends the requests of these operations. `firstOf(i)` is the index, in the result, of the first request of the i-th operation. */
  *#stream(indexes: readonly number[] | Range): Operation<{ sent: PipelineResult; firstOf: (i: number) => number }> {
    const batch = this.#batch;
    if (batch.hasEdits && !(indexes instanceof Range)) {
      const commands: IpvsCommand[] = [];
      const firsts = [0];
      for (const index of indexes) firsts.push(commands.push(...this.#commandsOf(index)));
      return { sent: yield* this.#backend.pipeline(commands), firstOf: i => firsts[i]! };
    }
    // Without edits these are all operations of the batch, or those that are still unsent: a range.
    const first = indexes.at(0)!;
    const firstOf = (i: number) => batch.firstMessage(first + i);
    const sent = yield* this.#backend.stream(
      batch.messages,
      message => batch.command(message),
      firstOf(0),
      firstOf(indexes.length),
    );
    return { sent, firstOf };
  }

  /** Notes the outcome of one operation. One that replaces sends two requests: the second, which adds, counts if there was nothing to replace. */
  #settle(index: number, first: Refusal | undefined, second: Refusal | undefined): void {
    const { op } = this.#batch.operation(index);
    const absent = op === 'setService' ? 'ESRCH' : op === 'setDestination' ? 'ENOENT' : undefined;
    const refused = absent !== undefined && first?.error.code === absent ? second : first;
    if (refused === undefined) this.#applied[index] = 1;
    else this.#fail(index, refused.error);
  }

  /**
   * The answers to these operations were lost, although the kernel carried each out or refused it. The table tells which: if it is not as an
   * operation wanted, the operation was refused, and sending it again gives the reason. Operations that a later one overrides are not sent again.
   */
  *#findOut(indexes: readonly number[]): Operation<void> {
    const state = yield* this.#read(indexes);
    for (const index of this.#last(indexes)) {
      if (this.#holds(index, state)) {
        this.#applied[index] = 1;
        continue;
      }
      const errors: (Refusal | undefined)[] = [];
      for (const command of this.#commandsOf(index)) errors.push(yield* refusalOf(this.#backend.request(command)));
      this.#settle(index, errors[0], errors[1]);
    }
    const failed = new Set(this.failures.map(({ index }) => index));
    for (const index of indexes) if (!failed.has(index)) this.#applied[index] = 1;
  }

  /** The operations whose object no later one of them changes. */
  #last(indexes: readonly number[]): number[] {
    const overtaken = new Set<string>();
    const last: number[] = [];
    for (const index of indexes.toReversed()) {
      if (!coversOf(this.#batch.checked(index)).some(each => overtaken.has(each))) last.push(index);
      for (const each of touchedBy(this.#batch.checked(index))) overtaken.add(each);
    }
    return last.reverse();
  }

  #holds(index: number, state: State): boolean {
    const {
      operation,
      service,
      serviceId: id = '',
      destination,
      destinationId: server = '',
    } = this.#batch.checked(index);
    const found = state.get(id);
    const actual = found?.destinations.get(server);
    const wire = this.#targets.get(index)?.wire;
    switch (operation.op) {
      case 'addService':
      case 'setService':
      case 'editService':
        return (
          found !== undefined && serviceSettings(found.service) === serviceSettings((wire ?? service) as WireService)
        );
      case 'removeService':
        return found === undefined;
      case 'addDestination':
      case 'setDestination':
      case 'editDestination': {
        const wanted = (wire ?? destination) as WireDestination;
        return actual !== undefined && destinationSettings(actual) === destinationSettings(wanted);
      }
      case 'removeDestination':
        return found !== undefined && actual === undefined;
      case 'flush':
        return true;
      default:
        return false;
    }
  }

  /** Checks that the kernel has what edits wanted, and that an old kernel has not ignored the type of a tunnel. */
  *#verify(indexes: readonly number[]): Operation<void> {
    if (!this.#batch.isDoubtful || !indexes.some(index => this.#isDoubtful(index))) return;
    const doubtful = this.#last(indexes).filter(index => this.#applied[index] === 1 && this.#isDoubtful(index));
    if (doubtful.length === 0) return;
    const state = yield* this.#read(doubtful);
    for (const index of doubtful) {
      if (this.#holds(index, state)) continue;
      const { operation, serviceId: id = '', destination, destinationId: server = '' } = this.#batch.checked(index);
      const wanted = this.#targets.get(index)?.wire ?? destination;
      const actual = state.get(id)?.destinations.get(server);
      const ignored =
        actual && wanted && 'port' in wanted ? ignoresTunnel(wanted as WireDestination, actual) : undefined;
      const error = ignored ?? (yield* again(this.#backend, operation));
      if (error === undefined) continue;
      this.#applied[index] = 0;
      this.#fail(index, error);
    }
  }

  #isDoubtful(index: number): boolean {
    const { operation, destination } = this.#batch.checked(index);
    return (
      isEdit(operation) ||
      (operation.op !== 'removeDestination' && destination !== undefined && mayIgnoreTunnel(destination))
    );
  }

  #fail(index: number, error: unknown): void {
    this.failures.push(atIndex(asRefusal(error, this.#batch.operation(index)), index));
  }
}

/** With more services than this, one dump costs less than a request for each. */
const FEW = 16;

/** The objects that an operation changes: a service, a destination (`service destination`), all of a service (`service *`), or everything (`*`). */
function touchedBy({ operation, serviceId: id, destinationId: server }: CheckedOperation): string[] {
  switch (operation.op) {
    case 'flush':
      return ['*'];
    case 'zero':
    case 'setTimeouts':
      return [];
    case 'addService':
    case 'removeService':
      return [`${id}`, `${id} *`];
    default:
      return [server === undefined ? `${id}` : `${id} ${server}`];
  }
}

/** The names, among those of `touchedBy`, that include the operation's own object. */
function coversOf({ serviceId: id, destinationId: server }: CheckedOperation): string[] {
  if (id === undefined) return [];
  return server === undefined ? [id, '*'] : [`${id} ${server}`, `${id} *`, '*'];
}

function targetOf(
  { operation, service, serviceId: id = '', destinationId: server = '' }: CheckedOperation,
  state: State,
  kept: 'anything' | undefined,
): Target {
  const found = state.get(id);
  if (operation.op === 'editService') {
    if (found === undefined) throw missingService(operation.key);
    return mergeService(found.service, operation.patch, kept);
  }
  if (operation.op !== 'editDestination') throw new TypeError(`${operation.op} is no edit`);
  if (found === undefined) throw missingService(operation.key);
  const current = found.destinations.get(server);
  if (current === undefined) throw missingDestination('SET', operation.destinationKey);
  return mergeDestination(operation.key, service!, current, operation.patch, kept);
}

/** The error that the kernel would have given. */
function missingService(subject: Parameters<typeof keyCommand>[1]): NetlinkError {
  const { syscall, hint } = keyCommand('GET', subject);
  return new NetlinkError({ errno: -3, syscall, operation: 'ipvs.apply', subject, hint: hint?.('ESRCH', []) });
}

function* refusalOf(operation: Operation<void>): Operation<Refusal | undefined> {
  try {
    yield* operation;
    return undefined;
  } catch (error) {
    if (error instanceof NetlinkError) return { error };
    throw error;
  }
}

/** Another program changed the object after it was read for an edit: edits once more, on its own. */
function* again(backend: Backend, operation: IpvsOperation): Operation<unknown> {
  try {
    if (operation.op === 'editService') yield* editService(backend, operation.key, operation.patch);
    else if (operation.op === 'editDestination') {
      yield* editDestination(backend, operation.key, operation.destinationKey, operation.patch);
    }
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Gives an error of this library the form of a refusal by the kernel, as the failures of a batch have it. */
export function asRefusal(error: unknown, operation: { op: string }, method = 'ipvs.apply'): NetlinkError {
  if (error instanceof NetlinkError) return error;
  const errno = error instanceof UnsupportedError ? -95 : isArgumentError(error) ? -22 : -11;
  const hint = error instanceof Error ? error.message : String(error);
  return new NetlinkError({
    errno,
    syscall: operation.op,
    operation: method,
    subject: operation,
    hint,
    cause: error,
  });
}

/** The same operation without effect of an AbortSignal: after the first send, a batch is completed. */
export function* seenThrough<T>(operation: Operation<T>): Operation<T> {
  let state = operation.next();
  while (!state.done) {
    const step = state.value;
    let result: number;
    try {
      result = yield { now: () => step.now(), away: () => step.away(), abortable: false };
    } catch (error) {
      state = operation.throw(error);
      continue;
    }
    state = operation.next(result);
  }
  return state.value;
}
