import fs from 'node:fs';
import type { Container } from '../container/container.ts';
import { isNotFound, StateError } from '../errors.ts';
import { Ipvs, type ReconcileOptions, type ServiceKey, type VirtualServer } from '../ipvs/index.ts';
import { closedError } from '../netlink/lifetime.ts';
import { threadSwitcher } from '../netns/namespace-switcher.ts';
import { openExchange } from '../nftables/nftables.ts';
import type { Logger } from '../observe.ts';
import type { Drift, Needs, PreparedState } from './desired-state.ts';
import { SessionRules, SessionRulesOperations, SharedRules } from './session-rules.ts';

/** Of the descriptors that a process may have, a fleet takes at most this part by itself. */
const SHARE_OF_DESCRIPTORS = 0.5;
const DEFAULT_DESCRIPTORS = 1024;

/** Sockets of so many containers are opened in one pass through their namespaces: the way home costs as much as the way in. */
const MAX_AHEAD = 32;

/** Closes under way, above which whoever opens more waits: each is a descriptor, too. */
const MAX_CLOSING = 64;

interface ProgramOptions extends Pick<ReconcileOptions, 'drain' | 'signal'> {
  prune: boolean;
  force: boolean;
}

/** The sockets of a fleet in one container. */
export class FleetSession {
  readonly container: Container;
  /** A table of its own goes when its socket is closed: such a session is kept. */
  ownsTable = false;
  /** Those who use it just now. */
  users = 0;
  /** Sockets that its fleet counts. */
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

  /** Its packet rules. */
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

  /** Opens what will be needed with one entry into the namespace. */
  open(needs: Needs): void {
    const nftables = needs.nftables && this.#rules === undefined;
    const ipvs = needs.ipvs && this.#ipvs === undefined;
    if (nftables && ipvs) this.container.netns.run(() => [this.rules, this.ipvs]);
    else if (nftables) void this.rules;
    else if (ipvs) void this.ipvs;
  }

  /** Brings the container to its state. Returns a promise only if there is something to wait for. */
  program(prepared: PreparedState, { force, ...options }: ProgramOptions): void | Promise<void> {
    const { state, needs } = prepared;
    this.open(needs);
    this.ownsTable ||= prepared.ownsTable;
    const rules = needs.nftables ? this.rules.runInline('program', prepared, force) : undefined;
    const { virtualServers } = state;
    if (virtualServers === undefined) return rules;
    return Promise.resolve(rules)
      .then(() => this.ipvs.reconcile(virtualServers, options))
      .then(() => {});
  }

  /** Removes all redirects and log rules, and of the state the tables of its transaction and its virtual servers. */
  async unprogram({ state }: PreparedState, force: boolean): Promise<void> {
    await this.rules.unprogram(state.transaction, force);
    this.ownsTable = false;
    const { virtualServers = [] } = state;
    if (virtualServers.length === 0) return;
    const { failures } = await this.ipvs.apply(
      virtualServers.map(server => ({ op: 'removeService', key: keyOf(server) })),
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

  /** Its container is closed. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#fleet.drop(this.container) ?? Promise.resolve();
  }
}

/**
 * The sessions of a fleet, kept by least recent use under a limit on descriptors. A session goes with its container: when that is closed, and when
 * its process ends, because a socket of ours would keep the dead one's namespace alive, and accept commits to it.
 */
export class SocketCache {
  /** What the kernel can do, which is the same in every namespace, and what our tables are like. */
  readonly shared: SharedRules;
  readonly logger: Logger | undefined;
  readonly #limit: number;
  /** The least recently used first. */
  readonly #sessions = new Map<Container, FleetSession>();
  /** Those that own a table: never closed for the limit's sake. */
  readonly #owners = new Map<Container, FleetSession>();
  readonly #closing = new Set<Promise<void>>();
  /** Containers whose end is waited for: once each, however often their sessions come and go. */
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

  /** The session in a container, for as long as `use` takes. @throws StateError ERR_CLOSED: the fleet, or the container */
  with<T>(container: Container, use: (session: FleetSession) => T | Promise<T>): T | Promise<T> {
    if (this.#closed) throw closedError('the fleet');
    container.checkOpen();
    const session = this.#owners.get(container) ?? this.#sessions.get(container) ?? this.#add(container);
    session.users++;
    let result: T | Promise<T>;
    try {
      result = use(session);
    } catch (error) {
      this.#used(session);
      throw error;
    }
    if (result instanceof Promise) return result.finally(() => this.#used(session));
    this.#used(session);
    return result;
  }

  /** Opens what the containers from `first` on need, in one pass through their namespaces. Returns the first one that was left for later. */
  openAhead(containers: readonly Container[], first: number, needs: Needs): number {
    const end = Math.min(containers.length, first + Math.max(1, Math.min(MAX_AHEAD, this.#limit >> 2)));
    const without = containers
      .slice(first, end)
      .filter(each => !each.ended && !each.released && !this.#sessions.has(each) && !this.#owners.has(each));
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
    // It goes to the end of the map: the one used last.
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

  /** Lets go of a container. */
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

  /** Sockets that are open now. */
  get open(): number {
    return this.#open;
  }

  /** What to wait for before more is opened: closes go on elsewhere, and may wait in the kernel. */
  get congestion(): Promise<void> | undefined {
    if (this.#closing.size < MAX_CLOSING) return undefined;
    const [oldest] = this.#closing;
    return oldest;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const container of [...this.#sessions.keys(), ...this.#owners.keys()]) {
      void this.drop(container);
      // Without a pause where there is no need for one.
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

const keyOf = (server: VirtualServer): ServiceKey =>
  'firewallMark' in server
    ? { firewallMark: server.firewallMark, family: server.family }
    : { protocol: server.protocol, address: server.address, port: server.port };
