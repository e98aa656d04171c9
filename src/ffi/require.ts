import { createRequire } from 'node:module';

/** Loads a package by its name, as seen from this file; in a CommonJS bundle, which has no `import.meta.url`, from the bundle. */
export function requirePackage(name: string): unknown {
  return createRequire(import.meta.url ?? __filename)(name);
}
