import type { NetlinkSocket, Watch } from '../netlink/index.ts';

/** So many datagrams ... */
const MANY = 250;
/** ... in this time are 50,000 a second: each wake-up is for a few of them, and costs more than what is read. */
const WINDOW_MILLISECONDS = 5;
/** How often the socket is read then. Many thousand datagrams fit its buffer. */
const PERIOD_MILLISECONDS = 1;
/** Fewer datagrams a millisecond than this: each is worth a wake-up again. */
const FEW = 20;

/**
 * Wakes a reader when there is something to read. If the kernel sends more than 50,000 datagrams a second, because each packet is
 * one, the reader is woken by a timer instead until they are fewer: as drivers of network cards do it. A packet then waits for a millisecond or two.
 */
export class PacedWatch implements Watch {
  readonly #socket: Pick<NetlinkSocket, 'watch'>;
  /** Reads until there is nothing left, or for as long as a turn may take. */
  readonly #read: () => { datagrams: number; more: boolean };
  #watch: Watch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #referenced = true;
  #since = 0;
  #count = 0;

  constructor(socket: Pick<NetlinkSocket, 'watch'>, read: () => { datagrams: number; more: boolean }) {
    this.#socket = socket;
    this.#read = read;
    this.#byReadiness();
  }

  #byReadiness(): void {
    this.#watch = this.#socket.watch(() => this.#ready());
    if (!this.#referenced) this.#watch.unref();
    this.#count = 0;
    this.#since = performance.now();
  }

  #ready(): void {
    this.#count += this.#read().datagrams;
    if (this.#count < MANY || this.#watch === undefined) return;
    const now = performance.now();
    const elapsed = now - this.#since;
    this.#since = now;
    this.#count = 0;
    // A clock that stands still tells no rate.
    if (elapsed > 0 && elapsed < WINDOW_MILLISECONDS) this.#byTimer();
  }

  #byTimer(): void {
    this.#watch?.close();
    this.#watch = undefined;
    this.#timer = setTimeout(() => this.#tick(), PERIOD_MILLISECONDS);
    if (!this.#referenced) this.#timer.unref();
  }

  #tick(): void {
    const now = performance.now();
    const { datagrams, more } = this.#read();
    this.#count += datagrams;
    // The reader may have been stopped by what it has delivered.
    if (this.#timer === undefined) return;
    if (more) {
      // A timer that is due now would let nothing else run.
      setImmediate(() => this.#timer !== undefined && this.#tick());
      return;
    }
    const few = this.#count < FEW * (now - this.#since);
    this.#since = now;
    this.#count = 0;
    if (few) {
      this.#timer = undefined;
      this.#byReadiness();
    } else this.#timer.refresh();
  }

  ref(): void {
    this.#referenced = true;
    this.#watch?.ref();
    this.#timer?.ref();
  }

  unref(): void {
    this.#referenced = false;
    this.#watch?.unref();
    this.#timer?.unref();
  }

  close(): void {
    this.#watch?.close();
    this.#watch = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
