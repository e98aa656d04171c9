import { createHash } from 'node:crypto';
import { clearTimeout, setTimeout } from 'node:timers';
import { type BalancedService, EventFeed, LoadBalancer } from '../balancer/internal.ts';
import { checkInteger, checkObject, checkString } from '../codec/index.ts';
import type { Container } from '../container/index.ts';
import { rangeError, StateError, typeError } from '../errors.ts';
import { checkSignal, onAbort, throwIfAborted } from '../signal.ts';
import { applyEach } from './apply-each.ts';
import { bootMs } from './clock.ts';
import {
  type ClusterServer,
  type ClusterService,
  canonicalAddress,
  checkHostName,
  localServer,
  portToCheck,
  SCHEMA,
  withoutCluster,
} from './declaration.ts';
import { Etcd, isRefusal } from './etcd.ts';
import { checkEtcd, type EtcdOptions } from './etcd-options.ts';
import type { HolderEvents } from './holder.ts';
import { follow } from './keys.ts';
import { Lease } from './lease.ts';
import { type BalancerSurroundings, LocalBalancer } from './local-balancer.ts';
import { ClusterRecords } from './records.ts';
import { ClusterServices } from './services.ts';
import type { ClusterEvent, ClusterHost, ClusterStatus } from './status.ts';

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

/** How long a host that has vanished is still believed in: after a pause of etcd, all come back within this time. */
const HOST_GRACE_MS = 1000;
/** After this host has lost its own lease and has a new one, it believes longer in the others: etcd may have been away, not they. */
const DOUBT_MS = 3000;
/** A dead host's servers are removed when it has been dead for so many times the TTL; until then their weight is 0. */
const REMOVED_AFTER_TTLS = 3;
/** Changes that come together are carried out together. */
const CONVERGE_MS = 20;
const RETRY_MS = 1000;

