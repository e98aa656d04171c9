import fs from 'node:fs';
import { checkInteger, checkObject } from '../codec/index.ts';
import { NetNsError, objectOf, typeError } from '../errors.ts';
import { inspected, PRINTED } from '../inspect.ts';
import { Ipvs } from '../ipvs/index.ts';
import { ClosedTransport } from '../netlink/closed-transport.ts';
import { Exchange } from '../netlink/index.ts';
import { closedError } from '../netlink/lifetime.ts';
import { NetNs } from '../netns/index.ts';
import { type ProcessExit, startTimeOf, watchExit } from '../netns/process.ts';
import { makersOf } from '../netns/user.ts';
import { Nflog, type NflogOptions } from '../nflog/index.ts';
import { Nftables, openExchange } from '../nftables/nftables.ts';
import { type Logger, Observer } from '../observe.ts';
import { type Candidate, type FindOptions, findCandidate, isOwnedBy } from './find/find.ts';
import { KnownLogRules, WatchedLogging } from './logging/known-rules.ts';
import { Logging, type LogRule } from './logging/logging.ts';
import { type Preflight, preflight } from './preflight.ts';
import { Redirects } from './redirects/redirects.ts';

/** How a container is opened, and who is told about its requests. */
export interface ContainerOptions {
  /** Take the namespace of this process itself, which is the host's as a rule. */
  allowHost?: boolean;
  /** A logger such as pino's; nothing is logged without one. */
  logger?: Logger;
}

/** A handle that is closed together with its container. */
interface Attached {
  [Symbol.asyncDispose](): Promise<void>;
}

/** The handles that program the nf_tables of one container, over one socket. */
class PacketRules {
  readonly nftables: Nftables;
  readonly redirects: Redirects;
  readonly logging: Logging;

  constructor(exchange: Exchange, loggingChanged: () => void) {
    this.nftables = new Nftables(exchange);
    this.redirects = new Redirects(exchange);
    this.logging = new Logging(exchange, new WatchedLogging(exchange, loggingChanged));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.nftables, this.redirects, this.logging].map(handle => handle[Symbol.asyncDispose]()));
  }
}

