import {
  checkAddress,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  formatIPv4,
  formatIPv6,
  fromHex,
  parseIPv4,
  parseIPv6,
  toHex,
} from '../codec/index.ts';
import { rangeError } from '../errors.ts';
import * as C from '../linux/ip_vs.ts';
import type { WireDaemon } from './attributes.ts';

export const SYNC_STATES = { master: C.IP_VS_STATE_MASTER, backup: C.IP_VS_STATE_BACKUP } as const;

/** A master sends its connections to the multicast group; a backup takes them over. One namespace may run both. */
export type SyncState = keyof typeof SYNC_STATES;

/** A daemon of the kernel that sends connections to other load balancers, or receives theirs, so that a backup can go on with them. */
export interface SyncDaemon {
  /** 'master' sends the connections, 'backup' receives them. */
  state: SyncState;
  /** The device that sends or receives the multicasts. It must be up, and have an address to send from. */
  interface: string;
  /** 0 to 255. A backup takes only messages of its own number, or all if its number is 0. */
  syncId: number;
  /**
   * The payload of a message in bytes: 1 to 65507. Default: the largest that fits the MTU of the device, at most 1500 for a master. The kernel raises a
   * value that is too small for one connection (Linux 4.3).
   */
  maxLength?: number;
  /** A multicast address, IPv4 or IPv6; default 224.0.0.81 (Linux 4.3). */
  group?: string;
  /** The UDP port, 1 to 65535; default 8848 (Linux 4.3). */
  port?: number;
  /** How many routers a message may pass, 1 to 255; default 1 (Linux 4.3). */
  ttl?: number;
}

const FIELDS = ['state', 'interface', 'syncId', 'maxLength', 'group', 'port', 'ttl'];
/** Messages carry the number in one byte. The kernel takes larger numbers, which no backup would ever match. */
const MAX_SYNC_ID = 255;
/** 65535 without the IPv4 and UDP headers. */
const MAX_LENGTH = 65507;

export function checkDaemon(daemon: SyncDaemon): void {
  writeDaemon(daemon);
}

export function writeDaemon(daemon: SyncDaemon, kept?: 'anything'): WireDaemon {
  checkObject(daemon, [], FIELDS);
  const wire: WireDaemon = {
    state: SYNC_STATES[checkOneOf(daemon.state, ['state'], Object.keys(SYNC_STATES) as SyncState[])],
    interface: checkString(daemon.interface, ['interface'], C.IP_VS_IFNAME_MAXLEN - 1),
    syncId: checkInteger(daemon.syncId, ['syncId'], 0, kept === undefined ? MAX_SYNC_ID : 0xffffffff),
  };
  const { maxLength, group, port, ttl } = daemon;
  if (maxLength !== undefined)
    wire.maxLength = checkInteger(maxLength, ['maxLength'], 1, kept === undefined ? MAX_LENGTH : 0xffff);
  if (group !== undefined) writeGroup(wire, group);
  if (port !== undefined) wire.port = checkInteger(port, ['port'], 1, 65535);
  if (ttl !== undefined) wire.ttl = checkInteger(ttl, ['ttl'], 1, 255);
  return wire;
}

function writeGroup(wire: WireDaemon, group: string): void {
  const version = checkAddress(group, ['group']);
  const bytes = (version === 4 ? parseIPv4(group) : parseIPv6(group)) ?? new Uint8Array(0);
  const multicast = version === 4 ? (bytes[0]! & 0xf0) === 0xe0 : bytes[0] === 0xff;
  if (!multicast) throw rangeError(['group'], 'a multicast address (224.0.0.0/4 or ff00::/8)', group);
  if (version === 4) wire.group = toHex(bytes);
  else wire.group6 = toHex(bytes);
}

export function readDaemon(wire: WireDaemon): SyncDaemon {
  const daemon: SyncDaemon = {
    state: wire.state === SYNC_STATES.backup ? 'backup' : 'master',
    interface: wire.interface ?? '',
    syncId: wire.syncId ?? 0,
  };
  // Kernels before 4.3 do not tell the rest.
  if (wire.maxLength !== undefined) daemon.maxLength = wire.maxLength;
  const group = fromHex(wire.group6 ?? wire.group ?? '');
  if (group?.length === 16) daemon.group = formatIPv6(group);
  if (group?.length === 4) daemon.group = formatIPv4(group);
  if (wire.port !== undefined) daemon.port = wire.port;
  if (wire.ttl !== undefined) daemon.ttl = wire.ttl;
  return daemon;
}
