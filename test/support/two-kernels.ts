import type { NetNs } from 'netsteer';
import { NetlinkSocket } from 'netsteer/netlink';
import {
  NETLINK_ADD_MEMBERSHIP,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from '../../src/linux/netlink.ts';
import { SOL_NETLINK } from '../../src/linux/socket.ts';

/*
 * The same messages to the real kernel and to the kernel in memory. They are written and read here by hand, so that neither the library nor
 * the kernel in memory judges itself.
 */

export type Part = Uint8Array;

const align = (length: number): number => (length + 3) & ~3;
export const bytes = (...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array =>
  Buffer.concat(parts.map(part => Uint8Array.from(part)));
export const be16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value);
export const be32 = (value: number): Uint8Array => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
export const le32 = (value: number): Uint8Array => be32(value).reverse();
export const le16 = (value: number): Uint8Array => be16(value).reverse();
export const text = (value: string): Uint8Array => bytes(Buffer.from(value), [0]);

export function attribute(type: number, value: Uint8Array | readonly number[]): Part {
  const part = new Uint8Array(4 + align(value.length));
  part.set(le16(4 + value.length));
  part.set(le16(type), 2);
  part.set(value, 4);
  return part;
}
export const nest = (type: number, ...parts: readonly (Part | undefined)[]): Part =>
  attribute(0x8000 | type, bytes(...parts.filter(part => part !== undefined)));

interface RawMessage {
  readonly type: number;
  readonly flags: number;
  readonly header: readonly Part[];
}

/** A message as it came. */
export interface Came {
  readonly type: number;
  readonly flags: number;
  readonly port: number;
  readonly body: Uint8Array;
}

/** A socket that sends one message and takes what comes. */
export class RawSocket {
  readonly #socket: NetlinkSocket;
  readonly #buffer = new Uint8Array(1 << 17);
  #sequence = 0;
  readonly port: number;

  constructor(netns: NetNs, protocol: number, groups: readonly number[] = []) {
    this.#socket = new NetlinkSocket({ netns, protocol });
    this.port = this.#socket.port;
    for (const group of groups) this.#socket.setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  }

  /** What is there to read, messages of all datagrams. */
  read(): Came[] {
    const came: Came[] = [];
    for (;;) {
      const length = this.#socket.receive(this.#buffer);
      if (length <= 0) return came;
      const view = new DataView(this.#buffer.buffer);
      for (let at = 0; at + 16 <= length; at += align(view.getUint32(at, true)))
        came.push({
          type: view.getUint16(at + 4, true),
          flags: view.getUint16(at + 6, true),
          port: view.getUint32(at + 12, true),
          body: this.#buffer.slice(at + 16, at + view.getUint32(at, true)),
        });
    }
  }

  /** The errno of the answer, and the messages before it. */
  ask(type: number, flags: number, ...parts: readonly Part[]): { errno: number; messages: Came[] } {
    const isDump = (flags & NLM_F_DUMP) === NLM_F_DUMP;
    const body = bytes(...parts);
    const all = NLM_F_REQUEST | (isDump ? 0 : NLM_F_ACK) | flags;
    const datagram = bytes(le32(16 + body.length), le16(type), le16(all), le32(++this.#sequence), le32(0), body);
    const sent = this.#socket.send(datagram, datagram.length);
    if (sent < 0) return { errno: sent, messages: [] };
    const messages: Came[] = [];
    for (;;) {
      const some = this.read();
      if (some.length === 0) return { errno: 1, messages };
      for (const one of some) {
        if (one.type === NLMSG_ERROR || one.type === NLMSG_DONE)
          return { errno: new DataView(one.body.buffer, one.body.byteOffset).getInt32(0, true), messages };
        messages.push(one);
      }
    }
  }

  close(): void {
    void this.#socket.close();
  }
}

/** Attributes as lines, for people to compare. `known` says of a path what its value is to be shown as. */
export function shown(
  { type, flags, body }: Came,
  headerLength: number,
  known: (path: string, value: Buffer) => string | undefined,
): string {
  const lines: string[] = [];
  const walk = (part: Uint8Array, path: string, depth: number): void => {
    const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
    for (let at = 0; at + 4 <= part.length; ) {
      const length = view.getUint16(at, true);
      if (length < 4) return;
      const raw = view.getUint16(at + 2, true);
      const value = part.subarray(at + 4, at + length);
      const own = `${path}${path === '' ? '' : '.'}${raw & 0x3fff}`;
      const told = known(own, Buffer.from(value));
      if (told !== undefined) {
        if (told !== '') lines.push(`${'  '.repeat(depth)}${own}${raw & 0x8000 ? '*' : ''} ${told}`);
      } else if ((raw & 0x8000) !== 0) {
        lines.push(`${'  '.repeat(depth)}${own}*`);
        walk(value, own, depth + 1);
      } else lines.push(`${'  '.repeat(depth)}${own} ${Buffer.from(value).toString('hex')}`);
      at += align(length);
    }
  };
  walk(body.subarray(headerLength), '', 1);
  return `${type.toString(16)} ${flags.toString(16)} ${Buffer.from(body.subarray(0, headerLength)).toString('hex')}\n${lines.join('\n')}`;
}
