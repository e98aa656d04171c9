import { attribute, attributes, bytes, type Infer, opt, u16be, u16ne, u32ne } from '../../codec/index.ts';
import * as C from '../../linux/if_link.ts';
import { BOOLEAN, HARDWARE_ADDRESS } from '../device.ts';
import { LinkKind } from './kind.ts';
import type { NewLink } from './settings.ts';

/** IFLA_INFO_DATA of a bridge (net/bridge/br_netlink.c). Times are hundredths of a second (USER_HZ). */
const BRIDGE = attributes('IFLA_BR', {
  /** How long a port listens, and how long it learns, before it forwards: 200 to 3000 with STP. 1500 in a new bridge. */
  forwardDelayCentiseconds: opt(u32ne(C.IFLA_BR_FORWARD_DELAY)),
  /** Time between two hellos of STP: 100 to 1000. 200 in a new bridge. */
  helloTimeCentiseconds: opt(u32ne(C.IFLA_BR_HELLO_TIME)),
  /** How long a silent root stays the root: 600 to 4000. 2000 in a new bridge. */
  maxAgeCentiseconds: opt(u32ne(C.IFLA_BR_MAX_AGE)),
  /** How long a learned address is kept: 30000 in a new bridge; 0 makes it a hub. */
  ageingTimeCentiseconds: opt(u32ne(C.IFLA_BR_AGEING_TIME)),
  /** Spanning tree: 0 off (as in a new bridge), 1 done by the kernel, 2 by a program. Given as 1, the kernel may make it 2. */
  stpState: opt(u32ne(C.IFLA_BR_STP_STATE)),
  /** Priority in the election of the root, 0 to 65535, the lowest wins. 32768 in a new bridge. */
  priority: opt(u16ne(C.IFLA_BR_PRIORITY)),
  /** Ports belong to VLANs. Kernels without CONFIG_BRIDGE_VLAN_FILTERING refuse true (EOPNOTSUPP). */
  vlanFiltering: opt(attribute(C.IFLA_BR_VLAN_FILTERING, BOOLEAN)),
  /** EtherType of the VLAN tags: 0x8100, or 0x88a8 for provider bridges. */
  vlanProtocol: opt(u16be(C.IFLA_BR_VLAN_PROTOCOL)),
  /** Which of the link-local groups 01:80:c2:00:00:0X are forwarded, one bit each. */
  groupForwardMask: opt(u16ne(C.IFLA_BR_GROUP_FWD_MASK)),
  /** The root bridge: two bytes of priority, six of address. */
  rootId: opt(bytes(C.IFLA_BR_ROOT_ID, { min: 8, max: 8 })),
  /** This bridge: two bytes of priority, six of address. */
  bridgeId: opt(bytes(C.IFLA_BR_BRIDGE_ID, { min: 8, max: 8 })),
  /** The port towards the root; 0 where this is it. */
  rootPort: opt(u16ne(C.IFLA_BR_ROOT_PORT)),
  /** The cost of the way to the root. */
  rootPathCost: opt(u32ne(C.IFLA_BR_ROOT_PATH_COST)),
  /** Where STP's frames go: 01:80:c2:00:00:00. */
  groupAddress: opt(attribute(C.IFLA_BR_GROUP_ADDR, HARDWARE_ADDRESS)),
  /** The bridge listens to IGMP and MLD, and sends groups only to ports that want them. On in a new bridge, where the kernel has it. */
  multicastSnooping: opt(attribute(C.IFLA_BR_MCAST_SNOOPING, BOOLEAN)),
  /** The bridge asks for members itself. */
  multicastQuerier: opt(attribute(C.IFLA_BR_MCAST_QUERIER, BOOLEAN)),
  /** Bridged IPv4 packets pass the netfilter hooks of IPv4 (br_netfilter). */
  callIptables: opt(attribute(C.IFLA_BR_NF_CALL_IPTABLES, BOOLEAN)),
  /** As `callIptables`, for IPv6. */
  callIp6tables: opt(attribute(C.IFLA_BR_NF_CALL_IP6TABLES, BOOLEAN)),
  /** As `callIptables`, for ARP. */
  callArptables: opt(attribute(C.IFLA_BR_NF_CALL_ARPTABLES, BOOLEAN)),
  /** The VLAN of untagged packets on new ports; 0 is none. */
  vlanDefaultPvid: opt(u16ne(C.IFLA_BR_VLAN_DEFAULT_PVID)),
});

/** What the kernel says of a bridge. Times are hundredths of a second. */
export type Bridge = Infer<typeof BRIDGE>;

const READ_ONLY = ['rootId', 'bridgeId', 'rootPort', 'rootPathCost'] as const;

/** The settings of a new bridge. */
export type BridgeSettings = Omit<Bridge, (typeof READ_ONLY)[number] | 'unknown'>;

/** A new bridge. */
export interface NewBridge extends NewLink {
  bridge?: BridgeSettings;
}

export const bridge = new LinkKind<'bridge', NewBridge, Bridge>({
  name: 'bridge',
  data: BRIDGE,
  readOnly: READ_ONLY,
  inside: 'bridge',
  refusals: ({ bridge: settings }) =>
    settings === undefined ? {} : { hints: { EOPNOTSUPP: 'this kernel has no bridges, or none with this setting' } },
});
