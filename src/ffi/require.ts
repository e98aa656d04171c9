/** Whether this is part of a CommonJS bundle, which has no `import.meta.url`. */
export const isCommonJs = (): boolean => import.meta.url === undefined;

/** This file; in a CommonJS bundle, the bundle. */
export const thisFile = (): string => import.meta.url ?? __filename;

/** Loads a package by its name, as seen from this file. */
export function requirePackage(name: string): unknown {
  return process.getBuiltinModule('node:module').createRequire(thisFile())(name);
}
