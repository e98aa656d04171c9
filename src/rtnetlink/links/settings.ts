import { checkInteger, checkObject, checkOneOf } from '../../codec/index.ts';
import { type Path, rangeError, typeError, within } from '../../errors.ts';
import * as If from '../../linux/if.ts';
import { type NetNs, netnsOf } from '../../netns/netns.ts';
import { checkAltName, checkBoolean, checkDevice, checkMac, checkMtu, checkName, missing, quote } from '../device.ts';
import type { Refusals } from '../request.ts';
import type { BondPort } from './bond-port.ts';
import type { PortSettings } from './port.ts';

/** The other end of a new veth. It is switched off at first: the kernel creates it before it connects both ends (ENOTCONN). */
export interface NewPeer {
  /** 1 to 15 bytes, no '/', ':', '%' or white space, not '.' or '..'. */
  name: string;
  /** The namespace in which to create it. Default: the namespace of the handle. */
  netns?: NetNs;
  /** Largest packet in bytes, from 68. Default: the driver's, usually 1500. */
  mtu?: number;
  /** Hardware address 'aa:bb:cc:dd:ee:ff'. Default: random. */
  address?: string;
}

/** The settings of every device, both when it is created and later. */
export interface DeviceSettings {
  /** Switch the device on or off. Switching off drops its routes. A new device is off by default. */
  up?: boolean;
  /** A free text of up to 255 bytes; '' removes it. It is not a name, so no device is found by it. */
  alias?: string;
  /** The complete list of alternative names, by which the device is found too, 1 to 127 bytes each. They are unique in the namespace. */
  altNames?: string[];
  /** The group, for operations on many devices at once, 0 to 2^32-1; 0 is the default group. */
  group?: number;
  /** Accept all packets of the wire (IFF_PROMISC). Packet captures and bridges request that separately: see `promiscuity`. */
  promiscuous?: boolean;
  /** Accept all multicast packets (IFF_ALLMULTI). */
  receiveAllMulticast?: boolean;
  /** The device can send to multicast groups (IFF_MULTICAST). */
  multicast?: boolean;
  /** Ask for the hardware addresses of neighbours (the opposite of IFF_NOARP). */
  arp?: boolean;
  /** The number of packets that the default queueing discipline may hold, 0 to 2^32-1: `ip link set txqueuelen`. */
  transmitQueueLength?: number;
  /** The address to which the link layer sends broadcasts, 'ff:ff:ff:ff:ff:ff' on Ethernet. */
  broadcast?: string;
  /** 0: the device is operational when its carrier is. 1: a program decides it. */
  linkMode?: number;
  /** A protocol keeps the device down (VRRP, MC-LAG). Few drivers support it (VXLAN, macvlan; veth since Linux 6.2). */
  protoDown?: boolean;
  /** The largest number of segments in a packet that the stack cuts before sending (GSO), 0 to 65535. */
  gsoMaxSegments?: number;
  /** The largest size of such a packet in bytes; at most `tsoMaxBytes`. */
  gsoMaxBytes?: number;
  /** The largest size of a packet that is joined from received packets (GRO), in bytes. */
  groMaxBytes?: number;
  /** The settings of a port of a bridge. Give them together with `master`, or if the device has a master. */
  port?: PortSettings;
  /** The settings of a part of a bond: `queueId`, `priority`. Give them together with `master`, or if the device has a master. */
  bondPort?: Partial<BondPort>;
}

/** The options of every new device. */
export interface NewLink extends NewPeer, DeviceSettings {
  /** The bridge, bond or VRF whose port the device becomes. Not together with `netns`: both must be in one namespace. */
  master?: string;
  /** The number of transmit queues, 1 to 4096, if the driver supports several. */
  transmitQueues?: number;
  /** The number of receive queues, 1 to 4096, if the driver supports several. */
  receiveQueues?: number;
}

