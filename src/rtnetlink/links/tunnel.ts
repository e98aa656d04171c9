import { attribute, flags, named, opt, U16_BE, U16_NE, U32_NE, u8, u16be, u32be, u32ne } from '../../codec/index.ts';
import * as C from '../../linux/if_tunnel.ts';
import * as Six from '../../linux/ip6_tunnel.ts';
import { BOOLEAN, DEVICE_INDEX, PRESENCE, quote } from '../device.ts';
import { IPV4, IPV6 } from '../prefix.ts';
import type { Refusals } from '../request.ts';
import type { NewLink } from './settings.ts';

/* The attributes that tunnels share (net/ipv4/ip_tunnel.c, net/ipv6/ip6_tunnel.c). Each kind has its own numbers for them. */

const ENCAPSULATIONS = {
  none: C.TUNNEL_ENCAP_NONE,
  fou: C.TUNNEL_ENCAP_FOU,
  gue: C.TUNNEL_ENCAP_GUE,
  mpls: C.TUNNEL_ENCAP_MPLS,
} as const;
const ENCAPSULATION_FLAGS = {
  checksum: C.TUNNEL_ENCAP_FLAG_CSUM,
  checksum6: C.TUNNEL_ENCAP_FLAG_CSUM6,
  'remote-checksum': C.TUNNEL_ENCAP_FLAG_REMCSUM,
} as const;
const IP6_FLAGS = {
  'ignore-encapsulation-limit': Six.IP6_TNL_F_IGN_ENCAP_LIMIT,
  'inherit-traffic-class': Six.IP6_TNL_F_USE_ORIG_TCLASS,
  'inherit-flow-label': Six.IP6_TNL_F_USE_ORIG_FLOWLABEL,
  mobile: Six.IP6_TNL_F_MIP6_DEV,
  'copy-dscp': Six.IP6_TNL_F_RCV_DSCP_COPY,
  'inherit-mark': Six.IP6_TNL_F_USE_ORIG_FWMARK,
  'allow-local-remote': Six.IP6_TNL_F_ALLOW_LOCAL_REMOTE,
} as const;

/** The protocols that an IP tunnel can carry. */
export const PAYLOADS = { any: 0, ipip: 4, ipv6: 41, mpls: 137 } as const;

/** Rows for a tunnel whose packets are put into UDP (FOU, GUE). */
const inUdp = (numbers: { type: number; flags: number; source: number; destination: number }) => ({
  /** 'fou' and 'gue' put the tunnel's packets into UDP (module fou). */
  encapsulation: opt(attribute(numbers.type, named(U16_NE, ENCAPSULATIONS))),
  /** What the UDP header around the packets has. */
  encapsulationFlags: opt(attribute(numbers.flags, flags(U16_NE, ENCAPSULATION_FLAGS))),
  /** The UDP source port; 0 chooses a port for each flow. */
  encapsulationSourcePort: opt(u16be(numbers.source)),
  /** The UDP destination port. */
  encapsulationDestinationPort: opt(u16be(numbers.destination)),
});

const IPTUN_UDP = inUdp({
  type: C.IFLA_IPTUN_ENCAP_TYPE,
  flags: C.IFLA_IPTUN_ENCAP_FLAGS,
  source: C.IFLA_IPTUN_ENCAP_SPORT,
  destination: C.IFLA_IPTUN_ENCAP_DPORT,
});
const GRE_UDP = inUdp({
  type: C.IFLA_GRE_ENCAP_TYPE,
  flags: C.IFLA_GRE_ENCAP_FLAGS,
  source: C.IFLA_GRE_ENCAP_SPORT,
  destination: C.IFLA_GRE_ENCAP_DPORT,
});

/** Rows of ipip, sit and ip6tnl. */
export const IPTUN = {
  /** The device through which packets leave. */
  link: opt(attribute(C.IFLA_IPTUN_LINK, DEVICE_INDEX)),
  /** TTL (hop limit) of the outer packets, 1 to 255; 0 copies it from the inner packets. */
  ttl: opt(u8(C.IFLA_IPTUN_TTL)),
  ...IPTUN_UDP,
  /** Routes and filters decide where packets go, not this device ('external'). */
  collectMetadata: opt(attribute(C.IFLA_IPTUN_COLLECT_METADATA, PRESENCE)),
  /** The firewall mark with which the outer packets are routed. */
  mark: opt(u32ne(C.IFLA_IPTUN_FWMARK)),
};

/** Rows of ipip and sit. */
export const IPTUN4 = {
  ...IPTUN,
  /** The source address of the outer packets; '0.0.0.0' accepts packets to any local address. */
  local: opt(attribute(C.IFLA_IPTUN_LOCAL, IPV4)),
  /** The other end; '0.0.0.0' means none. */
  remote: opt(attribute(C.IFLA_IPTUN_REMOTE, IPV4)),
  /** The type of service of the outer packets; 1 copies it from the inner packets. */
  tos: opt(u8(C.IFLA_IPTUN_TOS)),
  /** Do not fragment the outer packets. On in a new device. */
  pathMtuDiscovery: opt(attribute(C.IFLA_IPTUN_PMTUDISC, BOOLEAN)),
};

