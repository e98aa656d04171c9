import { setTimeout as delay } from 'node:timers/promises';
import { checkInteger, checkObject } from '../codec/index.ts';
import { Container } from '../container/index.ts';
import { rangeError, StateError, typeError } from '../errors.ts';
import { readDrain } from '../ipvs/drain.ts';
import type { DrainPolicy } from '../ipvs/index.ts';
import { type Logger, Observer } from '../observe.ts';
import { checkSignal, onAbort, throwIfAborted } from '../signal.ts';
import type { BalancerChange } from './change.ts';
import type { BalancedService } from './declaration.ts';
import { type DeclaredService, readDeclaration } from './declared.ts';
import { addBalancer, addServer, emptyState, type SiteState, serverContainers, tableRules } from './desired.ts';
import { BalancerError } from './error.ts';
import { type BalancerEvent, EventFeed } from './event.ts';
import { CheckSlots } from './health/checker.ts';
import type { LiveServer, LiveService } from './live.ts';
import { BalancerPart } from './part.ts';
import { PHASES, Site, type SitePlan } from './site.ts';
import { type BalancerStatus, metricsOf, statusOf } from './status.ts';
import { Undertaking } from './undertaking.ts';

/** How a load balancer is opened. */
export interface LoadBalancerOptions {
  /** The containers that balance, one or several. Each gets all services, and checks all servers. */
  balancers: readonly Container[];
  /** A name, if several programs balance in the same containers: 1 to 32 letters, digits and '-'. Default: none. */
  name?: string;
  /** The most checks that run at once, 1 to 65,536, default 256. */
  maximumChecks?: number;
  /** A logger such as pino's; nothing is logged without one. */
  logger?: Logger;
  /** Closes the load balancer. What was programmed stays. */
  signal?: AbortSignal;
}

/** How a declaration is applied. */
export interface ApplyOptions {
  /** Take over services of somebody else that are declared. Default false: they are refused with ERR_FOREIGN. */
  adopt?: boolean;
  /** Take all changes back if one of them fails. Default false: the others stay, and the next `apply` makes what is missing. */
  rollback?: boolean;
  /** Ends the call between two steps. */
  signal?: AbortSignal;
}

/**
 * Services over balancers and servers: addresses, IPVS, redirects and logs, health checks and draining, from one declaration.
 * @example
 * const lb = LoadBalancer.open({ balancers: [lvs] });
 * await lb.apply([
 *   {
 *     name: 'web', protocol: 'tcp', address: '10.10.0.100', port: 80, scheduler: 'wlc', forward: 'direct', device: 'eth0',
 *     servers: [
 *       { name: 'web1', address: '192.168.0.50', container: web1, toPort: 8080 },
 *       { name: 'web2', address: '192.168.0.51', container: web2, toPort: 8080 },
 *     ],
 *     health: { http: { path: '/health' } },
 *   },
 * ]);
 */
