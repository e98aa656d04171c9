import { checkObject } from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';
import { formatRules, Ipvs } from '../ipvs/index.ts';
import { NetNs } from '../netns/index.ts';
import { formatRuleset, Nftables } from '../nftables/index.ts';
import { expire as expireConnections } from './conntrack/table.ts';
import { addLink } from './devices.ts';
import { type FailOptions, failureOf, followOperations, type LoseOptions, lossOf } from './faults.ts';
import { generic } from './generic.ts';
import { expire as expireBalanced } from './ipvs/connections.ts';
import { ipvsOptions } from './ipvs/sockopt.ts';
import { MemoryAccess } from './machine/access.ts';
import { MemoryCalls } from './machine/calls.ts';
import type { Fault } from './machine/faults.ts';
import { type Family, Machine } from './machine/machine.ts';
import { hasModule, type MachineState } from './machine/state.ts';
import { MemoryContainer, type MemoryContainerOptions } from './memory-container.ts';
import { netfilter } from './netfilter.ts';
import { expire as expireLogs } from './nflog/log.ts';
import { expireAddresses } from './rtnetlink/addresses.ts';
import { routing } from './rtnetlink/routing.ts';

/** rtnetlink. Masqueraded connections end with their device or its address (masq_device_event). */
const devices: Family = {
  ...routing,
  answer(machine, socket, request) {
    routing.answer(machine, socket, request);
    expireConnections(machine, machine.namespace(socket.namespace));
  },
};

/** What a kernel in memory is made with. */
export interface MemoryKernelOptions {
  /** The release of Linux that it behaves as, as far as releases differ: '6.1', '6.12' (the default), '6.18', or one between or above. */
  readonly release?: string;
  /**
   * The modules of the kernel that can be loaded, such as 'nf_tables', 'nft_masq', 'ip_vs', 'ip_vs_wrr', 'nfnetlink_log': a request that needs
   * another is refused as by a kernel without it, and `preflight()` tells which is missing. All by default.
   */
  readonly modules?: readonly string[];
  /** Time stands still but for `advance()`: timeouts, limits and timestamps go by it. The only clock there is. */
  readonly clock?: 'manual';
}

/**
 * The state of a kernel in memory at a moment. Made by `snapshot()`, for `restore()` of the same kernel.
 * @example
 * const kernel = MemoryKernel.create();
 * const before: MemorySnapshot = kernel.snapshot();
 */
export class MemorySnapshot {
  /** @internal */
  readonly state: MachineState;
  /** @internal */
  readonly machine: Machine;

  /** @internal */
  constructor(machine: Machine) {
    this.machine = machine;
    this.state = structuredClone(machine.state);
  }
}

/**
 * A kernel in memory, for tests without root: nf_tables, IPVS, connection tracking, packet logs, links and routes of any number of containers.
 * Handles talk to it in the same bytes as to a real one. Several kernels can be used at once; none is shared between threads.
 * @example
 * const kernel = MemoryKernel.create();
 * const web1 = kernel.container('web1', { links: [{ name: 'eth0', addresses: ['192.168.0.50/24', '10.10.0.100/32'] }] });
 * await web1.redirects.set([{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }]);
 * const { packet } = web1.receive(tcp({ from: '10.10.0.1:40000', to: '10.10.0.100:80' }), { on: 'eth0' });
 * console.log(packet.to); // 192.168.0.50:8080
 */
export class MemoryKernel {
  readonly #machine: Machine;
  readonly #calls: MemoryCalls;
  readonly #containers = new Map<string, MemoryContainer>();

  /** @internal */
  private constructor(machine: Machine) {
    this.#machine = machine;
    this.#calls = new MemoryCalls(machine);
  }

