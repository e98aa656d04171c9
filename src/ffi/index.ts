import { rangeError, StateError } from '../errors.ts';
import { ofThread } from '../thread.ts';
import type { Ffi } from './ffi.ts';
import { loadFfiNapi } from './ffi-napi.ts';
import { loadKoffi } from './koffi.ts';
import { loadNodeFfi } from './node-ffi.ts';

export { Descriptor, traceDescriptors } from './descriptor.ts';
export type { Ffi, Watch } from './ffi.ts';
export { configureOffThread, type OffThreadOptions, offThread } from './pool.ts';
export { runtime } from './runtime.ts';

/** Each loads its backend anew. By the names that NETSTEER_FFI and `selectFfi` take. */
export const BACKENDS = {
  koffi: loadKoffi,
  'ffi-napi': loadFfiNapi,
  'node:ffi': loadNodeFfi,
} as const satisfies Record<string, () => Ffi>;

/** The names of the backends, as NETSTEER_FFI and `selectFfi` take them. */
export type FfiName = keyof typeof BACKENDS;

/** The backend of this thread, once it is loaded. A descriptor that one backend watches cannot be watched by another. */
const thread = ofThread('ffi.backend', { loaded: undefined as { name: string; ffi: Ffi } | undefined });

/** The backend of this thread, loaded by the first call: the one that NETSTEER_FFI names, koffi where it names none. */
export function ffi(): Ffi {
  return (thread.loaded ?? load(process.env.NETSTEER_FFI || 'koffi')).ffi;
}

/**
 * Chooses how this thread calls the C library, before it is first used; it goes before the environment's NETSTEER_FFI.
 * docs/decisions/ffi.md
 * says when to take which. Returns the backend's name and version.
 * @throws StateError ERR_FFI it is not installed, or another one is in use on this thread already
 * @param name the backend
 * @example
 * console.log(selectFfi('koffi'));
 */
export function selectFfi(name: FfiName): string {
  if (thread.loaded !== undefined && thread.loaded.name !== name)
    throw new StateError('ERR_FFI', `${thread.loaded.ffi.name} is in use already: choose before anything is opened`);
  return (thread.loaded ?? load(name)).ffi.name;
}

function load(name: string): { name: string; ffi: Ffi } {
  if (!Object.hasOwn(BACKENDS, name))
    throw rangeError(['NETSTEER_FFI'], `one of ${Object.keys(BACKENDS).join(', ')}`, name);
  thread.loaded = { name, ffi: BACKENDS[name as FfiName]() };
  return thread.loaded;
}
