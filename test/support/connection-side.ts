import type { NetNs } from 'netsteer';
import { NETLINK_NETFILTER, NLM_F_DUMP } from '../../src/linux/netlink.ts';
import { type Came, type Part, RawSocket, shown } from './two-kernels.ts';

export const [CT, EXP] = [0x100, 0x200];
const [GET, DELETE] = [1, 2];

/** Ids are numbered as they turn up; the count of references, and some seconds, differ by chance. */
export class ConnectionSide {
  readonly #socket: RawSocket;
  readonly #events: RawSocket;
  readonly #ids = new Map<string, number>();
  #count = 0;

  constructor(netns: NetNs) {
    netns.sysctl.set('net.netfilter.nf_conntrack_events', '1');
    this.#socket = new RawSocket(netns, NETLINK_NETFILTER);
    this.#events = new RawSocket(netns, NETLINK_NETFILTER, [1, 2, 3, 4, 5, 6]);
  }

  #shown(one: Came): string {
    const isExpectation = one.type >> 8 === 2;
    const [id, timeout, use] = isExpectation ? ['5', '4', ''] : ['12', '7', '11'];
    const known = (path: string, value: Buffer): string | undefined => {
      if (path === use) return '';
      if (path === timeout) return `${Math.floor((value.readUInt32BE() + 3) / 10)}0 s`;
      if (path === '20' || path === '27') return 'a time';
      if (path !== id) return undefined;
      const key = value.toString('hex');
      if (!this.#ids.has(key)) this.#ids.set(key, this.#count++);
      const number = this.#ids.get(key);
      // The next connection may have the id of one that is gone.
      if ((one.type & 0xff) === DELETE) this.#ids.delete(key);
      return `id ${number}`;
    };
    const author = one.port === this.#socket.port ? 'own' : String(one.port);
    return `${author} ${shown(one, 4, known)}`;
  }

  /** Answers, events, and the table and the expectations behind it. The kernel's hash decides the order of dumps and flushes. */
  take(type: number, flags: number, header: Uint8Array, parts: readonly Part[]): string[] {
    const { errno, messages } = this.#socket.ask(type, flags, header, ...parts);
    const answers = messages.map(one => this.#shown(one)).sort();
    return [`errno ${errno}`, ...answers, ...this.state()];
  }

  /** What listeners were told since the last time, and the table and the expectations. */
  state(): string[] {
    const events = this.#events
      .read()
      .map(one => this.#shown(one))
      .sort();
    return ['-- events', ...events, '-- table', ...this.dump(CT), ...this.dump(EXP)];
  }

  dump(kind: number): string[] {
    const { messages } = this.#socket.ask(kind | GET, NLM_F_DUMP, Uint8Array.of(0, 0, 0, 0));
    return messages.map(one => this.#shown(one)).sort();
  }

  empty(): void {
    this.#socket.ask(CT | DELETE, 0, Uint8Array.of(0, 0, 0, 0));
    this.#events.read();
    this.#ids.clear();
    this.#count = 0;
  }

  close(): void {
    this.#socket.close();
    this.#events.close();
  }
}
