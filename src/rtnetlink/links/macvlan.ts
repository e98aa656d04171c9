import { attribute, attributes, checkOneOf, type Infer, named, opt, U32_NE, u16ne, u32ne } from '../../codec/index.ts';
import * as C from '../../linux/if_link.ts';
import { quote } from '../device.ts';
import { LinkKind } from './kind.ts';
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

/** IFLA_INFO_DATA of a macvlan (drivers/net/macvlan.c). */
const MACVLAN = attributes('IFLA_MACVLAN', {
  /**
   * How the devices over one lower device reach each other: 'bridge' directly, 'private' not at all, 'vepa' through the switch outside,
   * 'passthru' there is only one, 'source' by lists of source addresses.
   */
  mode: opt(attribute(C.IFLA_MACVLAN_MODE, named(U32_NE, MODES))),
  /** MACVLAN_FLAG_*. */
  flags: opt(u16ne(C.IFLA_MACVLAN_FLAGS)),
  /** How many broadcast packets may wait, as this device asked for. */
  broadcastQueue: opt(u32ne(C.IFLA_MACVLAN_BC_QUEUE_LEN)),
  /** The largest `broadcastQueue` of all devices over the lower one: the one in force. */
  broadcastQueueUsed: opt(u32ne(C.IFLA_MACVLAN_BC_QUEUE_LEN_USED)),
});
/** What the kernel says of a macvlan. */
export type Macvlan = Infer<typeof MACVLAN>;

/** A new macvlan. */
export interface NewMacvlan extends NewLink {
  /** The device below, in the namespace of the handle. */
  link: string;
  /** Default 'bridge'. (The kernel's own default is 'vepa', which needs a switch that sends packets back where they came from.) */
  mode?: MacvlanMode;
}

export const macvlan = new LinkKind<'macvlan', NewMacvlan, Macvlan>({
  name: 'macvlan',
  data: MACVLAN,
  readOnly: ['flags', 'broadcastQueue', 'broadcastQueueUsed'],
  defaults: { mode: 'bridge' },
  link: 'required',
  check: ({ mode }) => checkOneOf(mode, ['mode'], Object.keys(MODES) as MacvlanMode[]),
  refusals: ({ link }) => ({
    hints: { EBUSY: `${quote(link)} is a port of a bridge, or has a macvlan of mode 'passthru'` },
    blame: { EBUSY: ['link'] },
  }),
});
