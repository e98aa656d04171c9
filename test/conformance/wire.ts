import { HOST_IS_LITTLE_ENDIAN, sourceOf, Writer } from '../../src/codec/index.ts';
import {
  CTRL_ATTR_FAMILY_ID,
  GENL_ID_CTRL,
  NLM_F_DUMP,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
} from '../../src/transport/constants.ts';
import { genlmsghdr } from '../../src/transport/generic.ts';
import { beginMessage, endMessage, type Message, messagesIn, type Wire } from '../../src/transport/index.ts';
import { NOTHING } from '../../src/transport/wire.ts';

const FAMILY_ID = 0x20;

/** A kernel in memory with one family of generic netlink: keeps what is sent to it, and answers from a list. */
export class AnsweringWire implements Wire {
  readonly netnsInode = 0;
  closed = false;
  /** The payloads of the family's requests, from the genlmsghdr on. */
  readonly requests: Uint8Array[] = [];
  readonly #answer: (payload: Uint8Array, isDump: boolean) => readonly Uint8Array[];
  readonly #queue: Uint8Array[] = [];

  constructor(answer: (payload: Uint8Array, isDump: boolean) => readonly Uint8Array[]) {
    this.#answer = answer;
  }

  send(bytes: Uint8Array, length: number): number {
    const sent = bytes.slice(0, length);
    for (const message of messagesIn(sourceOf(sent))) this.#carryOut(message);
    return length;
  }

  #carryOut(message: Message): void {
    const { type, flags, payload, end, source } = message;
    const isDump = (flags & NLM_F_DUMP) === NLM_F_DUMP;
    const body = source.bytes.slice(payload, end);
    if (type === GENL_ID_CTRL) {
      this.#reply(message, GENL_ID_CTRL, 0, writer => {
        genlmsghdr.write(writer, { cmd: 1, version: 2 });
        const start = writer.beginAttribute(CTRL_ATTR_FAMILY_ID);
        writer.u16(FAMILY_ID, HOST_IS_LITTLE_ENDIAN);
        writer.endAttribute(start);
      });
    } else {
      this.requests.push(body);
      for (const answer of this.#answer(body, isDump)) {
        this.#reply(message, FAMILY_ID, isDump ? NLM_F_MULTI : 0, writer => writer.raw(answer));
      }
    }
    // The end of a dump, and an acknowledgement, both carry an error number of 0.
    this.#reply(message, isDump ? NLMSG_DONE : NLMSG_ERROR, isDump ? NLM_F_MULTI : 0, writer => writer.zeros(20));
  }

  #reply({ sequence }: Message, type: number, flags: number, write: (writer: Writer) => void): void {
    const writer = new Writer(512);
    const start = beginMessage(writer, type, flags, sequence);
    write(writer);
    endMessage(writer, start);
    this.#queue.push(writer.copy());
  }

  receive(into: Uint8Array): number {
    const next = this.#queue.shift();
    if (next === undefined) return NOTHING;
    into.set(next);
    return next.length;
  }

  async sendOffThread(bytes: Uint8Array, length: number): Promise<number> {
    return this.send(bytes, length);
  }

  async receiveOffThread(into: Uint8Array): Promise<number> {
    return this.receive(into);
  }

  reserve(bytes: number): number {
    return bytes;
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}
