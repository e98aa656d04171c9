export * from './address.ts';
export * from './attributes.ts';
export * from './check.ts';
export * from './list.ts';
export * from './rows.ts';
export * from './struct.ts';
export * from './types.ts';
export * from './wire.ts';
export { Writer } from './writer.ts';
