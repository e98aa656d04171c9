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
import { oneOf, type Path, typeError } from '../../errors.ts';
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
/** Kernels without VLAN filtering refuse any request that mentions several spanning trees, even to switch them off. */
const ALWAYS_TOLD = OPTION_BITS['no-link-local-learning'] | OPTION_BITS['multicast-vlan-snooping'];

const OPTIONS: Type<(BridgeOption | number)[]> = {
  kind: 'bridge options',
  write(writer, value) {
    if (!Array.isArray(value)) throw typeError([], 'an array of options', value);
    let optval = 0;
    for (const [i, option] of value.entries()) {
      const bit = typeof option === 'string' && Object.hasOwn(OPTION_BITS, option) ? OPTION_BITS[option] : option;
      if (typeof bit !== 'number') throw typeError([i], oneOf(Object.keys(OPTION_BITS), option), option);
      optval |= bit;
    }
    br_boolopt_multi.write(writer, { optval: optval >>> 0, optmask: (optval | ALWAYS_TOLD) >>> 0 });
  },
  read(source, start, end) {
    const value = br_boolopt_multi.read(source, start, end);
    return value && namedBits<BridgeOption>(value.optval & value.optmask, OPTION_BITS);
  },
};

/** IFLA_INFO_DATA of a bridge (net/bridge/br_netlink.c). Times are in hundredths of a second (USER_HZ). */
const BRIDGE = attributes('IFLA_BR', () => ({
  /** How long a port listens, and then how long it learns, before it forwards: 200 to 3000 with STP. A new bridge has 1500. */
  forwardDelayCentiseconds: opt(u32ne(C.IFLA_BR_FORWARD_DELAY)),
  /** Time between two hello messages of STP: 100 to 1000. A new bridge has 200. */
  helloTimeCentiseconds: opt(u32ne(C.IFLA_BR_HELLO_TIME)),
  /** How long a silent root bridge stays the root: 600 to 4000. A new bridge has 2000. */
  maxAgeCentiseconds: opt(u32ne(C.IFLA_BR_MAX_AGE)),
  /** How long the bridge keeps a learned address. A new bridge has 30000. 0 makes the bridge a hub. */
  ageingTimeCentiseconds: opt(u32ne(C.IFLA_BR_AGEING_TIME)),
  /** Spanning tree: 0 off (as in a new bridge), 1 the kernel does it, 2 a program does it. If you give 1, the kernel may make it 2. */
  stpState: opt(u32ne(C.IFLA_BR_STP_STATE)),
  /** Priority in the election of the root, 0 to 65535; the lowest wins. A new bridge has 32768. */
  priority: opt(u16ne(C.IFLA_BR_PRIORITY)),
  /** The ports belong to VLANs. Kernels without CONFIG_BRIDGE_VLAN_FILTERING refuse true (EOPNOTSUPP). */
  vlanFiltering: opt(attribute(C.IFLA_BR_VLAN_FILTERING, BOOLEAN)),
  /** EtherType of the VLAN tags: 0x8100, or 0x88a8 for provider bridges. */
  vlanProtocol: opt(u16be(C.IFLA_BR_VLAN_PROTOCOL)),
  /** The link-local groups 01:80:c2:00:00:0X that the bridge forwards, one bit each. */
  groupForwardMask: opt(u16ne(C.IFLA_BR_GROUP_FWD_MASK)),
  /** The id of the root bridge: two bytes of priority, six of address. */
  rootId: opt(bytes(C.IFLA_BR_ROOT_ID, { min: 8, max: 8 })),
  /** The id of this bridge: two bytes of priority, six of address. */
  bridgeId: opt(bytes(C.IFLA_BR_BRIDGE_ID, { min: 8, max: 8 })),
  /** The port towards the root; 0 if this bridge is the root. */
  rootPort: opt(u16ne(C.IFLA_BR_ROOT_PORT)),
  /** The cost of the path to the root. */
  rootPathCost: opt(u32ne(C.IFLA_BR_ROOT_PATH_COST)),
  /** STP has detected a change of the topology. */
  topologyChange: opt(u8(C.IFLA_BR_TOPOLOGY_CHANGE)),
  /** Whether a change of the topology was noticed. Read only. */
  topologyChangeDetected: opt(u8(C.IFLA_BR_TOPOLOGY_CHANGE_DETECTED)),
  /** The time that remains on the timers of STP and of the forwarding table. */
  helloTimerCentiseconds: opt(u64ne(C.IFLA_BR_HELLO_TIMER)),
  /** Hundredths of a second until the next notification. Read only. */
  topologyNotificationTimerCentiseconds: opt(u64ne(C.IFLA_BR_TCN_TIMER)),
  /** Hundredths of a second until the change is over. Read only. */
  topologyChangeTimerCentiseconds: opt(u64ne(C.IFLA_BR_TOPOLOGY_CHANGE_TIMER)),
  /** Hundredths of a second until old entries are removed. Read only. */
  collectionTimerCentiseconds: opt(u64ne(C.IFLA_BR_GC_TIMER)),
  /** The address to which STP sends its frames: 01:80:c2:00:00:00. */
  groupAddress: opt(attribute(C.IFLA_BR_GROUP_ADDR, HARDWARE_ADDRESS)),
  /** Whether the bridge counts as a multicast router: 0 never, 1 if it has heard a querier, 2 always. */
  multicastRouter: opt(u8(C.IFLA_BR_MCAST_ROUTER)),
  /** The bridge listens to IGMP and MLD, and forwards groups only to ports that want them. On in a new bridge if the kernel supports it. */
  multicastSnooping: opt(attribute(C.IFLA_BR_MCAST_SNOOPING, BOOLEAN)),
  /** The bridge sends its queries from its own address. */
  multicastQueryAddress: opt(attribute(C.IFLA_BR_MCAST_QUERY_USE_IFADDR, BOOLEAN)),
  /** The bridge sends queries for members itself. */
  multicastQuerier: opt(attribute(C.IFLA_BR_MCAST_QUERIER, BOOLEAN)),
  /** The querier that was seen, as the kernel's attributes in hex. Read only. */
  multicastQuerierState: opt(bytes(C.IFLA_BR_MCAST_QUERIER_STATE)),
  /** Not used by the kernel any more. */
  multicastHashElasticity: opt(u32ne(C.IFLA_BR_MCAST_HASH_ELASTICITY)),
  /** The largest number of groups, a power of two. */
  multicastHashMax: opt(u32ne(C.IFLA_BR_MCAST_HASH_MAX)),
  /** The number of queries for the last member of a group. */
  multicastLastMemberCount: opt(u32ne(C.IFLA_BR_MCAST_LAST_MEMBER_CNT)),
  /** How many queries are sent at the start. */
  multicastStartupQueryCount: opt(u32ne(C.IFLA_BR_MCAST_STARTUP_QUERY_CNT)),
  /** Hundredths of a second between queries after a member left. */
  multicastLastMemberCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_LAST_MEMBER_INTVL)),
  /** Hundredths of a second after which a silent member is gone. */
  multicastMembershipCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_MEMBERSHIP_INTVL)),
  /** Hundredths of a second after which a silent querier is gone. */
  multicastQuerierCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_QUERIER_INTVL)),
  /** Hundredths of a second between queries. */
  multicastQueryCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_QUERY_INTVL)),
  /** Hundredths of a second that members have to answer. */
  multicastQueryResponseCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL)),
  /** Hundredths of a second between queries at the start. */
  multicastStartupQueryCentiseconds: opt(u64ne(C.IFLA_BR_MCAST_STARTUP_QUERY_INTVL)),
  /** Count multicast messages. */
  multicastStatistics: opt(attribute(C.IFLA_BR_MCAST_STATS_ENABLED, BOOLEAN)),
  /** 2 or 3. */
  igmpVersion: opt(u8(C.IFLA_BR_MCAST_IGMP_VERSION)),
  /** 1 or 2. */
  mldVersion: opt(u8(C.IFLA_BR_MCAST_MLD_VERSION)),
  /** Bridged IPv4 packets pass through the netfilter hooks of IPv4 (br_netfilter). */
  callIptables: opt(attribute(C.IFLA_BR_NF_CALL_IPTABLES, BOOLEAN)),
  /** As `callIptables`, for IPv6. */
  callIp6tables: opt(attribute(C.IFLA_BR_NF_CALL_IP6TABLES, BOOLEAN)),
  /** As `callIptables`, for ARP. */
  callArptables: opt(attribute(C.IFLA_BR_NF_CALL_ARPTABLES, BOOLEAN)),
  /** The VLAN of untagged packets on new ports; 0 means none. */
  vlanDefaultPvid: opt(u16ne(C.IFLA_BR_VLAN_DEFAULT_PVID)),
  /** Count packets for each VLAN. */
  vlanStatistics: opt(attribute(C.IFLA_BR_VLAN_STATS_ENABLED, BOOLEAN)),
  /** Count packets for each port and VLAN. It can change only while the bridge has no ports. */
  vlanStatisticsPerPort: opt(attribute(C.IFLA_BR_VLAN_STATS_PER_PORT, BOOLEAN)),
  /** The switches that are on (Linux 5.0). */
  options: opt(attribute(C.IFLA_BR_MULTI_BOOLOPT, OPTIONS)),
  /** The number of addresses that the bridge has learned. */
  learnedAddresses: opt(u32ne(C.IFLA_BR_FDB_N_LEARNED)),
  /** The largest number of addresses to learn; 0 means no limit (Linux 6.7). */
  maxLearnedAddresses: opt(u32ne(C.IFLA_BR_FDB_MAX_LEARNED)),
}));

/** The settings and the state of a bridge, as the kernel reports them. Times are in hundredths of a second. */
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

/** The settings of a bridge. A bridge that was read is accepted: fields that only the kernel sets are ignored. */
export type BridgeSettings = Bridge;

/** A new bridge. */
export interface NewBridge extends NewLink {
  /** The settings of the bridge. */
  bridge?: BridgeSettings;
}

export const bridge = new LinkKind<'bridge', NewBridge, Bridge>({
  name: 'bridge',
  data: BRIDGE,
  readOnly: READ_ONLY,
  nestedOnly: true,
  // Kernels without VLAN filtering refuse the setting even if it is false.
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
  // If a program for STP is installed, the kernel starts it and reports 2 instead of 1.
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

/** Kernels without CONFIG_BRIDGE_VLAN_FILTERING refuse that setting, and ignore all others that they do not know. */
function blamed(settings: BridgeSettings): Path | undefined {
  if (settings.vlanFiltering !== undefined) return ['bridge', 'vlanFiltering'];
  return onlyOne(Object.fromEntries(Object.entries(settings).map(([key, value]) => [`bridge.${key}`, value])));
}
