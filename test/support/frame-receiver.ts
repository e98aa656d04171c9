import koffi from 'koffi';
import type { NetNs } from '../../src/netns/index.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const MSG_DONTWAIT = 0x40;
const ETH_P_ALL_BE = 0x0300;
const ETHERNET = 14;

/** Receives whole Ethernet frames at a device. Over veth a forwarded frame is there as soon as the frame that caused it has been sent. */
export class FrameReceiver {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(65_536);
  readonly #c = {
    socket: koffi.load(null).func('int socket(int, int, int)'),
    bind: koffi.load(null).func('int bind(int, const void *, int)'),
    setsockopt: koffi.load(null).func('int setsockopt(int, int, int, const void *, int)'),
    recv: koffi.load(null).func('long recv(int, _Out_ uint8_t *, size_t, int)'),
    close: koffi.load(null).func('int close(int)'),
    if_nametoindex: koffi.load(null).func('unsigned int if_nametoindex(const char *)'),
  };

  constructor(netns: NetNs, device: string) {
    // struct sockaddr_ll: family, protocol, index, ...
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16LE(ETH_P_ALL_BE, 2);
    this.#fd = netns.run(() => {
      address.writeInt32LE(this.#c.if_nametoindex(device), 4);
      return this.#c.socket(AF_PACKET, SOCK_RAW, 0);
    });
    const one = Buffer.from([1, 0, 0, 0]);
    if (this.#fd < 0 || this.#c.setsockopt(this.#fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, one, 4) !== 0)
      throw new Error(`no frames from ${device}`);
    if (this.#c.bind(this.#fd, address, address.length) !== 0) throw new Error(`no frames from ${device}`);
  }

  /** The packets since the last time, from the network header on: hexadecimal digits. */
  take(): string[] {
    const frames: string[] = [];
    for (;;) {
      const length = this.#c.recv(this.#fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT);
      if (length <= ETHERNET) return frames;
      frames.push(this.#buffer.toString('hex', ETHERNET, length));
    }
  }

  close(): void {
    this.#c.close(this.#fd);
  }
}
