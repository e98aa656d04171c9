import {
  attribute,
  attributes,
  bytes,
  eachAttribute,
  type Infer,
  named,
  opt,
  type Type,
  U8,
  U32_NE,
  u8,
  u16ne,
  u32ne,
} from '../../codec/index.ts';
import { typeError, within } from '../../errors.ts';
import * as C from '../../linux/if_link.ts';
import { BOOLEAN, DEVICE_INDEX, HARDWARE_ADDRESS } from '../device.ts';
import { IPV4, IPV6 } from '../prefix.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

/* The values of the settings are in drivers/net/bonding/bond_options.c. */
const MODES = {
  'balance-rr': 0,
  'active-backup': 1,
  'balance-xor': 2,
  broadcast: 3,
  '802.3ad': 4,
  'balance-tlb': 5,
  'balance-alb': 6,
} as const;
/** How a bond shares its packets among its parts: see `Bond.mode`. */
export type BondMode = keyof typeof MODES;
const ARP_VALIDATE = {
  none: 0,
  active: 1,
  backup: 2,
  all: 3,
  filter: 4,
  'filter-active': 5,
  'filter-backup': 6,
} as const;
const RESELECT = { always: 0, better: 1, failure: 2 } as const;
const FAIL_OVER_MAC = { none: 0, active: 1, follow: 2 } as const;
const HASH_POLICIES = {
  layer2: 0,
  'layer3+4': 1,
  'layer2+3': 2,
  'encap2+3': 3,
  'encap3+4': 4,
  'vlan+srcmac': 5,
} as const;

/** A nest whose attributes are numbered from 0. */
function numbered(address: Type<string>): Type<string[]> {
  return {
    kind: 'nest',
    write(writer, value, context) {
      if (!Array.isArray(value)) throw typeError([], 'an array of addresses', value);
      for (const [i, item] of value.entries()) {
        const start = writer.beginAttribute(i);
        try {
          address.write(writer, item, context);
        } catch (error) {
          throw within(error, [i]);
        }
        writer.endAttribute(start);
      }
    },
    read(source, start, end, context) {
      const items: (string | undefined)[] = [];
      eachAttribute(source, start, end, (_number, payload, last) => {
        items.push(address.read(source, payload, last, context));
      });
      return items.includes(undefined) ? undefined : (items as string[]);
    },
  };
}

