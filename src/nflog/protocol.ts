import * as C from './constants.ts';

const PROTOCOLS = {
  icmp: C.IPPROTO_ICMP,
  igmp: C.IPPROTO_IGMP,
  tcp: C.IPPROTO_TCP,
  udp: C.IPPROTO_UDP,
  dccp: C.IPPROTO_DCCP,
  gre: C.IPPROTO_GRE,
  esp: C.IPPROTO_ESP,
  ah: C.IPPROTO_AH,
  icmpv6: C.IPPROTO_ICMPV6,
  sctp: C.IPPROTO_SCTP,
  udplite: C.IPPROTO_UDPLITE,
} as const;

/** What stands behind the IP headers: its name, or its number (IANA's) where it has none here. */
export type Protocol = keyof typeof PROTOCOLS | number;

const NAMES: readonly (Protocol | undefined)[] = (() => {
  const names: Protocol[] = [];
  for (const name of Object.keys(PROTOCOLS) as (keyof typeof PROTOCOLS)[]) names[PROTOCOLS[name]] = name;
  return names;
})();

export function protocolOf(number: number): Protocol {
  return NAMES[number] ?? number;
}
