import type { Dialect } from '../data/dialects.ts';

/*
 * The words that are keywords everywhere in nft's language: no name can be one of them. Words that begin a statement or an expression come
 * from the tables of their constructs; here are those of commands, blocks, and what several constructs share.
 */

const SHARED =
  'add insert replace create delete get list reset flush rename import export monitor update element elements rule set map meter flow ' +
  'offload flowtable chain table ruleset handle position index comment constant interval dynamic auto-merge timeout gc-interval expires ' +
  'policy size type typeof hook device devices priority flags random all ecn exists missing include define redefine undefine describe vmap ' +
  'reject';

/** Words of expressions and statements. */
const CONSTRUCTS =
  'fwd dup day hour time mark iif iifname oif oifname iifgroup oifgroup iiftype oiftype skuid skgid nftrace rtclassid ibriport ibrname ' +
  'obriport obrname pkttype cpu cgroup ip ip6 inet arp bridge netdev ether vlan tcp udp udplite sctp dccp icmp icmpv6 igmp ah esp comp th ' +
  'frag rt rt0 rt2 srh hbh dst mh exthdr meta ct socket fib osf numgen jhash symhash ipsec secmark xt log limit quota counter queue snat ' +
  'dnat masquerade redirect tproxy synproxy notrack accept drop continue return jump goto';

/** nft 1.0.6 does not have these. */
const NEWER = 'destroy last vxlan vni geneve gre gretap tunnel';

const words = (text: string): string[] => text.split(' ');
const OLD = /* @__PURE__ */ new Set([.../* @__PURE__ */ words(SHARED), .../* @__PURE__ */ words(CONSTRUCTS)]);
const ALL = /* @__PURE__ */ new Set([...OLD, .../* @__PURE__ */ words(NEWER)]);

/** The words that are keywords everywhere. */
export const keywordsOf = (dialect: Dialect): ReadonlySet<string> => (dialect.reservesNewerWords ? ALL : OLD);