/** Rows of gre and ip6gre. */
const GRE_ROWS = {
  /** The device through which packets leave. */
  link: opt(attribute(C.IFLA_GRE_LINK, DEVICE_INDEX)),
  /** The fields that incoming packets must have. 'key' is added if `inputKey` is given. */
  inputFlags: opt(greFlags(C.IFLA_GRE_IFLAGS)),
  /** The fields that outgoing packets get. 'key' is added if `outputKey` is given. */
  outputFlags: opt(greFlags(C.IFLA_GRE_OFLAGS)),
  /** The key of incoming packets, 0 to 2^32-1. */
  inputKey: opt(u32be(C.IFLA_GRE_IKEY)),
  /** The key of outgoing packets, 0 to 2^32-1. */
  outputKey: opt(u32be(C.IFLA_GRE_OKEY)),
  /** TTL (hop limit) of the outer packets, 1 to 255; 0 copies it from the inner packets. */
  ttl: opt(u8(C.IFLA_GRE_TTL)),
  ...GRE_UDP,
  /** Routes and filters decide where packets go, not this device ('external'). */
  collectMetadata: opt(attribute(C.IFLA_GRE_COLLECT_METADATA, PRESENCE)),
  /** The firewall mark with which the outer packets are routed. */
  mark: opt(u32ne(C.IFLA_GRE_FWMARK)),
};

export const GRE4 = {
  ...GRE_ROWS,
  /** The source address of the outer packets; '0.0.0.0' accepts packets to any local address. */
  local: opt(attribute(C.IFLA_GRE_LOCAL, IPV4)),
  /** The other end; '0.0.0.0' means none. */
  remote: opt(attribute(C.IFLA_GRE_REMOTE, IPV4)),
  /** The type of service of the outer packets; 1 copies it from the inner packets. */
  tos: opt(u8(C.IFLA_GRE_TOS)),
  /** Do not fragment the outer packets. On in a new device. */
  pathMtuDiscovery: opt(attribute(C.IFLA_GRE_PMTUDISC, BOOLEAN)),
  /** Ignore the don't-fragment flag of the inner packets. Not together with `pathMtuDiscovery`. */
  ignoreDontFragment: opt(attribute(C.IFLA_GRE_IGNORE_DF, BOOLEAN)),
};

export const GRE6 = {
  ...GRE_ROWS,
  /** The source address of the outer packets; '::' accepts packets to any local address. */
  local: opt(attribute(C.IFLA_GRE_LOCAL, IPV6)),
  /** The other end; '::' means none. */
  remote: opt(attribute(C.IFLA_GRE_REMOTE, IPV6)),
  /** How many more tunnels a packet may enter. A new device has 4. */
  encapsulationLimit: opt(u8(C.IFLA_GRE_ENCAP_LIMIT)),
  /** Traffic class and flow label of the outer packets, 0 to 2^28-1. */
  flowInfo: opt(u32be(C.IFLA_GRE_FLOWINFO)),
  /** The flags of the tunnel. */
  flags: opt(ip6Flags(C.IFLA_GRE_FLAGS)),
};

/** GRE_CSUM, GRE_KEY, GRE_SEQ (include/uapi/linux/if_tunnel.h), in network byte order. */
function greFlags(number: number) {
  return attribute(number, flags(U16_BE, { checksum: 0x8000, key: 0x2000, sequence: 0x1000 } as const));
}

/** IP6_TNL_F_*. Bits without a name report facts that the kernel found out itself. */
export function ip6Flags(number: number) {
  return attribute(number, flags(U32_NE, IP6_FLAGS));
}

/** Adds the flag for each key, because the kernel uses a key only with its flag. */
export function withKeyFlags<
  T extends {
    inputKey?: number;
    outputKey?: number;
    inputFlags?: (string | number)[];
    outputFlags?: (string | number)[];
  },
>(data: T): T {
  const result = { ...data };
  for (const [key, of] of [
    ['inputKey', 'inputFlags'],
    ['outputKey', 'outputFlags'],
  ] as const) {
    if (!data[key]) continue;
    const set = data[of] ?? [];
    if (!set.includes('key')) Object.assign(result, { [of]: [...set, 'key'] });
  }
  return result;
}

/** Compares only the flags with a name. The kernel sets the other bits itself. */
export const hasFlags = (given: readonly (string | number)[], read: readonly (string | number)[] = []): boolean => {
  const names = (list: readonly (string | number)[]) => list.filter(flag => typeof flag === 'string').sort();
  return names(given).join() === names(read).join();
};

/** Compares flags that were read back. The library may have added the flag of a key. */
export const hasKeyFlags = (given: readonly (string | number)[], read: readonly (string | number)[] = []): boolean =>
  given.every(flag => read.includes(flag));

/** Explains the refusals of a tunnel. No two tunnels can have the same addresses. */
export const refusalsOfTunnel = ({ name }: NewLink): Partial<Refusals> => ({
  hints: {
    EEXIST: `a device named ${quote(name)} exists, or a tunnel of this kind with the same ends (the module's own has none: give remote)`,
  },
  blame: { EEXIST: undefined },
});
