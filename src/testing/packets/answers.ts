import { ETH_P_IP } from '../../linux/if_ether.ts';
import { checksum, destinationOf, type Packet, pseudoSum, setU16, sourceOf, u16 } from './packet.ts';

/* The packets with which the kernel answers: ICMP errors and TCP resets. What it makes up, such as the number of a packet, is 0 here. */

const ICMP = 1;
const TCP = 6;
const UDP = 17;
const ICMPV6 = 58;
const HOPS = 64;
/** An ICMP error quotes what fits into so many bytes, its own headers included (RFC 1122 and 4443). */
const ICMP_LENGTH = 576;
const ICMPV6_LENGTH = 1280;
/** IPTOS_PREC_INTERNETCONTROL */
const PRECEDENCE = 0xc0;
/** Nothing is sent in answer to an ICMP error. Types above 18 are no messages that the kernel knows. */
const ICMP_ERRORS = new Set([3, 4, 5, 11, 12]);
const NR_ICMP_TYPES = 18;
/** Protocols whose checksum may be absent, or is the kernel's last concern (nf_reject_verify_csum). */
const UNCHECKED = new Set([47, 50, 51, 132, 136]);
/** Of these it was until Linux 6.17, which knows nothing of DCCP any more. */
const DCCP = 33;

/** Whether the transport's checksum is right, as far as the kernel looks before it answers (nf_ip_checksum, nf_ip6_checksum). */
function isSound(packet: Packet, protocol: number, transport: number, knowsDccp = true): boolean {
  const { bytes } = packet;
  if (UNCHECKED.has(protocol) || (protocol === DCCP && knowsDccp)) return true;
  const length = bytes.length - transport;
  if (protocol === UDP && length >= 8 && u16(bytes, transport + 6) === 0) return true;
  const hasPseudoHeader = packet.protocol !== ETH_P_IP || protocol === TCP || protocol === UDP;
  const begun = hasPseudoHeader ? pseudoSum(packet, protocol, length) : 0;
  // The kernel adds the header of IPv4 up, too.
  return checksum(bytes, packet.protocol === ETH_P_IP ? 0 : transport, bytes.length, begun) === 0;
}

/** A multicast or broadcast address, or none: nobody to answer. */
function isNobody(address: Uint8Array): boolean {
  if (address.length === 16) return address[0] === 0xff || address.every(byte => byte === 0);
  return (address[0]! & 0xf0) === 0xe0 || address.every(byte => byte === 255) || address.every(byte => byte === 0);
}

/**
 * An ICMP error about a packet (icmp_send, icmp6_send). @returns undefined where none is sent
 * @param source the address of this host towards the sender
 */
export function icmpError(
  packet: Packet,
  source: Uint8Array | undefined,
  type: number,
  code: number,
  rest = 0,
): Uint8Array | undefined {
  const { bytes, packetType } = packet;
  if (packetType !== 0 || source === undefined || isNobody(sourceOf(packet)) || isNobody(destinationOf(packet)))
    return undefined;
  return packet.protocol === ETH_P_IP
    ? overFour(bytes, source, type, code, rest)
    : overSix(packet, source, type, code, rest);
}

function overFour(
  bytes: Uint8Array,
  source: Uint8Array,
  type: number,
  code: number,
  rest: number,
): Uint8Array | undefined {
  if ((u16(bytes, 6) & 0x1fff) !== 0) return undefined;
  const header = (bytes[0]! & 15) * 4;
  if (bytes[9] === ICMP) {
    const about = bytes[header];
    if (about === undefined || about > NR_ICMP_TYPES || ICMP_ERRORS.has(about)) return undefined;
  }
  const quoted = bytes.subarray(0, Math.min(bytes.length, ICMP_LENGTH - 28));
  const answer = new Uint8Array(28 + quoted.length);
  answer.set([0x45, (bytes[1]! & 0x1e) | PRECEDENCE]);
  setU16(answer, 2, answer.length);
  answer[8] = HOPS;
  answer[9] = ICMP;
  answer.set(source, 12);
  answer.set(bytes.subarray(12, 16), 16);
  setU16(answer, 10, checksum(answer, 0, 20));
  answer[20] = type;
  answer[21] = code;
  setU16(answer, 24, rest >>> 16);
  setU16(answer, 26, rest & 0xffff);
  answer.set(quoted, 28);
  setU16(answer, 22, checksum(answer, 20, answer.length));
  return answer;
}

