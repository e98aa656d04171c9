import type { Source } from '../../codec/index.ts';
import { protocolOf } from '../../ctnetlink/protocol.ts';
import { IPPROTO_AH } from '../../linux/in.ts';
import { IPPROTO_DSTOPTS, IPPROTO_FRAGMENT, IPPROTO_HOPOPTS, IPPROTO_ROUTING } from '../../linux/in6.ts';
import type { Redactor } from '../address.ts';
import type { IpFields } from './ipv4.ts';
import { hex, type Inner, type Line } from './line.ts';
import type { NetworkFields } from './network.ts';
import { readTransport, summarizeTransport } from './transport.ts';

/**
 * Walks IPv6's extension headers, from the one of number `protocol` at `at`, to the transport header. The captured
 * bytes end at `end`. `onFragment` is called for each fragment header. 'truncated': the header of number `protocol`
 * was cut off. 'fragment': an extension header follows the fragment header of a later fragment, where only data can
 * be.
 */
function walkExtensions(
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

/** IPv6 (RFC 8200). */
export const ipv6 = {
  read(source: Source, start: number, end: number, show: Redactor): (NetworkFields & IpFields) | undefined {
    if (end - start < 40) return undefined;
    const { view, bytes } = source;
    const first = view.getUint32(start);
    const headers: NetworkFields & IpFields = {
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
    if (headers.fragmentOffset === undefined) readTransport(headers, view, at, end, protocol);
    return headers;
  },
  summarize: (line: Line, at: number) => summarize(line, at, true),
};

const inner: Inner = (line, at) => summarize(line, at, false);

/** `outer`: not the packet inside an ICMPv6 error. Errors inside errors are not followed. */
function summarize(line: Line, at: number, outer: boolean): void {
  if (!line.has(at, 40)) {
    line.add('TRUNCATED');
    return;
  }
  const first = line.u32(at);
  line.add(`SRC=${line.ipv6(at + 8)} DST=${line.ipv6(at + 24)} `);
  line.add(`LEN=${line.u16(at + 4) + 40} TC=${(first >>> 20) & 0xff} HOPLIMIT=${line.u8(at + 7)} `);
  line.add(`FLOWLBL=${first & 0xfffff} `);
  const transportAt = extensions(line, at + 40, line.u8(at + 6));
  if (transportAt === undefined) return;
  const { protocol, next, fragment } = transportAt;
  const goesOn = summarizeTransport(line, 'ipv6', protocol, next, fragment, outer ? inner : undefined);
  if (goesOn && outer) line.add(line.properties);
}

/** Finds the transport header; undefined if the extension headers end the line. */
function extensions(line: Line, start: number, firstProtocol: number) {
  let fragment = false;
  const { found, protocol, at } = walkExtensions(line.view, start, line.bytes.length, firstProtocol, (bits, id) => {
    line.add(`FRAG:${bits & 0xfff8} ${(bits & 1) !== 0 ? 'INCOMPLETE ' : ''}ID:${hex(id, 8)} `);
    if ((bits & 0xfff8) !== 0) fragment = true;
  });
  const begun = protocol === IPPROTO_FRAGMENT && line.has(at, 2);
  if (found === 'truncated') line.add(begun ? 'FRAG:TRUNCATED ' : 'TRUNCATED');
  return found === 'transport' ? { protocol, next: at, fragment } : undefined;
}
