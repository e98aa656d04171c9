import { Writer } from '../../codec/index.ts';
import { describeErrno, StateError } from '../../errors.ts';
import { NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR } from '../../linux/netlink.ts';
import {
  ackError,
  beginMessage,
  type Exchange,
  endMessage,
  type Message,
  type Operation,
  readAck,
} from '../../netlink/index.ts';
import type { MessageName } from '../../nf_tables/message.ts';
import { requestFor } from '../request.ts';
import { hintFor } from '../write/hints.ts';

/** One request of several. */
export interface Question {
  readonly name: MessageName;
  readonly family: number;
  readonly object: Record<string, unknown>;
  /** Of all objects, and not of one. A socket has one dump at a time, so it stands last. */
  readonly dump?: boolean;
}

/** Far from those of batches and single requests: no reply to one of them is taken for one of these. */
const FIRST_SEQUENCE = 0x4000_0000;

/**
 * Several questions in one datagram, encoded once for all namespaces: what would be a send each is one. The last one must be a dump or be
 * answered always, as the generation is.
 */
export class Inquiry {
  readonly questions: readonly Question[];
  readonly bytes: Uint8Array;

  constructor(questions: readonly Question[]) {
    const writer = new Writer(512);
    for (const [i, { name, family, object, dump }] of questions.entries()) {
      const call = requestFor(name, family, object);
      const start = beginMessage(writer, call.type, NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0), FIRST_SEQUENCE + i);
      call.write(writer);
      endMessage(writer, start);
    }
    this.questions = questions;
    this.bytes = writer.copy();
  }

  /** Each reply goes to `visit`, with the index of its question. An object that is missing has no reply. */
  *ask(exchange: Exchange, visit: (index: number, message: Message) => void): Operation<void> {
    try {
      yield* this.#ask(exchange, visit);
    } catch (error) {
      // A dump that is left is in the way of the next one (EBUSY).
      exchange.abandon();
      throw error;
    }
  }

  *#ask(exchange: Exchange, visit: (index: number, message: Message) => void): Operation<void> {
    const { questions, bytes } = this;
    const last = questions.length - 1;
    let failed: Error | undefined;
    const result = yield* exchange.transact([bytes], questions.length, message => {
      const index = message.sequence - FIRST_SEQUENCE;
      const question = questions[index];
      if (question === undefined) return false;
      if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
        visit(index, message);
        return index === last && question.dump !== true;
      }
      const verdict = readAck(message);
      if (verdict.errno !== 0 && describeErrno(verdict.errno).code !== 'ENOENT')
        failed ??= ackError(
          requestFor(question.name, question.family, question.object),
          verdict,
          exchange.operation,
          bytes.slice(),
          (code, path) => hintFor({ code, path }),
        );
      return index === last;
    });
    if (failed !== undefined) throw failed;
    if (result !== 'done')
      throw new StateError('ERR_NO_REPLY', `${exchange.operation}: the kernel did not answer all that it was asked`);
  }
}
