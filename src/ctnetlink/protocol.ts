import { checkInteger, checkOneOf } from '../codec/index.ts';
import type { Path } from '../errors.ts';
import * as C from '../linux/in.ts';
import { IPPROTO_ICMPV6 } from '../linux/in6.ts';

const PROTOCOLS = {
  icmp: C.IPPROTO_ICMP,
  igmp: C.IPPROTO_IGMP,
  tcp: C.IPPROTO_TCP,
  udp: C.IPPROTO_UDP,
  dccp: C.IPPROTO_DCCP,
  gre: C.IPPROTO_GRE,
  esp: C.IPPROTO_ESP,
  ah: C.IPPROTO_AH,
  icmpv6: IPPROTO_ICMPV6,
  sctp: C.IPPROTO_SCTP,
  udplite: C.IPPROTO_UDPLITE,
} as const;

/** The protocol above IP: its name, or its IANA number if it has no name here. */
export type Protocol = keyof typeof PROTOCOLS | number;

const KNOWN = Object.keys(PROTOCOLS) as (keyof typeof PROTOCOLS)[];
const NAMES: readonly (Protocol | undefined)[] = (() => {
  const names: Protocol[] = [];
  for (const name of KNOWN) names[PROTOCOLS[name]] = name;
  return names;
})();

export function protocolOf(number: number): Protocol {
  return NAMES[number] ?? number;
}

/** @throws TypeError, RangeError the protocol is neither a name of this list nor 0 to 255 */
export function protocolNumber(protocol: Protocol, path: Path): number {
  if (typeof protocol === 'number') return checkInteger(protocol, path, 0, 255);
  return PROTOCOLS[checkOneOf(protocol, path, KNOWN)];
}
