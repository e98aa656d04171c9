import type { Container, LogRule, Redirect } from '../container/index.ts';
import { isExists, isNotFound, StateError } from '../errors.ts';
import type { IpvsOperation, VirtualServer } from '../ipvs/index.ts';
import type { NetNs } from '../netns/index.ts';
import { Links } from '../rtnetlink/index.ts';
import type { BalancerChange, ChangePlace } from './change.ts';
import { serviceText } from './change.ts';
import { logPrefix, type SiteState, tableRules, type WantedAddress } from './desired.ts';
import { type Entry, identityOf, RecordTable } from './record.ts';

/** When a step is made. Servers are ready before balancers, and an address comes last and goes first. */
export const PHASES = ['servers', 'balancers', 'addresses', 'withdraw', 'retire'] as const;
export type Phase = (typeof PHASES)[number];

/** Changes that are made together. */
export interface Step {
  readonly phase: Phase;
  readonly changes: readonly BalancerChange[];
  /** Makes the changes. @returns the errors of those that failed, by their index */
  run(): Promise<ReadonlyMap<number, Error>>;
  /** Takes the changes back that were made. */
  undo(): Promise<void>;
}

/** What a namespace needs to become as wanted. */
export interface SitePlan {
  readonly site: Site;
  readonly steps: readonly Step[];
  /** What is recorded before the first step, and after the last one. */
  readonly during: readonly Entry[];
  readonly after: readonly Entry[];
  readonly state: SiteState;
  /** Whether the record or the rules beside it differ. */
  readonly rules: BalancerChange | undefined;
}

/** What a namespace has of ours. */
interface Present {
  readonly recorded: ReadonlyMap<string, Entry>;
  readonly addresses: ReadonlySet<string>;
  readonly redirects: readonly Redirect[];
}

/** One namespace that a load balancer programs: a balancer, or the container of servers. */
export class Site {
  readonly container: Container;
  readonly role: ChangePlace['role'];
  readonly record: RecordTable;
  readonly #owner: string;
  #links: Links | undefined;

  constructor(container: Container, role: ChangePlace['role'], owner: string) {
    this.container = container;
    this.role = role;
    this.#owner = owner;
    this.record = new RecordTable(container.nftables, owner);
  }

  get netns(): NetNs {
    return this.container.netns;
  }

  get links(): Links {
    this.#links ??= Links.open({ netns: this.netns });
    return this.#links;
  }

  get place(): ChangePlace {
    return { role: this.role, container: this.container.id ?? String(this.netns.inode) };
  }

  async close(): Promise<void> {
    await this.#links?.[Symbol.asyncDispose]();
    this.#links = undefined;
  }

  /**
   * Compares the namespace with what it should have.
   * @param state what it should have
   * @param operations what IPVS needs, with an undo for each
   * @throws StateError ERR_FOREIGN somebody else has something that is wanted
   */
  async plan(state: SiteState, adopt: boolean): Promise<SitePlan> {
    const present = await this.#read(state);
    const steps: Step[] = [];
    const after = new Map<string, Entry>();
    const keep = (entry: Entry) => after.set(identityOf(entry), entry);
    for (const entry of present.recorded.values()) if (entry.kind === 'drained') keep(entry);

    // Devices have settings, too.
    for (const device of state.devices.values()) await this.#device(device, steps, keep, present);
    for (const [sysctl, value] of state.settings) this.#setting(sysctl, value, present, steps, keep);
    for (const address of state.addresses) this.#address(address, present, steps, keep, adopt);
    if (state.route !== undefined) await this.#route(state.route, steps, keep, present);
    this.#redirects(state, present, steps, keep);
    await this.#logs(state, steps);
    await this.#ipvs(state, present, steps, keep, adopt);
    this.#leftovers(present, after, steps);

    const during = new Map([...present.recorded, ...after]);
    const rules = await this.#rules(state, [...after.values()]);
    return { site: this, steps, during: [...during.values()], after: [...after.values()], state, rules };
  }

