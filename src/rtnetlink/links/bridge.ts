import {
  attribute,
  attributes,
  bytes,
  type Infer,
  namedBits,
  opt,
  struct,
  type Type,
  U32_NE,
  u8,
  u16be,
  u16ne,
  u32ne,
  u64ne,
} from '../../codec/index.ts';
import { type Path, typeError } from '../../errors.ts';
import * as C from '../../linux/if_link.ts';
import { BOOLEAN, HARDWARE_ADDRESS } from '../device.ts';
import { LinkKind } from './kind.ts';
import { type NewLink, onlyOne } from './settings.ts';

const br_boolopt_multi = struct('br_boolopt_multi', { optval: [4, U32_NE], optmask: [4, U32_NE] });
/** BR_BOOLOPT_* (include/uapi/linux/if_bridge.h). */
const OPTION_BITS = {
  'no-link-local-learning': 1,
  'multicast-vlan-snooping': 2,
  'multiple-spanning-trees': 4,
  'notify-offload-failures': 8,
} as const;
/** A switch of a bridge: see `Bridge.options`. */
export type BridgeOption = keyof typeof OPTION_BITS;
/** Kernels without VLAN filtering refuse to hear of several spanning trees, even that there are none. */
const ALWAYS_TOLD = OPTION_BITS['no-link-local-learning'] | OPTION_BITS['multicast-vlan-snooping'];

const OPTIONS: Type<(BridgeOption | number)[]> = {
  kind: 'bridge options',
  write(writer, value) {
    if (!Array.isArray(value)) throw typeError([], 'an array of options', value);
    let optval = 0;
    for (const [i, option] of value.entries()) {
      const bit = typeof option === 'string' && Object.hasOwn(OPTION_BITS, option) ? OPTION_BITS[option] : option;
      if (typeof bit !== 'number') throw typeError([i], `one of ${Object.keys(OPTION_BITS).join(', ')}`, option);
      optval |= bit;
    }
    br_boolopt_multi.write(writer, { optval: optval >>> 0, optmask: (optval | ALWAYS_TOLD) >>> 0 });
  },
  read(source, start, end) {
    const value = br_boolopt_multi.read(source, start, end);
    return value && namedBits<BridgeOption>(value.optval & value.optmask, OPTION_BITS);
  },
};

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
  /** STP has seen a change. */
  topologyChange: opt(u8(C.IFLA_BR_TOPOLOGY_CHANGE)),
  topologyChangeDetected: opt(u8(C.IFLA_BR_TOPOLOGY_CHANGE_DETECTED)),
  /** How long the timers of STP and of the table still run. */
  helloTimerCentiseconds: opt(u64ne(C.IFLA_BR_HELLO_TIMER)),
  topologyNotificationTimerCentiseconds: opt(u64ne(C.IFLA_BR_TCN_TIMER)),
  topologyChangeTimerCentiseconds: opt(u64ne(C.IFLA_BR_TOPOLOGY_CHANGE_TIMER)),
  collectionTimerCentiseconds: opt(u64ne(C.IFLA_BR_GC_TIMER)),
  /** Where STP's frames go: 01:80:c2:00:00:00. */
  groupAddress: opt(attribute(C.IFLA_BR_GROUP_ADDR, HARDWARE_ADDRESS)),
  /** Whether it is itself a multicast router: 0 never, 1 if a querier was heard, 2 always. */
  multicastRouter: opt(u8(C.IFLA_BR_MCAST_ROUTER)),
  /** The bridge listens to IGMP and MLD, and sends groups only to ports that want them. On in a new bridge, where the kernel has it. */
  multicastSnooping: opt(attribute(C.IFLA_BR_MCAST_SNOOPING, BOOLEAN)),
  /** Its queries have its own address. */
  multicastQueryAddress: opt(attribute(C.IFLA_BR_MCAST_QUERY_USE_IFADDR, BOOLEAN)),
  /** The bridge asks for members itself. */
  multicastQuerier: opt(attribute(C.IFLA_BR_MCAST_QUERIER, BOOLEAN)),
  multicastQuerierState: opt(bytes(C.IFLA_BR_MCAST_QUERIER_STATE)),
  multicastHashElasticity: opt(u32ne(C.IFLA_BR_MCAST_HASH_ELASTICITY)),
  /** How many groups it may know: a power of two. */
  multicastHashMax: opt(u32ne(C.IFLA_BR_MCAST_HASH_MAX)),
  /** How often it asks for the last member of a group. */
  multicastLastMemberCount: opt(u32ne(C.IFLA_BR_MCAST_LAST_MEMBER_CNT)),
  multicastStartupQueryCount: opt(u32ne(C.IFLA_BR_MCAST_STARTUP_QUERY_CNT)),
  multicastLastMemberCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_LAST_MEMBER_INTVL)),
  multicastMembershipCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_MEMBERSHIP_INTVL)),
  multicastQuerierCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_QUERIER_INTVL)),
  multicastQueryCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_QUERY_INTVL)),
  multicastQueryResponseCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL)),
  multicastStartupQueryCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_STARTUP_QUERY_INTVL)),
  multicastStatistics: opt(attribute(C.IFLA_BR_MCAST_STATS_ENABLED, BOOLEAN)),
  /** 2 or 3. */
  igmpVersion: opt(u8(C.IFLA_BR_MCAST_IGMP_VERSION)),
  /** 1 or 2. */
  mldVersion: opt(u8(C.IFLA_BR_MCAST_MLD_VERSION)),
  /** Bridged IPv4 packets pass the netfilter hooks of IPv4 (br_netfilter). */
  callIptables: opt(attribute(C.IFLA_BR_NF_CALL_IPTABLES, BOOLEAN)),
  /** As `callIptables`, for IPv6. */
  callIp6tables: opt(attribute(C.IFLA_BR_NF_CALL_IP6TABLES, BOOLEAN)),
  /** As `callIptables`, for ARP. */
  callArptables: opt(attribute(C.IFLA_BR_NF_CALL_ARPTABLES, BOOLEAN)),
  /** The VLAN of untagged packets on new ports; 0 is none. */
  vlanDefaultPvid: opt(u16ne(C.IFLA_BR_VLAN_DEFAULT_PVID)),
  /** Packets are counted for each VLAN. */
  vlanStatistics: opt(attribute(C.IFLA_BR_VLAN_STATS_ENABLED, BOOLEAN)),
  /** They are counted for each port and VLAN; it is changed while the bridge has no ports. */
  vlanStatisticsPerPort: opt(attribute(C.IFLA_BR_VLAN_STATS_PER_PORT, BOOLEAN)),
  /** Switches of newer kernels (Linux 5.0), those that are on. */
  options: opt(attribute(C.IFLA_BR_MULTI_BOOLOPT, OPTIONS)),
  /** How many addresses it has learned. */
  learnedAddresses: opt(u32ne(C.IFLA_BR_FDB_N_LEARNED)),
  /** How many it may learn; 0 is any number (Linux 6.7). */
  maxLearnedAddresses: opt(u32ne(C.IFLA_BR_FDB_MAX_LEARNED)),
});

