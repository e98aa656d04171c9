import {
  attribute,
  attributes,
  bytes,
  eachAttribute,
  type Infer,
  list,
  NO_CONTEXT,
  named,
  namedBits,
  nested,
  opt,
  S32_NE,
  type Source,
  s32ne,
  string,
  struct,
  type Type,
  toText,
  U8,
  U16_NE,
  U32_NE,
  U64_NE,
  type UnknownAttribute,
  u16ne,
  u32ne,
} from '../codec/index.ts';
import type { Path } from '../errors.ts';
import {
  IF_OPER_DORMANT,
  IF_OPER_DOWN,
  IF_OPER_LOWERLAYERDOWN,
  IF_OPER_NOTPRESENT,
  IF_OPER_TESTING,
  IF_OPER_UNKNOWN,
  IF_OPER_UP,
  IFF_ALLMULTI,
  IFF_AUTOMEDIA,
  IFF_BROADCAST,
  IFF_DEBUG,
  IFF_DORMANT,
  IFF_DYNAMIC,
  IFF_ECHO,
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  IFF_MASTER,
  IFF_MULTICAST,
  IFF_NOARP,
  IFF_NOTRAILERS,
  IFF_POINTOPOINT,
  IFF_PORTSEL,
  IFF_PROMISC,
  IFF_RUNNING,
  IFF_SLAVE,
  IFF_UP,
} from '../linux/if.ts';
import {
  ARPHRD_ETHER,
  ARPHRD_IEEE80211,
  ARPHRD_INFINIBAND,
  ARPHRD_IP6GRE,
  ARPHRD_IPGRE,
  ARPHRD_LOOPBACK,
  ARPHRD_NETLINK,
  ARPHRD_NONE,
  ARPHRD_PPP,
  ARPHRD_RAWIP,
  ARPHRD_SIT,
  ARPHRD_TUNNEL,
  ARPHRD_TUNNEL6,
  ARPHRD_VOID,
} from '../linux/if_arp.ts';
import * as C from '../linux/if_link.ts';
import { VETH_INFO_PEER } from '../linux/veth.ts';
import { BRIDGE, type Bridge } from './bridge.ts';
import { BOOLEAN, deviceName, HARDWARE_ADDRESS } from './device.ts';
import { kind } from './request.ts';

/** What a device is to the layer above it (ARPHRD_*). A number where it has no name here. */
const LINK_TYPES = {
  ether: ARPHRD_ETHER,
  infiniband: ARPHRD_INFINIBAND,
  ppp: ARPHRD_PPP,
  rawip: ARPHRD_RAWIP,
  ipip: ARPHRD_TUNNEL,
  tunnel6: ARPHRD_TUNNEL6,
  loopback: ARPHRD_LOOPBACK,
  sit: ARPHRD_SIT,
  gre: ARPHRD_IPGRE,
  'ieee802.11': ARPHRD_IEEE80211,
  gre6: ARPHRD_IP6GRE,
  netlink: ARPHRD_NETLINK,
  none: ARPHRD_NONE,
  void: ARPHRD_VOID,
} as const;
export type LinkType = keyof typeof LINK_TYPES;

const LINK_FLAGS = {
  up: IFF_UP,
  broadcast: IFF_BROADCAST,
  debug: IFF_DEBUG,
  loopback: IFF_LOOPBACK,
  pointopoint: IFF_POINTOPOINT,
  notrailers: IFF_NOTRAILERS,
  running: IFF_RUNNING,
  noarp: IFF_NOARP,
  promisc: IFF_PROMISC,
  allmulti: IFF_ALLMULTI,
  master: IFF_MASTER,
  slave: IFF_SLAVE,
  multicast: IFF_MULTICAST,
  portsel: IFF_PORTSEL,
  automedia: IFF_AUTOMEDIA,
  dynamic: IFF_DYNAMIC,
  'lower-up': IFF_LOWER_UP,
  dormant: IFF_DORMANT,
  echo: IFF_ECHO,
} as const;
export type LinkFlag = keyof typeof LINK_FLAGS;

