import type { Transport } from '../../src/netlink/index.ts';

/** An acknowledgement: NLMSG_ERROR with errno 0. */
export const ACK: [type: number, flags: number, payload: Uint8Array] = [2, 0, new Uint8Array(20)];

/** Bytes, written with spaces where that helps to read them. */
export const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

/** What rtnetlink says of the loopback device. */
export const LO = hex(
  '00 00 0403 01000000 49000100 00000000' + // ifinfomsg: loopback, 1, up running lower-up loopback
    '0700 0300 6c6f00 00' + // lo
    '0800 0400 00000100' + // mtu 65536
    '0a00 0100 000000000000 0000', // address
);

/**
 * A kernel that answers each request with what `answer` gives: message type, flags, and payload in hex. It is for kinds, revisions and refusals that the
 * kernel in memory does not have, and for requests that are only looked at.
 */
export class CannedTransport implements Transport {
  readonly netnsInode = 0;
  closed = false;
  readonly requests: Uint8Array[] = [];
  readonly #answer: (request: Uint8Array) => [type: number, flags: number, payload: Uint8Array][];
  #waiting: Uint8Array[] = [];

  constructor(answer: (request: Uint8Array) => [number, number, Uint8Array][]) {
    this.#answer = answer;
  }
  send(bytes: Uint8Array, length: number): number {
    const request = bytes.slice(0, length);
    this.requests.push(request);
    const sequence = new DataView(request.buffer).getUint32(8, true);
    for (const [type, flags, payload] of this.#answer(request)) {
      const message = new Uint8Array(16 + payload.length);
      const view = new DataView(message.buffer);
      view.setUint32(0, message.length, true);
      view.setUint16(4, type, true);
      view.setUint16(6, flags, true);
      view.setUint32(8, sequence, true);
      message.set(payload, 16);
      this.#waiting.push(message);
    }
    return length;
  }
  receive(into: Uint8Array): number {
    const message = this.#waiting.shift();
    if (message === undefined) return -11;
    into.set(message);
    return message.length;
  }
  async sendOffThread(bytes: Uint8Array, length: number) {
    return this.send(bytes, length);
  }
  async receiveOffThread(into: Uint8Array) {
    return this.receive(into);
  }
  reserve() {
    return 1 << 20;
  }
  async close() {
    this.closed = true;
  }
}
