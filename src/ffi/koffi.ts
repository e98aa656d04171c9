import { StateError } from '../errors.ts';
import { SYS_close_range } from '../linux/syscall.ts';
import { Calls } from './calls.ts';
import type { Ffi, Readiness, Watch } from './ffi.ts';
import { bindAll, type CType, type Signature } from './functions.ts';
import { EVENTS, type KoffiPoll, type PollHandle, WorkerWatches } from './koffi-worker.ts';
import { OpenWatches } from './open-watches.ts';
import { isCommonJs, requirePackage, thisFile } from './require.ts';
import { isMainThread, runtime } from './runtime.ts';
import { TimerWatches } from './timer-watch.ts';

type Result = number | bigint;
interface Native {
  async(...args: unknown[]): void;
}
interface Koffi extends KoffiPoll {
  readonly version: string;
  errno(): number;
}

/** Loads koffi (no work is done at import) and binds the C library of this process: glibc or musl, whichever is there. */
export function loadKoffi(): Ffi {
  let koffi: Koffi;
  try {
    koffi = requirePackage('koffi') as Koffi;
  } catch (cause) {
    throw new StateError('ERR_FFI', `koffi cannot be loaded: ${whyNot(cause as NodeJS.ErrnoException)}`, cause);
  }
  return new KoffiFfi(koffi);
}

/** The cause, and what to do. */
function whyNot({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'ERR_DLOPEN_DISABLED')
    return 'node was started with --permission (or --no-addons), which forbids native addons: add --allow-addons';
  if (code === 'MODULE_NOT_FOUND' && message.includes("'koffi'")) {
    const [first, what] = isCommonJs()
      ? ['netsteer was bundled to CommonJS', 'the bundle']
      : ['netsteer was moved out of its node_modules', 'it'];
    return `${first}, and no node_modules above ${thisFile()} has koffi: copy node_modules/koffi and node_modules/@koromix beside ${what}, or install netsteer there`;
  }
  if (!message.includes('native Koffi module')) return message;
  const name = `@koromix/koffi-${process.platform}-${process.arch}`;
  return `its binary, the optional dependency ${name}, is not installed: install without --omit=optional, on this kind of machine`;
}

class KoffiFfi extends Calls {
  readonly name: string;
  readonly #koffi: Koffi;
  readonly #watches = new OpenWatches();
  #ofWorker: WorkerWatches | undefined;
  #byTimer: TimerWatches | undefined;

  constructor(koffi: Koffi) {
    // The symbols of the process itself: no libc file has to be named, be it glibc's or musl's.
    const library = koffi.load(null);
    super(bindAll((name, signature) => library.func(prototypeOf(name, signature))));
    this.name = `koffi ${koffi.version}`;
    this.#koffi = koffi;
  }

  /** koffi keeps it until its next call. */
  protected override errno(): number {
    return this.#koffi.errno();
  }

  protected sendAway(fd: number, bytes: Uint8Array, length: number, flags: number): Promise<number> {
    return this.#away(this.c.send, [fd, bytes, length, flags]);
  }
  protected recvAway(fd: number, into: Uint8Array, flags: number): Promise<number> {
    return this.#away(this.c.recv, [fd, into, into.length, flags]);
  }
  protected async closeRangeAway(first: number, last: number): Promise<number> {
    if (first < last) {
      const result = await this.#away(this.c.syscall, [SYS_close_range, first, last, 0]);
      if (result >= 0) return result;
      // Older kernels (before Linux 5.9) and filters of system calls refuse it, and nothing is closed then.
    }
    let result = 0;
    for (let fd = first; fd <= last; fd++) result = await this.#away(this.c.close, [fd]);
    return result;
  }

  watch(fd: number, ready: () => void, readiness: Readiness = 'readable'): Watch {
    if (runtime() !== 'node') {
      this.#byTimer ??= new TimerWatches((descriptors, count) => this.result(this.c.poll(descriptors, count, 0)));
      return this.#byTimer.watch(fd, ready, readiness);
    }
    const closed = () => this.#watches.delete(watch);
    const watch: Watch = isMainThread()
      ? new KoffiWatch(this.#koffi, fd, ready, closed, readiness)
      : this.#watchInWorker(fd, ready, closed, readiness);
    this.#watches.add(watch);
    return watch;
  }

  #watchInWorker(fd: number, ready: () => void, closed: () => void, readiness: Readiness): Watch {
    this.#ofWorker ??= new WorkerWatches(this.#koffi);
    return this.#ofWorker.watch(fd, ready, closed, readiness);
  }

  #away(call: unknown, args: unknown[]): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      // The closure holds `args`, and with them the buffers, until the call is over.
      (call as Native).async(...args, (error: Error | null, value: Result) => {
        if (error) reject(error);
        // koffi restores the call's own errno for its callback.
        else resolve(this.result(value));
      });
    });
  }
}

/**
 * koffi calls without a callback scope: Node 26 leaves the microtasks of such a call until something else happens on the event loop, which may be
 * never. Up to Node 24 they run at once.
 */
const needsTurn = Number.parseInt(process.versions.node, 10) > 24;
const turn = () => {};

class KoffiWatch implements Watch {
  #handle: PollHandle | undefined;
  readonly #closed: () => void;

  constructor(koffi: Koffi, fd: number, ready: () => void, closed: () => void, readiness: Readiness) {
    this.#closed = closed;
    const events = EVENTS[readiness];
    const callback = (status: number) => {
      // A pending socket error stops the handle, and it would stay silent for ever: start it again, then let the reader see the error.
      if (status < 0) this.#handle?.start(events, callback);
      if (needsTurn) setImmediate(turn);
      try {
        ready();
      } catch (error) {
        // A throw inside the native callback is reported late and can wedge the process's exit.
        queueMicrotask(() => {
          throw error;
        });
      }
    };
    this.#handle = koffi.node.poll(fd, events, callback);
  }

  ref(): void {
    this.#handle?.ref();
  }
  unref(): void {
    this.#handle?.unref();
  }
  close(): void {
    this.#handle?.close();
    this.#handle = undefined;
    this.#closed();
  }
}

const TYPES: Record<CType, string> = {
  int: 'int',
  long: 'long',
  'unsigned long': 'unsigned long',
  size: 'size_t',
  uint32: 'uint32_t',
  bytes: 'void *',
  text: 'const char *',
};

const prototypeOf = (name: string, { result, parameters }: Signature): string =>
  `${TYPES[result]} ${name}(${parameters.map(type => TYPES[type]).join(', ')})`;
