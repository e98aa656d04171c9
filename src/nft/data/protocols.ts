import type { TypeName } from './datatypes.ts';

/*
 * The headers of protocols: each field by its offset from the header's beginning and its length, both in bits, and the type of its values
 * (default integer). In nft's order, which counts from 1: sets that were made with `typeof` have these numbers in their user data.
 */

/** Offset and length in bits, type, and nft's number if it is not the field's place in the table. */
export type FieldRow =
  | readonly [offset: number, bits: number]
  | readonly [offset: number, bits: number, type: TypeName]
  | readonly [offset: number, bits: number, type: TypeName, number: number];

/** The header that the kernel counts offsets from. */
export type Base = 'link' | 'network' | 'transport' | 'inner';

/** A field of ICMP that only some types of messages have: nft matches these types first. */
export interface IcmpDependency {
  /** The types that have it; a match of the field adds a match of the first one. */
  readonly types: readonly number[];
  /** The field is unknown to nft 1.0.6. */
  readonly newer?: boolean;
}

export interface Checksum {
  readonly field: string;
  readonly type: 'inet' | 'sctp';
}

export interface Header {
  /** nft's number of the protocol (PROTO_DESC_*), as in the user data of sets. */
  readonly number: number;
  readonly base: Base;
  readonly fields: Readonly<Record<string, FieldRow>>;
  /** The field with the number of the next protocol. */
  readonly next?: string;
  /** The next protocols, by the number in that field, or in the packet's meta data. */
  readonly upper?: Readonly<Record<number, string>>;
  readonly checksum?: Checksum;
  /** The checksum that nft 1.0.6 corrects. */
  readonly oldChecksum?: Checksum;
  /** Fields that the checksum of the transport protocol covers, too. */
  readonly pseudoHeader?: readonly string[];
  /** The length in bits, of headers that another one of the same base can follow: ether and vlan. */
  readonly bits?: number;
  /** The NFTA_INNER_* attributes of a tunnel. */
  readonly tunnel?: {
    readonly type: 'vxlan' | 'geneve' | 'gre' | 'gretap';
    readonly headerBytes: number;
    readonly flags: readonly ('header-size' | 'link' | 'network' | 'transport')[];
  };
  readonly icmp?: Readonly<Record<string, IcmpDependency>>;
}

/** The protocols that may follow ah, comp and the IP headers. */
const IPSEC_UPPER = {
  50: 'esp',
  51: 'ah',
  108: 'comp',
  17: 'udp',
  136: 'udplite',
  6: 'tcp',
  33: 'dccp',
  132: 'sctp',
} as const;
const IP_UPPER = { ...IPSEC_UPPER, 1: 'icmp', 2: 'igmp', 58: 'icmpv6', 47: 'gre' } as const;
const LINK_UPPER = { 2048: 'ip', 2054: 'arp', 34525: 'ip6', 33024: 'vlan', 34984: 'vlan' } as const;

const ICMP_ECHO = { types: [8, 0] };
const ICMPV6_ECHO = { types: [128, 129] };

