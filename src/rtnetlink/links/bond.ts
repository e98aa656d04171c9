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
/** The way in which a bond distributes its packets to its parts: see `Bond.mode`. */
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

/** The type of a nest whose attributes are numbered from 0. */
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

/** IFLA_INFO_DATA of a bond (drivers/net/bonding/bond_netlink.c). The kernel rounds delays down to multiples of `miimonMilliseconds`. */
const BOND = attributes('IFLA_BOND', () => ({
  /**
   * How packets are distributed: 'balance-rr' in turns, 'active-backup' to one part at a time, 'balance-xor' by a hash, 'broadcast' to all,
   * '802.3ad' LACP, 'balance-tlb' and 'balance-alb' by load. It can change only while the bond is down and has no parts.
   */
  mode: opt(attribute(C.IFLA_BOND_MODE, named(U8, MODES))),
  /** Modes 'active-backup', 'balance-tlb', 'balance-alb': the part in use. */
  active: opt(attribute(C.IFLA_BOND_ACTIVE_SLAVE, DEVICE_INDEX)),
  /** Time between two checks of the parts' links; 0 means never. A value above 0 sets `arpIntervalMilliseconds` to 0. */
  miimonMilliseconds: opt(u32ne(C.IFLA_BOND_MIIMON)),
  /** Milliseconds that a link must be up before it is used. */
  upDelayMilliseconds: opt(u32ne(C.IFLA_BOND_UPDELAY)),
  /** Milliseconds that a link must be down before it is not used. */
  downDelayMilliseconds: opt(u32ne(C.IFLA_BOND_DOWNDELAY)),
  /** Trust the driver about the state of a link. */
  useCarrier: opt(attribute(C.IFLA_BOND_USE_CARRIER, BOOLEAN)),
  /** Time between two ARP requests to `arpTargets`; 0 means never. A value above 0 sets `miimonMilliseconds` to 0. */
  arpIntervalMilliseconds: opt(u32ne(C.IFLA_BOND_ARP_INTERVAL)),
  /** The addresses to ask, up to 16 IPv4 addresses. */
  arpTargets: opt(attribute(C.IFLA_BOND_ARP_IP_TARGET, numbered(IPV4))),
  /** The parts whose ARP traffic is checked. */
  arpValidate: opt(attribute(C.IFLA_BOND_ARP_VALIDATE, named(U32_NE, ARP_VALIDATE))),
  /** A part counts as up when 'any' of the targets answers, or only when 'all' do. */
  arpAllTargets: opt(attribute(C.IFLA_BOND_ARP_ALL_TARGETS, named(U32_NE, { any: 0, all: 1 } as const))),
  /** The part that the bond prefers. */
  primary: opt(attribute(C.IFLA_BOND_PRIMARY, DEVICE_INDEX)),
  /** When the bond returns to the primary part. */
  primaryReselect: opt(attribute(C.IFLA_BOND_PRIMARY_RESELECT, named(U8, RESELECT))),
  /** How the bond chooses its hardware address. It can change only while the bond has no parts. */
  failOverMac: opt(attribute(C.IFLA_BOND_FAIL_OVER_MAC, named(U8, FAIL_OVER_MAC))),
  /** The fields of a packet that decide which part carries it. */
  transmitHashPolicy: opt(attribute(C.IFLA_BOND_XMIT_HASH_POLICY, named(U8, HASH_POLICIES))),
  /** How often the bond repeats its IGMP reports after the part in use changed, 0 to 255. */
  resendIgmp: opt(u32ne(C.IFLA_BOND_RESEND_IGMP)),
  /** How often the bond tells neighbours about that change, 0 to 255. */
  peerNotifications: opt(u8(C.IFLA_BOND_NUM_PEER_NOTIF)),
  /** Also accept packets from parts that are not in use. */
  allActive: opt(attribute(C.IFLA_BOND_ALL_SLAVES_ACTIVE, BOOLEAN)),
  /** The number of parts that must be up before the bond is up. */
  minLinks: opt(u32ne(C.IFLA_BOND_MIN_LINKS)),
  /** Modes 'balance-tlb', 'balance-alb': seconds between two learning packets to the switches. */
  learningIntervalSeconds: opt(u32ne(C.IFLA_BOND_LP_INTERVAL)),
  /** Mode 'balance-rr': the number of packets to one part before the next, 0 to 65535; 0 chooses a part at random. */
  packetsPerPart: opt(u32ne(C.IFLA_BOND_PACKETS_PER_SLAVE)),
  /** Mode '802.3ad': how often LACP packets are sent; 'fast' is every second. It can change only while the bond is down. */
  lacpRate: opt(attribute(C.IFLA_BOND_AD_LACP_RATE, named(U8, { slow: 0, fast: 1 } as const))),
  /** Mode '802.3ad': how the bond selects an aggregator. It can change only while the bond is down. */
  aggregatorSelection: opt(attribute(C.IFLA_BOND_AD_SELECT, named(U8, { stable: 0, bandwidth: 1, count: 2 } as const))),
  /** Mode '802.3ad': the result of LACP, undecoded. */
  aggregatorInfo: opt(bytes(C.IFLA_BOND_AD_INFO)),
  /** Mode '802.3ad': this system's priority, 1 to 65535. */
  systemPriority: opt(u16ne(C.IFLA_BOND_AD_ACTOR_SYS_PRIO)),
  /** Mode '802.3ad': the upper bits of the ports' key, 0 to 1023. */
  userPortKey: opt(u16ne(C.IFLA_BOND_AD_USER_PORT_KEY)),
  /** Mode '802.3ad': this system's address. */
  systemAddress: opt(attribute(C.IFLA_BOND_AD_ACTOR_SYSTEM, HARDWARE_ADDRESS)),
  /** Mode 'balance-tlb': move flows between the parts with the load. It can change only while the bond is down. */
  dynamicBalance: opt(attribute(C.IFLA_BOND_TLB_DYNAMIC_LB, BOOLEAN)),
  /** Time between two `peerNotifications`. */
  peerNotificationDelayMilliseconds: opt(u32ne(C.IFLA_BOND_PEER_NOTIF_DELAY)),
  /** Mode '802.3ad': the bond starts LACP itself (Linux 5.16). */
  lacpActive: opt(attribute(C.IFLA_BOND_AD_LACP_ACTIVE, BOOLEAN)),
  /** How many replies may be missing before a part counts as down, 1 to 255 (Linux 5.17). */
  missedMax: opt(u8(C.IFLA_BOND_MISSED_MAX)),
  /** The IPv6 addresses to ask, up to 16 (Linux 5.19). */
  neighbourTargets: opt(attribute(C.IFLA_BOND_NS_IP6_TARGET, numbered(IPV6))),
}));
/** The settings and the state of a bond, as the kernel reports them. */
export type Bond = Infer<typeof BOND>;

/** A new bond. Its parts are the devices whose `master` is the bond. A device must be down when it becomes a part. */
export type NewBond = NewLink & SettingsOf<'bond', Bond>;

export const bond = new LinkKind<'bond', NewBond, Bond>({
  name: 'bond',
  data: BOND,
  readOnly: ['aggregatorInfo'],
  // The kernel refuses a setting of another mode with EACCES, even if its value would not change.
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
