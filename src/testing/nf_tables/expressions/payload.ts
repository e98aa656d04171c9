import {
  NFT_PAYLOAD_CSUM_INET,
  NFT_PAYLOAD_CSUM_NONE,
  NFT_PAYLOAD_CSUM_SCTP,
  NFT_PAYLOAD_INNER_HEADER,
  NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
  NFT_PAYLOAD_LL_HEADER,
  NFT_PAYLOAD_NETWORK_HEADER,
  NFT_PAYLOAD_TRANSPORT_HEADER,
  NFT_PAYLOAD_TUN_HEADER,
  NFTA_PAYLOAD_BASE,
  NFTA_PAYLOAD_CSUM_FLAGS,
  NFTA_PAYLOAD_CSUM_OFFSET,
  NFTA_PAYLOAD_CSUM_TYPE,
  NFTA_PAYLOAD_DREG,
  NFTA_PAYLOAD_LEN,
  NFTA_PAYLOAD_OFFSET,
  NFTA_PAYLOAD_SREG,
} from '../../../linux/nf_tables.ts';
import { isSince } from '../../machine/state.ts';
import { checksumWith, sctpChecksum } from '../../packets/checksums.ts';
import { type Packet, setU16, u16 } from '../../packets/packet.ts';
import { EINVAL, EOPNOTSUPP, refuse } from '../../refusal.ts';
import { limited, neededU32, source, target } from '../context.ts';
import type { Expression } from '../state.ts';
import { given, type Row, writeRows } from './rows.ts';
import { type ExpressionType, numberOf, type Outcome, type Run, registerBytes, store } from './type.ts';

const U8_MAX = 255;
const U16_MAX = 65_535;
/** Offsets of 16 bits. */
const WIDE = [6, 18] as const;

const LOAD: readonly Row[] = [
  ['target', NFTA_PAYLOAD_DREG, 'register'],
  ['base', NFTA_PAYLOAD_BASE, 'u32'],
  ['offset', NFTA_PAYLOAD_OFFSET, 'u32'],
  ['length', NFTA_PAYLOAD_LEN, 'u32'],
];
const WRITE: readonly Row[] = [
  ['source', NFTA_PAYLOAD_SREG, 'register'],
  ['base', NFTA_PAYLOAD_BASE, 'u32'],
  ['offset', NFTA_PAYLOAD_OFFSET, 'u32'],
  ['length', NFTA_PAYLOAD_LEN, 'u32'],
  ['checksumType', NFTA_PAYLOAD_CSUM_TYPE, 'u32'],
  ['checksumOffset', NFTA_PAYLOAD_CSUM_OFFSET, 'u32'],
  ['checksumFlags', NFTA_PAYLOAD_CSUM_FLAGS, 'u32'],
];

/** Where a header begins in the packet's bytes; undefined where the packet has none. Negative offsets reach into the link header. */
function start(packet: Packet, base: number, offset: number, length: number): number | undefined {
  if (base === NFT_PAYLOAD_NETWORK_HEADER) return offset;
  if (base === NFT_PAYLOAD_TRANSPORT_HEADER) {
    if (packet.transport === undefined) return undefined;
    // nft_payload_fast_eval does not look at the fragment; nft_payload_eval does.
    const isFast = (length === 1 || length === 2 || length === 4) && offset % length === 0;
    return packet.fragmentOffset > 0 && !isFast ? undefined : packet.transport + offset;
  }
  if (base === NFT_PAYLOAD_INNER_HEADER) {
    const inner = innerOffset(packet);
    return inner === undefined ? undefined : inner + offset;
  }
  return undefined;
}

const TCP = 6;
const UDP = 17;
const IPIP = 4;
const GRE = 47;
const SCTP = 132;

/** Behind the transport header (nft_payload_inner_offset). */
function innerOffset({ bytes, transport, transportProtocol, fragmentOffset }: Packet): number | undefined {
  if (transport === undefined || fragmentOffset > 0) return undefined;
  switch (transportProtocol) {
    case UDP:
      return transport + 8;
    case TCP:
      return transport + 13 > bytes.length ? undefined : transport + (bytes[transport + 12]! >> 4) * 4;
    case GRE: {
      if (transport + 4 > bytes.length) return undefined;
      const flags = u16(bytes, transport);
      if ((flags & 7) !== 0) return undefined;
      // Checksum, key and sequence number, each of four bytes where its flag is set.
      const options = [0x8000, 0x2000, 0x1000].filter(flag => (flags & flag) !== 0).length;
      return transport + 4 + 4 * options;
    }
    case IPIP:
      return transport;
    default:
      return undefined;
  }
}

