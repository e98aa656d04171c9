export type { BacklogOptions, BacklogPolicy, Copy, Queue } from './config.ts';
export { Nflog, type NflogOptions, type NflogStats } from './nflog.ts';
export type { Family, Hook, Packet, Vlan } from './packet.ts';
export type { Loss } from './reader.ts';
