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
import { sit } from './sit.ts';
import { tun } from './tun.ts';
import { veth } from './veth.ts';
import { vlan } from './vlan.ts';
import { vrf } from './vrf.ts';
import { vxlan } from './vxlan.ts';
import { wireguard } from './wireguard.ts';

/** The kinds of links that can be created, and whose data is decoded. A new kind is a file beside this one, and its name here. */
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
  sit,
  tun,
  veth,
  vlan,
  vrf,
  vxlan,
  wireguard,
] as const;

type Known = (typeof KINDS)[number];
/** What a veth is given never comes back: its peer is a link of its own. */
type Readable = Exclude<Known, { name: 'veth' }>;
/** Rows that are no settings: two forms of one address, and what is said elsewhere. */
type Hidden = 'remote6' | 'local6' | 'sourceCommand' | 'link';

/** The data of a link, in the field that has the name of its kind. */
export type LinkData = {
  [K in Readable as [DataOf<K>] extends [never] ? never : K['name']]?: Omit<DataOf<K>, Hidden>;
};
type DataOf<K> = K extends LinkKind<infer _N, infer _O, infer D> ? D : never;

/** A new link of any kind: the kind, and what `createVeth`, `createBridge` ... take. */
export type NewLinkOfKind = {
  [K in Known as K['name']]: { kind: K['name'] } & (K extends LinkKind<infer _N, infer O, infer _D> ? O : never);
}[Known['name']];

/** A new tunnel: which, and what the kind takes. */
export type NewTunnel = Extract<NewLinkOfKind, { kind: 'gre' | 'ip6gre' | 'ip6tnl' | 'ipip' | 'sit' | 'wireguard' }>;
