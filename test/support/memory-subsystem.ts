import { attributes, NO_CONTEXT, nested, opt, string, u32be } from '../../src/codec/index.ts';
import { type Call, Exchange, locateIn, type Message } from '../../src/netlink/index.ts';
import { type Answer, MemoryTransport, message, type Received, received } from './memory-transport.ts';

/* A netlink subsystem for tests: one kind of object, and a kernel that is a function. */

export const OBJECT = 0x300;
const inner = attributes('INNER', { id: u32be(1), label: opt(string(2, 15)) });
export const table = attributes('OBJECT', {
  name: opt(string(1, 63)),
  inner: opt(nested(2, inner)),
  count: opt(u32be(3)),
});
export type Thing = { name?: string; inner?: { id: number; label?: string }; count?: number };

export const call = (value: Thing = {}, extra: Partial<Call> = {}): Call => ({
  type: OBJECT,
  syscall: 'OBJECT_NEW',
  subject: value,
  locate: locateIn(table, 0, NO_CONTEXT),
  write: writer => table.write(writer, value, NO_CONTEXT),
  ...extra,
});

export const thing = (request: { sequence: number }, value: Thing, flags = 0): Uint8Array =>
  message(OBJECT, flags, request.sequence, writer => table.write(writer, value, NO_CONTEXT));

export const read = ({ source, payload, end }: Message): Thing | undefined =>
  table.read(source, payload, end, NO_CONTEXT);

/** A kernel that answers each message on its own. */
export function kernel(answer: (request: Received, index: number) => Iterable<Answer>) {
  let index = 0;
  const wire = new MemoryTransport(datagram => received(datagram).flatMap(request => [...answer(request, index++)]));
  const exchange = new Exchange(wire, 'test');
  exchange.operation = 'test.thing';
  return { wire, exchange, requests: () => wire.sent.flatMap(received) };
}
