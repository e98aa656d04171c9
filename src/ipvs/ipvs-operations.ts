import { checkObject } from '../codec/index.ts';
import { NetlinkError, typeError } from '../errors.ts';
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
import type { Exchange, Operation } from '../netlink/index.ts';
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
import { applyOperations, type BatchOptions, type BatchResult } from './batch.ts';
import { startSync, stopSync, syncDaemons } from './daemon.ts';
import { editDestination, editService, readExisting, replacement, replacementOf, verifyTunnel } from './ipvs-edit.ts';
import { BatchBuilder } from './operation.ts';
import type { DestinationPatch, IpvsOperation, ServicePatch } from './operation-types.ts';
import { changesBetween, Desired, toOperation } from './plan.ts';
import type { PlanOptions } from './reconcile.ts';
import { type RestoreOptions, type RestoreResult, restoreRules } from './rules-restore.ts';
import {
  readServiceStates,
  readServices,
  readStable,
  type Snapshot,
  toSnapshot,
  toVirtualServers,
} from './snapshot.ts';

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

  /**
   * Version of the kernel's IPVS, and size of its connection table.
   * @throws NetlinkError EPERM without CAP_NET_ADMIN, ENOENT without the module ip_vs.
   * @example
   * const { connectionTableSize } = await ipvs.info();
   */
  *info(): Operation<IpvsInfo> {
    return yield* this.#backend.info();
  }

  /**
   * Adds a virtual service.
   * @param service its key, scheduler and further settings
   * @throws NetlinkError EEXIST the service is there already, ENOENT this kernel does not have the scheduler or the persistence engine.
   * @throws TypeError, RangeError a parameter is wrong; nothing was sent.
   * @example
   * await ipvs.addService({ protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' });
   */
  *addService(service: Service): Operation<void> {
    yield* this.#backend.request(serviceCommand('NEW', service));
  }

  /**
   * Adds a virtual service, or replaces everything but its key and its destinations. Settings that the service has already are taken, also those that
   * `addService` refuses.
   * @param service its key, scheduler and further settings
   * @throws NetlinkError ENOENT this kernel does not have the scheduler or the persistence engine.
   * @example
   * await ipvs.setService({ protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' });
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
   * Changes some settings of a virtual service and leaves the others as they are. Reads, merges, writes, and reads again; begins anew if another
   * program changed the service meanwhile.
   * @param key the service
   * @param patch the settings to change. A scheduler's flags go with the old scheduler, unless they are given.
   * @throws NetlinkError ESRCH there is no such service.
   * @throws StateError ERR_DUMP_INTERRUPTED other programs changed the service three times in a row.
   * @example
   * await ipvs.editService({ protocol: 'tcp', address: '10.0.0.1', port: 80 }, { persistence: { timeoutSeconds: 600 } });
   */
  *editService(key: ServiceKey, patch: ServicePatch): Operation<void> {
    yield* editService(this.#backend, key, patch);
  }

  /**
   * Removes a virtual service with its destinations.
   * @param key the service
   * @throws NetlinkError ESRCH there is no such service.
   * @example
   * await ipvs.removeService({ protocol: 'tcp', address: '10.0.0.1', port: 80 });
   */
  *removeService(key: ServiceKey): Operation<void> {
    yield* this.#backend.request(keyCommand('DEL', key));
  }

  /**
   * Reads one virtual service with its counters.
   * @param key the service
   * @throws NetlinkError ESRCH there is no such service.
   * @example
   * const { stats } = await ipvs.service({ firewallMark: 7, family: 'ipv4' });
   */
  *service(key: ServiceKey): Operation<ServiceEntry> {
    return yield* this.#backend.get(keyCommand('GET', key), ({ service }) => service && readService(service));
  }

  /**
   * Lists the virtual services of the namespace in the kernel's order, which has no meaning.
   * @param options `destinations`: list those of each service, too (default false). `signal`: ends the listing.
   * @throws NetlinkError EPERM without CAP_NET_ADMIN.
   * @example
   * for (const service of await ipvs.services({ destinations: true })) console.log(service.scheduler, service.destinations);
   */
  *services(
    options: { destinations?: boolean; signal?: AbortSignal } = {},
  ): Operation<(ServiceEntry & { destinations?: DestinationEntry[] })[]> {
    checkObject(options, [], ['destinations', 'signal']);
    if (!options.destinations) return (yield* readServices(this.#backend, true)).map(readService);
    return toSnapshot({ servers: yield* readServiceStates(this.#backends, { stats: true }), stable: false }).servers;
  }

  /**
   * Adds a destination to a service.
   * @param key the service
   * @param destination the real server: its address, its port and how packets reach it
   * @throws NetlinkError ESRCH there is no such service, EEXIST the destination is there already.
   * @throws UnsupportedError this kernel (before 5.3) does not have the type of tunnel; nothing was added.
   * @example
   * const web: ServiceKey = { protocol: 'tcp', address: '10.0.0.1', port: 80 };
   * await ipvs.addDestination(web, { address: '10.1.0.1', port: 8080, forward: 'masquerade', weight: 2 });
   */
  *addDestination(key: ServiceKey, destination: Destination): Operation<void> {
    const command = destinationCommand('NEW', key, destination);
    tellIgnoredPort(this.#exchange, key, destination);
    yield* this.#backend.request(command);
    yield* verifyTunnel(this.#backend, command.value, destinationKeyCommand(key, destination));
  }

  /**
   * Adds a destination, or replaces everything but its key. Settings that the destination has already are taken, as by `setService`.
   * @param key the service
   * @param destination the real server: its address, its port and how packets reach it
   * @throws NetlinkError ESRCH there is no such service.
   * @throws UnsupportedError this kernel (before 5.3) does not have the type of tunnel.
   * @example
   * const web: ServiceKey = { protocol: 'tcp', address: '10.0.0.1', port: 80 };
   * await ipvs.setDestination(web, { address: '10.1.0.1', port: 80, forward: 'direct' });
   */
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
   * Changes some settings of a destination and leaves the others as they are. Reads, merges, writes, and reads again; begins anew if another program
   * changed the destination meanwhile.
   * @param key the service
   * @param destinationKey address and port of the destination
   * @param patch the settings to change; `DestinationPatch` says which others go with them. `{ weight: 0 }` drains the destination.
   * @throws NetlinkError ESRCH there is no such service, ENOENT the service has no such destination.
   * @throws StateError ERR_DUMP_INTERRUPTED other programs changed the destination three times in a row.
   * @example
   * await ipvs.editDestination({ protocol: 'tcp', address: '10.0.0.1', port: 80 }, { address: '10.1.0.1', port: 80 }, { weight: 0 });
   */
  *editDestination(key: ServiceKey, destinationKey: DestinationKey, patch: DestinationPatch): Operation<void> {
    yield* editDestination(this.#backend, key, destinationKey, patch);
  }

  /**
   * Removes a destination. Its connections end; `reconcile` with `drain` waits for them.
   * @param key the service
   * @param destination address and port of the destination
   * @throws NetlinkError ESRCH there is no such service, ENOENT the service has no such destination.
   * @example
   * await ipvs.removeDestination({ protocol: 'tcp', address: '10.0.0.1', port: 80 }, { address: '10.1.0.1', port: 80 });
   */
  *removeDestination(key: ServiceKey, destination: DestinationKey): Operation<void> {
    yield* this.#backend.request(destinationKeyCommand(key, destination));
  }

  /**
   * Lists the destinations of a service with their counters, the newest first.
   * @param key the service
   * @throws NetlinkError ESRCH there is no such service.
   * @example
   * const busy = (await ipvs.destinations({ firewallMark: 7, family: 'ipv4' })).filter(each => each.activeConnections > 0);
   */
  *destinations(key: ServiceKey): Operation<DestinationEntry[]> {
    const family = familyOf(key);
    return (yield* readExisting(this.#backend, key)).map(destination => readDestination(destination, family));
  }

  /**
   * Removes all services of the namespace. Timeouts, sync daemons and entries of the connection table stay.
   * @throws NetlinkError EPERM without CAP_NET_ADMIN.
   * @example
   * await ipvs.flush();
   */
  *flush(): Operation<void> {
    yield* this.#backend.request(describe('IPVS_CMD_FLUSH', C.IPVS_CMD_FLUSH, undefined, {}));
  }

  /**
   * Sets counters to zero.
   * @param key the service whose counters, and those of its destinations, are set; all services if it is left out
   * @throws NetlinkError ESRCH there is no such service.
   * @example
   * await ipvs.zero({ protocol: 'tcp', address: '10.0.0.1', port: 80 });
   */
  *zero(key?: ServiceKey): Operation<void> {
    const value = key === undefined ? {} : { service: writeKey(key) };
    yield* this.#backend.request(describe('IPVS_CMD_ZERO', C.IPVS_CMD_ZERO, key, value));
  }

  /**
   * How long the kernel remembers idle connections, in seconds.
   * @throws NetlinkError EPERM without CAP_NET_ADMIN.
   * @example
   * const { tcpSeconds } = await ipvs.timeouts();
   */
  *timeouts(): Operation<Timeouts> {
    return yield* this.#backend.get(
      describe('IPVS_CMD_GET_CONFIG', C.IPVS_CMD_GET_CONFIG, undefined, {}),
      readTimeouts,
    );
  }

  /**
   * Sets how long the kernel remembers idle connections.
   * @param timeouts 1 to 2,147,483 seconds each; those that are left out stay
   * @throws TypeError, RangeError a timeout is wrong; nothing was sent.
   * @example
   * await ipvs.setTimeouts({ tcpSeconds: 900, udpSeconds: 60 });
   */
  *setTimeouts(timeouts: Partial<Timeouts>): Operation<void> {
    const command = describe('IPVS_CMD_SET_CONFIG', C.IPVS_CMD_SET_CONFIG, timeouts, writeTimeouts(timeouts));
    yield* this.#backend.request(command);
  }

  /**
   * Starts a sync daemon of the kernel.
   * @param daemon its state, device and number; group, port, TTL and length need Linux 4.3
   * @throws NetlinkError EEXIST a daemon of that state runs already, ENODEV there is no such device, EINVAL the group is no multicast address, or a service
   * has a destination of the other family, which cannot be synchronised.
   * @example
   * await ipvs.startSync({ state: 'master', interface: 'eth0', syncId: 1 });
   */
  *startSync(daemon: SyncDaemon): Operation<void> {
    yield* startSync(this.#backend, daemon);
  }

  /**
   * Stops a sync daemon. Connections that a backup has received stay.
   * @param state the state of the daemon
   * @throws NetlinkError ESRCH no daemon of that state runs.
   * @example
   * await ipvs.stopSync('master');
   */
  *stopSync(state: SyncState): Operation<void> {
    yield* stopSync(this.#backend, state);
  }

  /**
   * Lists the sync daemons that run: none, a master, a backup, or both.
   * @throws NetlinkError EPERM without CAP_NET_ADMIN.
   * @example
   * const runs = (await ipvs.syncDaemons()).some(({ state }) => state === 'backup');
   */
  *syncDaemons(): Operation<SyncDaemon[]> {
    return yield* syncDaemons(this.#backend);
  }

  /**
   * Writes services and destinations in the format of `ipvsadm -Sn`, with everything that ipvsadm itself leaves out (`formatRules`). Other programs can
   * set values that ipvsadm cannot write or read back; these are written with options of this library's own, so that `restore` makes the same table
   * of any text.
   * @param options `signal`: ends the reading
   * @throws NetlinkError EPERM without CAP_NET_ADMIN.
   * @example
   * await fs.promises.writeFile('/etc/ipvsadm.rules', await ipvs.save());
   */
  *save(options: { signal?: AbortSignal } = {}): Operation<string> {
    checkObject(options, ['options'], ['signal']);
    return saveRules(toVirtualServers((yield* readStable(this.#backends)).servers));
  }

  /**
   * Carries out a text in the format of `ipvsadm -S`, as `ipvsadm -R` does; `parseRuleLines` says what lines may hold. The lines are added to the
   * table, unless a line says -C or `replace` is given. All lines are read before any is sent. If one fails, the others are undone, including sync
   * daemons (`rollback: false` leaves them).
   * @param text the lines
   * @param options `replace`: empty the table first (default false); `rollback` (default true), `onError`, `names` and `signal` as their types say
   * @throws RuleError a line is wrong; nothing was sent.
   * @throws BatchError the kernel refused lines; each failure has its `line`.
   * @example
   * await ipvs.restore(await readFile('/etc/ipvsadm.rules', 'utf8'), { replace: true });
   */
  *restore(text: string, options: RestoreOptions = {}): Operation<RestoreResult> {
    return yield* restoreRules(this.#backends, text, options);
  }

  /**
   * Carries out many operations with few sends. All parameters are checked before anything is sent. IPVS has no transactions: an operation that fails
   * does not stop the others, unless `rollback` undoes them.
   * @param operations what to do, in this order
   * @param options `onError`: throw (the default) or collect failures; `rollback` (default false); `signal`
   * @throws TypeError, RangeError with a path such as operations[3].destination.weight; nothing was sent.
   * @throws BatchError the kernel refused operations: which ones, why, and what the kernel holds now.
   * @example
   * const key: ServiceKey = { protocol: 'tcp', address: '10.0.0.1', port: 80 };
   * await ipvs.apply([
   *   { op: 'setService', service: { ...key, scheduler: 'wlc' } },
   *   { op: 'setDestination', key, destination: { address: '10.1.0.1', port: 80, forward: 'direct' } },
   * ]);
   */
  *apply(operations: readonly IpvsOperation[], options: BatchOptions = {}): Operation<BatchResult> {
    return yield* applyOperations(this.#backends, operations, options);
  }

  /**
   * As `apply`, with the operations written as calls.
   * @param build gets the builder, and returns before anything is sent
   * @param options as those of `apply`
   * @throws BatchError the kernel refused operations: which ones, why, and what the kernel holds now.
   * @example
   * const service: Service = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' };
   * await ipvs.batch(b => b.addService(service).addDestination(service, { address: '10.1.0.1', port: 80, forward: 'direct' }));
   */
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
   * Reads all services and destinations as they were at one moment: reads until two readings agree, because a listing skips and repeats entries while
   * other programs write. Destinations of IPv4 services are read over the socket options if these can tell all of them: one call for each
   * service, under the kernel's mutex. After five readings of which no two in a row agreed, `stable` is false.
   * @param options `signal`: ends the reading
   * @throws NetlinkError EPERM without CAP_NET_ADMIN.
   * @example
   * const { servers, stable } = await ipvs.snapshot();
   */
  *snapshot(options: { signal?: AbortSignal } = {}): Operation<Snapshot> {
    checkObject(options, ['options'], ['signal']);
    return toSnapshot(yield* readStable(this.#backends, { stats: true }));
  }

  /**
   * The fewest operations that make the table as desired, for `apply`; changes nothing. The list is empty if the table is as desired. The destinations of
   * a desired service are all that it shall have. Everything that is in the table may be desired again, whoever set it: `plan((await
   * ipvs.snapshot()).servers)` is empty.
   * @param desired services with their destinations
   * @param options `prune`: remove services that are not desired (default false); `signal`
   * @throws TypeError, RangeError with a path such as desired[0].destinations[1].port.
   * @throws NetlinkError EPERM without CAP_NET_ADMIN.
   * @example
   * console.log(formatPlan(await ipvs.plan(parseRules(await readFile('/etc/ipvsadm.rules', 'utf8')))));
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
