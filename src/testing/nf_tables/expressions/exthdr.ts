import { ETH_P_IP, ETH_P_IPV6 } from '../../../linux/if_ether.ts';
import { NF_DROP } from '../../../linux/netfilter.ts';
import * as Nft from '../../../linux/nf_tables.ts';
import { isSince } from '../../machine/state.ts';
import { checksumWith } from '../../packets/checksums.ts';
import { type Packet, setU16, u16 } from '../../packets/packet.ts';
import { EINVAL, EOPNOTSUPP, refuse } from '../../refusal.ts';
import { limited, needed, neededU32, source, target } from '../context.ts';
import type { Expression } from '../state.ts';
import { given, type Row, writeRows } from './rows.ts';
import { type ExpressionType, numberOf, type Outcome, type Run, registerBytes, store, storeNumber } from './type.ts';

const U8_MAX = 255;
const TCP = 6;
const DCCP = 33;
const SCTP = 132;

/** Whether a header is there is a single byte. */
const SINGLE_BYTE = [6, 12] as const;

const EXTHDR: readonly Row[] = [
  ['target', Nft.NFTA_EXTHDR_DREG, 'register'],
  ['source', Nft.NFTA_EXTHDR_SREG, 'register'],
  ['type', Nft.NFTA_EXTHDR_TYPE, 'u8'],
  ['offset', Nft.NFTA_EXTHDR_OFFSET, 'u32'],
  ['length', Nft.NFTA_EXTHDR_LEN, 'u32'],
  ['flags', Nft.NFTA_EXTHDR_FLAGS, 'u32'],
  ['op', Nft.NFTA_EXTHDR_OP, 'u32'],
];
/** IPOPT_RR, IPOPT_LSRR, IPOPT_SSRR, IPOPT_RA: copied flag, class and number. */
const IP_OPTIONS = new Set([7, 131, 137, 148]);

export const exthdr: ExpressionType = {
  read(attributes, context) {
    const op = attributes?.u32be(Nft.NFTA_EXTHDR_OP) ?? Nft.NFT_EXTHDR_OP_IPV6;
    const to = attributes?.u32be(Nft.NFTA_EXTHDR_DREG);
    const from = attributes?.u32be(Nft.NFTA_EXTHDR_SREG);
    const isOfTcp = attributes?.has(Nft.NFTA_EXTHDR_OP) === true && op === Nft.NFT_EXTHDR_OP_TCPOPT;
    if (to === undefined && from === undefined && isOfTcp) {
      // TCP options alone can be taken out.
      for (const absent of [Nft.NFTA_EXTHDR_FLAGS, Nft.NFTA_EXTHDR_OFFSET, Nft.NFTA_EXTHDR_LEN])
        if (attributes!.has(absent)) refuse(EINVAL);
      needed(attributes, Nft.NFTA_EXTHDR_TYPE);
      return { values: { type: attributes!.u8(Nft.NFTA_EXTHDR_TYPE)!, op, offset: 0, length: 0, flags: 0 } };
    }
    const isSet = isOfTcp && from !== undefined;
    needed(attributes, isSet ? Nft.NFTA_EXTHDR_SREG : Nft.NFTA_EXTHDR_DREG);
    needed(attributes, Nft.NFTA_EXTHDR_TYPE);
    const type = attributes!.u8(Nft.NFTA_EXTHDR_TYPE)!;
    needed(attributes, Nft.NFTA_EXTHDR_OFFSET);
    needed(attributes, Nft.NFTA_EXTHDR_LEN);
    if (isSet && attributes!.has(Nft.NFTA_EXTHDR_FLAGS)) refuse(EINVAL);
    const offset = limited(neededU32(attributes, Nft.NFTA_EXTHDR_OFFSET), U8_MAX);
    const length = limited(neededU32(attributes, Nft.NFTA_EXTHDR_LEN), U8_MAX);
    if (isSet) {
      if (offset < 2) refuse(EOPNOTSUPP);
      if (length !== 2 && length !== 4) refuse(EOPNOTSUPP);
      return { values: { type, op, offset, length, flags: 0, source: source(context, from!, length) } };
    }
    const flags = limited(attributes!.u32be(Nft.NFTA_EXTHDR_FLAGS) ?? 0, U8_MAX);
    const asksForPresence = (flags & Nft.NFT_EXTHDR_F_PRESENT) !== 0;
    if ((flags & ~Nft.NFT_EXTHDR_F_PRESENT) !== 0) refuse(EINVAL);
    if (asksForPresence && length !== 1 && isSince(context.work.engine.release, SINGLE_BYTE)) refuse(EINVAL);
    const into = target(context, to!, length);
    if (op === Nft.NFT_EXTHDR_OP_IPV4 && !IP_OPTIONS.has(type)) refuse(EOPNOTSUPP);
    if (op === Nft.NFT_EXTHDR_OP_DCCP && !asksForPresence) refuse(EOPNOTSUPP);
    return { values: { type, op, offset, length, flags, target: into } };
  },
  write({ values }, writer) {
    writeRows(EXTHDR, given(values), writer);
  },
  run(expression, run) {
    const { values } = expression;
    if (values.source !== undefined) return change(expression, run);
    if (values.target === undefined) return strip(numberOf(expression, 'type'), run.packet);
    return load(expression, run);
  },
};

