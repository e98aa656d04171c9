import { align4, type Source } from '../codec/index.ts';
import type { WireFlow } from '../ctnetlink/tables.ts';
import { NFNL_SUBSYS_CTNETLINK } from '../linux/nfnetlink.ts';
import * as C from '../linux/nfnetlink_conntrack.ts';
import {
  EncodedRequests,
  type EventLoopBudget,
  type Exchange,
  nfnetlinkType,
  type Operation,
  writeHeader,
} from '../netlink/index.ts';
import { attributesAt, FLOW_MESSAGE, familyOfMessage, flowCall } from './requests.ts';
import { FlowView } from './view.ts';

/** The number of requests collected before sending, about 8 MiB. A table with more matching flows is read again. */
const AT_ONCE = 100_000;
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
export function* flushMatching(exchange: Exchange, filter: FlowSelection, budget = exchange.budget): Operation<number> {
  let ended = 0;
  for (;;) {
    const requests = new EncodedRequests(1024, BYTES_OF_EACH);
    try {
      const rest = yield* gather(exchange, filter, requests, budget);
      if (requests.length === 0) return ended;
      const { failures, unknownFrom, unsentFrom } = yield* exchange.stream(requests, () => ({
        syscall: 'IPCTNL_MSG_CT_DELETE',
      }));
      const failed = failures.find(({ error }) => error.code !== 'ENOENT');
      if (failed !== undefined) throw failed.error;
      ended += Math.min(unknownFrom ?? unsentFrom, requests.length) - failures.length;
      if (!rest && unknownFrom === undefined) return ended;
    } finally {
      requests.release();
    }
  }
}

/** Writes a request for each flow that matches, up to AT_ONCE. @returns whether more flows match */
function* gather(
  exchange: Exchange,
  filter: FlowSelection,
  requests: EncodedRequests,
  budget: EventLoopBudget,
): Operation<boolean> {
  const { family, wire } = filter.request();
  const view = new FlowView();
  let more = false;
  yield* exchange.dump(
    flowCall('get', family, wire),
    ({ type, source, payload, end }) => {
      if (type !== FLOW_MESSAGE || !filter.matches(source, view.read(source, attributesAt(payload), end)))
        return undefined;
      const { original, id, zone } = view;
      // The kernel would end all flows if a request had an incomplete tuple.
      if (original.headerStart < 0 || original.protocol < 0 || original.source.start < 0) return undefined;
      if (requests.length === AT_ONCE) {
        more = true;
        return undefined;
      }
      requests.add(DELETE, 0, writer => {
        writeHeader(writer, familyOfMessage(source, payload), 0);
        writer.raw(source.bytes.subarray(original.headerStart, align4(original.headerEnd)));
        if (zone !== 0) {
          const at = writer.beginAttribute(C.CTA_ZONE);
          writer.u16(zone, false);
          writer.endAttribute(at);
        }
        if (id.start < 0) return;
        const at = writer.beginAttribute(C.CTA_ID);
        writer.raw(source.bytes.subarray(id.start, id.end));
        writer.endAttribute(at);
      });
      return undefined;
    },
    { budget },
  );
  return more;
}
