export { type Call, Exchange, type PipelineResult } from './exchange.ts';
export { type Command, GenericFamily } from './generic.ts';
export { type Handle, type Promised, type Synchronous, twoForms } from './handle.ts';
export * from './message.ts';
export * from './nfnetlink.ts';
export type { Operation } from './operation.ts';
export { type Described, type Locate, locateIn, refusal, type Verdict, verdictOf } from './refusal.ts';
export { NetlinkSocket, type NetlinkSocketOptions } from './socket.ts';
export type { Wire } from './wire.ts';
