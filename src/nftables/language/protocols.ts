/** A field of a header: bytes from the header's beginning, bytes in all, and how its values are written. */
export interface HeaderField {
  readonly offset: number;
  readonly length: number;
  readonly type: 'ipv4' | 'ipv6' | 'port' | 'protocol' | 'number';
}

const PORTS = {
  sport: { offset: 0, length: 2, type: 'port' },
  dport: { offset: 2, length: 2, type: 'port' },
} as const satisfies Record<string, HeaderField>;

/** RFC 791, 8200, 9293, 768. */
export const PROTOCOL_FIELDS = {
  ip: {
    length: { offset: 2, length: 2, type: 'number' },
    ttl: { offset: 8, length: 1, type: 'number' },
    protocol: { offset: 9, length: 1, type: 'protocol' },
    saddr: { offset: 12, length: 4, type: 'ipv4' },
    daddr: { offset: 16, length: 4, type: 'ipv4' },
  },
  ip6: {
    length: { offset: 4, length: 2, type: 'number' },
    nexthdr: { offset: 6, length: 1, type: 'protocol' },
    hoplimit: { offset: 7, length: 1, type: 'number' },
    saddr: { offset: 8, length: 16, type: 'ipv6' },
    daddr: { offset: 24, length: 16, type: 'ipv6' },
  },
  tcp: PORTS,
  udp: PORTS,
  sctp: PORTS,
  /** The ports of whatever transport protocol it is. */
  th: PORTS,
} as const satisfies Record<string, Record<string, HeaderField>>;

/** IP protocol numbers by the names that nft prints. */
export const IP_PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  'ipv6-icmp': 58,
  icmpv6: 58,
  sctp: 132,
};

export const TRANSPORTS = { tcp: 6, udp: 17, sctp: 132 } as const;
