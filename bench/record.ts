import type { Transport } from 'netsteer/netlink';

/** A socket that keeps a copy of what goes through it: the floor sends the very same bytes. */
export class Recorder implements Transport {
  readonly datagrams: Uint8Array[] = [];
  readonly #wire: Transport;

  constructor(wire: Transport) {
    this.#wire = wire;
  }

  get netnsInode(): number {
    return this.#wire.netnsInode;
  }
  get closed(): boolean {
    return this.#wire.closed;
  }

  send(bytes: Uint8Array, length: number): number {
    this.datagrams.push(bytes.slice(0, length));
    return this.#wire.send(bytes, length);
  }
  sendOffThread(bytes: Uint8Array, length: number): Promise<number> {
    this.datagrams.push(bytes.slice(0, length));
    return this.#wire.sendOffThread(bytes, length);
  }
  receive(into: Uint8Array): number {
    return this.#wire.receive(into);
  }
  receiveOffThread(into: Uint8Array): Promise<number> {
    return this.#wire.receiveOffThread(into);
  }
  reserve(bytes: number, replies: number): number {
    return this.#wire.reserve(bytes, replies);
  }
  close(): Promise<void> {
    return this.#wire.close();
  }
}
