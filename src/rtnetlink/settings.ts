import { checkObject, checkOneOf } from '../codec/index.ts';
import { type Path, rangeError, typeError, within } from '../errors.ts';
import * as C from '../linux/if.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type BridgeSettings, checkBridge } from './bridge.ts';
import { checkBoolean, checkMac, checkMtu, checkName, missing, quote } from './device.ts';
import { type LinkAttributes, type LinkInfo, MACVLAN_MODES, type MacvlanMode, type Peer } from './link.ts';
import type { Refusals } from './request.ts';

/** The other end of a new veth. It begins switched off: the kernel has not joined the two yet when it makes this one (ENOTCONN). */
export interface NewPeer {
  /** 1 to 15 bytes, no '/', ':', '%' or white space, not '.' or '..'. */
  name: string;
  /** The namespace to make it in; that of the handle where left out. */
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

export interface NewVeth extends NewLink {
  /** The other end. */
  peer: NewPeer;
}

export interface NewBridge extends NewLink {
  bridge?: BridgeSettings;
}

export interface NewMacvlan extends NewLink {
  /** The device below, in the namespace of the handle. */
  link: string;
  /** Default 'bridge' (the kernel's own is 'vepa', which needs a switch that sends packets back where they came from). */
  mode?: MacvlanMode;
}

/** What of a device can be changed; what is left out stays. */
export interface LinkChanges {
  /** Switch it on or off. Switching off drops the routes over it. */
  up?: boolean;
  /** The bridge to be a port of; null to leave the one it is a port of. */
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

const PEER_KEYS = ['name', 'netns', 'mtu', 'address'] as const;
const LINK_KEYS = [...PEER_KEYS, 'up', 'master'] as const;
const CHANGE_KEYS = ['up', 'master', 'netns', 'newName', 'mtu', 'address'] as const;

/** What goes into a message, but for indexes, which have to be asked for. */
export interface Wire {
  flags: number;
  change: number;
  attributes: Partial<LinkAttributes>;
}

function writeDevice(value: Omit<NewPeer, 'name'>, path: Path): Partial<Peer> {
  const attributes: Partial<Peer> = {};
  if (value.mtu !== undefined) attributes.mtu = checkMtu(value.mtu, [...path, 'mtu']);
  if (value.address !== undefined) attributes.address = checkMac(value.address, [...path, 'address']);
  if ('netns' in value) attributes.netnsFd = descriptorOf(value, path);
  return attributes;
}

function writeUp({ up }: { up?: boolean }): { flags: number; change: number } {
  if (up === undefined) return { flags: 0, change: 0 };
  return { flags: checkBoolean(up, ['up']) ? C.IFF_UP : 0, change: C.IFF_UP };
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

function writeNew(value: NewLink, keys: readonly string[], info: LinkInfo): Wire {
  checkObject(value, [], [...LINK_KEYS, ...keys]);
  const name = checkName(value.name, ['name']);
  if (value.master !== undefined) checkMaster(value.master, value);
  return { ...writeUp(value), attributes: { ...writeDevice(value, []), name, info } };
}

export function writeVeth(value: NewVeth): Wire {
  const info: LinkInfo = { kind: 'veth' };
  const wire = writeNew(value, ['peer'], info);
  const { peer } = value;
  if (peer === undefined) throw typeError(['peer'], '{ name }', undefined, 'ERR_MISSING');
  checkObject(peer, ['peer'], PEER_KEYS);
  const name = checkName(peer.name, ['peer', 'name']);
  if (name === value.name && !('netns' in peer) && !('netns' in value)) {
    throw rangeError(['peer', 'name'], 'another name than that of the first end', name);
  }
  info.veth = { peer: { ...writeDevice(peer, ['peer']), name } };
  return wire;
}

export function writeBridge(value: NewBridge): Wire {
  const info: LinkInfo = { kind: 'bridge' };
  const wire = writeNew(value, ['bridge'], info);
  if (value.bridge !== undefined) info.bridge = checkBridge(value.bridge);
  return wire;
}

export function writeDummy(value: NewLink): Wire {
  return writeNew(value, [], { kind: 'dummy' });
}

export function writeMacvlan(value: NewMacvlan): Wire {
  const { mode = 'bridge' } = value;
  const info: LinkInfo = { kind: 'macvlan', macvlan: { mode } };
  const wire = writeNew(value, ['link', 'mode'], info);
  checkName(value.link, ['link']);
  checkOneOf(mode, ['mode'], Object.keys(MACVLAN_MODES) as MacvlanMode[]);
  return wire;
}

export function writeChanges(changes: LinkChanges): Wire {
  checkObject(changes, [], CHANGE_KEYS);
  if (changes.master !== undefined && changes.master !== null) checkMaster(changes.master, changes);
  const attributes: Partial<LinkAttributes> = writeDevice(changes, []);
  if (changes.newName !== undefined) attributes.name = checkName(changes.newName, ['newName']);
  return { ...writeUp(changes), attributes };
}

const BAD_ADDRESS = 'no device can have this hardware address: it is zero, or that of a group (odd first byte)';

/** The only one of these fields that was given, if it is only one: it must be what the kernel means. */
function onlyOne(fields: Readonly<Record<string, unknown>>): Path | undefined {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length === 1 ? given[0]![0].split('.') : undefined;
}

export function refusalsOfNew(options: NewLink & Partial<NewVeth & NewBridge & NewMacvlan>, kind: string): Refusals {
  const { name, peer, mtu, address, bridge, link } = options;
  const taken = `a device named ${quote(name)} exists`;
  return {
    hints: {
      EEXIST:
        peer === undefined ? taken : `${taken} here, or one named ${quote(peer.name)} in the namespace of the peer`,
      EOPNOTSUPP:
        bridge === undefined
          ? `this kernel has no devices of kind ${kind}: load the module ${kind} on the host`
          : 'this kernel has no bridges, or none with this setting',
      EADDRNOTAVAIL: BAD_ADDRESS,
      EBUSY:
        link === undefined ? undefined : `${quote(link)} is a port of a bridge, or has a macvlan of mode 'passthru'`,
      EINVAL: 'a value is outside the limits of the driver',
    },
    blame: {
      EEXIST: peer === undefined ? ['name'] : undefined,
      EADDRNOTAVAIL: onlyOne({ address, 'peer.address': peer?.address }),
      EINVAL: onlyOne({ mtu, 'peer.mtu': peer?.mtu, bridge, link }),
      EBUSY: link === undefined ? undefined : ['link'],
    },
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
