import { within } from '../errors.ts';
import { type ClusterService, canonicalAddress, conflictOf, fromStored } from './declaration.ts';
import { EtcdError } from './etcd.ts';
import type { KeyChange } from './keys.ts';

/** A record that is larger is taken as none. */
const MOST_BYTES = 64 * 1024;
const MOST_CONTAINERS = 10_000;

/** Which host and container have an address, and the record as it is. */
interface Owner {
  readonly host: string;
  readonly container: string;
  readonly value: string;
  readonly lease: bigint;
}

/** What the records of other hosts tell. */
interface RecordEvents {
  hostUp(name: string): void;
  problem(service: string, error: Error): void;
  /** The holder of an address is another, or nobody. */
  owner(address: string, owner: Owner | undefined): void;
}

/**
 * What etcd says of services, hosts and addresses. A record that is none harms only itself: the service stays as it was declared before, the host
 * counts as alive.
 */
export class ClusterRecords {
  /** The services that can be programmed. */
  readonly services = new Map<string, ClusterService>();
  /** Services that are none, or at odds with an older one. */
  readonly bad = new Map<string, Error>();
  /** The containers of each host that is believed to live. */
  readonly hosts = new Map<string, string[]>();
  /** When hosts have vanished. */
  readonly gone = new Map<string, number>();
  readonly owners = new Map<string, Owner>();
  readonly #stored = new Map<string, { service: ClusterService; createRevision: bigint }>();
  readonly #malformed = new Map<string, Error>();
  readonly #on: RecordEvents;

  constructor(on: RecordEvents) {
    this.#on = on;
  }

  /** Takes a change of a key below the prefix: 'services/web'. */
  change(key: string, { entry, isLost = false }: KeyChange, now: number): void {
    const slash = key.indexOf('/');
    const [kind, name] = [key.slice(0, slash), key.slice(slash + 1)];
    if (kind === 'services') {
      this.#malformed.delete(name);
      if (entry !== undefined) {
        try {
          this.#stored.set(name, { service: fromStored(entry.value, name), createRevision: entry.createRevision });
        } catch (error) {
          const bad = within(error, [name]) as Error;
          this.#malformed.set(name, bad);
          this.#on.problem(name, bad);
        }
      } else if (isLost) {
        // On doubt nothing is changed.
        const lost = new EtcdError(
          `etcd has lost the service ${name}: it goes on as it was. Put it again, or delete it`,
        );
        this.#malformed.set(name, lost);
        this.#on.problem(name, lost);
      } else this.#stored.delete(name);
    } else if (kind === 'hosts') {
      if (entry === undefined) {
        this.gone.set(name, now);
        return;
      }
      const wasAlive = this.hosts.has(name);
      this.gone.delete(name);
      this.hosts.set(name, containersIn(entry.value));
      if (!wasAlive) this.#on.hostUp(name);
    } else if (kind === 'holders') {
      const owner =
        entry === undefined ? undefined : { ...ownerIn(entry.value), value: entry.value, lease: entry.lease };
      if (owner === undefined) this.owners.delete(name);
      else this.owners.set(name, owner);
      this.#on.owner(name, owner);
    }
  }

  /** After a group of changes. Of services that take the same packets, the older one is programmed. */
  settle(): void {
    const before = new Set(this.bad.keys());
    this.services.clear();
    this.bad.clear();
    for (const [name, error] of this.#malformed) this.bad.set(name, error);
    const byAge = [...this.#stored].sort(([a, x], [b, y]) =>
      x.createRevision === y.createRevision ? (a < b ? -1 : 1) : x.createRevision < y.createRevision ? -1 : 1,
    );
    const byAddress = new Map<string, ClusterService[]>();
    for (const [name, { service }] of byAge) {
      const address = canonicalAddress(service.address);
      const others = byAddress.get(address) ?? [];
      byAddress.set(address, others);
      const conflict = others.map(other => conflictOf(service, other)).find(error => error !== undefined);
      if (conflict === undefined) {
        others.push(service);
        this.services.set(name, service);
        continue;
      }
      const error = within(conflict, [name]) as Error;
      this.bad.set(name, error);
      if (!before.has(name)) this.#on.problem(name, error);
    }
  }

  /** The hosts that have vanished this long ago, and have not come back. They count as dead from now on. */
  bury(now: number, graceMs: number): string[] {
    const dead: string[] = [];
    for (const [name, at] of this.gone) {
      if (now - at < graceMs) continue;
      this.gone.delete(name);
      if (this.hosts.delete(name)) dead.push(name);
    }
    return dead;
  }
}

function recordIn(value: string): Record<string, unknown> {
  if (value.length > MOST_BYTES) return {};
  try {
    const record: unknown = JSON.parse(value);
    return typeof record === 'object' && record !== null ? (record as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function containersIn(value: string): string[] {
  const { containers } = recordIn(value);
  return Array.isArray(containers)
    ? containers.filter(name => typeof name === 'string' && name.length < 64).slice(0, MOST_CONTAINERS)
    : [];
}

function ownerIn(value: string): { host: string; container: string } {
  const { host, container } = recordIn(value);
  const named = (name: unknown) => (typeof name === 'string' && name.length < 64 ? name : '?');
  return { host: named(host), container: named(container) };
}
