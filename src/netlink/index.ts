/* The codec and the transport, for people who need another netlink family. */
export * from '../codec/index.ts';
export { configureOffThread, type FfiName, type OffThreadOptions, selectFfi } from '../ffi/index.ts';
export { Observer } from '../observe.ts';
export * from '../transport/constants.ts';
export * from '../transport/index.ts';
