import {
  attribute,
  attributes,
  checkInteger,
  checkObject,
  type Infer,
  IP_ADDRESS,
  namedBits,
  opt,
  type UnknownAttribute,
  u16be,
  u16ne,
  u32ne,
} from '../codec/index.ts';
import { oneOf, rangeError, typeError } from '../errors.ts';
import * as C from '../linux/neighbour.ts';
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE } from '../linux/netlink.ts';
import { RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH } from '../linux/rtnetlink.ts';
import { AF_BRIDGE } from '../linux/socket.ts';
import type { Exchange, Operation } from '../netlink/index.ts';
import { checkBoolean, checkDevice, checkMac, HARDWARE_ADDRESS, quote } from './device.ts';
import { type DeviceFilter, type Devices, present } from './devices.ts';
import { flagBits, NEIGHBOUR_FLAGS, type NeighbourFlag, nda_cacheinfo, ndmsg } from './neighbour.ts';
import { checkHost } from './prefix.ts';
import { CREATE, kind, type Refusals, read, request } from './request.ts';

/** Attributes of the entries of forwarding tables (net/core/rtnetlink.c, net/bridge/br_fdb.c, drivers/net/vxlan/vxlan_core.c). */
export const FDB = attributes('NDA', () => ({
  /** VXLAN: the other end. */
  remote: opt(attribute(C.NDA_DST, IP_ADDRESS)),
  /** The hardware address. */
  address: opt(attribute(C.NDA_LLADDR, HARDWARE_ADDRESS)),
  cacheInfo: opt(attribute(C.NDA_CACHEINFO, nda_cacheinfo)),
  /** The VLAN of the bridge, 1 to 4094. */
  vlan: opt(u16ne(C.NDA_VLAN)),
  /** VXLAN: the UDP port of the other end, if it differs from the device's. */
  destinationPort: opt(u16be(C.NDA_PORT)),
  /** VXLAN: the network at the other end, if it differs from the device's. */
  networkId: opt(u32ne(C.NDA_VNI)),
  /** VXLAN: the index of the device through which packets leave. */
  remoteDevice: opt(u32ne(C.NDA_IFINDEX)),
  /** The index of the bridge. */
  master: opt(u32ne(C.NDA_MASTER)),
  linkNetnsId: opt(u32ne(C.NDA_LINK_NETNSID)),
  /** VXLAN with `collectMetadata`: the network that the entry is for. */
  sourceNetworkId: opt(u32ne(C.NDA_SRC_VNI)),
  /** VXLAN: the nexthop object for the packets (Linux 5.8). */
  nextHopId: opt(u32ne(C.NDA_NH_ID)),
  /** NTF_EXT_*: flags for which the header has no room. */
  extendedFlags: opt(u32ne(C.NDA_FLAGS_EXT)),
}));
export type FdbAttributes = Infer<typeof FDB>;
export const ENTRY = kind(ndmsg, FDB);
type FdbHeader = Infer<typeof ndmsg>;

/**
 * The origin of an entry: 'permanent' is an address of the device itself, and a program added 'static'. The kernel learned 'learned' from
 * packets, and forgets it after some time.
 */
export type FdbState = 'permanent' | 'static' | 'learned' | 'stale';

/** An entry of a forwarding table, either of a bridge or of a device itself. */
export interface FdbEntry
  extends Pick<
    FdbAttributes,
    'remote' | 'vlan' | 'destinationPort' | 'networkId' | 'sourceNetworkId' | 'nextHopId' | 'extendedFlags'
  > {
  /** The port of the bridge, or the device that has the table. */
  device: string;
  /** The hardware address to which packets go. */
  address: string;
  /** The bridge that has the table. */
  master?: string;
  /** The entry is in the device's own table (VXLAN; addresses that a device listens to). */
  self?: true;
  /** The state of the entry. */
  state: FdbState | number;
  /** VXLAN: the device through which packets leave. */
  remoteDevice?: string;
  /** The entry stays with its port (Linux 5.0). */
  sticky?: true;
  /** A program learned the entry. The kernel forgets it like an entry that it learned itself. */
  externallyLearned?: true;
  /** Read-only; `self`, `sticky` and `externallyLearned` set some flags. Bits without a name follow as one number. */
  flags: (NeighbourFlag | number)[];
  /** Hundredths of a second since the entry was last used. */
  usedCentiseconds?: number;
  /** Hundredths of a second since the entry was last changed. */
  updatedCentiseconds?: number;
  /** Attributes that this library does not know, kept as they came. */
  unknown?: UnknownAttribute[];
}

