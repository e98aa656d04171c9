import { clearInterval, clearTimeout, setInterval, setTimeout } from 'node:timers';
import type { Container } from '../container/index.ts';
import type { Destination, DestinationEntry, IpvsOperation, VirtualServer } from '../ipvs/index.ts';
import { announce } from './announce.ts';
import { serviceText } from './change.ts';
import type { DeclaredServer, DeclaredService } from './declared.ts';
import type { BalancerEvent } from './event.ts';
import { Checker, type CheckResult, type CheckSlots } from './health/checker.ts';
import { LiveServer, LiveService, placeOf } from './live.ts';
import { Histogram } from './metrics.ts';
import type { Entry } from './record.ts';
import { Site } from './site.ts';
import { stepTo } from './weights.ts';

/** How often the weights of servers that come back rise, at most. */
const RISE_STEPS = 20;
const SHORTEST_RISE_MS = 50;
const DEFAULT_POLL_MS = 1000;
/** When an address is announced again: frames get lost while a switch learns (keepalived repeats, too). */
const ANNOUNCEMENTS_MS = [0, 1000, 5000];

/** An event as a part tells it: without the time. */
type Told<E = BalancerEvent> = E extends { atMs: number } ? Omit<E, 'atMs'> : never;

/** Counters of the checks of one server. */
export interface CheckCounts {
  good: number;
  bad: number;
  readonly seconds: Histogram;
}

