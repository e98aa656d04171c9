import { align4, type Source } from '../codec/index.ts';
import type { WireFlow } from '../ctnetlink/tables.ts';
import { NETLINK_NETFILTER, NLM_F_REQUEST } from '../linux/netlink.ts';
import { NFNL_SUBSYS_CTNETLINK } from '../linux/nfnetlink.ts';
import * as C from '../linux/nfnetlink_conntrack.ts';
import {
  beginMessage,
  EncodedRequests,
  Exchange,
  endMessage,
  type Message,
  NetlinkSocket,
  nfnetlinkType,
  type Operation,
  type PipelineResult,
  type Step,
  streamRequests,
  writeHeader,
} from '../netlink/index.ts';
import { runNow } from '../netlink/operation.ts';
import { attributesAt, FLOW_MESSAGE, familyOfMessage, flowCall } from './requests.ts';
import { FlowView } from './view.ts';

/** The number of requests collected before sending where the transport is no socket, about 8 MiB. */
const AT_ONCE = 100_000;
/** With more requests than this, the deletions begin while the table is still being read. Fewer are not worth a socket. */
const WORTH_A_SOCKET = 400;
const BYTES_OF_EACH = 84;
const DELETE = nfnetlinkType(NFNL_SUBSYS_CTNETLINK, C.IPCTNL_MSG_CT_DELETE);

/** Selects flows. */
export interface FlowSelection {
  /** The request to the kernel. Kernels ignore the parts of a filter that they do not know, so `matches` must decide about each flow. */
  request(): { family: number; wire: WireFlow };
  matches(source: Source, flow: FlowView): boolean;
}

/**
 * Ends the flows that match. Each request copies the tuple, the zone and the id from the flow's own message. @returns how many were ended
 */
export function* flushMatching(
  exchange: Exchange,
  filter: FlowSelection,
  budget: Step = exchange.budget,
): Operation<number> {
  const deletions = new Deletions(exchange, budget);
  try {
    do yield* deletions.round(filter);
    while (deletions.isMore);
    return deletions.ended;
  } finally {
    deletions.close();
  }
}

/**
 * Reads the table, and ends flows between two parts of it, while the next part is read off this thread. The deletions have a socket of their
 * own, because the answers on the first socket are the parts. So the memory does not depend on the number of flows.
 */
class Deletions implements Step {
  ended = 0;
  /** Whether matching flows may be left. */
  isMore = false;
  readonly #exchange: Exchange;
  readonly #budget: Step;
  readonly #view = new FlowView();
  #requests = new EncodedRequests(WORTH_A_SOCKET, BYTES_OF_EACH);
  #side: Exchange | undefined;

  constructor(exchange: Exchange, budget: Step) {
    this.#exchange = exchange;
    this.#budget = budget;
  }

  /** A signal cannot stop what has begun. */
  get abortable(): boolean {
    return this.#side === undefined && this.#budget.abortable;
  }

  now(): number {
    this.#sendMany();
    return this.#budget.now();
  }

  away(): Promise<number> {
    this.#sendMany();
    return this.#budget.away();
  }

  /** Reads the whole table once. */
  *round(filter: FlowSelection): Operation<void> {
    const { family, wire } = filter.request();
    this.isMore = false;
    yield* this.#exchange.dump(
      flowCall('get', family, wire),
      message => {
        if (message.type === FLOW_MESSAGE) this.#gather(filter, message);
        return undefined;
      },
      { budget: this, ahead: true },
    );
    if (this.#requests.length > 0) this.#count(yield* streamRequests(this.#exchange, this.#requests, DESCRIPTION));
    this.#renew();
  }

  #gather(filter: FlowSelection, { source, payload, end }: Message): void {
    const view = this.#view;
    if (!filter.matches(source, view.read(source, attributesAt(payload), end))) return;
    const { original, id, zone } = view;
    // The kernel would end all flows if a request had an incomplete tuple.
    if (original.headerStart < 0 || original.protocol < 0 || original.source.start < 0) return;
    if (this.#requests.length === AT_ONCE) {
      this.isMore = true;
      return;
    }
    const { writer } = this.#requests;
    const start = beginMessage(writer, DELETE, NLM_F_REQUEST, 0);
    writeHeader(writer, familyOfMessage(source, payload), 0);
    writer.raw(source.bytes.subarray(original.headerStart, align4(original.headerEnd)));
    if (zone !== 0) {
      const at = writer.beginAttribute(C.CTA_ZONE);
      writer.u16(zone, false);
      writer.endAttribute(at);
    }
    if (id.start >= 0) {
      const at = writer.beginAttribute(C.CTA_ID);
      writer.raw(source.bytes.subarray(id.start, id.end));
      writer.endAttribute(at);
    }
    endMessage(writer, start);
    this.#requests.added();
  }

  /** Sends what was gathered, if that is worth a second socket. */
  #sendMany(): void {
    if (this.#side === undefined && this.#requests.length <= WORTH_A_SOCKET) return;
    this.#side ??= besides(this.#exchange);
    if (this.#side === undefined || this.#requests.length === 0) return;
    this.#count(runNow(streamRequests(this.#side, this.#requests, DESCRIPTION)));
    this.#renew();
  }

  #count({ failures, unknownFrom, unsentFrom }: PipelineResult): void {
    // A flow that ended by itself is no error.
    const failed = failures.find(({ error }) => error.code !== 'ENOENT');
    if (failed !== undefined) throw failed.error;
    this.ended += Math.min(unknownFrom ?? unsentFrom, this.#requests.length) - failures.length;
    if (unknownFrom !== undefined) this.isMore = true;
  }

  #renew(): void {
    this.#requests.release();
    this.#requests = new EncodedRequests(WORTH_A_SOCKET, BYTES_OF_EACH);
  }

  close(): void {
    this.#requests.release();
    void this.#side?.transport.close();
  }
}

const DESCRIPTION = () => ({ syscall: 'IPCTNL_MSG_CT_DELETE' });

/** A second socket in the same namespace, if the first one is a socket of the kernel. */
function besides({ transport, subsystem, observer, operation }: Exchange): Exchange | undefined {
  if (!(transport instanceof NetlinkSocket)) return undefined;
  const netns = transport.namespace();
  try {
    const side = new Exchange(new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER }), subsystem, observer);
    side.operation = operation;
    return side;
  } finally {
    netns.close();
  }
}
