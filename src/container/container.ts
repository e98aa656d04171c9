import fs from 'node:fs';
import { type InspectOptions, inspect } from 'node:util';
import { checkInteger, checkObject } from '../codec/index.ts';
import { NetNsError, typeError } from '../errors.ts';
import { inspected } from '../inspect.ts';
import { Ipvs } from '../ipvs/index.ts';
import { ClosedTransport } from '../netlink/closed-transport.ts';
import { Exchange } from '../netlink/index.ts';
import { closedError } from '../netlink/lifetime.ts';
import { NetNs } from '../netns/index.ts';
import { type ProcessExit, startTimeOf, watchExit } from '../netns/process.ts';
import { makersOf } from '../netns/user.ts';
import { Nflog, type NflogOptions } from '../nflog/index.ts';
import { type Nftables, openExchange } from '../nftables/nftables.ts';
import { type Logger, Observer } from '../observe.ts';
import { type Candidate, type FindOptions, findCandidate, isOwnedBy } from './find/find.ts';
import { KnownLogRules } from './logging/known-rules.ts';
import type { Logging, LogRule } from './logging/logging.ts';
import { PacketRules } from './packet-rules.ts';
import { type Preflight, preflight } from './preflight.ts';
import type { Redirects } from './redirects/redirects.ts';

/** How a container is opened, and who is told about its requests. */
export interface ContainerOptions {
  /** Take the namespace of this process itself, which is the host's as a rule. */
  allowHost?: boolean;
  logger?: Logger;
}

/** What is closed with a container. */
interface Attached {
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * One container: its namespace, and the subsystems of the kernel in it, opened when first used. Closing it closes them; the container
 * itself and what was programmed into it stay.
 * @example
 * const web1 = Container.open({ pid: 4711 });
 * console.log(await web1.redirects.list(), await web1.ipvs.services());
 * web1.close();
 */
export class Container {
  /** The container's network namespace. */
  readonly netns: NetNs;
  /** Resolves when the container's process has ended; never for one that was opened by its namespace alone. */
  readonly closed: Promise<void>;
  readonly #owned: NetNs | undefined;
  readonly #exit: ProcessExit | undefined;
  readonly #logger: Logger | undefined;
  /** What goes with it. */
  readonly #attached = new Set<Attached>();
  #id: string | undefined;
  #released = false;
  #closing: Promise<void> | undefined;
  #ipvs: Ipvs | undefined;
  #packetRules: PacketRules | undefined;
  /** What its logs know of its log rules, from the first one on. */
  #knownRules: KnownLogRules | undefined;
  readonly #logs = new Set<Pick<Nflog, 'finish'>>();
  #endsLogs = false;

  private constructor(netns: NetNs, exit: ProcessExit | undefined, logger: Logger | undefined) {
    this.netns = netns;
    this.#owned = exit === undefined ? undefined : netns;
    this.#logger = logger;
    this.#exit = exit;
    this.closed = exit?.exited ?? new Promise(() => {});
  }

  /**
   * Opens a container by a process that lives in it, or by its namespace (which stays the caller's).
   * @throws NetNsError ERR_HOST_NAMESPACE it is the namespace of this process: a container with the host's network, or a typing error. Say
   * `allowHost` if that is meant. And what `NetNs.open` throws.
   * @param reference the process or the namespace
   * @param options whether the host's own network is taken, and a logger
   * @example
   * const web1 = Container.open({ pid: 4711 });
   * await web1.redirects.set([{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }]);
   */
  static open(reference: { pid: number } | { netns: NetNs }, options: ContainerOptions = {}): Container {
    checkObject(reference, [], ['pid', 'netns']);
    checkObject(options, [], ['allowHost', 'logger']);
    if ('pid' in reference === 'netns' in reference) throw typeError([], 'one of { pid }, { netns }', reference);
    if ('netns' in reference) {
      if (!(reference.netns instanceof NetNs)) throw typeError(['netns'], 'a NetNs', reference.netns);
      // One that is closed is refused now, not at the first use.
      void reference.netns.descriptor;
      refuseHost(reference.netns, options);
      return new Container(reference.netns, undefined, options.logger);
    }
    const pid = checkInteger(reference.pid, ['pid'], 1, 0x7fffffff);
    // One pidfd for all of it: a number may go to another process between the namespace and the watch.
    const exit = watchExit(pid);
    let netns: NetNs | undefined;
    try {
      netns = NetNs.open(exit.pidfd === undefined ? { pid } : { pidfd: exit.pidfd });
      refuseHost(netns, options);
      return new Container(netns, exit, options.logger);
    } catch (error) {
      netns?.close();
      exit.close();
      throw error;
    }
  }

  /** Whether its process has ended by now: asked of the kernel, where `closed` tells when the event loop has run. */
  get ended(): boolean {
    return this.#exit?.ended ?? false;
  }

