import {
  attribute,
  attributes,
  type Infer,
  named,
  opt,
  struct,
  U8,
  U16_BE,
  u8,
  u16be,
  u32be,
  u32ne,
} from '../../codec/index.ts';
import { rangeError, typeError } from '../../errors.ts';
import * as C from '../../linux/if_link.ts';
import { BOOLEAN, DEVICE_INDEX, PRESENCE, quote } from '../device.ts';
import { checkHost, IPV4, IPV6 } from '../prefix.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

const ifla_vxlan_port_range = struct('ifla_vxlan_port_range', { low: [2, U16_BE], high: [2, U16_BE] });
const DONT_FRAGMENT = { unset: C.VXLAN_DF_UNSET, set: C.VXLAN_DF_SET, inherit: C.VXLAN_DF_INHERIT } as const;
/** The port that IANA gave to VXLAN. */
const PORT = 4789;

/** IFLA_INFO_DATA of a VXLAN device (drivers/net/vxlan/vxlan_core.c). */
const VXLAN = attributes('IFLA_VXLAN', {
  /** The number of the network (VNI), 0 to 2^24-1. */
  id: opt(u32ne(C.IFLA_VXLAN_ID)),
  /** Where packets to unknown addresses go: the other end, or a group, which needs `link`. IPv4 or IPv6. */
  remote: opt(attribute(C.IFLA_VXLAN_GROUP, IPV4)),
  remote6: opt(attribute(C.IFLA_VXLAN_GROUP6, IPV6)),
  /** The device that packets leave by. */
  link: opt(attribute(C.IFLA_VXLAN_LINK, DEVICE_INDEX)),
  /** The source address of packets: of the family of `remote`. */
  local: opt(attribute(C.IFLA_VXLAN_LOCAL, IPV4)),
  local6: opt(attribute(C.IFLA_VXLAN_LOCAL6, IPV6)),
  /** Of the outer packets, 0 to 255; 0 is the namespace's default (1 to groups). */
  ttl: opt(u8(C.IFLA_VXLAN_TTL)),
  /** The outer packets have the TTL of the inner ones. */
  ttlInherit: opt(attribute(C.IFLA_VXLAN_TTL_INHERIT, PRESENCE)),
  /** Of the outer packets; 1 is that of the inner ones. */
  tos: opt(u8(C.IFLA_VXLAN_TOS)),
  /** The flag of the outer IPv4 packets. */
  dontFragment: opt(attribute(C.IFLA_VXLAN_DF, named(U8, DONT_FRAGMENT))),
  /** IPv6: the flow label of the outer packets, 0 to 2^20-1. */
  flowLabel: opt(u32be(C.IFLA_VXLAN_LABEL)),
  /** It learns where addresses are from what comes in. On in a new device. */
  learning: opt(attribute(C.IFLA_VXLAN_LEARNING, BOOLEAN)),
  /** How long what was learned is kept; 300 in a new device. */
  ageingSeconds: opt(u32ne(C.IFLA_VXLAN_AGEING)),
  /** How many addresses may be learned; 0 is any number. */
  limit: opt(u32ne(C.IFLA_VXLAN_LIMIT)),
  /** The UDP ports that packets come from; from 0 to 0 the kernel takes its own range. */
  portRange: opt(attribute(C.IFLA_VXLAN_PORT_RANGE, ifla_vxlan_port_range)),
  /** The UDP port of both ends. 4789 where left out. (The kernel's own default is 8472, from before there was a standard.) */
  destinationPort: opt(u16be(C.IFLA_VXLAN_PORT)),
  /** It answers ARP requests from the neighbours that it knows. */
  proxy: opt(attribute(C.IFLA_VXLAN_PROXY, BOOLEAN)),
  /** Packets to a router whose next hop is known go there at once. */
  routeShortCircuit: opt(attribute(C.IFLA_VXLAN_RSC, BOOLEAN)),
  /** Programs are asked for hardware addresses that it does not know (RTM_GETNEIGH). */
  l2Miss: opt(attribute(C.IFLA_VXLAN_L2MISS, BOOLEAN)),
  /** Programs are asked for IP addresses that it does not know. */
  l3Miss: opt(attribute(C.IFLA_VXLAN_L3MISS, BOOLEAN)),
  /** Outer IPv4 packets have a UDP checksum. */
  udpChecksum: opt(attribute(C.IFLA_VXLAN_UDP_CSUM, BOOLEAN)),
  /** Outer IPv6 packets have none. */
  udpZeroChecksum6Transmit: opt(attribute(C.IFLA_VXLAN_UDP_ZERO_CSUM6_TX, BOOLEAN)),
  /** Outer IPv6 packets without one are taken. */
  udpZeroChecksum6Receive: opt(attribute(C.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, BOOLEAN)),
  /** Remote checksum offload. */
  remoteChecksumTransmit: opt(attribute(C.IFLA_VXLAN_REMCSUM_TX, BOOLEAN)),
  remoteChecksumReceive: opt(attribute(C.IFLA_VXLAN_REMCSUM_RX, BOOLEAN)),
  remoteChecksumNoPartial: opt(attribute(C.IFLA_VXLAN_REMCSUM_NOPARTIAL, PRESENCE)),
  /** Group based policy: packets carry their mark. */
  groupPolicy: opt(attribute(C.IFLA_VXLAN_GBP, PRESENCE)),
  /** The generic protocol extension (VXLAN-GPE). It needs `collectMetadata`. */
  protocolExtension: opt(attribute(C.IFLA_VXLAN_GPE, PRESENCE)),
  /** Where packets go is said by routes and filters, not by this device ('external'). It then has no `id`. */
  collectMetadata: opt(attribute(C.IFLA_VXLAN_COLLECT_METADATA, BOOLEAN)),
  /** One device for the networks of a list (Linux 5.18). It needs `collectMetadata`. */
  vniFilter: opt(attribute(C.IFLA_VXLAN_VNIFILTER, BOOLEAN)),
  /** Packets to this host itself are not sent out (Linux 6.5). On in a new device. */
  localBypass: opt(attribute(C.IFLA_VXLAN_LOCALBYPASS, BOOLEAN)),
});
/** What the kernel says of a VXLAN device. */
export type Vxlan = Omit<Infer<typeof VXLAN>, 'remote6' | 'local6' | 'link'>;

