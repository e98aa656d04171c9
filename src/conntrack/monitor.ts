import { checkInteger, checkObject, HOST_IS_LITTLE_ENDIAN, NO_CONTEXT } from '../codec/index.ts';
import { expectationTable } from '../ctnetlink/tables.ts';
import { DecodeError, oneOf, rangeError, typeError } from '../errors.ts';
import { NLM_F_CREATE } from '../linux/netlink.ts';
import * as C from '../linux/nfnetlink.ts';
import { GroupIteration } from '../netlink/group-iteration.ts';
import { type GroupReader, type Message, messagesIn } from '../netlink/index.ts';
import { checkSignal } from '../signal.ts';
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

/** The kind of an event: a flow began, changed or ended. */
export type FlowEventKind = 'new' | 'update' | 'destroy';

/** The options of a monitor. */
export interface ConntrackMonitorOptions {
  /** Only events of these kinds. Default: all. */
  kinds?: readonly FlowEventKind[];
  /** Also yield events of expectations. Default false. */
  expectations?: boolean;
  /** Start with an item of type 'state' that has the present flows. Default false. */
  initial?: boolean;
  /**
   * The size of the kernel's buffer for events that are not read yet, in bytes, 4096 to 1 GiB. Default 8 MiB, about 6,500 events. In a flood,
   * up to twice as many bytes of events wait in this process.
   */
  receiveBufferBytes?: number;
  /** Ends the iteration, which then throws the signal's reason. */
  signal?: AbortSignal;
}

/** One change of a flow or of an expectation. */
export type ConntrackEvent =
  | {
      /** What happened. */
      type: FlowEventKind;
      /** The flow. */
      flow: Flow;
      /** The netlink port of the program that asked for the change; 0 if a packet or a timeout caused it. */
      port: number;
    }
  | {
      /** What happened. */
      type: 'expectation-new' | 'expectation-destroy';
      /** The expectation. */
      expectation: Expectation;
      port: number;
    };

/**
 * All flows, at the start and after events were lost. A change that happens during the read may come again as an event. Compare the `id` of
 * a flow to tell whether it is the same one.
 */
export interface ConntrackState {
  /** What happened. */
  type: 'state';
  /** Why the state comes: it is the first, or events were lost. */
  reason: 'initial' | 'lost';
  /** All flows that there are. */
  flows: Flow[];
  /** Present if the options ask for expectations. */
  expectations?: Expectation[];
}

/** An item that the iteration of a monitor yields. */
export type ConntrackItem = ConntrackEvent | ConntrackState;

const KINDS: readonly FlowEventKind[] = ['new', 'update', 'destroy'];
const GROUPS: Record<FlowEventKind, number> = {
  new: C.NFNLGRP_CONNTRACK_NEW,
  update: C.NFNLGRP_CONNTRACK_UPDATE,
  destroy: C.NFNLGRP_CONNTRACK_DESTROY,
};
export const MONITOR_BUFFER_BYTES = 8 * 1024 * 1024;
const MAX_BUFFER_BYTES = 1024 * 1024 * 1024;

/** Returns the multicast groups for the options. @throws TypeError, RangeError with the path */
export function groupsOf(options: ConntrackMonitorOptions): number[] {
  checkObject(options, [], ['kinds', 'expectations', 'initial', 'receiveBufferBytes', 'signal']);
  const { kinds = KINDS, expectations = false, initial = false, receiveBufferBytes } = options;
  if (!Array.isArray(kinds)) throw typeError(['kinds'], 'an array of kinds', kinds);
  for (const [i, kind] of kinds.entries())
    if (!KINDS.includes(kind)) throw rangeError(['kinds', i], oneOf(KINDS, kind), kind);
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

/** What a monitor reads in addition to events. */
export interface ConntrackSource {
  /** @throws UnsupportedError the kernel has no ctnetlink. It would let the socket join the groups, but never send an event. */
  check(): Promise<void>;
  flows(): Promise<Flow[]>;
  expectations(): Promise<Expectation[]>;
}

/**
 * Events of the table of connections. Opened by `Conntrack.monitor`.
 *
 * @example
 * const monitor = ct.monitor({ kinds: ['new', 'destroy'] });
 * setTimeout(() => void monitor.close(), 10_000);
 * for await (const item of monitor) console.log(item.type);
 */
export class ConntrackMonitor extends GroupIteration<ConntrackItem> {
  /** @internal */
  constructor(reader: GroupReader, source: ConntrackSource, options: ConntrackMonitorOptions, closed: () => void) {
    super('monitor', reader, itemsOf(reader, source, options), options.signal, closed);
  }
}

async function* itemsOf(
  reader: GroupReader,
  source: ConntrackSource,
  options: ConntrackMonitorOptions,
): AsyncGenerator<ConntrackItem, void> {
  const kinds: ReadonlySet<string> = new Set(options.kinds ?? KINDS);
  if (!reader.closed) await source.check();
  if (options.initial === true && !reader.closed) yield await stateOf('initial', source, options);
  for (;;) {
    const read = await reader.read();
    if (read === 'closed') return;
    let lost = read === 'lost';
    const events: ConntrackEvent[] = [];
    if (read !== 'lost') {
      try {
        for (const message of messagesIn(reader.source, 0, read.length)) {
          const event = eventOf(message);
          if (event !== undefined && (!('flow' in event) || kinds.has(event.type))) events.push(event);
        }
      } catch (error) {
        // A message that cannot be decoded counts as lost, so that no message of the kernel disappears silently.
        if (!(error instanceof DecodeError)) throw error;
        lost = true;
      }
    }
    yield* events;
    if (!lost || reader.closed) continue;
    // The kernel delivers no new events until the socket is empty.
    reader.drain();
    yield await stateOf('lost', source, options);
  }
}

async function stateOf(
  reason: ConntrackState['reason'],
  source: ConntrackSource,
  options: ConntrackMonitorOptions,
): Promise<ConntrackState> {
  const state: ConntrackState = { type: 'state', reason, flows: await source.flows() };
  if (options.expectations === true) state.expectations = await source.expectations();
  return state;
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
