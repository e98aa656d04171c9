import { StateError } from '../errors.ts';
import type { Ffi, Readiness, Watch } from './ffi.ts';
import { bindAll, type CType, type Signature } from './functions.ts';
import { CallsByNode } from './off-thread.ts';
import { type Uv, UvWatches } from './uv-watch.ts';

type Callable = (...values: unknown[]) => number | bigint;

interface NativeSignature {
  arguments: string[];
  return: string;
}

/** The part of node:ffi that is used; @types/node of Node 20 does not have it. */
interface NodeFfi {
  readonly DynamicLibrary: new (path: null) => Library;
  getInt32(pointer: bigint): number;
}
interface Library {
  getFunction(name: string, signature: NativeSignature): Callable;
  registerCallback(signature: NativeSignature, callback: () => void): bigint;
  unregisterCallback(pointer: bigint): void;
}

/**
 * A long is taken as 32 bits: results are lengths and descriptors, and a 64-bit one would be a bigint for each call. x64 and arm64 pass 32
 * bits of an argument with the upper half cleared.
 */
const TYPES: Record<CType, string> = {
  int: 'i32',
  long: 'i32',
  'unsigned long': 'u32',
  size: 'u32',
  uint32: 'u32',
  bytes: 'pointer',
  text: 'pointer',
};

/** Binds by Node's own module, where Node has it (26.1) and was started with --experimental-ffi. */
export function loadNodeFfi(): Ffi {
  const ffi = process.getBuiltinModule?.('node:ffi') as NodeFfi | undefined;
  if (ffi === undefined)
    throw new StateError('ERR_FFI', 'this Node has no node:ffi: it came with 26.1, behind --experimental-ffi');
  return new NodeFfiBackend(ffi, new ffi.DynamicLibrary(null));
}

class NodeFfiBackend extends CallsByNode {
  readonly name = `node:ffi ${process.versions.node}`;
  readonly #ffi: NodeFfi;
  readonly #library: Library;
  readonly #errnoAt: bigint;
  #watches: UvWatches<bigint> | undefined;

  constructor(ffi: NodeFfi, library: Library) {
    super(bindAll((name, signature) => bind(library, name, signature)));
    this.#ffi = ffi;
    this.#library = library;
    // glibc's and musl's name for the errno of this thread.
    this.#errnoAt = library.getFunction('__errno_location', { arguments: [], return: 'pointer' })() as bigint;
  }

  protected override errno(): number {
    return this.#ffi.getInt32(this.#errnoAt);
  }

  watch(fd: number, ready: () => void, readiness: Readiness = 'readable'): Watch {
    this.#watches ??= new UvWatches('node:ffi', () => libuv(this.#library));
    return this.#watches.watch(fd, ready, readiness);
  }
}

/** Texts are passed as bytes, which it does not copy. */
function bind(library: Library, name: string, { result, parameters }: Signature): Callable {
  const signature = { arguments: parameters.map(type => TYPES[type]), return: TYPES[result] };
  const native = library.getFunction(name, signature);
  if (!parameters.includes('text')) return native;
  return (...values) => {
    const passed = values.map(value => (typeof value === 'string' ? Buffer.from(`${value}\0`) : value));
    return native(...passed);
  };
}

function libuv(library: Library): Uv<bigint> {
  const pointers = (count: number) => Array<string>(count).fill('pointer');
  const bindUv = (name: string, parameters: string[], result = 'void') =>
    library.getFunction(name, { arguments: parameters, return: result });
  const functions = {
    uv_default_loop: bindUv('uv_default_loop', [], 'pointer'),
    uv_handle_size: bindUv('uv_handle_size', ['i32'], 'u32'),
    uv_poll_init: bindUv('uv_poll_init', [...pointers(2), 'i32'], 'i32'),
    uv_poll_start: bindUv('uv_poll_start', ['pointer', 'i32', 'pointer'], 'i32'),
    uv_close: bindUv('uv_close', pointers(2)),
    uv_ref: bindUv('uv_ref', pointers(1)),
    uv_unref: bindUv('uv_unref', pointers(1)),
  };
  return {
    ...(functions as unknown as Uv<bigint>),
    callback: ready => {
      const pointer = library.registerCallback({ arguments: ['pointer', 'i32', 'i32'], return: 'void' }, ready);
      return { pointer, free: () => library.unregisterCallback(pointer) };
    },
  };
}
