import fs from 'node:fs';
import type { Container } from '../container/container.ts';
import type { ConnectionPolicy } from '../container/redirects/connections.ts';
import { isNotFound, StateError } from '../errors.ts';
import { Ipvs, type ReconcileOptions, type ServiceKey, type VirtualServer } from '../ipvs/index.ts';
import { closedError } from '../netlink/lifetime.ts';
import { threadSwitcher } from '../netns/namespace-switcher.ts';
import { openExchange } from '../nftables/nftables.ts';
import type { Logger } from '../observe.ts';
import type { Drift, Needs, PreparedState } from './desired-state.ts';
import { SessionRules, SessionRulesOperations, SharedRules } from './session-rules.ts';

/** The part of the process's descriptors that a fleet uses by default. */
const SHARE_OF_DESCRIPTORS = 0.5;
const DEFAULT_DESCRIPTORS = 1024;

/** The sockets of this many containers are opened in one pass, because to return home costs as much as to enter a namespace. */
const MAX_AHEAD = 32;

/** With this many closes under way, no further socket is opened: each still has a descriptor. */
const MAX_CLOSING = 64;

interface ProgramOptions extends Pick<ReconcileOptions, 'drain' | 'signal'> {
  prune: boolean;
  force: boolean;
  connections?: ConnectionPolicy | undefined;
}

/** The sockets of a fleet in one container. */
export class FleetSession {
  readonly container: Container;
  /** The kernel removes an owned table with its socket, so the session is kept. */
  ownsTable = false;
  /** How many operations use it now. */
  users = 0;
  /** How many of its sockets are in the fleet's count. */
  counted = 0;
  readonly #fleet: SocketCache;
  readonly #detach: () => void;
  #rules: SessionRules | undefined;
  #ipvs: Ipvs | undefined;
  #closed = false;

  constructor(container: Container, fleet: SocketCache) {
    this.container = container;
    this.#fleet = fleet;
    this.#detach = container.attach(this);
  }

