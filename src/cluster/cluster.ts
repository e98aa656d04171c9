import { createHash } from 'node:crypto';
import { clearTimeout, setTimeout } from 'node:timers';
import { type BalancedService, type BalancerStatus, EventFeed, LoadBalancer } from '../balancer/internal.ts';
import { checkInteger, checkObject, checkString } from '../codec/index.ts';
import type { Container } from '../container/index.ts';
import { rangeError, StateError, typeError, within } from '../errors.ts';
import { bootMs } from './clock.ts';
import { type ClusterServer, type ClusterService, checkHostName, fromStored, localServer } from './declaration.ts';
import { Etcd } from './etcd.ts';
import { checkEtcd, type EtcdOptions } from './etcd-options.ts';
import { AddressHolder } from './holder.ts';
import { follow } from './keys.ts';
import { Lease } from './lease.ts';
import { ClusterServices } from './services.ts';

/** How a host joins a cluster. */
export interface JoinOptions {
  /** Where etcd is. */
  etcd: EtcdOptions;
  /** The name of this host: 1 to 63 letters, digits, '.', '_' and '-'. Two hosts must not have the same. */
  host: string;
  /** The beginning of all keys in etcd. Default '/netsteer'. Clusters of different prefixes do not know of each other. */
  prefix?: string;
  /** The container of a name, if this host has it. It is asked again with every change. */
  containers: (name: string) => Container | undefined;
  /** After how many seconds a host counts as dead that etcd has not heard of, 4 to 3600, default 10. */
  ttlSeconds?: number;
  /** Start IPVS's sync daemons, master and backup, so that connections survive a failover. Default true. */
  sync?: boolean;
  /** Leaves the cluster. */
  signal?: AbortSignal;
}

/** What a cluster tells. */
export type ClusterEvent = {
  /** When, in milliseconds since 1970. */
  atMs: number;
} & (
  | {
      /** What has happened. */
      type: 'host-up' | 'host-down';
      /** The name of the host. */
      host: string;
    }
  | {
      type: 'held' | 'lost';
      /** The name of the service. */
      service: string;
      /** The service's address. */
      address: string;
      /** Why the address was lost. */
      reason?: string;
    }
  | { type: 'connected' | 'cut-off' }
  | {
      type: 'problem';
      service?: string;
      /** The error. */
      error: Error;
    }
);

/** What a host has told of itself. */
export interface ClusterHost {
  /** Its name. */
  name: string;
  /** Whether its lease holds. */
  alive: boolean;
  /** The containers that it has, of those that services name. */
  containers: string[];
}

/** What this host knows of the cluster. */
export interface ClusterStatus {
  /** This host. */
  host: string;
  /** Whether its own lease holds. While it does not, nothing is changed, and its addresses are gone. */
  connected: boolean;
  /** All hosts. */
  hosts: ClusterHost[];
  /** The services, and which host has the address of each. */
  services: {
    /** Its name. */
    name: string;
    /** The host that has its address; undefined: none has. */
    holder?: string;
    /** The balancer's container on that host. */
    container?: string;
  }[];
  /** What cannot be programmed: a declaration that is none, a container that refuses. By service. */
  problems: Record<string, string>;
  /** The services of this host's own balancers. */
  balancers: BalancerStatus['balancers'];
}

/** How long a host that has vanished is still believed in: after a pause of etcd, all come back within this time. */
const HOST_GRACE_MS = 1000;
/** Changes that come together are carried out together. */
const CONVERGE_MS = 20;
const RETRY_MS = 1000;
const SCHEMA = 1;

/** One balancer container of this host. */
interface LocalBalancer {
  readonly name: string;
  readonly container: Container;
  readonly lb: LoadBalancer;
  readonly holders: Map<string, AddressHolder>;
  syncing: string | undefined;
}

/**
 * A host among others that balance the same services, which are declared in etcd. The host programs its own part: redirects and logs of the servers
 * that it runs, IPVS of the balancers that it runs over the servers of all hosts, and the addresses that it has been elected for.
 *
 * While etcd does not answer, traffic goes on as it was and nothing is changed, except that addresses are given up in time.
 * @example
 * const cluster = await Cluster.join({
 *   etcd: { endpoints: ['http://10.0.0.1:2379'] },
 *   host: 'a',
 *   containers: name => running.get(name),
 * });
 */
