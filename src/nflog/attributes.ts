import {
  type Attribute,
  type AttributeTable,
  attribute,
  attributes,
  byteString,
  bytes,
  type Infer,
  nested,
  opt,
  type Schema,
  type ShapeOf,
  type Source,
  struct,
  type Type,
  text,
  U8,
  U16_BE,
  U16_NE,
  U32_BE,
  U64_BE,
  u16be,
  u32be,
  view,
} from '../codec/index.ts';
import { HOST_IS_LITTLE_ENDIAN, NLA_HDRLEN, NLA_TYPE_MASK } from '../codec/wire.ts';
import * as C from '../linux/nfnetlink_log.ts';

/** `struct nfulnl_msg_packet_hdr`. */
export const packetHeader = struct('nfulnl_msg_packet_hdr', {
  hw_protocol: [2, U16_BE],
  hook: [1, U8],
  _pad: [1, U8],
});

/** `struct nfulnl_msg_packet_hw`. The first `hw_addrlen` of the eight bytes are the address. */
export const packetHardware = struct('nfulnl_msg_packet_hw', {
  hw_addrlen: [2, U16_BE],
  _pad: [2, U16_NE],
  hw_addr: [8, byteString({ min: 8, max: 8 })],
});

/** `struct nfulnl_msg_packet_timestamp`. */
export const packetTimestamp = struct('nfulnl_msg_packet_timestamp', { sec: [8, U64_BE], usec: [8, U64_BE] });

/** NF_LOG_PREFIXLEN - 1: the kernel keeps so many bytes of a prefix (include/net/netfilter/nf_log.h). */
const MAX_PREFIX = 127;
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Text up to its NUL. A container can put any bytes into a prefix; bytes that are not UTF-8 are read as U+FFFD. */
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

export function microsecondsAt(view: DataView, at: number): number {
  const seconds = view.getUint32(at) * 0x100000000 + view.getUint32(at + 4);
  return seconds * 1_000_000 + (view.getUint32(at + 8) * 0x100000000 + view.getUint32(at + 12));
}

const PREFIX: Type<string> = { ...text(MAX_PREFIX), lengths: { min: 0, max: 0xffff }, read: readPrefix };

export const vlanTable = attributes('NFULA_VLAN', () => ({
  /** The tag's EtherType: 0x8100 or 0x88a8. */
  protocol: opt(u16be(C.NFULA_VLAN_PROTO)),
  /** Priority (3 bits), drop eligible (1), VLAN (12). */
  tci: opt(u16be(C.NFULA_VLAN_TCI)),
}));

/**
 * Whether records have a property: 'usual' by default, 'on request' only if `fields` names it, 'never' for properties
 * that say nothing about the packet.
 */
type InRecords = 'usual' | 'on request' | 'never';

/** What a row says about the packet's property. The getter, JSON, records and the line of `summary()` follow from it. */
interface PropertyFacets<V, R extends InRecords, O extends boolean> {
  /** The value of a packet without the attribute; undefined by default. Records and summaries leave it out. */
  readonly absent?: V;
  /** Reads the value instead of the row's type. */
  read?(source: Source, start: number, end: number): V;
  readonly record: R;
  /**
   * The value describes the owner of the packet's socket, who may be its receiver. Records then have two fields,
   * `uid` and `receiverUid`, and the summary shows the sender's only.
   */
  readonly ofSocket?: O;
  /** What the kernel's LOG would print. */
  text?(value: NonNullable<V>): string;
}

interface PropertyRow<T, V, R extends InRecords, O extends boolean> extends Attribute<T, 'optional'> {
  readonly facets: { readonly role: 'property'; readonly says: PropertyFacets<V, R, O> };
}

/** A row that is a property of packets. */
function property<T, R extends InRecords, O extends boolean = false, V = T | undefined>(
  row: Attribute<T, 'optional'>,
  says: PropertyFacets<V, R, O>,
): PropertyRow<T, V, R, O> {
  return { ...row, facets: { role: 'property', says } };
}

