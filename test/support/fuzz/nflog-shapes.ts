import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_RARP } from '../../../src/linux/if_ether.ts';
import * as C from '../../../src/linux/nfnetlink_log.ts';
import type { Random } from './random.ts';

/*
 * Packets and messages about as the kernel writes them, with what an enemy would change: lengths that lie, headers that end early, nests in
 * nests, chains of extension headers. What is written behind the room there is is left out.
 */
export class Shapes {
  readonly bytes: Uint8Array;
  readonly random: Random;
  at = 0;

  constructor(bytes: Uint8Array, random: Random) {
    this.bytes = bytes;
    this.random = random;
  }

  /** Begins with what another has made. */
  copy(bytes: Uint8Array): void {
    this.bytes.set(bytes);
    this.at = bytes.length;
  }

  #u8(value: number): void {
    if (this.at < this.bytes.length) this.bytes[this.at++] = value;
  }
  #u16(value: number): void {
    this.#u8(value >>> 8);
    this.#u8(value);
  }
  #u32(value: number): void {
    this.#u16(value >>> 16);
    this.#u16(value);
  }
  /** In the byte order of this machine. */
  #n16(value: number): void {
    this.#u8(value);
    this.#u8(value >>> 8);
  }
  #n32(value: number): void {
    this.#n16(value);
    this.#n16(value >>> 16);
  }
  #noise(length: number): void {
    for (let i = 0; i < length; i++) this.#u8(this.random.chance(4) ? 0 : this.random.u32());
  }
  #set16(at: number, value: number): void {
    this.bytes[at] = value;
    this.bytes[at + 1] = value >>> 8;
  }
  #align(start: number): void {
    while (((this.at - start) & 3) !== 0 && this.at < this.bytes.length) this.#u8(0);
  }

  /** Turns a few bytes over. */
  mutate(start: number): void {
    const { random } = this;
    if (this.at <= start || random.chance(2)) return;
    for (let left = 1 + random.below(4); left > 0; left--) {
      const at = start + random.below(this.at - start);
      this.bytes[at] = random.pick([0, 0xff, 0x80, this.bytes[at]! ^ (1 << random.below(8)), random.u32()]);
    }
    if (random.chance(4)) this.at = start + random.below(this.at - start);
  }

  /** A datagram of netlink messages, most of them packets. */
  datagram(): void {
    const { random } = this;
    for (let left = random.below(5); left >= 0; left--) {
      const start = this.at;
      this.#header(random.chance(8) ? random.pick([1, 2, 3, 0x401, random.below(0x10000)]) : 0x400);
      this.packetMessage();
      this.#endHeader(start);
    }
    if (random.chance(2)) {
      const start = this.at;
      this.#header(3);
      this.#n32(random.u32());
      this.#endHeader(start);
    }
  }

  #header(type: number): void {
    this.#n32(0);
    this.#n16(type);
    this.#noise(10);
  }

  #endHeader(start: number): void {
    const length = this.random.chance(20) ? this.random.below(300) : this.at - start;
    this.#set16(start, length);
    this.#set16(start + 2, this.random.chance(50) ? 0xffff : 0);
    this.#align(start);
  }

  /** What stands behind the netlink header of a packet. */
  packetMessage(): void {
    const { random } = this;
    this.#u8(random.pick([2, 2, 10, 10, 7, 3, 5, 0, 12, random.u32()]));
    this.#u8(0);
    this.#u16(random.pick([5, 5, 6, random.below(0x10000)]));
    for (let left = random.below(12); left > 0; left--) this.#packetAttribute(random.below(C.NFULA_MAX + 3));
  }

  /** A packet that belongs to a connection. */
  connectionMessage(): void {
    const { random } = this;
    this.#u32(0x02000005);
    this.attribute(C.NFULA_CT_INFO, () => this.#u32(random.below(8)));
    this.attribute(C.NFULA_CT, () => this.connection(0));
  }

  /** One attribute, with a header that seldom lies. */
  attribute(type: number, content: () => void): void {
    const { random } = this;
    const start = this.at;
    this.#n16(0);
    this.#n16(type | random.pick([0, 0, 0, 0x8000, 0x4000]));
    content();
    this.#set16(start, random.chance(25) ? random.pick([0, 3, 0xffff, random.below(64)]) : this.at - start);
    this.#align(start);
  }

  #packetAttribute(type: number): void {
    const { random } = this;
    this.attribute(type, () => {
      if (random.chance(12)) return this.#noise(random.below(40));
      switch (type) {
        case C.NFULA_PACKET_HDR:
          this.#u16(random.pick([ETH_P_IP, ETH_P_IPV6, ETH_P_ARP, ETH_P_RARP, 0x88cc]));
          this.#u8(random.below(8));
          return this.#u8(0);
        case C.NFULA_TIMESTAMP:
          return this.#noise(16);
        case C.NFULA_HWADDR:
          this.#u16(random.pick([6, 6, 8, 0, 200]));
          return this.#noise(10);
        case C.NFULA_HWTYPE:
        case C.NFULA_HWLEN:
          return this.#noise(2);
        case C.NFULA_HWHEADER:
        case C.NFULA_L2HDR:
          return this.#noise(random.pick([0, 14, 14, 18, 40]));
        case C.NFULA_PREFIX:
          for (let left = random.below(130); left > 0; left--)
            this.#u8(random.chance(12) ? random.u32() : 32 + random.below(95));
          return this.#u8(random.chance(8) ? 65 : 0);
        case C.NFULA_PAYLOAD:
          return this.networkPacket();
        case C.NFULA_VLAN:
          this.attribute(C.NFULA_VLAN_TCI, () => this.#noise(2));
          return this.attribute(C.NFULA_VLAN_PROTO, () => this.#noise(2));
        case C.NFULA_CT:
          return this.connection(0);
        default:
          return this.#noise(4);
      }
    });
  }

  /** The CTA_* attributes of a connection: any of them, nested as the kernel nests them, or deeper. */
  connection(depth: number): void {
    const { random } = this;
    for (let left = random.below(8); left > 0; left--) {
      this.attribute(random.below(27), () => {
        if (depth < 4 && random.chance(3)) this.connection(depth + 1);
        else if (depth > 0 && random.chance(2)) this.#noise(random.pick([1, 2, 4, 16]));
        else if (depth === 0 && random.chance(2)) this.#tuple();
        else this.#noise(random.pick([0, 1, 2, 4, 4, 8, 8, 16, random.below(40)]));
      });
    }
  }

  #tuple(): void {
    const { random } = this;
    const [size, first] = random.pick([
      [4, 1],
      [16, 3],
    ]);
    this.attribute(1, () => {
      this.attribute(first!, () => this.#noise(size!));
      this.attribute(first! + 1, () => this.#noise(size!));
    });
    this.attribute(2, () => {
      this.attribute(1, () => this.#u8(random.pick([1, 6, 17, 58, 132, random.u32()])));
      for (let type = 2; type < 10; type++)
        if (random.chance(3)) this.attribute(type, () => this.#noise(random.pick([1, 2])));
    });
  }

  /** IPv4, IPv6, ARP or noise, and often cut off. */
  networkPacket(): void {
    const { random } = this;
    const start = this.at;
    const kind = random.below(8);
    if (kind < 3) this.#ipv4(0);
    else if (kind < 6) this.#ipv6(0);
    else if (kind === 6) this.#arp();
    else this.#noise(random.below(80));
    if (random.chance(4)) this.at = start + random.below(this.at - start + 1);
  }

  #ipv4(depth: number): void {
    const { random } = this;
    const words = random.chance(6) ? random.below(16) : 5;
    this.#u8(random.chance(30) ? random.u32() : 0x40 | words);
    this.#u8(random.u32());
    this.#u16(random.below(200));
    this.#u16(random.u32());
    this.#u16(random.pick([0, 0, 0x4000, 0x2000, random.u32()]));
    this.#u8(64);
    const protocol = random.pick([1, 1, 6, 17, 50, 51, 132, 136, random.u32() & 0xff]);
    this.#u8(protocol);
    this.#noise(10);
    if (words > 5) this.#noise((words - 5) * 4);
    this.#transport(protocol, depth);
  }

  #ipv6(depth: number): void {
    const { random } = this;
    this.#u32(0x60000000 | (random.u32() & 0x0fffffff));
    this.#u16(random.below(200));
    const chain = Array.from({ length: random.chance(3) ? random.below(12) : 0 }, () =>
      random.pick([0, 43, 44, 51, 60]),
    );
    const protocol = random.pick([58, 58, 6, 17, 132, 1, random.u32() & 0xff]);
    this.#u8(chain[0] ?? protocol);
    this.#u8(64);
    this.#noise(32);
    for (const [i, header] of chain.entries()) {
      const blocks = header === 44 ? 0 : random.pick([0, 0, 1, 2, random.u32() & 0xff]);
      this.#u8(chain[i + 1] ?? protocol);
      this.#u8(blocks);
      if (header === 44) {
        this.#u16(random.pick([0, 1, 8, random.u32()]));
        this.#noise(4);
      } else {
        this.#noise(Math.min(6 + blocks * 8, 200));
      }
    }
    this.#transport(protocol, depth);
  }

  #transport(protocol: number, depth: number): void {
    const { random } = this;
    const isError = protocol === 1 || protocol === 58;
    if (!isError) {
      this.#noise(random.pick([20, 20, 12, 8, 40, 3]));
      return;
    }
    this.#u8(random.pick([0, 1, 2, 3, 4, 5, 8, 11, 12, 128, 129, 135, random.u32()]));
    this.#u8(random.below(16));
    this.#noise(6);
    if (depth >= 6 || random.chance(2)) return;
    if (protocol === 1) this.#ipv4(depth + 1);
    else this.#ipv6(depth + 1);
  }

  #arp(): void {
    const { random } = this;
    this.#u16(random.pick([1, 1, 1, 6]));
    this.#u16(ETH_P_IP);
    this.#u8(random.pick([6, 6, 8]));
    this.#u8(4);
    this.#u16(random.below(5));
    this.#noise(20);
  }

  /** An answer to the request with that sequence number: an error message, with what the extended acknowledgement may add. */
  answer(sequence: number): void {
    const { random } = this;
    const start = this.at;
    this.#n32(0);
    this.#n16(random.chance(12) ? random.below(32) : 2);
    this.#n16(random.pick([0, 0x100, 0x200, 0x300, random.below(0x10000)]));
    this.#n32(random.chance(8) ? random.u32() : sequence);
    this.#n32(0);
    this.#n32(random.pick([0, 0, -1, -16, -19, -22, -95, -524, random.u32() | 0]));
    this.#noise(16);
    for (let left = random.below(4); left > 0; left--) {
      this.attribute(random.below(8), () => {
        if (random.chance(3)) this.connection(2);
        else this.#noise(random.pick([4, 4, 12, random.below(60)]));
      });
    }
    const length = random.chance(15) ? random.below(200) : this.at - start;
    this.#set16(start, length);
    this.mutate(start + 16);
  }
}