/** What the kernel says of a bridge. Times are hundredths of a second. */
export type Bridge = Infer<typeof BRIDGE>;

const READ_ONLY = [
  'rootId',
  'bridgeId',
  'rootPort',
  'rootPathCost',
  'topologyChange',
  'topologyChangeDetected',
  'helloTimerCentiseconds',
  'topologyNotificationTimerCentiseconds',
  'topologyChangeTimerCentiseconds',
  'collectionTimerCentiseconds',
  'multicastQuerierState',
  'multicastHashElasticity',
  'learnedAddresses',
] as const;

/** The settings of a bridge. A bridge that was read can be given: what only the kernel sets is ignored. */
export type BridgeSettings = Bridge;

/** A new bridge. */
export interface NewBridge extends NewLink {
  bridge?: BridgeSettings;
}

export const bridge = new LinkKind<'bridge', NewBridge, Bridge>({
  name: 'bridge',
  data: BRIDGE,
  readOnly: READ_ONLY,
  nestedOnly: true,
  // Kernels without VLAN filtering refuse to hear even that there is none.
  initial: { vlanFiltering: false, options: [] },
  limits: { vlanDefaultPvid: [0, 4094], multicastRouter: [0, 2], igmpVersion: [2, 3], mldVersion: [1, 2] },
  rounded: [
    'forwardDelayCentiseconds',
    'helloTimeCentiseconds',
    'maxAgeCentiseconds',
    'ageingTimeCentiseconds',
    'multicastLastMemberCentiseconds',
    'multicastMembershipCentiseconds',
    'multicastQuerierCentiseconds',
    'multicastQueryCentiseconds',
    'multicastQueryResponseCentiseconds',
    'multicastStartupQueryCentiseconds',
  ],
  since: { maxLearnedAddresses: '6.7', options: '5.0' },
  // The kernel asks a program to do STP, where there is one.
  reads: { stpState: (given, read) => (given === 0) === (read === 0) },
  refusals: ({ bridge: settings }) => {
    if (settings === undefined) return {};
    const blame = blamed(settings);
    return {
      hints: {
        EOPNOTSUPP:
          blame === undefined
            ? 'this kernel has no bridges, or none with one of these settings'
            : `this kernel has no bridges, or none with ${blame.join('.')}`,
      },
      blame: { EOPNOTSUPP: blame },
    };
  },
});

/** Kernels without CONFIG_BRIDGE_VLAN_FILTERING refuse that, and ignore what else they do not know. */
function blamed(settings: BridgeSettings): Path | undefined {
  if (settings.vlanFiltering !== undefined) return ['bridge', 'vlanFiltering'];
  return onlyOne(Object.fromEntries(Object.entries(settings).map(([key, value]) => [`bridge.${key}`, value])));
}
