import type { Source } from '../codec/index.ts';
import { type Protocol, protocolOf } from '../ctnetlink/protocol.ts';
import { ARPHRD_ETHER } from '../linux/if_arp.ts';
import * as C from '../linux/if_ether.ts';
import {
  IPPROTO_AH,
  IPPROTO_DCCP,
  IPPROTO_ICMP,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../linux/in.ts';
import { IPPROTO_DSTOPTS, IPPROTO_FRAGMENT, IPPROTO_HOPOPTS, IPPROTO_ICMPV6, IPPROTO_ROUTING } from '../linux/in6.ts';
import type { Redactor } from './address.ts';

/** What the headers at the front of a packet say, as far as they were captured. All of it was written by whoever sent the packet. */
export interface Headers {
  network: 'ipv4' | 'ipv6' | 'arp';
  /** The sender's address; of ARP the one it claims. */
  source: string;
  destination: string;
  /** Bytes of the whole packet from the IP header on, however many were captured. Not of ARP. */
  length?: number;
  /** Time to live, or hop limit. */
  ttl?: number;
  /** Type of service, or traffic class: 0 to 255. */
  trafficClass?: number;
  /** Not of ARP. Undefined where IPv6's extension headers were cut off. */
  protocol?: Protocol;
  /** Of IPv4, and of IPv6's fragments. */
  id?: number;
  /** IPv6. */
  flowLabel?: number;
  dontFragment?: true;
  /** Of each fragment but the last. */
  moreFragments?: true;
  /** In bytes; of each fragment but the first, which has no transport header then. */
  fragmentOffset?: number;
  sourcePort?: number;
  destinationPort?: number;
  tcp?: TcpHeader;
  icmpType?: number;
  icmpCode?: number;
  arp?: ArpHeader;
}

/** The header of TCP, as far as it was captured. */
export interface TcpHeader {
  /** In the order of the header, from its high bit on. */
  flags: ('CWR' | 'ECE' | 'URG' | 'ACK' | 'PSH' | 'RST' | 'SYN' | 'FIN')[];
  sequence: number;
  acknowledgement: number;
  /** Before scaling. */
  window: number;
}

/** What an ARP packet says. */
export interface ArpHeader {
  /** 1 asks, 2 answers. */
  operation: number;
  senderHardware: string;
  targetHardware: string;
}

/** Of the lowest bit first. */
export const TCP_FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'] as const;

/* Bits of IPv4's fragment field (include/net/ip.h). */
export const IP_CE = 0x8000;
export const IP_DF = 0x4000;
export const IP_MF = 0x2000;
export const IP_OFFSET = 0x1fff;

/**
 * Walks IPv6's extension headers, from the one of number `protocol` at `at`, to the transport header. `end` is where the captured bytes end.
 * `onFragment` is called for each fragment header. 'truncated': the header of number `protocol` was cut off; 'fragment': there is an extension
 * header behind the fragment header of a later fragment, where only data can stand.
 */
export function walkExtensions(
  view: DataView,
  at: number,
  end: number,
  protocol: number,
  onFragment: (offsetAndFlags: number, id: number) => void,
): { found: 'transport' | 'truncated' | 'fragment'; protocol: number; at: number } {
  let fragment = false;
  for (;;) {
    const isFragment = protocol === IPPROTO_FRAGMENT;
    if (
      !isFragment &&
      protocol !== IPPROTO_HOPOPTS &&
      protocol !== IPPROTO_ROUTING &&
      protocol !== IPPROTO_DSTOPTS &&
      protocol !== IPPROTO_AH
    ) {
      return { found: 'transport', protocol, at };
    }
    if (end - at < (isFragment ? 8 : 2)) return { found: 'truncated', protocol, at };
    let length = (view.getUint8(at + 1) + 1) * 8;
    if (isFragment) {
      const offsetAndFlags = view.getUint16(at + 2);
      onFragment(offsetAndFlags, view.getUint32(at + 4));
      if ((offsetAndFlags & 0xfff8) !== 0) fragment = true;
      length = 8;
    } else if (protocol === IPPROTO_AH) {
      length = (view.getUint8(at + 1) + 2) * 4;
    } else if (fragment) {
      return { found: 'fragment', protocol, at };
    }
    protocol = view.getUint8(at);
    at += length;
  }
}

/**
 * Reads the headers of what begins at `start`, never past `end`. Undefined where it is none of the three, or cut within the network header.
 * `show` prints the addresses.
 */
export function readHeaders(
  source: Source,
  start: number,
  end: number,
  etherType: number | undefined,
  show: Redactor,
): Headers | undefined {
  // Further VLAN tags, which the kernel leaves in the packet: two bytes, and the type of what is behind them.
  for (; isTag(etherType) && end - start >= 4; start += 4) etherType = source.view.getUint16(start + 2);
  if (etherType === C.ETH_P_IP) return readIPv4(source, start, end, show);
  if (etherType === C.ETH_P_IPV6) return readIPv6(source, start, end, show);
  if (etherType === C.ETH_P_ARP || etherType === C.ETH_P_RARP) return readArp(source, start, end, show);
  return undefined;
}

/** Of a VLAN tag: two bytes with its number follow, and the type of what is behind them. */
export const isTag = (etherType: number | undefined) =>
  etherType === C.ETH_P_8021Q || etherType === C.ETH_P_8021AD || etherType === C.ETH_P_QINQ1;

function readIPv4(source: Source, start: number, end: number, show: Redactor): Headers | undefined {
  if (end - start < 20) return undefined;
  const { view, bytes } = source;
  const fragment = view.getUint16(start + 6);
  const offset = fragment & IP_OFFSET;
  const protocol = view.getUint8(start + 9);
  const headers: Headers = {
    network: 'ipv4',
    source: show.ipv4(bytes, start + 12),
    destination: show.ipv4(bytes, start + 16),
    length: view.getUint16(start + 2),
    ttl: view.getUint8(start + 8),
    trafficClass: view.getUint8(start + 1),
    protocol: protocolOf(protocol),
    id: view.getUint16(start + 4),
  };
  if ((fragment & IP_DF) !== 0) headers.dontFragment = true;
  if ((fragment & IP_MF) !== 0) headers.moreFragments = true;
  if (offset !== 0) headers.fragmentOffset = offset * 8;
  else readTransport(headers, source, start + (view.getUint8(start) & 0xf) * 4, end, protocol);
  return headers;
}

function readIPv6(source: Source, start: number, end: number, show: Redactor): Headers | undefined {
  if (end - start < 40) return undefined;
  const { view, bytes } = source;
  const first = view.getUint32(start);
  const headers: Headers = {
    network: 'ipv6',
    source: show.ipv6(bytes, start + 8),
    destination: show.ipv6(bytes, start + 24),
    length: view.getUint16(start + 4) + 40,
    ttl: view.getUint8(start + 7),
    trafficClass: (first >>> 20) & 0xff,
    flowLabel: first & 0xfffff,
  };
  const { found, protocol, at } = walkExtensions(view, start + 40, end, view.getUint8(start + 6), (bits, id) => {
    headers.id = id;
    if ((bits & 1) !== 0) headers.moreFragments = true;
    if ((bits & 0xfff8) !== 0) headers.fragmentOffset = bits & 0xfff8;
  });
  if (found !== 'transport') return headers;
  headers.protocol = protocolOf(protocol);
  if (headers.fragmentOffset === undefined) readTransport(headers, source, at, end, protocol);
  return headers;
}

function readTransport(headers: Headers, { view }: Source, at: number, end: number, protocol: number): void {
  const left = end - at;
  switch (protocol) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
    case IPPROTO_DCCP:
      // The ports stand first in all of them.
      if (left < 4) return;
      headers.sourcePort = view.getUint16(at);
      headers.destinationPort = view.getUint16(at + 2);
      if (protocol !== IPPROTO_TCP || left < 16) return;
      headers.tcp = {
        flags: tcpFlags(view.getUint8(at + 13)),
        sequence: view.getUint32(at + 4),
        acknowledgement: view.getUint32(at + 8),
        window: view.getUint16(at + 14),
      };
      return;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      if (left < 2) return;
      headers.icmpType = view.getUint8(at);
      headers.icmpCode = view.getUint8(at + 1);
  }
}

/** From the high bit on. */
export function tcpFlags(bits: number): TcpHeader['flags'] {
  const names: TcpHeader['flags'] = [];
  for (let bit = 7; bit >= 0; bit--) if ((bits & (1 << bit)) !== 0) names.push(TCP_FLAGS[bit]!);
  return names;
}

/** Only Ethernet with IPv4 has addresses of known lengths. */
export function isUsualArp(view: DataView, at: number): boolean {
  return view.getUint16(at) === ARPHRD_ETHER && view.getUint8(at + 4) === C.ETH_ALEN && view.getUint8(at + 5) === 4;
}

function readArp({ view, bytes }: Source, start: number, end: number, show: Redactor): Headers | undefined {
  if (end - start < 28 || !isUsualArp(view, start)) return undefined;
  return {
    network: 'arp',
    source: show.ipv4(bytes, start + 14),
    destination: show.ipv4(bytes, start + 24),
    arp: {
      operation: view.getUint16(start + 6),
      senderHardware: show.hardware(bytes, start + 8, start + 14),
      targetHardware: show.hardware(bytes, start + 18, start + 24),
    },
  };
}
