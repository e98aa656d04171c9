import type { BacklogOptions } from '../config.ts';
import type { Packet } from '../packet.ts';

/** Packets that nobody has taken yet, in their order, and what happens when they become too many. */
export class Backlog {
  readonly limit: number;
  readonly when: Required<BacklogOptions>['when'];
  /** From `#head` on; what was taken is undefined. */
  #packets: (Packet | undefined)[] = [];
  #head = 0;
  /** Packets that the policy threw away. */
  dropped = 0;

  constructor({ packets, when }: Required<BacklogOptions>) {
    this.limit = packets;
    this.when = when;
  }

  get length(): number {
    return this.#packets.length - this.#head;
  }

  /** 'leave-to-kernel' keeps whatever comes: it is for the reader not to read more than there is room for. */
  push(packets: readonly Packet[]): void {
    const over = this.when === 'leave-to-kernel' ? 0 : Math.max(0, this.length + packets.length - this.limit);
    this.dropped += over;
    const end = over > 0 && this.when === 'drop-newest' ? Math.max(0, packets.length - over) : packets.length;
    for (let i = 0; i < end; i++) this.#packets.push(packets[i]);
    if (over > 0 && this.when === 'drop-oldest') for (let i = 0; i < over; i++) this.shift();
  }

  shift(): Packet | undefined {
    const packet = this.#packets[this.#head];
    this.#packets[this.#head++] = undefined;
    if (this.#head === this.#packets.length) this.clear();
    else if (this.#head >= 4096 && this.#head * 2 > this.#packets.length) {
      this.#packets = this.#packets.slice(this.#head);
      this.#head = 0;
    }
    return packet;
  }

  /** All of them. */
  take(): Packet[] {
    const packets = this.#packets.slice(this.#head) as Packet[];
    this.clear();
    return packets;
  }

  clear(): void {
    this.#packets = [];
    this.#head = 0;
  }
}