/** An option, a header or a chunk: where it begins, and how long it is; the length is undefined where only the packet's end limits it. */
interface Found {
  readonly at: number;
  readonly length?: number;
}

/** 'break' where rules cannot even ask whether it is there. */
function find({ values }: Expression, packet: Packet): Found | undefined | 'break' {
  const type = values.type as number;
  switch (values.op) {
    case Nft.NFT_EXTHDR_OP_TCPOPT:
      return tcpOption(packet, type, (values.offset as number) + (values.length as number));
    case Nft.NFT_EXTHDR_OP_IPV4:
      return packet.protocol === ETH_P_IP ? ipOption(packet.bytes, type) : 'break';
    case Nft.NFT_EXTHDR_OP_SCTP:
      return chunk(packet, type);
    case Nft.NFT_EXTHDR_OP_DCCP:
      return dccpOption(packet, type);
    default:
      return packet.protocol === ETH_P_IPV6 ? extension(packet.bytes, type) : 'break';
  }
}

function load(expression: Expression, run: Run): Outcome {
  const { packet } = run;
  const found = find(expression, packet);
  if (found === 'break') return 'break';
  const word = numberOf(expression, 'target');
  if ((numberOf(expression, 'flags') & Nft.NFT_EXTHDR_F_PRESENT) !== 0) {
    storeNumber(run, word, found === undefined ? 0 : 1);
    return undefined;
  }
  const offset = numberOf(expression, 'offset');
  const length = numberOf(expression, 'length');
  if (found === undefined || (found.length !== undefined && offset + length > found.length)) return 'break';
  const at = found.at + offset;
  if (at + length > packet.bytes.length) return 'break';
  store(run, word, packet.bytes.subarray(at, at + length));
  return undefined;
}

const FRAGMENT = 44;
const AUTHENTICATION = 51;
const HEADERS = new Set([0, 43, FRAGMENT, AUTHENTICATION, 60]);

/** ipv6_find_hdr, for one header. */
function extension(bytes: Uint8Array, type: number): Found | undefined {
  let next = bytes[6]!;
  for (let at = 40; HEADERS.has(next); ) {
    if (at + (next === FRAGMENT ? 4 : 2) > bytes.length) return undefined;
    if (next === type) return { at };
    if (next === FRAGMENT && (u16(bytes, at + 2) & 0xfff8) !== 0) return undefined;
    const units = bytes[at + 1]!;
    const size = next === FRAGMENT ? 8 : next === AUTHENTICATION ? (units + 2) * 4 : (units + 1) * 8;
    next = bytes[at]!;
    at += size;
  }
  return undefined;
}

const END = 0;
const NO_OPERATION = 1;
const ROUTER_ALERT = 148;

/** ip_options_compile: a router alert counts with the value 0 only, and malformed options hide what is behind them. */
function ipOption(bytes: Uint8Array, type: number): Found | undefined {
  const end = (bytes[0]! & 15) * 4;
  let found: Found | undefined;
  for (let at = 20; at < end; ) {
    const kind = bytes[at]!;
    if (kind === END) break;
    if (kind === NO_OPERATION) {
      at++;
      continue;
    }
    const length = bytes[at + 1] ?? 0;
    if (length < 2 || at + length > end) return undefined;
    if (kind === ROUTER_ALERT && length < 4) return undefined;
    if (kind === type && (kind !== ROUTER_ALERT || u16(bytes, at + 2) === 0)) found = { at };
    at += length;
  }
  return found;
}

/** The header of TCP with its options, where all of it is there (nft_tcp_header_pointer). @returns where it begins and ends */
function tcpHeader({
  bytes,
  transport,
  transportProtocol,
  fragmentOffset,
}: Packet): [start: number, end: number] | undefined {
  if (transportProtocol !== TCP || fragmentOffset > 0 || transport === undefined) return undefined;
  if (transport + 20 > bytes.length) return undefined;
  const length = (bytes[transport + 12]! >> 4) * 4;
  return length < 20 || transport + length > bytes.length ? undefined : [transport, transport + length];
}

/** The kinds 0 and 1 are one byte, a length of 0 counts as 1, and the end of the list ends nothing. */
const optionLength = (bytes: Uint8Array, at: number): number =>
  bytes[at]! <= NO_OPERATION || bytes[at + 1] === 0 ? 1 : bytes[at + 1]!;

