import type { Symbols } from './symbols.ts';
import * as S from './symbols.ts';

/**
 * The form of a type's values in text, JSON and registers.
 * - integer: a number, or a name if `symbols` has one
 * - bitmask: the name of a bit, or a list of names; else a number
 * - string: text, filled up with NULs; the name of an interface may end in '*'
 * - file: like integer, with the names of a file (`file`)
 * - protocol, service: names of /etc/protocols and /etc/services; services are printed as numbers
 * - time: seconds in JSON, milliseconds in the register ('1h30m' is understood too)
 * - date, hour: time stamps in nanoseconds, seconds of the day; written in local time
 * - interface: an interface's name stands for its index
 * - user, group: names of the system's users and groups are understood, numbers are printed
 * - classid: 'major:minor' in hexadecimal, root or none
 * - label: the number of one bit, or its name in connlabel.conf
 * - cgroup: a path below /sys/fs/cgroup stands for its inode
 */
export type DatatypeKind =
  | 'invalid'
  | 'verdict'
  | 'integer'
  | 'bitmask'
  | 'string'
  | 'file'
  | 'link-address'
  | 'ipv4'
  | 'ipv6'
  | 'protocol'
  | 'service'
  | 'time'
  | 'boolean'
  | 'date'
  | 'hour'
  | 'interface'
  | 'user'
  | 'group'
  | 'classid'
  | 'label'
  | 'cgroup'
  | 'concatenation';

/** The byte order of a number in a register: 'host' is the machine's own, 'big' the network's. Undefined for a single byte. */
export type ByteOrder = 'host' | 'big' | undefined;

/** The files that nft reads names from. */
export type NameFile = 'rt_marks' | 'rt_realms' | 'group' | 'connlabel.conf';

/** One of nft's types of values. */
export interface Datatype {
  /** nft's name, as in `type ipv4_addr`. */
  readonly name: string;
  /** nft's number (TYPE_*): the type of a set's keys, six bits for each part of a concatenation. */
  readonly id: number;
  /** 0 if the type has no length of its own. */
  readonly bits: number;
  readonly order: ByteOrder;
  readonly kind: DatatypeKind;
  readonly symbols?: Symbols;
  /** The names in nft 1.0.6, if they differ. */
  readonly oldSymbols?: Symbols;
  readonly file?: NameFile;
  /** nft's text prints numbers in hexadecimal with at least this many digits. */
  readonly hexDigits?: number;
  /** nft's text prints names in quotes. */
  readonly quoted?: true;
  /** The parts of a concatenation. */
  readonly parts?: readonly Datatype[];
}

const type = (
  name: string,
  id: number,
  bits: number,
  order: ByteOrder,
  kind: DatatypeKind,
  more?: Partial<Datatype>,
): Datatype => ({ name, id, bits, order, kind, ...more });

const symbols = (table: Symbols) => ({ symbols: table });

/** TYPE_VERDICT as the type of a map's values. */
export const VERDICT_DATA_TYPE = 0xffffff00;