export class LoadBalancer {
  readonly #owner: string;
  readonly #parts: readonly BalancerPart[];
  readonly #servers = new Map<Container, Site>();
  readonly #feed = new EventFeed<BalancerEvent>();
  readonly #logger: Logger | undefined;
  readonly #unlisten: () => void;
  /** Settings that balancers get besides those of their services. */
  readonly #settings: ReadonlyMap<string, string>;
  #declared: readonly DeclaredService[] = [];
  /** Declarations are applied one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  private constructor(options: LoadBalancerOptions, internal: InternalOptions = {}) {
    checkObject(options, [], ['balancers', 'name', 'maximumChecks', 'logger', 'signal']);
    const { balancers, name = '', maximumChecks = 256, logger, signal } = options;
    if (!Array.isArray(balancers)) throw typeError(['balancers'], 'an array of containers', balancers);
    if (balancers.length === 0 && internal.serversOnly !== true)
      throw rangeError(['balancers'], 'at least one container', balancers);
    const seen = new Set<string>();
    for (const [i, balancer] of balancers.entries()) {
      if (!(balancer instanceof Container)) throw typeError(['balancers', i], 'a Container', balancer);
      const id = identityOf(balancer);
      if (seen.has(id))
        throw rangeError(['balancers', i], 'a container that is not there yet', balancer, 'ERR_DUPLICATE');
      seen.add(id);
    }
    if (typeof name !== 'string') throw typeError(['name'], "1 to 32 letters, digits and '-'", name);
    if (options.name !== undefined && !/^[A-Za-z0-9-]{1,32}$/.test(name))
      throw rangeError(['name'], "1 to 32 letters, digits and '-'", name);
    checkInteger(maximumChecks, ['maximumChecks'], 1, 65_536);
    checkSignal(signal, ['signal']);
    throwIfAborted(signal);
    this.#owner = name;
    this.#settings = internal.settings ?? new Map();
    // Checks the logger's methods.
    void new Observer(logger);
    this.#logger = logger;
    const slots = new CheckSlots(maximumChecks);
    this.#parts = balancers.map(balancer => new BalancerPart(balancer, name, slots, event => this.#tell(event)));
    this.#unlisten = onAbort(signal, () => void this.close());
  }

  /**
   * Opens a load balancer. It reads and changes nothing before `apply`.
   * @param options the balancers, and how they are used
   * @throws TypeError, RangeError with the path
   * @example
   * const lb = LoadBalancer.open({ balancers: [lvs] });
   */
  static open(options: LoadBalancerOptions): LoadBalancer {
    return new LoadBalancer(options);
  }

  /** @internal For a cluster, whose hosts may have servers only. */
  static within(options: LoadBalancerOptions, internal: InternalOptions): LoadBalancer {
    return new LoadBalancer(options, internal);
  }

