import { checkObject, checkOneOf } from '../codec/index.ts';
import { NetlinkError, printable, typeError } from '../errors.ts';
import {
  type Destination,
  type DestinationEntry,
  type DestinationKey,
  ignoresPort,
  readDestination,
  type VirtualServer,
} from '../ip_vs/destination.ts';
import { familyOf, readService, type Service, type ServiceEntry, type ServiceKey, writeKey } from '../ip_vs/service.ts';
import type { SyncDaemon, SyncState } from '../ip_vs/sync-daemon.ts';
import { readTimeouts, type Timeouts, writeTimeouts } from '../ip_vs/timeouts.ts';
import { saveRules } from '../ipvsadm/format.ts';
import * as C from '../linux/ip_vs.ts';
import { Exchange, type Operation, type Synchronous, syncAndAsync } from '../netlink/index.ts';
import { closedError } from '../netlink/lifetime.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { type Backends, backendsOf } from './backends/automatic.ts';
import type { Backend, IpvsInfo } from './backends/backend.ts';
import {
  describe,
  destinationCommand,
  destinationKeyCommand,
  destinationRequest,
  keyCommand,
  serviceCommand,
} from './backends/requests.ts';
import { IpvsSocket, namespaceOf, type Via } from './backends/socket.ts';
import { applyOperations, type BatchOptions, type BatchResult } from './batch.ts';
import { type Connection, type ConnectionsOptions, readConnections } from './connections.ts';
import { startSync, stopSync, syncDaemons } from './daemon.ts';
import { editDestination, editService, readExisting, replacement, replacementOf, verifyTunnel } from './ipvs-edit.ts';
import { BatchBuilder, type DestinationPatch, type IpvsOperation, type ServicePatch } from './operation.ts';
import { changesBetween, Desired, toOperation } from './plan.ts';
import {
  type PlanOptions,
  type ReconcileOptions,
  type ReconcileResult,
  reconcileAway,
  reconcileNow,
  reconciling,
} from './reconcile.ts';
import { type RestoreOptions, type RestoreResult, restoreRules } from './rules-restore.ts';
import { IpvsSettings } from './settings.ts';
import { readServers, readServices, readStable, type Snapshot, toSnapshot } from './snapshot.ts';

export interface IpvsOptions {
  /** The namespace to program; home where left out. */
  netns?: NetNs;
  /**
   * 'netlink' has everything, and wants CAP_NET_ADMIN in the initial user namespace. 'sockopt' is permitted to root of an unprivileged container
   * too, and carries IPv4 only, without persistence engines, tunnel types and 64-bit counters (UnsupportedError). 'auto', the default, is
   * netlink, and the socket options from the first EPERM on.
   */
  via?: Via;
  logger?: Logger;
}