const OPERATIONAL_STATES = {
  unknown: IF_OPER_UNKNOWN,
  'not-present': IF_OPER_NOTPRESENT,
  down: IF_OPER_DOWN,
  'lower-layer-down': IF_OPER_LOWERLAYERDOWN,
  testing: IF_OPER_TESTING,
  dormant: IF_OPER_DORMANT,
  up: IF_OPER_UP,
} as const;

export const MACVLAN_MODES = {
  private: C.MACVLAN_MODE_PRIVATE,
  vepa: C.MACVLAN_MODE_VEPA,
  bridge: C.MACVLAN_MODE_BRIDGE,
  passthru: C.MACVLAN_MODE_PASSTHRU,
  source: C.MACVLAN_MODE_SOURCE,
} as const;
export type MacvlanMode = keyof typeof MACVLAN_MODES;

export const ifinfomsg = struct('ifinfomsg', {
  ifi_family: [1, U8],
  _pad: [1, U8],
  ifi_type: [2, named(U16_NE, LINK_TYPES)],
  ifi_index: [4, S32_NE],
  ifi_flags: [4, U32_NE],
  ifi_change: [4, U32_NE],
});

/** `struct rtnl_link_stats64` as it has been since 2.6.35: later kernels have more at its end. The names are the kernel's. */
export const rtnl_link_stats64 = struct('rtnl_link_stats64', {
  rx_packets: [8, U64_NE],
  tx_packets: [8, U64_NE],
  rx_bytes: [8, U64_NE],
  tx_bytes: [8, U64_NE],
  rx_errors: [8, U64_NE],
  tx_errors: [8, U64_NE],
  rx_dropped: [8, U64_NE],
  tx_dropped: [8, U64_NE],
  multicast: [8, U64_NE],
  collisions: [8, U64_NE],
  rx_length_errors: [8, U64_NE],
  rx_over_errors: [8, U64_NE],
  rx_crc_errors: [8, U64_NE],
  rx_frame_errors: [8, U64_NE],
  rx_fifo_errors: [8, U64_NE],
  rx_missed_errors: [8, U64_NE],
  tx_aborted_errors: [8, U64_NE],
  tx_carrier_errors: [8, U64_NE],
  tx_fifo_errors: [8, U64_NE],
  tx_heartbeat_errors: [8, U64_NE],
  tx_window_errors: [8, U64_NE],
  rx_compressed: [8, U64_NE],
  tx_compressed: [8, U64_NE],
});

/** IFLA_INFO_DATA of a macvlan (drivers/net/macvlan.c). */
export const MACVLAN = attributes('IFLA_MACVLAN', {
  /**
   * What the devices over one lower device are to each other: 'bridge' they reach each other, 'private' they do not, 'vepa' only through
   * the switch outside, 'passthru' there is one, 'source' by lists of sources.
   */
  mode: opt(attribute(C.IFLA_MACVLAN_MODE, named(U32_NE, MACVLAN_MODES))),
  /** MACVLAN_FLAG_*. */
  flags: opt(u16ne(C.IFLA_MACVLAN_FLAGS)),
  /** Broadcast packets that may wait, as asked for by this device. */
  broadcastQueue: opt(u32ne(C.IFLA_MACVLAN_BC_QUEUE_LEN)),
  /** As `broadcastQueue`, in force: the largest of what the devices over the lower one ask for. */
  broadcastQueueUsed: opt(u32ne(C.IFLA_MACVLAN_BC_QUEUE_LEN_USED)),
});
export type Macvlan = Infer<typeof MACVLAN>;

/** What can be given for every device, and for the peer of a veth besides. */
const SETTINGS = {
  /** The device's name: 1 to 15 bytes. Bytes that are no UTF-8 are lone surrogates, U+DC80 to U+DCFF. */
  name: attribute(C.IFLA_IFNAME, deviceName()),
  /** Hardware address, 'aa:bb:cc:dd:ee:ff' on Ethernet. */
  address: opt(attribute(C.IFLA_ADDRESS, HARDWARE_ADDRESS)),
  /** Largest packet, in bytes, without the link layer's header. */
  mtu: opt(u32ne(C.IFLA_MTU)),
  /** A descriptor of the namespace that the device goes to. */
  netnsFd: opt(u32ne(C.IFLA_NET_NS_FD)),
};

const PEER_ATTRIBUTES = attributes('IFLA', SETTINGS);

