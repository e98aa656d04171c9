import { checkObject } from '../../codec/index.ts';
import { type Path, typeError, within } from '../../errors.ts';
import { IFF_UP } from '../../linux/if.ts';
import { type NetNs, netnsOf } from '../../netns/netns.ts';
import { checkBoolean, checkMac, checkMtu, checkName, missing, quote } from '../device.ts';
import type { Refusals } from '../request.ts';

/** The other end of a new veth. It begins switched off: the kernel creates it before it joins both ends (ENOTCONN). */
export interface NewPeer {
  /** 1 to 15 bytes, no '/', ':', '%' or white space, not '.' or '..'. */
  name: string;
  /** The namespace to create it in; that of the handle where left out. */
  netns?: NetNs;
  /** Largest packet in bytes, from 68; the driver's default where left out, 1500 mostly. */
  mtu?: number;
  /** Hardware address 'aa:bb:cc:dd:ee:ff'; random where left out. */
  address?: string;
}

/** What can be given for every new device. */
export interface NewLink extends NewPeer {
  /** Switch it on at once. Default false. */
  up?: boolean;
  /** The bridge to make it a port of. Not beside `netns`: a bridge and its ports are in one namespace. */
  master?: string;
}

/** The changes of a device. Fields that are left out stay as they are. */
export interface LinkChanges {
  /** Switch it on or off. Switching off drops the routes over it. */
  up?: boolean;
  /** The bridge to make it a port of; null takes it out of its bridge. */
  master?: string | null;
  /** Move it into this namespace. It is switched off on the way and loses its addresses; `up: true` beside it switches it on there. */
  netns?: NetNs;
  /** Its name from then on. Before Linux 6.2 a device that is up cannot be renamed (EBUSY). */
  newName?: string;
  /** Largest packet in bytes, from 68; the driver's limits are `minMtu` and `maxMtu`. */
  mtu?: number;
  /** Hardware address 'aa:bb:cc:dd:ee:ff'. */
  address?: string;
}

export const PEER_KEYS = ['name', 'netns', 'mtu', 'address'] as const;
const LINK_KEYS = [...PEER_KEYS, 'up', 'master'] as const;
const CHANGE_KEYS = ['up', 'master', 'netns', 'newName', 'mtu', 'address'] as const;

/** The attributes that every device can be given. */
export interface DeviceAttributes {
  name?: string;
  /** An index. */
  master?: number;
  address?: string;
  mtu?: number;
  netnsFd?: number;
}

/** The fields of a message, without the indexes of devices: the kernel must be asked for those. */
export interface Wire<Attributes = DeviceAttributes> {
  flags: number;
  change: number;
  attributes: Partial<Attributes>;
}

export function writeDevice(value: Omit<NewPeer, 'name'>, path: Path): DeviceAttributes {
  const attributes: DeviceAttributes = {};
  if (value.mtu !== undefined) attributes.mtu = checkMtu(value.mtu, [...path, 'mtu']);
  if (value.address !== undefined) attributes.address = checkMac(value.address, [...path, 'address']);
  if ('netns' in value) attributes.netnsFd = descriptorOf(value, path);
  return attributes;
}

function writeUp({ up }: { up?: boolean }): { flags: number; change: number } {
  if (up === undefined) return { flags: 0, change: 0 };
  return { flags: checkBoolean(up, ['up']) ? IFF_UP : 0, change: IFF_UP };
}

function descriptorOf(value: { netns?: NetNs }, path: Path): number {
  try {
    return netnsOf(value).descriptor;
  } catch (error) {
    throw within(error, path);
  }
}

function checkMaster(master: unknown, value: object): void {
  checkName(master, ['master']);
  if ('netns' in value) throw typeError(['master'], 'nothing beside netns', master, 'ERR_CONFLICT');
}

/** The fields of every new device, whatever its kind; `fields` are those of its kind. */
export function writeNew(value: NewLink, fields: readonly string[]): { wire: Wire; name: string } {
  checkObject(value, [], [...LINK_KEYS, ...fields]);
  const name = checkName(value.name, ['name']);
  if (value.master !== undefined) checkMaster(value.master, value);
  return { name, wire: { ...writeUp(value), attributes: writeDevice(value, []) } };
}

export function writeChanges(changes: LinkChanges): Wire {
  checkObject(changes, [], CHANGE_KEYS);
  if (changes.master !== undefined && changes.master !== null) checkMaster(changes.master, changes);
  const attributes: DeviceAttributes = writeDevice(changes, []);
  if (changes.newName !== undefined) attributes.name = checkName(changes.newName, ['newName']);
  return { ...writeUp(changes), attributes };
}

const BAD_ADDRESS = 'no device can have this hardware address: it is zero, or that of a group (odd first byte)';

/** The path of the field that the kernel must mean, where only one of these was given; else undefined. */
export function onlyOne(fields: Readonly<Record<string, unknown>>): Path | undefined {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length === 1 ? given[0]![0].split('.') : undefined;
}

/** What the kernel's refusals mean for a new device of any kind. */
export function refusalsOfNew({ name, address }: NewLink, kind: string): Refusals {
  return {
    hints: {
      EEXIST: `a device named ${quote(name)} exists`,
      EOPNOTSUPP: `this kernel has no devices of kind ${kind}: load the module ${kind} on the host`,
      EADDRNOTAVAIL: BAD_ADDRESS,
      EINVAL: 'a value is outside the limits of the driver',
    },
    blame: { EEXIST: ['name'], EADDRNOTAVAIL: onlyOne({ address }) },
  };
}

export function refusalsOfChanges(name: string, changes: LinkChanges): Refusals {
  const { newName, netns, master, mtu, address } = changes;
  const elsewhere =
    newName === undefined ? '' : `; ${quote(name)} may have moved there already and kept its name, if that was free`;
  const noMove = 'lo, and devices that are bound to their namespace, cannot move';
  const noPort = 'the master must be a bridge, bond or VRF, and lo can have none';
  return {
    hints: {
      ENODEV: missing(name),
      EEXIST: `a device named ${quote(newName ?? name)} exists ${netns === undefined ? 'here' : `in the other namespace${elsewhere}`}`,
      EBUSY: 'the device is up (switch it off first), or others stand on it (macvlan)',
      EADDRNOTAVAIL: BAD_ADDRESS,
      ELOOP: 'a bridge cannot be a port of itself or of another bridge',
      EINVAL: netns !== undefined ? noMove : typeof master === 'string' ? noPort : undefined,
    },
    blame: {
      ENODEV: ['name'],
      EEXIST: newName === undefined ? ['netns'] : ['newName'],
      EADDRNOTAVAIL: ['address'],
      ELOOP: ['master'],
      EINVAL: onlyOne({ netns, master: master ?? undefined, mtu, address, newName }),
    },
  };
}
