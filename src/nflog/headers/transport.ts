import * as C from '../../linux/in.ts';
import { IPPROTO_ICMPV6 } from '../../linux/in6.ts';
import { dccp } from './dccp.ts';
import { type IcmpFields, icmp } from './icmp.ts';
import { icmpv6 } from './icmpv6.ts';
import { ah, esp } from './ipsec.ts';
import type { Inner, Line } from './line.ts';
import { sctp } from './sctp.ts';
import { type TcpFields, tcp } from './tcp.ts';
import { udp, udplite } from './udp.ts';

/** The fields of `Headers` that are of transport headers. */
export interface TransportFields extends TcpFields, IcmpFields {}

/** One protocol behind the IP header. */
export interface Transport {
  /** The only network that the kernel's LOG knows the protocol in. */
  readonly network?: 'ipv4' | 'ipv6';
  /** Adds the fields of the header at `at`, of which `left` bytes were captured. */
  read?(fields: TransportFields, view: DataView, at: number, left: number): void;
  /**
   * Adds the text that the kernel's LOG prints. `fragment`: the packet is a later fragment, which has no header.
   * Returns false if the header was cut off; the line ends there.
   */
  summarize?(line: Line, at: number, fragment: boolean, inner: Inner | undefined): boolean;
}

/** By the number in the IP header. */
const TRANSPORTS: Readonly<Record<number, Transport | undefined>> = {
  [C.IPPROTO_ICMP]: icmp,
  [C.IPPROTO_TCP]: tcp,
  [C.IPPROTO_UDP]: udp,
  [C.IPPROTO_DCCP]: dccp,
  [C.IPPROTO_ESP]: esp,
  [C.IPPROTO_AH]: ah,
  [IPPROTO_ICMPV6]: icmpv6,
  [C.IPPROTO_SCTP]: sctp,
  [C.IPPROTO_UDPLITE]: udplite,
};

/** Adds the fields of the transport header at `at`, as far as `end`. */
export function readTransport(
  fields: TransportFields,
  view: DataView,
  at: number,
  end: number,
  protocol: number,
): void {
  TRANSPORTS[protocol]?.read?.(fields, view, at, end - at);
}

/**
 * Adds the text of the transport header. Returns false if the line ends there. `inner` prints the packet inside an
 * error; undefined leaves it out.
 */
export function summarizeTransport(
  line: Line,
  network: 'ipv4' | 'ipv6',
  protocol: number,
  at: number,
  fragment: boolean,
  inner: Inner | undefined,
): boolean {
  const transport = TRANSPORTS[protocol];
  if (transport?.summarize !== undefined && (transport.network ?? network) === network) {
    return transport.summarize(line, at, fragment, inner);
  }
  line.add(`PROTO=${protocol} `);
  return true;
}
