import type { Dialect } from './dialects.ts';
import { SCOPES } from './scopes.ts';

/* Words of nft's language that cannot be names. */

/** Kinds of things with names of their own; objects by the kernel's type. */
export type NamedKind =
  | 'table'
  | 'chain'
  | 'set'
  | 'flowtable'
  | 'counter'
  | 'quota'
  | 'limit'
  | 'connlimit'
  | 'tunnel'
  | 'secmark'
  | 'synproxy'
  | 'ct-helper'
  | 'ct-timeout'
  | 'ct-expectation';

const words = (text: string): readonly string[] => text.split(/\s+/);

/** The keywords of nft's scanner in each place. Found by a trial of each word of nft 1.0.6 in each place. */
const EVERYWHERE = /* @__PURE__ */ words(
  `accept add ah all and arp auto-merge bridge cgroup chain comment comp constant continue counter cpu create ct
   day dccp define delete describe device devices dnat drop dst dup dynamic ecn element elements eq esp ether
   exists expires export exthdr fib flags flow flowtable flush frag fwd gc-interval ge get goto gt handle hbh
   hook hour ibriport ibrname icmp icmpv6 igmp iif iifgroup iifname iiftype import include index inet insert
   interval ip ip6 ipsec jhash jump le limit list log lshift lt map mark masquerade meta meter mh missing monitor
   ne netdev nftrace not notrack numgen obriport obrname offload oif oifgroup oifname oiftype or osf pkttype
   policy position priority queue quota random redefine redirect reject rename replace reset return rshift rt rt0
   rt2 rtclassid rule ruleset sctp secmark set size skgid skuid snat socket srh symhash synproxy table tcp th
   time timeout tproxy type typeof udp udplite undefine update vlan vmap xor xt`,
);

/** Keywords since nft 1.1. */
const NEWER = /* @__PURE__ */ words('destroy geneve gre gretap last tunnel vni vxlan');

/** Behind `@` these are the layers of the packet, and no names. */
const { at: LAYERS, ct: CT, counter, quota, limit, synproxy } = SCOPES;
const OF_KIND: Partial<Record<NamedKind, ReadonlySet<string>>> = {
  set: LAYERS,
  flowtable: LAYERS,
  counter,
  quota,
  limit,
  synproxy,
  'ct-helper': CT,
  'ct-timeout': CT,
  'ct-expectation': CT,
  tunnel: /* @__PURE__ */ new Set(
    'class daddr data dport egress erspan gbp id index ingress opt-type path saddr sport tos ttl version'.split(' '),
  ),
};

const reserved = /* @__PURE__ */ new Set(EVERYWHERE);
const newer = /* @__PURE__ */ new Set(NEWER);
const all = /* @__PURE__ */ new Set([...EVERYWHERE, ...NEWER]);

/** The words that are keywords everywhere. */
export const keywordsOf = (dialect: Pick<Dialect, 'reservesNewerWords'>): ReadonlySet<string> =>
  dialect.reservesNewerWords ? all : reserved;

/** Is this a word that an object of this kind cannot have as its name? */
export function isReserved(kind: NamedKind, name: string, dialect: Dialect): boolean {
  return reserved.has(name) || (dialect.reservesNewerWords && newer.has(name)) || (OF_KIND[kind]?.has(name) ?? false);
}
