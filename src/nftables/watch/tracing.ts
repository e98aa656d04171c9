import { checkInteger, checkObject } from '../../codec/index.ts';
import { DecodeError, typeError } from '../../errors.ts';
import { GroupIteration } from '../../netlink/group-iteration.ts';
import { type GroupReader, messagesIn } from '../../netlink/index.ts';
import { isStep, readStep } from '../../nf_tables/all-messages.ts';
import { type Family, familyNumber, type MessageFamily } from '../../nf_tables/family.ts';
import type { TraceStep } from '../../nf_tables/trace.ts';
import { checkSignal } from '../../signal.ts';

/** Which steps of packets a trace follows. */
export interface TraceOptions {
  /** Only tables of this family; of a step, that of the table. */
  family?: Family;
  /** With `family`: only steps in this table. */
  table?: string;
  /** What the kernel keeps for a program that is slow; beyond it steps are lost. Default 8 MiB. */
  receiveBufferBytes?: number;
  /** Ends the iteration; it throws the signal's reason. */
  signal?: AbortSignal;
}

/** A step with the family of its table. Those of one packet have the same `id`; the first has the packet's headers. */
export type TraceEvent = {
  /** Only tables of this family; of a step, that of the table. */
  family: MessageFamily;
} & TraceStep;

/**
 * The way of packets through the rules: of those that a rule with `meta nftrace set 1` has marked.
 * @example
 * for await (const step of nft.trace()) console.log(step.id, step.family);
 */
export class Trace extends GroupIteration<TraceEvent> {
  readonly #counts: { losses: number };

  /** @internal */
  constructor(reader: GroupReader, options: TraceOptions, closed: () => void) {
    const counts = { losses: 0 };
    super('trace', reader, eventsOf(reader, options, counts), options.signal, closed);
    this.#counts = counts;
  }

  /** How often the kernel had no room for steps: each time some are missing. */
  get losses(): number {
    return this.#counts.losses;
  }
}

async function* eventsOf(
  reader: GroupReader,
  { family, table }: TraceOptions,
  counts: { losses: number },
): AsyncGenerator<TraceEvent, void> {
  for (;;) {
    const read = await reader.read();
    if (read === 'closed') return;
    if (read === 'lost') {
      counts.losses++;
      continue;
    }
    for (const step of stepsIn(reader, read.length)) {
      if (family !== undefined && step.family !== family) continue;
      if (table === undefined || step.table === table) yield step;
    }
  }
}

function stepsIn(reader: GroupReader, length: number): TraceEvent[] {
  const steps: TraceEvent[] = [];
  try {
    for (const message of messagesIn(reader.source, 0, length)) {
      if (isStep(message)) steps.push(readStep(message) as unknown as TraceEvent);
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
