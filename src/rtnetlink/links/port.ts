import {
  attribute,
  attributes,
  bytes,
  type Infer,
  named,
  opt,
  U8,
  u8,
  u16ne,
  u32ne,
  u64ne,
} from '../../codec/index.ts';
import * as C from '../../linux/if_link.ts';
import { BOOLEAN, DEVICE_INDEX } from '../device.ts';

/** BR_STATE_* (include/uapi/linux/if_bridge.h). */
const STATES = { disabled: 0, listening: 1, learning: 2, forwarding: 3, blocking: 4 } as const;
/** What a port of a bridge does with packets: see `BridgePort.state`. */
export type PortState = keyof typeof STATES;

/** IFLA_INFO_SLAVE_DATA of a port of a bridge (net/bridge/br_netlink.c). Timers are hundredths of a second. */
export const PORT = attributes('IFLA_BRPORT', {
  /** Whether it forwards. The kernel decides it by itself where the bridge does STP. */
  state: opt(attribute(C.IFLA_BRPORT_STATE, named(U8, STATES))),
  /** STP: of ports with the same cost, the lowest is taken. 0 to 63; 32 in a new port. */
  priority: opt(u16ne(C.IFLA_BRPORT_PRIORITY)),
  /** STP: the cost of the way through it, 1 to 65535. */
  cost: opt(u32ne(C.IFLA_BRPORT_COST)),
  /** Packets may leave by the port they came in by. A container needs it to reach its own published port. */
  hairpin: opt(attribute(C.IFLA_BRPORT_MODE, BOOLEAN)),
  /** STP's packets are not taken: a device that sends them is blocked (BPDU guard). */
  guard: opt(attribute(C.IFLA_BRPORT_GUARD, BOOLEAN)),
  /** It never becomes the way to the root of STP (root guard). */
  rootBlock: opt(attribute(C.IFLA_BRPORT_PROTECT, BOOLEAN)),
  /** A group is left at once when a member says so, without asking for others. */
  fastLeave: opt(attribute(C.IFLA_BRPORT_FAST_LEAVE, BOOLEAN)),
  /** The bridge learns addresses from what comes in. On in a new port. */
  learning: opt(attribute(C.IFLA_BRPORT_LEARNING, BOOLEAN)),
  /** Packets to unknown addresses are sent to it. On in a new port. */
  flood: opt(attribute(C.IFLA_BRPORT_UNICAST_FLOOD, BOOLEAN)),
  /** The bridge answers ARP requests for others. */
  proxyArp: opt(attribute(C.IFLA_BRPORT_PROXYARP, BOOLEAN)),
  /** As `proxyArp`, as IEEE 802.11 and Hotspot 2.0 have it. */
  proxyArpWifi: opt(attribute(C.IFLA_BRPORT_PROXYARP_WIFI, BOOLEAN)),
  /** STP: the root. Two bytes of priority, six of address. */
  rootId: opt(bytes(C.IFLA_BRPORT_ROOT_ID, { min: 8, max: 8 })),
  /** STP: the bridge that leads this segment to the root. */
  designatedBridgeId: opt(bytes(C.IFLA_BRPORT_BRIDGE_ID, { min: 8, max: 8 })),
  designatedPort: opt(u16ne(C.IFLA_BRPORT_DESIGNATED_PORT)),
  designatedCost: opt(u16ne(C.IFLA_BRPORT_DESIGNATED_COST)),
  /** The port's number with its priority. */
  portId: opt(u16ne(C.IFLA_BRPORT_ID)),
  /** The port's number in its bridge. */
  portNumber: opt(u16ne(C.IFLA_BRPORT_NO)),
  topologyChangeAcknowledged: opt(attribute(C.IFLA_BRPORT_TOPOLOGY_CHANGE_ACK, BOOLEAN)),
  configurationPending: opt(attribute(C.IFLA_BRPORT_CONFIG_PENDING, BOOLEAN)),
  messageAgeTimerCentiseconds: opt(u64ne(C.IFLA_BRPORT_MESSAGE_AGE_TIMER)),
  forwardDelayTimerCentiseconds: opt(u64ne(C.IFLA_BRPORT_FORWARD_DELAY_TIMER)),
  holdTimerCentiseconds: opt(u64ne(C.IFLA_BRPORT_HOLD_TIMER)),
  /** Whether a multicast router is behind it: 0 never, 1 if it was heard, 2 always, 3 for a while. 1 in a new port. */
  multicastRouter: opt(u8(C.IFLA_BRPORT_MULTICAST_ROUTER)),
  /** Packets to groups that nobody asked for are sent to it. On in a new port. */
  multicastFlood: opt(attribute(C.IFLA_BRPORT_MCAST_FLOOD, BOOLEAN)),
  /** Packets to a group are sent to each member by its own address. */
  multicastToUnicast: opt(attribute(C.IFLA_BRPORT_MCAST_TO_UCAST, BOOLEAN)),
  /** VLANs of this port are mapped to VXLAN networks. */
  vlanTunnel: opt(attribute(C.IFLA_BRPORT_VLAN_TUNNEL, BOOLEAN)),
  /** Broadcasts are sent to it. On in a new port. */
  broadcastFlood: opt(attribute(C.IFLA_BRPORT_BCAST_FLOOD, BOOLEAN)),
  /** As `bridge.groupForwardMask`, for this port. */
  groupForwardMask: opt(u16ne(C.IFLA_BRPORT_GROUP_FWD_MASK)),
  /** Neighbour requests are answered by the bridge where it can, and not sent to it. */
  neighbourSuppress: opt(attribute(C.IFLA_BRPORT_NEIGH_SUPPRESS, BOOLEAN)),
  /** It reaches no other isolated port (Linux 4.18). */
  isolated: opt(attribute(C.IFLA_BRPORT_ISOLATED, BOOLEAN)),
  /** The port that takes over when this one has no carrier. */
  backupPort: opt(attribute(C.IFLA_BRPORT_BACKUP_PORT, DEVICE_INDEX)),
  mrpRingOpen: opt(u8(C.IFLA_BRPORT_MRP_RING_OPEN)),
  mrpInOpen: opt(u8(C.IFLA_BRPORT_MRP_IN_OPEN)),
  /** How many hosts are tracked for each group, from 1. */
  multicastHostsLimit: opt(u32ne(C.IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT)),
  multicastHosts: opt(u32ne(C.IFLA_BRPORT_MCAST_EHT_HOSTS_CNT)),
  /** Packets from addresses that are not in the bridge's table are dropped (802.1X; Linux 5.18). */
  locked: opt(attribute(C.IFLA_BRPORT_LOCKED, BOOLEAN)),
  /** A locked port's unknown addresses are learned as locked entries (Linux 6.2). It needs `locked` and `learning`. */
  macAuthenticationBypass: opt(attribute(C.IFLA_BRPORT_MAB, BOOLEAN)),
  multicastGroups: opt(u32ne(C.IFLA_BRPORT_MCAST_N_GROUPS)),
  /** How many groups it may be a member of; 0 is any number (Linux 6.3). */
  multicastMaxGroups: opt(u32ne(C.IFLA_BRPORT_MCAST_MAX_GROUPS)),
  /** As `neighbourSuppress`, set for each VLAN (Linux 6.4). */
  neighbourVlanSuppress: opt(attribute(C.IFLA_BRPORT_NEIGH_VLAN_SUPPRESS, BOOLEAN)),
  /** The nexthop object that packets take when it has no carrier; 0 is none (Linux 6.6). */
  backupNextHopId: opt(u32ne(C.IFLA_BRPORT_BACKUP_NHID)),
});

/** The settings and the state of a port of a bridge. */
export type BridgePort = Infer<typeof PORT>;

/** Rows that the kernel tells and nobody gives. */
export const PORT_READ_ONLY = [
  'rootId',
  'designatedBridgeId',
  'designatedPort',
  'designatedCost',
  'portId',
  'portNumber',
  'topologyChangeAcknowledged',
  'configurationPending',
  'messageAgeTimerCentiseconds',
  'forwardDelayTimerCentiseconds',
  'holdTimerCentiseconds',
  'mrpRingOpen',
  'mrpInOpen',
  'multicastHosts',
  'multicastGroups',
] as const;

export const PORT_LIMITS = {
  priority: [0, 63],
  cost: [1, 0xffff],
  multicastRouter: [0, 3],
  multicastHostsLimit: [1, 0xffffffff],
} as const;

/** The settings of a port of a bridge. A port that was read can be given: what only the kernel sets is ignored. */
export type PortSettings = Partial<BridgePort>;
