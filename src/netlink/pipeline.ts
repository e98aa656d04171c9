import { StateError } from '../errors.ts';
import { NLM_F_ACK, NLMSG_ERROR } from '../linux/netlink.ts';
import { type Ack, Failure, type PipelineResult, type RequestInfo, readAck } from './ack.ts';
import { EncodedRequests } from './encoded-requests.ts';
import type { Call, Exchange } from './exchange.ts';
import { type Message, setFlags } from './message.ts';
import type { Operation } from './operation.ts';

/**
 * Many requests in few datagrams; `streamRequests` with what is still to be encoded.
 * @param exchange the socket that they go through
 * @param calls the requests, in order
 * @throws StateError ERR_REPLIES_LOST answers did not fit the receive buffer. What the kernel refuses is in the result
 * @example
 * function* set(): Operation<PipelineResult> {
 *   return yield* pipeline(exchange, [{ syscall: 'RTM_NEWLINK', type: 16, write: into => into.zeros(16) }]);
 * }
 */
export function* pipeline(exchange: Exchange, calls: readonly Call[]): Operation<PipelineResult> {
  const messages = new EncodedRequests();
  for (const call of calls) messages.add(call.type, call.flags ?? 0, writer => call.write(writer));
  const result = yield* streamRequests(exchange, messages, index => calls[index]!);
  messages.release();
  return result;
}

/**
 * Many requests in few datagrams: those from `begin` up to `end`, by which all indexes count. Only the last of a datagram is
 * acknowledged: it proves that none before it was dropped, and those that fail answer anyway. The kernel carries out each on its own; one
 * that fails does not stop the rest. `describe` tells what a refused one was.
 * @param exchange the socket that they go through
 * @param messages what is sent
 * @throws StateError ERR_REPLIES_LOST answers did not fit the receive buffer. What the kernel refuses is in the result
 * @example
 * function* all(): Operation<PipelineResult> {
 *   return yield* streamRequests(exchange, requests, () => ({ syscall: 'RTM_NEWLINK' }));
 * }
 */
export function* streamRequests(
  exchange: Exchange,
  messages: EncodedRequests,
  describe: (index: number) => RequestInfo,
  begin = 0,
  end = messages.length,
): Operation<PipelineResult> {
  const { datagrams } = exchange;
  const result: PipelineResult = { failures: [], unknownFrom: undefined, unsentFrom: begin };
  for (let first = begin; first < end && result.unknownFrom === undefined; ) {
    const next = messages.datagramEnd(first, end);
    const count = next - first;
    const firstSequence = exchange.take(count);
    messages.setSequences(first, next, firstSequence);
    setFlags(messages.writer, messages.start(next - 1), NLM_F_ACK);
    const bytes = messages.bytes(first, next);
    if (datagrams.staysHere(bytes.length)) datagrams.sendNow(bytes, bytes.length, count);
    else yield* datagrams.send(bytes, bytes.length, count);
    const fail = (index: number, ack: Ack) => {
      const failure = new Failure(index, ack, describe, exchange.operation, messages.bytes(index, index + 1).slice());
      result.failures.push(failure);
      firstFailure ??= failure;
    };
    const failed = (message: Message) => {
      const place = (message.sequence - firstSequence) >>> 0;
      if (message.type !== NLMSG_ERROR || place >= count) return;
      // One that is sent once more may still ask for its acknowledgement.
      const ack = readAck(message);
      if (ack.errno !== 0) fail(first + place, ack);
    };
    let firstFailure: Failure | undefined;
    const last = (firstSequence + count - 1) >>> 0;
    try {
      if (!datagrams.acknowledged(last)) {
        const ack = datagrams.readUntil(firstSequence, last, failed);
        datagrams.unread = false;
        if (ack.errno !== 0) fail(next - 1, ack);
        if (datagrams.traced) datagrams.settle(firstFailure?.error);
      }
    } catch (error) {
      datagrams.settle(error);
      if (!(error instanceof StateError)) throw error;
      result.unknownFrom = first;
      // The answers that did fit are true, and take the room that the next answers need.
      yield* datagrams.readAll(message => {
        failed(message);
        return false;
      });
    }
    first = next;
    result.unsentFrom = next;
    if (next < end) yield exchange.sendingBudget;
  }
  return result;
}
