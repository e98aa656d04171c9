import { ETH_P_IP, ETH_P_IPV6 } from '../../linux/if_ether.ts';
import { incremental } from '../conntrack/rewrite.ts';
import { checksum, destinationOf, type Packet, parse, pseudoSum, setU16, sourceOf, u16 } from '../packets/packet.ts';
import type { End } from './state.ts';

/* Changes to the bytes of packets (net/netfilter/ipvs/ip_vs_xmit.c, ip_vs_proto_tcp.c, ip_vs_core.c). */

const TCP = 6;
const UDP = 17;
const IPIP = 4;
const IPV6 = 41;
const GRE = 47;
const ICMP_HEADER = 8;

/** The offsets of the addresses. */
const addressesOf = ({
  protocol,
}: Packet): { readonly source: number; readonly target: number; readonly size: number } =>
  protocol === ETH_P_IP ? { source: 12, target: 16, size: 4 } : { source: 8, target: 24, size: 16 };

function checkHeader(packet: Packet, at = 0): void {
  const { bytes } = packet;
  if (packet.protocol !== ETH_P_IP) return;
  setU16(bytes, at + 10, 0);
  setU16(bytes, at + 10, checksum(bytes, at, at + (bytes[at]! & 15) * 4));
}

/** Gives a packet another source or destination, with its port: sums of TCP and UDP are brought up to date, not computed anew. */
export function redirect(packet: Packet, which: 'source' | 'target', { address, port }: End): void {
  const { bytes, transport = 0, transportProtocol } = packet;
  const at = addressesOf(packet)[which];
  const portAt = transport + (which === 'source' ? 0 : 2);
  const replaced = Buffer.concat([bytes.subarray(at, at + address.length), bytes.subarray(portAt, portAt + 2)]);
  bytes.set(address, at);
  setU16(bytes, portAt, port);
  checkHeader(packet);
  const sumAt = transport + (transportProtocol === TCP ? 16 : 6);
  const sum = u16(bytes, sumAt);
  if (transportProtocol === UDP && sum === 0) return;
  const result = incremental(sum, replaced, Buffer.concat([address, Uint8Array.of(port >> 8, port)]));
  setU16(bytes, sumAt, result === 0 && transportProtocol === UDP ? 0xffff : result);
}

/** The packet inside an ICMP error: the beginning of the one that could not be delivered. */
export interface Quoted {
  /** Where its header begins. */
  readonly at: number;
  readonly transport: number;
  readonly protocol: number;
  readonly source: End;
  readonly target: End;
}

const ICMP = 1;
const ICMPV6 = 58;
/** Unreachable, source quench, time exceeded. */
const ERRORS = new Set([3, 4, 11]);

/** The packet that an ICMP error quotes; undefined where a packet is no error, or is too short. */
export function quotedIn(packet: Packet): Quoted | undefined {
  const { bytes, transport, transportProtocol, protocol } = packet;
  if (transport === undefined || transportProtocol !== (protocol === ETH_P_IP ? ICMP : ICMPV6)) return undefined;
  const type = bytes[transport]!;
  if (protocol === ETH_P_IP ? !ERRORS.has(type) : (type & 0x80) !== 0) return undefined;
  const at = transport + ICMP_HEADER;
  const inner = { ...packet, bytes: bytes.subarray(at) };
  parse(inner);
  if (inner.transport === undefined || inner.transportProtocol === undefined || inner.fragmentOffset > 0)
    return undefined;
  if (inner.bytes.length < inner.transport + 4) return undefined;
  return {
    at,
    transport: at + inner.transport,
    protocol: inner.transportProtocol,
    source: { address: new Uint8Array(sourceOf(inner)), port: u16(inner.bytes, inner.transport) },
    target: { address: new Uint8Array(destinationOf(inner)), port: u16(inner.bytes, inner.transport + 2) },
  };
}

/** The sum of an ICMP message: 0 where the one that it has is right. Linux 6.1.176 takes none of ICMPv6 for right, 6.1.192 and 6.12.117 do. */
function sumOfMessage(packet: Packet): number {
  const { bytes, transport = 0, protocol } = packet;
  const begun = protocol === ETH_P_IP ? 0 : pseudoSum(packet, ICMPV6, bytes.length - transport);
  return checksum(bytes, transport, bytes.length, begun);
}
export const isSummed = (packet: Packet): boolean => sumOfMessage(packet) === 0;

/**
 * Rewrites an ICMP error about a masqueraded packet: towards the client it comes from the virtual address and quotes what the client has
 * sent, towards the server it goes to the server and quotes what that has sent (ip_vs_nat_icmp).
 */