export const TYPES = {
  invalid: type('invalid', 0, 0, undefined, 'invalid'),
  verdict: type('verdict', 1, 0, undefined, 'verdict'),
  nf_proto: type('nf_proto', 2, 8, undefined, 'integer', symbols(S.NF_PROTO)),
  bitmask: type('bitmask', 3, 0, undefined, 'integer', { hexDigits: 0 }),
  integer: type('integer', 4, 0, undefined, 'integer'),
  string: type('string', 5, 0, 'host', 'string'),
  ll_addr: type('ll_addr', 6, 0, 'big', 'link-address'),
  ipv4_addr: type('ipv4_addr', 7, 32, 'big', 'ipv4'),
  ipv6_addr: type('ipv6_addr', 8, 128, 'big', 'ipv6'),
  ether_addr: type('ether_addr', 9, 48, 'big', 'link-address'),
  ether_type: type('ether_type', 10, 16, 'big', 'integer', { symbols: S.ETHER_TYPE, hexDigits: 4 }),
  arp_op: type('arp_op', 11, 16, 'big', 'integer', symbols(S.ARP_OP)),
  inet_proto: type('inet_proto', 12, 8, undefined, 'protocol'),
  inet_service: type('inet_service', 13, 16, 'big', 'service'),
  icmp_type: type('icmp_type', 14, 8, 'big', 'integer', symbols(S.ICMP_TYPE)),
  tcp_flag: type('tcp_flag', 15, 8, 'big', 'bitmask', { symbols: S.TCP_FLAG, hexDigits: 0 }),
  dccp_pkttype: type('dccp_pkttype', 16, 4, undefined, 'integer', symbols(S.DCCP_PACKET_TYPE)),
  mh_type: type('mh_type', 17, 8, 'big', 'integer', symbols(S.MH_TYPE)),
  time: type('time', 18, 32, 'host', 'time'),
  mark: type('mark', 19, 32, 'host', 'file', { file: 'rt_marks', hexDigits: 8, quoted: true }),
  iface_index: type('iface_index', 20, 32, 'host', 'interface', { quoted: true }),
  iface_type: type('iface_type', 21, 16, 'host', 'integer', symbols(S.INTERFACE_TYPE)),
  realm: type('realm', 22, 32, 'host', 'file', { file: 'rt_realms', quoted: true }),
  classid: type('classid', 23, 32, 'host', 'classid'),
  uid: type('uid', 24, 32, 'host', 'user'),
  gid: type('gid', 25, 32, 'host', 'group'),
  ct_state: type('ct_state', 26, 32, 'host', 'bitmask', { symbols: S.CT_STATE, hexDigits: 0 }),
  ct_dir: type('ct_dir', 27, 8, undefined, 'integer', symbols(S.CT_DIRECTION)),
  ct_status: type('ct_status', 28, 32, 'host', 'bitmask', {
    symbols: S.CT_STATUS,
    oldSymbols: S.CT_STATUS_OLD,
    hexDigits: 0,
  }),
  icmpv6_type: type('icmpv6_type', 29, 8, 'big', 'integer', symbols(S.ICMPV6_TYPE)),
  ct_label: type('ct_label', 30, 128, 'host', 'label', { file: 'connlabel.conf', hexDigits: 0, quoted: true }),
  pkt_type: type('pkt_type', 31, 8, 'host', 'integer', symbols(S.PACKET_TYPE)),
  // Since nft 1.1.0 the names of ICMP codes are read here, too; numbers are printed. `reject` prints names.
  icmp_code: type('icmp_code', 32, 8, 'big', 'integer', symbols(S.ICMP_CODE)),
  icmpv6_code: type('icmpv6_code', 33, 8, 'big', 'integer', symbols(S.ICMPV6_CODE)),
  icmpx_code: type('icmpx_code', 34, 8, 'big', 'integer', symbols(S.ICMPX_CODE)),
  devgroup: type('devgroup', 35, 32, 'host', 'file', { file: 'group', quoted: true }),
  dscp: type('dscp', 36, 6, 'big', 'integer', { symbols: S.DSCP, hexDigits: 2 }),
  ecn: type('ecn', 37, 2, 'big', 'integer', { symbols: S.ECN, hexDigits: 1 }),
  fib_addrtype: type('fib_addrtype', 38, 32, 'host', 'integer', symbols(S.FIB_ADDRESS_TYPE)),
  boolean: type('boolean', 39, 1, 'host', 'boolean', symbols(S.BOOLEAN)),
  ct_event: type('ct_event', 40, 32, 'host', 'bitmask', { symbols: S.CT_EVENT, hexDigits: 0 }),
  ifname: type('ifname', 41, 128, 'host', 'string', { quoted: true }),
  igmp_type: type('igmp_type', 42, 8, 'big', 'integer', symbols(S.IGMP_TYPE)),
  /** nft's text calls this type `time`, too; `type time` of a set is the other one. */
  date: type('time', 43, 64, 'host', 'date', { quoted: true }),
  hour: type('hour', 44, 32, 'host', 'hour', { quoted: true }),
  day: type('day', 45, 8, 'host', 'integer', { symbols: S.DAY, quoted: true }),
  cgroupsv2: type('cgroupsv2', 46, 64, 'host', 'cgroup', { quoted: true }),
  /** An integer that is printed in hexadecimal. */
  xinteger: type('integer', 4, 0, undefined, 'integer', { hexDigits: 0 }),
  queue: type('queue', 4, 16, undefined, 'integer'),
  mptcp_subtype: type('integer', 4, 4, undefined, 'integer', { symbols: S.MPTCP_SUBTYPE, oldSymbols: {} }),
} as const satisfies Record<string, Datatype>;

export type TypeName = keyof typeof TYPES;

/** The type with nft's number, as sets have it. */
export function datatypeByNumber(id: number): Datatype | undefined {
  for (const name in TYPES) if (TYPES[name as TypeName].id === id) return TYPES[name as TypeName];
  return undefined;
}

/** The type with nft's name, as in `type inet_service`. */
export function datatypeByName(name: string): Datatype | undefined {
  if (Object.hasOwn(TYPES, name)) return TYPES[name as TypeName].name === name ? TYPES[name as TypeName] : undefined;
  return undefined;
}

/** Each part has six bits of the number; the first part has the highest ones. */
export function concatenationOf(parts: readonly Datatype[]): Datatype {
  let id = 0;
  let bits = 0;
  for (const part of parts) {
    id = (id * 64 + part.id) % 2 ** 32;
    bits += Math.ceil(part.bits / 32) * 32;
  }
  return {
    name: parts.map(part => part.name).join(' . '),
    id,
    bits,
    order: undefined,
    kind: 'concatenation',
    parts,
  };
}