/** A row that getters of `Packet` read by themselves: a property is made of a part of it, or of several. */
function part<T>(row: Attribute<T, 'optional'>) {
  return { ...row, facets: { role: 'part' } } as const;
}

/** The properties, one row each. A new one needs its number in src/linux and its row here. */
const properties = {
  /** The rule's prefix, at most 127 bytes; '' if it has none. Bytes that are not UTF-8 are shown as U+FFFD. */
  prefix: property(opt(attribute(C.NFULA_PREFIX, PREFIX)), { absent: '', read: readPrefix, record: 'usual' }),
  /**
   * When the device received the packet, in microseconds since 1970, by the kernel's clock. Undefined in the output
   * and postrouting hooks, and in the ingress hook of inet.
   */
  timestampMicroseconds: property(opt(attribute(C.NFULA_TIMESTAMP, packetTimestamp)), {
    read: ({ view }, start): number | undefined => microsecondsAt(view, start),
    record: 'usual',
  }),
  /** Index of the device that the packet came in from, in the namespace of the log. For a port of a bridge: the bridge. */
  inDeviceIndex: property(opt(u32be(C.NFULA_IFINDEX_INDEV)), { record: 'never' }),
  /** Index of the device that the packet leaves by. */
  outDeviceIndex: property(opt(u32be(C.NFULA_IFINDEX_OUTDEV)), { record: 'never' }),
  /** Index of the bridge's port that the packet came in from. */
  physInDeviceIndex: property(opt(u32be(C.NFULA_IFINDEX_PHYSINDEV)), { record: 'never' }),
  /** Index of the bridge's port that the packet leaves by. */
  physOutDeviceIndex: property(opt(u32be(C.NFULA_IFINDEX_PHYSOUTDEV)), { record: 'never' }),
  /** Type of the device that the packet came in from (ARPHRD_*): 1 is Ethernet, 772 is loopback. */
  hardwareType: property(opt(u16be(C.NFULA_HWTYPE)), { record: 'never' }),
  /**
   * User of the process that owns the packet's socket, as this process's user namespace sees it (65534: unknown
   * there). `socketSide` says whether that is the sender or the receiver.
   */
  uid: property(opt(u32be(C.NFULA_UID)), { record: 'usual', ofSocket: true, text: uid => `UID=${uid}` }),
  /** Group of the process that owns the packet's socket: see `uid`. */
  gid: property(opt(u32be(C.NFULA_GID)), { record: 'on request', ofSocket: true, text: gid => `GID=${gid}` }),
  /** The packet's mark; 0 if it has none. */
  mark: property(opt(u32be(C.NFULA_MARK)), {
    absent: 0,
    record: 'usual',
    text: mark => `MARK=0x${mark.toString(16)}`,
  }),
  /** Counts the packets of the group from 0, modulo 2^32; undefined with `sequence: false`. */
  sequence: property(opt(u32be(C.NFULA_SEQ)), { record: 'on request' }),
  /** Counts the logged packets of all groups of the namespace from 1, modulo 2^32; only with `globalSequence`. */
  globalSequence: property(opt(u32be(C.NFULA_SEQ_GLOBAL)), { record: 'on request' }),
};

/** The attributes that packet.ts reads. */
const parts = {
  /** EtherType and hook; in every packet. */
  header: part(opt(attribute(C.NFULA_PACKET_HDR, packetHeader))),
  /** The sender's link-layer address. */
  hardwareAddress: part(opt(attribute(C.NFULA_HWADDR, packetHardware))),
  /**
   * From the network header on (in netdev's egress and arp's output from the link-layer header on), cut at the
   * smallest of the log's copy range, the rule's snaplen and the packet's length.
   */
  payload: part(opt(bytes(C.NFULA_PAYLOAD, { max: 0xffff }))),
  hardwareHeader: part(opt(bytes(C.NFULA_HWHEADER, { max: 0xffff }))),
  hardwareLength: part(opt(u16be(C.NFULA_HWLEN))),
  /** The CTA_* attributes of the connection; with NFULNL_CFG_F_CONNTRACK. */
  conntrack: part(opt(bytes(C.NFULA_CT, { max: 0xffff }))),
  /** enum ip_conntrack_info. */
  conntrackInfo: part(opt(u32be(C.NFULA_CT_INFO))),
  /** Families 'bridge' and 'netdev'. */
  vlan: part(opt(nested(C.NFULA_VLAN, vlanTable))),
  /** Families 'bridge' and 'netdev': the link-layer header without its tag. */
  linkHeader: part(opt(bytes(C.NFULA_L2HDR, { max: 0xffff }))),
};