/** The changes of every device. Fields that are left out stay as they are. */
export interface DeviceChanges extends DeviceSettings {
  /** The bridge, bond or VRF whose port the device becomes; null removes it from its master. */
  master?: string | null;
  /**
   * Move the device into this namespace. It is switched off and loses its addresses. With `up: true`, it is switched on in the new
   * namespace.
   */
  netns?: NetNs;
  /** The device's new name. Before Linux 6.2, a device that is up cannot be renamed (EBUSY). */
  newName?: string;
  /** Largest packet in bytes, from 68. `minMtu` and `maxMtu` are the driver's limits. */
  mtu?: number;
  /** Hardware address 'aa:bb:cc:dd:ee:ff'. */
  address?: string;
  /** Whether the other side is connected, for drivers that let a program decide it (dummy). */
  carrier?: boolean;
  /** State of RFC 2863, if `linkMode` is 1. */
  operationalState?: 'dormant' | 'testing' | 'up';
}

export const PEER_KEYS = ['name', 'netns', 'mtu', 'address'] as const;
/** The types of these two objects make the compiler report a field that is missing here. */
/** The settings of new devices and of devices that exist. */
const COMMON = {
  netns: true,
  mtu: true,
  address: true,
  up: true,
  master: true,
  alias: true,
  altNames: true,
  group: true,
  promiscuous: true,
  receiveAllMulticast: true,
  multicast: true,
  arp: true,
  transmitQueueLength: true,
  broadcast: true,
  linkMode: true,
  protoDown: true,
  gsoMaxSegments: true,
  gsoMaxBytes: true,
  groMaxBytes: true,
  port: true,
  bondPort: true,
} as const;
/** The settings of a port, which go to its master after it has joined. */
export const PORT_FIELDS = ['port', 'bondPort'] as const;
const LINK_KEYS = Object.keys({
  ...COMMON,
  name: true,
  transmitQueues: true,
  receiveQueues: true,
} satisfies Record<keyof NewLink, true>);
const CHANGE_KEYS = Object.keys({
  ...COMMON,
  newName: true,
  carrier: true,
  operationalState: true,
} satisfies Record<keyof DeviceChanges, true>);

const MAX_U32 = 0xffffffff;
const MAX_QUEUES = 4096;
const MAX_ALIAS = 255;

/** The attributes that a program can set on every device. */
export interface DeviceAttributes {
  name?: string;
  /** The index of the master. */
  master?: number;
  address?: string;
  broadcast?: string;
  mtu?: number;
  netnsFd?: number;
  alias?: string;
  group?: number;
  transmitQueueLength?: number;
  linkMode?: number;
  protoDown?: boolean;
  gsoMaxSegments?: number;
  gsoMaxBytes?: number;
  groMaxBytes?: number;
  transmitQueues?: number;
  receiveQueues?: number;
  carrier?: boolean;
  operationalState?: 'dormant' | 'testing' | 'up';
}

/** The fields of a message without the indexes of devices, which the caller must still look up. */
export interface Wire<Attributes = DeviceAttributes> {
  flags: number;
  change: number;
  attributes: Partial<Attributes>;
}

/** Settings that the kernel accepts only for a device that exists. */
export interface LaterSettings {
  alias?: string;
  altNames?: string[];
  protoDown?: boolean;
  port?: PortSettings;
  bondPort?: Partial<BondPort>;
}

/**
 * Whether the options are a link that was read, because only such a link has an index. Its fields that only the kernel sets are then
 * ignored.
 */
export const wasRead = (options: object): boolean => (options as { index?: unknown } | undefined)?.index !== undefined;

export function writePeer(value: Omit<NewPeer, 'name'>, path: Path): DeviceAttributes {
  const attributes: DeviceAttributes = {};
  if (value.mtu !== undefined) attributes.mtu = checkMtu(value.mtu, [...path, 'mtu']);
  if (value.address !== undefined) attributes.address = checkMac(value.address, [...path, 'address']);
  if ('netns' in value) attributes.netnsFd = descriptorOf(value, path);
  return attributes;
}

const NUMBERS = {
  group: [0, MAX_U32],
  transmitQueueLength: [0, MAX_U32],
  linkMode: [0, 1],
  gsoMaxSegments: [0, 0xffff],
  gsoMaxBytes: [0, MAX_U32],
  groMaxBytes: [0, MAX_U32],
} as const;
const QUEUES = { transmitQueues: [1, MAX_QUEUES], receiveQueues: [1, MAX_QUEUES] } as const;