  /**
   * The changes that `apply` would make. It changes nothing.
   * @param services the declaration
   * @param options `adopt`
   * @throws as `apply`
   * @example
   * console.log(formatBalancerPlan(await lb.plan(services)));
   */
  plan(
    services: readonly BalancedService[],
    options: Pick<ApplyOptions, 'adopt' | 'signal'> = {},
  ): Promise<BalancerChange[]> {
    return this.#inTurn(async () => {
      const { declared, adopt } = this.#checked(services, options);
      const { plans } = await this.#planServers(declared, adopt);
      const { plans: balancers } = await this.#planBalancers(declared, adopt, new Set());
      const all = [...plans, ...balancers];
      const changes = PHASES.flatMap(phase =>
        all.flatMap(({ steps }) => steps.filter(step => step.phase === phase).flatMap(step => step.changes)),
      );
      return [...changes, ...all.flatMap(({ rules }) => rules ?? [])];
    });
  }

  /**
   * Makes these the services of this load balancer, with as few changes as possible. It finds what an earlier process of the same name has left,
   * and does not touch what is somebody else's. Then it checks the servers until `close`.
   * @param services the declaration; it replaces the one before
   * @param options `adopt`, `rollback` and `signal`
   * @returns the changes that were made, in their order
   * @throws TypeError, RangeError with the path: `[0].servers[1].port`. Nothing was changed
   * @throws StateError ERR_FOREIGN somebody else has a declared service, redirect or default route. Nothing was changed
   * @throws BalancerError ERR_PARTIAL some changes failed; it names each, and what was made
   * @example
   * const changes = await lb.apply(services, { rollback: true });
   */
  apply(services: readonly BalancedService[], options: ApplyOptions = {}): Promise<BalancerChange[]> {
    return this.#inTurn(async () => {
      const { declared, adopt, rollback, signal } = this.#checked(services, options);
      const work = new Undertaking(signal);
      const { failures } = work;
      const { plans } = await this.#planServers(declared, adopt);
      // Whatever may be refused is refused before the first change.
      if (plans.some(({ steps }) => steps.length > 0)) await this.#planBalancers(declared, adopt, new Set());
      for (const plan of plans) await work.remember(plan);
      await work.run('servers', plans);
      const unprepared = new Set(
        failures.map(
          ({ change }) => plans.find(({ site }) => site.place.container === change.container)!.site.container,
        ),
      );
      await this.#together(async () => {
        const { plans: balancers, next } = await this.#planBalancers(declared, adopt, unprepared);
        for (const plan of balancers) await work.remember(plan);
        for (const phase of PHASES.slice(1)) await work.run(phase, [...balancers, ...plans]);
        if (failures.length > 0 && rollback) {
          await work.takeBack();
          return;
        }
        for (const plan of [...plans, ...balancers])
          await plan.site.record.write(failures.length === 0 ? plan.after : plan.during, tableRules(plan.state));
        for (const [i, part] of this.#parts.entries()) part.take(next[i]!);
        this.#declared = declared;
        await this.#forgetServers(declared);
      });
      for (const part of this.#parts) part.reconciled(!failures.some(({ change }) => change.container === part.name));
      const { made } = work;
      this.#tell({ type: 'applied', changes: made, failed: failures.length });
      if (failures.length > 0) throw new BalancerError(made, failures, rollback);
      for (const change of made)
        if (change.kind === 'address' && change.action === 'add' && change.role === 'balancer')
          this.#parts
            .find(({ name }) => name === change.container)
            ?.announce(change.device, change.address.split('/')[0]!);
      return made;
    });
  }

  #checked(services: readonly BalancedService[], options: ApplyOptions) {
    this.#checkOpen();
    checkObject(options, ['options'], ['adopt', 'rollback', 'signal']);
    const { adopt = false, rollback = false } = options;
    for (const [name, value] of Object.entries({ adopt, rollback }))
      if (typeof value !== 'boolean') throw typeError(['options', name], 'true or false', value);
    const signal = checkSignal(options.signal, ['options', 'signal']);
    throwIfAborted(signal);
    const declared = readDeclaration(services);
    const balancers = new Set(this.#parts.map(({ site }) => identityOf(site.container)));
    for (const [i, { servers }] of declared.entries())
      for (const [j, { container }] of servers.entries())
        if (container !== undefined && balancers.has(identityOf(container)))
          throw rangeError(
            [i, 'servers', j, 'container'],
            'a container that is not a balancer',
            container,
            'ERR_CONFLICT',
          );
    return { declared, adopt, rollback, signal };
  }

  async #planServers(declared: readonly DeclaredService[], adopt: boolean): Promise<{ plans: SitePlan[] }> {
    const states = new Map<Container, SiteState>();
    for (const container of [...this.#servers.keys(), ...serverContainers(declared)])
      states.set(container, emptyState());
    for (const service of declared)
      for (const server of [...service.servers, ...(service.fallback === undefined ? [] : [service.fallback])])
        if (server.container !== undefined) addServer(states.get(server.container)!, service, server);
    const plans = await Promise.all(
      [...states].map(([container, state]) => {
        const site = this.#servers.get(container) ?? new Site(container, 'server', this.#owner);
        this.#servers.set(container, site);
        return site.plan(state, adopt);
      }),
    );
    return { plans };
  }

  async #planBalancers(declared: readonly DeclaredService[], adopt: boolean, unprepared: ReadonlySet<Container>) {
    const now = performance.now();
    const next: Map<string, LiveService>[] = [];
    const plans = await Promise.all(
      this.#parts.map(async (part, i) => {
        const present = (await part.site.container.ipvs.snapshot()).servers;
        const services = part.next(declared, present, await part.site.record.read(), unprepared);
        next[i] = services;
        const state = emptyState();
        for (const service of declared) addBalancer(state, service);
        if (declared.length > 0) for (const [sysctl, value] of this.#settings) state.settings.set(sysctl, value);
        for (const live of services.values()) state.services.push(live.virtualServer(now));
        return part.site.plan(state, adopt);
      }),
    );
    return { plans, next };
  }

  /** Sites of containers that no service has any longer. */
  async #forgetServers(declared: readonly DeclaredService[]): Promise<void> {
    const wanted = serverContainers(declared);
    for (const [container, site] of this.#servers) {
      if (wanted.has(container)) continue;
      this.#servers.delete(container);
      await site.close();
    }
  }

  /** Runs something while no balancer changes by itself. */
  #together<T>(call: () => Promise<T>): Promise<T> {
    return this.#parts.reduceRight<() => Promise<T>>((inner, part) => () => part.alone(inner), call)();
  }

  /**
   * Gives a server no new connections, and waits for those that it has. It stays so, also for later processes, until `setWeight` gives it a weight.
   * @param service the name of the service
   * @param server the name of the server
   * @param policy how long, and for which connections; default that of the declaration, or 30 seconds
   * @returns how many connections it still has at all balancers
   * @throws RangeError there is no such service or server
   * @example
   * const left = await lb.drain('web', 'web1', { timeoutMs: 60_000 });
   */
  async drain(service: string, server: string, policy?: DrainPolicy): Promise<number> {
    const places = this.#places(service, server);
    const { key, drain, given } = places[0]!.live.declared;
    const waiting =
      policy === undefined && given.drain !== undefined
        ? drain
        : readDrain(policy ?? { timeoutMs: 30_000 }, ['policy'])(key);
    for (const { part, live, server: each } of places) {
      await part.alone(async () => {
        const recorded = await part.site.record.read();
        await part.site.record.write(
          [
            ...recorded.filter(({ name, kind }) => kind !== 'drained' || name !== `${service}/${server}`),
            { kind: 'drained', name: `${service}/${server}` },
          ],
          tableRules(this.#stateOf(part)),
        );
      });
      each.drained = true;
      await part.reprogram(live);
    }
    if (waiting === undefined) return this.#connections(places, 'all');
    const deadline = performance.now() + waiting.timeoutMs;
    for (;;) {
      const pending = await this.#connections(places, waiting.until);
      for (const { part } of places)
        this.#tell({
          type: pending === 0 ? 'drained' : 'draining',
          balancer: part.name,
          service,
          server,
          connections: pending,
        });
      if (pending === 0 || performance.now() >= deadline) {
        if (given.protocol === 'udp') await this.#takeOut(places);
        return pending;
      }
      await delay(Math.min(waiting.pollMs, Math.max(1, deadline - performance.now())));
    }
  }

  /** A client that goes on sending from one UDP port stays with a server of weight 0 for ever. Once that is removed, the kernel ends the flow. */
  async #takeOut(places: readonly Place[]): Promise<void> {
    for (const { part, live, server } of places) {
      if (!server.drained) continue;
      server.isOut = true;
      await part.reprogram(live);
    }
  }

  /**
   * Gives a server another weight, until the next `apply`. A drained server is in use again.
   * @param service the name of the service
   * @param server the name of the server
   * @param weight 0 to 65,535
   * @throws RangeError there is no such service or server
   * @example
   * await lb.setWeight('web', 'web1', 5);
   */
  async setWeight(service: string, server: string, weight: number): Promise<void> {
    checkInteger(weight, ['weight'], 0, 65_535);
    for (const { part, live, server: each } of this.#places(service, server)) {
      if (each.drained) {
        await part.alone(async () => {
          const recorded = await part.site.record.read();
          await part.site.record.write(
            recorded.filter(({ kind, name }) => kind !== 'drained' || name !== `${service}/${server}`),
            tableRules(this.#stateOf(part)),
          );
        });
        each.drained = false;
        each.isOut = false;
      }
      each.measured = weight;
      await part.reprogram(live);
    }
  }

  #stateOf(part: BalancerPart): SiteState {
    const state = emptyState();
    for (const { declared } of part.services.values()) addBalancer(state, declared);
    return state;
  }

  #places(service: string, server: string): Place[] {
    this.#checkOpen();
    return this.#parts.map(part => {
      const live = part.services.get(service);
      if (live === undefined)
        throw rangeError(['service'], `one of ${[...part.services.keys()].join(', ') || 'no services'}`, service);
      const found = live.servers.get(server);
      if (found === undefined) throw rangeError(['server'], `one of ${[...live.servers.keys()].join(', ')}`, server);
      return { part, live, server: found };
    });
  }

  async #connections(places: readonly Place[], which: 'active' | 'all'): Promise<number> {
    let sum = 0;
    for (const { part, live, server } of places)
      for (const entry of await part.destinations(live))
        if (live.serverAt(entry) === server)
          sum += entry.activeConnections + (which === 'all' ? entry.inactiveConnections : 0);
    return sum;
  }

  /**
   * What the services are like now: servers, verdicts of the checks, weights and connections. `formatBalancerStatus` prints it.
   * @example
   * console.log(formatBalancerStatus(await lb.status()));
   */
  async status(): Promise<BalancerStatus> {
    this.#checkOpen();
    return { balancers: await Promise.all(this.#parts.map(statusOf)) };
  }

  /**
   * The same as OpenMetrics text (`OPEN_METRICS_TYPE`), with IPVS's counters as the kernel has them now.
   * @example
   * console.log(await lb.metrics());
   */
  async metrics(): Promise<string> {
    this.#checkOpen();
    return metricsOf(this.#parts);
  }

  /**
   * What happens from now on: verdicts, drains, quorums, changes and errors. Each caller gets all of it; of a reader that is slow, the oldest events
   * are dropped beyond 10,000. The loop ends with `close`.
   * @example
   * for await (const event of lb.events()) console.log(event.type);
   */
  events(): AsyncIterableIterator<BalancerEvent> {
    return this.#feed.read();
  }

  #tell(event: TellOf<BalancerEvent>): void {
    this.#feed.tell({ atMs: Date.now(), ...event } as BalancerEvent);
    this.#log(event);
  }

  #log(event: TellOf<BalancerEvent>): void {
    const { type, ...fields } = event;
    const record = 'changes' in fields ? { ...fields, changes: fields.changes.length } : fields;
    if (type === 'error') this.#logger?.error(record, 'a load balancer could not do something');
    else if (type === 'down' || type === 'quorum-lost' || type === 'panic')
      this.#logger?.warn(record, `load balancer: ${type}`);
    else this.#logger?.info(record, `load balancer: ${type}`);
  }

  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(call, call);
    this.#turn = result.catch(() => {});
    return result;
  }

  #checkOpen(): void {
    if (this.#closing !== undefined)
      throw new StateError('ERR_CLOSED', 'the load balancer is closed: open another one');
  }

  /**
   * Ends the checks, and closes the load balancer. Traffic goes on as it was: what was programmed stays, unless `remove` is set.
   * @param options `remove`: take everything away that this load balancer has made
   * @example
   * await lb.close({ remove: true });
   */
  async close(
    options: {
      /** Take everything away that this load balancer has made. Default false. */
      remove?: boolean;
    } = {},
  ): Promise<void> {
    checkObject(options, [], ['remove']);
    if (options.remove === true && this.#closing === undefined) await this.apply([]);
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async #close(): Promise<void> {
    this.#unlisten();
    await this.#turn;
    await Promise.all([...this.#parts, ...this.#servers.values()].map(each => each.close()));
    this.#feed.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** @internal */
export interface InternalOptions {
  serversOnly?: boolean;
  settings?: ReadonlyMap<string, string>;
}

/** A server at one balancer. */
interface Place {
  readonly part: BalancerPart;
  readonly live: LiveService;
  readonly server: LiveServer;
}

type TellOf<E> = E extends { atMs: number } ? Omit<E, 'atMs'> : never;

const identityOf = ({ netns }: Container): string => `${netns.access.device}:${netns.inode}`;