  async #read(state: SiteState): Promise<Present> {
    const recorded = new Map((await this.record.read()).map(entry => [identityOf(entry), entry]));
    const anyAddress = state.addresses.length > 0 || [...recorded.values()].some(({ kind }) => kind === 'address');
    const addresses = anyAddress ? await this.links.addresses() : [];
    return {
      recorded,
      addresses: new Set(addresses.map(({ address, device }) => `${address} ${device}`)),
      redirects: await this.container.redirects.list(),
    };
  }

  #setting(sysctl: string, value: string, { recorded }: Present, steps: Step[], keep: (entry: Entry) => void): void {
    const entry = recorded.get(`setting ${sysctl}`);
    if (entry !== undefined) keep(entry);
    const before = this.#settingNow(sysctl);
    if (before === undefined || before === value) return;
    if (entry === undefined) keep({ kind: 'setting', name: sysctl, before });
    const set = (to: string) => this.netns.sysctl.set(sysctl, to);
    steps.push(
      this.#step(
        this.#phase,
        { kind: 'setting', action: 'change', sysctl, value, before },
        () => set(value),
        () => set(before),
      ),
    );
  }

  /**
   * A device that is still to be made will have the default. Undefined: the kernel hides settings of IPVS from a namespace that belongs to a user
   * namespace.
   */
  #settingNow(sysctl: string): string | undefined {
    try {
      return this.netns.sysctl.get(sysctl);
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOENT') throw error;
      if (sysctl.startsWith('net.ipv4.vs.expire_')) return undefined;
      const ofDevice = /^net\.ipv4\.conf\.[^.]+\.(\w+)$/.exec(sysctl);
      if (ofDevice !== null) return this.netns.sysctl.get(`net.ipv4.conf.default.${ofDevice[1]}`);
      throw error;
    }
  }

  async #device(
    { name, kind }: { name: string; kind: 'ipip' | 'ip6tnl' },
    steps: Step[],
    keep: (entry: Entry) => void,
    { recorded }: Present,
  ): Promise<void> {
    const found = (await this.links.list()).find(link => link.name === name);
    if (found?.up === true) {
      const entry = recorded.get(`device ${name}`);
      if (entry !== undefined) keep(entry);
      return;
    }
    keep({ kind: 'device', name });
    const make = async () => {
      if (found === undefined) {
        // The kernel makes the first device of a kind as its module is loaded: it may be there now, and down.
        try {
          await this.links.createTunnel({ kind, name } as never);
        } catch (error) {
          if (!isExists(error)) throw error;
        }
      }
      await this.links.set(name, { up: true });
    };
    const action = found === undefined ? 'add' : 'change';
    steps.push(
      this.#step(this.#phase, { kind: 'device', action, device: name }, make, () =>
        this.links.set(name, { up: false }),
      ),
    );
  }

  #address(
    { address, device, label }: WantedAddress,
    { addresses, recorded }: Present,
    steps: Step[],
    keep: (entry: Entry) => void,
    adopt: boolean,
  ): void {
    const name = `${address} ${device}`;
    const entry: Entry = { kind: 'address', name };
    const isOurs = recorded.has(identityOf(entry));
    if (addresses.has(name)) {
      // An address that somebody else has added is used, and left to them.
      if (isOurs || adopt) keep(entry);
      return;
    }
    keep(entry);
    const isIPv6 = address.includes(':');
    const options = {
      ...(label !== undefined && { label }),
      // Deprecated: otherwise the kernel takes it as the source of the balancer's own connections. And it is usable at once.
      ...(isIPv6 && { preferredSeconds: 0, noDad: true }),
    };
    const make = async () => {
      try {
        await this.links.addAddress(device, address, options);
      } catch (error) {
        if (!isExists(error)) throw error;
      }
    };
    const phase = this.role === 'balancer' ? 'addresses' : this.#phase;
    steps.push(
      this.#step(phase, { kind: 'address', action: 'add', address, device }, make, () =>
        this.#dropAddress(device, address),
      ),
    );
  }

  async #dropAddress(device: string, address: string): Promise<void> {
    try {
      await this.links.removeAddress(device, address);
    } catch (error) {
      if (!isNotFound(error) && (error as { code?: string }).code !== 'EADDRNOTAVAIL') throw error;
    }
  }

  async #route(via: string, steps: Step[], keep: (entry: Entry) => void, { recorded }: Present): Promise<void> {
    const family = via.includes(':') ? 'ipv6' : 'ipv4';
    const defaults = (await this.links.routes()).filter(route => route.to === 'default' && route.family === family);
    const entry: Entry = { kind: 'route', name: via };
    if (defaults.some(route => route.via === via)) {
      if (recorded.has(identityOf(entry))) keep(entry);
      return;
    }
    if (defaults.length > 0)
      throw new StateError(
        'ERR_FOREIGN',
        `${this.#called} has a default route that leads elsewhere; remove it, or leave out \`replies\``,
      );
    keep(entry);
    const route = { to: 'default', via } as const;
    steps.push(
      this.#step(
        this.#phase,
        { kind: 'route', action: 'add', via },
        () => this.links.addRoute(route),
        () => this.links.removeRoute(route),
      ),
    );
  }

  #redirects(state: SiteState, { redirects, recorded }: Present, steps: Step[], keep: (entry: Entry) => void): void {
    const there = new Map(redirects.map(each => [redirectName(each), each]));
    for (const wanted of state.redirects) {
      const name = redirectName(wanted);
      const before = there.get(name);
      const isOurs = recorded.has(`redirect ${name}`);
      const same = before !== undefined && targetOf(before) === targetOf(wanted);
      if (before !== undefined && !isOurs && !same)
        throw new StateError('ERR_FOREIGN', `${this.#called} redirects ${name} to port ${targetOf(before)} already`);
      if (isOurs || !same) keep({ kind: 'redirect', name });
      if (same) continue;
      const { redirects: handle } = this.container;
      const undo = () => (before === undefined ? handle.remove([wanted]) : handle.add([before]));
      steps.push(
        this.#step('servers', { kind: 'redirect', action: 'add', redirect: wanted }, () => handle.add([wanted]), undo),
      );
    }
  }

  async #logs(state: SiteState, steps: Step[]): Promise<void> {
    const { logging } = this.container;
    const prefix = logPrefix(this.#owner);
    const wanted = state.logs.map(rule => ({ ...rule, name: `${prefix}${rule.name ?? ''}`.slice(0, 64) }));
    const { missing, unexpected } = await logging.differences(wanted);
    const add = (rule: LogRule) => () => logging.add([rule]);
    const remove = (rule: LogRule) => () => logging.remove([rule]);
    for (const rule of missing)
      steps.push(this.#step('servers', { kind: 'log', action: 'add', rule }, add(rule), remove(rule)));
    for (const rule of unexpected)
      if (rule.name?.startsWith(prefix))
        steps.push(this.#step('retire', { kind: 'log', action: 'remove', rule }, remove(rule), add(rule)));
  }

  async #ipvs(
    state: SiteState,
    { recorded }: Present,
    steps: Step[],
    keep: (entry: Entry) => void,
    adopt: boolean,
  ): Promise<void> {
    if (this.role !== 'balancer') return;
    const entries = [...recorded.values()].filter(({ kind }) => kind === 'service');
    if (state.services.length === 0 && entries.length === 0) return;
    const { ipvs } = this.container;
    const current = new Map((await ipvs.snapshot()).servers.map(server => [serviceText(server), server]));
    const names = new Set<string>();
    for (const service of state.services) {
      const name = serviceText(service);
      names.add(name);
      keep({ kind: 'service', name });
      if (current.has(name) && !recorded.has(`service ${name}`) && !adopt)
        throw new StateError(
          'ERR_FOREIGN',
          `${this.#called} has the service ${name} of somebody else; pass { adopt: true } to take it over`,
        );
    }
    const operations = await ipvs.plan(state.services);
    if (operations.length > 0) steps.push(this.#operations('balancers', operations, [...current.values()]));
    const gone = entries.filter(({ name }) => !names.has(name) && current.has(name));
    const removals = gone.map(({ name }): IpvsOperation => ({ op: 'removeService', key: current.get(name)! }));
    if (removals.length > 0) steps.push(this.#operations('retire', removals, [...current.values()]));
  }

  /** IPVS has no transaction: a change that fails does not stop the others. */
  #operations(phase: Phase, operations: readonly IpvsOperation[], before: readonly VirtualServer[]): Step {
    const { ipvs } = this.container;
    const changes = operations.map(
      (operation): BalancerChange => ({
        ...this.place,
        kind: 'ipvs',
        action: operation.op.startsWith('add') ? 'add' : operation.op.startsWith('remove') ? 'remove' : 'change',
        operation,
      }),
    );
    return {
      phase,
      changes,
      run: async () => {
        const { failures } = await ipvs.apply(operations, { onError: 'collect' });
        return new Map(failures.map(failure => [failure.index, failure]));
      },
      undo: async () => {
        const touched = new Set(
          operations.map(operation =>
            serviceText('service' in operation ? operation.service : 'key' in operation ? operation.key! : {}),
          ),
        );
        const old = before.filter(server => touched.has(serviceText(server)));
        const there = new Set(old.map(serviceText));
        await ipvs.reconcile(old);
        const made = (await ipvs.services()).filter(
          service => touched.has(serviceText(service)) && !there.has(serviceText(service)),
        );
        await ipvs.apply(made.map((key): IpvsOperation => ({ op: 'removeService', key })));
      },
    };
  }

  /** What was recorded and is no longer wanted. */
  #leftovers({ recorded, addresses }: Present, after: ReadonlyMap<string, Entry>, steps: Step[]): void {
    for (const [identity, entry] of recorded) {
      if (after.has(identity)) continue;
      switch (entry.kind) {
        case 'address': {
          const [address = '', device = ''] = entry.name.split(' ');
          if (!addresses.has(entry.name)) break;
          const phase = this.role === 'balancer' ? 'withdraw' : 'retire';
          steps.push(
            this.#step(
              phase,
              { kind: 'address', action: 'remove', address, device },
              () => this.#dropAddress(device, address),
              () => this.links.addAddress(device, address),
            ),
          );
          break;
        }
        case 'setting': {
          const { name, before } = entry;
          const now = this.#settingNow(name);
          if (now === undefined || now === before) break;
          const set = (value: string) => this.netns.sysctl.set(name, value);
          steps.push(
            this.#step(
              'retire',
              { kind: 'setting', action: 'change', sysctl: name, value: before, before: now },
              () => set(before),
              () => set(now),
            ),
          );
          break;
        }
        case 'redirect': {
          const redirect = parseRedirectName(entry.name);
          if (redirect === undefined) break;
          const { redirects } = this.container;
          steps.push(
            this.#step(
              'retire',
              { kind: 'redirect', action: 'remove', redirect },
              () => redirects.remove([redirect]),
              async () => {},
            ),
          );
          break;
        }
        case 'device':
          steps.push(
            this.#step(
              'retire',
              { kind: 'device', action: 'change', device: entry.name },
              () => this.links.set(entry.name, { up: false }),
              () => this.links.set(entry.name, { up: true }),
            ),
          );
          break;
        case 'route': {
          const route = { to: 'default', via: entry.name } as const;
          const remove = async () => {
            try {
              await this.links.removeRoute(route);
            } catch (error) {
              if (!isNotFound(error)) throw error;
            }
          };
          steps.push(
            this.#step('retire', { kind: 'route', action: 'remove', via: entry.name }, remove, () =>
              this.links.addRoute(route),
            ),
          );
          break;
        }
      }
    }
  }

  /** Whether the table must change at the end. */
  async #rules(state: SiteState, entries: readonly Entry[]): Promise<BalancerChange | undefined> {
    const { operations } = await this.container.nftables.plan(this.record.desired(entries, tableRules(state)), {
      prefix: this.record.name,
      only: [{ table: { family: 'inet', name: this.record.name } }],
    });
    if (operations.length === 0) return undefined;
    return { ...this.place, kind: 'rules', action: 'change', table: this.record.name };
  }

  get #phase(): Phase {
    return this.role === 'balancer' ? 'balancers' : 'servers';
  }

  get #called(): string {
    const { role, container } = this.place;
    return `${role} ${container}`;
  }

  #step(
    phase: Phase,
    change: DistributiveOmit<BalancerChange, 'role' | 'container'>,
    make: () => unknown,
    undo: () => unknown,
  ): Step {
    return {
      phase,
      changes: [{ ...this.place, ...change } as BalancerChange],
      run: async () => {
        try {
          await make();
          return new Map();
        } catch (error) {
          return new Map([[0, error as Error]]);
        }
      },
      undo: async () => {
        await undo();
      },
    };
  }
}

type DistributiveOmit<T, K extends keyof T> = T extends object ? Omit<T, K> : never;

const targetOf = ({ port, toPort }: Redirect): number | string => toPort ?? (typeof port === 'number' ? port : 'same');

function redirectName({ protocol, address = 'any', port }: Redirect): string {
  return `${protocol} ${address} ${typeof port === 'number' ? port : `${port.from}-${port.to}`}`;
}

function parseRedirectName(name: string): Redirect | undefined {
  const [, protocol, address, from, to] = /^(tcp|udp|sctp) (\S+) (\d+)(?:-(\d+))?$/.exec(name) ?? [];
  if (protocol === undefined || address === undefined) return undefined;
  const port = to === undefined ? Number(from) : { from: Number(from), to: Number(to) };
  return { protocol: protocol as Redirect['protocol'], ...(address !== 'any' && { address }), port };
}
