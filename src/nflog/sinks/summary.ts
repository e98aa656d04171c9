import { toHex } from '../../codec/index.ts';
import { printable } from '../../errors.ts';
import { ETH_ALEN, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_RARP } from '../../linux/if_ether.ts';
import * as C from '../../linux/in.ts';
import { IPPROTO_FRAGMENT, IPPROTO_ICMPV6 } from '../../linux/in6.ts';
import { formatHardware, PLAIN, type Redactor } from '../address.ts';
import { IP_CE, IP_DF, IP_MF, IP_OFFSET, isTag, isUsualArp, tcpFlags, walkExtensions } from '../headers.ts';

/*
 * One line for a packet, as the kernel's LOG prints it (net/netfilter/nf_log_syslog.c), in the same words and the same order: what reads
 * kernel logs reads these. Every header is looked at only as far as it was captured.
 */

/** What the line is made of. */
export interface Summarized {
  readonly prefix: string;
  readonly family: string | number;
  readonly etherType: number | undefined;
  readonly inDevice: string | undefined;
  readonly outDevice: string | undefined;
  readonly physInDevice: string | undefined;
  readonly physOutDevice: string | undefined;
  readonly linkHeader: Uint8Array | undefined;
  /** The tag that the kernel has taken off. */
  readonly vlan?: { readonly protocol: number; readonly id: number } | undefined;
  readonly payload: Uint8Array;
}

/** `properties` is what the kernel knows about the packet besides its bytes, as text. `show` prints the addresses. */
export function summarize(packet: Summarized, properties = '', show: Redactor = PLAIN): string {
  const { prefix, physInDevice, physOutDevice, linkHeader } = packet;
  // To the rules of a bridge its ports are the devices.
  const bridged = packet.family === 'bridge';
  const inDevice = (bridged ? physInDevice : undefined) ?? packet.inDevice;
  const outDevice = (bridged ? physOutDevice : undefined) ?? packet.outDevice;
  const line = new Line(packet, properties, show);
  // Only these are text that a container chose; everything else is numbers.
  line.add(`${printable(prefix)}IN=${printable(inDevice ?? '')} OUT=${printable(outDevice ?? '')} `);
  if (physInDevice !== undefined && physInDevice !== inDevice) line.add(`PHYSIN=${printable(physInDevice)} `);
  if (physOutDevice !== undefined && physOutDevice !== outDevice) line.add(`PHYSOUT=${printable(physOutDevice)} `);
  // Tags: the one that was taken off, those that the link-layer header ends with, those that the payload begins with.
  const outer = networkProtocol(packet);
  let protocol = outer;
  let tags = packet.vlan === undefined ? '' : tag(packet.vlan.protocol, packet.vlan.id);
  if (linkHeader !== undefined) for (const { protocol, id } of tagsOf(linkHeader)) tags += tag(protocol, id);
  let at = 0;
  for (; isTag(protocol) && line.has(at, 4); at += 4) {
    tags += tag(protocol!, line.u16(at) & 0xfff);
    protocol = line.u16(at + 2);
  }
  const isArp = protocol === ETH_P_ARP || protocol === ETH_P_RARP;
  const isIp = protocol === ETH_P_IP || protocol === ETH_P_IPV6;
  // Of a protocol that it does not know, a second tag among them, the kernel prints the header where nothing came in, too.
  const hasMac = inDevice !== undefined || ((!isIp || outer !== protocol) && linkHeader !== undefined);
  if (hasMac && !isArp) line.add(`MAC=${linkHeader ? macOf(linkHeader, show) : ''} `);
  line.add(tags);
  if (line.bytes.length > 0) {
    if (protocol === ETH_P_IP) ipv4(line, at, true);
    else if (isIp) ipv6(line, at, true);
    else if (isArp) arp(line, at);
    else if (isTag(protocol)) line.add('TRUNCATED');
  }
  return line.text.trimEnd();
}