export class Cluster {
  /** The declared services. */
  readonly services: ClusterServices;
  readonly #host: string;
  readonly #prefix: string;
  readonly #ttlSeconds: number;
  readonly #containers: (name: string) => Container | undefined;
  readonly #wantsSync: boolean;
  readonly #etcd: Etcd;
  readonly #lease: Lease;
  readonly #stop = new AbortController();
  readonly #feed = new EventFeed<ClusterEvent>();
  readonly #declared = new Map<string, ClusterService>();
  readonly #bad = new Map<string, Error>();
  readonly #problems = new Map<string, Error>();
  readonly #hosts = new Map<string, string[]>();
  /** When hosts have vanished. */
  readonly #gone = new Map<string, number>();
  readonly #owners = new Map<string, { host: string; container: string }>();
  readonly #balancers = new Map<string, LocalBalancer>();
  readonly #servers: LoadBalancer;
  readonly #ready: Promise<void>;
  #known!: () => void;
  #published: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #turn: Promise<void> = Promise.resolve();
  #leaving: Promise<void> | undefined;

  private constructor(options: JoinOptions) {
    checkObject(options, [], ['etcd', 'host', 'prefix', 'containers', 'ttlSeconds', 'sync', 'signal']);
    const { host, prefix = '/netsteer', containers, ttlSeconds = 10, sync = true } = options;
    this.#host = checkHostName(host, ['host']);
    checkString(prefix, ['prefix'], 255);
    if (!/^\/[!-~]*[^/]$/.test(prefix))
      throw rangeError(
        ['prefix'],
        "a path that begins with '/', of printable ASCII, and does not end with '/'",
        prefix,
      );
    if (typeof containers !== 'function') throw typeError(['containers'], 'a function of a name', containers);
    checkInteger(ttlSeconds, ['ttlSeconds'], 4, 3600);
    if (typeof sync !== 'boolean') throw typeError(['sync'], 'true or false', sync);
    this.#prefix = prefix;
    this.#containers = containers;
    this.#ttlSeconds = ttlSeconds;
    this.#wantsSync = sync;
    this.#etcd = new Etcd(checkEtcd(options.etcd, ['etcd']));
    this.services = new ClusterServices(this.#etcd, prefix);
    this.#servers = LoadBalancer.within({ balancers: [], name: 'cluster' }, { serversOnly: true });
    this.#ready = new Promise(resolve => {
      this.#known = resolve;
    });
    this.#lease = new Lease(this.#etcd, ttlSeconds, Math.min(2000, (ttlSeconds * 1000) / 5), bootMs, {
      held: () => {
        this.#published = undefined;
        this.#tell({ type: 'connected' });
        this.#soon();
      },
      renewed: () => {
        for (const { holders } of this.#balancers.values()) for (const holder of holders.values()) void holder.renew();
      },
      lost: () => {
        this.#tell({ type: 'cut-off' });
        for (const { holders } of this.#balancers.values())
          for (const holder of holders.values()) void holder.withdraw('the lease is lost');
      },
    });
    void follow(
      this.#etcd,
      `${prefix}/`,
      this.#stop.signal,
      (key, entry) => this.#changed(key.slice(prefix.length + 1), entry?.value),
      () => {
        this.#known();
        this.#soon();
      },
    );
  }

  /**
   * Joins a cluster: reads the services, programs this host's part, and goes on following them until `leave`.
   * @param options etcd, the host's name and its containers
   * @returns once the services were read and applied here
   * @throws TypeError, RangeError with the path
   * @throws the signal's reason, if it aborts before etcd has answered
   * @example
   * await using cluster = await Cluster.join({
   *   etcd: { endpoints: ['http://10.0.0.1:2379'] },
   *   host: 'a',
   *   containers: name => running.get(name),
   * });
   */
  static async join(options: JoinOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    const { signal } = options;
    try {
      const aborted = new Promise<never>((_, reject) => {
        if (signal?.aborted === true) reject(signal.reason);
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
      await (signal === undefined ? cluster.#ready : Promise.race([cluster.#ready, aborted]));
      await cluster.#converge();
    } catch (error) {
      await cluster.leave();
      throw error;
    }
    signal?.addEventListener('abort', () => void cluster.leave(), { once: true });
    return cluster;
  }

  #changed(key: string, value: string | undefined): void {
    const slash = key.indexOf('/');
    const [kind, name] = [key.slice(0, slash), key.slice(slash + 1)];
    if (kind === 'services') {
      this.#bad.delete(name);
      if (value === undefined) this.#declared.delete(name);
      else {
        try {
          this.#declared.set(name, fromStored(value, name));
        } catch (error) {
          // It harms only itself: what was declared before stays.
          const bad = within(error, [name]) as Error;
          this.#bad.set(name, bad);
          this.#tell({ type: 'problem', service: name, error: bad });
        }
      }
    } else if (kind === 'hosts') {
      if (value === undefined) {
        this.#gone.set(name, bootMs());
        setTimeout(() => this.#soon(), HOST_GRACE_MS).unref();
        return;
      }
      const wasAlive = this.#hosts.has(name);
      this.#gone.delete(name);
      this.#hosts.set(name, namesIn(value));
      if (!wasAlive) this.#tell({ type: 'host-up', host: name });
    } else if (kind === 'holders') {
      const owner = value === undefined ? undefined : ownerIn(value);
      if (owner === undefined) this.#owners.delete(name);
      else this.#owners.set(name, owner);
    }
  }

  /** Hosts whose lease has ended, and that have not come back since. */
  #bury(): void {
    const now = bootMs();
    const due = [...this.#gone].filter(([, at]) => now - at >= HOST_GRACE_MS);
    // All at once: etcd was away, not they.
    const others = [...this.#hosts.keys()].filter(name => name !== this.#host);
    if (due.length > 1 && due.length === others.length && !this.#lease.id) return;
    for (const [name] of due) {
      this.#gone.delete(name);
      if (this.#hosts.delete(name)) this.#tell({ type: 'host-down', host: name });
    }
  }

  #soon(): void {
    if (this.#stop.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#converge(), CONVERGE_MS);
  }

  /** Makes this host's part as it is declared. */
  #converge(): Promise<void> {
    const run = async () => {
      if (this.#stop.signal.aborted) return;
      this.#bury();
      await this.#publish();
      let again = false;
      again = (await this.#programServers()) || again;
      again = (await this.#programBalancers()) || again;
      await this.#campaign();
      if (!again) return;
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.#soon(), RETRY_MS);
      this.#retry.unref();
    };
    this.#turn = this.#turn.then(run, run).catch((error: Error) => this.#tell({ type: 'problem', error }));
    return this.#turn;
  }

  /** Tells the others that this host is there, and which containers it has. */
  async #publish(): Promise<void> {
    const lease = this.#lease.id;
    if (lease === undefined) return;
    const names = new Set<string>();
    for (const { balancers, servers, fallback } of this.#declared.values()) {
      for (const name of balancers) names.add(name);
      for (const { host, container } of [...servers, ...(fallback === undefined ? [] : [fallback])])
        if (host === this.#host && container !== undefined) names.add(container);
    }
    const containers = [...names].filter(name => this.#containerOf(name) !== undefined).sort();
    const value = JSON.stringify({ schema: SCHEMA, containers });
    const published = `${lease} ${value}`;
    if (published === this.#published) return;
    await this.#etcd.transaction([], [{ put: `${this.#prefix}/hosts/${this.#host}`, value, lease }]);
    this.#published = published;
  }

  #containerOf(name: string): Container | undefined {
    const container = this.#containers(name);
    return container === undefined || container.released || container.ended ? undefined : container;
  }

  /** The servers of this host: their redirects, logs and devices. @returns whether something failed */
  async #programServers(): Promise<boolean> {
    const services: BalancedService[] = [];
    for (const service of this.#declared.values()) {
      const mine = (server: ClusterServer) => server.host === this.#host && server.container !== undefined;
      const all = [...service.servers, ...(service.fallback === undefined ? [] : [service.fallback])].filter(mine);
      const servers = all.flatMap(server => {
        const container = this.#containerOf(server.container!);
        return container === undefined ? [] : [{ ...localServer(server), container }];
      });
      if (servers.length > 0) services.push({ ...withoutCluster(service), servers });
    }
    return this.#applied('servers', () => this.#servers.apply(services));
  }

  /** The balancers of this host: IPVS over the servers of all hosts. @returns whether something failed */
  async #programBalancers(): Promise<boolean> {
    const wanted = new Map<string, BalancedService[]>();
    for (const service of this.#declared.values()) {
      for (const name of service.balancers) {
        if (this.#containerOf(name) === undefined) continue;
        const services = wanted.get(name) ?? [];
        wanted.set(name, services);
        services.push(this.#balanced(service));
      }
    }
    let failed = false;
    for (const [name, balancer] of this.#balancers) {
      if (wanted.has(name) && this.#containerOf(name) === balancer.container) continue;
      this.#balancers.delete(name);
      await this.#closeBalancer(balancer, true);
    }
    for (const [name, services] of wanted) {
      let balancer = this.#balancers.get(name);
      if (balancer === undefined) {
        const container = this.#containerOf(name)!;
        const settings = new Map(this.#wantsSync ? SYNC_SETTINGS : []);
        balancer = {
          name,
          container,
          lb: LoadBalancer.within({ balancers: [container], name: 'cluster' }, { settings }),
          holders: new Map(),
          syncing: undefined,
        };
        this.#balancers.set(name, balancer);
      }
      const { lb } = balancer;
      failed = (await this.#applied(name, () => lb.apply(services))) || failed;
      if (this.#wantsSync) failed = (await this.#applied(`${name} sync`, () => this.#sync(balancer!))) || failed;
    }
    return failed;
  }

  /** A service as a balancer has it: servers of dead hosts get no new connections. */
  #balanced(service: ClusterService): BalancedService {
    const servers = service.servers.map(server => {
      const local = localServer(server);
      return this.#hosts.has(server.host) || server.host === this.#host ? local : { ...local, weight: 0 };
    });
    return {
      ...withoutCluster(service),
      servers: servers.map(({ toPort: _toPort, log: _log, ...server }) => server),
      ...(service.fallback !== undefined && {
        fallback: (({ toPort: _toPort, log: _log, ...server }) => server)(localServer(service.fallback)),
      }),
      // Checks of masqueraded servers need the port of their program.
      ...(service.health !== undefined && {
        health: { ...service.health, port: service.health.port ?? portToCheck(service) },
      }),
    } as BalancedService;
  }

  /** Both daemons, so that nobody has to switch at a failover: what one balancer knows, the others know. */
  async #sync({ container, name }: LocalBalancer): Promise<void> {
    const device = [...this.#declared.values()].find(({ balancers }) => balancers.includes(name))?.device;
    if (device === undefined) return;
    const syncId = (createHash('sha256').update(this.#prefix).digest()[0]! % 255) + 1;
    const running = await container.ipvs.syncDaemons();
    for (const state of ['master', 'backup'] as const)
      if (!running.some(daemon => daemon.state === state))
        await container.ipvs.startSync({ state, interface: device, syncId });
  }

  async #applied(what: string, call: () => Promise<unknown>): Promise<boolean> {
    try {
      await call();
      this.#problems.delete(what);
      return false;
    } catch (error) {
      const before = this.#problems.get(what);
      this.#problems.set(what, error as Error);
      if (before?.message !== (error as Error).message) this.#tell({ type: 'problem', error: error as Error });
      return true;
    }
  }

  /** Tries to get the addresses that nobody has. */
  async #campaign(): Promise<void> {
    const wanted = new Set<string>();
    const trying: Promise<void>[] = [];
    for (const service of this.#declared.values()) {
      for (const name of service.balancers) {
        const balancer = this.#balancers.get(name);
        if (balancer === undefined) continue;
        const { address, device, label } = service;
        const id = `${name} ${address}`;
        wanted.add(id);
        let holder = balancer.holders.get(address);
        if (holder === undefined) {
          holder = new AddressHolder(
            this.#etcd,
            this.#lease,
            {
              key: `${this.#prefix}/holders/${address}`,
              value: JSON.stringify({ schema: SCHEMA, host: this.#host, container: name }),
              container: balancer.container,
              device: device!,
              address,
              label,
              ttlSeconds: this.#ttlSeconds,
            },
            {
              held: held => this.#tell({ type: 'held', service: service.name, address: held }),
              lost: (lost, reason) => this.#tell({ type: 'lost', service: service.name, address: lost, reason }),
              failed: error => this.#tell({ type: 'problem', service: service.name, error }),
            },
          );
          balancer.holders.set(address, holder);
        }
        if (!this.#owners.has(address) && !holder.isHolder) trying.push(holder.campaign());
      }
    }
    for (const balancer of this.#balancers.values())
      for (const [address, holder] of balancer.holders)
        if (!wanted.has(`${balancer.name} ${address}`)) {
          balancer.holders.delete(address);
          trying.push(holder.close());
        }
    await Promise.all(trying);
  }

  async #closeBalancer({ lb, holders }: LocalBalancer, remove: boolean): Promise<void> {
    await Promise.all([...holders.values()].map(holder => holder.close()));
    try {
      await lb.close({ remove });
    } catch {
      // The container has ended, and all of it is gone.
      await lb.close();
    }
  }

  /**
   * The hosts that this one knows of.
   * @example
   * console.log(cluster.hosts().filter(({ alive }) => !alive));
   */
  hosts(): ClusterHost[] {
    return [...this.#hosts].map(([name, containers]) => ({ name, alive: !this.#gone.has(name), containers }));
  }

  /**
   * What this host knows: hosts, services with the holders of their addresses, problems, and its own balancers.
   * @example
   * console.log((await cluster.status()).problems);
   */
  async status(): Promise<ClusterStatus> {
    this.#checkOpen();
    const balancers = await Promise.all([...this.#balancers.values()].map(({ lb }) => lb.status()));
    return {
      host: this.#host,
      connected: this.#lease.id !== undefined,
      hosts: this.hosts(),
      services: [...this.#declared.values()].map(({ name, address }) => {
        const owner = this.#owners.get(address);
        return { name, ...(owner !== undefined && { holder: owner.host, container: owner.container }) };
      }),
      problems: Object.fromEntries([...this.#bad, ...this.#problems].map(([name, { message }]) => [name, message])),
      balancers: balancers.flatMap(status => status.balancers),
    };
  }

  /**
   * What happens from now on.
   * @example
   * for await (const event of cluster.events()) console.log(event.type);
   */
  events(): AsyncIterableIterator<ClusterEvent> {
    return this.#feed.read();
  }

  #tell(event: ClusterEvent extends infer E ? (E extends { atMs: number } ? Omit<E, 'atMs'> : never) : never): void {
    this.#feed.tell({ atMs: Date.now(), ...event } as ClusterEvent);
  }

  #checkOpen(): void {
    if (this.#leaving !== undefined) throw new StateError('ERR_CLOSED', 'the cluster was left: join it again');
  }

  /**
   * Leaves the cluster: gives the addresses up, so that others take them at once, and then the lease. IPVS, redirects and sync daemons stay, for the
   * connections that there are.
   * @example
   * await cluster.leave();
   */
  async leave(): Promise<void> {
    this.#leaving ??= this.#leave();
    await this.#leaving;
  }

  async #leave(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    await this.#turn;
    await Promise.all([...this.#balancers.values()].map(balancer => this.#closeBalancer(balancer, false)));
    await this.#servers.close();
    await this.#lease.close();
    this.#etcd.close();
    this.#feed.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
  }
}

/** What connections that are idle need to be known to the other balancers, and strays to be taken on. */
const SYNC_SETTINGS: readonly (readonly [string, string])[] = [
  ['net.ipv4.vs.sync_threshold', '0\t0'],
  ['net.ipv4.vs.sync_refresh_period', '10'],
  ['net.ipv4.vs.sloppy_tcp', '1'],
];

/** The part of a service that a load balancer of one process takes. The address is held by an election. */
function withoutCluster({
  balancers: _balancers,
  fallback: _fallback,
  device: _device,
  label: _label,
  ...service
}: ClusterService): BalancedService {
  return service as unknown as BalancedService;
}

/** With 'direct' and 'tunnel', a server's own address has the program's port, not the service's. */
function portToCheck({ servers, port }: ClusterService): number | undefined {
  const ports = new Set(servers.map(({ toPort, port: own }) => toPort ?? own ?? port));
  return ports.size === 1 ? [...ports][0] : undefined;
}

function namesIn(value: string): string[] {
  try {
    const { containers } = JSON.parse(value) as { containers?: unknown };
    return Array.isArray(containers)
      ? containers.filter(name => typeof name === 'string' && name.length < 64).slice(0, 10_000)
      : [];
  } catch {
    return [];
  }
}

function ownerIn(value: string): { host: string; container: string } | undefined {
  try {
    const { host, container } = JSON.parse(value) as { host?: unknown; container?: unknown };
    return typeof host === 'string' && typeof container === 'string' ? { host, container } : undefined;
  } catch {
    return undefined;
  }
}