/** Identifies an entry: the device, the hardware address, and other fields that distinguish it. */
export interface FdbKey extends Partial<Omit<FdbEntry, 'self' | 'sticky' | 'externallyLearned' | 'state'>> {
  /** The port of the bridge, or the device that has the table. */
  device: string;
  /** The hardware address. VXLAN sends packets for unknown addresses to every entry with '00:00:00:00:00:00'. */
  address: string;
  /**
   * Use the device's own table. Default: the table of the bridge. With `remote` the default is true, because only the device has such
   * entries.
   */
  self?: boolean;
  /** The state of the entry. */
  state?: FdbState | number;
  /** The entry does not move to another port. */
  sticky?: boolean;
  /** A program or device has learned it, not the bridge. */
  externallyLearned?: boolean;
}

/** An entry to add. An entry that was read is accepted. `state` defaults to 'static', or to 'permanent' with `self`. */
export type NewFdbEntry = FdbKey;

/** Selects the entries of a list. */
export interface FdbFilter extends DeviceFilter {
  /** Only entries of this bridge's table. */
  master?: string;
}

const STATES: Readonly<Record<string, FdbState>> = {
  permanent: 'permanent',
  noarp: 'static',
  reachable: 'learned',
  stale: 'stale',
};
const WRITTEN: Readonly<Record<FdbState, 'permanent' | 'noarp' | 'reachable' | 'stale'>> = {
  permanent: 'permanent',
  static: 'noarp',
  learned: 'reachable',
  stale: 'stale',
};

export function readEntry(
  header: FdbHeader,
  value: FdbAttributes,
  nameOf: (index: number) => string | undefined,
): FdbEntry | undefined {
  const { address, cacheInfo, master, remoteDevice, linkNetnsId: _id, ...rest } = value;
  const device = nameOf(header.ndm_ifindex);
  if (header.ndm_family !== AF_BRIDGE || address === undefined || device === undefined) return undefined;
  const has = (bit: number) => (header.ndm_flags & bit) !== 0;
  const bridge = master === undefined ? undefined : nameOf(master);
  const leaves = remoteDevice === undefined ? undefined : nameOf(remoteDevice);
  const state = header.ndm_state;
  return {
    device,
    address,
    ...(bridge !== undefined && { master: bridge }),
    ...(has(C.NTF_SELF) && { self: true as const }),
    state: typeof state === 'number' ? state : (STATES[state] ?? 0),
    ...(leaves !== undefined && { remoteDevice: leaves }),
    ...(has(C.NTF_STICKY) && { sticky: true as const }),
    ...(has(C.NTF_EXT_LEARNED) && { externallyLearned: true as const }),
    flags: namedBits<NeighbourFlag>(header.ndm_flags, NEIGHBOUR_FLAGS),
    ...rest,
    ...(cacheInfo !== undefined && {
      usedCentiseconds: cacheInfo.ndm_used,
      updatedCentiseconds: cacheInfo.ndm_updated,
    }),
  };
}

/** The type of this object makes the compiler report a field that is missing here. */
const FIELDS = Object.keys({
  device: true,
  address: true,
  master: true,
  self: true,
  state: true,
  remote: true,
  remoteDevice: true,
  vlan: true,
  destinationPort: true,
  networkId: true,
  sourceNetworkId: true,
  nextHopId: true,
  sticky: true,
  externallyLearned: true,
  extendedFlags: true,
  flags: true,
  usedCentiseconds: true,
  updatedCentiseconds: true,
  unknown: true,
} satisfies Record<keyof FdbKey, true>);

const LIMITS = {
  vlan: [1, 4094],
  destinationPort: [1, 0xffff],
  networkId: [0, 0xffffff],
  sourceNetworkId: [0, 0xffffff],
  nextHopId: [1, 0xffffffff],
} as const;

export function writeEntry(entry: FdbKey): { header: FdbHeader; attributes: FdbAttributes } {
  checkObject(entry, [], FIELDS);
  checkDevice(entry.device, ['device']);
  const attributes: FdbAttributes = { address: checkMac(entry.address, ['address']) };
  if (entry.remote !== undefined) {
    checkHost(entry.remote, ['remote']);
    attributes.remote = entry.remote;
  }
  for (const [field, limits] of Object.entries(LIMITS) as [keyof typeof LIMITS, readonly [number, number]][])
    if (entry[field] !== undefined) attributes[field] = checkInteger(entry[field], [field], ...limits);
  if (entry.remoteDevice !== undefined) checkDevice(entry.remoteDevice, ['remoteDevice']);
  const isSelf = entry.self === undefined ? entry.remote !== undefined : checkBoolean(entry.self, ['self']);
  const { state = isSelf ? 'permanent' : 'static' } = entry;
  const written = typeof state === 'string' && Object.hasOwn(WRITTEN, state) ? WRITTEN[state] : undefined;
  if (written === undefined) throw rangeError(['state'], oneOf(Object.keys(WRITTEN), state), state);
  if (!isSelf && entry.remote !== undefined)
    throw typeError(['remote'], 'nothing in the table of a bridge: self must be true', entry.remote, 'ERR_CONFLICT');
  const sticky = entry.sticky !== undefined && checkBoolean(entry.sticky, ['sticky']);
  const external =
    entry.externallyLearned !== undefined && checkBoolean(entry.externallyLearned, ['externallyLearned']);
  if (written === 'reachable' && !external && !isSelf)
    throw typeError(['state'], "'static' or 'permanent', unless externallyLearned is true", state, 'ERR_CONFLICT');
  if (sticky && written === 'permanent')
    throw typeError(['sticky'], "nothing beside the state 'permanent'", sticky, 'ERR_CONFLICT');
  return {
    header: {
      ndm_family: AF_BRIDGE,
      ndm_ifindex: 0,
      ndm_state: written,
      ndm_flags: flagBits([
        isSelf ? 'self' : 'master',
        ...(sticky ? ['sticky' as const] : []),
        ...(external ? ['ext-learned' as const] : []),
      ]),
      ndm_type: 0,
    },
    attributes,
  };
}

