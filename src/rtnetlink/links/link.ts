import {
  attribute,
  attributes,
  bytes,
  eachAttribute,
  type Infer,
  list,
  named,
  namedBits,
  nested,
  opt,
  type Source,
  s32ne,
  string,
  struct,
  type Type,
  toText,
  U8,
  U64_NE,
  type UnknownAttribute,
  u32ne,
} from '../../codec/index.ts';
import { type Path, rangeError } from '../../errors.ts';
import * as If from '../../linux/if.ts';
import * as C from '../../linux/if_link.ts';
import { BOOLEAN, deviceName, HARDWARE_ADDRESS } from '../device.ts';
import { type Kind, kind, type Refusals } from '../request.ts';
import type { AnyLinkKind } from './kind.ts';
import { KINDS, type LinkData } from './kinds.ts';
import { DEVICE_ROWS, ifinfomsg, type LinkType } from './message.ts';
import { type NewLink, refusalsOfNew, type Wire, writeNew } from './settings.ts';

const LINK_FLAGS = {
  up: If.IFF_UP,
  broadcast: If.IFF_BROADCAST,
  debug: If.IFF_DEBUG,
  loopback: If.IFF_LOOPBACK,
  pointopoint: If.IFF_POINTOPOINT,
  notrailers: If.IFF_NOTRAILERS,
  running: If.IFF_RUNNING,
  noarp: If.IFF_NOARP,
  promisc: If.IFF_PROMISC,
  allmulti: If.IFF_ALLMULTI,
  master: If.IFF_MASTER,
  slave: If.IFF_SLAVE,
  multicast: If.IFF_MULTICAST,
  portsel: If.IFF_PORTSEL,
  automedia: If.IFF_AUTOMEDIA,
  dynamic: If.IFF_DYNAMIC,
  'lower-up': If.IFF_LOWER_UP,
  dormant: If.IFF_DORMANT,
  echo: If.IFF_ECHO,
} as const;
/** A flag of a device (IFF_*), without the prefix and in lower case. */
export type LinkFlag = keyof typeof LINK_FLAGS;

const OPERATIONAL_STATES = {
  unknown: If.IF_OPER_UNKNOWN,
  'not-present': If.IF_OPER_NOTPRESENT,
  down: If.IF_OPER_DOWN,
  'lower-layer-down': If.IF_OPER_LOWERLAYERDOWN,
  testing: If.IF_OPER_TESTING,
  dormant: If.IF_OPER_DORMANT,
  up: If.IF_OPER_UP,
} as const;

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

/** IFLA_LINKINFO. The data of a kind that is decoded stands in the field of its name. */
export interface LinkInfo extends LinkData {
  kind?: string;
  /** IFLA_INFO_DATA of the kinds that are not decoded. */
  kindData?: string;
  slaveKind?: string;
  slaveData?: string;
  unknown?: UnknownAttribute[];
}

const INFO_ROWS = {
  /** The kind: 'veth', 'bridge', 'dummy' ... */
  kind: opt(string(C.IFLA_INFO_KIND, 55)),
  /** The kind of its master: 'bridge', 'bond' ... */
  slaveKind: opt(string(C.IFLA_INFO_SLAVE_KIND, 55)),
  /** The master's data about it, raw. */
  slaveData: opt(bytes(C.IFLA_INFO_SLAVE_DATA)),
};
const OTHER_INFO: Type<LinkInfo> = attributes('IFLA_INFO', { ...INFO_ROWS, kindData: opt(bytes(C.IFLA_INFO_DATA)) });

function kindIn(source: Source, start: number, end: number): string | undefined {
  let kind: string | undefined;
  eachAttribute(source, start, end, (type, payload, payloadEnd) => {
    if (type === C.IFLA_INFO_KIND) kind = toText(source, payload, payloadEnd - 1);
  });
  return kind;
}

/** IFLA_LINKINFO: the kind in it decides what its data is. */
function infoType(kinds: Iterable<AnyLinkKind>): Type<LinkInfo> {
  const known = new Map<string | undefined, Type<LinkInfo>>();
  for (const { name, data } of kinds)
    if (data !== undefined)
      known.set(name, attributes('IFLA_INFO', { ...INFO_ROWS, [name]: opt(nested(C.IFLA_INFO_DATA, data)) }));
  const infoOf = (kind: string | undefined) => known.get(kind) ?? OTHER_INFO;
  return {
    kind: 'nest',
    write: (writer, value, context) => infoOf(value.kind).write(writer, value, context),
    read: (source, start, end, context) => infoOf(kindIn(source, start, end)).read(source, start, end, context),
    locate: (source, start, end, offset, context) =>
      infoOf(kindIn(source, start, end)).locate?.(source, start, end, offset, context) ?? [],
  };
}

/** In every answer, and said better by another attribute: known, and not read. */
const LEFT_OUT: Type<true> = { kind: 'left out', write() {}, read: () => true };

