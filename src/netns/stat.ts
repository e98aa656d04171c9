import fs from 'node:fs';
import { runtime } from '../ffi/index.ts';

/** Of a descriptor of ours. `fs.fstat` of Deno takes numbers of its own, not the kernel's. */
export function statOf(fd: number): fs.Stats {
  return runtime() === 'deno' ? fs.statSync(`/proc/self/fd/${fd}`) : fs.fstatSync(fd);
}
