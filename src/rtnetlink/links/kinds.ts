import { bond } from './bond.ts';
import { bridge } from './bridge.ts';
import { dummy } from './dummy.ts';
import { gre } from './gre.ts';
import { ifb } from './ifb.ts';
import { ip6gre } from './ip6gre.ts';
import { ip6tnl } from './ip6tnl.ts';
import { ipip } from './ipip.ts';
import { ipvlan } from './ipvlan.ts';
import type { LinkKind } from './kind.ts';
import { macvlan } from './macvlan.ts';
import { macvtap } from './macvtap.ts';
import type { NewLink } from './settings.ts';
import { sit } from './sit.ts';
import { tun } from './tun.ts';
import { veth } from './veth.ts';
import { vlan } from './vlan.ts';
import { vrf } from './vrf.ts';
import { vxlan } from './vxlan.ts';
import { wireguard } from './wireguard.ts';

/**
 * The kinds of links that the library can create, and whose data it decodes. To add a kind, add a file beside this one, and its name here.
 */
export const KINDS = [
  bond,
  bridge,
  dummy,
  gre,
  ifb,
  ip6gre,
  ip6tnl,
  ipip,
  ipvlan,
  macvlan,
  macvtap,
  sit,
  tun,
  veth,
  vlan,
  vrf,
  vxlan,
  wireguard,
] as const;

type Known = (typeof KINDS)[number];
/** The kernel never reports the settings of a veth: its peer is a separate link. */
type Readable = Exclude<Known, { name: 'veth' }>;
/** Rows that are not settings: the second form of an address, and values that other fields have. */
type Hidden = 'remote6' | 'local6' | 'sourceCommand' | 'link';

/** The data of a link, in the field with the name of its kind. */
export type LinkData = {
  [K in Readable as [DataOf<K>] extends [never] ? never : K['name']]?: Omit<DataOf<K>, Hidden>;
};
type DataOf<K> = K extends LinkKind<infer _N, infer _O, infer D> ? D : never;

/** A new link of any kind: the kind, and the options of `createVeth`, `createBridge` and so on. */
export type NewLinkOfKind = {
  [K in Known as K['name']]: {
    /** The kind of link. */
    kind: K['name'];
  } & (K extends LinkKind<infer _N, infer O, infer _D> ? O : never);
}[Known['name']];

/** A new link of a kind that the library does not decode, such as 'geneve'. */
export interface NewRawLink extends NewLink {
  /** The kind of link. */
  kind: string;
  /** The device below, if the kind needs one. */
  link?: string;
  /** The kernel's data of the kind (IFLA_INFO_DATA), as hex text. '' is no data. */
  kindData: string;
}

/** A new tunnel: its kind, and the options of that kind. */
export type NewTunnel = Extract<NewLinkOfKind, { kind: 'gre' | 'ip6gre' | 'ip6tnl' | 'ipip' | 'sit' | 'wireguard' }>;