const ROWS = {
  ...DEVICE_ROWS,
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
  /** RFC 2863 state: 'up' can carry packets; drivers that do not tell, as that of lo, are 'unknown'. */
  operationalState: opt(attribute(C.IFLA_OPERSTATE, named(U8, OPERATIONAL_STATES))),
  /** 0 the device is operational when its carrier is, 1 when a program says so (net/core/link_watch.c). */
  linkMode: opt(attribute(C.IFLA_LINKMODE, U8)),
  /** A free text. It is not a name: no device is found by it. */
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
  /** How many users want all packets of the wire (packet captures, bridges). */
  promiscuity: opt(u32ne(C.IFLA_PROMISCUITY)),
  transmitQueues: opt(u32ne(C.IFLA_NUM_TX_QUEUES)),
  receiveQueues: opt(u32ne(C.IFLA_NUM_RX_QUEUES)),
  /** The other side is connected. */
  carrier: opt(attribute(C.IFLA_CARRIER, BOOLEAN)),
  /** How often the carrier came or went. */
  carrierChanges: opt(u32ne(C.IFLA_CARRIER_CHANGES)),
  carrierUpCount: opt(u32ne(C.IFLA_CARRIER_UP_COUNT)),
  carrierDownCount: opt(u32ne(C.IFLA_CARRIER_DOWN_COUNT)),
  /** The number that this namespace has for the namespace of `link` (ip netns list-id); absent where both are the same. */
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
  /** Limits of the packets that the stack sends to be cut (GSO, TSO), or joins when they arrive (GRO). */
  gsoMaxSegments: opt(u32ne(C.IFLA_GSO_MAX_SEGS)),
  gsoMaxBytes: opt(u32ne(C.IFLA_GSO_MAX_SIZE)),
  groMaxBytes: opt(u32ne(C.IFLA_GRO_MAX_SIZE)),
  tsoMaxBytes: opt(u32ne(C.IFLA_TSO_MAX_SIZE)),
  tsoMaxSegments: opt(u32ne(C.IFLA_TSO_MAX_SEGS)),
  /** How many users want all multicast packets. */
  allMulticast: opt(u32ne(C.IFLA_ALLMULTI)),
};

/** The attributes of a link (IFLA_*), with the data of these kinds decoded. */
function linkTable(kinds: Iterable<AnyLinkKind>) {
  return attributes('IFLA', { ...ROWS, info: opt(attribute(C.IFLA_LINKINFO, infoType(kinds))) });
}

export type LinkAttributes = Infer<ReturnType<typeof linkTable>>;
export type LinkHeader = Infer<typeof ifinfomsg>;

/** The header of a message that names no device by index. */
export const LINK_HEADER: LinkHeader = { ifi_family: 0, ifi_type: 0, ifi_index: 0, ifi_flags: 0, ifi_change: 0 };

/** A network device. */
export interface Link
  extends Omit<LinkAttributes, 'master' | 'link' | 'info' | 'netnsFd' | 'oldStatistics' | 'familyState' | 'map'>,
    LinkData {
  /** The kernel's number of the device, unique in its namespace. */
  index: number;
  /** The kind: 'veth', 'bridge', 'dummy', 'macvlan' ...; absent for lo and for hardware. */
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
  /** IFLA_INFO_DATA of the kinds that are not decoded. */
  kindData?: string;
  /** What the master is: 'bridge', 'bond' ... */
  slaveKind?: string;
  /** The master's data about the device, raw (IFLA_INFO_SLAVE_DATA). */
  slaveData?: string;
}

/** Reads and writes links of these kinds; `LINKS` knows all that there are. */
export class LinkKinds {
  readonly messages: Kind<LinkHeader, LinkAttributes>;
  readonly #kinds: ReadonlyMap<string, AnyLinkKind>;

  constructor(kinds: readonly AnyLinkKind[]) {
    this.#kinds = new Map(kinds.map(kind => [kind.name, kind]));
    this.messages = kind(ifinfomsg, linkTable(kinds));
  }

  /** The names of the kinds: 'bridge', 'dummy' ... */
  get names(): string[] {
    return [...this.#kinds.keys()];
  }

  /** Checks the options of a new link. @returns its message without indexes, and the name of the device below it */
  write(kind: string, options: NewLink): { wire: Wire<LinkAttributes>; link: string | undefined } {
    const known = this.#kind(kind);
    const { wire, name } = writeNew(options, known.fields);
    const { data, link } = known.write(options);
    const info: LinkInfo = { kind, ...(data !== undefined && { [kind]: data }) };
    return { wire: { ...wire, attributes: { ...wire.attributes, name, info } }, link };
  }

  /** What the kernel's refusals of a new link mean. */
  refusals(kind: string, options: NewLink): Refusals {
    const every = refusalsOfNew(options, kind);
    const own = this.#kind(kind).refusals(options);
    return { hints: { ...every.hints, ...own.hints }, blame: { ...every.blame, ...own.blame } };
  }

  /** From a field of a message to that of the object that the caller gave. */
  fieldOf(path: Path): Path {
    const renamed = path.map(field => (field === 'netnsFd' ? 'netns' : field));
    if (renamed[0] !== 'info') return renamed;
    const known = this.#kinds.get(String(renamed[1]));
    return known === undefined || renamed.length < 3 ? [] : known.fieldOf(renamed.slice(2));
  }

  #kind(name: string): AnyLinkKind {
    const kind = this.#kinds.get(name);
    if (kind === undefined) throw rangeError(['kind'], `one of ${this.names.join(', ')}`, name);
    return kind;
  }
}

export const LINKS = new LinkKinds(KINDS);

/** @param nameOf gives the names of this namespace's devices */
export function readLink(
  header: LinkHeader,
  value: LinkAttributes,
  nameOf: (index: number) => string | undefined,
): Link {
  const { name, info = {}, link, master, unknown = [], ...others } = value;
  const { netnsFd: _fd, oldStatistics: _old, familyState: _state, map: _map, ...rest } = others;
  const { kind, unknown: inside = [], ...ofKind } = info;
  const result: Link = {
    index: header.ifi_index,
    name,
    ...(kind !== undefined && { kind }),
    type: header.ifi_type,
    up: (header.ifi_flags & If.IFF_UP) !== 0,
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
