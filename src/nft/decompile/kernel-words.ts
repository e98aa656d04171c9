import { Undecompilable } from '../tree.ts';

/* Names of the kernel's enumerations and flags. Those that the kernel model does not know are numbers, and nft has no word for them. */

/** @throws Undecompilable where a flag is not one of the allowed ones */
export function words<T extends string>(flags: readonly (string | number)[] | undefined, allowed: readonly T[]): T[] {
  for (const flag of flags ?? [])
    if (!allowed.some(name => name === flag)) throw new Undecompilable(`the flag ${flag}`);
  return allowed.filter(flag => flags?.includes(flag));
}

/** @throws Undecompilable where it has no name */
export function word<T extends string>(name: T | number | undefined): T {
  if (typeof name !== 'string') throw new Undecompilable(`the number ${name}`);
  return name;
}
