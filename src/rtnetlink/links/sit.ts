import {
  attribute,
  attributes,
  flags,
  type Infer,
  named,
  opt,
  type ShapeOf,
  U8,
  U16_NE,
  u16ne,
} from '../../codec/index.ts';
import * as C from '../../linux/if_tunnel.ts';
import { IPV4, IPV6 } from '../prefix.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';
import { IPTUN4, PAYLOADS, refusalsOfTunnel } from './tunnel.ts';

const ROWS = {
  /** 'isatap': the tunnel derives its addresses from IPv4 addresses (RFC 5214). */
  flags: opt(attribute(C.IFLA_IPTUN_FLAGS, flags(U16_NE, { isatap: C.SIT_ISATAP } as const))),
  /** The protocol inside the tunnel: 'ipv6' (the default), 'ipip', 'mpls', or 'any' of them. */
  protocol: opt(attribute(C.IFLA_IPTUN_PROTO, named(U8, PAYLOADS))),
  /** 6rd (RFC 5969): the prefix from which addresses are derived. A new device has 2002::. */
  sixRdPrefix: opt(attribute(C.IFLA_IPTUN_6RD_PREFIX, IPV6)),
  /** The length of that prefix. Together with the part of the IPv4 address, at most 64 bits. */
  sixRdPrefixLength: opt(u16ne(C.IFLA_IPTUN_6RD_PREFIXLEN)),
  /** 6rd: the IPv4 prefix that the derived addresses leave out. */
  sixRdRelayPrefix: opt(attribute(C.IFLA_IPTUN_6RD_RELAY_PREFIX, IPV4)),
  /** 6rd: the length of the relay's IPv4 prefix. */
  sixRdRelayPrefixLength: opt(u16ne(C.IFLA_IPTUN_6RD_RELAY_PREFIXLEN)),
};

/** IFLA_INFO_DATA of a sit tunnel (net/ipv6/sit.c). */
const SIT = attributes('IFLA_IPTUN', () => ({ ...IPTUN4, ...ROWS }));
/** The settings of a sit tunnel, as the kernel reports them. */
export type Sit = Omit<ShapeOf<typeof IPTUN4 & typeof ROWS>, 'link'>;

/** A new tunnel of IPv6 in IPv4. */
export type NewSit = NewLink & {
  /** The device through which packets leave, in the namespace of the handle. */
  link?: string;
} & SettingsOf<'sit', Sit>;

export const sit = new LinkKind<'sit', NewSit, Infer<typeof SIT>>({
  name: 'sit',
  data: SIT,
  link: 'optional',
  linkRow: 'link',
  replacesAll: true,
  refusals: refusalsOfTunnel,
});