/** A new VXLAN device: packets of its network go over UDP to other hosts. */
export type NewVxlan = NewLink & {
  /** The device that packets leave by, in the namespace of the handle. */
  link?: string;
} & SettingsOf<'vxlan', Vxlan>;

export const vxlan = new LinkKind<'vxlan', NewVxlan, Infer<typeof VXLAN>>({
  name: 'vxlan',
  data: VXLAN,
  link: 'optional',
  linkRow: 'link',
  ipv6Rows: { remote6: 'remote', local6: 'local' },
  defaults: { destinationPort: PORT },
  limits: { id: [0, 0xffffff], flowLabel: [0, 0xfffff] },
  fixed: [
    'id',
    'destinationPort',
    'portRange',
    'limit',
    'flowLabel',
    'ttlInherit',
    'proxy',
    'routeShortCircuit',
    'l2Miss',
    'l3Miss',
    'udpChecksum',
    'udpZeroChecksum6Transmit',
    'udpZeroChecksum6Receive',
    'remoteChecksumTransmit',
    'remoteChecksumReceive',
    'remoteChecksumNoPartial',
    'groupPolicy',
    'protocolExtension',
    'collectMetadata',
    'vniFilter',
  ],
  since: { vniFilter: '5.18', localBypass: '6.5' },
  check({ id, collectMetadata, remote, local }) {
    if (id === undefined && collectMetadata !== true) throw typeError(['id'], 'a value', undefined, 'ERR_MISSING');
    if (remote !== undefined && local !== undefined && checkHost(remote, ['remote']) !== checkHost(local, ['local']))
      throw rangeError(['local'], 'an address of the family of remote', local, 'ERR_FAMILY_MISMATCH');
  },
  refusals: ({ name }) => ({
    hints: {
      EEXIST: `a device named ${quote(name)} exists, or one with this id and destinationPort`,
      EINVAL:
        'a remote that is a group needs link; flowLabel needs IPv6; protocolExtension and vniFilter need collectMetadata',
    },
    blame: { EEXIST: undefined },
  }),
});
