/* The numbers of nf_tables, under the C names of the kernel's headers: compared with them by native/abi. */
export * from './constants/actions.ts';
export * from './constants/core.ts';
export * from './constants/expressions.ts';
export * from './constants/newer.ts';
export * from './constants/sets.ts';
export * from './constants/xt.ts';
