import { HOST_IS_LITTLE_ENDIAN } from '../../src/codec/index.ts';
import { CTRL_ATTR_FAMILY_ID, GENL_ID_CTRL } from '../../src/linux/genetlink.ts';
import { NLM_F_DUMP, NLM_F_MULTI } from '../../src/linux/netlink.ts';
import { genlmsghdr } from '../../src/netlink/index.ts';
import { acknowledge, done, MemoryTransport, message, type Received, received } from '../support/memory-transport.ts';

const FAMILY_ID = 0x20;

/** Gives the payloads, from the genlmsghdr on, that a request is answered with. */
export type Answers = (payload: Uint8Array, isDump: boolean) => readonly Uint8Array[];

/** A kernel in memory with one family of generic netlink. `requests` has what was asked of it. */
export function answeringWire(answers: Answers): { wire: MemoryTransport; requests: Uint8Array[] } {
  const requests: Uint8Array[] = [];
  const answer = (request: Received): Uint8Array[] => {
    const { type, flags, sequence, payload } = request;
    if (type === GENL_ID_CTRL) return [familyOf(sequence), acknowledge(request)];
    requests.push(payload);
    const isDump = (flags & NLM_F_DUMP) === NLM_F_DUMP;
    const replies = answers(payload, isDump).map(reply =>
      message(FAMILY_ID, isDump ? NLM_F_MULTI : 0, sequence, writer => writer.raw(reply)),
    );
    return [...replies, isDump ? done(sequence) : acknowledge(request)];
  };
  return { wire: new MemoryTransport(datagram => received(datagram).flatMap(answer)), requests };
}

function familyOf(sequence: number): Uint8Array {
  return message(GENL_ID_CTRL, 0, sequence, writer => {
    genlmsghdr.write(writer, { cmd: 1, version: 2 });
    const start = writer.beginAttribute(CTRL_ATTR_FAMILY_ID);
    writer.u16(FAMILY_ID, HOST_IS_LITTLE_ENDIAN);
    writer.endAttribute(start);
  });
}
