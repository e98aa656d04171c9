import { checkObject, checkOneOf } from '../codec/index.ts';
import { type Path, rangeError, typeError, within } from '../errors.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type BridgeSettings, checkBridge } from './bridge.ts';
import * as C from './constants.ts';
import { checkBoolean, checkMac, checkMtu, checkName } from './device.ts';
import { type LinkAttributes, type LinkInfo, MACVLAN_MODES, type MacvlanMode, type Peer } from './link.ts';

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

function writeSettings(value: Partial<NewLink>, path: Path): Wire {
  const attributes: Partial<LinkAttributes> = {};
  if (value.mtu !== undefined) attributes.mtu = checkMtu(value.mtu, [...path, 'mtu']);
  if (value.address !== undefined) attributes.address = checkMac(value.address, [...path, 'address']);
  if ('netns' in value) attributes.netnsFd = descriptorOf(value, path);
  const up = value.up === undefined ? undefined : checkBoolean(value.up, [...path, 'up']);
  return { flags: up ? C.IFF_UP : 0, change: up === undefined ? 0 : C.IFF_UP, attributes };
}

function descriptorOf(value: { netns?: NetNs }, path: Path): number {
  try {
    return netnsOf(value).descriptor;
  } catch (error) {
    throw within(error, path);
  }
}

function checkMaster(value: { master?: string | null; netns?: NetNs }): void {
  if (value.master === undefined || value.master === null) return;
  checkName(value.master, ['master']);
  if ('netns' in value) throw typeError(['master'], 'nothing beside netns', value.master, 'ERR_CONFLICT');
}

function writeNew(value: NewLink, keys: readonly string[], kind: string): Wire & { info: LinkInfo } {
  checkObject(value, [], [...LINK_KEYS, ...keys]);
  const name = checkName(value.name, ['name']);
  checkMaster(value);
  const wire = writeSettings(value, []);
  const info: LinkInfo = { kind };
  Object.assign(wire.attributes, { name, info });
  return { ...wire, info };
}

export function writeVeth(value: NewVeth): Wire {
  const wire = writeNew(value, ['peer'], 'veth');
  const path = ['peer'];
  if (value.peer === undefined) throw typeError(path, '{ name }', undefined, 'ERR_MISSING');
  checkObject(value.peer, path, PEER_KEYS);
  const name = checkName(value.peer.name, ['peer', 'name']);
  const { attributes } = writeSettings(value.peer, path);
  if (name === value.name && attributes.netnsFd === undefined && wire.attributes.netnsFd === undefined) {
    throw rangeError(['peer', 'name'], 'another name than that of the first end', name);
  }
  const { mtu, address, netnsFd } = attributes;
  wire.info.veth = { peer: { ...attributes, name } };
  return wire;
}

export function writeBridge(value: NewBridge): Wire {
  const wire = writeNew(value, ['bridge'], 'bridge');
  if (value.bridge !== undefined) wire.info.bridge = checkBridge(value.bridge);
  return wire;
}

export function writeDummy(value: NewLink): Wire {
  return writeNew(value, [], 'dummy');
}

export function writeMacvlan(value: NewMacvlan): Wire {
  const wire = writeNew(value, ['link', 'mode'], 'macvlan');
  checkName(value.link, ['link']);
  const mode = value.mode ?? 'bridge';
  wire.info.macvlan = { mode: checkOneOf(mode, ['mode'], Object.keys(MACVLAN_MODES) as MacvlanMode[]) };
  return wire;
}

export function writeChanges(changes: LinkChanges): Wire {
  checkObject(changes, [], CHANGE_KEYS);
  checkMaster(changes);
  const { newName, master: _, ...settings } = changes;
  const wire = writeSettings(settings, []);
  if (newName !== undefined) wire.attributes.name = checkName(newName, ['newName']);
  return wire;
}

