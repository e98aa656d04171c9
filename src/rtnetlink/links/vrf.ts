import { attributes, type Infer, opt, u32ne } from '../../codec/index.ts';
import { IFLA_VRF_TABLE } from '../../linux/if_link.ts';
import { LinkKind, type Need, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

/** IFLA_INFO_DATA of a VRF device (drivers/net/vrf.c). */
const VRF = attributes('IFLA_VRF', {
  /** The routing table of the devices that have it for their master, 1 to 2^32-1. */
  table: opt(u32ne(IFLA_VRF_TABLE)),
});
/** What the kernel says of a VRF device. */
export type Vrf = Infer<typeof VRF>;

/**
 * A new VRF device: the devices that have it for their `master` use a routing table of their own. The kernel takes two with one table. The
 * first one adds a rule of priority 1000, which stays when it is removed.
 */
export type NewVrf = NewLink & SettingsOf<'vrf', Need<Vrf, 'table'>>;

export const vrf = new LinkKind<'vrf', NewVrf, Vrf>({
  name: 'vrf',
  data: VRF,
  required: ['table'],
  limits: { table: [1, 0xffffffff] },
  fixed: ['table'],
});
