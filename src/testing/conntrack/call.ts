import { NLM_F_DUMP, NLM_F_ECHO, NLM_F_MULTI } from '../../linux/netlink.ts';
import type { Machine } from '../machine/machine.ts';
import { packed, type Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import type { Namespace } from '../machine/state.ts';
import { EBUSY, refuse } from '../refusal.ts';
import { Attributes, Writer } from '../wire/attributes.ts';
import type { Author } from './messages.ts';

/** nlmsghdr and nfgenmsg. */
export const HEADERS = 20;

/** A request, and what is around it. */
export interface Call {
  readonly machine: Machine;
  readonly namespace: Namespace;
  readonly socket: MemorySocket;
  readonly request: Request;
  readonly attributes: Attributes;
  readonly family: number;
  readonly author: Author;
}

export function callOf(machine: Machine, socket: MemorySocket, request: Request): Call {
  return {
    machine,
    namespace: machine.namespace(socket.namespace),
    socket,
    request,
    attributes: new Attributes(request.bytes, HEADERS, request.bytes.length),
    family: request.bytes[16]!,
    author: { socket, echo: (request.flags & NLM_F_ECHO) !== 0 },
  };
}

/** Each bit of NLM_F_DUMP makes a request a dump. */
export const isDump = ({ flags }: Request): boolean => (flags & NLM_F_DUMP) !== 0;

export function startDump({ socket, request }: Call, messages: Iterable<Uint8Array>): void {
  if (!socket.start(packed(messages, request))) refuse(EBUSY);
}

/** What a processor has counted. */
export function statisticsMessage(
  { sequence, port }: Request,
  subsystem: number,
  message: number,
  fields: readonly (readonly [type: number, value: number])[],
): Uint8Array {
  const writer = new Writer();
  writer.message({ type: (subsystem << 8) | message, flags: NLM_F_MULTI, sequence, port }, () => {
    writer.raw(Uint8Array.of(0, 0, 0, 0));
    for (const [type, value] of fields) writer.u32be(type, value);
  });
  return writer.take();
}