export type Peer = Infer<typeof PEER_ATTRIBUTES>;

/** The other end of a veth is a whole message of its own inside the nest: header and attributes. */
const PEER: Type<Peer> = {
  kind: 'ifinfomsg and attributes',
  write(writer, value, context) {
    ifinfomsg.write(writer, { ifi_family: 0, ifi_type: 0, ifi_index: 0, ifi_flags: 0, ifi_change: 0 });
    PEER_ATTRIBUTES.write(writer, value, context);
  },
  read: (source, start, end, context) =>
    end - start < ifinfomsg.size ? undefined : PEER_ATTRIBUTES.read(source, start + ifinfomsg.size, end, context),
  locate: (source, start, end, offset, context) =>
    PEER_ATTRIBUTES.locate(source, start + ifinfomsg.size, end, offset, context),
};

/** IFLA_INFO_DATA of a veth (drivers/net/veth.c). The kernel takes it and never gives it back. */
const VETH = attributes('VETH_INFO', { peer: opt(attribute(VETH_INFO_PEER, PEER)) });

export interface LinkInfo {
  kind?: string;
  veth?: Infer<typeof VETH>;
  bridge?: Bridge;
  macvlan?: Macvlan;
  kindData?: string;
  slaveKind?: string;
  slaveData?: string;
  unknown?: UnknownAttribute[];
}

const INFO_ROWS = {
  /** Who made the device: 'veth', 'bridge', 'dummy' ... */
  kind: opt(string(C.IFLA_INFO_KIND, 55)),
  /** What its master is: 'bridge', 'bond' ... */
  slaveKind: opt(string(C.IFLA_INFO_SLAVE_KIND, 55)),
  /** What its master knows of it, raw. */
  slaveData: opt(bytes(C.IFLA_INFO_SLAVE_DATA)),
};
const INFOS: Readonly<Record<string, Type<LinkInfo>>> = {
  veth: attributes('IFLA_INFO', { ...INFO_ROWS, veth: opt(nested(C.IFLA_INFO_DATA, VETH)) }),
  bridge: attributes('IFLA_INFO', { ...INFO_ROWS, bridge: opt(nested(C.IFLA_INFO_DATA, BRIDGE)) }),
  macvlan: attributes('IFLA_INFO', { ...INFO_ROWS, macvlan: opt(nested(C.IFLA_INFO_DATA, MACVLAN)) }),
};
const OTHER_INFO: Type<LinkInfo> = attributes('IFLA_INFO', { ...INFO_ROWS, kindData: opt(bytes(C.IFLA_INFO_DATA)) });

function infoOf(kind: string | undefined): Type<LinkInfo> {
  return kind !== undefined && Object.hasOwn(INFOS, kind) ? INFOS[kind]! : OTHER_INFO;
}

function kindIn(source: Source, start: number, end: number): string | undefined {
  let kind: string | undefined;
  eachAttribute(source, start, end, (type, payload, payloadEnd) => {
    if (type === C.IFLA_INFO_KIND) kind = toText(source, payload, payloadEnd - 1);
  });
  return kind;
}

/** IFLA_LINKINFO: the kind that stands in it decides what its data is. */
const INFO: Type<LinkInfo> = {
  kind: 'nest',
  write: (writer, value, context) => infoOf(value.kind).write(writer, value, context),
  read: (source, start, end, context) => infoOf(kindIn(source, start, end)).read(source, start, end, context),
  locate: (source, start, end, offset, context) =>
    infoOf(kindIn(source, start, end)).locate?.(source, start, end, offset, context) ?? [],
};

/** What is in every answer and says nothing that is not said better elsewhere: it is known, and not read. */
const LEFT_OUT: Type<true> = { kind: 'left out', write() {}, read: () => true };

