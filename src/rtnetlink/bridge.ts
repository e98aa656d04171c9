import {
  attribute,
  attributes,
  bytes,
  checkObject,
  type Infer,
  NO_CONTEXT,
  opt,
  u16be,
  u16ne,
  u32ne,
  Writer,
} from '../codec/index.ts';
import { within } from '../errors.ts';
import * as C from '../linux/if_link.ts';
import { BOOLEAN, HARDWARE_ADDRESS } from './device.ts';

/** IFLA_INFO_DATA of a bridge (net/bridge/br_netlink.c). Times are hundredths of a second (USER_HZ). */
export const BRIDGE = attributes('IFLA_BR', {
  /** How long a port listens, and how long it learns, before it forwards: 200 to 3000 with STP. 1500 in a new bridge. */
  forwardDelayCentiseconds: opt(u32ne(C.IFLA_BR_FORWARD_DELAY)),
  /** Between two hellos of STP: 100 to 1000. 200 in a new bridge. */
  helloTimeCentiseconds: opt(u32ne(C.IFLA_BR_HELLO_TIME)),
  /** How long a silent root is believed in: 600 to 4000. 2000 in a new bridge. */
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
  /** IGMP and MLD are listened to, so that groups go only to ports that want them. On in a new bridge, where the kernel has it. */
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

export type Bridge = Infer<typeof BRIDGE>;

const SETTINGS = [
  'forwardDelayCentiseconds',
  'helloTimeCentiseconds',
  'maxAgeCentiseconds',
  'ageingTimeCentiseconds',
  'stpState',
  'priority',
  'vlanFiltering',
  'vlanProtocol',
  'groupForwardMask',
  'groupAddress',
  'multicastSnooping',
  'multicastQuerier',
  'callIptables',
  'callIp6tables',
  'callArptables',
  'vlanDefaultPvid',
] as const;

/** What of a bridge can be chosen when it is made. */
export type BridgeSettings = Pick<Bridge, (typeof SETTINGS)[number]>;

export function checkBridge(settings: unknown): BridgeSettings {
  checkObject(settings, ['bridge'], SETTINGS);
  try {
    // The table's own checks, here already: the path must be one into the caller's object.
    BRIDGE.write(new Writer(256), settings as BridgeSettings, NO_CONTEXT);
  } catch (error) {
    throw within(error, ['bridge']);
  }
  return settings as BridgeSettings;
}
