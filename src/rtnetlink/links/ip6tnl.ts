import { attribute, attributes, type Infer, named, opt, type ShapeOf, U8, u8, u32be } from '../../codec/index.ts';
import * as C from '../../linux/if_tunnel.ts';
import { IPV6 } from '../prefix.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';
import { hasFlags, IPTUN, ip6Flags, PAYLOADS, refusalsOfTunnel } from './tunnel.ts';

const ROWS = {
  /** The source address of the outer packets; '::' accepts packets to any local address. */
  local: opt(attribute(C.IFLA_IPTUN_LOCAL, IPV6)),
  /** The other end; '::' means none. */
  remote: opt(attribute(C.IFLA_IPTUN_REMOTE, IPV6)),
  /** The protocol inside the tunnel: 'ipv6', 'ipip', 'mpls', or 'any' of them (the default). */
  protocol: opt(attribute(C.IFLA_IPTUN_PROTO, named(U8, PAYLOADS))),
  /** How many more tunnels a packet may enter. A new device has 4. */
  encapsulationLimit: opt(u8(C.IFLA_IPTUN_ENCAP_LIMIT)),
  /** Traffic class and flow label of the outer packets, 0 to 2^28-1. */
  flowInfo: opt(u32be(C.IFLA_IPTUN_FLOWINFO)),
  /** The flags of the tunnel. */
  flags: opt(ip6Flags(C.IFLA_IPTUN_FLAGS)),
};

/** IFLA_INFO_DATA of an ip6tnl tunnel (net/ipv6/ip6_tunnel.c). */
const IP6TNL = attributes('IFLA_IPTUN', () => ({ ...IPTUN, ...ROWS }));
/** The settings of an ip6tnl tunnel, as the kernel reports them. */
export type Ip6tnl = Omit<ShapeOf<typeof IPTUN & typeof ROWS>, 'link'>;

/** A new tunnel of IPv6 or IPv4 in IPv6. */
export type NewIp6tnl = NewLink & {
  /** The device through which packets leave, in the namespace of the handle. */
  link?: string;
} & SettingsOf<'ip6tnl', Ip6tnl>;

export const ip6tnl = new LinkKind<'ip6tnl', NewIp6tnl, Infer<typeof IP6TNL>>({
  name: 'ip6tnl',
  data: IP6TNL,
  link: 'optional',
  linkRow: 'link',
  replacesAll: true,
  limits: { flowInfo: [0, 0xfffffff] },
  reads: { flags: hasFlags },
  refusals: refusalsOfTunnel,
});