export const IFLA = attributes('IFLA', {
  ...SETTINGS,
  /** Where the link layer sends its broadcasts; the remote end of a tunnel. */
  broadcast: opt(attribute(C.IFLA_BROADCAST, HARDWARE_ADDRESS)),
  /** Index of the device below (VLAN, macvlan) or opposite (veth). */
  link: opt(u32ne(C.IFLA_LINK)),
  /** The queueing discipline that packets leave by: 'noqueue', 'fq_codel' ... */
  qdisc: opt(string(C.IFLA_QDISC, 15)),
  /** Index of the bridge, bond or VRF that the device is a port of; 0 takes it out. */
  master: opt(u32ne(C.IFLA_MASTER)),
  /** Packets that the default queueing discipline may hold. */
  transmitQueueLength: opt(u32ne(C.IFLA_TXQLEN)),
  /** RFC 2863 state: 'up' can carry packets; 'unknown' is that of drivers that do not say, as lo. */
  operationalState: opt(attribute(C.IFLA_OPERSTATE, named(U8, OPERATIONAL_STATES))),
  /** 0 the device is operational when its carrier is, 1 when a program says so (net/core/link_watch.c). */
  linkMode: opt(attribute(C.IFLA_LINKMODE, U8)),
  /** What the device's own driver has to say. */
  info: opt(attribute(C.IFLA_LINKINFO, INFO)),
  /** Text of the administrator's. Not a name: nothing is found by it. */
  alias: opt(string(C.IFLA_IFALIAS, 255)),
  /** Group, for operations on many devices at once; 0 is the default one. */
  group: opt(u32ne(C.IFLA_GROUP)),
  /** Packets and bytes since the device was made. */
  statistics: opt(attribute(C.IFLA_STATS64, rtnl_link_stats64)),
  /** The same in 32 bits. */
  oldStatistics: opt(attribute(C.IFLA_STATS, LEFT_OUT)),
  /** Sysctls and counters of IPv4 and IPv6, a kilobyte a link: NetNs reads them by name. */
  familyState: opt(attribute(C.IFLA_AF_SPEC, LEFT_OUT)),
  /** Ports and memory of ISA cards. */
  map: opt(attribute(C.IFLA_MAP, LEFT_OUT)),
  /** How many have asked for all packets of the wire (packet captures, bridges). */
  promiscuity: opt(u32ne(C.IFLA_PROMISCUITY)),
  transmitQueues: opt(u32ne(C.IFLA_NUM_TX_QUEUES)),
  receiveQueues: opt(u32ne(C.IFLA_NUM_RX_QUEUES)),
  /** The other side is there. */
  carrier: opt(attribute(C.IFLA_CARRIER, BOOLEAN)),
  /** How often the carrier came or went. */
  carrierChanges: opt(u32ne(C.IFLA_CARRIER_CHANGES)),
  carrierUpCount: opt(u32ne(C.IFLA_CARRIER_UP_COUNT)),
  carrierDownCount: opt(u32ne(C.IFLA_CARRIER_DOWN_COUNT)),
  /** The namespace of `link`, by the number that this namespace knows it by (ip netns list-id); absent where it is the same one. */
  linkNetnsId: opt(s32ne(C.IFLA_LINK_NETNSID)),
  /** A protocol keeps the device down (VRRP, MC-LAG). */
  protoDown: opt(attribute(C.IFLA_PROTO_DOWN, BOOLEAN)),
  /** The limits of `mtu`, in bytes; a maximum of 0 is none. */
  minMtu: opt(u32ne(C.IFLA_MIN_MTU)),
  maxMtu: opt(u32ne(C.IFLA_MAX_MTU)),
  /** Other names that the device is found by, up to 127 bytes each. */
  altNames: opt(list(C.IFLA_PROP_LIST, C.IFLA_ALT_IFNAME, deviceName(127))),
  /** The address that the hardware was made with. */
  permanentAddress: opt(attribute(C.IFLA_PERM_ADDRESS, HARDWARE_ADDRESS)),
  /** The device under /sys/devices that this is the network side of, and its bus: '0000:03:00.0' on 'pci'. */
  parentDevice: opt(string(C.IFLA_PARENT_DEV_NAME, 255)),
  parentBus: opt(string(C.IFLA_PARENT_DEV_BUS_NAME, 255)),
  /** Segments and bytes of the packets that the stack hands down to be cut (GSO, TSO), or joins on the way up (GRO). */
  gsoMaxSegments: opt(u32ne(C.IFLA_GSO_MAX_SEGS)),
  gsoMaxBytes: opt(u32ne(C.IFLA_GSO_MAX_SIZE)),
  groMaxBytes: opt(u32ne(C.IFLA_GRO_MAX_SIZE)),
  tsoMaxBytes: opt(u32ne(C.IFLA_TSO_MAX_SIZE)),
  tsoMaxSegments: opt(u32ne(C.IFLA_TSO_MAX_SEGS)),
  /** How many have asked for all multicast packets. */
  allMulticast: opt(u32ne(C.IFLA_ALLMULTI)),
});

