import { attributes, type Infer, opt, u32ne } from '../../codec/index.ts';
import { IFLA_VRF_TABLE } from '../../linux/if_link.ts';
import { LinkKind, type Need, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

/** IFLA_INFO_DATA of a VRF device (drivers/net/vrf.c). */
const VRF = attributes('IFLA_VRF', () => ({
  /** The routing table for the devices whose master is the VRF, 1 to 2^32-1. */
  table: opt(u32ne(IFLA_VRF_TABLE)),
}));
/** The settings of a VRF device, as the kernel reports them. */
export type Vrf = Infer<typeof VRF>;

/**
 * A new VRF device. The devices whose `master` is the VRF use a routing table of their own. The kernel allows two VRFs with the same table.
 * The first VRF adds a rule of priority 1000, which stays after the VRF is removed.
 */
export type NewVrf = NewLink & SettingsOf<'vrf', Need<Vrf, 'table'>>;

export const vrf = new LinkKind<'vrf', NewVrf, Vrf>({
  name: 'vrf',
  data: VRF,
  required: ['table'],
  limits: { table: [1, 0xffffffff] },
  fixed: ['table'],
});