/**
 * One container: its network namespace, and the kernel's subsystems in it. Each subsystem is opened when it is first used. `close()` closes
 * them all. It does not stop the container, and what was programmed stays.
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
  /** The namespace, if this container has opened it itself and so has to close it. */
  readonly #owned: NetNs | undefined;
  readonly #exit: ProcessExit | undefined;
  readonly #logger: Logger | undefined;
  readonly #attached = new Set<Attached>();
  #id: string | undefined;
  #released = false;
  #closing: Promise<void> | undefined;
  #ipvs: Ipvs | undefined;
  #packetRules: PacketRules | undefined;
  /** The log rules that packets are matched with. Undefined until the first log is opened. */
  #knownRules: KnownLogRules | undefined;
  readonly #logs = new Set<Pick<Nflog, 'finish'>>();
  #endsLogs = false;

  /** @internal */
  protected constructor(netns: NetNs, exit: ProcessExit | undefined, logger: Logger | undefined) {
    if (!(netns instanceof NetNs)) throw typeError([], 'Container.open({ pid }), not new Container()', netns);
    this.netns = netns;
    this.#owned = exit === undefined ? undefined : netns;
    this.#logger = logger;
    this.#exit = exit;
    this.closed = exit?.exited ?? new Promise(() => {});
  }

  /**
   * Opens a container by one of its processes, or by its namespace. The caller keeps and closes a namespace that it passes.
   * @throws NetNsError ERR_HOST_NAMESPACE the namespace is that of this process or of process 1: the container uses the host's network, or
   * the pid is wrong. Pass `allowHost` if you mean the host. Also the errors of `NetNs.open`.
   * @param reference the process or the namespace
   * @param options whether the host's own network is taken, and a logger
   * @example
   * const web1 = Container.open({ pid: 4711 });
   * await web1.redirects.set([{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }]);
   */
  static open(
    reference:
      | {
          /** A process in the container. */
          pid: number;
        }
      | {
          /** Its network namespace. */
          netns: NetNs;
        },
    options: ContainerOptions = {},
  ): Container {
    if (typeof reference === 'string' || (reference as { name?: unknown } | undefined)?.name !== undefined)
      throw typeError([], '{ pid } or { netns }; Container.find(name) takes a name', reference);
    checkObject(reference, [], ['pid', 'netns']);
    checkObject(options, [], ['allowHost', 'logger']);
    if ('pid' in reference === 'netns' in reference) throw typeError([], 'one of { pid }, { netns }', reference);
    if ('netns' in reference) {
      if (!(reference.netns instanceof NetNs))
        throw typeError(['netns'], 'a NetNs, such as NetNs.open({ name })', reference.netns);
      // Throws now if the namespace is closed, not at the first use.
      void reference.netns.descriptor;
      refuseHost(reference.netns, options);
      return new Container(reference.netns, undefined, options.logger);
    }
    const pid = checkInteger(reference.pid, ['pid'], 1, 0x7fffffff);
    // One pidfd opens the namespace and watches the process: between two calls by pid, the number could go to another process.
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

  /** Whether its process has ended. This asks the kernel; `closed` resolves later, when the event loop runs. */
  get ended(): boolean {
    return this.#exit?.ended ?? false;
  }

  /**
   * Finds a running container by its id, the beginning of its id, or its name. It asks docker and podman over their sockets, and reads the
   * state that podman, containerd, CRI-O, LXC, systemd-nspawn, runc and crun keep under /run.
   * @throws NetNsError ERR_NO_CONTAINER no runtime has such a container, or it does not run; ERR_HOST_NAMESPACE it uses the host's network;
   * ERR_SHARED_NAMESPACE it uses the network of another container. Pass `allowHost` or `allowShared` if you mean that. Also the errors of
   * `NetNs.open`.
   * @throws StateError ERR_RUNTIME a daemon of root, or the daemon at `socket`, does not answer as it should
   * @example const web1 = await Container.find('web1', { runtime: 'docker' });
   * @param id the id, its beginning, or the name
   * @param options the runtime, its socket, and which networks are taken
   */
  static async find(
    id: string,
    options: FindOptions &
      ContainerOptions & {
        /** Takes a container that uses the network of another one. */
        allowShared?: boolean;
      } = {},
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
   * @internal Opens a container that a runtime has named. While the process is held, it asks the same runtime again, and it asks the kernel
   * which user owns the namespace.
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
      const hint = 'find that container instead, or pass { allowShared: true }';
      throw new NetNsError(`${called} uses the network of another container`, { code: 'ERR_SHARED_NAMESPACE', hint });
    }
    // A process of another user is not even opened.
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

  /** The id in its runtime, if `find` has opened it. */
  get id(): string | undefined {
    return this.#id;
  }

  /** Its virtual services (IPVS). */
  get ipvs(): Ipvs {
    this.#ipvs ??= this.#released ? new Ipvs(this.#unopened('ipvs')) : Ipvs.open(this.#options());
    return this.#ipvs;
  }

  /** Its packet rules (nf_tables). `redirects` and `logging` use the same socket, and tables of their own. */
  get nftables(): Nftables {
    return this.#rules.nftables;
  }

  /** Its redirects: addresses and ports of others that it accepts connections for. */
  get redirects(): Redirects {
    return this.#rules.redirects;
  }

  /** Its log rules: which packets go to NFLOG. */
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

  /** For a subsystem that was not used before `close()`: its methods fail with ERR_CLOSED, in both forms, and no socket is opened. */
  #unopened(subsystem: string): Exchange {
    return new Exchange(new ClosedTransport(this.netns.inode), subsystem);
  }

  /**
   * Listens to its packet logs. Each call opens a new log, and the kernel gives a group to one log at a time. When the container's process
   * ends, the log delivers the packets that were logged before, and closes: loops end, and files and records are complete. The log of a
   * container that was opened by its namespace does not end by itself.
   *
   * Without the option `rules`, `packet.rule` is the rule of `logging` that has the packet's group and prefix, if there is only one. The
   * rules are read when the log is opened and after each change by this object. Changes by other processes are seen about a second later.
   * At most 4,096 rules are read.
   * @throws TypeError, RangeError, StateError ERR_CLOSED; NetlinkError EPERM another socket has the group
   * @example
   * const log = web1.nflog({ groups: [5] });
   * for await (const packet of log) console.log(packet.rule?.name, packet.summary());
   * // web1 has ended.
   * @param options the groups, and how to listen
   */
  nflog<R = LogRule>(options: Omit<NflogOptions<R>, 'netns' | 'logger'>): Nflog<R> {
    if (typeof options !== 'object' || options === null)
      throw typeError([], objectOf(['groups', 'copy', 'queue', 'backlog']), options);
    // Each log still delivers what was logged before the end.
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
   * Tells what works in the container, what does not work and why, and what to do. It changes nothing, and loads no module without `load`.
   * @param options `load`: let the kernel load IPVS and nf_tables, if it has them
   * @example
   * for (const { name, works } of (await web1.preflight()).abilities) console.log(name, works);
   */
  async preflight(
    options: {
      /** Lets the kernel load the modules that it has. */
      load?: boolean;
    } = {},
  ): Promise<Preflight> {
    this.checkOpen();
    checkObject(options, [], ['load']);
    return preflight(this.netns, options);
  }

  /** @internal Whether `close()` was called; `closed` is about the process. */
  get released(): boolean {
    return this.#released;
  }

  /** @internal @throws StateError ERR_CLOSED */
  checkOpen(): void {
    if (this.#released) throw closedError('the container');
  }

  /**
   * @internal Closes `handle` together with this container. Returns a function that takes it off the list.
   * @throws StateError ERR_CLOSED
   */
  attach(handle: Attached): () => void {
    this.checkOpen();
    this.#attached.add(handle);
    return () => this.#attached.delete(handle);
  }

  [PRINTED](_depth: number, options: object): string {
    const id = this.#id === undefined ? {} : { id: this.#id };
    return inspected(this, { ...id, netns: this.netns.inode, ended: this.ended }, options);
  }

  #options(): { netns: NetNs; logger?: Logger } {
    this.checkOpen();
    return { netns: this.netns, ...(this.#logger !== undefined && { logger: this.#logger }) };
  }

  /**
   * Closes its sockets, which would otherwise keep the namespace alive after the container has ended. Every later call of this object and
   * of its subsystems fails with `ERR_CLOSED`.
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
    // First, because closing the others may run code of the caller's.
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

/**
 * The namespace of this process, and that of process 1: they differ where this process runs in a container that sees the host's processes.
 */
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
    // Process 1 belongs to another user, or there is no /proc.
    return false;
  }
}

/**
 * Checks that the opened process is the one of the record. The record may be old and its pid reused, and a user's runtime may name a
 * process of somebody else.
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
  // The namespace is held open here, so the answer is about the right one. The host's has no owner, and the caller has allowed it.
  const mine = owner === undefined || (isOwnedBy(owner, pid) && isMadeBy(owner, opened.netns, options));
  // If the runtime still says the same and the process has not ended, everything read under its pid was its own.
  const now = await again(signal);
  if (!sameStart || now === undefined || now.pid !== pid || now.id !== found.id || opened.ended)
    throw new NetNsError(`${called} has ended`, { code: 'ERR_NO_CONTAINER' });
  if (now.owner !== owner || now.network !== found.network) {
    const hint = 'try again; if it happens again, find out who has changed the records of the runtime';
    throw new NetNsError(`${called} has changed owner or network during the search`, {
      code: 'ERR_NO_CONTAINER',
      hint,
    });
  }
  if (!mine) throw notOf(owner, called);
}

function notOf(owner: number, called: string): NetNsError {
  const hint = `the record is user ${owner}'s, but the process or its namespace is not`;
  return new NetNsError(`${called} belongs to another user`, { code: 'ERR_NO_CONTAINER', hint });
}

function isMadeBy(owner: number, netns: NetNs, { allowHost }: ContainerOptions): boolean {
  return makersOf(netns).includes(owner) || (allowHost === true && isHost(netns));
}
