import { attribute, attributes, type Infer, named, opt, type ShapeOf, U8 } from '../../codec/index.ts';
import { IFLA_IPTUN_PROTO } from '../../linux/if_tunnel.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';
import { IPTUN4, PAYLOADS, refusalsOfTunnel } from './tunnel.ts';

const ROWS = {
  /** The protocol inside the tunnel: 'ipip' IPv4 (the default), 'mpls', or 'any' of both. */
  protocol: opt(attribute(IFLA_IPTUN_PROTO, named(U8, PAYLOADS))),
};

/** IFLA_INFO_DATA of an ipip tunnel (net/ipv4/ipip.c). */
const IPIP = attributes('IFLA_IPTUN', () => ({ ...IPTUN4, ...ROWS }));
/** The settings of an ipip tunnel, as the kernel reports them. */
export type Ipip = Omit<ShapeOf<typeof IPTUN4 & typeof ROWS>, 'link'>;

/** A new tunnel of IPv4 in IPv4. */
export type NewIpip = NewLink & {
  /** The device through which packets leave, in the namespace of the handle. */
  link?: string;
} & SettingsOf<'ipip', Ipip>;

export const ipip = new LinkKind<'ipip', NewIpip, Infer<typeof IPIP>>({
  name: 'ipip',
  data: IPIP,
  link: 'optional',
  linkRow: 'link',
  replacesAll: true,
  refusals: refusalsOfTunnel,
});
