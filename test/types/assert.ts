/*
 * Assertions for the compiler: nothing of these files runs, `tsc --noEmit` is their test. What must not compile stands under
 * @ts-expect-error, which is an error itself where there is none.
 */

/** Are both the very same type, `any` and optional fields included? */
export type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Stands for a proof: `proof<Same<A, B>>()` compiles only where it holds. */
export declare function proof<_T extends true>(): void;
