/** The JavaScript runtime of this process. */
export type Runtime = 'node' | 'bun' | 'deno';

/** Bun and Deno have their own name beside the versions of the Node that they stand for. */
export function runtime(): Runtime {
  const { bun, deno } = process.versions;
  if (bun !== undefined) return 'bun';
  return deno === undefined ? 'node' : 'deno';
}

/** Whether this is no Worker's thread. */
export const isMainThread = (): boolean => process.getBuiltinModule('node:worker_threads').isMainThread;