const ALL_UNKNOWN = '00:00:00:00:00:00';

/** Whether packets to this address may go to several remotes: VXLAN allows that for unknown addresses and groups. */
const isMany = (address: string): boolean =>
  address === ALL_UNKNOWN || (Number.parseInt(address.slice(0, 2), 16) & 1) === 1;

function refusalsOf(device: string, self: boolean): Refusals {
  const noBridge = `${quote(device)} is not a port of a bridge: give self for its own table`;
  return {
    hints: {
      EEXIST: 'there is such an entry, or the kernel has learned it: setFdbEntry replaces it',
      ENOENT: 'there is no such entry',
      EOPNOTSUPP: self ? `${quote(device)} has no table of its own` : noBridge,
      EINVAL: 'the address is not one that a table can have, or the port has no such VLAN',
    },
    blame: { EEXIST: ['address'], ENOENT: ['address'], EOPNOTSUPP: [self ? 'self' : 'device'] },
  };
}

/** Adds, replaces or removes an entry. */
export function* changeEntry(
  exchange: Exchange,
  devices: Devices,
  change: 'add' | 'set' | 'remove',
  entry: FdbKey,
): Operation<void> {
  const { header, attributes } = writeEntry(entry);
  header.ndm_ifindex = yield* devices.indexOf(entry.device, 'device', entry);
  if (entry.remoteDevice !== undefined)
    attributes.remoteDevice = yield* devices.indexOf(entry.remoteDevice, 'remoteDevice', entry);
  const isSelf = (header.ndm_flags & C.NTF_SELF) !== 0;
  const adding = change !== 'remove';
  const several = isSelf && isMany(attributes.address!) && attributes.remote !== undefined;
  const flags = several ? NLM_F_CREATE | NLM_F_APPEND : change === 'set' ? NLM_F_CREATE | NLM_F_REPLACE : CREATE;
  const call = request(ENTRY, {
    syscall: adding ? 'RTM_NEWNEIGH' : 'RTM_DELNEIGH',
    type: adding ? RTM_NEWNEIGH : RTM_DELNEIGH,
    flags: adding ? flags : 0,
    header,
    value: attributes,
    subject: entry,
    refusals: refusalsOf(entry.device, isSelf),
  });
  yield* exchange.request(call);
}

/** Lists the entries of all tables, of one bridge, or of one device. */
export function* listEntries(exchange: Exchange, devices: Devices, filter: FdbFilter): Operation<FdbEntry[]> {
  checkObject(filter, [], ['device', 'master', 'signal']);
  const { device, master } = filter;
  const index = device === undefined ? 0 : yield* devices.indexOf(checkDevice(device, ['device']), 'device', filter);
  const bridge = master === undefined ? 0 : yield* devices.indexOf(checkDevice(master, ['master']), 'master', filter);
  const header: FdbHeader = { ndm_family: AF_BRIDGE, ndm_ifindex: index, ndm_state: 0, ndm_flags: 0, ndm_type: 0 };
  const call = request(ENTRY, {
    syscall: 'RTM_GETNEIGH',
    type: RTM_GETNEIGH,
    header,
    value: bridge === 0 ? {} : { master: bridge },
    subject: filter,
  });
  const found = yield* exchange.dump(call, message => read(ENTRY, message));
  const wanted = found.filter(
    ([head, value]) => (index === 0 || head.ndm_ifindex === index) && (bridge === 0 || value.master === bridge),
  );
  const nameOf = yield* devices.names(
    wanted
      .flatMap(([head, { master: own, remoteDevice }]) => [head.ndm_ifindex, own, remoteDevice])
      .filter(present => present !== undefined),
  );
  return present(wanted, ([head, value]) => readEntry(head, value, nameOf));
}
