import { bridge } from './bridge.ts';
import { dummy } from './dummy.ts';
import { ifb } from './ifb.ts';
import { ipvlan } from './ipvlan.ts';
import type { LinkKind } from './kind.ts';
import { macvlan } from './macvlan.ts';
import { veth } from './veth.ts';
import { vlan } from './vlan.ts';
import { vrf } from './vrf.ts';

/** The kinds of links that can be created, and whose data is decoded. A new kind is a file beside this one, and its name here. */
export const KINDS = [bridge, dummy, ifb, ipvlan, macvlan, veth, vlan, vrf] as const;

type Known = (typeof KINDS)[number];
/** What a veth is given never comes back: its peer is a link of its own. */
type Readable = Exclude<Known, { name: 'veth' }>;

/** The data of a link, in the field that has the name of its kind. */
export type LinkData = { [K in Readable as [DataOf<K>] extends [never] ? never : K['name']]?: DataOf<K> };
type DataOf<K> = K extends LinkKind<infer _N, infer _O, infer D> ? D : never;

/** A new link of any kind: the kind, and what `createVeth`, `createBridge` ... take. */
export type NewLinkOfKind = {
  [K in Known as K['name']]: { kind: K['name'] } & (K extends LinkKind<infer _N, infer O, infer _D> ? O : never);
}[Known['name']];
