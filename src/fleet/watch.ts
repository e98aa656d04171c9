import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { checkObject, checkString } from '../codec/index.ts';
import { Container } from '../container/container.ts';
import { Engine } from '../container/find/engine.ts';
import { byEngine } from '../container/find/find.ts';
import { typeError } from '../errors.ts';
import { closedError } from '../netlink/lifetime.ts';
import { NetNs } from '../netns/index.ts';
import { checkSignal, onAbort } from '../signal.ts';
import type { ContainerState } from './desired-state.ts';

/** The places that a fleet watches for containers. */
export interface FleetWatchOptions {
  /** Directories in which namespaces get names; default /run/netns (`ip netns`, CNI) and /run/docker/netns. */
  directories?: readonly string[];
  /** Sockets of Docker's Engine API: containers that these daemons start are programmed. Default those of docker and podman that exist. */
  runtimes?: readonly string[];
  /** Ends the watch, as `close` does. */
  signal?: AbortSignal;
}

/** The place where a watched container was found. */
export interface FleetSource {
  /** Its name in the directory or in the runtime. A container may have chosen it, so escape control characters before you print it. */
  name: string;
  /** The directory, or the runtime's socket. */
  from: string;
}

/** The state of watched containers, or a function that returns it for each; undefined leaves a container alone. */
export type WatchedState = ContainerState | ((container: Container, source: FleetSource) => ContainerState | undefined);

/** An event of a watch. */
export type FleetEvent = FleetSource &
  (
    | {
        /** What happened to the container. */
        event: 'programmed';
        /** The container. */
        container: Container;
      }
    | {
        /** What happened to the container. */
        event: 'failed';
        /** The container. */
        container: Container | undefined;
        /** Why it failed. */
        error: Error;
      }
    /** The name was removed or the process has ended. The container is closed. */
    | {
        /** What happened to the container. */
        event: 'gone';
      }
  );

const DIRECTORIES = ['/run/netns', '/run/docker/netns'];
const SOCKETS = ['/run/docker.sock', '/run/podman/podman.sock'];
/**
 * `ip netns add` makes a file and mounts the namespace over it a moment later. No event tells of the mount, so the file is looked at again.
 */
const MOUNT_DELAYS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
/** With this many events that nobody takes, the oldest are dropped. */
const MAX_EVENTS = 10_000;
const RECONNECT_MILLISECONDS = 1000;
/** linux/limits.h, without the NUL. */
const MAX_PATH = 4095;

interface Watched {
  readonly container: Container;
  readonly source: FleetSource;
}

/**
 * Programs containers when their namespaces appear, until it is closed. Iterate over it to get its events; it works without that, too.
 * @example
 * for await (const { event, name } of fleet.watch({ redirects: [] })) console.log(event, name);
 */
export class FleetWatch implements AsyncIterable<FleetEvent> {
  readonly #program: (container: Container, state: ContainerState) => Promise<Error | 'gone' | undefined>;
  readonly #desired: WatchedState;
  readonly #stopped = new AbortController();
  readonly #watchers: fs.FSWatcher[] = [];
  /** By path, or by socket and id. */
  readonly #watched = new Map<string, Watched>();
  /** Paths that are being looked at. */
  readonly #looking = new Set<string>();
  readonly #events: FleetEvent[] = [];
  #wake = () => {};
  #unlisten = () => {};
  readonly #forget: () => void;
  readonly #signal: AbortSignal | undefined;

  /** @internal See `Fleet.watch`. */
  constructor(
    program: (container: Container, state: ContainerState) => Promise<Error | 'gone' | undefined>,
    desired: WatchedState,
    options: FleetWatchOptions = {},
    forget = () => {},
  ) {
    this.#forget = forget;
    checkObject(options, [], ['directories', 'runtimes', 'signal']);
    const { directories = DIRECTORIES, runtimes = SOCKETS.filter(path => fs.existsSync(path)), signal } = options;
    checkPaths(directories, 'directories');
    checkPaths(runtimes, 'runtimes');
    this.#program = program;
    this.#desired = desired;
    this.#signal = checkSignal(signal, ['signal']);
    this.#unlisten = onAbort(this.#signal, () => this.close());
    for (const directory of directories) this.#watch(directory);
    for (const socketPath of runtimes) void this.#follow(new Engine(socketPath));
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#stopped.signal.aborted;
  }

  /** The number of containers that it holds open. */
  get size(): number {
    return this.#watched.size;
  }

  #watch(directory: string): void {
    if (this.#stopped.signal.aborted) return;
    try {
      const watcher = fs.watch(directory, { persistent: false }, (_, name) => {
        if (typeof name === 'string') void this.#look(directory, name);
      });
      // The directory was removed.
      watcher.once('error', () => watcher.close());
      this.#watchers.push(watcher);
      for (const name of fs.readdirSync(directory)) void this.#look(directory, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      this.#awaitDirectory(directory);
    }
  }