export function redirectError(packet: Packet, quoted: Quoted, towards: 'client' | 'server', end: End): void {
  const { bytes, transport = 0 } = packet;
  const { source, target } = addressesOf(packet);
  bytes.set(end.address, towards === 'client' ? source : target);
  bytes.set(end.address, quoted.at + (towards === 'client' ? target : source));
  checkHeader(packet);
  checkHeader(packet, quoted.at);
  setU16(bytes, quoted.transport + (towards === 'client' ? 2 : 0), end.port);
  setU16(bytes, transport + 2, 0);
  setU16(bytes, transport + 2, sumOfMessage(packet));
}

export interface Tunnel {
  readonly type: 'ipip' | 'gue' | 'gre';
  readonly port: number;
  readonly hasSum: boolean;
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  /** Whether the outer header has the inner one's DF bit (pmtu_disc). */
  readonly keepsDf: boolean;
}

/** How many bytes a tunnel puts before a packet. */
export function overheadOf({ type, hasSum }: Pick<Tunnel, 'type' | 'hasSum'>, isV6: boolean): number {
  const own = type === 'gue' ? 12 : type === 'gre' ? (hasSum ? 8 : 4) : 0;
  return (isV6 ? 40 : 20) + own;
}

/**
 * Puts a packet into another one. The kernel draws the id of the outer header and the source port of GUE by chance: here they are 0.
 */
export function encapsulate(packet: Packet, tunnel: Tunnel): void {
  const inner = packet.bytes;
  const isInner4 = packet.protocol === ETH_P_IP;
  if (isInner4) checkHeader(packet);
  const traffic = isInner4 ? inner[1]! : ((inner[0]! & 15) << 4) | (inner[1]! >> 4);
  // A mark of congestion is not copied (INET_ECN_encapsulate).
  const outerTraffic = (traffic & 3) === 3 ? (traffic & ~3) | 2 : traffic;
  const shim = shimOf(tunnel, isInner4, inner);
  const isOuter4 = tunnel.to.length === 4;
  const header = new Uint8Array(isOuter4 ? 20 : 40);
  const next = tunnel.type === 'gue' ? UDP : tunnel.type === 'gre' ? GRE : isInner4 ? IPIP : IPV6;
  const hops = isInner4 ? inner[8]! : inner[7]!;
  const rest = shim.length + inner.length;
  if (isOuter4) {
    header.set([0x45, outerTraffic]);
    setU16(header, 2, 20 + rest);
    if (isInner4 && tunnel.keepsDf) setU16(header, 6, u16(inner, 6) & 0x4000);
    header.set([hops, next], 8);
    header.set(tunnel.from, 12);
    header.set(tunnel.to, 16);
    setU16(header, 10, checksum(header, 0, 20));
  } else {
    header.set([0x60 | (outerTraffic >> 4), (outerTraffic & 15) << 4]);
    setU16(header, 4, rest);
    header.set([next, hops], 6);
    header.set(tunnel.from, 8);
    header.set(tunnel.to, 24);
  }
  packet.bytes = new Uint8Array(Buffer.concat([header, shim, inner]));
  packet.protocol = isOuter4 ? ETH_P_IP : ETH_P_IPV6;
  parse(packet);
}

function shimOf(tunnel: Tunnel, isInner4: boolean, inner: Uint8Array): Uint8Array {
  const { type, hasSum } = tunnel;
  if (type === 'ipip') return new Uint8Array(0);
  if (type === 'gre') {
    const shim = new Uint8Array(hasSum ? 8 : 4);
    if (hasSum) shim[0] = 0x80;
    setU16(shim, 2, isInner4 ? ETH_P_IP : ETH_P_IPV6);
    if (hasSum) setU16(shim, 4, sumOf(shim, inner));
    return shim;
  }
  const shim = new Uint8Array(12);
  setU16(shim, 2, tunnel.port);
  setU16(shim, 4, 12 + inner.length);
  shim[9] = isInner4 ? IPIP : IPV6;
  // Over IPv6 a sum of 0 says that there is none, as over IPv4.
  if (hasSum)
    setU16(
      shim,
      6,
      sumOf(Buffer.concat([tunnel.from, tunnel.to, pseudoLength(12 + inner.length), shim]), inner) || 0xffff,
    );
  return shim;
}

const pseudoLength = (length: number): Uint8Array => Uint8Array.of(0, UDP, length >> 8, length);

function sumOf(head: Uint8Array, inner: Uint8Array): number {
  const whole = Buffer.concat([head, inner]);
  return checksum(whole, 0, whole.length);
}