export type LinkAttributes = Infer<typeof IFLA>;
export type LinkHeader = Infer<typeof ifinfomsg>;
export const LINK = kind(ifinfomsg, IFLA);

/** A network device. */
export interface Link
  extends Omit<LinkAttributes, 'master' | 'link' | 'info' | 'netnsFd' | 'oldStatistics' | 'familyState' | 'map'> {
  /** The kernel's number of the device, unique in its namespace. */
  index: number;
  /** Who made the device: 'veth', 'bridge', 'dummy', 'macvlan' ...; absent for lo and for hardware. */
  kind?: string;
  type: LinkType | number;
  /** The administrator has switched it on. Whether it carries packets is `operationalState`. */
  up: boolean;
  /** Bits without a name are one number at the end. */
  flags: (LinkFlag | number)[];
  /** The bridge, bond or VRF that the device is a port of. */
  master?: string;
  /** The device below (macvlan, VLAN) or opposite (veth): its name, or its index where it lives in another namespace. */
  link?: string | number;
  bridge?: Bridge;
  macvlan?: Macvlan;
  /** IFLA_INFO_DATA of the kinds that are not decoded. */
  kindData?: string;
  /** What the master is: 'bridge', 'bond' ... */
  slaveKind?: string;
  /** What the master knows of the device, raw (IFLA_INFO_SLAVE_DATA). */
  slaveData?: string;
}

/** `nameOf` gives the names of this namespace's devices. */
export function readLink(
  header: LinkHeader,
  value: LinkAttributes,
  nameOf: (index: number) => string | undefined,
): Link {
  const { name, info = {}, link, master, unknown = [], ...others } = value;
  const { netnsFd: _fd, oldStatistics: _old, familyState: _state, map: _map, ...rest } = others;
  const { kind, unknown: inside = [], veth: _veth, ...ofKind } = info;
  const result: Link = {
    index: header.ifi_index,
    name,
    ...(kind !== undefined && { kind }),
    type: header.ifi_type,
    up: (header.ifi_flags & IFF_UP) !== 0,
    flags: namedBits<LinkFlag>(header.ifi_flags, LINK_FLAGS),
    ...rest,
    ...ofKind,
  };
  const masterName = master === undefined ? undefined : nameOf(master);
  if (masterName !== undefined) result.master = masterName;
  if (link !== undefined) result.link = (rest.linkNetnsId === undefined ? nameOf(link) : undefined) ?? link;
  const left = [...unknown, ...inside.map(each => ({ ...each, in: 'IFLA_INFO' }))];
  if (left.length > 0) result.unknown = left;
  return result;
}

/** From a field of a message to that of the object that the caller gave. */
export function fieldOfLink(path: Path): Path {
  const [field, ...rest] = path;
  if (field === 'netnsFd') return ['netns'];
  if (field !== 'info') return path;
  const [ofKind, inner, ...last] = rest;
  // { info: { veth: { peer: { name } } } } was { peer: { name } }.
  if (ofKind === 'veth' && inner !== undefined) return [inner, ...fieldOfLink(last)];
  if (ofKind === 'macvlan' && inner !== undefined) return [inner];
  return ofKind === 'bridge' ? rest : [];
}

/** The index and the name of a link message, and nothing else of it: for the names of many. */
export function readName(source: Source, payload: number, end: number): [index: number, name: string] | undefined {
  const header = ifinfomsg.read(source, payload, end);
  let name: string | undefined;
  if (header === undefined) return undefined;
  eachAttribute(source, payload + ifinfomsg.size, end, (type, start, last) => {
    if (type === C.IFLA_IFNAME) name = SETTINGS.name.type.read(source, start, last, NO_CONTEXT);
  });
  return name === undefined ? undefined : [header.ifi_index, name];
}
