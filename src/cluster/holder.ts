import { clearTimeout, setTimeout } from 'node:timers';
import { announce } from '../balancer/internal.ts';
import type { Container } from '../container/index.ts';
import { isNotFound } from '../errors.ts';
import { Links } from '../rtnetlink/index.ts';
import type { Etcd } from './etcd.ts';
import type { Lease } from './lease.ts';

/** When an address is announced again: frames get lost while a switch learns. */
const ANNOUNCEMENTS_MS = [0, 1000, 5000];
/** The kernel takes the address away this much before etcd can give it to another, and up to 0.3 s late (measured). */
const MARGIN_SECONDS = 2;

/** What a holder tells. */
export interface HolderEvents {
  held(address: string): void;
  lost(address: string, why: string): void;
  failed(error: Error): void;
}

/**
 * An address that one container of several has. The key in etcd ends with the lease, and so does the address in the kernel, which was added with a
 * lifetime: the kernel removes it from a process that is stopped, killed or cut off, before another can take it.
 */
export class AddressHolder {
  readonly #etcd: Etcd;
  readonly #lease: Lease;
  readonly #key: string;
  readonly #value: string;
  readonly #container: Container;
  readonly #device: string;
  readonly #address: string;
  readonly #label: string | undefined;
  readonly #ttlSeconds: number;
  readonly #events: HolderEvents;
  readonly #timers = new Set<NodeJS.Timeout>();
  #links: Links | undefined;
  /** The lease by which the key is held. */
  #heldBy: bigint | undefined;
  #shown = false;
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(
    etcd: Etcd,
    lease: Lease,
    options: {
      key: string;
      value: string;
      container: Container;
      device: string;
      address: string;
      label: string | undefined;
      ttlSeconds: number;
    },
    events: HolderEvents,
  ) {
    this.#etcd = etcd;
    this.#lease = lease;
    this.#key = options.key;
    this.#value = options.value;
    this.#container = options.container;
    this.#device = options.device;
    this.#address = options.address;
    this.#label = options.label;
    this.#ttlSeconds = options.ttlSeconds;
    this.#events = events;
  }

  /** Whether this container has the address, as far as it knows. */
  get isHolder(): boolean {
    return this.#heldBy !== undefined && this.#heldBy === this.#lease.id;
  }

  /** What the key says while this container has the address. */
  get value(): string {
    return this.#value;
  }

  /** Tries to get the key, if nobody has it. */
  campaign(): Promise<boolean> {
    return this.#alone(async () => {
      const lease = this.#lease.id;
      if (this.#closed || lease === undefined || this.isHolder) return;
      const put = [{ put: this.#key, value: this.#value, lease }];
      const created = await this.#etcd.transaction([{ key: this.#key, target: 'create', revision: 0n }], put);
      if (created.succeeded) this.#heldBy = lease;
      else {
        const there = await this.#etcd.get(this.#key);
        // A call that was sent and not answered may have been carried out.
        if (there?.lease === lease && there.value === this.#value) this.#heldBy = lease;
        // Held by an earlier lease of this very namespace, or a record that no lease ends.
        else if (there !== undefined && (there.value === this.#value || there.lease === 0n)) {
          const taken = await this.#etcd.transaction(
            [{ key: this.#key, target: 'mod', revision: there.modRevision }],
            put,
          );
          if (taken.succeeded) this.#heldBy = lease;
        }
      }
      await this.#show();
    });
  }

  /** Extends the address's life, after each renewal of the lease. */
  renew(): Promise<boolean> {
    return this.#alone(() => this.#show());
  }

  /** The lease or the key is lost: the address goes at once. */
  withdraw(why: string): Promise<boolean> {
    return this.#alone(() => this.#hide(why));
  }

  /** The key says that somebody else has the address, or is gone. */
  disown(): Promise<boolean> {
    return this.#alone(async () => {
      if (!this.isHolder) return;
      const there = await this.#etcd.get(this.#key);
      if (there?.lease === this.#heldBy && there?.value === this.#value) return;
      await this.#hide('somebody has changed its key');
    });
  }

  async #show(): Promise<void> {
    if (!this.isHolder) return this.#hide('the lease is over');
    const seconds = Math.min(this.#ttlSeconds - MARGIN_SECONDS, Math.floor(this.#lease.leftMs / 1000) - 1);
    if (seconds < 1) return this.#hide('the lease is about to end');
    const isIPv6 = this.#address.includes(':');
    // Synchronous, so that the kernel gets it right after the time was looked at.
    this.#handle.sync.setAddress(this.#device, this.#prefixed, {
      validSeconds: seconds,
      // An IPv6 address would become the source of the balancer's own connections.
      preferredSeconds: isIPv6 ? 0 : seconds,
      ...(isIPv6 && { noDad: true }),
      ...(this.#label !== undefined && { label: this.#label }),
    });
    // A process that was stopped between the two has given it to the kernel too late.
    if (!this.isHolder) return this.#hide('the lease is over');
    if (this.#shown) return;
    this.#shown = true;
    this.#announce();
    this.#events.held(this.#address);
  }

  async #hide(why: string): Promise<void> {
    this.#heldBy = undefined;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    try {
      this.#handle.sync.removeAddress(this.#device, this.#prefixed);
    } catch (error) {
      const { code } = error as { code?: string };
      if (!isNotFound(error) && code !== 'EADDRNOTAVAIL' && code !== 'ENODEV') throw error;
    }
    if (!this.#shown) return;
    this.#shown = false;
    this.#events.lost(this.#address, why);
  }

  get #prefixed(): string {
    return `${this.#address}/${this.#address.includes(':') ? 128 : 32}`;
  }

  get #handle(): Links {
    this.#links ??= Links.open({ netns: this.#container.netns });
    return this.#links;
  }

  #announce(): void {
    for (const milliseconds of ANNOUNCEMENTS_MS) {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        void this.#alone(async () => {
          if (!this.isHolder) return;
          const errno = await announce(this.#container.netns, this.#handle, this.#device, this.#address);
          if (errno < 0) throw new Error(`the address ${this.#address} could not be announced: errno ${errno}`);
        });
      }, milliseconds);
      timer.unref();
      this.#timers.add(timer);
    }
  }

  /** @returns whether it went well */
  async #alone(call: () => Promise<void>): Promise<boolean> {
    const result = this.#turn.then(call, call);
    this.#turn = result.catch(() => {});
    try {
      await result;
      return true;
    } catch (error) {
      this.#events.failed(error as Error);
      return false;
    }
  }

  /**
   * Removes the address, and then the key: another takes it at once.
   * @returns false where the address may still be there: its key must stay until the lease ends
   */
  async close(): Promise<boolean> {
    this.#closed = true;
    const lease = this.#heldBy;
    const isGone = (await this.withdraw('closed')) || this.#container.ended;
    if (isGone && lease !== undefined) {
      try {
        const there = await this.#etcd.get(this.#key);
        if (there?.lease === lease)
          await this.#etcd.transaction(
            [{ key: this.#key, target: 'mod', revision: there.modRevision }],
            [{ delete: this.#key }],
          );
      } catch {
        // It ends with the lease.
      }
    }
    await this.#links?.[Symbol.asyncDispose]();
    return isGone;
  }
}