  /**
   * Finds a running container by its id or name (or the beginning of its id) in the records of its runtime: docker and podman by their
   * sockets;
   * podman, containerd, CRI-O, LXC, systemd-nspawn, runc and crun by the state that they keep under /run.
   * @throws NetNsError ERR_NO_CONTAINER nobody has such a container, or it does not run; ERR_HOST_NAMESPACE it has the host's network, and
   * ERR_SHARED_NAMESPACE that of another container: say `allowHost`, `allowShared` if that is meant. And what `NetNs.open` throws.
   * @throws StateError ERR_RUNTIME a daemon of root's, or the one that was named, cannot be asked
   * @example const web1 = await Container.find('web1', { runtime: 'docker' });
   * @param id the id, its beginning, or the name
   * @param options the runtime, its socket, and which networks are taken
   */
  static async find(
    id: string,
    options: FindOptions & ContainerOptions & { allowShared?: boolean } = {},
  ): Promise<Container> {
    checkObject(options, [], ['runtime', 'socket', 'budget', 'allowHost', 'allowShared', 'logger']);
    const { runtime, socket, budget, allowShared, ...rest } = options;
    const asked = {
      ...(runtime && { runtime }),
      ...(socket !== undefined && { socket }),
      ...(budget !== undefined && { budget }),
    };
    return await Container.openFound(await findCandidate(id, asked), rest, allowShared);
  }

  /**
   * @internal Opens what a runtime has told of, and makes sure of it: the same place is asked again while the process is held, and the kernel whose the
   * namespace is.
   */
  static async openFound(
    candidate: Candidate,
    options: ContainerOptions = {},
    allowShared = false,
    signal?: AbortSignal,
  ): Promise<Container> {
    const { found } = candidate;
    const called = `${found.runtime}'s container ${JSON.stringify(found.id)}`;
    if (found.network === 'host' && options.allowHost !== true) {
      const hint = 'pass { allowHost: true } if you mean to program the host';
      throw new NetNsError(`${called} uses the network of the host`, { code: 'ERR_HOST_NAMESPACE', hint });
    }
    if (found.network === 'shared' && allowShared !== true) {
      const hint = 'find that one instead, or pass { allowShared: true }';
      throw new NetNsError(`${called} does not use a network of its own`, { code: 'ERR_SHARED_NAMESPACE', hint });
    }
    // Nothing of what is not that user's is opened, not even to look at it.
    if (found.owner !== undefined && !isOwnedBy(found.owner, found.pid)) throw notOf(found.owner, called);
    const container = Container.open({ pid: found.pid }, options);
    try {
      await confirm(candidate, called, container, options, signal);
    } catch (error) {
      container.close();
      throw error;
    }
    container.#id = found.id;
    return container;
  }

  /** What its runtime calls it, where it was found by that. */
  get id(): string | undefined {
    return this.#id;
  }

  /** Its virtual services. */
  get ipvs(): Ipvs {
    this.#ipvs ??= this.#released ? new Ipvs(this.#unopened('ipvs')) : Ipvs.open(this.#options());
    return this.#ipvs;
  }

  /** Its packet rules. Those that the next ones program are in tables of their own; all use one socket. */
  get nftables(): Nftables {
    return this.#rules.nftables;
  }

  /** Foreign addresses and ports that it accepts. */
  get redirects(): Redirects {
    return this.#rules.redirects;
  }

  /** Packets that it hands to NFLOG. */
  get logging(): Logging {
    return this.#rules.logging;
  }