/** The kernel prints a tag so with `flags ether`, its number with the priority in the upper bits. */
const tag = (protocol: number, id: number): string => `VPROTO=${hex(protocol, 4)} VID=${id} `;

/** The tags that a header of Ethernet ends with, and the type behind them as the last one's `next`. Other link layers have none. */
function tagsOf(header: Uint8Array): { protocol: number; id: number; next: number }[] {
  const tags: { protocol: number; id: number; next: number }[] = [];
  const u16 = (at: number) => (header[at]! << 8) | header[at + 1]!;
  let at = 2 * ETH_ALEN;
  for (; header.length - at >= 6 && isTag(u16(at)); at += 4)
    tags.push({ protocol: u16(at), id: u16(at + 2) & 0xfff, next: u16(at + 4) });
  return at + 2 === header.length ? tags : [];
}

/** What the payload begins with: rules of 'bridge' and 'netdev' see all protocols, behind tags that stand in the link-layer header. */
export function networkProtocol(packet: Pick<Summarized, 'family' | 'etherType' | 'linkHeader'>): number | undefined {
  const { family, etherType } = packet;
  if (family === 'ip') return ETH_P_IP;
  if (family === 'ip6') return ETH_P_IPV6;
  if (family === 'arp') return ETH_P_ARP;
  // The header is looked at only where there can be a tag in it.
  const linkHeader = isTag(etherType) ? packet.linkHeader : undefined;
  return (linkHeader && tagsOf(linkHeader).at(-1)?.next) ?? etherType;
}

