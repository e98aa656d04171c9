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

const ifla_vxlan_port_range = struct('ifla_vxlan_port_range', {
  /** The lowest port. */
  low: [2, U16_BE],
  /** The highest port. */
  high: [2, U16_BE],
});
const DONT_FRAGMENT = { unset: C.VXLAN_DF_UNSET, set: C.VXLAN_DF_SET, inherit: C.VXLAN_DF_INHERIT } as const;
/** The port that IANA assigned to VXLAN. */
const PORT = 4789;

/** IFLA_INFO_DATA of a VXLAN device (drivers/net/vxlan/vxlan_core.c). */
const VXLAN = attributes('IFLA_VXLAN', () => ({
  /** The number of the network (VNI), 0 to 2^24-1. */
  id: opt(u32ne(C.IFLA_VXLAN_ID)),
  /** The destination of packets to unknown addresses: the other end, or a group, which needs `link`. IPv4 or IPv6. */
  remote: opt(attribute(C.IFLA_VXLAN_GROUP, IPV4)),
  remote6: opt(attribute(C.IFLA_VXLAN_GROUP6, IPV6)),
  /** The device through which packets leave. */
  link: opt(attribute(C.IFLA_VXLAN_LINK, DEVICE_INDEX)),
  /** The source address of the outer packets, of the same family as `remote`. */
  local: opt(attribute(C.IFLA_VXLAN_LOCAL, IPV4)),
  local6: opt(attribute(C.IFLA_VXLAN_LOCAL6, IPV6)),
  /** TTL of the outer packets, 0 to 255; 0 is the namespace's default (1 for groups). */
  ttl: opt(u8(C.IFLA_VXLAN_TTL)),
  /** Copy the TTL of the outer packets from the inner packets. */
  ttlInherit: opt(attribute(C.IFLA_VXLAN_TTL_INHERIT, PRESENCE)),
  /** The type of service of the outer packets; 1 copies it from the inner packets. */
  tos: opt(u8(C.IFLA_VXLAN_TOS)),
  /** The don't-fragment flag of outer IPv4 packets. */
  dontFragment: opt(attribute(C.IFLA_VXLAN_DF, named(U8, DONT_FRAGMENT))),
  /** IPv6: the flow label of the outer packets, 0 to 2^20-1. */
  flowLabel: opt(u32be(C.IFLA_VXLAN_LABEL)),
  /** The device learns from incoming packets where addresses are. On in a new device. */
  learning: opt(attribute(C.IFLA_VXLAN_LEARNING, BOOLEAN)),
  /** How long the device keeps learned addresses. A new device has 300. */
  ageingSeconds: opt(u32ne(C.IFLA_VXLAN_AGEING)),
  /** The largest number of learned addresses; 0 means no limit. */
  limit: opt(u32ne(C.IFLA_VXLAN_LIMIT)),
  /** The range of UDP source ports; from 0 to 0, the kernel uses its own range. */
  portRange: opt(attribute(C.IFLA_VXLAN_PORT_RANGE, ifla_vxlan_port_range)),
  /** The UDP port of both ends. Default 4789. (The kernel's own default is 8472, which is older than the standard.) */
  destinationPort: opt(u16be(C.IFLA_VXLAN_PORT)),
  /** The device answers ARP requests for neighbours that it knows. */
  proxy: opt(attribute(C.IFLA_VXLAN_PROXY, BOOLEAN)),
  /** Packets to a router go directly to the next hop if it is known. */
  routeShortCircuit: opt(attribute(C.IFLA_VXLAN_RSC, BOOLEAN)),
  /** The kernel asks programs for hardware addresses that it does not know (RTM_GETNEIGH). */
  l2Miss: opt(attribute(C.IFLA_VXLAN_L2MISS, BOOLEAN)),
  /** The kernel asks programs for IP addresses that it does not know. */
  l3Miss: opt(attribute(C.IFLA_VXLAN_L3MISS, BOOLEAN)),
  /** Outer IPv4 packets have a UDP checksum. */
  udpChecksum: opt(attribute(C.IFLA_VXLAN_UDP_CSUM, BOOLEAN)),
  /** Outer IPv6 packets have no UDP checksum. */
  udpZeroChecksum6Transmit: opt(attribute(C.IFLA_VXLAN_UDP_ZERO_CSUM6_TX, BOOLEAN)),
  /** Outer IPv6 packets without a UDP checksum are accepted. */
  udpZeroChecksum6Receive: opt(attribute(C.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, BOOLEAN)),
  /** Remote checksum offload for outgoing packets. */
  remoteChecksumTransmit: opt(attribute(C.IFLA_VXLAN_REMCSUM_TX, BOOLEAN)),
  /** Remote checksum offload for incoming packets. */
  remoteChecksumReceive: opt(attribute(C.IFLA_VXLAN_REMCSUM_RX, BOOLEAN)),
  /** Incoming packets with remote checksum offload get a whole checksum. */
  remoteChecksumNoPartial: opt(attribute(C.IFLA_VXLAN_REMCSUM_NOPARTIAL, PRESENCE)),
  /** Group based policy: packets carry their firewall mark. */
  groupPolicy: opt(attribute(C.IFLA_VXLAN_GBP, PRESENCE)),
  /** The generic protocol extension (VXLAN-GPE). It needs `collectMetadata`. */
  protocolExtension: opt(attribute(C.IFLA_VXLAN_GPE, PRESENCE)),
  /** Routes and filters decide where packets go, not this device ('external'). It then has no `id`. */
  collectMetadata: opt(attribute(C.IFLA_VXLAN_COLLECT_METADATA, BOOLEAN)),
  /** Use one device for a list of networks (Linux 5.18). It needs `collectMetadata`. */
  vniFilter: opt(attribute(C.IFLA_VXLAN_VNIFILTER, BOOLEAN)),
  /** Packets to this host are not sent to the network (Linux 6.5). On in a new device. */
  localBypass: opt(attribute(C.IFLA_VXLAN_LOCALBYPASS, BOOLEAN)),
}));
/** The settings of a VXLAN device, as the kernel reports them. */
export type Vxlan = Omit<Infer<typeof VXLAN>, 'remote6' | 'local6' | 'link'>;

/** A new VXLAN device. It carries the packets of its network over UDP to other hosts. */
export type NewVxlan = NewLink & {
  /** The device through which packets leave, in the namespace of the handle. */
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
