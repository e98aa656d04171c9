import { clearTimeout, setTimeout } from 'node:timers';
import type { Etcd } from './etcd.ts';

/**
 * A lease of etcd, and the time until which it is certainly held. That time is taken before each request is sent, on a clock that nobody sets: what
 * etcd counts from begins later. Nothing is believed of timers: they may come late.
 */
export class Lease {
  readonly #etcd: Etcd;
  readonly #ttlSeconds: number;
  readonly #renewMs: number;
  readonly #now: () => number;
  readonly #held: (lease: bigint) => void;
  readonly #lost: () => void;
  readonly #renewed: () => void;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #end: NodeJS.Timeout | undefined;
  #id: bigint | undefined;
  #deadline = 0;
  /** Renewals, and those that failed. */
  readonly counts = { renewed: 0, failed: 0, granted: 0 };

  /**
   * @param now a monotonic clock in milliseconds
   * @param held called with each new lease
   * @param renewed called after each renewal
   * @param lost called when the lease may have ended
   */
  constructor(
    etcd: Etcd,
    ttlSeconds: number,
    renewMs: number,
    now: () => number,
    on: { held(lease: bigint): void; renewed(): void; lost(): void },
  ) {
    this.#etcd = etcd;
    this.#ttlSeconds = ttlSeconds;
    this.#renewMs = renewMs;
    this.#now = now;
    this.#held = on.held;
    this.#renewed = on.renewed;
    this.#lost = on.lost;
    void this.#round();
  }

  /** The lease, while it is certainly held. Ask before each act. */
  get id(): bigint | undefined {
    if (this.#id !== undefined && this.#now() >= this.#deadline) this.#lose();
    return this.#id;
  }

  /** Milliseconds for which it is certainly held. */
  get leftMs(): number {
    return this.id === undefined ? 0 : Math.max(0, this.#deadline - this.#now());
  }

  async #round(): Promise<void> {
    // Before the send: etcd counts from a later moment.
    const begun = this.#now();
    const { signal } = this.#stop;
    try {
      const id = this.id;
      if (id === undefined) {
        const { lease, ttlSeconds } = await this.#etcd.grant(this.#ttlSeconds, signal);
        // Never longer than was asked: others know the time that was declared.
        this.#hold(lease, begun + Math.min(ttlSeconds, this.#ttlSeconds) * 1000);
        this.counts.granted++;
        if (this.id !== undefined) this.#held(lease);
      } else {
        const ttlSeconds = await this.#etcd.keepAlive(id, signal);
        if (!(ttlSeconds > 0)) this.#lose();
        else if (this.#id === id) {
          this.#hold(id, begun + Math.min(ttlSeconds, this.#ttlSeconds) * 1000);
          this.counts.renewed++;
          if (this.id !== undefined) this.#renewed();
        }
      }
    } catch {
      this.counts.failed++;
    }
    void this.id;
    if (signal.aborted) return;
    const pause = this.#id === undefined ? Math.min(500, this.#renewMs) : this.#renewMs;
    this.#timer = setTimeout(() => void this.#round(), Math.max(10, pause - (this.#now() - begun)));
  }

  #hold(id: bigint, deadline: number): void {
    this.#id = id;
    this.#deadline = deadline;
    clearTimeout(this.#end);
    this.#end = setTimeout(() => void this.id, Math.max(0, deadline - this.#now()));
    this.#end.unref();
  }

  #lose(): void {
    if (this.#id === undefined) return;
    this.#id = undefined;
    this.#deadline = 0;
    clearTimeout(this.#end);
    this.#lost();
  }

  /**
   * Gives the lease up: etcd deletes its keys at once.
   * @param revoke false: its keys must stay until it ends by itself
   */
  async close(revoke = true): Promise<void> {
    const id = this.#id;
    this.#stop.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#end);
    this.#id = undefined;
    if (id === undefined || !revoke) return;
    try {
      await this.#etcd.revoke(id);
    } catch {
      // It ends by itself.
    }
  }
}
