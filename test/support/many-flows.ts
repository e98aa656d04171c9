import type { NetNs } from 'netsteer';
import { NETLINK_NETFILTER, NetlinkSocket } from 'netsteer/netlink';
import { NO_CONTEXT, Writer } from '../../src/codec/index.ts';
import { checkNewFlow } from '../../src/conntrack/new-flow.ts';
import { flowTable, type WireFlow } from '../../src/ctnetlink/tables.ts';
import {
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  NLMSG_ERROR,
} from '../../src/linux/netlink.ts';
import { beginMessage, endMessage, writeHeader } from '../../src/netlink/index.ts';

/*
 * Very many entries of the table of connections, of UDP: 10.0.0.0, 10.0.0.1 ... from port 4000 to 10.200.0.1. Each tenth goes to port 53, the others to 54.
 */
const [CT_NEW, CT_GET, CT_DELETE] = [0x100, 0x101, 0x102];
const SOURCE = [10, 251, 252, 253];
const PORT = 53;
/** Messages in a datagram: more gains nothing. */
const AT_ONCE = 100;

function template(): Template {
  return templateOf(CT_NEW, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, wire => wire);
}

function deletion(): Template {
  return templateOf(CT_DELETE, NLM_F_REQUEST, ({ original }) => ({ original: original! }));
}

function templateOf(type: number, flags: number, part: (wire: WireFlow) => WireFlow): Template {
  const { family, wire } = checkNewFlow({
    protocol: 'udp',
    timeoutSeconds: 10_000,
    original: { source: SOURCE.join('.'), sourcePort: 4000, destination: '10.200.0.1', destinationPort: PORT },
  });
  const writer = new Writer();
  const start = beginMessage(writer, type, flags, 1);
  writeHeader(writer, family, 0);
  flowTable.write(writer, part(wire), NO_CONTEXT);
  endMessage(writer, start);
  const bytes = writer.copy();
  const places = (wanted: readonly number[]) =>
    [...bytes.keys()].filter(at => wanted.every((byte, i) => bytes[at + i] === byte));
  return { bytes, flags, sources: places(SOURCE), ports: places([0, PORT, 0, 0]) };
}

/** The datagrams that make this many, with an acknowledgement of the last message of each. */
export const recordedCreations = (count: number): Uint8Array[] => [...datagrams(count, template())];

/** The datagrams that end them, by their tuples. */
export const recordedFlush = (count: number): Uint8Array[] => [...datagrams(count, deletion())];

/** The request for a list of them. */
export function recordedList(): Uint8Array {
  const writer = new Writer();
  const start = beginMessage(writer, CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 1);
  writeHeader(writer, 0, 0);
  endMessage(writer, start);
  return writer.copy();
}

/** A message, and the places of what differs from one flow to the next. */
interface Template {
  readonly bytes: Uint8Array;
  readonly flags: number;
  readonly sources: readonly number[];
  readonly ports: readonly number[];
}

function* datagrams(count: number, { bytes, flags, sources, ports }: Template): Generator<Uint8Array> {
  for (let first = 0; first < count; first += AT_ONCE) {
    const messages = Math.min(AT_ONCE, count - first);
    const datagram = new Uint8Array(messages * bytes.length);
    for (let i = 0; i < messages; i++) {
      const [start, number] = [i * bytes.length, first + i];
      datagram.set(bytes, start);
      for (const at of sources) datagram.set([10, number >> 16, (number >> 8) & 255, number & 255], start + at);
      if (number % 10 !== 0) for (const at of ports) datagram[start + at + 1] = PORT + 1;
    }
    new DataView(datagram.buffer).setUint16((messages - 1) * bytes.length + 6, flags | NLM_F_ACK, true);
    yield datagram;
  }
}

/** Makes this many in a namespace that has none of them. */
export function makeFlows(netns: NetNs, count: number): void {
  const socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
  const answer = new Uint8Array(1 << 16);
  const view = new DataView(answer.buffer);
  for (const datagram of datagrams(count, template())) {
    const sent = socket.send(datagram, datagram.length);
    if (sent < 0) throw new Error(`errno ${sent}`);
    for (let length = socket.receive(answer); length > 0; length = socket.receive(answer))
      if (view.getUint16(4, true) === NLMSG_ERROR && view.getInt32(16, true) !== 0)
        throw new Error(`a flow was not made: errno ${view.getInt32(16, true)}`);
  }
  void socket.close();
}