  /**
   * Makes a kernel without containers.
   * @param options the release, and the modules that it has
   * @throws RangeError ERR_OUT_OF_RANGE the release is not written as '6.12' is, or is older than 6.1
   * @example
   * const kernel = MemoryKernel.create({ release: '6.1', modules: ['nf_tables', 'ip_vs', 'ip_vs_rr'] });
   */
  static create(options: MemoryKernelOptions = {}): MemoryKernel {
    checkObject(options, [], ['release', 'modules', 'clock']);
    const { release = '6.12', modules, clock = 'manual' } = options;
    const [, major, minor] = /^(\d+)\.(\d+)$/.exec(String(release)) ?? [];
    const version = [Number(major), Number(minor)] as const;
    if (!(version[0] > 6 || (version[0] === 6 && version[1] >= 1)))
      throw rangeError(['release'], "a release from '6.1' on, such as '6.12'", release);
    if (modules !== undefined && !(Array.isArray(modules) && modules.every(each => typeof each === 'string')))
      throw typeError(['modules'], 'a list of names of modules', modules);
    if (clock !== 'manual') throw rangeError(['clock'], "'manual'", clock);
    return new MemoryKernel(
      new Machine({ version, modules: modules && new Set(modules) }, [netfilter, generic, devices], [ipvsOptions]),
    );
  }

