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

  /** Tries to get the key, if nobody has it. */
  campaign(): Promise<void> {
    return this.#alone(async () => {
      const lease = this.#lease.id;
      if (this.#closed || lease === undefined || this.isHolder) return;
      const { succeeded } = await this.#etcd.transaction(
        [{ key: this.#key, target: 'create', revision: 0n }],
        [{ put: this.#key, value: this.#value, lease }],
      );
      if (succeeded) this.#heldBy = lease;
      else {
        // A call that was sent and not answered may have been carried out.
        const there = await this.#etcd.get(this.#key);
        if (there?.lease === lease && there.value === this.#value) this.#heldBy = lease;
      }
      await this.#show();
    });
  }

  /** Extends the address's life, after each renewal of the lease. */
  renew(): Promise<void> {
    return this.#alone(() => this.#show());
  }

  /** The lease is lost: the address goes at once. */
  withdraw(why: string): Promise<void> {
    return this.#alone(() => this.#hide(why));
  }

  async #show(): Promise<void> {
    if (!this.isHolder) return this.#hide('the lease is over');
    const seconds = Math.min(this.#ttlSeconds - MARGIN_SECONDS, Math.floor(this.#lease.leftMs / 1000) - 1);
    if (seconds < 1) return this.#hide('the lease is about to end');
    const isIPv6 = this.#address.includes(':');
    const prefixed = `${this.#address}/${isIPv6 ? 128 : 32}`;
    await this.#handle.setAddress(this.#device, prefixed, {
      validSeconds: seconds,
      // An IPv6 address would become the source of the balancer's own connections.
      preferredSeconds: isIPv6 ? 0 : seconds,
      ...(isIPv6 && { noDad: true }),
      ...(this.#label !== undefined && { label: this.#label }),
    });
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
      await this.#handle.removeAddress(this.#device, `${this.#address}/${this.#address.includes(':') ? 128 : 32}`);
    } catch (error) {
      if (
        !isNotFound(error) &&
        (error as { code?: string }).code !== 'EADDRNOTAVAIL' &&
        (error as { code?: string }).code !== 'ENODEV'
      )
        throw error;
    }
    if (!this.#shown) return;
    this.#shown = false;
    this.#events.lost(this.#address, why);
  }

  get #handle(): Links {
    this.#links ??= Links.open({ netns: this.#container.netns });
    return this.#links;
  }

  #announce(): void {
    for (const milliseconds of ANNOUNCEMENTS_MS) {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        if (!this.isHolder) return;
        void announce(this.#container.netns, this.#handle, this.#device, this.#address).catch((error: Error) =>
          this.#events.failed(error),
        );
      }, milliseconds);
      timer.unref();
      this.#timers.add(timer);
    }
  }

  async #alone(call: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(call, call);
    this.#turn = result.catch(() => {});
    try {
      await result;
    } catch (error) {
      this.#events.failed(error as Error);
    }
  }

  /** Removes the address, and then the key: another takes it at once. */
  async close(): Promise<void> {
    this.#closed = true;
    const wasHolder = this.isHolder;
    await this.withdraw('closed');
    if (wasHolder) {
      try {
        await this.#etcd.transaction([], [{ delete: this.#key }]);
      } catch {
        // It ends with the lease.
      }
    }
    await this.#links?.[Symbol.asyncDispose]();
  }
}
