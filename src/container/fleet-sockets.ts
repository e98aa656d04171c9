import fs from 'node:fs';
import { StateError } from '../errors.ts';
import { Ipvs } from '../ipvs/index.ts';
import type { Logger } from '../observe.ts';
import type { Container } from './container.ts';
import { PacketRules } from './packet-rules.ts';

/** Of the descriptors that a process may have, a fleet takes at most this part by itself. */
const SHARE_OF_DESCRIPTORS = 0.5;
const DEFAULT_DESCRIPTORS = 1024;

/** The sockets of a fleet in one container. */
export class Seat {
  readonly container: Container;
  /** A table of its own goes when its socket is closed: such a seat is kept. */
  ownsTable = false;
  #packetRules: PacketRules | undefined;
  #ipvs: Ipvs | undefined;
  #closed = false;
  readonly #logger: Logger | undefined;

  constructor(container: Container, logger: Logger | undefined) {
    this.container = container;
    this.#logger = logger;
  }

  get rules(): PacketRules {
    this.#packetRules ??= new PacketRules(this.#options());
    return this.#packetRules;
  }

  get ipvs(): Ipvs {
    this.#ipvs ??= Ipvs.open(this.#options());
    return this.#ipvs;
  }

  get sockets(): number {
    return (this.#packetRules === undefined ? 0 : 1) + (this.#ipvs === undefined ? 0 : 1);
  }

  /** Opens what will be needed with one entry into the namespace. */
  open(needs: { nftables: boolean; ipvs: boolean }): void {
    const nftables = needs.nftables && this.#packetRules === undefined;
    const ipvs = needs.ipvs && this.#ipvs === undefined;
    if (nftables && ipvs) this.container.netns.run(() => [this.rules, this.ipvs]);
    else if (nftables) void this.rules;
    else if (ipvs) void this.ipvs;
  }

  #options() {
    if (this.#closed) throw new StateError('ERR_CLOSED', 'the container was closed, or its process has ended');
    const { netns } = this.container;
    return this.#logger === undefined ? { netns } : { netns, logger: this.#logger };
  }

  async close(): Promise<void> {
    this.#closed = true;
    const handles = [this.#packetRules, this.#ipvs];
    this.#packetRules = undefined;
    this.#ipvs = undefined;
    await Promise.all(handles.map(handle => handle?.[Symbol.asyncDispose]()));
  }
}

/**
 * The seats of a fleet, kept by least recent use under a limit on descriptors. A seat goes with its container: when that is closed, and when
 * its process ends, because a socket of ours would keep the dead one's namespace alive, and accept commits to it.
 */
export class FleetSockets {
  readonly #limit: number;
  readonly #logger: Logger | undefined;
  /** The least recently used first. */
  readonly #seats = new Map<Container, { seat: Seat; detach: () => void }>();
  readonly #busy = new Set<Seat>();
  readonly #closing = new Set<Promise<void>>();
  #open = 0;

  constructor(limit: number | undefined, logger: Logger | undefined) {
    this.#limit = limit ?? Math.floor(descriptorLimit() * SHARE_OF_DESCRIPTORS);
    this.#logger = logger;
  }

  /** The seat in a container, for as long as `use` takes. */
  async with<T>(container: Container, use: (seat: Seat) => Promise<T>): Promise<T> {
    const entry = this.#seats.get(container) ?? this.#add(container);
    // It goes to the end of the map: the one used last.
    this.#seats.delete(container);
    this.#seats.set(container, entry);
    const { seat } = entry;
    const before = seat.sockets;
    this.#busy.add(seat);
    try {
      return await use(seat);
    } finally {
      this.#busy.delete(seat);
      // Unless the container was let go of meanwhile.
      if (this.#seats.get(container) === entry) this.#open += seat.sockets - before;
      if (container.ended) this.drop(container);
      this.#shrink();
    }
  }

  #add(container: Container): { seat: Seat; detach: () => void } {
    const seat = new Seat(container, this.#logger);
    void container.closed.then(() => this.drop(container));
    return { seat, detach: container.attach({ [Symbol.asyncDispose]: () => this.#drop(container) }) };
  }

  /** Lets go of a container. */
  drop(container: Container): void {
    void this.#drop(container);
  }

  #drop(container: Container): Promise<void> {
    const entry = this.#seats.get(container);
    if (entry === undefined) return Promise.resolve();
    this.#seats.delete(container);
    entry.detach();
    this.#open -= entry.seat.sockets;
    const closed = entry.seat.close();
    this.#closing.add(closed);
    void closed.finally(() => this.#closing.delete(closed));
    return closed;
  }

  #shrink(): void {
    if (this.#open <= this.#limit) return;
    for (const [container, { seat }] of this.#seats) {
      if (this.#busy.has(seat) || seat.ownsTable) continue;
      this.drop(container);
      if (this.#open <= this.#limit) return;
    }
  }

  /** Sockets that are open now. */
  get open(): number {
    return this.#open;
  }

  async close(): Promise<void> {
    for (const container of [...this.#seats.keys()]) this.drop(container);
    await Promise.all(this.#closing);
  }
}

/** The soft limit of this process, `ulimit -n`. */
function descriptorLimit(): number {
  try {
    const limits = fs.readFileSync('/proc/self/limits', 'latin1');
    return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? DEFAULT_DESCRIPTORS);
  } catch {
    return DEFAULT_DESCRIPTORS;
  }
}