  get #rules(): PacketRules {
    this.#packetRules ??= new PacketRules(
      this.#released ? this.#unopened('nftables') : openExchange(this.#options()),
      () => this.#knownRules?.refresh(),
    );
    return this.#packetRules;
  }

  /** What was not opened while this was open is not opened any more: its verbs fail as those of all closed handles do, in both forms. */
  #unopened(subsystem: string): Exchange {
    return new Exchange(new ClosedTransport(this.netns.inode), subsystem);
  }

  /**
   * Listens to its packet logs. Each call is a listener of its own; a group has one listener at a time. When the container's process ends,
   * the log is closed: loops over it end, and files and records are complete, once all that was logged before has been taken. A container
   * that was opened by its namespace alone has no end.
   *
   * Unless `rules` says otherwise, `packet.rule` is the rule of `logging` that has logged it: the only one with its group and prefix. Rules
   * are read when the log is opened, after each change by this object, and, behind the packets, at most once a second: one that another
   * process has made is known a moment later. At most 4,096 rules are looked at.
   * @example
   * const log = web1.nflog({ groups: [5] });
   * for await (const packet of log) console.log(packet.rule?.name, packet.summary());
   * // web1 has ended.
   * @param options the groups, and how to listen
   */
  nflog<R = LogRule>(options: Omit<NflogOptions<R>, 'netns' | 'logger'>): Nflog<R> {
    // Its end is that of its logs, once what was logged has been taken.
    if (!this.#endsLogs) {
      this.#endsLogs = true;
      void this.closed.then(() => {
        for (const log of this.#logs) void log.finish();
      });
    }
    const opening = { ...(this.#id !== undefined && { name: this.#id }), ...options, ...this.#options() };
    const known = options.rules === undefined ? this.#knownLogRules() : undefined;
    let log: Nflog<R> | undefined;
    let detach = () => {};
    log = Nflog.within<R>(opening, {
      ...(known !== undefined && { ruleOf: (prefix, group) => known.ruleOf(prefix, group) }),
      closed: () => {
        detach();
        this.#logs.delete(log!);
      },
    });
    detach = this.attach(log);
    this.#logs.add(log);
    return log;
  }

  #knownLogRules(): KnownLogRules {
    if (this.#knownRules === undefined) {
      this.#knownRules = new KnownLogRules(this.netns, new Observer(this.#logger));
      this.#knownRules.refresh();
    }
    return this.#knownRules;
  }

  /**
   * What works in it, what does not and why, and what to do about it. Changes and loads nothing unless asked to `load`.
   * @param options `load`: let the kernel load IPVS and nf_tables, if it has them
   * @example
   * for (const { name, works } of (await web1.preflight()).abilities) console.log(name, works);
   */
  async preflight(options: { load?: boolean } = {}): Promise<Preflight> {
    this.checkOpen();
    return preflight(this.netns, options);
  }

  /** @internal It has been let go of; `closed` is about its process. */
  get released(): boolean {
    return this.#released;
  }

  /** @internal @throws StateError ERR_CLOSED */
  checkOpen(): void {
    if (this.#released) throw closedError('the container');
  }

  /** @internal Closes `handle` with this container, unless what is returned is called before. @throws StateError ERR_CLOSED */
  attach(handle: Attached): () => void {
    this.checkOpen();
    this.#attached.add(handle);
    return () => this.#attached.delete(handle);
  }

  [inspect.custom](_depth: number, options: InspectOptions): string {
    const id = this.#id === undefined ? {} : { id: this.#id };
    return inspected(this, { ...id, netns: this.netns.inode, ended: this.ended }, options);
  }

  #options(): { netns: NetNs; logger?: Logger } {
    this.checkOpen();
    return { netns: this.netns, ...(this.#logger !== undefined && { logger: this.#logger }) };
  }

  /**
   * Lets go of the container: its sockets would keep a dead one's namespace alive. From now on every verb of it, and of what is reached
   * through it, is `ERR_CLOSED`.
   * @example
   * web1.close();
   */
  close(): void {
    void this[Symbol.asyncDispose]();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Before anything else: what is closed with it may run code of others.
    this.#released = true;
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async #close(): Promise<void> {
    this.#exit?.close();
    this.#knownRules?.close();
    const attached = [...this.#attached];
    this.#attached.clear();
    await Promise.all(
      [this.#ipvs, this.#packetRules, this.#owned, ...attached].map(handle => handle?.[Symbol.asyncDispose]()),
    );
  }
}

/** What is the host's: the namespace of this process, and that of the first one, where a container is given the host's processes. */
function isHost(netns: NetNs): boolean {
  return netns.equals(NetNs.home()) || isOfFirst(netns);
}

function refuseHost(netns: NetNs, { allowHost }: ContainerOptions): void {
  if (allowHost === true || !isHost(netns)) return;
  const hint = 'the container uses the network of the host; pass { allowHost: true } if you mean to program that';
  const whose = netns.equals(NetNs.home()) ? 'the process itself' : 'process 1';
  throw new NetNsError(`this is the namespace of ${whose}`, { code: 'ERR_HOST_NAMESPACE', hint });
}

function isOfFirst(netns: NetNs): boolean {
  try {
    const { dev, ino } = fs.statSync('/proc/1/ns/net');
    return dev === netns.device && ino === netns.inode;
  } catch {
    // Another user's, or no /proc.
    return false;
  }
}

/**
 * Whether the process that has been opened is the one of the record: the record may be older than the process that has its number by now, and a
 * user's runtime may name a process that is not that user's.
 */
async function confirm(
  { found, again }: Candidate,
  called: string,
  opened: Container,
  options: ContainerOptions,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { pid, startTime, owner } = found;
  const sameStart = startTime === undefined || startTimeOf(pid) === startTime;
  // Asked of the namespace that is held, and of the process in it. A host's is nobody's, and was allowed.
  const mine = owner === undefined || (isOwnedBy(owner, pid) && isMadeBy(owner, opened.netns, options));
  // The runtime still says so, and the process has not ended: then all that was read under its number was its own.
  const now = await again(signal);
  if (!sameStart || now === undefined || now.pid !== pid || now.id !== found.id || opened.ended)
    throw new NetNsError(`${called} has ended`, { code: 'ERR_NO_CONTAINER' });
  if (now.owner !== owner || now.network !== found.network) {
    const hint = 'asked twice, its runtime has said different things, or it was another one';
    throw new NetNsError(`${called} is not certain`, { code: 'ERR_NO_CONTAINER', hint });
  }
  if (!mine) throw notOf(owner, called);
}

function notOf(owner: number, called: string): NetNsError {
  const hint = `user ${owner} has told so, and has no such process`;
  return new NetNsError(`${called} is not that user's`, { code: 'ERR_NO_CONTAINER', hint });
}

function isMadeBy(owner: number, netns: NetNs, { allowHost }: ContainerOptions): boolean {
  return makersOf(netns).includes(owner) || (allowHost === true && isHost(netns));
}
