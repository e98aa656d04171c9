import {
  attribute,
  attributes,
  checkOneOf,
  flags,
  type Infer,
  list,
  named,
  opt,
  s32ne,
  U16_NE,
  U32_NE,
  u32ne,
} from '../../codec/index.ts';
import * as C from '../../linux/if_link.ts';
import { HARDWARE_ADDRESS, quote } from '../device.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

const MODES = {
  private: C.MACVLAN_MODE_PRIVATE,
  vepa: C.MACVLAN_MODE_VEPA,
  bridge: C.MACVLAN_MODE_BRIDGE,
  passthru: C.MACVLAN_MODE_PASSTHRU,
  source: C.MACVLAN_MODE_SOURCE,
} as const;
/** What the macvlans over one device are to each other: see `Macvlan.mode`. */
export type MacvlanMode = keyof typeof MODES;
const FLAGS = { 'no-promiscuous': C.MACVLAN_FLAG_NOPROMISC, 'no-destination': C.MACVLAN_FLAG_NODST } as const;
/** A flag of a macvlan: see `Macvlan.flags`. */
export type MacvlanFlag = keyof typeof FLAGS;

/** IFLA_INFO_DATA of a macvlan (drivers/net/macvlan.c). */
const MACVLAN = attributes('IFLA_MACVLAN', {
  /**
   * How the devices over one lower device reach each other: 'bridge' directly, 'private' not at all, 'vepa' through the switch outside,
   * 'passthru' there is only one, 'source' by lists of source addresses. To and from 'passthru' it cannot be changed.
   */
  mode: opt(attribute(C.IFLA_MACVLAN_MODE, named(U32_NE, MODES))),
  /** 'no-promiscuous' (mode 'passthru'): the device below does not take all packets; 'no-destination' (mode 'source'): the destination is not looked at. */
  flags: opt(attribute(C.IFLA_MACVLAN_FLAGS, flags(U16_NE, FLAGS))),
  /** What is done to the list of sources: the library replaces it. */
  sourceCommand: opt(u32ne(C.IFLA_MACVLAN_MACADDR_MODE)),
  /** Mode 'source': the hardware addresses that packets are taken from. */
  sources: opt(list(C.IFLA_MACVLAN_MACADDR_DATA, C.IFLA_MACVLAN_MACADDR, HARDWARE_ADDRESS)),
  sourceCount: opt(u32ne(C.IFLA_MACVLAN_MACADDR_COUNT)),
  /** How many broadcast packets may wait, as this device asked for (Linux 5.11). 1000 in a new device. */
  broadcastQueue: opt(u32ne(C.IFLA_MACVLAN_BC_QUEUE_LEN)),
  /** The largest `broadcastQueue` of all devices over the lower one: the one in force. */
  broadcastQueueUsed: opt(u32ne(C.IFLA_MACVLAN_BC_QUEUE_LEN_USED)),
  /** For how many devices a multicast packet is copied at once, and not queued (Linux 6.5); 1 in a new device, -1 never. */
  broadcastCutoff: opt(s32ne(C.IFLA_MACVLAN_BC_CUTOFF)),
});
/** What the kernel says of a macvlan. */
export type Macvlan = Omit<Infer<typeof MACVLAN>, 'sourceCommand'>;

/** A new macvlan. Its mode is 'bridge' where left out. (The kernel's own default is 'vepa', which needs a switch that sends packets back.) */
export type NewMacvlan = NewLink & {
  /** The device below, in the namespace of the handle. */
  link: string;
} & SettingsOf<'macvlan', Macvlan>;

export const macvlan = new LinkKind<'macvlan', NewMacvlan, Infer<typeof MACVLAN>>({
  name: 'macvlan',
  data: MACVLAN,
  readOnly: ['sourceCommand', 'sourceCount', 'broadcastQueueUsed'],
  defaults: { mode: 'bridge' },
  initial: { flags: [] },
  since: { broadcastQueue: '5.11', broadcastCutoff: '6.5' },
  link: 'required',
  complete: data => (data.sources === undefined ? data : { ...data, sourceCommand: C.MACVLAN_MACADDR_SET }),
  reads: {
    sources: (given, read = []) =>
      given.every(each => read.includes(each.toLowerCase())) && read.length === given.length,
  },
  check: ({ mode }) => {
    if (mode !== undefined) checkOneOf(mode, ['mode'], Object.keys(MODES) as MacvlanMode[]);
  },
  refusals: ({ link }) => ({
    hints: { EBUSY: `${quote(link)} is a port of a bridge, or has a macvlan of mode 'passthru'` },
    blame: { EBUSY: ['link'] },
  }),
});