/** One balancer: its services, the checks of their servers, and what follows from these. */
export class BalancerPart {
  readonly site: Site;
  readonly name: string;
  readonly counts = new Map<string, CheckCounts>();
  /** How often IPVS was brought in line with what is known of the servers. */
  readonly reconciliations = { made: 0, failed: 0, lastMs: 0 };
  readonly #tell: (event: Told) => void;
  readonly #slots: CheckSlots;
  #services = new Map<string, LiveService>();
  readonly #checkers = new Map<string, { checker: Checker; declared: DeclaredServer; service: DeclaredService }>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #announcements = new Set<NodeJS.Timeout>();
  /** Changes of this balancer's IPVS are made one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(container: Container, owner: string, slots: CheckSlots, tell: (event: Told) => void) {
    this.site = new Site(container, 'balancer', owner);
    this.name = this.site.place.container;
    this.#slots = slots;
    this.#tell = tell;
  }

  get services(): ReadonlyMap<string, LiveService> {
    return this.#services;
  }

  /** Runs something while nothing else changes this balancer. */
  alone<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(call, call);
    this.#turn = result.catch(() => {});
    return result;
  }

  /**
   * The services as they would be with a new declaration. What is known of servers that stay is kept. An earlier process has left what it knew in
   * the kernel: a server of weight 0, or none at all, had failed; so taking over changes no weight.
   */
  next(
    declared: readonly DeclaredService[],
    present: readonly VirtualServer[],
    recorded: readonly Entry[],
    unprepared: ReadonlySet<Container>,
  ): Map<string, LiveService> {
    const kernel = new Map(present.map(server => [serviceText(server), server]));
    const known = new Set(recorded.filter(({ kind }) => kind === 'service').map(({ name }) => name));
    const drained = new Set(recorded.filter(({ kind }) => kind === 'drained').map(({ name }) => name));
    const now = performance.now();
    return new Map(
      declared.map(service => {
        const before = this.#services.get(service.name);
        const text = serviceText(service.key);
        const there = known.has(text) ? kernel.get(text) : undefined;
        const live = new LiveService(service);
        if (before !== undefined) {
          for (const [name, server] of before.servers)
            live.servers.set(name, Object.assign(Object.create(LiveServer.prototype), server));
          for (const [place, leaving] of before.leaving) live.leaving.set(place, leaving);
          live.panicking = before.panicking;
        }
        const { fallback } = service;
        live.fallen =
          before?.fallen ??
          (fallback !== undefined && there?.destinations.some(each => placeOf(each) === placeOf(fallback)) === true);
        live.redeclare(service, server => {
          const entry = there?.destinations.find(each => placeOf(each) === placeOf(server));
          const checked = service.check !== undefined;
          const up =
            !checked || there === undefined || (entry !== undefined && (entry.weight ?? 1) > 0) || server.weight === 0;
          const fresh = new LiveServer(server, up, drained.has(`${service.name}/${server.name}`));
          fresh.isOut = fresh.drained && there !== undefined && entry === undefined;
          return fresh;
        });
        for (const server of live.servers.values())
          server.isPrepared = server.declared.container === undefined || !unprepared.has(server.declared.container);
        this.#leave(live, there, now);
        return [service.name, live];
      }),
    );
  }

  /** Destinations that are not declared any longer lose their connections first, if the service says so. */
  #leave(live: LiveService, there: VirtualServer | undefined, now: number): void {
    const { drain } = live.declared;
    if (drain === undefined || there === undefined) return;
    const { fallback } = live.declared;
    for (const destination of there.destinations) {
      const place = placeOf(destination);
      if (
        live.serverAt(destination) !== undefined ||
        (fallback !== undefined && placeOf(fallback) === place) ||
        live.leaving.has(place)
      )
        continue;
      const { address, port, forward } = destination;
      live.leaving.set(place, { destination: { address, port, forward, weight: 0 }, deadline: now + drain.timeoutMs });
    }
  }

  /** Takes services over that were programmed, and checks their servers from now on. */
  take(services: Map<string, LiveService>): void {
    this.#services = services;
    const now = performance.now();
    const wanted = new Set<string>();
    for (const live of services.values()) {
      live.programmed = live.destinations(now);
      live.fallen = live.declared.fallback !== undefined && !live.hasQuorum;
      const { check } = live.declared;
      if (check !== undefined) {
        for (const server of live.servers.values()) {
          const id = `${live.declared.name}/${server.declared.name}`;
          wanted.add(id);
          this.#checkAlways(id, live.declared, server.declared);
        }
      }
      this.#follow(live);
    }
    for (const [id, { checker }] of this.#checkers) {
      if (wanted.has(id)) continue;
      checker.stop();
      this.#checkers.delete(id);
      this.counts.delete(id);
    }
    for (const [key, timer] of this.#timers) {
      if (services.has(key.slice(key.indexOf(' ') + 1))) continue;
      clearInterval(timer);
      this.#timers.delete(key);
    }
  }

  #checkAlways(id: string, service: DeclaredService, declared: DeclaredServer): void {
    const running = this.#checkers.get(id);
    if (running !== undefined) {
      const same =
        running.declared.address === declared.address &&
        running.declared.port === declared.port &&
        running.declared.toPort === declared.toPort;
      if (
        same &&
        JSON.stringify(running.service.given.health) === JSON.stringify(service.given.health) &&
        running.service.given.health?.exec === service.given.health?.exec
      )
        return;
      running.checker.stop();
    }
    const check = service.check!;
    const server = {
      service: service.name,
      name: declared.name,
      address: declared.address,
      port: check.port ?? (declared.toPort === 0 ? declared.port : declared.toPort),
    };
    const checker = new Checker(this.site.netns, check, server, this.#slots, result =>
      this.#judge(service.name, declared.name, result),
    );
    this.#checkers.set(id, { checker, declared, service });
  }

  #judge(service: string, name: string, result: CheckResult): void {
    const id = `${service}/${name}`;
    const counts = this.counts.get(id) ?? { good: 0, bad: 0, seconds: new Histogram() };
    this.counts.set(id, counts);
    if (result.good) counts.good++;
    else counts.bad++;
    counts.seconds.add(result.seconds);
    const live = this.#services.get(service);
    const server = live?.servers.get(name);
    if (live === undefined || server === undefined) return;
    const { check } = live.declared;
    if (!server.judge(result.good, result.reason, check!, performance.now())) return;
    const place = { balancer: this.name, service, server: name };
    this.#tell(
      result.good
        ? { type: 'up', ...place }
        : { type: 'down', ...place, ...(result.reason !== undefined && { reason: result.reason }) },
    );
    this.#panic(live);
    void this.reprogram(live);
    if (server.risingSince !== undefined) this.#follow(live);
  }

  /**
   * All servers of a service fail at once: the checks are more likely to be wrong than all servers to be dead. Without a fallback, the servers that
   * failed last are kept.
   */
  #panic(live: LiveService): void {
    const { fallback, name } = live.declared;
    const servers = [...live.servers.values()].filter(({ declared }) => declared.weight > 0);
    const allFail = servers.length > 1 && servers.every(({ up }) => !up);
    const { intervalMs, fall } = live.declared.check!;
    const times = servers.map(({ changedAt }) => changedAt ?? Number.NEGATIVE_INFINITY);
    const together = Math.max(...times) - Math.min(...times) <= intervalMs * fall;
    const panicking = fallback === undefined && allFail && (live.panicking || together);
    if (panicking === live.panicking) return;
    live.panicking = panicking;
    this.#tell({ type: panicking ? 'panic' : 'panic-over', balancer: this.name, service: name });
  }

  /** Makes IPVS's destinations of a service follow what is known of its servers. */
  reprogram(live: LiveService): Promise<void> {
    return this.alone(async () => {
      if (this.#closed || this.#services.get(live.declared.name) !== live) return;
      try {
        await this.#program(live);
        this.reconciled(true);
      } catch (error) {
        live.programmed = undefined;
        this.reconciled(false);
        this.#tell({ type: 'error', balancer: this.name, service: live.declared.name, error: error as Error });
        // The next change, or the next apply, begins from what the kernel has.
      }
    });
  }

  reconciled(good: boolean): void {
    if (!good) this.reconciliations.failed++;
    else {
      this.reconciliations.made++;
      this.reconciliations.lastMs = Date.now();
    }
  }

  async #program(live: LiveService): Promise<void> {
    const now = performance.now();
    const wanted = live.destinations(now);
    const { ipvs } = this.site.container;
    const operations = live.programmed === undefined ? undefined : differences(live, live.programmed, wanted);
    if (operations?.length !== 0) {
      const result = operations === undefined ? undefined : await ipvs.apply(operations, { onError: 'collect' });
      // Somebody else has changed the service meanwhile: compare with the kernel.
      if (result === undefined || result.failures.length > 0) await ipvs.reconcile([live.virtualServer(now)]);
      live.programmed = wanted;
    }
    const fallen = live.declared.fallback !== undefined && !live.hasQuorum;
    if (fallen === live.fallen) return;
    live.fallen = fallen;
    this.#tell({ type: fallen ? 'quorum-lost' : 'quorum-gained', balancer: this.name, service: live.declared.name });
  }

  /** Timers of a service: weights that rise, weights that are measured, and servers that leave. */
  #follow(live: LiveService): void {
    const { name, check, weights, drain } = live.declared;
    const slow = check?.slowStartMs ?? 0;
    if (slow > 0 && [...live.servers.values()].some(({ risingSince }) => risingSince !== undefined))
      this.#every(`rise ${name}`, Math.max(SHORTEST_RISE_MS, slow / RISE_STEPS), () => this.#rise(name, slow));
    if (weights !== undefined) this.#every(`weights ${name}`, weights.intervalMs, () => this.#measure(name));
    else this.#never(`weights ${name}`);
    if (live.leaving.size > 0) {
      this.#every(`drain ${name}`, drain?.pollMs ?? DEFAULT_POLL_MS, () => this.#poll(name));
    }
  }

  #every(key: string, milliseconds: number, call: () => unknown): void {
    if (this.#timers.has(key) || this.#closed) return;
    const timer = setInterval(call, milliseconds);
    timer.unref();
    this.#timers.set(key, timer);
  }

  #never(key: string): void {
    clearInterval(this.#timers.get(key));
    this.#timers.delete(key);
  }

  async #rise(name: string, slowMs: number): Promise<void> {
    const live = this.#services.get(name);
    const now = performance.now();
    let rising = false;
    for (const server of live?.servers.values() ?? []) {
      if (server.risingSince === undefined) continue;
      if (now - server.risingSince >= slowMs) server.risingSince = undefined;
      else rising = true;
    }
    if (!rising) this.#never(`rise ${name}`);
    if (live !== undefined) await this.reprogram(live);
  }

  async #measure(name: string): Promise<void> {
    const live = this.#services.get(name);
    const { weights } = live?.declared ?? {};
    if (live === undefined || weights === undefined) return;
    try {
      for (const entry of await this.destinations(live)) {
        const server = live.serverAt(entry);
        if (server === undefined || !server.up || server.drained) continue;
        const { weight } = server.declared;
        const now = server.measured ?? weight;
        const next = stepTo(now, weights.weightOf(entry, weight), weight, weights.maximumStep);
        if (next === now) continue;
        server.measured = next;
        this.#tell({ type: 'weight', balancer: this.name, service: name, server: server.declared.name, weight: next });
      }
    } catch (error) {
      this.#tell({ type: 'error', balancer: this.name, service: name, error: error as Error });
    }
    await this.reprogram(live);
  }

  /** Removes servers that have left, once they have no connections, or their time is over. */
  async #poll(name: string): Promise<void> {
    const live = this.#services.get(name);
    if (live === undefined || live.leaving.size === 0) return this.#never(`drain ${name}`);
    const { drain } = live.declared;
    let entries: DestinationEntry[];
    try {
      entries = await this.destinations(live);
    } catch (error) {
      this.#tell({ type: 'error', balancer: this.name, service: name, error: error as Error });
      return;
    }
    const there = new Map(entries.map(entry => [placeOf(entry), entry]));
    for (const [place, { deadline }] of live.leaving) {
      const entry = there.get(place);
      const all = drain?.until === 'all';
      const pending = entry === undefined ? 0 : entry.activeConnections + (all ? entry.inactiveConnections : 0);
      if (pending > 0 && performance.now() < deadline) continue;
      live.leaving.delete(place);
      const connections = entry === undefined ? 0 : entry.activeConnections + entry.inactiveConnections;
      this.#tell({ type: 'drained', balancer: this.name, service: name, server: place.replace(' ', ':'), connections });
    }
    await this.reprogram(live);
  }

  destinations(live: LiveService): Promise<DestinationEntry[]> {
    return this.site.container.ipvs.destinations(live.declared.key);
  }

  /** Tells the neighbours, now and again. */
  announce(device: string, address: string): void {
    for (const milliseconds of ANNOUNCEMENTS_MS) {
      const timer = setTimeout(() => {
        this.#announcements.delete(timer);
        void announce(this.site.netns, this.site.links, device, address).then(
          errno => {
            if (errno < 0)
              this.#tell({
                type: 'error',
                balancer: this.name,
                error: new Error(`${address} could not be announced on ${device}: errno ${errno}`),
              });
          },
          error => this.#tell({ type: 'error', balancer: this.name, error: error as Error }),
        );
      }, milliseconds);
      timer.unref();
      this.#announcements.add(timer);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { checker } of this.#checkers.values()) checker.stop();
    this.#checkers.clear();
    for (const timer of this.#timers.values()) clearInterval(timer);
    this.#timers.clear();
    for (const timer of this.#announcements) clearTimeout(timer);
    this.#announcements.clear();
    await this.#turn;
    await this.site.close();
  }
}

/** What IPVS needs. Weights go up before others go to 0, so that connections always have somewhere to go. */
function differences(
  live: LiveService,
  now: ReadonlyMap<string, Destination>,
  wanted: ReadonlyMap<string, Destination>,
): IpvsOperation[] {
  const { key } = live.declared;
  const up: IpvsOperation[] = [];
  const down: IpvsOperation[] = [];
  for (const [place, destination] of wanted) {
    const old = now.get(place);
    if (old === undefined) up.push({ op: 'addDestination', key, destination });
    else if (old.weight !== destination.weight || old.forward !== destination.forward)
      (destination.weight === 0 ? down : up).push({ op: 'setDestination', key, destination });
  }
  for (const [place, { address, port }] of now)
    if (!wanted.has(place)) down.push({ op: 'removeDestination', key, destinationKey: { address, port } });
  return [...up, ...down];
}
