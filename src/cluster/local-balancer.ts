import { readFileSync } from 'node:fs';
import { type BalancedService, type BalancerStatus, LoadBalancer, readService } from '../balancer/internal.ts';
import type { Container } from '../container/index.ts';
import { StateError } from '../errors.ts';
import type { ServiceKey } from '../ipvs/index.ts';
import { applyEach } from './apply-each.ts';
import { type ClusterService, canonicalAddress, SCHEMA } from './declaration.ts';
import type { Etcd } from './etcd.ts';
import { AddressHolder, type HolderEvents } from './holder.ts';
import type { Lease } from './lease.ts';

/** What connections that are idle need to be known to the other balancers, and strays to be taken on. */
const SYNC_SETTINGS: readonly (readonly [string, string])[] = [
  ['net.ipv4.vs.sync_threshold', '0\t0'],
  ['net.ipv4.vs.sync_refresh_period', '10'],
  ['net.ipv4.vs.sloppy_tcp', '1'],
];

/** What the balancers of a host have in common. */
export interface BalancerSurroundings {
  readonly etcd: Etcd;
  readonly lease: Lease;
  readonly prefix: string;
  readonly host: string;
  readonly ttlSeconds: number;
  /** The number of the sync daemons, 1 to 255; undefined: none are wanted. */
  readonly syncId: number | undefined;
}

/** One balancer container of this host: its services, and the addresses that it has, or would take. */
export class LocalBalancer {
  readonly name: string;
  readonly container: Container;
  readonly #surroundings: BalancerSurroundings;
  readonly #lb: LoadBalancer;
  readonly #holders = new Map<string, AddressHolder>();
  readonly #good = new Map<string, BalancedService>();
  /** The services that IPVS has. */
  #served = new Set<string>();

  constructor(name: string, container: Container, surroundings: BalancerSurroundings) {
    this.name = name;
    this.container = container;
    this.#surroundings = surroundings;
    const settings = new Map(surroundings.syncId === undefined ? [] : SYNC_SETTINGS);
    this.#lb = LoadBalancer.within({ balancers: [container], name: 'cluster' }, { settings });
  }

  /** Programs IPVS. */
  async program(services: readonly BalancedService[], refused: (name: string, error: Error) => void): Promise<void> {
    try {
      await applyEach(this.#lb, services, this.#good, refused);
      this.#served = new Set(this.#good.keys());
    } catch (error) {
      // A balancer takes no address that it would not balance.
      const present = new Set((await this.container.ipvs.services()).map(keyText));
      this.#served = new Set(
        services.filter(service => present.has(keyText(readService(service, true).key))).map(({ name }) => name),
      );
      throw error;
    }
  }

  /** Both sync daemons, so that nobody has to switch at a failover: what one balancer knows, the others know. */
  async synchronize(device: string): Promise<void> {
    const { syncId } = this.#surroundings;
    if (syncId === undefined) return;
    const running = await this.container.ipvs.syncDaemons();
    for (const state of ['master', 'backup'] as const) {
      const daemon = running.find(each => each.state === state);
      if (daemon === undefined) await this.container.ipvs.startSync({ state, interface: device, syncId });
      else if (daemon.syncId !== syncId)
        throw new StateError(
          'ERR_FOREIGN',
          `a sync daemon (${state}) of ID ${daemon.syncId} runs in ${this.name}: stop it, or join with \`sync: false\``,
        );
    }
  }

  /**
   * Tries to get the addresses that nobody has, and gives up those that it should not have.
   * @param owned whether somebody has an address
   * @returns whether it is to be tried again
   */
  async campaign(
    services: readonly ClusterService[],
    owned: (address: string, holder: AddressHolder) => boolean,
    eventsOf: (service: ClusterService) => HolderEvents,
  ): Promise<boolean> {
    const wanted = new Set<string>();
    const trying: Promise<boolean>[] = [];
    for (const service of services) {
      const address = canonicalAddress(service.address);
      const id = `${address} ${service.device}`;
      wanted.add(id);
      let holder = this.#holders.get(id);
      if (holder === undefined) {
        holder = this.#makeHolder(address, service, eventsOf(service));
        this.#holders.set(id, holder);
      }
      if (!holder.isHolder && this.#served.has(service.name) && !owned(address, holder)) trying.push(holder.campaign());
    }
    for (const [id, holder] of this.#holders) {
      if (wanted.has(id)) continue;
      this.#holders.delete(id);
      await holder.close();
    }
    return (await Promise.all(trying)).includes(false);
  }

  #makeHolder(address: string, { device, label }: ClusterService, events: HolderEvents): AddressHolder {
    const { etcd, lease, prefix, host, ttlSeconds } = this.#surroundings;
    const { netns } = this.container;
    // Where the address is: a later process that has the same namespace takes the key over.
    const place = `${bootId()} ${netns.device}:${netns.inode}`;
    return new AddressHolder(
      etcd,
      lease,
      {
        key: `${prefix}/holders/${address}`,
        value: JSON.stringify({ schema: SCHEMA, host, container: this.name, place }),
        container: this.container,
        device: device!,
        address,
        label,
        ttlSeconds,
      },
      events,
    );
  }

  /** After each renewal of the lease. */
  renew(): void {
    for (const holder of this.#holders.values()) void holder.renew();
  }

  /** The lease is lost. */
  withdraw(why: string): void {
    for (const holder of this.#holders.values()) void holder.withdraw(why);
  }

  /** The key of an address says something else than that this balancer has it. */
  disown(address: string, value: string | undefined): void {
    for (const [id, holder] of this.#holders)
      if (id.startsWith(`${address} `) && holder.isHolder && holder.value !== value) void holder.disown();
  }

  status(): Promise<BalancerStatus> {
    return this.#lb.status();
  }

  /**
   * Gives the addresses up.
   * @param remove whether everything that was programmed goes, too
   * @returns false where an address may still be there
   */
  async close(remove: boolean): Promise<boolean> {
    const gone = await Promise.all([...this.#holders.values()].map(holder => holder.close()));
    try {
      await this.#lb.close({ remove });
    } catch {
      // The container has ended, and all of it is gone.
      await this.#lb.close();
    }
    return !gone.includes(false);
  }
}

function keyText(key: ServiceKey): string {
  return 'protocol' in key
    ? `${key.protocol} ${canonicalAddress(key.address)} ${key.port}`
    : `mark ${key.family} ${key.firewallMark}`;
}

/** Another one after each start of the kernel. */
const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