function overSix(packet: Packet, source: Uint8Array, type: number, code: number, rest: number): Uint8Array | undefined {
  const { bytes, transport, transportProtocol, fragmentOffset } = packet;
  if (transportProtocol === ICMPV6 && fragmentOffset === 0) {
    const about = transport === undefined ? undefined : bytes[transport];
    // Messages below 128 are errors.
    if (about === undefined || about < 128) return undefined;
  }
  const quoted = bytes.subarray(0, Math.min(bytes.length, ICMPV6_LENGTH - 48));
  const answer = sixHeader(source, sourceOf(packet), ICMPV6, 8 + quoted.length);
  answer[40] = type;
  answer[41] = code;
  setU16(answer, 44, rest >>> 16);
  setU16(answer, 46, rest & 0xffff);
  answer.set(quoted, 48);
  setU16(answer, 42, checksum(answer, 40, answer.length, sumOfSix(answer, ICMPV6)));
  return answer;
}

function sixHeader(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): Uint8Array {
  const answer = new Uint8Array(40 + length);
  answer[0] = 0x60;
  setU16(answer, 4, length);
  answer[6] = protocol;
  answer[7] = HOPS;
  answer.set(source, 8);
  answer.set(destination, 24);
  return answer;
}

/** What the pseudo header adds. */
function sumOfSix(answer: Uint8Array, protocol: number): number {
  let sum = protocol + answer.length - 40;
  for (let at = 8; at < 40; at += 2) sum += u16(answer, at);
  return sum;
}

/** The ICMP error of a rule that rejects (nf_send_unreach, nf_send_unreach6): none about later fragments and wrong checksums. */
export function unreachable(
  packet: Packet,
  source: Uint8Array | undefined,
  code: number,
  knowsDccp: boolean,
): Uint8Array | undefined {
  const { transport, transportProtocol, fragmentOffset, protocol, bytes } = packet;
  if (fragmentOffset !== 0 || transport === undefined || transportProtocol === undefined) return undefined;
  if (protocol !== ETH_P_IP && transport >= bytes.length) return undefined;
  if (!isSound(packet, transportProtocol, transport, knowsDccp)) return undefined;
  return icmpError(packet, source, protocol === ETH_P_IP ? 3 : 1, code);
}

/** The reset of a rule that rejects (nf_send_reset, nf_send_reset6). @returns undefined where none is sent */
export function reset(packet: Packet): Uint8Array | undefined {
  const { bytes, transport, transportProtocol, fragmentOffset, protocol } = packet;
  if (transportProtocol !== TCP || transport === undefined || fragmentOffset !== 0) return undefined;
  if (transport + 20 > bytes.length || (bytes[transport + 13]! & 4) !== 0) return undefined;
  if (!isSound(packet, TCP, transport)) return undefined;
  const [source, destination] = [destinationOf(packet), sourceOf(packet)];
  if (isNobody(source) || isNobody(destination)) return undefined;
  const isV4 = protocol === ETH_P_IP;
  const answer = isV4 ? new Uint8Array(40) : sixHeader(source, destination, TCP, 20);
  const at = answer.length - 20;
  if (isV4) {
    answer[0] = 0x45;
    setU16(answer, 2, 40);
    // Don't fragment.
    setU16(answer, 6, 0x4000);
    answer[8] = HOPS;
    answer[9] = TCP;
    answer.set(source, 12);
    answer.set(destination, 16);
    setU16(answer, 10, checksum(answer, 0, 20));
  }
  answer.set(bytes.subarray(transport + 2, transport + 4), at);
  answer.set(bytes.subarray(transport, transport + 2), at + 2);
  answer[at + 12] = 5 << 4;
  const flags = bytes[transport + 13]!;
  const isAcknowledgement = (flags & 16) !== 0;
  if (isAcknowledgement) answer.set(bytes.subarray(transport + 8, transport + 12), at + 4);
  else {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const length = bytes.length - transport - (bytes[transport + 12]! >> 4) * 4;
    const counted = ((flags & 2) !== 0 ? 1 : 0) + (flags & 1) + length;
    new DataView(answer.buffer).setUint32(at + 8, view.getUint32(transport + 4) + counted);
  }
  answer[at + 13] = isAcknowledgement ? 4 : 4 | 16;
  const begun = pseudoSum({ bytes: answer, protocol } as Packet, TCP, 20);
  setU16(answer, at + 16, checksum(answer, at, answer.length, begun));
  return answer;
}
