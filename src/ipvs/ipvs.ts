import { checkObject, checkOneOf } from '../codec/index.ts';
import { printable } from '../errors.ts';
import type { VirtualServer } from '../ip_vs/destination.ts';
import { Exchange, type Synchronous, syncAndAsync } from '../netlink/index.ts';
import { closedError } from '../netlink/lifetime.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { type Backends, backendsOf } from './backends/automatic.ts';
import { IpvsSocket, namespaceOf, type Via } from './backends/socket.ts';
import { type Connection, type ConnectionsOptions, readConnections } from './connections.ts';
import { IpvsOperations } from './ipvs-operations.ts';
import {
  type Forms,
  type ReconcileOptions,
  type ReconcileResult,
  reconcileAway,
  reconcileNow,
  reconciling,
} from './reconcile.ts';
import { IpvsSettings } from './settings.ts';
import { type Served, TrackedConnections } from './tracked.ts';

/** How `Ipvs.open` reaches the kernel. */
export interface IpvsOptions {
  /** The namespace to program; home where left out. */
  netns?: NetNs;
  /**
   * 'netlink' has everything, and wants CAP_NET_ADMIN in the initial user namespace. 'sockopt' is permitted to root of an unprivileged container
   * too, and carries IPv4 only, without persistence engines, tunnel types and 64-bit counters (UnsupportedError). 'auto', the default, is
   * netlink, and the socket options from the first EPERM on.
   */
  via?: Via;
  /** A logger such as pino's; nothing is logged without one. */
  logger?: Logger;
}

type SynchronousIpvs = Synchronous<IpvsOperations> & {
  /** As the promise form. While servers drain, the whole thread waits. */
  reconcile(desired: readonly VirtualServer[], options?: ReconcileOptions): ReconcileResult;
};

/**
 * The IPVS of one network namespace.
 *
 * Over generic netlink the kernel asks for CAP_NET_ADMIN in the initial user namespace, also for reading (net/netfilter/ipvs/ip_vs_ctl.c), while the
 * network namespace may belong to an unprivileged container. Over the socket options it asks for CAP_NET_ADMIN in the user namespace that owns the
 * network namespace. Every method returns a promise; `sync` has the same methods without.
 * @example
 * await using ipvs = Ipvs.open({ netns });
 * await ipvs.addService({ protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' });
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
        reconcileNow(reconciling(desired, options), this.#forms(this.sync, true), options?.signal),
    });
  }

  /**
   * Opens a socket in the namespace, and asks nothing yet. Needs the right to enter the namespace.
   * @param options `netns`: the namespace (default: the process's own); `via`: netlink, the socket options or both; `logger`
   * @throws NetNsError the namespace cannot be entered.
   * @example
   * using netns = NetNs.open({ pid: 4711 });
   * await using ipvs = Ipvs.open({ netns });
   */
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
   * Reads the connection table entry by entry, from the namespace's /proc/net/ip_vs_conn, only as far as it is iterated and off the main thread. Entries
   * that come or go meanwhile may be missed or seen twice.
   * @param options `onSkipped`: gets lines that are no connection; `signal`
   * @throws StateError ERR_CLOSED the handle is closed, now or during the iteration.
   * @throws NetNsError ENOENT the module ip_vs is not loaded. @throws DecodeError the file is no connection table.
   * @example
   * for await (const { client, destination } of ipvs.connections()) console.log(client.address, destination.address);
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
   * Makes the table as desired: plans and applies. With `drain`, destinations that are to go lose their connections first; other operations of this
   * handle go on meanwhile. Plans again if other programs change the same objects, three times at most. The signal acts between two steps;
   * destinations that are draining then stay at weight 0.
   * @param desired services with their destinations
   * @param options `prune`: remove services that are not desired (default false); `drain`, `onProgress` and `signal` as `ReconcileOptions` says
   * @throws BatchError the kernel refused operations; `index` counts in the plan.
   * @example
   * const desired = parseRules(await readFile('/etc/ipvsadm.rules', 'utf8'));
   * await ipvs.reconcile(desired, { prune: true, drain: { tcp: { timeoutMs: 60_000 }, udp: { until: 'none' } } });
   */
  async reconcile(desired: readonly VirtualServer[], options: ReconcileOptions = {}): Promise<ReconcileResult> {
    const { lifetime } = this.#exchange;
    lifetime.checkOpen();
    // What waits for connections to end is not worth waiting for once the handle is closed.
    const closed = new AbortController();
    const detach = lifetime.attach({ close: async () => closed.abort(closedError()) });
    try {
      return await reconcileAway(reconciling(desired, options), this.#forms(this, false), [
        closed.signal,
        options.signal,
      ]);
    } finally {
      detach();
    }
  }

  /** The methods that reconciling uses. Connection tracking has a socket of its own, which is open only while it is used. */
  #forms(own: Omit<Forms, 'endTracked'>, now: boolean): Forms {
    const { observer, transport } = this.#exchange;
    const failed = (error: unknown): undefined => {
      observer.warn({ netns: transport.netnsInode, error }, 'connections of a drained destination were not ended');
    };
    const open = (): TrackedConnections | undefined => {
      if (!(transport instanceof IpvsSocket) || !this.settings.conntrack) return undefined;
      return TrackedConnections.open(namespaceOf(this.#exchange), observer);
    };
    const endNow = (served: readonly Served[]) => {
      let tracked: TrackedConnections | undefined;
      try {
        tracked = open();
        return served.map(each => tracked?.sync.end(each));
      } catch (error) {
        return served.map(() => failed(error));
      } finally {
        tracked?.close();
      }
    };
    const endAway = async (served: readonly Served[]) => {
      let tracked: TrackedConnections | undefined;
      try {
        tracked = open();
        return await Promise.all(served.map(each => tracked?.end(each)));
      } catch (error) {
        return served.map(() => failed(error));
      } finally {
        tracked?.close();
      }
    };
    return {
      plan: (desired, options) => own.plan(desired, options),
      apply: (operations, options) => own.apply(operations, options),
      destinations: key => own.destinations(key),
      endTracked: now ? endNow : endAway,
    };
  }
}
