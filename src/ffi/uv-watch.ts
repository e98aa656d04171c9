import { StateError } from '../errors.ts';
import type { Readiness, Watch } from './ffi.ts';
import { OpenWatches } from './open-watches.ts';
import { isMainThread } from './runtime.ts';

/** UV_POLL of libuv's uv_handle_type, UV_READABLE and UV_WRITABLE. */
const UV_POLL = 8;
const UV_EVENTS = { readable: 1, writable: 2 } as const;

/** Of libuv, which node exports: readiness of a descriptor on the event loop. A handle is memory of ours, its callback a pointer of the backend's. */
export interface Uv<Pointer> {
  uv_default_loop(): Pointer;
  uv_handle_size(type: number): number | bigint;
  uv_poll_init(loop: Pointer, handle: Uint8Array, fd: number): number;
  uv_poll_start(handle: Uint8Array, events: number, callback: Pointer): number;
  uv_close(handle: Uint8Array, callback: null): void;
  uv_ref(handle: Uint8Array): void;
  uv_unref(handle: Uint8Array): void;
  callback(ready: () => void): { pointer: Pointer; free(): void };
}

/**
 * Watches by uv_poll, for backends that have no such thing of their own. On the main thread only: `worker.terminate()` ends JavaScript while the
 * event loop is still turned, and what calls a callback then aborts the whole process.
 */
export class UvWatches<Pointer> {
  readonly #uv: Uv<Pointer>;
  readonly #loop: Pointer;
  /** The memory of open handles, and of those that libuv has not let go of yet. */
  readonly #handles = new Set<object>();
  readonly #open = new OpenWatches();

  constructor(backend: string, bind: () => Uv<Pointer>) {
    if (!isMainThread())
      throw new StateError('ERR_FFI', `with ${backend}, sockets are watched on the main thread only`);
    this.#uv = bind();
    this.#loop = this.#uv.uv_default_loop();
  }

  watch(fd: number, ready: () => void, readiness: Readiness): Watch {
    const uv = this.#uv;
    const handle = Buffer.alloc(Number(uv.uv_handle_size(UV_POLL)));
    // libuv calls outside of any JavaScript: what `ready` does belongs into a turn of the event loop, with its microtasks.
    let pending = false;
    let open = true;
    const turn = () => {
      pending = false;
      if (open) ready();
    };
    const callback = uv.callback(() => {
      // libuv stops a handle whose descriptor has an error pending; the reader will see the error.
      uv.uv_poll_start(handle, UV_EVENTS[readiness], callback.pointer);
      if (pending) return;
      pending = true;
      setImmediate(turn);
    });
    const initialised = uv.uv_poll_init(this.#loop, handle, fd);
    if (initialised < 0) {
      callback.free();
      throw new StateError('ERR_FFI', `descriptor ${fd} cannot be watched (libuv says ${initialised})`);
    }
    const memory = { handle, callback };
    this.#handles.add(memory);
    uv.uv_poll_start(handle, UV_EVENTS[readiness], callback.pointer);
    const watch: Watch = {
      ref: () => open && uv.uv_ref(handle),
      unref: () => open && uv.uv_unref(handle),
      close: () => {
        if (!open) return;
        open = false;
        this.#open.delete(watch);
        uv.uv_close(handle, null);
        // libuv lets go of a closed handle at the end of its turn, which the second of two immediates is sure to be behind.
        setImmediate(() => {
          setImmediate(() => {
            callback.free();
            this.#handles.delete(memory);
          });
        });
      },
    };
    this.#open.add(watch);
    return watch;
  }
}