/** The operations of IPVS, each written once. */
export class IpvsOperations {
  readonly #exchange: Exchange;
  readonly #backends: Backends;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#backends = backendsOf(exchange);
  }

  get #backend(): Backend {
    return this.#backends.backend;
  }

  /** Version and size of the connection table. */
  *info(): Operation<IpvsInfo> {
    return yield* this.#backend.info();
  }

  /** Adds a virtual service. @throws NetlinkError EEXIST it is there already, ENOENT no such scheduler or engine in this kernel. */
  *addService(service: Service): Operation<void> {
    yield* this.#backend.request(serviceCommand('NEW', service));
  }

  /**
   * Adds a virtual service, or replaces everything but its key and its servers. What the service is like already is taken, also where `addService`
   * refuses it.
   */
  *setService(service: Service): Operation<void> {
    try {
      const wire = yield* replacement(this.#backend, service);
      yield* this.#backend.request(serviceCommand('SET', service, { service: wire }));
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.code !== 'ESRCH') throw error;
      yield* this.addService(service);
    }
  }

  /**
   * Changes some fields of a virtual service and leaves the others as they are, those of `persistence` too: reads, merges, writes, and looks whether
   * it is so; begins again where others came in between. What is not given and does not fit any more goes: another scheduler takes the flags of the
   * old one away. @throws NetlinkError ESRCH there is none. @throws StateError ERR_DUMP_INTERRUPTED others never stopped.
   */
  *editService(key: ServiceKey, patch: ServicePatch): Operation<void> {
    yield* editService(this.#backend, key, patch);
  }

  /** Removes a virtual service and its servers. @throws NetlinkError ESRCH there is none. */
  *removeService(key: ServiceKey): Operation<void> {
    yield* this.#backend.request(keyCommand('DEL', key));
  }

  /** One virtual service. @throws NetlinkError ESRCH there is none. */
  *service(key: ServiceKey): Operation<ServiceEntry> {
    return yield* this.#backend.get(keyCommand('GET', key), ({ service }) => service && readService(service));
  }

  /** All virtual services of the namespace, in the kernel's order; with `destinations`, the servers of each. */
  *services(
    options: { destinations?: boolean; signal?: AbortSignal } = {},
  ): Operation<(ServiceEntry & { destinations?: DestinationEntry[] })[]> {
    checkObject(options, [], ['destinations', 'signal']);
    if (!options.destinations) return (yield* readServices(this.#backend, true)).map(readService);
    return toSnapshot({ servers: yield* readServers(this.#backends, { stats: true }), stable: false }).servers;
  }

  /**
   * Adds a real server to a service. @throws NetlinkError ESRCH no such service, EEXIST the server is there already.
   * @throws UnsupportedError the kernel (before 5.3) does not know this type of tunnel; nothing was added.
   */
  *addDestination(key: ServiceKey, destination: Destination): Operation<void> {
    const command = destinationCommand('NEW', key, destination);
    tellIgnoredPort(this.#exchange, key, destination);
    yield* this.#backend.request(command);
    yield* verifyTunnel(this.#backend, command.value, destinationKeyCommand(key, destination));
  }

  /** Adds a real server, or replaces everything but its key. What the server is like already is taken, as by `setService`. */
  *setDestination(key: ServiceKey, destination: Destination): Operation<void> {
    const wire = yield* replacementOf(this.#backend, key, destination);
    const command = destinationRequest('SET', destination, { service: writeKey(key), destination: wire });
    tellIgnoredPort(this.#exchange, key, destination);
    try {
      yield* this.#backend.request(command);
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.code !== 'ENOENT') throw error;
      yield* this.addDestination(key, destination);
    }
    yield* verifyTunnel(this.#backend, command.value);
  }

  /**
   * Changes some fields of a real server, also of its `tunnel`: `{ weight: 0 }` drains it. Reads, merges, writes, and looks whether it is so; begins
   * again where others came in between. What is not given and does not fit any more goes: `DestinationPatch` says what. @throws NetlinkError ESRCH no such service, ENOENT no such server. @throws StateError ERR_DUMP_INTERRUPTED
   * others never stopped.
   */
  *editDestination(key: ServiceKey, destinationKey: DestinationKey, patch: DestinationPatch): Operation<void> {
    yield* editDestination(this.#backend, key, destinationKey, patch);
  }

  /** Removes a real server. Its connections end. @throws NetlinkError ESRCH no such service, ENOENT no such server. */
  *removeDestination(key: ServiceKey, destination: DestinationKey): Operation<void> {
    yield* this.#backend.request(destinationKeyCommand(key, destination));
  }

  /** The real servers of a service, the newest first. @throws NetlinkError ESRCH no such service. */
  *destinations(key: ServiceKey): Operation<DestinationEntry[]> {
    const family = familyOf(key);
    return (yield* readExisting(this.#backend, key)).map(destination => readDestination(destination, family));
  }

  /** Removes every service of the namespace. Timeouts and the connections' entries stay. */
  *flush(): Operation<void> {
    yield* this.#backend.request(describe('IPVS_CMD_FLUSH', C.IPVS_CMD_FLUSH, undefined, {}));
  }

  /** Sets the counters to zero: of one service and its servers, or of all. @throws NetlinkError ESRCH no such service. */
  *zero(key?: ServiceKey): Operation<void> {
    const value = key === undefined ? {} : { service: writeKey(key) };
    yield* this.#backend.request(describe('IPVS_CMD_ZERO', C.IPVS_CMD_ZERO, key, value));
  }

  /** How long connections are remembered. */
  *timeouts(): Operation<Timeouts> {
    return yield* this.#backend.get(
      describe('IPVS_CMD_GET_CONFIG', C.IPVS_CMD_GET_CONFIG, undefined, {}),
      readTimeouts,
    );
  }

  /** Sets some of the timeouts, 1 to 2,147,483 seconds each; what is left out stays. */
  *setTimeouts(timeouts: Partial<Timeouts>): Operation<void> {
    const command = describe('IPVS_CMD_SET_CONFIG', C.IPVS_CMD_SET_CONFIG, timeouts, writeTimeouts(timeouts));
    yield* this.#backend.request(command);
  }

  /**
   * Starts a sync daemon of the kernel. @throws NetlinkError EEXIST one of that state runs, ENODEV no such interface, EINVAL the group is no
   * multicast address, or a service has servers of the other family, which cannot be synchronised.
   */
  *startSync(daemon: SyncDaemon): Operation<void> {
    yield* startSync(this.#backend, daemon);
  }

  /** Stops a sync daemon; what a backup took over stays. @throws NetlinkError ESRCH none of that state runs. */
  *stopSync(state: SyncState): Operation<void> {
    yield* stopSync(this.#backend, state);
  }

  /** The sync daemons that run: none, a master, a backup, or both. */
  *syncDaemons(): Operation<SyncDaemon[]> {
    return yield* syncDaemons(this.#backend);
  }

  /**
   * The services and servers in the format of `ipvsadm -Sn`, with what that forgets (`formatRules`). What another program has set and ipvsadm cannot
   * write or read back is in it too, with options of this library's own: `restore` in an empty namespace makes the same table of any text.
   */
  *save(options: { signal?: AbortSignal } = {}): Operation<string> {
    checkObject(options, ['options'], ['signal']);
    return saveRules(toSnapshot(yield* readStable(this.#backends)).servers);
  }

  /**
   * Carries out a text in the format of `ipvsadm -S`, as `ipvsadm -R` would (`parseRuleLines` says what it may hold): it adds to what there is,
   * unless a line says -C or `replace` is given. All lines are read before any is sent, and if one fails, what the others did is undone, sync
   * daemons included (`rollback: false` leaves it).
   * @example
   * await ipvs.restore(await readFile('/etc/ipvsadm.rules', 'utf8'), { replace: true });
   * @throws RuleError a line is no rule; nothing was sent. @throws BatchError the kernel refused lines; each failure has its `line`.
   */
  *restore(text: string, options: RestoreOptions = {}): Operation<RestoreResult> {
    return yield* restoreRules(this.#backends, text, options);
  }

  /**
   * Carries out many operations with few sends. All parameters are checked before anything is sent (TypeError, RangeError with a path such
   * as operations[3].destination.weight). IPVS has no transactions: an operation that fails does not stop the others.
   * @throws BatchError one or more were refused; it tells which, why, and what the kernel holds now. With onError: 'collect' the result does.
   */
  *apply(operations: readonly IpvsOperation[], options: BatchOptions = {}): Operation<BatchResult> {
    return yield* applyOperations(this.#backends, operations, options);
  }

  /** As `apply`, with the operations written as calls: `ipvs.batch(b => b.addService(service).addDestination(service, server))`. */
  *batch(build: (batch: BatchBuilder) => void, options: BatchOptions = {}): Operation<BatchResult> {
    if (typeof build !== 'function') throw typeError(['build'], 'a function', build);
    const builder = new BatchBuilder();
    const returned: unknown = build(builder);
    if (returned instanceof Promise) {
      // Its own rejection must not end the process besides.
      returned.catch(() => {});
      throw typeError(['build'], 'a synchronous function', returned);
    }
    return yield* applyOperations(this.#backends, builder.operations, options);
  }

  /**
   * All services with their servers as they were at one moment: read until two readings agree, since a dump skips and repeats while others write.
   * The servers of IPv4 services are read over the socket options where these can tell all of them: one call for each service, under the
   * kernel's mutex. `stable: false` after five readings of which no two in a row agreed.
   */
  *snapshot(options: { signal?: AbortSignal } = {}): Operation<Snapshot> {
    checkObject(options, ['options'], ['signal']);
    return toSnapshot(yield* readStable(this.#backends, { stats: true }));
  }

  /**
   * The least that makes what there is into what is desired, as operations for `apply`; changes nothing. Empty where all is as desired, also
   * where that is by the kernel's defaults. The servers of a desired service are all that it shall have. What is there may be desired again,
   * whoever made it: a snapshot's servers are no error, only what differs from what there is can be.
   */
  *plan(desired: readonly VirtualServer[], options: PlanOptions = {}): Operation<IpvsOperation[]> {
    checkObject(options, ['options'], ['prune', 'signal']);
    if (options.prune !== undefined && typeof options.prune !== 'boolean') {
      throw typeError(['options', 'prune'], 'a boolean', options.prune);
    }
    const wanted = new Desired(desired);
    const { servers } = yield* readStable(this.#backends);
    const changes = changesBetween(servers, wanted.against(servers), options);
    if (changes.length > 0) {
      for (const server of desired)
        for (const each of server.destinations) tellIgnoredPort(this.#exchange, server, each);
    }
    return changes.map(toOperation);
  }
}

/** Warns of a server whose port the kernel ignores. */
function tellIgnoredPort(
  { observer, operation, transport }: Exchange,
  key: ServiceKey,
  { address, port, forward }: Destination,
) {
  if (!ignoresPort(key, { address, port, forward })) return;
  observer.warn(
    { family: 'ipvs', operation, netns: transport.netnsInode, service: key, destination: { address, port } },
    "with persistence for a firewall mark the kernel ignores a server's port: it gets the port that the client asked for",
  );
}

type SynchronousIpvs = Synchronous<IpvsOperations> & {
  /** As the promise form. While servers drain, the whole thread waits. */
  reconcile(desired: readonly VirtualServer[], options?: ReconcileOptions): ReconcileResult;
};

/**
 * The IPVS of one network namespace. Over generic netlink the kernel wants CAP_NET_ADMIN in the initial user namespace for all of it, also for
 * reading (net/netfilter/ipvs/ip_vs_ctl.c), while the network namespace may belong to an unprivileged container; over the socket options it
 * wants CAP_NET_ADMIN in the user namespace that owns the network namespace.
 */
export class Ipvs extends syncAndAsync(IpvsOperations) {
  declare readonly sync: SynchronousIpvs;
  readonly #exchange: Exchange;
  readonly #backends: Backends;

  constructor(exchange: Exchange) {
    super(exchange);
    this.#exchange = exchange;
    this.#backends = backendsOf(exchange);
    Object.defineProperty(this.sync, 'reconcile', {
      value: (desired: readonly VirtualServer[], options?: ReconcileOptions) =>
        reconcileNow(reconciling(desired, options), this.sync, options?.signal),
    });
  }

  /** Opens a socket in the namespace and asks nothing yet. Needs the right to enter the namespace. */
  static open(options: IpvsOptions = {}): Ipvs {
    checkObject(options, [], ['netns', 'via', 'logger']);
    const { via: way = 'auto' } = options;
    const via = checkOneOf(way, ['via'], ['auto', 'netlink', 'sockopt']);
    return new Ipvs(new Exchange(new IpvsSocket(netnsOf(options), via), 'ipvs', new Observer(options.logger)));
  }

  /** The settings of IPVS in this namespace, net.ipv4.vs.*, read and written on the spot: `ipvs.settings.conntrack = true`. */
  get settings(): IpvsSettings {
    return new IpvsSettings(() => namespaceOf(this.#exchange));
  }

  /**
   * The connection table, entry by entry, from the namespace's /proc/net/ip_vs_conn; read as far as it is iterated, off the main thread. Entries
   * that come or go meanwhile may be missed or seen twice.
   * @throws StateError ERR_CLOSED: the call itself, and an iteration whose handle has been closed meanwhile.
   * @throws NetNsError ENOENT IPVS is not loaded. @throws DecodeError the file is no such table.
   */
  connections(options: ConnectionsOptions = {}): AsyncGenerator<Connection, void, undefined> {
    const { lifetime, observer, transport } = this.#exchange;
    lifetime.checkOpen();
    return readConnections(
      () => namespaceOf(this.#exchange),
      options,
      (line, reason) =>
        observer.warn(
          { netns: transport.netnsInode, line: printable(line), reason },
          'a line of the connection table was left out',
        ),
      () => lifetime.checkOpen(),
    );
  }

  /** How the kernel is asked. With via: 'auto' it is 'netlink' until that was refused once. */
  get via(): 'netlink' | 'sockopt' {
    return this.#backends.backend.via;
  }

  /**
   * Makes what there is into what is desired, by a plan that is applied; with `drain`, servers that are to go lose their connections first. It is
   * made of several operations of this handle: others on the same namespace go on while it waits. Where others change the same
   * objects at the same time, it plans again, three times at most. The signal acts between two of its steps; servers that are draining then
   * stay at weight 0.
   * @example
   * const desired = parseRules('-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 192.168.0.50:80 -g\n');
   * await ipvs.reconcile(desired, { prune: true, drain: { tcp: { timeoutMs: 60_000 }, udp: { until: 'none' } } });
   * @throws BatchError what the kernel refused; `index` counts in the plan.
   */
  async reconcile(desired: readonly VirtualServer[], options: ReconcileOptions = {}): Promise<ReconcileResult> {
    const { lifetime } = this.#exchange;
    lifetime.checkOpen();
    // What waits for connections to end is not worth waiting for once the handle is closed.
    const closed = new AbortController();
    const detach = lifetime.attach({ close: async () => closed.abort(closedError()) });
    try {
      return await reconcileAway(reconciling(desired, options), this, [closed.signal, options.signal]);
    } finally {
      detach();
    }
  }
}
