import type { Ffi } from './ffi.ts';
import { loadKoffi } from './koffi.ts';

export { Descriptor } from './descriptor.ts';
export type { Ffi, Watch } from './ffi.ts';

let loaded: Ffi | undefined;

/** The backend of this thread, loaded by the first call. */
export function ffi(): Ffi {
  loaded ??= loadKoffi();
  return loaded;
}