  /** Watches the parent until the directory is made, which happens with the first name. */
  #awaitDirectory(directory: string): void {
    const parent = dirname(directory);
    if (!fs.existsSync(parent)) return;
    const watcher = fs.watch(parent, { persistent: false }, (_, name) => {
      if (name !== basename(directory) || !fs.existsSync(directory)) return;
      watcher.close();
      this.#watch(directory);
    });
    this.#watchers.push(watcher);
    // It may have been made before the watcher began.
    if (fs.existsSync(directory)) {
      watcher.close();
      this.#watch(directory);
    }
  }

  /** Looks at a name that was added or removed. */
  async #look(directory: string, name: string): Promise<void> {
    const path = join(directory, name);
    if (this.#looking.has(path)) return;
    this.#looking.add(path);
    const source = { name, from: directory };
    try {
      for (const wait of MOUNT_DELAYS) {
        if (this.#stopped.signal.aborted) return;
        if (!fs.existsSync(path)) {
          this.#lose(path);
          return;
        }
        if (this.#watched.has(path)) return;
        const netns = openNamed(path);
        if (netns !== undefined) {
          await this.#take(path, source, () => holding(netns));
          // The name may have been removed meanwhile.
          if (!fs.existsSync(path)) this.#lose(path);
          return;
        }
        await delay(wait, undefined, { signal: this.#stopped.signal, ref: false });
      }
    } catch (error) {
      if (!this.#stopped.signal.aborted)
        this.#tell({ ...source, event: 'failed', container: undefined, error: error as Error });
    } finally {
      this.#looking.delete(path);
    }
  }

  /** Follows a runtime's events, and connects again when the daemon has ended. */
  async #follow(engine: Engine): Promise<void> {
    const { signal } = this.#stopped;
    const from = engine.socketPath;
    while (!signal.aborted) {
      try {
        for await (const id of engine.starts(signal)) await this.#started(engine, id);
      } catch (error) {
        if (!signal.aborted)
          this.#tell({ name: '', from, event: 'failed', container: undefined, error: error as Error });
      }
      await delay(RECONNECT_MILLISECONDS, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** Takes a container that has started. The checks are those of `Container.find`; only containers with their own network are taken. */
  async #started(engine: Engine, id: string): Promise<void> {
    const source = { name: id, from: engine.socketPath };
    const { signal } = this.#stopped;
    try {
      const candidate = await byEngine('docker', engine, id, signal);
      if (candidate === undefined) return;
      const { found } = candidate;
      source.name = candidate.name ?? id;
      if (found.network !== 'own') return;
      const container = await Container.openFound(candidate, {}, false, signal);
      await this.#take(`${engine.socketPath} ${found.id}`, source, () => container);
    } catch (error) {
      if (!signal.aborted) this.#tell({ ...source, event: 'failed', container: undefined, error: error as Error });
    }
  }

  async #take(key: string, source: FleetSource, open: () => Container): Promise<void> {
    const container = open();
    // The watch may have been closed while the runtime was asked.
    if (this.closed) {
      container.close();
      return;
    }
    const { netns } = container;
    const known = [...this.#watched.values()].some(each => each.container.netns.equals(netns));
    const state = typeof this.#desired === 'function' ? this.#desired(container, source) : this.#desired;
    // A namespace can have many names.
    if (known || state === undefined) {
      container.close();
      return;
    }
    this.#watched.set(key, { container, source });
    void container.closed.then(() => this.#lose(key));
    const outcome = await this.#program(container, state);
    // `close` has closed the container, which made it fail.
    if (this.closed) return;
    if (outcome === 'gone') this.#lose(key);
    else if (outcome === undefined) this.#tell({ ...source, event: 'programmed', container });
    else this.#tell({ ...source, event: 'failed', container, error: outcome });
  }

  #lose(key: string): void {
    const watched = this.#watched.get(key);
    if (watched === undefined) return;
    this.#watched.delete(key);
    watched.container.close();
    this.#tell({ ...watched.source, event: 'gone' });
  }

  #tell(event: FleetEvent): void {
    if (this.#events.length >= MAX_EVENTS) this.#events.shift();
    this.#events.push(event);
    this.#wake();
  }

  /**
   * Iterates over the events since the watch began. Use one loop at a time. To leave the loop does not end the watch. When the watch is
   * closed, the loop ends after the events that are left.
   * @throws StateError ERR_CLOSED the watch is closed (thrown by the call itself)
   */
  [Symbol.asyncIterator](): AsyncIterator<FleetEvent> {
    // After an abort the iteration ends without an error.
    if (this.closed && this.#signal?.aborted !== true) throw closedError('the watch');
    return this.#iterate();
  }

  async *#iterate(): AsyncGenerator<FleetEvent, void, undefined> {
    for (;;) {
      while (this.#events.length > 0) yield this.#events.shift()!;
      if (this.#stopped.signal.aborted) return;
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    }
  }

  /**
   * Ends the watch and closes its containers. What was programmed stays.
   * @example
   * const watching = fleet.watch({ redirects: [] });
   * watching.close();
   */
  close(): void {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort();
    this.#unlisten();
    for (const watcher of this.#watchers) watcher.close();
    for (const { container } of this.#watched.values()) container.close();
    this.#watched.clear();
    this.#forget();
    this.#wake();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Opens a container that closes the namespace with itself. */
function holding(netns: NetNs): Container {
  try {
    const container = Container.open({ netns });
    container.attach(netns);
    return container;
  } catch (error) {
    netns.close();
    throw error;
  }
}

function checkPaths(paths: unknown, field: string): void {
  if (!Array.isArray(paths)) throw typeError([field], 'an array of paths', paths);
  for (const [i, path] of paths.entries()) checkString(path, [field, i], MAX_PATH);
}

/** Opens a namespace by its path. Undefined while there is only a regular file, before the namespace is mounted over it. */
function openNamed(path: string): NetNs | undefined {
  try {
    return NetNs.open({ path });
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'ERR_NOT_A_NETNS' || code === 'ENOENT') return undefined;
    throw error;
  }
}
