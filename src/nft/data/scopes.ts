/*
 * Words that are keywords in a part of the language only, by the word that begins the part. They were found by a trial of each word of nft 1.0.6
 * in each part. Elsewhere they are names and values like others.
 */

const words = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/));

const TCP = /* @__PURE__ */ words(
  `ackseq checksum count doff dport echo eol fastopen left length maxseg md5sig mptcp mss noop nop option options reserved right sack sack-perm
   sack-permitted sack0 sack1 sack2 sack3 sequence sport subtype timestamp tsecr tsval urgptr window`,
);
const IP = /* @__PURE__ */ words(
  `addr checksum daddr dscp frag-off hdrlength id length lsrr option options prefix protocol ptr ra rr saddr ssrr to ttl value version`,
);
const ICMP = /* @__PURE__ */ words('checksum code gateway id max-delay mtu param-problem sequence');
const ROUTING = /* @__PURE__ */ words('addr classid hdrlength last-entry mtu nexthdr nexthop seg-left sid tag');
const HASH = /* @__PURE__ */ words('mod offset seed');
const NAT = /* @__PURE__ */ words('addr fully-random persistent port prefix to');
const TO = /* @__PURE__ */ words('to');
const OPTIONS = /* @__PURE__ */ words('hdrlength nexthdr');

export const SCOPES = {
  ah: /* @__PURE__ */ words('hdrlength nexthdr reserved sequence spi'),
  ip: IP,
  ip6: /* @__PURE__ */ words('addr daddr dscp flowlabel hoplimit length nexthdr prefix saddr to version'),
  arp: /* @__PURE__ */ words('daddr hlen htype operation plen ptype saddr'),
  ether: /* @__PURE__ */ words('daddr saddr'),
  vlan: /* @__PURE__ */ words('cfi dei id pcp'),
  tcp: TCP,
  udp: /* @__PURE__ */ words('checksum dport length sport'),
  udplite: /* @__PURE__ */ words('checksum csumcov dport sport'),
  sctp: /* @__PURE__ */ words('checksum chunk dport length sport vtag'),
  chunk: /* @__PURE__ */ words(
    `a-rwnd abort asconf asconf-ack cookie-ack cookie-echo cum-tsn-ack cwr data ecne error forward-tsn heartbeat heartbeat-ack init init-ack
     init-tag initial-tsn length lowest-tsn new-cum-tsn num-dup-tsns num-gap-ack-blocks num-inbound-streams num-outbound-streams ppid sack
     seqno shutdown shutdown-ack shutdown-complete ssn stream tsn`,
  ),
  dccp: /* @__PURE__ */ words('dport sport'),
  icmp: ICMP,
  icmpv6: ICMP,
  igmp: /* @__PURE__ */ words('checksum group mrt'),
  comp: /* @__PURE__ */ words('cpi nexthdr'),
  esp: /* @__PURE__ */ words('sequence spi'),
  th: /* @__PURE__ */ words('dport sport'),
  dst: OPTIONS,
  hbh: OPTIONS,
  frag: /* @__PURE__ */ words('frag-off id more-fragments nexthdr reserved reserved2'),
  mh: /* @__PURE__ */ words('checksum hdrlength nexthdr reserved'),
  rt: ROUTING,
  rt0: ROUTING,
  rt2: ROUTING,
  srh: ROUTING,
  at: /* @__PURE__ */ words('ll nh'),
  fib: /* @__PURE__ */ words('daddr saddr'),
  ipsec: /* @__PURE__ */ words('daddr in out reqid saddr spi spnum'),
  osf: /* @__PURE__ */ words('name ttl version'),
  socket: /* @__PURE__ */ words('cgroupv2 level transparent wildcard'),
  numgen: /* @__PURE__ */ words('inc mod offset'),
  jhash: HASH,
  symhash: HASH,
  meta: /* @__PURE__ */ words('length protocol'),
  ct: /* @__PURE__ */ words(
    `avgpkt bytes count daddr direction dport event expectation expiration helper helpers id l3proto label original over packets proto-dst
     proto-src protocol reply saddr state status zone`,
  ),
  limit: /* @__PURE__ */ words('burst bytes minute name over packets rate second week'),
  quota: /* @__PURE__ */ words('bytes name over until used'),
  counter: /* @__PURE__ */ words('bytes name packets'),
  synproxy: /* @__PURE__ */ words('maxseg mss name sack-perm sack-permitted timestamp wscale'),
  log: /* @__PURE__ */ words('group level prefix queue-threshold snaplen'),
  reject: /* @__PURE__ */ words('icmpx with'),
  nat: NAT,
  dup: TO,
  fwd: TO,
  tproxy: TO,
  queue: /* @__PURE__ */ words('bypass fanout num to'),
  policy: /* @__PURE__ */ words('memory performance'),
  type: /* @__PURE__ */ words('classid dscp protocol'),
} as const satisfies Readonly<Record<string, ReadonlySet<string>>>;

/** The words that begin such a part are keywords everywhere; some parts begin with several words. */
const OTHER_BEGINNINGS: Readonly<Record<string, keyof typeof SCOPES>> = {
  dnat: 'nat',
  snat: 'nat',
  masquerade: 'nat',
  redirect: 'nat',
};
const NO_BEGINNINGS: ReadonlySet<string> = /* @__PURE__ */ new Set(['at', 'chunk', 'nat']);

/** The part of the language that a keyword begins. */
export function scopeOf(word: string): ReadonlySet<string> | undefined {
  const name = Object.hasOwn(OTHER_BEGINNINGS, word) ? OTHER_BEGINNINGS[word]! : word;
  if (NO_BEGINNINGS.has(word) || !Object.hasOwn(SCOPES, name)) return undefined;
  return SCOPES[name as keyof typeof SCOPES];
}

/** nft's errors call these keywords by another word. */
export const KEYWORD_NAMES: ReadonlyMap<string, string> = /* @__PURE__ */ new Map([
  ['sequence', 'seq'],
  ['maxseg', 'mss'],
  ['noop', 'nop'],
  ['sack-perm', 'sack-permitted'],
]);
