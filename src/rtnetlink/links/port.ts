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
/** The forwarding state of a port of a bridge: see `BridgePort.state`. */
export type PortState = keyof typeof STATES;

/** IFLA_INFO_SLAVE_DATA of a port of a bridge (net/bridge/br_netlink.c). Timers are in hundredths of a second. */
export const PORT = attributes('IFLA_BRPORT', () => ({
  /** Whether the port forwards packets. If the bridge uses STP, the kernel sets the state itself. */
  state: opt(attribute(C.IFLA_BRPORT_STATE, named(U8, STATES))),
  /** STP: among ports with the same cost, the lowest priority wins. 0 to 63. A new port has 32. */
  priority: opt(u16ne(C.IFLA_BRPORT_PRIORITY)),
  /** STP: the cost of the path through the port, 1 to 65535. */
  cost: opt(u32ne(C.IFLA_BRPORT_COST)),
  /** Packets may leave through the port by which they came in. A container needs this to reach its own published port. */
  hairpin: opt(attribute(C.IFLA_BRPORT_MODE, BOOLEAN)),
  /** Block a device that sends STP packets (BPDU guard). */
  guard: opt(attribute(C.IFLA_BRPORT_GUARD, BOOLEAN)),
  /** The port never becomes the path to the root of STP (root guard). */
  rootBlock: opt(attribute(C.IFLA_BRPORT_PROTECT, BOOLEAN)),
  /** The bridge stops forwarding a group at once when a member leaves, without asking for other members. */
  fastLeave: opt(attribute(C.IFLA_BRPORT_FAST_LEAVE, BOOLEAN)),
  /** The bridge learns addresses from packets that come in. On in a new port. */
  learning: opt(attribute(C.IFLA_BRPORT_LEARNING, BOOLEAN)),
  /** The bridge sends packets for unknown addresses to the port. On in a new port. */
  flood: opt(attribute(C.IFLA_BRPORT_UNICAST_FLOOD, BOOLEAN)),
  /** The bridge answers ARP requests for other hosts. */
  proxyArp: opt(attribute(C.IFLA_BRPORT_PROXYARP, BOOLEAN)),
  /** Like `proxyArp`, but with the rules of IEEE 802.11 and Hotspot 2.0. */
  proxyArpWifi: opt(attribute(C.IFLA_BRPORT_PROXYARP_WIFI, BOOLEAN)),
  /** STP: the id of the root bridge. Two bytes of priority, six of address. */
  rootId: opt(bytes(C.IFLA_BRPORT_ROOT_ID, { min: 8, max: 8 })),
  /** STP: the bridge that connects this segment to the root. */
  designatedBridgeId: opt(bytes(C.IFLA_BRPORT_BRIDGE_ID, { min: 8, max: 8 })),
  /** The port of the designated bridge. Read only. */
  designatedPort: opt(u16ne(C.IFLA_BRPORT_DESIGNATED_PORT)),
  /** The cost of the way to the root from there. Read only. */
  designatedCost: opt(u16ne(C.IFLA_BRPORT_DESIGNATED_COST)),
  /** The port's number together with its priority. */
  portId: opt(u16ne(C.IFLA_BRPORT_ID)),
  /** The port's number in its bridge. */
  portNumber: opt(u16ne(C.IFLA_BRPORT_NO)),
  /** Whether a change of the topology was acknowledged. Read only. */
  topologyChangeAcknowledged: opt(attribute(C.IFLA_BRPORT_TOPOLOGY_CHANGE_ACK, BOOLEAN)),
  /** Whether a configuration message waits. Read only. */
  configurationPending: opt(attribute(C.IFLA_BRPORT_CONFIG_PENDING, BOOLEAN)),
  /** Hundredths of a second until the root's message is too old. Read only. */
  messageAgeTimerCentiseconds: opt(u64ne(C.IFLA_BRPORT_MESSAGE_AGE_TIMER)),
  /** Hundredths of a second until the next state. Read only. */
  forwardDelayTimerCentiseconds: opt(u64ne(C.IFLA_BRPORT_FORWARD_DELAY_TIMER)),
  /** Hundredths of a second until a configuration may be sent. Read only. */
  holdTimerCentiseconds: opt(u64ne(C.IFLA_BRPORT_HOLD_TIMER)),
  /** Whether a multicast router is behind the port: 0 never, 1 if one was heard, 2 always, 3 for a while. A new port has 1. */
  multicastRouter: opt(u8(C.IFLA_BRPORT_MULTICAST_ROUTER)),
  /** The bridge sends packets to groups without known members to the port. On in a new port. */
  multicastFlood: opt(attribute(C.IFLA_BRPORT_MCAST_FLOOD, BOOLEAN)),
  /** The bridge sends a packet for a group to each member at its own address. */
  multicastToUnicast: opt(attribute(C.IFLA_BRPORT_MCAST_TO_UCAST, BOOLEAN)),
  /** VLANs of this port are mapped to VXLAN networks. */
  vlanTunnel: opt(attribute(C.IFLA_BRPORT_VLAN_TUNNEL, BOOLEAN)),
  /** The bridge sends broadcasts to the port. On in a new port. */
  broadcastFlood: opt(attribute(C.IFLA_BRPORT_BCAST_FLOOD, BOOLEAN)),
  /** Like `bridge.groupForwardMask`, for this port. */
  groupForwardMask: opt(u16ne(C.IFLA_BRPORT_GROUP_FWD_MASK)),
  /** The bridge answers neighbour requests itself if it can, and does not send them to the port. */
  neighbourSuppress: opt(attribute(C.IFLA_BRPORT_NEIGH_SUPPRESS, BOOLEAN)),
  /** The port cannot reach other isolated ports (Linux 4.18). */
  isolated: opt(attribute(C.IFLA_BRPORT_ISOLATED, BOOLEAN)),
  /** The port that takes over when this one has no carrier. */
  backupPort: opt(attribute(C.IFLA_BRPORT_BACKUP_PORT, DEVICE_INDEX)),
  /** Whether the ring is open (MRP). Read only. */
  mrpRingOpen: opt(u8(C.IFLA_BRPORT_MRP_RING_OPEN)),
  /** Whether the interconnection is open (MRP). Read only. */
  mrpInOpen: opt(u8(C.IFLA_BRPORT_MRP_IN_OPEN)),
  /** The largest number of hosts that are tracked for each group, from 1. */
  multicastHostsLimit: opt(u32ne(C.IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT)),
  /** How many hosts are tracked. Read only. */
  multicastHosts: opt(u32ne(C.IFLA_BRPORT_MCAST_EHT_HOSTS_CNT)),
  /** Drop packets whose source address is not in the bridge's table (802.1X; Linux 5.18). */
  locked: opt(attribute(C.IFLA_BRPORT_LOCKED, BOOLEAN)),
  /** Learn unknown addresses of a locked port as locked entries (Linux 6.2). It needs `locked` and `learning`. */
  macAuthenticationBypass: opt(attribute(C.IFLA_BRPORT_MAB, BOOLEAN)),
  /** How many groups the port has. Read only. */
  multicastGroups: opt(u32ne(C.IFLA_BRPORT_MCAST_N_GROUPS)),
  /** The largest number of groups that the port may join; 0 means no limit (Linux 6.3). */
  multicastMaxGroups: opt(u32ne(C.IFLA_BRPORT_MCAST_MAX_GROUPS)),
  /** Like `neighbourSuppress`, but set for each VLAN (Linux 6.4). */
  neighbourVlanSuppress: opt(attribute(C.IFLA_BRPORT_NEIGH_VLAN_SUPPRESS, BOOLEAN)),
  /** The nexthop object for packets while the port has no carrier; 0 means none (Linux 6.6). */
  backupNextHopId: opt(u32ne(C.IFLA_BRPORT_BACKUP_NHID)),
}));

/** The settings and the state of a port of a bridge. */
export type BridgePort = Infer<typeof PORT>;

/** Rows that the kernel reports but a caller cannot set. */
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

/** The settings of a port of a bridge. A port that was read is accepted: fields that only the kernel sets are ignored. */
export type PortSettings = Partial<BridgePort>;
