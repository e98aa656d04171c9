import { execFileSync } from 'node:child_process';
import koffi from 'koffi';
import { NetNs } from '../../src/netns/index.ts';
import { Nflog, type NflogOptions, type Packet } from '../../src/nflog/index.ts';

/** What a test has opened, closed after it in the opposite order. */
export class Opened {
  readonly #all: { close(): void }[] = [];

  add<T extends { close(): void }>(each: T): T {
    this.#all.push(each);
    return each;
  }
  namespace(): NetNs {
    const ns = this.add(NetNs.create());
    ip(ns, 'link set lo up');
    return ns;
  }
  log(options: NflogOptions): Nflog {
    return this.add(Nflog.open(options));
  }
  close(): void {
    for (const each of this.#all.splice(0).reverse()) each.close();
  }
}

/** Runs ip(8), one command a line, in the namespace. */
export function ip(ns: NetNs, ...commands: string[]): void {
  ns.run(() => execFileSync('ip', ['-batch', '-'], { input: `${commands.join('\n')}\n` }));
}

/** Loads rules; nft 1.0.6 wants the ends of blocks on lines of their own. */
export function nft(ns: NetNs, rules: string): void {
  const input = `${rules.replace(/;\s*}/g, ';\n}\n')}\n`;
  ns.run(() => execFileSync('nft', ['-f', '-'], { input }));
}

/** The next so many packets; with `wanted` of those that it says yes to. */
export async function take(log: Nflog, count: number, wanted = (_: Packet) => true): Promise<Packet[]> {
  const packets: Packet[] = [];
  if (count > 0) for await (const packet of log) if (wanted(packet) && packets.push(packet) === count) break;
  return packets;
}

export const bytes = (hex: string) => Buffer.from(hex.replace(/[\s:]/g, ''), 'hex');

/** A UDP packet over IPv4, its checksums right, of `size` bytes of payload. */
export function udp4(source: string, destination: string, port = 9999, size = 5): Buffer {
  const packet = Buffer.alloc(28 + size, 'x');
  packet.set([0x45, 0, (28 + size) >> 8, (28 + size) & 0xff, 0, 7, 0x40, 0, 64, 17, 0, 0]);
  packet.set([...source.split('.'), ...destination.split('.')].map(Number), 12);
  // A UDP checksum of 0 is none.
  packet.set([0x30, 0x39, port >> 8, port & 0xff, (8 + size) >> 8, (8 + size) & 0xff, 0, 0], 20);
  packet.writeUInt16BE(checksum(packet.subarray(0, 20)), 10);
  return packet;
}

/** The ones' complement of the sum: what IPv4 wants in its header. */
export function checksum(header: Buffer): number {
  let sum = 0;
  for (let i = 0; i < header.length; i += 2) sum += (header[i]! << 8) | (header[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

const AF_PACKET = 17;
const SOCK_RAW = 3;

/** Sends whole Ethernet frames from a device. */
export class FrameSender {
  readonly #fd: number;
  readonly #c = {
    socket: koffi.load(null).func('int socket(int, int, int)'),
    bind: koffi.load(null).func('int bind(int, const void *, int)'),
    send: koffi.load(null).func('long send(int, const void *, size_t, int)'),
    close: koffi.load(null).func('int close(int)'),
    if_nametoindex: koffi.load(null).func('unsigned int if_nametoindex(const char *)'),
  };

  constructor(ns: NetNs, device: string) {
    // struct sockaddr_ll: family, protocol, index, ...
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    this.#fd = ns.run(() => {
      address.writeInt32LE(this.#c.if_nametoindex(device), 4);
      return this.#c.socket(AF_PACKET, SOCK_RAW, 0);
    });
    if (this.#fd < 0 || this.#c.bind(this.#fd, address, address.length) !== 0)
      throw new Error(`no frames on ${device}`);
  }

  /** `tag` is what stands between the addresses and the EtherType: '8100 2005'. */
  send(destination: string, source: string, etherType: number, payload: Uint8Array, tag = ''): void {
    const type = etherType.toString(16).padStart(4, '0');
    const frame = Buffer.concat([bytes(destination + source + tag + type), payload]);
    if (this.#c.send(this.#fd, frame, frame.length, 0) !== frame.length) throw new Error('the frame was not sent');
  }

  close(): void {
    this.#c.close(this.#fd);
  }
}