/**
 * The attributes of a packet message (net/netfilter/nfnetlink_log.c, __build_packet_message). `Packet` reads them by
 * views of this table.
 */
export const packetTable = packetAttributes({ ...properties, ...parts });

/**
 * Makes a table of packets. It refuses a row without facets, when the module is loaded.
 * @throws TypeError a row does not say what it is to those who read packets
 */
export function packetAttributes<S extends Schema>(rows: S): AttributeTable<ShapeOf<S>> {
  for (const [key, { facets }] of Object.entries(rows)) {
    if (facets?.role === 'property' || facets?.role === 'part') continue;
    throw new TypeError(`the row ${key} has no facets: say with property() or part() what packets show of it`);
  }
  return attributes('NFULA', rows);
}

type Properties = typeof properties;
type ValueOf<Row> = Row extends PropertyRow<infer _T, infer V, InRecords, boolean> ? V : never;

/** The properties of a packet that are one attribute each. */
export type PacketProperties = { readonly [Key in keyof Properties]: ValueOf<Properties[Key]> };

/** The fields that records have of them. */
export type PropertyField = {
  [Key in keyof Properties]: Properties[Key] extends PropertyRow<infer _T, infer _V, infer R, infer O>
    ? R extends 'never'
      ? never
      : Key | (O extends true ? `receiver${Capitalize<Key>}` : never)
    : never;
}[keyof Properties];

/** A property as the code that is made of the rows uses it. */
export interface Property {
  readonly key: keyof Properties;
  readonly slot: number;
  /** A 32-bit number in network byte order, as most of them are. */
  readonly isWord: boolean;
  readonly says: PropertyFacets<unknown, InRecords, boolean>;
}

const fields = packetTable.fields.map(({ key }) => [key, [key]] as const);

/** All attributes of a packet. An impossible length ends the packet; the attributes before it are still good. */
export const PACKET = view(packetTable, Object.fromEntries(fields) as Record<PacketAttribute, [string]>);
export type PacketAttribute = Exclude<keyof Infer<typeof packetTable>, 'unknown'>;

/** The attributes that have columns: the properties, and the payload. */
export const COLUMNS = view(packetTable, {
  ...(Object.fromEntries(Object.keys(properties).map(key => [key, [key]])) as Record<keyof Properties, [string]>),
  payload: ['payload'],
});

/** In the order in which JSON, records and summaries show them. */
export const PROPERTIES: readonly Property[] = (Object.keys(properties) as (keyof Properties)[]).map(key => ({
  key,
  slot: PACKET.slots[key],
  isWord: properties[key].type === U32_BE,
  says: properties[key].facets.says,
}));

/** An attribute of 32 bits. */
const WORD_LENGTH = NLA_HDRLEN + 4;
const { min: SHORTEST_TIME, max: LONGEST_TIME } = packetTimestamp.lengths!;

/** The first half of a word in memory: the length of an attribute. */
export const firstHalf = (word: number): number => (HOST_IS_LITTLE_ENDIAN ? word & 0xffff : word >>> 16);
/** The second half of a word in memory: the number of an attribute. */
export const secondHalf = (word: number): number => (HOST_IS_LITTLE_ENDIAN ? word >>> 16 : word & 0xffff);

/** So many attributes before the sequence number are remembered. The kernel writes at most 13. */
const MAX_REMEMBERED = 16;