/** The whole header, as the kernel prints it. Of Ethernet it is two addresses and what follows them. */
function macOf(header: Uint8Array, show: Redactor): string {
  if (header.length < 2 * ETH_ALEN) return show.hardware(header, 0, header.length);
  const addresses = `${show.hardware(header, 0, ETH_ALEN)}:${show.hardware(header, ETH_ALEN, 2 * ETH_ALEN)}`;
  const rest = formatHardware(header, 2 * ETH_ALEN, header.length);
  return rest === '' ? addresses : `${addresses}:${rest}`;
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
const upper = (value: number) => hex(value, 2).toUpperCase();

class Line {
  text = '';
  readonly properties: string;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #show: Redactor;

  constructor(packet: Summarized, properties: string, show: Redactor) {
    this.properties = properties;
    this.#show = show;
    this.bytes = packet.payload;
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
  }

  add(text: string): void {
    this.text += text;
  }

  /** Were that many bytes captured from there on? */
  has(at: number, length: number): boolean {
    return at + length <= this.bytes.length;
  }

  /** Says so if they were not. */
  complete(at: number, length: number): boolean {
    if (this.has(at, length)) return true;
    this.add(`INCOMPLETE [${Math.max(0, this.bytes.length - at)} bytes] `);
    return false;
  }

  u8(at: number): number {
    return this.view.getUint8(at);
  }
  u16(at: number): number {
    return this.view.getUint16(at);
  }
  u32(at: number): number {
    return this.view.getUint32(at);
  }

  ipv4(at: number): string {
    return this.#show.ipv4(this.bytes, at);
  }
  /** All eight groups with their zeros, as the kernel prints them. */
  ipv6(at: number): string {
    return this.#show.ipv6(this.bytes, at, longIPv6);
  }
  hardware(at: number): string {
    return this.#show.hardware(this.bytes, at, at + ETH_ALEN);
  }
}

/** `outer`: not the packet inside an ICMP error, in which errors are not followed again. */
function ipv4(line: Line, at: number, outer: boolean): void {
  if (!line.has(at, 20)) {
    line.add('TRUNCATED');
    return;
  }
  const service = line.u8(at + 1);
  line.add(`SRC=${line.ipv4(at + 12)} DST=${line.ipv4(at + 16)} `);
  line.add(`LEN=${line.u16(at + 2)} TOS=0x${upper(service & 0x1e)} PREC=0x${upper(service & 0xe0)} `);
  line.add(`TTL=${line.u8(at + 8)} ID=${line.u16(at + 4)} `);
  const fragment = line.u16(at + 6);
  if ((fragment & IP_CE) !== 0) line.add('CE ');
  if ((fragment & IP_DF) !== 0) line.add('DF ');
  if ((fragment & IP_MF) !== 0) line.add('MF ');
  const offset = fragment & IP_OFFSET;
  if (offset !== 0) line.add(`FRAG:${offset} `);
  const protocol = line.u8(at + 9);
  const next = at + (line.u8(at) & 0xf) * 4;
  if (protocol === C.IPPROTO_ICMP) icmp(line, next, offset !== 0, outer);
  else if (!transport(line, protocol, next, offset !== 0)) return;
  if (outer) line.add(line.properties);
}

/** False where the header was cut off: the line ends there. */
function transport(line: Line, protocol: number, at: number, fragment: boolean): boolean {
  switch (protocol) {
    case C.IPPROTO_TCP:
      line.add('PROTO=TCP ');
      return fragment || tcp(line, at);
    case C.IPPROTO_UDP:
    case C.IPPROTO_UDPLITE:
      line.add(protocol === C.IPPROTO_UDP ? 'PROTO=UDP ' : 'PROTO=UDPLITE ');
      if (fragment) return true;
      if (!line.complete(at, 8)) return false;
      line.add(`SPT=${line.u16(at)} DPT=${line.u16(at + 2)} LEN=${line.u16(at + 4)} `);
      return true;
    case C.IPPROTO_SCTP:
      // The kernel prints only the number.
      line.add('PROTO=SCTP ');
      if (fragment) return true;
      if (!line.complete(at, 12)) return false;
      line.add(`SPT=${line.u16(at)} DPT=${line.u16(at + 2)} `);
      return true;
    case C.IPPROTO_AH:
    case C.IPPROTO_ESP: {
      if (fragment && protocol === C.IPPROTO_AH) return true;
      line.add(protocol === C.IPPROTO_AH ? 'PROTO=AH ' : 'PROTO=ESP ');
      const index = protocol === C.IPPROTO_AH ? 4 : 0;
      if (!fragment && line.complete(at, index + 8)) line.add(`SPI=0x${line.u32(at + index).toString(16)} `);
      return true;
    }
    default:
      line.add(`PROTO=${protocol} `);
      return true;
  }
}

function tcp(line: Line, at: number): boolean {
  if (!line.complete(at, 20)) return false;
  line.add(`SPT=${line.u16(at)} DPT=${line.u16(at + 2)} WINDOW=${line.u16(at + 14)} `);
  line.add(`RES=0x${hex((line.u8(at + 12) & 0xf) << 2, 2)} `);
  for (const flag of tcpFlags(line.u8(at + 13))) line.add(`${flag} `);
  line.add(`URGP=${line.u16(at + 18)} `);
  return true;
}

/* include/uapi/linux/icmp.h */
const ICMP_ECHOREPLY = 0;
const ICMP_DEST_UNREACH = 3;
const ICMP_SOURCE_QUENCH = 4;
const ICMP_REDIRECT = 5;
const ICMP_ECHO = 8;
const ICMP_TIME_EXCEEDED = 11;
const ICMP_PARAMETERPROB = 12;
const ICMP_TIMESTAMP = 13;
const ICMP_TIMESTAMPREPLY = 14;
const ICMP_ADDRESS = 17;
const ICMP_ADDRESSREPLY = 18;
const ICMP_FRAG_NEEDED = 4;

/** Bytes that these have at least, beyond the eight that all have. */
const ICMP_LENGTHS: Readonly<Record<number, number>> = {
  [ICMP_DEST_UNREACH]: 28,
  [ICMP_SOURCE_QUENCH]: 28,
  [ICMP_REDIRECT]: 28,
  [ICMP_TIME_EXCEEDED]: 28,
  [ICMP_PARAMETERPROB]: 28,
  [ICMP_TIMESTAMP]: 20,
  [ICMP_TIMESTAMPREPLY]: 20,
  [ICMP_ADDRESS]: 12,
  [ICMP_ADDRESSREPLY]: 12,
};

function icmp(line: Line, at: number, fragment: boolean, outer: boolean): void {
  line.add('PROTO=ICMP ');
  if (fragment || !line.complete(at, 8)) return;
  const type = line.u8(at);
  const code = line.u8(at + 1);
  line.add(`TYPE=${type} CODE=${code} `);
  if (!line.complete(at, ICMP_LENGTHS[type] ?? 0)) return;
  switch (type) {
    case ICMP_ECHOREPLY:
    case ICMP_ECHO:
      line.add(`ID=${line.u16(at + 4)} SEQ=${line.u16(at + 6)} `);
      return;
    case ICMP_PARAMETERPROB:
      line.add(`PARAMETER=${line.u8(at + 4)} `);
      return;
    case ICMP_REDIRECT:
    case ICMP_DEST_UNREACH:
    case ICMP_SOURCE_QUENCH:
    case ICMP_TIME_EXCEEDED:
      if (type === ICMP_REDIRECT) line.add(`GATEWAY=${line.ipv4(at + 4)} `);
      if (outer) {
        line.add('[');
        ipv4(line, at + 8, false);
        line.add('] ');
      }
      if (type === ICMP_DEST_UNREACH && code === ICMP_FRAG_NEEDED) line.add(`MTU=${line.u16(at + 6)} `);
  }
}

function longIPv6(bytes: Uint8Array, at: number): string {
  return toHex(bytes, at, at + 16).replace(/....(?=.)/g, '$&:');
}

function ipv6(line: Line, at: number, outer: boolean): void {
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
  if (protocol === IPPROTO_ICMPV6) {
    if (!icmpv6(line, next, fragment, outer)) return;
  } else if (!transport(line, protocol, next, fragment)) return;
  if (outer) line.add(line.properties);
}

/** Goes to the transport header; undefined where the extension headers end the line. */
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

/* include/uapi/linux/icmpv6.h */
const ICMPV6_DEST_UNREACH = 1;
const ICMPV6_PKT_TOOBIG = 2;
const ICMPV6_PARAMPROB = 4;
const ICMPV6_ECHO_REQUEST = 128;
const ICMPV6_ECHO_REPLY = 129;

/** False where the header was cut off. */
function icmpv6(line: Line, at: number, fragment: boolean, outer: boolean): boolean {
  line.add('PROTO=ICMPv6 ');
  if (fragment) return true;
  if (!line.complete(at, 8)) return false;
  const type = line.u8(at);
  line.add(`TYPE=${type} CODE=${line.u8(at + 1)} `);
  if (type === ICMPV6_ECHO_REQUEST || type === ICMPV6_ECHO_REPLY) {
    line.add(`ID=${line.u16(at + 4)} SEQ=${line.u16(at + 6)} `);
  } else if (type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB) {
    if (type === ICMPV6_PARAMPROB) line.add(`POINTER=${hex(line.u32(at + 4), 8)} `);
    if (outer) {
      line.add('[');
      ipv6(line, at + 8, false);
      line.add('] ');
    }
    if (type === ICMPV6_PKT_TOOBIG) line.add(`MTU=${line.u32(at + 4)} `);
  }
  return true;
}

function arp(line: Line, at: number): void {
  if (!line.has(at, 8)) {
    line.add('TRUNCATED');
    return;
  }
  line.add(`ARP HTYPE=${line.u16(at)} PTYPE=0x${hex(line.u16(at + 2), 4)} OPCODE=${line.u16(at + 6)} `);
  if (!isUsualArp(line.view, at)) return;
  if (!line.complete(at + 8, 20)) return;
  line.add(`MACSRC=${line.hardware(at + 8)} IPSRC=${line.ipv4(at + 14)} `);
  line.add(`MACDST=${line.hardware(at + 18)} IPDST=${line.ipv4(at + 24)} `);
}
