import { NETLINK_ROUTE, NLM_F_ECHO } from '../../linux/netlink.ts';
import type { Machine } from '../machine/machine.ts';
import type { Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import type { Link, Namespace } from '../machine/state.ts';
import { EINVAL, ENODEV, refuse } from '../refusal.ts';
import { Attributes, Writer } from '../wire/attributes.ts';

/** Devices with a smaller MTU have no IPv4. */
export const LEAST_MTU = 68;
/** nlmsghdr */
export const HEADER = 16;

/** A request, and what is around it. */
export interface Call {
  readonly machine: Machine;
  readonly namespace: Namespace;
  readonly socket: MemorySocket;
  readonly request: Request;
}

/** What a request asks for, and the attributes behind the header of its kind. */
export function partsOf({ request: { bytes } }: Call, length: number): { header: DataView; attributes: Attributes } {
  if (bytes.length < HEADER + length) refuse(EINVAL);
  return {
    header: new DataView(bytes.buffer, bytes.byteOffset + HEADER, length),
    attributes: new Attributes(bytes, HEADER + length, bytes.length),
  };
}

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
export const equal = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

type Body = (writer: Writer) => void;

export function message(request: Request, type: number, flags: number, body: Body): Uint8Array {
  const writer = new Writer();
  writer.message({ type, flags, sequence: request.sequence, port: request.port }, () => body(writer));
  return writer.take();
}

/** Tells those that listen to a group of a change that a request has made. */
export function tell(
  { machine, namespace, socket, request }: Call,
  group: number,
  type: number,
  flags: number,
  body: Body,
): void {
  const datagram = message(request, type, flags, body);
  const echo = (request.flags & NLM_F_ECHO) !== 0 ? socket : undefined;
  machine.multicast(namespace, NETLINK_ROUTE, group, datagram, echo);
  echo?.deliver(datagram);
}

/** Tells of a change in the name of nobody: links are told so, and what the clock does. */
export function tellOf(machine: Machine, namespace: Namespace, group: number, type: number, body: Body): void {
  const writer = new Writer();
  writer.message({ type, flags: 0, sequence: 0, port: 0 }, () => body(writer));
  machine.multicast(namespace, NETLINK_ROUTE, group, writer.take());
}

export function linkAt({ links }: Namespace, index: number): Link {
  return links.find(each => each.index === index) ?? refuse(ENODEV);
}
