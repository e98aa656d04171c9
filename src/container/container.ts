import { checkInteger, checkObject } from '../codec/index.ts';
import { NetNsError, typeError } from '../errors.ts';
import { Ipvs } from '../ipvs/index.ts';
import { NetNs } from '../netns/index.ts';
import { watchExit } from '../netns/process.ts';
import { Nflog, type NflogOptions } from '../nflog/index.ts';
import { Nftables } from '../nftables/index.ts';
import type { Logger } from '../observe.ts';
import { type Preflight, preflight } from './preflight.ts';

export interface ContainerOptions {
  /** Take the namespace of this process itself, which is the host's as a rule. */
  allowHost?: boolean;
  logger?: Logger;
}

/**
 * One container: its namespace, and the subsystems of the kernel in it, opened when first used. Closing it closes them; the container itself
 * and what was programmed into it stay.
 */
export class Container {
  /** The container's network namespace. */
  readonly netns: NetNs;
  /** Resolves when the container's process has ended; never for one that was opened by its namespace alone. */
  readonly closed: Promise<void>;
  readonly #owned: NetNs | undefined;
  readonly #exit: { close(): void } | undefined;
  readonly #logger: Logger | undefined;
  readonly #logs = new Set<Nflog>();
  #ipvs: Ipvs | undefined;
  #nftables: Nftables | undefined;

  private constructor(netns: NetNs, owned: boolean, pid: number | undefined, logger: Logger | undefined) {
    this.netns = netns;
    this.#owned = owned ? netns : undefined;
    this.#logger = logger;
    const exit = pid === undefined ? undefined : watchExit(pid);
    this.#exit = exit;
    this.closed = exit?.exited ?? new Promise(() => {});
  }

  /**
   * Opens a container by a process that lives in it, or by its namespace (which stays the caller's).
   * @throws NetNsError ERR_HOST_NAMESPACE it is the namespace of this process: a container with the host's network, or a typing error. Say
   * `allowHost` if that is meant. And what `NetNs.open` throws.
   */
  static open(reference: { pid: number } | { netns: NetNs }, options: ContainerOptions = {}): Container {
    checkObject(reference, [], ['pid', 'netns']);
    checkObject(options, [], ['allowHost', 'logger']);
    if ('pid' in reference === 'netns' in reference) throw typeError([], 'one of { pid }, { netns }', reference);
    const pid = 'pid' in reference ? checkInteger(reference.pid, ['pid'], 1, 0x7fffffff) : undefined;
    const netns = 'pid' in reference ? NetNs.open({ pid: reference.pid }) : reference.netns;
    if (!(netns instanceof NetNs)) throw typeError(['netns'], 'a NetNs', netns);
    if (netns.equals(NetNs.home()) && options.allowHost !== true) {
      if (pid !== undefined) netns.close();
      const hint = 'the container uses the network of the host; pass { allowHost: true } if you mean to program that';
      throw new NetNsError('this is the namespace of the process itself', { code: 'ERR_HOST_NAMESPACE', hint });
    }
    return new Container(netns, pid !== undefined, pid, options.logger);
  }

  /** Its virtual services. */
  get ipvs(): Ipvs {
    this.#ipvs ??= Ipvs.open(this.#options());
    return this.#ipvs;
  }

  /** Its packet rules. */
  get nftables(): Nftables {
    this.#nftables ??= Nftables.open(this.#options());
    return this.#nftables;
  }

  /** Listens to its packet logs. Each call is a listener of its own; a group has one listener at a time. */
  nflog(options: Omit<NflogOptions, 'netns' | 'logger'>): Nflog {
    const log = Nflog.open({ ...options, ...this.#options() });
    this.#logs.add(log);
    return log;
  }

  /** What works in it, what does not and why, and what to do about it. Changes and loads nothing unless asked to `load`. */
  preflight(options: { load?: boolean } = {}): Promise<Preflight> {
    return preflight(this.netns, options);
  }

  #options(): { netns: NetNs; logger?: Logger } {
    return { netns: this.netns, ...(this.#logger !== undefined && { logger: this.#logger }) };
  }

  /** Lets go of the container: its sockets would keep a dead one's namespace alive. */
  close(): void {
    void this[Symbol.asyncDispose]();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#exit?.close();
    const handles = [this.#ipvs, this.#nftables, ...this.#logs];
    this.#logs.clear();
    await Promise.all([...handles, this.#owned].map(handle => handle?.[Symbol.asyncDispose]()));
  }
}