function writeNumbers(
  value: object,
  limits: Readonly<Record<string, readonly [min: number, max: number]>>,
): DeviceAttributes {
  const given = Object.entries(limits).map(([key, range]) => [key, (value as Record<string, unknown>)[key], range]);
  return Object.fromEntries(
    (given as [string, unknown, readonly [number, number]][])
      .filter(([, number]) => number !== undefined)
      .map(([key, number, range]) => [key, checkInteger(number, [key], ...range)]),
  );
}

/**
 * Writes the attributes of a device. It skips the addresses of a link that was read unless it is Ethernet, because the kernel derives those
 * of tunnels from their settings.
 */
function writeDevice(value: NewLink | DeviceChanges): DeviceAttributes {
  const read = wasRead(value);
  const foreign = read && (value as { type?: unknown }).type !== 'ether';
  const { address: _, ...rest } = value;
  const attributes = { ...writePeer(foreign ? rest : value, []), ...writeNumbers(value, NUMBERS) };
  if (value.broadcast !== undefined && !foreign) attributes.broadcast = checkMac(value.broadcast, ['broadcast']);
  return attributes;
}

/** The device flags that have a setting, with the value that a link that was read leaves out. */
export const FLAGS = [
  ['up', If.IFF_UP, false],
  ['promiscuous', If.IFF_PROMISC, false],
  ['receiveAllMulticast', If.IFF_ALLMULTI, false],
  ['multicast', If.IFF_MULTICAST, true],
  ['arp', If.IFF_NOARP, true],
] as const;

function writeFlags(value: DeviceSettings): { flags: number; change: number } {
  let [flags, change] = [0, 0];
  for (const [key, bit] of FLAGS) {
    if (value[key] === undefined) continue;
    change |= bit;
    if (checkBoolean(value[key], [key]) === (key !== 'arp')) flags |= bit;
  }
  return { flags, change };
}

/** Converts flags to the settings of a link. It leaves out the usual values. */
export function readFlags(flags: number): Pick<DeviceSettings, (typeof FLAGS)[number][0]> {
  const has = (bit: number) => (flags & bit) !== 0;
  return {
    ...(has(If.IFF_PROMISC) && { promiscuous: true }),
    ...(has(If.IFF_ALLMULTI) && { receiveAllMulticast: true }),
    ...(!has(If.IFF_MULTICAST) && { multicast: false }),
    ...(has(If.IFF_NOARP) && { arp: false }),
  };
}

function descriptorOf(value: { netns?: NetNs }, path: Path): number {
  try {
    return netnsOf(value).descriptor;
  } catch (error) {
    throw within(error, path);
  }
}

function checkMaster(master: unknown, value: object): void {
  checkDevice(master, ['master']);
  if ('netns' in value) throw typeError(['master'], 'nothing beside netns', master, 'ERR_CONFLICT');
}

function writeLater(value: DeviceSettings): LaterSettings {
  const { alias, altNames, protoDown } = value;
  const later: LaterSettings = {};
  if (alias !== undefined) {
    if (typeof alias !== 'string') throw typeError(['alias'], 'a string', alias);
    if (alias.includes('\0') || Buffer.byteLength(alias) > MAX_ALIAS)
      throw rangeError(['alias'], `up to ${MAX_ALIAS} bytes without NUL`, alias);
    later.alias = alias;
  }
  if (altNames !== undefined) {
    if (!Array.isArray(altNames)) throw typeError(['altNames'], 'an array of names', altNames);
    later.altNames = altNames.map((name, i) => checkAltName(name, ['altNames', i]));
    const twice = altNames.findIndex((name, i) => altNames.indexOf(name) !== i);
    if (twice >= 0) throw rangeError(['altNames', twice], 'each name once', altNames[twice], 'ERR_DUPLICATE');
  }
  if (protoDown !== undefined) {
    // Some drivers refuse even false. Every link that was read has false here, so that is not sent.
    if (checkBoolean(protoDown, ['protoDown']) || !wasRead(value)) later.protoDown = protoDown;
  }
  for (const field of PORT_FIELDS) {
    const port: unknown = value[field];
    if (port === undefined) continue;
    if (typeof port !== 'object' || port === null) throw typeError([field], 'an object', port);
    if ('netns' in value) throw typeError([field], 'nothing beside netns', port, 'ERR_CONFLICT');
    later[field] = port;
  }
  return later;
}

