import type { Source } from '../../codec/index.ts';
import { type Protocol, protocolOf } from '../../ctnetlink/protocol.ts';
import type { Redactor } from '../address.ts';
import { hex, type Inner, type Line } from './line.ts';
import type { NetworkFields } from './network.ts';
import { readTransport, summarizeTransport, type TransportFields } from './transport.ts';

/** The fields of `Headers` that both versions of IP have. */
export interface IpFields extends TransportFields {
  /** Bytes of the whole packet from the IP header on, however many were captured. */
  length?: number;
  /** Time to live, or hop limit. */
  ttl?: number;
  /** Type of service, or traffic class: 0 to 255. */
  trafficClass?: number;
  /** Undefined if IPv6's extension headers were cut off. */
  protocol?: Protocol;
  /** Of IPv4, and of IPv6's fragments. */
  id?: number;
  /** IPv6. */
  flowLabel?: number;
  /** The packet must not be fragmented. */
  dontFragment?: true;
  /** Of each fragment but the last. */
  moreFragments?: true;
  /** In bytes; of each fragment but the first, which has no transport header then. */
  fragmentOffset?: number;
}

/* Bits of the fragment field (include/net/ip.h). */
const IP_CE = 0x8000;
const IP_DF = 0x4000;
const IP_MF = 0x2000;
const IP_OFFSET = 0x1fff;

/** IPv4 (RFC 791). */
export const ipv4 = {
  read(source: Source, start: number, end: number, show: Redactor): (NetworkFields & IpFields) | undefined {
    if (end - start < 20) return undefined;
    const { view, bytes } = source;
    const fragment = view.getUint16(start + 6);
    const offset = fragment & IP_OFFSET;
    const protocol = view.getUint8(start + 9);
    const headers: NetworkFields & IpFields = {
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
    else readTransport(headers, view, start + (view.getUint8(start) & 0xf) * 4, end, protocol);
    return headers;
  },
  summarize: (line: Line, at: number) => summarize(line, at, true),
};

const hexByte = (value: number) => hex(value, 2).toUpperCase();

const inner: Inner = (line, at) => summarize(line, at, false);

/** `outer`: not the packet inside an ICMP error. Errors inside errors are not followed. */
function summarize(line: Line, at: number, outer: boolean): void {
  if (!line.has(at, 20)) {
    line.add('TRUNCATED');
    return;
  }
  const service = line.u8(at + 1);
  line.add(`SRC=${line.ipv4(at + 12)} DST=${line.ipv4(at + 16)} `);
  line.add(`LEN=${line.u16(at + 2)} TOS=0x${hexByte(service & 0x1e)} PREC=0x${hexByte(service & 0xe0)} `);
  line.add(`TTL=${line.u8(at + 8)} ID=${line.u16(at + 4)} `);
  const fragment = line.u16(at + 6);
  if ((fragment & IP_CE) !== 0) line.add('CE ');
  if ((fragment & IP_DF) !== 0) line.add('DF ');
  if ((fragment & IP_MF) !== 0) line.add('MF ');
  const offset = fragment & IP_OFFSET;
  if (offset !== 0) line.add(`FRAG:${offset} `);
  const protocol = line.u8(at + 9);
  const next = at + (line.u8(at) & 0xf) * 4;
  const goesOn = summarizeTransport(line, 'ipv4', protocol, next, offset !== 0, outer ? inner : undefined);
  if (goesOn && outer) line.add(line.properties);
}