export const PROTOCOLS = {
  ether: {
    number: 17,
    base: 'link',
    bits: 112,
    next: 'type',
    upper: LINK_UPPER,
    fields: {
      /** The destination address. */
      daddr: [0, 48, 'ether_addr'],
      /** The source address. */
      saddr: [48, 48, 'ether_addr'],
      /** The type of the message, or of what follows. */
      type: [96, 16, 'ether_type'],
    },
  },
  vlan: {
    number: 16,
    base: 'link',
    bits: 32,
    next: 'type',
    upper: LINK_UPPER,
    fields: {
      /** The priority, 0 to 7. */
      pcp: [0, 3],
      /** The packet may be dropped first. */
      dei: [3, 1],
      /** The older name of `dei`. */
      cfi: [3, 1],
      /** The identifier. */
      id: [4, 12],
      /** The type of the message, or of what follows. */
      type: [16, 16, 'ether_type'],
    },
  },
  arp: {
    number: 15,
    base: 'network',
    fields: {
      /** The type of hardware addresses. */
      htype: [0, 16],
      /** The type of protocol addresses. */
      ptype: [16, 16, 'ether_type'],
      /** The length of hardware addresses, in bytes. */
      hlen: [32, 8],
      /** The length of protocol addresses, in bytes. */
      plen: [40, 8],
      /** Request, reply and others. */
      operation: [48, 16, 'arp_op'],
      /** The hardware address of the sender. */
      'saddr ether': [64, 48, 'ether_addr'],
      /** The IPv4 address of the sender. */
      'saddr ip': [112, 32, 'ipv4_addr'],
      /** The hardware address of the target. */
      'daddr ether': [144, 48, 'ether_addr'],
      /** The IPv4 address of the target. */
      'daddr ip': [192, 32, 'ipv4_addr'],
    },
  },
  ip: {
    number: 12,
    base: 'network',
    next: 'protocol',
    upper: IP_UPPER,
    checksum: { field: 'checksum', type: 'inet' },
    pseudoHeader: ['saddr', 'daddr', 'protocol', 'length'],
    fields: {
      /** The version. */
      version: [0, 4],
      /** The length of the header, as the header itself counts it. */
      hdrlength: [4, 4],
      /** The class of service (DSCP). */
      dscp: [8, 6, 'dscp'],
      /** Explicit congestion notification. */
      ecn: [14, 2, 'ecn'],
      /** The length, in bytes. */
      length: [16, 16],
      /** The identifier. */
      id: [32, 16],
      /** The fragment's offset, with the flags of fragments. */
      'frag-off': [48, 16, 'xinteger'],
      /** The time to live, in hops. */
      ttl: [64, 8],
      /** The protocol of what follows. */
      protocol: [72, 8, 'inet_proto'],
      /** The checksum. */
      checksum: [80, 16],
      /** The source address. */
      saddr: [96, 32, 'ipv4_addr'],
      /** The destination address. */
      daddr: [128, 32, 'ipv4_addr'],
    },
  },
  ip6: {
    number: 13,
    base: 'network',
    next: 'nexthdr',
    upper: IP_UPPER,
    pseudoHeader: ['saddr', 'daddr', 'nexthdr', 'length'],
    fields: {
      /** The version. */
      version: [0, 4],
      /** The class of service (DSCP). */
      dscp: [4, 6, 'dscp'],
      /** Explicit congestion notification. */
      ecn: [10, 2, 'ecn'],
      /** The flow label. */
      flowlabel: [12, 20],
      /** The length, in bytes. */
      length: [32, 16],
      /** The protocol of the next header. */
      nexthdr: [48, 8, 'inet_proto'],
      /** The hops that are left. */
      hoplimit: [56, 8],
      /** The source address. */
      saddr: [64, 128, 'ipv6_addr'],
      /** The destination address. */
      daddr: [192, 128, 'ipv6_addr'],
    },
  },
  icmp: {
    number: 4,
    base: 'transport',
    next: 'type',
    checksum: { field: 'checksum', type: 'inet' },
    fields: {
      /** The type of the message, or of what follows. */
      type: [0, 8, 'icmp_type'],
      /** The code of the message. */
      code: [8, 8, 'icmp_code'],
      /** The checksum. */
      checksum: [16, 16],
      /** The identifier. */
      id: [32, 16],
      /** The sequence number. */
      sequence: [48, 16],
      /** The gateway of a redirect. */
      gateway: [32, 32],
      /** The MTU of the next hop. */
      mtu: [48, 16],
    },
    icmp: { id: ICMP_ECHO, sequence: ICMP_ECHO, gateway: { types: [5] }, mtu: { types: [3] } },
  },
  icmpv6: {
    number: 14,
    base: 'transport',
    next: 'type',
    checksum: { field: 'checksum', type: 'inet' },
    fields: {
      /** The type of the message, or of what follows. */
      type: [0, 8, 'icmpv6_type'],
      /** The code of the message. */
      code: [8, 8, 'icmpv6_code'],
      /** The checksum. */
      checksum: [16, 16],
      /** Where the problem is. */
      'parameter-problem': [32, 32],
      /** The MTU of the next hop. */
      mtu: [32, 32],
      /** The identifier. */
      id: [32, 16],
      /** The sequence number. */
      sequence: [48, 16],
      /** The longest delay of an answer, in milliseconds. */
      'max-delay': [32, 16],
      /** The target address. */
      taddr: [64, 128, 'ipv6_addr'],
      /** The destination address. */
      daddr: [192, 128, 'ipv6_addr'],
    },
    icmp: {
      'parameter-problem': { types: [4] },
      mtu: { types: [2] },
      id: ICMPV6_ECHO,
      sequence: ICMPV6_ECHO,
      'max-delay': { types: [130] },
      taddr: { types: [135, 136, 137, 130, 131, 132], newer: true },
      daddr: { types: [137], newer: true },
    },
  },
  igmp: {
    number: 5,
    base: 'transport',
    checksum: { field: 'checksum', type: 'inet' },
    fields: {
      /** The type of the message, or of what follows. */
      type: [0, 8, 'igmp_type'],
      /** The checksum. */
      checksum: [16, 16],
      /** The longest time of an answer, in tenths of a second. */
      mrt: [8, 8],
      /** The address of the group. */
      group: [32, 32],
    },
  },
  tcp: {
    number: 8,
    base: 'transport',
    checksum: { field: 'checksum', type: 'inet' },
    fields: {
      /** The source port. */
      sport: [0, 16, 'inet_service'],
      /** The destination port. */
      dport: [16, 16, 'inet_service'],
      /** The sequence number. */
      sequence: [32, 32],
      /** The acknowledgement number. */
      ackseq: [64, 32],
      /** The length of the header, in words of 4 bytes. */
      doff: [96, 4],
      /** Reserved bits. */
      reserved: [100, 4],
      /** The flags. */
      flags: [104, 8, 'tcp_flag'],
      /** The window. */
      window: [112, 16],
      /** The checksum. */
      checksum: [128, 16],
      /** The end of urgent data. */
      urgptr: [144, 16],
    },
  },
  udp: {
    number: 6,
    base: 'transport',
    oldChecksum: { field: 'checksum', type: 'inet' },
    fields: {
      /** The source port. */
      sport: [0, 16, 'inet_service'],
      /** The destination port. */
      dport: [16, 16, 'inet_service'],
      /** The length, in bytes. */
      length: [32, 16],
      /** The checksum. */
      checksum: [48, 16],
    },
  },
  udplite: {
    number: 7,
    base: 'transport',
    oldChecksum: { field: 'checksum', type: 'inet' },
    fields: {
      /** The source port. */
      sport: [0, 16, 'inet_service'],
      /** The destination port. */
      dport: [16, 16, 'inet_service'],
      /** How many bytes the checksum covers. */
      csumcov: [32, 16],
      /** The checksum. */
      checksum: [48, 16],
    },
  },
  sctp: {
    number: 10,
    base: 'transport',
    checksum: { field: 'checksum', type: 'sctp' },
    fields: {
      /** The source port. */
      sport: [0, 16, 'inet_service'],
      /** The destination port. */
      dport: [16, 16, 'inet_service'],
      /** The verification tag. */
      vtag: [32, 32],
      /** The checksum. */
      checksum: [64, 32],
    },
  },
  dccp: {
    number: 9,
    base: 'transport',
    fields: {
      /** The source port. */
      sport: [0, 16, 'inet_service'],
      /** The destination port. */
      dport: [16, 16, 'inet_service'],
      /** The type of the message, or of what follows. */
      type: [67, 4, 'dccp_pkttype'],
    },
  },
  /** The ports of any transport protocol. */
  th: {
    number: 11,
    base: 'transport',
    fields: {
      /** The source port. */
      sport: [0, 16, 'inet_service'],
      /** The destination port. */
      dport: [16, 16, 'inet_service'],
    },
  },
  ah: {
    number: 1,
    base: 'transport',
    next: 'nexthdr',
    upper: IPSEC_UPPER,
    fields: {
      /** The protocol of the next header. */
      nexthdr: [0, 8, 'inet_proto'],
      /** The length of the header, as the header itself counts it. */
      hdrlength: [8, 8],
      /** Reserved bits. */
      reserved: [16, 16],
      /** The index of the security parameters. */
      spi: [32, 32],
      /** The sequence number. */
      sequence: [64, 32],
    },
  },
  esp: {
    number: 2,
    base: 'transport',
    fields: {
      /** The index of the security parameters. */
      spi: [0, 32],
      /** The sequence number. */
      sequence: [32, 32],
    },
  },
  comp: {
    number: 3,
    base: 'transport',
    next: 'nexthdr',
    upper: IPSEC_UPPER,
    fields: {
      /** The protocol of the next header. */
      nexthdr: [0, 8, 'inet_proto'],
      /** The flags. */
      flags: [8, 8, 'bitmask'],
      /** The index of the compression parameters. */
      cpi: [16, 16],
    },
  },
  gre: {
    number: 20,
    base: 'transport',
    fields: {
      /** The version. */
      version: [13, 3],
      /** The flags. */
      flags: [0, 5],
      /** The protocol of what follows. */
      protocol: [16, 16, 'ether_type'],
    },
    tunnel: { type: 'gre', headerBytes: 4, flags: ['network', 'transport'] },
  },
  gretap: {
    number: 21,
    base: 'transport',
    fields: {},
    tunnel: { type: 'gretap', headerBytes: 4, flags: ['link', 'network', 'transport'] },
  },
  vxlan: {
    number: 18,
    base: 'inner',
    upper: LINK_UPPER,
    fields: {
      /** The number of the network. */
      vni: [32, 24],
      /** The flags. */
      flags: [0, 8, 'bitmask'],
    },
    tunnel: { type: 'vxlan', headerBytes: 8, flags: ['header-size', 'link', 'network', 'transport'] },
  },
  geneve: {
    number: 19,
    base: 'inner',
    upper: LINK_UPPER,
    fields: {
      /** The number of the network. */
      vni: [32, 24],
      /** The type of the message, or of what follows. */
      type: [16, 16, 'ether_type'],
    },
    tunnel: { type: 'geneve', headerBytes: 8, flags: ['header-size', 'link', 'network', 'transport'] },
  },
} as const satisfies Record<string, Header>;

export type Protocol = keyof typeof PROTOCOLS;
export type ProtocolField<P extends Protocol = Protocol> = P extends Protocol
  ? keyof (typeof PROTOCOLS)[P]['fields'] & string
  : never;

/** The numbers of the transport protocols whose headers nft knows. */
export const IP_PROTOCOL_NUMBERS = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  gretap: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  comp: 108,
  sctp: 132,
  udplite: 136,
} as const satisfies Partial<Record<Protocol, number>>;

export const ETHER_TYPE_NUMBERS = { ip: 0x0800, arp: 0x0806, ip6: 0x86dd, vlan: 0x8100 } as const satisfies Partial<
  Record<Protocol, number>
>;