export const payload: ExpressionType = {
  read(attributes, context) {
    const base = neededU32(attributes, NFTA_PAYLOAD_BASE);
    const offset = neededU32(attributes, NFTA_PAYLOAD_OFFSET);
    const length = neededU32(attributes, NFTA_PAYLOAD_LEN);
    if (base > (context.isInner ? NFT_PAYLOAD_TUN_HEADER : NFT_PAYLOAD_INNER_HEADER)) refuse(EOPNOTSUPP);
    const { release } = context.work.engine;
    limited(offset, isSince(release, WIDE) ? U16_MAX : U8_MAX);
    limited(length, U8_MAX);
    const from = attributes!.u32be(NFTA_PAYLOAD_SREG);
    const to = attributes!.u32be(NFTA_PAYLOAD_DREG);
    if (from === undefined) {
      if (to === undefined) return refuse(EINVAL);
      return { values: { base, offset, length, target: target(context, to, length) } };
    }
    if (to !== undefined) refuse(EINVAL);
    const checksumType = attributes!.u32be(NFTA_PAYLOAD_CSUM_TYPE) ?? NFT_PAYLOAD_CSUM_NONE;
    const checksumOffset = limited(attributes!.u32be(NFTA_PAYLOAD_CSUM_OFFSET) ?? 0, U8_MAX);
    const checksumFlags = attributes!.u32be(NFTA_PAYLOAD_CSUM_FLAGS) ?? 0;
    if ((checksumFlags & ~NFT_PAYLOAD_L4CSUM_PSEUDOHDR) !== 0) refuse(EINVAL);
    if (checksumType === NFT_PAYLOAD_CSUM_SCTP) {
      // The checksum of SCTP is where it is.
      if (base !== NFT_PAYLOAD_TRANSPORT_HEADER || checksumOffset !== 8) refuse(EINVAL);
    } else if (checksumType > NFT_PAYLOAD_CSUM_INET) refuse(EOPNOTSUPP);
    const word = source(context, from, length);
    return { values: { base, offset, length, checksumType, checksumOffset, checksumFlags, source: word } };
  },

  write({ values }, writer) {
    writeRows(values.source === undefined ? LOAD : WRITE, given(values), writer);
  },

  run(expression, run) {
    const { packet } = run;
    const base = numberOf(expression, 'base');
    const offset = numberOf(expression, 'offset');
    const length = numberOf(expression, 'length');
    const writes = expression.values.source !== undefined;
    if (base === NFT_PAYLOAD_LL_HEADER) {
      const { link } = packet;
      if (link === undefined) return 'break';
      // A load may go on into the network header.
      const whole = Buffer.concat([link, packet.bytes]);
      if (offset + length > whole.length) return 'break';
      if (!writes) store(run, numberOf(expression, 'target'), whole.subarray(offset, offset + length));
      else {
        whole.set(registerBytes(run, numberOf(expression, 'source'), length), offset);
        packet.link = whole.subarray(0, link.length);
        packet.bytes = new Uint8Array(whole.subarray(link.length));
      }
      return undefined;
    }
    const at = start(packet, base, offset, length);
    if (at === undefined || at + length > packet.bytes.length) return 'break';
    if (!writes) {
      store(run, numberOf(expression, 'target'), packet.bytes.subarray(at, at + length));
      return undefined;
    }
    return write(expression, run, at, length);
  },
};

/** nft_payload_set_eval: the checksum first, then the bytes. */
function write(expression: Expression, run: Run, at: number, length: number): Outcome {
  const { packet } = run;
  const base = numberOf(expression, 'base');
  // Writes look at the fragment, other than short loads.
  if (base === NFT_PAYLOAD_TRANSPORT_HEADER && packet.fragmentOffset > 0) return 'break';
  const bytes = registerBytes(run, numberOf(expression, 'source'), length).slice();
  const old = packet.bytes.slice(at, at + length);
  const type = numberOf(expression, 'checksumType');
  if (type === NFT_PAYLOAD_CSUM_INET) {
    const field = at - numberOf(expression, 'offset') + numberOf(expression, 'checksumOffset');
    if (field + 2 > packet.bytes.length) return 'break';
    // A result of 0 is written as the other zero, whatever the protocol.
    setU16(packet.bytes, field, checksumWith(u16(packet.bytes, field), old, bytes) || 0xffff);
  }
  if (numberOf(expression, 'checksumFlags') !== 0 && !correctTransport(packet, old, bytes)) return 'break';
  packet.bytes.set(bytes, at);
  if (type === NFT_PAYLOAD_CSUM_SCTP && packet.transportProtocol === SCTP) {
    const { transport } = packet;
    if (transport === undefined || transport + 12 > packet.bytes.length) return 'break';
    const view = new DataView(packet.bytes.buffer, packet.bytes.byteOffset);
    view.setUint32(transport + 8, sctpChecksum(packet.bytes, transport), true);
  }
  return undefined;
}

/** Where the checksum stands in a transport header that has a pseudo header. */
const CHECKSUM_AT: Record<number, number> = { [TCP]: 16, [UDP]: 6, 136: 6, 58: 2 };

/** The transport's checksum, where it covers what has been replaced. @returns whether it could be reached */
function correctTransport(
  { bytes, transport, transportProtocol, fragmentOffset }: Packet,
  old: Uint8Array,
  written: Uint8Array,
): boolean {
  if (transport === undefined || transportProtocol === undefined || fragmentOffset > 0) return true;
  const place = CHECKSUM_AT[transportProtocol];
  if (place === undefined) return true;
  const at = transport + place;
  if (transportProtocol === UDP && (at + 2 > bytes.length || u16(bytes, at) === 0)) return true;
  if (at + 2 > bytes.length) return false;
  setU16(bytes, at, checksumWith(u16(bytes, at), old, written) || 0xffff);
  return true;
}
