import { checkInteger, checkObject, HOST_IS_LITTLE_ENDIAN, NO_CONTEXT } from '../codec/index.ts';
import { expectationTable } from '../ctnetlink/tables.ts';
import { DecodeError, rangeError, StateError, typeError } from '../errors.ts';
import { NLM_F_CREATE } from '../linux/netlink.ts';
import * as C from '../linux/nfnetlink.ts';
import { type GroupReader, type Message, messagesIn } from '../netlink/index.ts';
import { closedError } from '../netlink/lifetime.ts';
import { checkSignal, onAbort, throwIfAborted } from '../signal.ts';
import { type Expectation, expectationOf } from './expectation.ts';
import type { Flow } from './flow.ts';
import {
  attributesAt,
  EXPECTATION_DELETED,
  EXPECTATION_MESSAGE,
  FLOW_DELETED,
  FLOW_MESSAGE,
  familyOfMessage,
  readFlow,
} from './requests.ts';

export type FlowEventKind = 'new' | 'update' | 'destroy';

export interface ConntrackMonitorOptions {
  /** What is told of flows; default all. */
  kinds?: readonly FlowEventKind[];
  /** Also what helpers expect, and what becomes of it. Default false. */
  expectations?: boolean;
  /** Begins with the flows that there are: an item of type 'state'. Default false. */
  initial?: boolean;
  /** What the kernel keeps for a program that is slow, 4096 to 1 GiB; default 8 MiB, some 6,500 events. */
  receiveBufferBytes?: number;
  /** Ends the iteration; it throws the signal's reason. */
  signal?: AbortSignal;
}

/** One change of a flow, or of an expectation. */
export type ConntrackEvent =
  | {
      type: FlowEventKind;
      flow: Flow;
      /** The netlink port of whoever asked for it; 0 where a packet or time did. */
      port: number;
    }
  | { type: 'expectation-new' | 'expectation-destroy'; expectation: Expectation; port: number };

/**
 * All flows, in place of events: at the beginning, and after events were lost. What happens while they are read may come again as an event, so
 * that a flow is told apart by its `id`.
 */
export interface ConntrackState {
  type: 'state';
  reason: 'initial' | 'lost';
  flows: Flow[];
  /** Where they were asked for. */
  expectations?: Expectation[];
}

export type ConntrackItem = ConntrackEvent | ConntrackState;

const KINDS: readonly FlowEventKind[] = ['new', 'update', 'destroy'];
const GROUPS: Record<FlowEventKind, number> = {
  new: C.NFNLGRP_CONNTRACK_NEW,
  update: C.NFNLGRP_CONNTRACK_UPDATE,
  destroy: C.NFNLGRP_CONNTRACK_DESTROY,
};
export const MONITOR_BUFFER_BYTES = 8 * 1024 * 1024;
const MAX_BUFFER_BYTES = 1024 * 1024 * 1024;

/** The multicast groups that the options want. @throws TypeError, RangeError with the path */
export function groupsOf(options: ConntrackMonitorOptions): number[] {
  checkObject(options, [], ['kinds', 'expectations', 'initial', 'receiveBufferBytes', 'signal']);
  const { kinds = KINDS, expectations = false, initial = false, receiveBufferBytes } = options;
  if (!Array.isArray(kinds)) throw typeError(['kinds'], 'an array of kinds', kinds);
  for (const [i, kind] of kinds.entries())
    if (!KINDS.includes(kind)) throw rangeError(['kinds', i], `one of ${KINDS.join(', ')}`, kind);
  for (const [field, value] of Object.entries({ expectations, initial }))
    if (typeof value !== 'boolean') throw typeError([field], 'a boolean', value);
  if (receiveBufferBytes !== undefined)
    checkInteger(receiveBufferBytes, ['receiveBufferBytes'], 4096, MAX_BUFFER_BYTES);
  checkSignal(options.signal, ['signal']);
  const groups = KINDS.filter(kind => kinds.includes(kind)).map(kind => GROUPS[kind]);
  if (expectations) groups.push(C.NFNLGRP_CONNTRACK_EXP_NEW, C.NFNLGRP_CONNTRACK_EXP_DESTROY);
  if (groups.length === 0) throw rangeError(['kinds'], 'at least one kind', kinds);
  return groups;
}