/** IFLA_INFO_DATA of a bond (drivers/net/bonding/bond_netlink.c). Delays are rounded down to multiples of `miimonMilliseconds`. */
const BOND = attributes('IFLA_BOND', {
  /**
   * 'balance-rr' in turns, 'active-backup' one at a time, 'balance-xor' by a hash, 'broadcast' by all, '802.3ad' LACP, 'balance-tlb' and
   * 'balance-alb' by load. It is changed while the bond is down and has no parts.
   */
  mode: opt(attribute(C.IFLA_BOND_MODE, named(U8, MODES))),
  /** Mode 'active-backup', 'balance-tlb', 'balance-alb': the part in use. */
  active: opt(attribute(C.IFLA_BOND_ACTIVE_SLAVE, DEVICE_INDEX)),
  /** How often the links of the parts are looked at; 0 is never. It ends `arpIntervalMilliseconds`. */
  miimonMilliseconds: opt(u32ne(C.IFLA_BOND_MIIMON)),
  upDelayMilliseconds: opt(u32ne(C.IFLA_BOND_UPDELAY)),
  downDelayMilliseconds: opt(u32ne(C.IFLA_BOND_DOWNDELAY)),
  /** The drivers' word for the state of a link is taken. */
  useCarrier: opt(attribute(C.IFLA_BOND_USE_CARRIER, BOOLEAN)),
  /** How often `arpTargets` are asked; 0 is never. It ends `miimonMilliseconds`. */
  arpIntervalMilliseconds: opt(u32ne(C.IFLA_BOND_ARP_INTERVAL)),
  /** Up to 16 IPv4 addresses. */
  arpTargets: opt(attribute(C.IFLA_BOND_ARP_IP_TARGET, numbered(IPV4))),
  /** Which parts' answers are looked at. */
  arpValidate: opt(attribute(C.IFLA_BOND_ARP_VALIDATE, named(U32_NE, ARP_VALIDATE))),
  /** A part is up when 'any' of the targets answers, or 'all'. */
  arpAllTargets: opt(attribute(C.IFLA_BOND_ARP_ALL_TARGETS, named(U32_NE, { any: 0, all: 1 } as const))),
  /** The part that is used before others. */
  primary: opt(attribute(C.IFLA_BOND_PRIMARY, DEVICE_INDEX)),
  /** When the primary is used again. */
  primaryReselect: opt(attribute(C.IFLA_BOND_PRIMARY_RESELECT, named(U8, RESELECT))),
  /** Whose hardware address the bond has; it is changed while it has no parts. */
  failOverMac: opt(attribute(C.IFLA_BOND_FAIL_OVER_MAC, named(U8, FAIL_OVER_MAC))),
  /** What of a packet decides its part. */
  transmitHashPolicy: opt(attribute(C.IFLA_BOND_XMIT_HASH_POLICY, named(U8, HASH_POLICIES))),
  /** How often groups are announced after a change of the part in use, 0 to 255. */
  resendIgmp: opt(u32ne(C.IFLA_BOND_RESEND_IGMP)),
  /** How often neighbours are told after it, 0 to 255. */
  peerNotifications: opt(u8(C.IFLA_BOND_NUM_PEER_NOTIF)),
  /** What comes in by parts that are not in use is taken. */
  allActive: opt(attribute(C.IFLA_BOND_ALL_SLAVES_ACTIVE, BOOLEAN)),
  /** How many parts must be up for the bond to be. */
  minLinks: opt(u32ne(C.IFLA_BOND_MIN_LINKS)),
  /** Modes 'balance-tlb', 'balance-alb': between two announcements to switches. */
  learningIntervalSeconds: opt(u32ne(C.IFLA_BOND_LP_INTERVAL)),
  /** Mode 'balance-rr': packets to one part before the next, 0 to 65535; 0 is at random. */
  packetsPerPart: opt(u32ne(C.IFLA_BOND_PACKETS_PER_SLAVE)),
  /** Mode '802.3ad': 'fast' is every second. It is changed while the bond is down. */
  lacpRate: opt(attribute(C.IFLA_BOND_AD_LACP_RATE, named(U8, { slow: 0, fast: 1 } as const))),
  /** Mode '802.3ad': which aggregator is taken. It is changed while the bond is down. */
  aggregatorSelection: opt(attribute(C.IFLA_BOND_AD_SELECT, named(U8, { stable: 0, bandwidth: 1, count: 2 } as const))),
  /** Mode '802.3ad': what LACP has found out, raw. */
  aggregatorInfo: opt(bytes(C.IFLA_BOND_AD_INFO)),
  /** Mode '802.3ad': this system's priority, 1 to 65535. */
  systemPriority: opt(u16ne(C.IFLA_BOND_AD_ACTOR_SYS_PRIO)),
  /** Mode '802.3ad': the upper bits of the ports' key, 0 to 1023. */
  userPortKey: opt(u16ne(C.IFLA_BOND_AD_USER_PORT_KEY)),
  /** Mode '802.3ad': this system's address. */
  systemAddress: opt(attribute(C.IFLA_BOND_AD_ACTOR_SYSTEM, HARDWARE_ADDRESS)),
  /** Mode 'balance-tlb': flows move with the load. It is changed while the bond is down. */
  dynamicBalance: opt(attribute(C.IFLA_BOND_TLB_DYNAMIC_LB, BOOLEAN)),
  /** Between two `peerNotifications`. */
  peerNotificationDelayMilliseconds: opt(u32ne(C.IFLA_BOND_PEER_NOTIF_DELAY)),
  /** Mode '802.3ad': it begins LACP by itself (Linux 5.16). */
  lacpActive: opt(attribute(C.IFLA_BOND_AD_LACP_ACTIVE, BOOLEAN)),
  /** How many answers may be missing, 1 to 255 (Linux 5.17). */
  missedMax: opt(u8(C.IFLA_BOND_MISSED_MAX)),
  /** Up to 16 IPv6 addresses (Linux 5.19). */
  neighbourTargets: opt(attribute(C.IFLA_BOND_NS_IP6_TARGET, numbered(IPV6))),
});
/** What the kernel says of a bond. */
export type Bond = Infer<typeof BOND>;

/** A new bond: the devices that have it for their `master` are its parts. They must be down when they become that. */
export type NewBond = NewLink & SettingsOf<'bond', Bond>;

export const bond = new LinkKind<'bond', NewBond, Bond>({
  name: 'bond',
  data: BOND,
  readOnly: ['aggregatorInfo'],
  // EACCES: a setting of another mode, even with the value that it has.
  initial: {
    miimonMilliseconds: 0,
    upDelayMilliseconds: 0,
    downDelayMilliseconds: 0,
    useCarrier: true,
    arpIntervalMilliseconds: 0,
    arpTargets: [],
    arpValidate: 'none',
    arpAllTargets: 'any',
    primaryReselect: 'always',
    failOverMac: 'none',
    transmitHashPolicy: 'layer2',
    resendIgmp: 1,
    peerNotifications: 1,
    allActive: false,
    minLinks: 0,
    learningIntervalSeconds: 1,
    packetsPerPart: 1,
    lacpRate: 'slow',
    aggregatorSelection: 'stable',
    systemPriority: 0xffff,
    userPortKey: 0,
    systemAddress: '00:00:00:00:00:00',
    dynamicBalance: true,
    peerNotificationDelayMilliseconds: 0,
    lacpActive: true,
    missedMax: 2,
    neighbourTargets: [],
  },
  limits: {
    resendIgmp: [0, 0xff],
    packetsPerPart: [0, 0xffff],
    systemPriority: [1, 0xffff],
    userPortKey: [0, 1023],
    missedMax: [1, 0xff],
  },
  since: { lacpActive: '5.16', missedMax: '5.17', neighbourTargets: '5.19' },
  refusals: () => ({
    hints: {
      EACCES: 'this mode has no such setting',
      EBUSY: 'this is changed while the bond is down',
      ENOTEMPTY: 'this is changed while the bond has no parts',
    },
  }),
});