  /**
   * Makes a container with a network namespace of its own. Its handles are `ipvs`, `nftables`, `redirects`, `logging` and `nflog()`; `netns` is
   * for the others: `Links.open({ netns: web1.netns })`.
   * @param name a name that no other container of this kernel has
   * @param options its devices and addresses, and whether the program has rights in a user namespace only
   * @throws RangeError ERR_OUT_OF_RANGE the name is taken, or an address is none
   * @example
   * const web1 = MemoryKernel.create().container('web1', { links: [{ name: 'eth0', addresses: ['192.168.0.50/24'] }] });
   */
  container(name: string, options: MemoryContainerOptions = {}): MemoryContainer {
    if (typeof name !== 'string' || name === '') throw typeError(['name'], 'a name', name);
    checkObject(options, [], ['links', 'userNamespace']);
    const { links = [], userNamespace = false } = options;
    if (!Array.isArray(links)) throw typeError(['links'], 'a list of devices', links);
    if (this.#containers.has(name))
      throw rangeError(['name'], 'a name that no other container of the kernel has', name);
    const namespace = this.#machine.createNamespace(name, userNamespace);
    for (const link of links) addLink(namespace, link);
    const container = MemoryContainer.of(this.#machine, name, this.#netns(namespace.inode));
    this.#containers.set(name, container);
    return container;
  }

  #netns(inode: number): NetNs {
    return NetNs.over(new MemoryAccess(this.#machine, this.#calls, this.#calls.openNamespace(inode)));
  }

  /**
   * Makes system calls or requests fail, the next one by default. What is refused changes nothing.
   * @param options what fails, how, and how often: `operation`, `syscall`, `container`, `errno`, `times`
   * @throws RangeError ERR_OUT_OF_RANGE `syscall` is neither a system call nor the name of a request
   * @throws TypeError ERR_INVALID_ARG_TYPE `errno` is no errno
   * @example
   * const kernel = MemoryKernel.create();
   * kernel.fail({ operation: 'ipvs.addService', errno: 'ENOMEM' });
   * kernel.fail({ syscall: 'NFT_MSG_NEWRULE', errno: 'EPERM', times: 2 });
   */
  fail(options: FailOptions): void {
    this.#add(failureOf(options));
  }

  /**
   * Loses answers, events or packet logs as a receive buffer does that is full, or lets a change come in between the parts of a list.
   * @param options what is lost, and how often: `what`, `operation`, `syscall`, `container`, `times`
   * @throws RangeError ERR_OUT_OF_RANGE `what` is none of the four, or `syscall` no name of a request
   * @example
   * const kernel = MemoryKernel.create();
   * kernel.lose({ what: 'answer', operation: 'nftables.commit' });
   * kernel.lose({ what: 'log', times: 3 });
   */
  lose(options: LoseOptions): void {
    this.#add(lossOf(options));
  }

  #add(fault: Fault): void {
    const { faults } = this.#machine;
    const followed = faults.namesOperation;
    faults.add(fault);
    if (!followed && faults.namesOperation) followOperations(faults);
  }

  /**
   * Lets time pass: connections, elements of sets and servers' entries time out, limits fill up, and packet logs that wait are delivered.
   * @param milliseconds an integer from 0
   * @throws RangeError ERR_OUT_OF_RANGE it is no such integer
   * @example
   * MemoryKernel.create().advance(120_000);
   */
  advance(milliseconds: number): void {
    if (!Number.isSafeInteger(milliseconds) || milliseconds < 0)
      throw rangeError(['milliseconds'], 'an integer from 0', milliseconds);
    const { state } = this.#machine;
    const before = state.now;
    state.now += BigInt(milliseconds);
    for (const namespace of state.namespaces.values()) {
      expireLogs(this.#machine, namespace);
      expireAddresses(this.#machine, namespace, before);
      expireConnections(this.#machine, namespace);
      expireBalanced(namespace, Number(state.now));
    }
  }

  /**
   * Copies all that the kernel holds: rules, services, connections, links, clock. Open handles are not part of it.
   * @example
   * const kernel = MemoryKernel.create();
   * const before = kernel.snapshot();
   * kernel.restore(before);
   */
  snapshot(): MemorySnapshot {
    return new MemorySnapshot(this.#machine);
  }

  /**
   * Brings all that the kernel holds back to a snapshot, which can be used again. Open handles stay open.
   * @param snapshot one that `snapshot()` of this kernel has made
   * @throws TypeError ERR_INVALID_ARG_TYPE it is none
   * @example
   * const kernel = MemoryKernel.create();
   * const before = kernel.snapshot();
   * kernel.restore(before);
   */
  restore(snapshot: MemorySnapshot): void {
    if (!(snapshot instanceof MemorySnapshot) || snapshot.machine !== this.#machine)
      throw typeError([], 'a snapshot of this kernel', snapshot);
    const state = structuredClone(snapshot.state);
    // Containers that were made since then stay as they are.
    for (const [inode, namespace] of this.#machine.state.namespaces)
      if (!state.namespaces.has(inode)) state.namespaces.set(inode, namespace);
    // Groups of packet logs belong to the handles that are open now. What waited for them is gone.
    for (const [inode, namespace] of state.namespaces) {
      const { nflog } = this.#machine.namespace(inode);
      for (const group of nflog.groups.values()) Object.assign(group, { waiting: [], due: undefined });
      namespace.nflog = nflog;
    }
    this.#machine.state = state;
  }

  /**
   * Prints the rules and the services of every container, each under its name: as `nft list ruleset` and `ipvsadm -Sn` do.
   * @example
   * console.log(MemoryKernel.create().text());
   */
  text(): string {
    return this.#machine.faults.without(() =>
      [...this.#machine.state.namespaces.values()]
        .map(({ inode, name, userNamespace }) => `# ${name}\n${this.#textOf(this.#netns(inode), userNamespace)}`)
        .join('\n'),
    );
  }

  #textOf(netns: NetNs, userNamespace: boolean): string {
    const { release } = this.#machine;
    let text = '';
    if (hasModule(release, 'nf_tables')) {
      using nft = Nftables.open({ netns });
      text += formatRuleset(nft.sync.ruleset({ elements: true }));
    }
    if (hasModule(release, 'ip_vs')) {
      using ipvs = Ipvs.open({ netns, via: userNamespace ? 'sockopt' : 'netlink' });
      text += formatRules(ipvs.sync.snapshot().servers);
    }
    netns.close();
    return text;
  }

  /**
   * Closes every container with all of its handles.
   * @example
   * await MemoryKernel.create().close();
   */
  async close(): Promise<void> {
    this.#machine.faults.clear();
    await Promise.all([...this.#containers.values()].map(each => each.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
