import { attribute, attributes, flags, type Infer, named, opt, U16_NE } from '../../codec/index.ts';
import * as C from '../../linux/if_link.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

const MODES = { l2: C.IPVLAN_MODE_L2, l3: C.IPVLAN_MODE_L3, l3s: C.IPVLAN_MODE_L3S } as const;
const FLAGS = { private: C.IPVLAN_F_PRIVATE, vepa: C.IPVLAN_F_VEPA } as const;

/** IFLA_INFO_DATA of an ipvlan (drivers/net/ipvlan/ipvlan_main.c). A change affects all ipvlans over the same device. */
const IPVLAN = attributes('IFLA_IPVLAN', () => ({
  /**
   * 'l2' answers ARP itself. The host routes for 'l3' and 'l3s', and 'l3s' also passes the host's netfilter hooks. The kernel's default is
   * 'l3'.
   */
  mode: opt(attribute(C.IFLA_IPVLAN_MODE, named(U16_NE, MODES))),
  /**
   * 'private': devices over the same lower device cannot reach each other. 'vepa': they reach each other through the outer switch (Linux
   * 4.15).
   */
  flags: opt(attribute(C.IFLA_IPVLAN_FLAGS, flags(U16_NE, FLAGS))),
}));
/** The settings of an ipvlan, as the kernel reports them. */
export type Ipvlan = Infer<typeof IPVLAN>;

/** A new ipvlan: a device with its own IP addresses and the hardware address of the device below. */
export type NewIpvlan = NewLink & {
  /** The device below, in the namespace of the handle. */
  link: string;
} & SettingsOf<'ipvlan', Ipvlan>;

export const ipvlan = new LinkKind<'ipvlan', NewIpvlan, Ipvlan>({ name: 'ipvlan', data: IPVLAN, link: 'required' });
