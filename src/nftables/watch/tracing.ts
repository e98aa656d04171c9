import { checkInteger, checkObject } from '../../codec/index.ts';
import { DecodeError, StateError, typeError } from '../../errors.ts';
import { type GroupReader, messagesIn } from '../../netlink/index.ts';
import { closedError } from '../../netlink/lifetime.ts';
import { type Family, familyNumber, type MessageFamily } from '../../nf_tables/family.ts';
import { MESSAGES, readObject } from '../../nf_tables/message.ts';
import type { TraceStep } from '../../nf_tables/trace.ts';
import { checkSignal, onAbort, throwIfAborted } from '../../signal.ts';

export interface TraceOptions {
  family?: Family;
  /** With `family`: only steps in this table. */
  table?: string;
  /** What the kernel keeps for a program that is slow; beyond it steps are lost. Default 8 MiB. */
  receiveBufferBytes?: number;
  /** Ends the iteration; it throws the signal's reason. */
  signal?: AbortSignal;
}

/** A step with the family of its table. Those of one packet have the same `id`; the first has the packet's headers. */
export type TraceEvent = { family: MessageFamily } & TraceStep;

/** The way of packets through the rules: of those that a rule with `meta nftrace set 1` has marked. */
export class Trace implements AsyncIterable<TraceEvent, undefined> {
  readonly #reader: GroupReader;
  readonly #options: TraceOptions;
  #unlisten = () => {};
  readonly #closed: () => void;
  #iterating = false;
  #losses = 0;

  /** @internal */
  constructor(reader: GroupReader, options: TraceOptions, closed: () => void) {
    this.#reader = reader;
    this.#options = options;
    this.#closed = closed;
    this.#unlisten = onAbort(options.signal, () => void this.close());
  }

  /** How often the kernel had no room for steps: each time some are missing. */
  get losses(): number {
    return this.#losses;
  }

  get closed(): boolean {
    return this.#reader.closed;
  }

  /** Ends the iteration. */
  close(): Promise<void> {
    this.#unlisten();
    this.#closed();
    return this.#reader.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** One iteration: leaving it closes the trace. @throws StateError ERR_CLOSED (the call itself), ERR_BUSY there was one */
  [Symbol.asyncIterator](): AsyncGenerator<TraceEvent, undefined> {
    // An iteration that was aborted before it began throws the signal's reason.
    if (this.closed && this.#options.signal?.aborted !== true) throw closedError('the trace');
    if (this.#iterating) throw new StateError('ERR_BUSY', 'a trace has one iteration: open another one');
    this.#iterating = true;
    return this.#iterate();
  }

  async *#iterate(): AsyncGenerator<TraceEvent, undefined> {
    const { family, table, signal } = this.#options;
    try {
      for (;;) {
        const read = await this.#reader.read();
        if (read === 'closed') break;
        if (read === 'lost') {
          this.#losses++;
          continue;
        }
        for (const step of stepsIn(this.#reader, read.length)) {
          if (family !== undefined && step.family !== family) continue;
          if (table === undefined || step.table === table) yield step;
        }
      }
    } finally {
      await this.close();
    }
    throwIfAborted(signal);
    return undefined;
  }
}

function stepsIn(reader: GroupReader, length: number): TraceEvent[] {
  const steps: TraceEvent[] = [];
  try {
    for (const message of messagesIn(reader.source, 0, length)) {
      if (message.type === MESSAGES.trace.number) steps.push(readObject('trace', message) as unknown as TraceEvent);
    }
  } catch (error) {
    // A step that cannot be read is not worth the trace.
    if (!(error instanceof DecodeError)) throw error;
  }
  return steps;
}

export function checkTraceOptions(options: TraceOptions): void {
  checkObject(options, [], ['family', 'table', 'receiveBufferBytes', 'signal']);
  const { family, table, receiveBufferBytes } = options;
  checkSignal(options.signal, ['signal']);
  if (family !== undefined) familyNumber(family, ['family']);
  if (table !== undefined && family === undefined)
    throw typeError(['family'], 'a family with a table', undefined, 'ERR_MISSING');
  if (receiveBufferBytes !== undefined)
    checkInteger(receiveBufferBytes, ['receiveBufferBytes'], 4096, 1024 * 1024 * 1024);
}
