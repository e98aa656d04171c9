import { StateError } from '../errors.ts';
import type { Ffi, Readiness, Watch } from './ffi.ts';
import { bindAll, type CType, type Signature } from './functions.ts';
import { CallsByNode } from './off-thread.ts';
import { requirePackage } from './require.ts';
import { type Uv, UvWatches } from './uv-watch.ts';

type Callable = (...values: unknown[]) => number | string;

interface FfiNapi {
  Library(path: null, functions: Record<string, [string, string[]]>): Record<string, Callable>;
  Callback(result: string, parameters: string[], callback: () => void): Buffer;
  errno(): number;
}

const PACKAGE = '@2060.io/ffi-napi';

const TYPES: Record<CType, string> = {
  int: 'int',
  long: 'long',
  'unsigned long': 'ulong',
  size: 'size_t',
  uint32: 'uint32',
  bytes: 'pointer',
  text: 'string',
};

/** Loads the fork of ffi-napi that still builds, which the user has installed. */
export function loadFfiNapi(): Ffi {
  try {
    const { version } = requirePackage(`${PACKAGE}/package.json`) as { version: string };
    return new FfiNapiBackend(requirePackage(PACKAGE) as FfiNapi, version);
  } catch (cause) {
    throw new StateError('ERR_FFI', `${PACKAGE} cannot be loaded: install it, and let its install script run`, cause);
  }
}

class FfiNapiBackend extends CallsByNode {
  readonly name: string;
  readonly #napi: FfiNapi;
  #watches: UvWatches<Buffer> | undefined;

  constructor(napi: FfiNapi, version: string) {
    super(bindAll((name, signature) => bind(napi, name, signature)));
    this.name = `ffi-napi ${version}`;
    this.#napi = napi;
  }

  protected override errno(): number {
    return this.#napi.errno();
  }

  watch(fd: number, ready: () => void, readiness: Readiness = 'readable'): Watch {
    this.#watches ??= new UvWatches('ffi-napi', () => libuv(this.#napi));
    return this.#watches.watch(fd, ready, readiness);
  }
}

/** Its pointers are Buffers only, not any view. */
function bind(napi: FfiNapi, name: string, { result, parameters }: Signature): Callable {
  const types = parameters.map(type => TYPES[type]);
  const native = napi.Library(null, { [name]: [TYPES[result], types] })[name]!;
  return (...values) => Number(native(...values.map(value => (ArrayBuffer.isView(value) ? bufferOf(value) : value))));
}

const bufferOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer =>
  Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);

function libuv(napi: FfiNapi): Uv<Buffer> {
  const functions = napi.Library(null, {
    uv_default_loop: ['pointer', []],
    uv_handle_size: ['size_t', ['int']],
    uv_poll_init: ['int', ['pointer', 'pointer', 'int']],
    uv_poll_start: ['int', ['pointer', 'int', 'pointer']],
    uv_close: ['void', ['pointer', 'pointer']],
    uv_ref: ['void', ['pointer']],
    uv_unref: ['void', ['pointer']],
  });
  return {
    ...(functions as unknown as Uv<Buffer>),
    // It lives as long as something refers to it.
    callback: ready => ({ pointer: napi.Callback('void', ['pointer', 'int', 'int'], ready), free: () => {} }),
  };
}