/** The first option of a kind in the header; a last byte is not looked at. */
function firstOption(bytes: Uint8Array, [start, end]: [number, number], type: number): Required<Found> | undefined {
  for (let at = start + 20; at < end - 1; ) {
    const length = optionLength(bytes, at);
    if (bytes[at] === type) return { at, length };
    at += length;
  }
  return undefined;
}

function tcpOption(packet: Packet, type: number, wanted: number): Found | undefined {
  const header = tcpHeader(packet);
  const found = header && firstOption(packet.bytes, header, type);
  return found === undefined || found.at + found.length > header![1] || wanted > found.length ? undefined : found;
}

/** The first chunk of a type behind the header of SCTP. */
function chunk({ bytes, transport, transportProtocol }: Packet, type: number): Found | undefined {
  if (transportProtocol !== SCTP || transport === undefined) return undefined;
  for (let at = transport + 12; at + 4 <= bytes.length; ) {
    const length = u16(bytes, at + 2);
    if (length === 0) return undefined;
    // One that is cut off is there, but cannot be read.
    if (bytes[at] === type) return { at, length: at + length > bytes.length ? 0 : length };
    at += (length + 3) & ~3;
  }
  return undefined;
}

const DCCP_HEADER = 12;
/** DCCPO_MAX_RESERVED: up to here options are one byte. */
const DCCP_SHORT = 31;
/** What follows the header, by the type of the packet: 0 is a request. */
const DCCP_MORE = [4, 12, 0, 8, 8, 8, 8, 12, 8, 8];
const DCCP_RESET = 12;

function dccpOption({ bytes, transport, transportProtocol, fragmentOffset }: Packet, type: number): Found | undefined {
  if (transportProtocol !== DCCP || fragmentOffset > 0 || transport === undefined) return undefined;
  if (transport + DCCP_HEADER > bytes.length) return undefined;
  const kinds = bytes[transport + 8]!;
  const isLong = (kinds & 1) !== 0;
  const start = transport + DCCP_HEADER + (isLong ? 4 : 0) + (DCCP_MORE[(kinds >> 1) & 15] ?? DCCP_RESET);
  const end = transport + bytes[transport + 4]! * 4;
  for (let at = start; at < end; ) {
    const kind = bytes[at];
    if (kind === undefined) return undefined;
    if (kind === type) return { at };
    if (kind <= DCCP_SHORT) at++;
    else {
      const length = bytes[at + 1];
      if (length === undefined || length < 2) return undefined;
      at += length;
    }
  }
  return undefined;
}

const MAXIMUM_SEGMENT = 2;
const TCP_CHECKSUM = 16;

/** Writes into a TCP option (nft_exthdr_tcp_set_eval). A maximum segment size is only lowered. */
function change(expression: Expression, run: Run): Outcome {
  const { bytes } = run.packet;
  const header = tcpHeader(run.packet);
  if (header === undefined) return 'break';
  const type = numberOf(expression, 'type');
  const found = firstOption(bytes, header, type);
  if (found === undefined) return undefined;
  const offset = numberOf(expression, 'offset');
  const length = numberOf(expression, 'length');
  if (found.at + found.length > header[1] || offset + length > found.length) return 'break';
  const at = found.at + offset;
  const value = registerBytes(run, numberOf(expression, 'source'), length);
  if (type === MAXIMUM_SEGMENT && length === 2 && u16(bytes, at) <= u16(value, 0)) return undefined;
  replace(bytes, header[0], at, value);
  return undefined;
}

/** Puts bytes into the header, and what they change into its checksum, whatever place in a word they have. */
function replace(bytes: Uint8Array, start: number, at: number, value: Uint8Array): void {
  const place = start + TCP_CHECKSUM;
  setU16(bytes, place, checksumWith(u16(bytes, place), bytes.subarray(at, at + value.length), value));
  bytes.set(value, at);
}

/** Overwrites a TCP option (nft_exthdr_tcp_strip_eval). */
function strip(type: number, packet: Packet): Outcome {
  const { bytes } = packet;
  const header = tcpHeader(packet);
  if (header === undefined) return 'break';
  const found = firstOption(bytes, header, type);
  if (found === undefined) return undefined;
  if (found.at + found.length > header[1]) return { code: NF_DROP };
  const place = header[0] + TCP_CHECKSUM;
  for (let at = found.at; at < found.at + found.length; at++) {
    const word = (byte: number) => ((at - header[0]) % 2 === 0 ? Uint8Array.of(byte, 0) : Uint8Array.of(0, byte));
    setU16(bytes, place, checksumWith(u16(bytes, place), word(bytes[at]!), word(NO_OPERATION)));
    bytes[at] = NO_OPERATION;
  }
  return undefined;
}