/** A container that this host has a part in. */
type Named = Map<string, Container | undefined>;

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
  readonly #containers: (name: string) => Container | undefined;
  readonly #etcd: Etcd;
  readonly #lease: Lease;
  readonly #surroundings: BalancerSurroundings;
  readonly #stop = new AbortController();
  readonly #feed = new EventFeed<ClusterEvent>();
  readonly #records: ClusterRecords;
  /** When hosts have been found dead. */
  readonly #dead = new Map<string, number>();
  readonly #problems = new Map<string, Error>();
  readonly #balancers = new Map<string, LocalBalancer>();
  readonly #servers: LoadBalancer;
  readonly #good = new Map<string, BalancedService>();
  readonly #ready: Promise<void>;
  /** The containers as they were when this host was programmed last. */
  #seen: Named = new Map();
  /** Until then, hosts that have vanished are believed in. */
  #doubtUntilMs = 0;
  #published: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #turn: Promise<void> = Promise.resolve();
  #leaving: Promise<void> | undefined;

  private constructor(options: JoinOptions) {
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
    const etcd = new Etcd(checkEtcd(options.etcd, ['etcd']));
    this.#etcd = etcd;
    this.services = new ClusterServices(etcd, prefix);
    this.#servers = LoadBalancer.within({ balancers: [], name: 'cluster' }, { serversOnly: true });
    this.#records = new ClusterRecords({
      hostUp: name => {
        this.#dead.delete(name);
        this.#tell({ type: 'host-up', host: name });
      },
      problem: (service, error) => this.#tell({ type: 'problem', service, error }),
      owner: (address, owner) => {
        for (const balancer of this.#balancers.values()) balancer.disown(address, owner?.value);
      },
    });
    this.#lease = new Lease(etcd, ttlSeconds, Math.min(2000, (ttlSeconds * 1000) / 5), bootMs, {
      held: () => {
        this.#published = undefined;
        this.#doubtUntilMs = bootMs() + DOUBT_MS;
        this.#tell({ type: 'connected' });
        this.#soon();
      },
      renewed: () => {
        for (const balancer of this.#balancers.values()) balancer.renew();
        if (this.#haveContainersChanged()) this.#soon();
      },
      lost: () => {
        this.#tell({ type: 'cut-off' });
        for (const balancer of this.#balancers.values()) balancer.withdraw('the lease is lost');
      },
    });
    const syncId = sync ? (createHash('sha256').update(prefix).digest()[0]! % 255) + 1 : undefined;
    this.#surroundings = { etcd, lease: this.#lease, prefix, host, ttlSeconds, syncId };
    this.#ready = new Promise((resolve, reject) => {
      this.#follow(resolve, reject).catch(reject);
    });
    // Whoever joins awaits it.
    this.#ready.catch(() => {});
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
    checkObject(options, [], ['etcd', 'host', 'prefix', 'containers', 'ttlSeconds', 'sync', 'signal']);
    const signal = checkSignal(options.signal, ['signal']);
    throwIfAborted(signal);
    const cluster = new Cluster(options);
    const unlisten = onAbort(signal, () => void cluster.leave());
    cluster.#stop.signal.addEventListener('abort', unlisten, { once: true });
    try {
      await cluster.#ready;
      throwIfAborted(signal);
      await cluster.#converge();
    } catch (error) {
      await cluster.leave();
      throwIfAborted(signal);
      throw error;
    }
    return cluster;
  }

  async #follow(ready: () => void, refused: (error: Error) => void): Promise<void> {
    let hasBegun = false;
    const prefix = `${this.#prefix}/`;
    const groups = follow(this.#etcd, prefix, this.#stop.signal, error => {
      if (!hasBegun && isRefusal(error)) refused(error);
      else this.#report('etcd', error);
    });
    for await (const changes of groups) {
      hasBegun = true;
      this.#problems.delete('etcd');
      for (const change of changes) {
        const key = change.key.slice(prefix.length);
        this.#records.change(key, change, bootMs());
        // Somebody has deleted it, or the lease has ended: it is put again with the lease that holds.
        if (key === `hosts/${this.#host}` && change.entry === undefined) this.#published = undefined;
      }
      this.#records.settle();
      ready();
      this.#soon();
    }
    refused(new StateError('ERR_CLOSED', 'the cluster was left before etcd has answered'));
  }

  /** Hosts whose lease has ended, and that have not come back since. */
  #bury(): void {
    const now = bootMs();
    // Without a lease of its own, this host cannot know.
    if (this.#lease.id === undefined || now < this.#doubtUntilMs) return;
    for (const name of this.#records.bury(now, HOST_GRACE_MS)) {
      this.#dead.set(name, now);
      this.#tell({ type: 'host-down', host: name });
    }
  }

  /** When the next host is due to be taken as dead, or a dead one's servers to be removed. */
  #nextDue(): number | undefined {
    const due = [
      ...[...this.#records.gone.values()].map(at => Math.max(at + HOST_GRACE_MS, this.#doubtUntilMs)),
      ...[...this.#dead.values()].map(at => at + this.#removedAfterMs).filter(at => at > bootMs()),
    ];
    return due.length === 0 ? undefined : Math.min(...due) - bootMs();
  }

  get #removedAfterMs(): number {
    return REMOVED_AFTER_TTLS * this.#surroundings.ttlSeconds * 1000;
  }

  #haveContainersChanged(): boolean {
    for (const [name, before] of this.#seen) if (this.#containerOf(name) !== before) return true;
    return false;
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
      this.#seen = new Map();
      this.#bury();
      // While etcd does not answer, this is as far as it goes.
      let failed = await this.#applied('etcd', () => this.#publish());
      if (!failed) {
        failed = (await this.#programServers()) || failed;
        failed = (await this.#programBalancers()) || failed;
        failed = (await this.#campaign()) || failed;
      }
      this.#again(failed ? RETRY_MS : this.#nextDue());
    };
    this.#turn = this.#turn.then(run, run).catch((error: Error) => {
      this.#report('host', error);
      this.#again(RETRY_MS);
    });
    return this.#turn;
  }

  #again(milliseconds: number | undefined): void {
    clearTimeout(this.#retry);
    if (milliseconds === undefined || this.#stop.signal.aborted) return;
    this.#retry = setTimeout(() => this.#soon(), Math.max(CONVERGE_MS, milliseconds));
    this.#retry.unref();
  }

  /** Tells the others that this host is there, and which containers it has. */
  async #publish(): Promise<void> {
    const lease = this.#lease.id;
    if (lease === undefined) return;
    const names = new Set<string>();
    for (const service of this.#records.services.values()) {
      for (const name of service.balancers) names.add(name);
      for (const { container } of this.#mine(service)) names.add(container!);
    }
    const containers = [...names].filter(name => this.#containerOf(name) !== undefined).sort();
    const value = JSON.stringify({ schema: SCHEMA, containers });
    const published = `${lease} ${value}`;
    if (published === this.#published) return;
    await this.#etcd.transaction([], [{ put: `${this.#prefix}/hosts/${this.#host}`, value, lease }]);
    this.#published = published;
  }

  /** The servers that this host programs. */
  #mine({ servers, fallback }: ClusterService): ClusterServer[] {
    const all = fallback === undefined ? servers : [...servers, fallback];
    return all.filter(({ host, container }) => host === this.#host && container !== undefined);
  }

  #containerOf(name: string): Container | undefined {
    const container = this.#containers(name);
    const usable = container === undefined || container.released || container.ended ? undefined : container;
    this.#seen.set(name, usable);
    return usable;
  }

  /** The servers of this host: their redirects, logs and devices. @returns whether something failed */
  async #programServers(): Promise<boolean> {
    const services = [...this.#records.services.values()].flatMap(service => {
      const servers = this.#mine(service).flatMap(server => {
        const container = this.#containerOf(server.container!);
        return container === undefined ? [] : [{ ...localServer(server), container }];
      });
      return servers.length === 0 ? [] : [{ ...withoutCluster(service), servers }];
    });
    return this.#applied('servers of this host', () =>
      applyEach(this.#servers, services, this.#good, (name, error) => this.#report(name, error)),
    );
  }

  /** The balancers of this host: IPVS over the servers of all hosts. @returns whether something failed */
  async #programBalancers(): Promise<boolean> {
    const wanted = new Map<string, ClusterService[]>();
    for (const service of this.#records.services.values())
      for (const name of service.balancers)
        if (this.#containerOf(name) !== undefined) wanted.set(name, [...(wanted.get(name) ?? []), service]);
    let failed = false;
    for (const [name, balancer] of this.#balancers) {
      if (wanted.has(name) && this.#containerOf(name) === balancer.container) continue;
      this.#balancers.delete(name);
      await balancer.close(true);
    }
    for (const [name, services] of wanted) {
      const balancer =
        this.#balancers.get(name) ?? new LocalBalancer(name, this.#containerOf(name)!, this.#surroundings);
      this.#balancers.set(name, balancer);
      const programmed = services.map(service => this.#balanced(service));
      const refused = (service: string, error: Error) => this.#report(service, error);
      failed = (await this.#applied(`balancer ${name}`, () => balancer.program(programmed, refused))) || failed;
      const { device } = services[0]!;
      failed = (await this.#applied(`sync of ${name}`, () => balancer.synchronize(device!))) || failed;
    }
    return failed;
  }

  /** A service as a balancer has it: servers of dead hosts get no new connections. */
  #balanced(service: ClusterService): BalancedService {
    const now = bootMs();
    const servers = service.servers.flatMap(server => {
      const local = localServer(server);
      if (server.host === this.#host || this.#records.hosts.has(server.host)) return [local];
      const died = this.#dead.get(server.host);
      // First no new connections, then none: what still goes on is not cut.
      return died !== undefined && now - died >= this.#removedAfterMs ? [] : [{ ...local, weight: 0 }];
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

  async #applied(what: string, call: () => Promise<unknown>): Promise<boolean> {
    try {
      await call();
      this.#problems.delete(what);
      return false;
    } catch (error) {
      this.#report(what, error as Error);
      return true;
    }
  }

  #report(what: string, error: Error): void {
    const before = this.#problems.get(what);
    this.#problems.set(what, error);
    if (before?.message === error.message) return;
    this.#tell({ type: 'problem', ...(this.#records.services.has(what) && { service: what }), error });
  }

  /** Tries to get the addresses that nobody has. @returns whether it is to be tried again */
  async #campaign(): Promise<boolean> {
    const { owners, services } = this.#records;
    const again = await Promise.all(
      [...this.#balancers.values()].map(balancer =>
        balancer.campaign(
          [...services.values()].filter(({ balancers }) => balancers.includes(balancer.name)),
          (address, { value }) => {
            const owner = owners.get(address);
            // A record that no lease ends, or of an earlier lease of the same namespace, is nobody's.
            return owner !== undefined && owner.lease !== 0n && owner.value !== value;
          },
          service => this.#eventsOf(service.name),
        ),
      ),
    );
    return again.includes(true);
  }

  #eventsOf(service: string): HolderEvents {
    return {
      held: address => this.#tell({ type: 'held', service, address }),
      lost: (address, reason) => this.#tell({ type: 'lost', service, address, reason }),
      failed: error => this.#tell({ type: 'problem', service, error }),
    };
  }

  /**
   * The hosts that this one knows of.
   * @example
   * console.log(cluster.hosts().filter(({ alive }) => !alive));
   */
  hosts(): ClusterHost[] {
    const { hosts, gone } = this.#records;
    return [...hosts].map(([name, containers]) => ({ name, alive: !gone.has(name), containers }));
  }

  /**
   * What this host knows: hosts, services with the holders of their addresses, problems, and its own balancers.
   * @example
   * console.log((await cluster.status()).problems);
   */
  async status(): Promise<ClusterStatus> {
    this.#checkOpen();
    const { services, owners, bad } = this.#records;
    const balancers = await Promise.all([...this.#balancers.values()].map(balancer => balancer.status()));
    return {
      host: this.#host,
      connected: this.#lease.id !== undefined,
      hosts: this.hosts(),
      services: [...services.values()].map(({ name, address }) => {
        const owner = owners.get(canonicalAddress(address));
        return { name, ...(owner !== undefined && { holder: owner.host, container: owner.container }) };
      }),
      problems: Object.fromEntries([...this.#problems, ...bad].map(([name, { message }]) => [name, message])),
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
    const gone = await Promise.all([...this.#balancers.values()].map(balancer => balancer.close(false)));
    await this.#servers.close();
    // An address that could not be removed goes by itself, and its key after it.
    await this.#lease.close(!gone.includes(false));
    this.#etcd.close();
    this.#feed.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
  }
}
