import {
  type AttributeTable,
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
  type ShapeOf,
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
import { lazy } from '../../codec/lazy.ts';
import { oneOf, type Path, rangeError, typeError } from '../../errors.ts';
import * as If from '../../linux/if.ts';
import * as C from '../../linux/if_link.ts';
import { BOOLEAN, deviceName, HARDWARE_ADDRESS } from '../device.ts';
import { type Kind, kind, type Refusals } from '../request.ts';
import { type AnyData, type AnyLinkKind, checkRaw, rawKind } from './kind.ts';
import { KINDS, type LinkData } from './kinds.ts';
import { DEVICE_ROWS, ifinfomsg, type LinkType } from './message.ts';
import { PORTS, type PortData } from './ports.ts';
import {
  type DeviceChanges,
  type DeviceSettings,
  type LaterSettings,
  type NewLink,
  PORT_FIELDS,
  readFlags,
  refusalsOfNew,
  type Wire,
  wasRead,
  writeChanges,
  writeNew,
} from './settings.ts';

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

/** `struct rtnl_link_stats64` as it is since Linux 2.6.35; later kernels add counters at its end. The names are the kernel's. */
export const rtnl_link_stats64 = struct('rtnl_link_stats64', {
  /** Packets received. */
  rx_packets: [8, U64_NE],
  /** Packets sent. */
  tx_packets: [8, U64_NE],
  /** Bytes received. */
  rx_bytes: [8, U64_NE],
  /** Bytes sent. */
  tx_bytes: [8, U64_NE],
  /** Packets received with an error. */
  rx_errors: [8, U64_NE],
  /** Packets not sent because of an error. */
  tx_errors: [8, U64_NE],
  /** Packets received and dropped for want of room. */
  rx_dropped: [8, U64_NE],
  /** Packets dropped before they were sent. */
  tx_dropped: [8, U64_NE],
  /** Multicast packets received. */
  multicast: [8, U64_NE],
  /** Collisions. */
  collisions: [8, U64_NE],
  /** Packets received with a wrong length. */
  rx_length_errors: [8, U64_NE],
  /** Packets that did not fit into the receiver. */
  rx_over_errors: [8, U64_NE],
  /** Packets received with a wrong checksum. */
  rx_crc_errors: [8, U64_NE],
  /** Packets received with a wrong alignment. */
  rx_frame_errors: [8, U64_NE],
  /** Packets lost because the receiver's FIFO was full. */
  rx_fifo_errors: [8, U64_NE],
  /** Packets that the receiver has missed. */
  rx_missed_errors: [8, U64_NE],
  /** Sends that were given up. */
  tx_aborted_errors: [8, U64_NE],
  /** Sends that failed for want of a carrier. */
  tx_carrier_errors: [8, U64_NE],
  /** Sends that failed because the FIFO was empty. */
  tx_fifo_errors: [8, U64_NE],
  /** Heartbeat errors. */
  tx_heartbeat_errors: [8, U64_NE],
  /** Late collisions. */
  tx_window_errors: [8, U64_NE],
  /** Compressed packets received. */
  rx_compressed: [8, U64_NE],
  /** Compressed packets sent. */
  tx_compressed: [8, U64_NE],
});

/** IFLA_LINKINFO. The data of a decoded kind stands in the field with its name. */
export interface LinkInfo extends LinkData, PortData {
  kind?: string;
  /** IFLA_INFO_DATA of kinds that are not decoded. */
  kindData?: string;
  slaveKind?: string;
  /** IFLA_INFO_SLAVE_DATA of other masters, undecoded. */
  slaveData?: string;
  unknown?: UnknownAttribute[];
}

const INFO_ROWS = {
  /** The kind, such as 'veth', 'bridge' or 'dummy'. */
  kind: opt(string(C.IFLA_INFO_KIND, 55)),
  /** The kind of the device's master, such as 'bridge' or 'bond'. */
  slaveKind: opt(string(C.IFLA_INFO_SLAVE_KIND, 55)),
};
const SLAVE_ROWS = { slaveData: opt(bytes(C.IFLA_INFO_SLAVE_DATA)) };

/** Reads the kinds in a nest: the device's own, and its master's. */
function kindsIn(source: Source, start: number, end: number): LinkInfo {
  const info: LinkInfo = {};
  eachAttribute(source, start, end, (type, payload, payloadEnd) => {
    const field = type === C.IFLA_INFO_KIND ? 'kind' : type === C.IFLA_INFO_SLAVE_KIND ? 'slaveKind' : undefined;
    const text = field && toText(source, payload, payloadEnd - 1);
    if (field !== undefined && text !== undefined) info[field] = text;
  });
  return info;
}

/** The type of IFLA_LINKINFO. The kinds inside it decide how its data is decoded. */
function infoType(kinds: Iterable<AnyLinkKind>): Type<LinkInfo> {
  const tablesOf = (rows: object) => {
    const known = new Map<string | undefined, Type<LinkInfo>>();
    for (const { name, data } of kinds)
      if (data !== undefined)
        known.set(
          name,
          attributes('IFLA_INFO', { ...INFO_ROWS, ...rows, [name]: opt(nested(C.IFLA_INFO_DATA, data)) }),
        );
    const other: Type<LinkInfo> = attributes('IFLA_INFO', {
      ...INFO_ROWS,
      ...rows,
      kindData: opt(bytes(C.IFLA_INFO_DATA)),
    });
    return (kind: string | undefined) => known.get(kind) ?? other;
  };
  const ofOthers = lazy(() => tablesOf(SLAVE_ROWS));
  const ofPorts = lazy(
    () =>
      new Map<string | undefined, ReturnType<typeof ofOthers>>(
        Object.entries(PORTS).map(([master, { name, data }]) => [
          master,
          tablesOf({ [name]: opt(nested(C.IFLA_INFO_SLAVE_DATA, data as AttributeTable<object>)) }),
        ]),
      ),
  );
  const infoOf = ({ kind, slaveKind }: LinkInfo) => (ofPorts().get(slaveKind) ?? ofOthers())(kind);
  return {
    kind: 'nest',
    write: (writer, value, context) => infoOf(value).write(writer, value, context),
    read: (source, start, end, context) => infoOf(kindsIn(source, start, end)).read(source, start, end, context),
    locate: (source, start, end, offset, context) =>
      infoOf(kindsIn(source, start, end)).locate?.(source, start, end, offset, context) ?? [],
  };
}

/** The type of an attribute that every reply contains, but another attribute says better. It is known, so it is skipped. */
const LEFT_OUT: Type<true> = { kind: 'left out', write() {}, read: () => true };

/* Apart from those of all devices: what is spread out of another file loses its documentation in the declarations. */
const OWN_ROWS = {
  /** The address to which the link layer sends broadcasts, or the remote end of a tunnel. */
  broadcast: opt(attribute(C.IFLA_BROADCAST, HARDWARE_ADDRESS)),
  /** Index of the device below (VLAN, macvlan) or of the other end (veth). */
  link: opt(u32ne(C.IFLA_LINK)),
  /** The queueing discipline of packets that leave: 'noqueue', 'fq_codel' ... */
  qdisc: opt(string(C.IFLA_QDISC, 15)),
  /** Index of the bridge, bond or VRF whose port the device is; 0 removes it from there. */
  master: opt(u32ne(C.IFLA_MASTER)),
  /** The number of packets that the default queueing discipline may hold. */
  transmitQueueLength: opt(u32ne(C.IFLA_TXQLEN)),
  /** State of RFC 2863: 'up' can carry packets. A device is 'unknown' if its driver does not report the state, as for lo. */
  operationalState: opt(attribute(C.IFLA_OPERSTATE, named(U8, OPERATIONAL_STATES))),
  /** 0: the device is operational when its carrier is. 1: a program decides it (net/core/link_watch.c). */
  linkMode: opt(attribute(C.IFLA_LINKMODE, U8)),
  /** A free text. It is not a name, so no device is found by it. */
  alias: opt(string(C.IFLA_IFALIAS, 255)),
  /** The group, for operations on many devices at once; 0 is the default group. */
  group: opt(u32ne(C.IFLA_GROUP)),
  /** Packets and bytes since the device was created. */
  statistics: opt(attribute(C.IFLA_STATS64, rtnl_link_stats64)),
  /** The same counters in 32 bits. */
  oldStatistics: opt(attribute(C.IFLA_STATS, LEFT_OUT)),
  /** Sysctls and counters of IPv4 and IPv6, a kilobyte for each link. NetNs reads them by name instead. */
  familyState: opt(attribute(C.IFLA_AF_SPEC, LEFT_OUT)),
  /** I/O ports and memory of ISA cards. */
  map: opt(attribute(C.IFLA_MAP, LEFT_OUT)),
  /** The number of users that want all packets of the wire, such as packet captures and bridges. */
  promiscuity: opt(u32ne(C.IFLA_PROMISCUITY)),
  /** How many transmit queues it has. */
  transmitQueues: opt(u32ne(C.IFLA_NUM_TX_QUEUES)),
  /** How many receive queues it has. */
  receiveQueues: opt(u32ne(C.IFLA_NUM_RX_QUEUES)),
  /** Whether the other side is connected. */
  carrier: opt(attribute(C.IFLA_CARRIER, BOOLEAN)),
  /** How often the carrier appeared or disappeared. */
  carrierChanges: opt(u32ne(C.IFLA_CARRIER_CHANGES)),
  /** How often the carrier came. */
  carrierUpCount: opt(u32ne(C.IFLA_CARRIER_UP_COUNT)),
  /** How often the carrier went. */
  carrierDownCount: opt(u32ne(C.IFLA_CARRIER_DOWN_COUNT)),
  /** This namespace's number for the namespace of `link` (ip netns list-id). Absent if both devices are in the same namespace. */
  linkNetnsId: opt(s32ne(C.IFLA_LINK_NETNSID)),
  /** A protocol keeps the device down (VRRP, MC-LAG). */
  protoDown: opt(attribute(C.IFLA_PROTO_DOWN, BOOLEAN)),
  /** The limits of `mtu`, in bytes; a maximum of 0 means no limit. */
  minMtu: opt(u32ne(C.IFLA_MIN_MTU)),
  /** The largest MTU that it takes, in bytes. */
  maxMtu: opt(u32ne(C.IFLA_MAX_MTU)),
  /** Alternative names, by which the device is found too, up to 127 bytes each. */
  altNames: opt(list(C.IFLA_PROP_LIST, C.IFLA_ALT_IFNAME, deviceName(127))),
  /** In a request: an alternative name that identifies the device. */
  altName: opt(attribute(C.IFLA_ALT_IFNAME, deviceName(127))),
  /** The address that the manufacturer gave to the hardware. */
  permanentAddress: opt(attribute(C.IFLA_PERM_ADDRESS, HARDWARE_ADDRESS)),
  /** The hardware device under /sys/devices to which this network device belongs, and its bus: '0000:03:00.0' on 'pci'. */
  parentDevice: opt(string(C.IFLA_PARENT_DEV_NAME, 255)),
  /** The bus of the parent device. */
  parentBus: opt(string(C.IFLA_PARENT_DEV_BUS_NAME, 255)),
  /** Size limits of packets: those that the stack cuts before sending (GSO, TSO), and those that it joins after receiving (GRO). */
  gsoMaxSegments: opt(u32ne(C.IFLA_GSO_MAX_SEGS)),
  /** The most bytes of a packet that is segmented later (GSO). */
  gsoMaxBytes: opt(u32ne(C.IFLA_GSO_MAX_SIZE)),
  /** The most bytes of packets that are put together (GRO). */
  groMaxBytes: opt(u32ne(C.IFLA_GRO_MAX_SIZE)),
  /** The most bytes that the device segments itself (TSO). Read only. */
  tsoMaxBytes: opt(u32ne(C.IFLA_TSO_MAX_SIZE)),
  /** The most segments that the device makes itself (TSO). Read only. */
  tsoMaxSegments: opt(u32ne(C.IFLA_TSO_MAX_SEGS)),
  /** The number of users that want all multicast packets. */
  allMulticast: opt(u32ne(C.IFLA_ALLMULTI)),
};

const ROWS = { ...DEVICE_ROWS, ...OWN_ROWS };

/** The attributes of a link (IFLA_*). It decodes the data of these kinds. */
function linkTable(kinds: Iterable<AnyLinkKind>) {
  return attributes('IFLA', () => ({ ...ROWS, info: opt(attribute(C.IFLA_LINKINFO, infoType(kinds))) }));
}

export type LinkAttributes = ShapeOf<typeof DEVICE_ROWS & typeof OWN_ROWS> & { info?: LinkInfo };
export type LinkHeader = Infer<typeof ifinfomsg>;

/** The header of a message that identifies no device by index. */
export const LINK_HEADER: LinkHeader = { ifi_family: 0, ifi_type: 0, ifi_index: 0, ifi_flags: 0, ifi_change: 0 };

/** Attributes that a `Link` shows in other fields. */
type Left = 'master' | 'link' | 'info' | 'netnsFd' | 'oldStatistics' | 'familyState' | 'map' | 'altName';

/** A network device. `create` accepts a link that was read: fields that only the kernel sets are ignored. */
export interface Link
  extends Omit<LinkAttributes, Left>,
    LinkData,
    PortData,
    Pick<DeviceSettings, 'promiscuous' | 'receiveAllMulticast' | 'multicast' | 'arp'> {
  /** The kernel's number of the device, unique in its namespace. */
  index: number;
  /** The kind, such as 'veth', 'bridge', 'dummy' or 'macvlan'; absent for lo and for hardware. */
  kind?: string;
  /** The type of the device, such as 'ether' or 'loopback'. */
  type: LinkType | number;
  /** Whether the administrator has switched the device on. `operationalState` says whether it carries packets. */
  up: boolean;
  /** The flags of the device. Bits without a name follow as one number. Some flags also have a field of their own, which can be set. */
  flags: (LinkFlag | number)[];
  /** The bridge, bond or VRF whose port the device is. */
  master?: string;
  /** The device below (macvlan, VLAN) or the other end (veth): its name, or its index if it is in another namespace. */
  link?: string | number;
  /** IFLA_INFO_DATA of kinds that are not decoded, as hex text. It can be written, too. Indexes of devices in it stay numbers. */
  kindData?: string;
  /** The kind of the master, such as 'bridge' or 'bond'. */
  slaveKind?: string;
  /** The data of another master for this device, undecoded (IFLA_INFO_SLAVE_DATA). */
  slaveData?: string;
}

/** The changes of a device: the settings of every device, and those of its kind in the field of that name. Others stay as they are. */
export type LinkChanges = DeviceChanges & LinkData & Pick<LinkInfo, 'kindData'>;

/** Reads and writes links of these kinds. `LINKS` knows all kinds. */
export class LinkKinds {
  readonly messages: Kind<LinkHeader, LinkAttributes>;
  readonly #kinds: ReadonlyMap<string, AnyLinkKind>;
  /** The fields of a link that was read. */
  readonly #told = lazy(() => [
    ...this.messages.table.fields.map(({ key }) => key),
    'index',
    'kind',
    'type',
    'flags',
    ...TOLD_BY_INFO,
    ...this.names,
  ]);

  constructor(kinds: readonly AnyLinkKind[]) {
    this.#kinds = new Map(kinds.map(kind => [kind.name, kind]));
    this.messages = kind(ifinfomsg, linkTable(kinds));
  }

  /** The names of the kinds: 'bridge', 'dummy' ... */
  get names(): string[] {
    return [...this.#kinds.keys()];
  }

  /** Checks the options of a new link. @returns its message without indexes, the name of the device below, and the later steps */
  write(
    kind: string,
    options: NewLink,
  ): { wire: Wire<LinkAttributes>; link: string | undefined; later: LaterSettings; data: object | undefined } {
    const known = this.kindOf(kind, ['kind'], options);
    const { wire, name, later } = writeNew(options, known.fields, this.#told());
    const { data, link } = known.write(options);
    checkPorts(later);
    const own = data && known.toWire(data);
    const info: LinkInfo = { kind, ...(own !== undefined && (this.#kinds.has(kind) ? { [kind]: own } : own)) };
    return { wire: { ...wire, attributes: { ...wire.attributes, name, info } }, link, later, data };
  }

  /** Checks the changes of a link. @returns the changes that every device can have, and those of its kind */
  writeChanges(changes: LinkChanges): ReturnType<typeof writeChanges> & { kind: string | undefined } {
    const names = this.names.filter(name => this.#kinds.get(name)?.data !== undefined && name !== 'veth');
    const common = writeChanges(changes, [...names, 'kindData'], this.#told());
    const given = names.filter(name => (changes as Record<string, unknown>)[name] !== undefined);
    if (given.length > 1)
      throw typeError([given[1]!], `nothing beside ${given[0]}`, (changes as AnyData)[given[1]!], 'ERR_CONFLICT');
    checkPorts(common.later);
    if (changes.kindData !== undefined) checkRaw(changes.kindData);
    return { ...common, kind: given[0] };
  }

  /** Explains the kernel's refusals of a new link. */
  refusals(kind: string, options: NewLink): Refusals {
    const every = refusalsOfNew(options, kind);
    const own = this.kindOf(kind, ['kind'], options).refusals(options);
    return { hints: { ...every.hints, ...own.hints }, blame: { ...every.blame, ...own.blame } };
  }

  /** Maps a field of a message to the field of the caller's object, for errors. */
  fieldOf(path: Path, options: object = {}): Path {
    const renamed = path.map(field => (field === 'netnsFd' ? 'netns' : field));
    if (renamed[0] !== 'info') return renamed;
    if (renamed[1] === 'kindData' || PORT_FIELDS.includes(renamed[1] as never)) return renamed.slice(1);
    const known = this.#kinds.get(String(renamed[1]));
    return known === undefined || renamed.length < 3 ? [] : known.fieldOf(renamed.slice(2), options);
  }

  /**
   * Finds a kind. Another name is that of a kind that is not decoded, if the options have its data, or were read.
   * @throws RangeError there is no such kind
   */
  kindOf(name: unknown, path: Path, options: object = {}): AnyLinkKind {
    const kind = typeof name === 'string' ? this.#kinds.get(name) : undefined;
    if (kind !== undefined) return kind;
    if (typeof name === 'string' && ((options as AnyData).kindData !== undefined || wasRead(options)))
      return rawKind(name);
    throw rangeError(path, `${oneOf(this.names, name)}; another kind needs kindData`, name);
  }

  /** The kind of a link that was read, if this library knows it. */
  known(name: string | undefined): AnyLinkKind | undefined {
    return name === undefined ? undefined : this.#kinds.get(name);
  }

  /** The indexes of the devices that a link refers to. */
  devicesOf({ master, link, linkNetnsId, info = {} }: LinkAttributes): number[] {
    const known = this.known(info.kind);
    const rows = (kind: AnyLinkKind | undefined, data: unknown) =>
      (kind?.deviceRows ?? []).map(row => (data as AnyData | undefined)?.[row]);
    const data = known && (info as AnyData)[known.name];
    const below = known?.linkRow === undefined ? undefined : (data as AnyData | undefined)?.[known.linkRow];
    return [
      master,
      linkNetnsId === undefined ? (link ?? below) : undefined,
      ...rows(known, data),
      ...rows(PORTS.bridge, info.port),
    ].filter((index): index is number => typeof index === 'number' && index !== 0);
  }

  /** @param nameOf finds the names of this namespace's devices */
  read(header: LinkHeader, value: LinkAttributes, nameOf: (index: number) => string | undefined): Link {
    const { name, info = {}, link, master, unknown = [], ...others } = value;
    const { netnsFd: _fd, oldStatistics: _old, familyState: _state, map: _map, altName: _alt, ...rest } = others;
    const { kind, unknown: inside = [], ...ofKind } = info;
    const known = this.known(kind);
    const data = known && (ofKind as AnyData)[known.name];
    const result: Link = {
      index: header.ifi_index,
      name,
      ...(kind !== undefined && { kind }),
      type: header.ifi_type,
      up: (header.ifi_flags & If.IFF_UP) !== 0,
      flags: namedBits<LinkFlag>(header.ifi_flags, LINK_FLAGS),
      ...readFlags(header.ifi_flags),
      ...rest,
      ...ofKind,
      ...(known !== undefined && data !== undefined && { [known.name]: withNames(known, data as object, nameOf) }),
      ...(info.port !== undefined && { port: withNames(PORTS.bridge, info.port, nameOf) }),
    };
    const masterName = master === undefined ? undefined : nameOf(master);
    if (masterName !== undefined) result.master = masterName;
    const below = known?.linkRow === undefined ? undefined : (data as AnyData | undefined)?.[known.linkRow];
    const lower = link || (typeof below === 'number' ? below : 0);
    if (lower !== 0) result.link = (rest.linkNetnsId === undefined ? nameOf(lower) : undefined) ?? lower;
    const left = [...unknown, ...inside.map(each => ({ ...each, in: 'IFLA_INFO' }))];
    if (left.length > 0) result.unknown = left;
    return result;
  }
}

/** The fields that come from IFLA_LINKINFO, and the attributes that this library does not know. */
const TOLD_BY_INFO = ['kindData', 'slaveKind', 'slaveData', 'vrfPort', 'unknown'];

/** Checks the settings of ports before anything is sent. */
function checkPorts(later: LaterSettings): void {
  for (const field of PORT_FIELDS) if (later[field] !== undefined) portNamed(field).change(later[field], {}, [field]);
}

/** The kind of the settings in this field. */
export const portNamed = (field: (typeof PORT_FIELDS)[number]): AnyLinkKind =>
  field === 'port' ? PORTS.bridge : PORTS.bond;

/** Replaces the indexes of devices in the data of a link by their names. */
function withNames(kind: AnyLinkKind, data: object, nameOf: (index: number) => string | undefined): object {
  const settings: AnyData = kind.fromWire(data) as AnyData;
  for (const row of kind.deviceRows) {
    const index = settings[row];
    if (typeof index !== 'number') continue;
    if (index === 0) delete settings[row];
    else settings[row] = nameOf(index) ?? index;
  }
  return settings;
}

export const LINKS = new LinkKinds(KINDS);