  get rules(): SessionRules {
    this.#checkOpen();
    if (this.#rules === undefined) {
      const exchange = openExchange(this.#options());
      this.#rules = new SessionRules(exchange, new SessionRulesOperations(exchange, this.#fleet.shared));
    }
    return this.#rules;
  }

  get ipvs(): Ipvs {
    this.#checkOpen();
    this.#ipvs ??= Ipvs.open(this.#options());
    return this.#ipvs;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get sockets(): number {
    return (this.#rules === undefined ? 0 : 1) + (this.#ipvs === undefined ? 0 : 1);
  }

  /** Opens the sockets that will be needed, with one entry into the namespace. */
  open(needs: Needs): void {
    const nftables = needs.nftables && this.#rules === undefined;
    const ipvs = needs.ipvs && this.#ipvs === undefined;
    if (nftables && ipvs) this.container.netns.run(() => [this.rules, this.ipvs]);
    else if (nftables) void this.rules;
    else if (ipvs) void this.ipvs;
  }

  /** Brings the container to its state. Returns a promise only if there is something to wait for. */
  program(prepared: PreparedState, { force, connections, ...options }: ProgramOptions): void | Promise<void> {
    const { state, needs } = prepared;
    this.open(needs);
    this.ownsTable ||= prepared.ownsTable;
    const rules = needs.nftables ? this.rules.runInline('program', prepared, force, connections) : undefined;
    const { virtualServers } = state;
    if (virtualServers === undefined) return rules;
    return Promise.resolve(rules)
      .then(() => this.ipvs.reconcile(virtualServers, options))
      .then(() => {});
  }

  /** Removes all redirects and log rules, the tables of the state's transaction, and its virtual services. */
  async unprogram(
    { state, connections: own }: PreparedState,
    force: boolean,
    connections?: ConnectionPolicy,
  ): Promise<void> {
    await this.rules.unprogram(state.transaction, force, own ?? connections);
    this.ownsTable = false;
    const { virtualServers = [] } = state;
    if (virtualServers.length === 0) return;
    const { failures } = await this.ipvs.apply(
      virtualServers.map(service => ({ op: 'removeService', key: keyOf(service) })),
      { onError: 'collect' },
    );
    const failed = failures.find(failure => !isNotFound(failure));
    if (failed !== undefined) throw failed;
  }

  /** The differences between the container and its state; undefined if there are none. */
  async drift(prepared: PreparedState, { prune, force }: ProgramOptions): Promise<Drift | undefined> {
    const { state, needs } = prepared;
    this.open(needs);
    const drift = needs.nftables ? await this.rules.drift(prepared, force) : {};
    if (state.virtualServers !== undefined) {
      const operations = await this.ipvs.plan(state.virtualServers, { prune });
      if (operations.length > 0) drift.virtualServers = operations;
    }
    return Object.keys(drift).length > 0 ? drift : undefined;
  }

  #checkOpen(): void {
    if (this.#fleet.closed) throw closedError('the fleet');
    if (this.#closed) throw new StateError('ERR_CLOSED', 'the container was closed, or its process has ended');
  }

  #options() {
    const { netns } = this.container;
    const { logger } = this.#fleet;
    return logger === undefined ? { netns } : { netns, logger };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#detach();
    const handles = [this.#rules, this.#ipvs];
    this.#rules = undefined;
    this.#ipvs = undefined;
    await Promise.all(handles.map(handle => handle?.[Symbol.asyncDispose]()));
  }

  /** Called when its container is closed. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#fleet.drop(this.container) ?? Promise.resolve();
  }
}

/**
 * The sessions of a fleet. Above the limit on descriptors the least recently used ones are closed. A session is also closed when its
 * container is closed or its process ends: otherwise our socket would keep the namespace alive, and accept commits to it.
 */
export class SocketCache {
  /** The kernel's features, which are the same in every namespace, and caches of tables. */
  readonly shared: SharedRules;
  readonly logger: Logger | undefined;
  readonly #limit: number;
  /** In the order of their use, the least recent first. */
  readonly #sessions = new Map<Container, FleetSession>();
  /** Sessions that own a table. The limit does not apply to them. */
  readonly #owners = new Map<Container, FleetSession>();
  readonly #closing = new Set<Promise<void>>();
  /** Containers whose end is already awaited. */
  readonly #known = new WeakSet<Container>();
  #open = 0;
  #closed = false;

  constructor(limit: number | undefined, logger: Logger | undefined, turnMilliseconds?: number) {
    this.shared = new SharedRules(turnMilliseconds);
    this.#limit = limit ?? Math.floor(descriptorLimit() * SHARE_OF_DESCRIPTORS);
    this.logger = logger;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Calls `use` with the container's session, which stays open until it is done.
   * @throws StateError ERR_CLOSED the fleet or the container is closed
   */
  with<T>(container: Container, use: (session: FleetSession, container: Container) => T | Promise<T>): T | Promise<T> {
    if (this.#closed) throw closedError('the fleet');
    container.checkOpen();
    const session = this.#owners.get(container) ?? this.#sessions.get(container) ?? this.#add(container);
    session.users++;
    let result: T | Promise<T>;
    try {
      result = use(session, container);
    } catch (error) {
      this.#used(session);
      throw error;
    }
    if (result instanceof Promise) return result.finally(() => this.#used(session));
    this.#used(session);
    return result;
  }

  /**
   * Opens the sockets of the next containers from `first` on, in one pass. Returns the index of the first container that is left for later.
   */
  openAhead(containers: readonly Container[], first: number, needs: Needs): number {
    const end = Math.min(containers.length, first + Math.max(1, Math.min(MAX_AHEAD, this.#limit >> 2)));
    const without = containers.slice(first, end).filter(
      each =>
        !each.ended &&
        !each.released &&
        // One of a kernel in memory is not entered, so that nothing is saved.
        each.netns.access.movesThread &&
        !this.#sessions.has(each) &&
        !this.#owners.has(each),
    );
    if (without.length < 2) return end;
    const sessions = without.map(each => this.#add(each));
    threadSwitcher().visitEach(
      sessions.length,
      i => without[i]!.netns.descriptor,
      i => sessions[i]!.open(needs),
    );
    for (const session of sessions) this.#count(session);
    if (this.#open > this.#limit) this.#shrink();
    return end;
  }

  #count(session: FleetSession): void {
    this.#open += session.sockets - session.counted;
    session.counted = session.sockets;
  }

  #add(container: Container): FleetSession {
    if (!this.#known.has(container)) {
      this.#known.add(container);
      void container.closed.then(() => void this.drop(container));
    }
    const session = new FleetSession(container, this);
    this.#sessions.set(container, session);
    return session;
  }

  #used(session: FleetSession): void {
    const { container } = session;
    session.users--;
    if (session.closed) return;
    // To the end of the map: it was used last.
    this.#sessions.delete(container);
    if (session.ownsTable) this.#owners.set(container, session);
    else {
      this.#owners.delete(container);
      this.#sessions.set(container, session);
    }
    this.#count(session);
    if (container.ended) void this.drop(container);
    if (this.#open > this.#limit) this.#shrink();
  }

  /** Closes the session of a container. */
  drop(container: Container): Promise<void> | undefined {
    const session = this.#sessions.get(container) ?? this.#owners.get(container);
    if (session === undefined) return undefined;
    this.#sessions.delete(container);
    this.#owners.delete(container);
    this.#open -= session.counted;
    const closed = session.close();
    this.#closing.add(closed);
    void closed.finally(() => this.#closing.delete(closed));
    return closed;
  }

  #shrink(): void {
    for (const [container, { users }] of this.#sessions) {
      if (users > 0) continue;
      void this.drop(container);
      if (this.#open <= this.#limit) return;
    }
  }

  /** The number of sockets that are open now. */
  get open(): number {
    return this.#open;
  }

  /** A promise to await before more sockets are opened; undefined if few are being closed. A close may take long in the kernel. */
  get congestion(): Promise<void> | undefined {
    if (this.#closing.size < MAX_CLOSING) return undefined;
    const [oldest] = this.#closing;
    return oldest;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const container of [...this.#sessions.keys(), ...this.#owners.keys()]) {
      void this.drop(container);
      // Not `await this.congestion`, which would let other code run each time.
      const { congestion } = this;
      if (congestion !== undefined) await congestion;
    }
    await Promise.all(this.#closing);
  }
}

/** The soft limit of this process, `ulimit -n`. */
function descriptorLimit(): number {
  try {
    const limits = fs.readFileSync('/proc/self/limits', 'latin1');
    return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? DEFAULT_DESCRIPTORS);
  } catch {
    return DEFAULT_DESCRIPTORS;
  }
}

const keyOf = (service: VirtualServer): ServiceKey =>
  'firewallMark' in service
    ? { firewallMark: service.firewallMark, family: service.family }
    : { protocol: service.protocol, address: service.address, port: service.port };
