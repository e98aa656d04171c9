import {
  attribute,
  attributes,
  byteString,
  bytes,
  type Infer,
  nested,
  opt,
  type Source,
  struct,
  type Type,
  text,
  U8,
  U16_BE,
  U16_NE,
  U64_BE,
  u16be,
  u32be,
  view,
} from '../codec/index.ts';
import * as C from '../linux/nfnetlink_log.ts';

/** `struct nfulnl_msg_packet_hdr`. */
export const packetHeader = struct('nfulnl_msg_packet_hdr', {
  hw_protocol: [2, U16_BE],
  hook: [1, U8],
  _pad: [1, U8],
});

/** `struct nfulnl_msg_packet_hw`: as many of the eight bytes as `hw_addrlen` says are the address. */
export const packetHardware = struct('nfulnl_msg_packet_hw', {
  hw_addrlen: [2, U16_BE],
  _pad: [2, U16_NE],
  hw_addr: [8, byteString({ min: 8, max: 8 })],
});

/** `struct nfulnl_msg_packet_timestamp`. */
export const packetTimestamp = struct('nfulnl_msg_packet_timestamp', { sec: [8, U64_BE], usec: [8, U64_BE] });

/** NF_LOG_PREFIXLEN - 1: what the kernel keeps of a prefix (include/net/netfilter/nf_log.h). */
const MAX_PREFIX = 127;
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Text up to its NUL. A rule's prefix is any bytes that a container put there: what is no UTF-8 becomes U+FFFD. */
export function readPrefix({ bytes: all }: Source, start: number, end: number): string {
  let value = '';
  for (let i = start; i < end; i++) {
    const byte = all[i]!;
    if (byte === 0) break;
    if (byte > 0x7f) {
      const nul = all.subarray(start, end).indexOf(0);
      return decoder.decode(all.subarray(start, nul < 0 ? end : start + nul));
    }
    value += String.fromCharCode(byte);
  }
  return value;
}

const PREFIX: Type<string> = { ...text(MAX_PREFIX), lengths: { min: 0, max: 0xffff }, read: readPrefix };

export const vlanTable = attributes('NFULA_VLAN', {
  /** The tag's EtherType: 0x8100 or 0x88a8. */
  protocol: opt(u16be(C.NFULA_VLAN_PROTO)),
  /** Priority (3 bits), drop eligible (1), VLAN (12). */
  tci: opt(u16be(C.NFULA_VLAN_TCI)),
});

/** The attributes of a packet message (net/netfilter/nfnetlink_log.c, __build_packet_message). `Packet` reads them by views of this table. */
export const packetTable = attributes('NFULA', {
  /** EtherType and hook; in every packet. */
  header: opt(attribute(C.NFULA_PACKET_HDR, packetHeader)),
  /** Absent where the mark is 0. */
  mark: opt(u32be(C.NFULA_MARK)),
  /** Only where the packet came in from a device: absent in the output and postrouting hooks. */
  timestamp: opt(attribute(C.NFULA_TIMESTAMP, packetTimestamp)),
  /** Index of the device in the namespace of the log. For a port of a bridge: the bridge. */
  inDevice: opt(u32be(C.NFULA_IFINDEX_INDEV)),
  outDevice: opt(u32be(C.NFULA_IFINDEX_OUTDEV)),
  /** The port of the bridge. */
  physInDevice: opt(u32be(C.NFULA_IFINDEX_PHYSINDEV)),
  physOutDevice: opt(u32be(C.NFULA_IFINDEX_PHYSOUTDEV)),
  /** The sender's link-layer address. */
  hardwareAddress: opt(attribute(C.NFULA_HWADDR, packetHardware)),
  /** From the network header on (in netdev's egress and arp's output from the link-layer header on), cut at the smallest of the log's copy range, the rule's snaplen, the packet's length. */
  payload: opt(bytes(C.NFULA_PAYLOAD, { max: 0xffff })),
  prefix: opt(attribute(C.NFULA_PREFIX, PREFIX)),
  /** Of the sending process, as the user namespace of this listener sees it; 65534 where it sees none. */
  uid: opt(u32be(C.NFULA_UID)),
  /** Counts the packets of the group from 0; with NFULNL_CFG_F_SEQ. */
  sequence: opt(u32be(C.NFULA_SEQ)),
  /** Counts the logged packets of the namespace from 1; with NFULNL_CFG_F_SEQ_GLOBAL. */
  sequenceGlobal: opt(u32be(C.NFULA_SEQ_GLOBAL)),
  gid: opt(u32be(C.NFULA_GID)),
  /** ARPHRD_* of the device it came in from. */
  hardwareType: opt(u16be(C.NFULA_HWTYPE)),
  hardwareHeader: opt(bytes(C.NFULA_HWHEADER, { max: 0xffff })),
  hardwareLength: opt(u16be(C.NFULA_HWLEN)),
  /** The CTA_* attributes of the connection; with NFULNL_CFG_F_CONNTRACK. */
  conntrack: opt(bytes(C.NFULA_CT, { max: 0xffff })),
  /** enum ip_conntrack_info. */
  conntrackInfo: opt(u32be(C.NFULA_CT_INFO)),
  /** Families 'bridge' and 'netdev'. */
  vlan: opt(nested(C.NFULA_VLAN, vlanTable)),
  /** Families 'bridge' and 'netdev': the link-layer header without its tag. */
  linkHeader: opt(bytes(C.NFULA_L2HDR, { max: 0xffff })),
});

const fields = packetTable.fields.map(({ key }) => [key, [key]] as const);

/** All attributes of a packet. A length that is not possible ends the packet: what stands before it is still good. */
export const PACKET = view(packetTable, Object.fromEntries(fields) as Record<PacketAttribute, [string]>);
export type PacketAttribute = Exclude<keyof Infer<typeof packetTable>, 'unknown'>;

/**
 * All that is read of a packet that nobody asks anything. The kernel writes the sequence number before the payload, and the walk ends there.
 */
export const SEQUENCE = view(packetTable, { sequence: ['sequence'] });

/** All that the writers of files ask each packet for. */
export const TIMESTAMP = view(packetTable, { timestamp: ['timestamp'] });
