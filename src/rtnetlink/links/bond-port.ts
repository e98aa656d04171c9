import { attribute, attributes, type Infer, named, opt, S32_NE, U8, u8, u16ne, u32ne } from '../../codec/index.ts';
import * as C from '../../linux/if_link.ts';
import { HARDWARE_ADDRESS } from '../device.ts';

const LINK_STATES = { up: 0, 'going-down': 1, down: 2, 'going-back': 3 } as const;

/** IFLA_INFO_SLAVE_DATA of a part of a bond (drivers/net/bonding/bond_netlink.c). */
export const BOND_PORT = attributes('IFLA_BOND_SLAVE', () => ({
  /** Whether the bond sends through this part. */
  state: opt(attribute(C.IFLA_BOND_SLAVE_STATE, named(U8, { active: 0, backup: 1 } as const))),
  /** The state of the link as the bond's monitor sees it. 'going-down' and 'going-back' wait for the bond's delays. */
  linkState: opt(attribute(C.IFLA_BOND_SLAVE_MII_STATUS, named(U8, LINK_STATES))),
  /** How often the link has failed. */
  linkFailures: opt(u32ne(C.IFLA_BOND_SLAVE_LINK_FAILURE_COUNT)),
  /** The hardware address that the device had before it became a part. */
  permanentAddress: opt(attribute(C.IFLA_BOND_SLAVE_PERM_HWADDR, HARDWARE_ADDRESS)),
  /** Packets that traffic control gives this queue leave through this part; 0 means none. At most the bond's `transmitQueues`. */
  queueId: opt(u16ne(C.IFLA_BOND_SLAVE_QUEUE_ID)),
  /** Mode '802.3ad': the aggregator of the part. */
  aggregatorId: opt(u16ne(C.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID)),
  /** Mode '802.3ad': the state of this port in LACP, as bits. */
  actorState: opt(u8(C.IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE)),
  /** Mode '802.3ad': the state of the port at the other end, as bits. */
  partnerState: opt(u16ne(C.IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE)),
  /** Modes 'active-backup', 'balance-tlb', 'balance-alb': the part with the highest priority is used (Linux 6.0). */
  priority: opt(attribute(C.IFLA_BOND_SLAVE_PRIO, S32_NE)),
}));

/** The settings and the state of a part of a bond. `queueId` and `priority` can be set. */
export type BondPort = Infer<typeof BOND_PORT>;

/** Rows that the kernel reports but a caller cannot set. */
export const BOND_PORT_READ_ONLY = [
  'state',
  'linkState',
  'linkFailures',
  'permanentAddress',
  'aggregatorId',
  'actorState',
  'partnerState',
] as const;
