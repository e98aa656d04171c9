import {
  attribute,
  attributes,
  checkInteger,
  type Infer,
  opt,
  struct,
  U32_NE,
  u16be,
  u16ne,
} from '../../codec/index.ts';
import * as C from '../../linux/if_link.ts';
import { LinkKind } from './kind.ts';
import type { NewLink } from './settings.ts';

const ifla_vlan_flags = struct('ifla_vlan_flags', { flags: [4, U32_NE], mask: [4, U32_NE] });
/** 4095 is reserved (IEEE 802.1Q). */
const MAX_ID = 4094;

/** IFLA_INFO_DATA of a VLAN device (net/8021q/vlan_netlink.c). */
const VLAN = attributes('IFLA_VLAN', {
  /** The VLAN's number, 0 to 4094. */
  id: opt(u16ne(C.IFLA_VLAN_ID)),
  /** VLAN_FLAG_*: the flags that are set. */
  flags: opt(attribute(C.IFLA_VLAN_FLAGS, ifla_vlan_flags)),
  /** EtherType of the tags: 0x8100 (the default), or 0x88a8 for provider bridges. */
  protocol: opt(u16be(C.IFLA_VLAN_PROTOCOL)),
});
/** What the kernel says of a VLAN device. */
export type VlanDevice = Infer<typeof VLAN>;

/** A new VLAN device: it sends and receives the packets of one VLAN on the device below. */
export interface NewVlan extends NewLink {
  /** The device below, in the namespace of the handle. */
  link: string;
  /** The VLAN's number, 0 to 4094. */
  id: number;
  /** EtherType of the tags: 0x8100 (the default), or 0x88a8 for provider bridges. */
  protocol?: number;
}

export const vlan = new LinkKind<'vlan', NewVlan, VlanDevice>({
  name: 'vlan',
  data: VLAN,
  readOnly: ['flags'],
  required: ['id'],
  link: 'required',
  check: ({ id }) => checkInteger(id, ['id'], 0, MAX_ID),
});
