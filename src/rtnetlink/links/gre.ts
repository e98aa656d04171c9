import { attributes, type Infer, type ShapeOf } from '../../codec/index.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';
import { GRE4, hasKeyFlags, refusalsOfTunnel, withKeyFlags } from './tunnel.ts';

/** IFLA_INFO_DATA of a gre tunnel (net/ipv4/ip_gre.c). */
const GRE = attributes('IFLA_GRE', GRE4);
/** The settings of a gre tunnel, as the kernel reports them. */
export type Gre = Omit<ShapeOf<typeof GRE4>, 'link'>;

/** A new GRE tunnel over IPv4. */
export type NewGre = NewLink & {
  /** The device through which packets leave, in the namespace of the handle. */
  link?: string;
} & SettingsOf<'gre', Gre>;

export const gre = new LinkKind<'gre', NewGre, Infer<typeof GRE>>({
  name: 'gre',
  data: GRE,
  link: 'optional',
  linkRow: 'link',
  replacesAll: true,
  complete: withKeyFlags,
  reads: { inputFlags: hasKeyFlags, outputFlags: hasKeyFlags },
  refusals: refusalsOfTunnel,
});