/** What a monitor reads besides events. */
export interface ConntrackSource {
  flows(): Promise<Flow[]>;
  expectations(): Promise<Expectation[]>;
}

/** Events of the table of connections. Opened by `Conntrack.monitor`. */
export class ConntrackMonitor implements AsyncIterable<ConntrackItem, undefined> {
  readonly #reader: GroupReader;
  readonly #source: ConntrackSource;
  readonly #options: ConntrackMonitorOptions;
  readonly #kinds: ReadonlySet<string>;
  readonly #closed: () => void;
  #unlisten = () => {};
  #iterating = false;

  /** @internal */
  constructor(reader: GroupReader, source: ConntrackSource, options: ConntrackMonitorOptions, closed: () => void) {
    this.#reader = reader;
    this.#source = source;
    this.#options = options;
    this.#kinds = new Set(options.kinds ?? KINDS);
    this.#closed = closed;
    this.#unlisten = onAbort(options.signal, () => void this.close());
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

  /** One iteration: leaving it closes the monitor. @throws StateError ERR_CLOSED (the call itself), ERR_BUSY there was one */
  [Symbol.asyncIterator](): AsyncGenerator<ConntrackItem, undefined> {
    // An iteration that was aborted before it began throws the signal's reason.
    if (this.closed && this.#options.signal?.aborted !== true) throw closedError('the monitor');
    if (this.#iterating) throw new StateError('ERR_BUSY', 'a monitor has one iteration: open another one');
    this.#iterating = true;
    return this.#iterate();
  }

  async *#iterate(): AsyncGenerator<ConntrackItem, undefined> {
    try {
      if (this.#options.initial === true && !this.closed) yield await this.#state('initial');
      for (;;) {
        const read = await this.#reader.read();
        if (read === 'closed') break;
        let lost = read === 'lost';
        const events: ConntrackEvent[] = [];
        if (read !== 'lost') {
          try {
            for (const message of messagesIn(this.#reader.source, 0, read.length)) {
              const event = eventOf(message);
              if (event !== undefined && (!('flow' in event) || this.#kinds.has(event.type))) events.push(event);
            }
          } catch (error) {
            // Nothing that the kernel says is thrown away unread.
            if (!(error instanceof DecodeError)) throw error;
            lost = true;
          }
        }
        yield* events;
        if (!lost || this.closed) continue;
        // The kernel delivers nothing until all that is there has been read.
        this.#reader.drain();
        yield await this.#state('lost');
      }
    } catch (error) {
      // The handle was closed while the state was read: that is the end, and no failure.
      if (!this.closed || (error as { code?: unknown }).code !== 'ERR_CLOSED') throw error;
    } finally {
      await this.close();
    }
    throwIfAborted(this.#options.signal);
    return undefined;
  }

  async #state(reason: ConntrackState['reason']): Promise<ConntrackState> {
    const state: ConntrackState = { type: 'state', reason, flows: await this.#source.flows() };
    if (this.#options.expectations === true) state.expectations = await this.#source.expectations();
    return state;
  }
}

const NLMSG_PID = 12;

function eventOf(message: Message): ConntrackEvent | undefined {
  const { type, flags, source, payload, end, start } = message;
  const port = source.view.getUint32(start + NLMSG_PID, HOST_IS_LITTLE_ENDIAN);
  if (type === FLOW_MESSAGE || type === FLOW_DELETED) {
    const flow = readFlow(message);
    if (flow === undefined) return undefined;
    const kind = type === FLOW_DELETED ? 'destroy' : (flags & NLM_F_CREATE) !== 0 ? 'new' : 'update';
    return { type: kind, flow, port };
  }
  if (type !== EXPECTATION_MESSAGE && type !== EXPECTATION_DELETED) return undefined;
  const wire = expectationTable.read(source, attributesAt(payload), end, NO_CONTEXT);
  const expectation = wire && expectationOf(wire, familyOfMessage(source, payload));
  if (expectation === undefined) return undefined;
  return { type: type === EXPECTATION_DELETED ? 'expectation-destroy' : 'expectation-new', expectation, port };
}