/**
 * Checks the fields that every new device can have, whatever its kind.
 * @param fields the fields of the kind. @param told the fields of a link that only the kernel sets
 */
export function writeNew(
  value: NewLink,
  fields: readonly string[],
  told: readonly string[] = [],
): { wire: Wire; name: string; later: LaterSettings } {
  checkObject(value, [], [...LINK_KEYS, ...fields, ...(wasRead(value) ? told : [])]);
  const name = checkName(value.name, ['name']);
  if (value.master !== undefined) checkMaster(value.master, value);
  if ((value.port ?? value.bondPort) !== undefined && value.master === undefined)
    throw typeError(['master'], 'the bridge or the bond that it joins', undefined, 'ERR_MISSING');
  const attributes = { ...writeDevice(value), ...writeNumbers(value, QUEUES) };
  return { name, wire: { ...writeFlags(value), attributes }, later: writeLater(value) };
}

/**
 * Checks the fields of a change that every device can have.
 * @param kinds the names of the kinds of links. @param told the fields of a link that only the kernel sets
 */
export function writeChanges(
  changes: DeviceChanges,
  kinds: readonly string[] = [],
  told: readonly string[] = [],
): Wire & { later: Omit<LaterSettings, 'alias' | 'protoDown'> } {
  const read = wasRead(changes);
  checkObject(changes, [], [...CHANGE_KEYS, ...kinds, ...(read ? told : [])]);
  if (changes.master !== undefined && changes.master !== null) checkMaster(changes.master, changes);
  const attributes: DeviceAttributes = writeDevice(changes);
  if (changes.newName !== undefined) attributes.name = checkName(changes.newName, ['newName']);
  const { alias, protoDown, ...later } = writeLater(changes);
  if (alias !== undefined) attributes.alias = alias;
  if (protoDown !== undefined) attributes.protoDown = protoDown;
  if (!read) {
    const { carrier, operationalState } = changes;
    if (carrier !== undefined) attributes.carrier = checkBoolean(carrier, ['carrier']);
    if (operationalState !== undefined)
      attributes.operationalState = checkOneOf(operationalState, ['operationalState'], ['dormant', 'testing', 'up']);
  }
  return { ...writeFlags(changes), attributes, later };
}

const BAD_ADDRESS = 'no device can have this hardware address: it is zero, or that of a group (odd first byte)';

/** Returns the path of the one field that was given, because the kernel can mean no other; undefined unless it is exactly one. */
export function onlyOne(fields: Readonly<Record<string, unknown>>): Path | undefined {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length === 1 ? given[0]![0].split('.') : undefined;
}

/** Explains the kernel's refusals of a new device of any kind. */
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

export function refusalsOfChanges(name: string, changes: DeviceChanges): Refusals {
  const { newName, netns, master, mtu, address, protoDown, carrier, gsoMaxBytes, gsoMaxSegments, groMaxBytes } =
    changes;
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
      EOPNOTSUPP:
        protoDown === undefined && carrier === undefined ? undefined : 'the driver of this device has no such setting',
    },
    blame: {
      ENODEV: ['name'],
      EEXIST: newName === undefined ? ['netns'] : ['newName'],
      EADDRNOTAVAIL: ['address'],
      ELOOP: ['master'],
      EOPNOTSUPP: onlyOne({ protoDown, carrier }),
      EINVAL: onlyOne({
        netns,
        master: master ?? undefined,
        mtu,
        address,
        newName,
        gsoMaxBytes,
        gsoMaxSegments,
        groMaxBytes,
      }),
    },
  };
}
