import {
  attribute,
  eachAttribute,
  NO_CONTEXT,
  named,
  opt,
  S32_NE,
  type Source,
  struct,
  U8,
  U16_NE,
  U32_NE,
  u32ne,
} from '../../codec/index.ts';
import * as C from '../../linux/if_arp.ts';
import { IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_NET_NS_FD } from '../../linux/if_link.ts';
import { deviceName, HARDWARE_ADDRESS } from '../device.ts';

/** ARPHRD_*. A type without a name here is read as a number. */
const LINK_TYPES = {
  ether: C.ARPHRD_ETHER,
  infiniband: C.ARPHRD_INFINIBAND,
  ppp: C.ARPHRD_PPP,
  rawip: C.ARPHRD_RAWIP,
  ipip: C.ARPHRD_TUNNEL,
  tunnel6: C.ARPHRD_TUNNEL6,
  loopback: C.ARPHRD_LOOPBACK,
  sit: C.ARPHRD_SIT,
  gre: C.ARPHRD_IPGRE,
  'ieee802.11': C.ARPHRD_IEEE80211,
  gre6: C.ARPHRD_IP6GRE,
  netlink: C.ARPHRD_NETLINK,
  none: C.ARPHRD_NONE,
  void: C.ARPHRD_VOID,
} as const;
/** The link layer of a device (ARPHRD_*): 'ether', 'loopback' ... */
export type LinkType = keyof typeof LINK_TYPES;

/** The header of every link message. */
export const ifinfomsg = struct('ifinfomsg', {
  ifi_family: [1, U8],
  _pad: [1, U8],
  ifi_type: [2, named(U16_NE, LINK_TYPES)],
  ifi_index: [4, S32_NE],
  ifi_flags: [4, U32_NE],
  ifi_change: [4, U32_NE],
});

/** The attributes that a program can set on every device, and on the peer of a veth. */
export const DEVICE_ROWS = {
  /** The device's name: 1 to 15 bytes. Lone surrogates, U+DC80 to U+DCFF, stand for bytes that are not UTF-8. */
  name: attribute(IFLA_IFNAME, deviceName()),
  /** Hardware address, 'aa:bb:cc:dd:ee:ff' on Ethernet. */
  address: opt(attribute(IFLA_ADDRESS, HARDWARE_ADDRESS)),
  /** Largest packet, in bytes, without the header of the link layer. */
  mtu: opt(u32ne(IFLA_MTU)),
  /** A file descriptor of the namespace into which the device is put. */
  netnsFd: opt(u32ne(IFLA_NET_NS_FD)),
};

/** Reads only the index and the name of a link message. */
export function readName(source: Source, payload: number, end: number): [index: number, name: string] | undefined {
  const header = ifinfomsg.read(source, payload, end);
  let name: string | undefined;
  if (header === undefined) return undefined;
  eachAttribute(source, payload + ifinfomsg.size, end, (type, start, last) => {
    if (type === IFLA_IFNAME) name = DEVICE_ROWS.name.type.read(source, start, last, NO_CONTEXT);
  });
  return name === undefined ? undefined : [header.ifi_index, name];
}
