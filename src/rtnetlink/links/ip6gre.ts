import { attributes, type Infer, type ShapeOf } from '../../codec/index.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';
import { GRE6, hasFlags, hasKeyFlags, refusalsOfTunnel, withKeyFlags } from './tunnel.ts';

/** IFLA_INFO_DATA of an ip6gre tunnel (net/ipv6/ip6_gre.c). */
const IP6GRE = attributes('IFLA_GRE', GRE6);
/** The settings of an ip6gre tunnel, as the kernel reports them. */
export type Ip6gre = Omit<ShapeOf<typeof GRE6>, 'link'>;

/** A new GRE tunnel over IPv6. */
export type NewIp6gre = NewLink & {
  /** The device through which packets leave, in the namespace of the handle. */
  link?: string;
} & SettingsOf<'ip6gre', Ip6gre>;

export const ip6gre = new LinkKind<'ip6gre', NewIp6gre, Infer<typeof IP6GRE>>({
  name: 'ip6gre',
  data: IP6GRE,
  link: 'optional',
  linkRow: 'link',
  replacesAll: true,
  complete: withKeyFlags,
  limits: { flowInfo: [0, 0xfffffff] },
  reads: { flags: hasFlags, inputFlags: hasKeyFlags, outputFlags: hasKeyFlags },
  refusals: refusalsOfTunnel,
});
