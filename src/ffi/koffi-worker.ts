import { StateError } from '../errors.ts';
import type { Readiness, Watch } from './ffi.ts';

/** UV_POLL of libuv's uv_handle_type, UV_READABLE and UV_WRITABLE. */
const UV_POLL = 8;
const UV_EVENTS = { readable: 1, writable: 2 } as const;
/** The same as koffi has it. */
export const EVENTS = { readable: { readable: true }, writable: { writable: true } } as const;
type Events = (typeof EVENTS)[Readiness];
/** dlfcn.h; glibc and musl have the same numbers. */
const RTLD_LAZY = 1;
const RTLD_NODELETE = 0x1000;

type Native = (...values: unknown[]) => number | bigint;

export interface PollHandle {
  start(options: Events, callback: (...args: number[]) => void): void;
  ref(): void;
  unref(): void;
  close(): void;
}

/** The part of koffi that is used here. */
export interface KoffiPoll {
  load(path: null): { func(prototype: string): unknown };
  proto(result: string, parameters: string[]): unknown;
  pointer(type: unknown): unknown;
  register(callback: (...values: never[]) => void, type: unknown): bigint;
  unregister(callback: bigint): void;
  readonly node: {
    readonly env: unknown;
    poll(fd: number, options: Events, callback: (...args: number[]) => void): PollHandle;
  };
}

/**
 * Watches by koffi on a worker's thread. `worker.terminate()` ends JavaScript at any moment, while the event loop is still turned: koffi's own
 * callback of a poll handle cannot make its arguments then, and aborts the whole process. A function that was registered with koffi is just not
 * called. So the handle, which koffi closes when the worker is gone, is given such a one, by the functions of libuv that node exports.
 */
export class WorkerWatches {
  readonly #koffi: KoffiPoll;
  readonly #c: Record<
    'napi_get_uv_event_loop' | 'uv_walk' | 'uv_handle_get_type' | 'uv_fileno' | 'uv_poll_start' | 'dladdr' | 'dlopen',
    Native
  >;
  readonly #onHandle: unknown;
  readonly #onPoll: unknown;
  readonly #loop: bigint;

  constructor(koffi: KoffiPoll) {
    this.#koffi = koffi;
    const library = koffi.load(null);
    const bind = (prototype: string) => library.func(prototype) as Native;
    this.#c = {
      napi_get_uv_event_loop: bind('int napi_get_uv_event_loop(void *, void *)'),
      uv_walk: bind('void uv_walk(void *, void *, void *)'),
      uv_handle_get_type: bind('int uv_handle_get_type(void *)'),
      uv_fileno: bind('int uv_fileno(void *, void *)'),
      uv_poll_start: bind('int uv_poll_start(void *, int, void *)'),
      dladdr: bind('int dladdr(void *, void *)'),
      dlopen: bind('void *dlopen(void *, int)'),
    };
    this.#onHandle = koffi.pointer(koffi.proto('void', ['void *', 'void *']));
    this.#onPoll = koffi.pointer(koffi.proto('void', ['void *', 'int', 'int']));
    const loop = new BigUint64Array(1);
    this.#c.napi_get_uv_event_loop(koffi.node.env, loop);
    this.#loop = loop[0]!;
  }

  watch(fd: number, ready: () => void, closed: () => void, readiness: Readiness): Watch {
    const koffi = this.#koffi;
    const handle = koffi.node.poll(fd, EVENTS[readiness], () => {});
    const pointer = this.#find(fd);
    if (pointer === 0n) {
      handle.close();
      throw new StateError('ERR_FFI', `descriptor ${fd} cannot be watched: koffi polls it on another loop`);
    }
    let pending = false;
    let open = true;
    // libuv calls outside of any JavaScript: what `ready` does belongs into a turn of the event loop, with its microtasks.
    const turn = () => {
      pending = false;
      if (open) ready();
    };
    const onPoll = (_handle: bigint, status: number) => {
      // libuv stops a handle whose descriptor has an error pending; the reader will see the error.
      if (status < 0) this.#c.uv_poll_start(pointer, UV_EVENTS[readiness], callback);
      if (pending) return;
      pending = true;
      setImmediate(turn);
    };
    const callback = koffi.register(onPoll, this.#onPoll);
    this.#keepLoaded(callback);
    this.#c.uv_poll_start(pointer, UV_EVENTS[readiness], callback);
    return {
      ref: () => open && handle.ref(),
      unref: () => open && handle.unref(),
      close: () => {
        if (!open) return;
        open = false;
        handle.close();
        koffi.unregister(callback);
        closed();
      },
    };
  }

  /** koffi does not tell where its handle is: the one of this loop that polls the descriptor. */
  #find(fd: number): bigint {
    const found = new Int32Array(1);
    let pointer = 0n;
    const onHandle = (handle: bigint) => {
      if (this.#c.uv_handle_get_type(handle) !== UV_POLL) return;
      if (this.#c.uv_fileno(handle, found) === 0 && found[0] === fd) pointer = handle;
    };
    const callback = this.#koffi.register(onHandle, this.#onHandle);
    this.#c.uv_walk(this.#loop, callback, null);
    this.#koffi.unregister(callback);
    return pointer;
  }

  /**
   * Node unloads what only a worker has loaded when the worker is gone, before libuv has let go of its handles. koffi is to stay where it is;
   * `within` is an address in it.
   */
  #keepLoaded(within: bigint): void {
    // Dl_info: the file's name first.
    const info = new BigUint64Array(4);
    if (this.#c.dladdr(within, info) !== 0) this.#c.dlopen(info[0], RTLD_LAZY | RTLD_NODELETE);
  }
}
