import { checkInteger, checkObject, checkOneOf } from '../../codec/index.ts';
import { type Path, rangeError, typeError, within } from '../../errors.ts';
import * as If from '../../linux/if.ts';
import { type NetNs, netnsOf } from '../../netns/netns.ts';
import { checkAltName, checkBoolean, checkDevice, checkMac, checkMtu, checkName, missing, quote } from '../device.ts';
import type { Refusals } from '../request.ts';
import type { PortSettings } from './port.ts';

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

/** What every device can be given, when it is made and later. */
export interface DeviceSettings {
  /** Switch it on or off. Switching off drops the routes over it. Default false in a new device. */
  up?: boolean;
  /** A free text of up to 255 bytes; '' takes it away. It is not a name: no device is found by it. */
  alias?: string;
  /** Other names that it is found by, 1 to 127 bytes each: all that there shall be. They are unique in the namespace. */
  altNames?: string[];
  /** Group, for operations on many devices at once, 0 to 2^32-1; 0 is the default one. */
  group?: number;
  /** It takes all packets of the wire (IFF_PROMISC). Captures and bridges ask for that on their own: see `promiscuity`. */
  promiscuous?: boolean;
  /** It takes all multicast packets (IFF_ALLMULTI). */
  receiveAllMulticast?: boolean;
  /** It can send to groups (IFF_MULTICAST). */
  multicast?: boolean;
  /** Neighbours' hardware addresses are asked for (not IFF_NOARP). */
  arp?: boolean;
  /** Packets that the default queueing discipline may hold, 0 to 2^32-1: `ip link set txqueuelen`. */
  transmitQueueLength?: number;
  /** Where the link layer sends its broadcasts, 'ff:ff:ff:ff:ff:ff' on Ethernet. */
  broadcast?: string;
  /** 0 the device is operational when its carrier is, 1 when a program says so. */
  linkMode?: number;
  /** A protocol keeps the device down (VRRP, MC-LAG). Few drivers can (VXLAN, macvlan; before Linux 6.2 not veth). */
  protoDown?: boolean;
  /** Segments of the largest packet that the stack sends to be cut (GSO), 0 to 65535. */
  gsoMaxSegments?: number;
  /** Bytes of that packet; at most `tsoMaxBytes`. */
  gsoMaxBytes?: number;
  /** Bytes up to which received packets are joined (GRO). */
  groMaxBytes?: number;
  /** The settings of a port of a bridge: beside `master`, or where it has one. */
  port?: PortSettings;
}

/** What can be given for every new device. */
export interface NewLink extends NewPeer, DeviceSettings {
  /** The bridge, bond or VRF to make it a port of. Not beside `netns`: both are in one namespace. */
  master?: string;
  /** How many queues it sends by, 1 to 4096, where its driver can. */
  transmitQueues?: number;
  /** How many queues it receives by, 1 to 4096, where its driver can. */
  receiveQueues?: number;
}

/** The changes of every device. Fields that are left out stay as they are. */
export interface DeviceChanges extends DeviceSettings {
  /** The bridge, bond or VRF to make it a port of; null takes it out of its master. */
  master?: string | null;
  /** Move it into this namespace. It is switched off on the way and loses its addresses; `up: true` beside it switches it on there. */
  netns?: NetNs;
  /** Its name from then on. Before Linux 6.2 a device that is up cannot be renamed (EBUSY). */
  newName?: string;
  /** Largest packet in bytes, from 68; the driver's limits are `minMtu` and `maxMtu`. */
  mtu?: number;
  /** Hardware address 'aa:bb:cc:dd:ee:ff'. */
  address?: string;
  /** The other side is connected, for drivers that let a program say so (dummy). */
  carrier?: boolean;
  /** RFC 2863 state, where `linkMode` is 1. */
  operationalState?: 'dormant' | 'testing' | 'up';
}

export const PEER_KEYS = ['name', 'netns', 'mtu', 'address'] as const;
/** The compiler finds a field that is missing in these two. */
const LINK_KEYS = Object.keys({
  name: true,
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
  transmitQueues: true,
  receiveQueues: true,
} satisfies Record<keyof NewLink, true>);
const CHANGE_KEYS = Object.keys({
  netns: true,
  mtu: true,
  address: true,
  up: true,
  master: true,
  newName: true,
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
  carrier: true,
  operationalState: true,
} satisfies Record<keyof DeviceChanges, true>);

const MAX_U32 = 0xffffffff;
const MAX_QUEUES = 4096;
const MAX_ALIAS = 255;

/** The attributes that every device can be given. */
export interface DeviceAttributes {
  name?: string;
  /** An index. */
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

/** The fields of a message, without the indexes of devices: the kernel must be asked for those. */
export interface Wire<Attributes = DeviceAttributes> {
  flags: number;
  change: number;
  attributes: Partial<Attributes>;
}

/** Settings that the kernel takes only for a device that exists. */
export interface LaterSettings {
  alias?: string;
  altNames?: string[];
  protoDown?: boolean;
  port?: PortSettings;
}

/** A link that was read has an index, which nobody gives: its fields that only the kernel sets are then ignored. */
export const wasRead = (options: object): boolean => (options as { index?: unknown }).index !== undefined;

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

/** A link that was read has the addresses of its kind: those of tunnels are made from their settings. */
function writeDevice(value: NewLink | DeviceChanges): DeviceAttributes {
  const read = wasRead(value);
  const foreign = read && (value as { type?: unknown }).type !== 'ether';
  const { address: _, ...rest } = value;
  const attributes = { ...writePeer(foreign ? rest : value, []), ...writeNumbers(value, NUMBERS) };
  if (value.broadcast !== undefined && !foreign) attributes.broadcast = checkMac(value.broadcast, ['broadcast']);
  return attributes;
}

/** The device flags that have a setting: its value where a link that was read does not have it. */
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

/** The settings of a link that stand for its flags, where they are not as usual. */
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
  const { alias, altNames, protoDown, port } = value;
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
    // Drivers that cannot refuse even false, which is so in all that were read.
    if (checkBoolean(protoDown, ['protoDown']) || !wasRead(value)) later.protoDown = protoDown;
  }
  if (port !== undefined) {
    if (typeof port !== 'object' || port === null) throw typeError(['port'], 'an object', port);
    if ('netns' in value) throw typeError(['port'], 'nothing beside netns', port, 'ERR_CONFLICT');
    later.port = port;
  }
  return later;
}

/**
 * The fields of every new device, whatever its kind.
 * @param fields those of its kind. @param told those of a link that only the kernel sets
 */
export function writeNew(
  value: NewLink,
  fields: readonly string[],
  told: readonly string[] = [],
): { wire: Wire; name: string; later: LaterSettings } {
  checkObject(value, [], [...LINK_KEYS, ...fields, ...(wasRead(value) ? told : [])]);
  const name = checkName(value.name, ['name']);
  if (value.master !== undefined) checkMaster(value.master, value);
  if (value.port !== undefined && value.master === undefined)
    throw typeError(['master'], 'the bridge that it becomes a port of', undefined, 'ERR_MISSING');
  const attributes = { ...writeDevice(value), ...writeNumbers(value, QUEUES) };
  return { name, wire: { ...writeFlags(value), attributes }, later: writeLater(value) };
}

/**
 * The fields of a change that every device can have.
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