/**
 * Finds the attributes that are read of each packet: its sequence number, to count losses, and its time, for files. Packets of a rule have the
 * same attributes of the same lengths up to the number. So the headers are compared with those of the last packet, which the processor can do
 * for several at a time; only those behind the number, or of a packet that differs, are walked over.
 */
export class PacketScan {
  /** Where the sequence number stands; 0 if the packet has none. */
  sequence = 0;
  /** Where the kernel's time stands; 0 if the packet has none. */
  timestamp = 0;
  /** The headers up to that of the number in the last packet, and where they stand behind its first attribute, in words. */
  readonly #headers = new Int32Array(MAX_REMEMBERED);
  readonly #places = new Int32Array(MAX_REMEMBERED);
  #count = 0;
  /** Where the number and the time stand behind the first attribute, in bytes; the time is negative if it is not before the number. */
  #sequence = 0;
  #timestamp = -1;

  /**
   * Finds both in a packet. An impossible length ends the packet, as in a view.
   * @param words the memory as 32-bit numbers of this host
   * @param start the offset in bytes of the first attribute, a multiple of four
   * @param end the offset behind the last one
   */
  walk(words: Int32Array, start: number, end: number): void {
    const count = this.#count;
    const sequence = start + this.#sequence;
    if (count > 0 && sequence + 4 <= end) {
      const headers = this.#headers;
      const places = this.#places;
      const first = start >> 2;
      let k = 0;
      while (k < count && words[first + places[k]!] === headers[k]) k++;
      if (k === count) {
        this.sequence = sequence;
        const timestamp = this.#timestamp;
        this.timestamp = timestamp >= 0 ? start + timestamp : timeIn(words, sequence + 4, end);
        return;
      }
    }
    this.#walk(words, start, end);
  }

  #walk(words: Int32Array, start: number, end: number): void {
    let sequence = 0;
    let count = 0;
    for (let at = start; end - at >= NLA_HDRLEN; ) {
      const header = words[at >> 2]!;
      const length = firstHalf(header);
      if (length < NLA_HDRLEN || length > end - at) break;
      if (count < MAX_REMEMBERED) {
        this.#headers[count] = header;
        this.#places[count] = (at - start) >> 2;
      }
      count++;
      if (length === WORD_LENGTH && (secondHalf(header) & NLA_TYPE_MASK) === C.NFULA_SEQ) {
        sequence = at + NLA_HDRLEN;
        break;
      }
      at += (length + 3) & ~3;
    }
    const timestamp = timeIn(words, start, end);
    this.sequence = sequence;
    this.timestamp = timestamp;
    this.#count = sequence === 0 || count > MAX_REMEMBERED ? 0 : count;
    this.#sequence = sequence - start;
    this.#timestamp = timestamp === 0 || timestamp > sequence ? -1 : timestamp - start;
  }
}

/** Where the time stands among attributes; 0 if it is not there. */
function timeIn(words: Int32Array, start: number, end: number): number {
  for (let at = start; end - at >= NLA_HDRLEN; ) {
    const header = words[at >> 2]!;
    const length = firstHalf(header);
    if (length < NLA_HDRLEN || length > end - at) return 0;
    if ((secondHalf(header) & NLA_TYPE_MASK) === C.NFULA_TIMESTAMP) {
      const size = length - NLA_HDRLEN;
      if (size >= SHORTEST_TIME && size <= LONGEST_TIME) return at + NLA_HDRLEN;
    }
    at += (length + 3) & ~3;
  }
  return 0;
}

/** The time of a packet alone. */
export const TIMESTAMP = view(packetTable, { timestamp: ['timestampMicroseconds'] });

/** The sequence number of a packet alone. */
export const SEQUENCE = view(packetTable, { sequence: ['sequence'] });

/** The attributes that pcapng files need. */
export const FILED = view(packetTable, {
  header: ['header'],
  prefix: ['prefix'],
  timestamp: ['timestampMicroseconds'],
  inDeviceIndex: ['inDeviceIndex'],
  outDeviceIndex: ['outDeviceIndex'],
  sequence: ['sequence'],
});
