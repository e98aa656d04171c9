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
import { LinkKind, type LinkKindSpec, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

const MODES = {
  private: C.MACVLAN_MODE_PRIVATE,
  vepa: C.MACVLAN_MODE_VEPA,
  bridge: C.MACVLAN_MODE_BRIDGE,
  passthru: C.MACVLAN_MODE_PASSTHRU,
  source: C.MACVLAN_MODE_SOURCE,
} as const;
/** The relation of the macvlans over one device to each other: see `Macvlan.mode`. */
export type MacvlanMode = keyof typeof MODES;
const FLAGS = { 'no-promiscuous': C.MACVLAN_FLAG_NOPROMISC, 'no-destination': C.MACVLAN_FLAG_NODST } as const;
/** A flag of a macvlan: see `Macvlan.flags`. */
export type MacvlanFlag = keyof typeof FLAGS;

/** IFLA_INFO_DATA of a macvlan (drivers/net/macvlan.c). */
const MACVLAN = attributes('IFLA_MACVLAN', () => ({
  /**
   * How devices over the same lower device reach each other: 'bridge' directly, 'private' not at all, 'vepa' through the outer switch. With
   * 'passthru' there is only one device. 'source' accepts only listed source addresses. The mode cannot change to or from 'passthru'.
   */
  mode: opt(attribute(C.IFLA_MACVLAN_MODE, named(U32_NE, MODES))),
  /**
   * 'no-promiscuous' (mode 'passthru'): the device below does not accept all packets. 'no-destination' (mode 'source'): ignore the
   * destination.
   */
  flags: opt(attribute(C.IFLA_MACVLAN_FLAGS, flags(U16_NE, FLAGS))),
  /** The operation on the list of sources. The library always replaces the list. */
  sourceCommand: opt(u32ne(C.IFLA_MACVLAN_MACADDR_MODE)),
  /** Mode 'source': the hardware addresses whose packets are accepted. */
  sources: opt(list(C.IFLA_MACVLAN_MACADDR_DATA, C.IFLA_MACVLAN_MACADDR, HARDWARE_ADDRESS)),
  /** How many source addresses there are. Read only. */
  sourceCount: opt(u32ne(C.IFLA_MACVLAN_MACADDR_COUNT)),
  /** How many broadcast packets may wait, as this device requested (Linux 5.11). A new device has 1000. */
  broadcastQueue: opt(u32ne(C.IFLA_MACVLAN_BC_QUEUE_LEN)),
  /** The limit in force: the largest `broadcastQueue` of all devices over the lower one. */
  broadcastQueueUsed: opt(u32ne(C.IFLA_MACVLAN_BC_QUEUE_LEN_USED)),
  /**
   * Up to how many devices a multicast packet is copied at once instead of being queued (Linux 6.5). A new device has 1. -1 means never.
   */
  broadcastCutoff: opt(s32ne(C.IFLA_MACVLAN_BC_CUTOFF)),
}));
export type MacvlanData = Infer<typeof MACVLAN>;
/** The settings of a macvlan, as the kernel reports them. */
export type Macvlan = Omit<MacvlanData, 'sourceCommand'>;

/** A new macvlan. Its mode defaults to 'bridge'. (The kernel's own default is 'vepa', which needs a switch that returns packets.) */
export type NewMacvlan = NewLink & {
  /** The device below, in the namespace of the handle. */
  link: string;
} & SettingsOf<'macvlan', Macvlan>;

/** The descriptions of macvlan and macvtap differ in the name only. */
export const macvlanSpec: Omit<LinkKindSpec<string, NewLink & { link: string }, MacvlanData>, 'name'> = {
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
};

export const macvlan = new LinkKind<'macvlan', NewMacvlan, MacvlanData>({ ...macvlanSpec, name: 'macvlan' });
