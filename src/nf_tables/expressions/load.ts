import { attribute, attributes, flags, named, opt, string, U8, U32_BE, u8, u32be } from '../../codec/index.ts';
import * as C from '../../linux/nf_tables.ts';
import { NF_OSF_TTL_LESS, NF_OSF_TTL_NOCHECK, NF_OSF_TTL_TRUE } from '../../linux/nfnetlink_osf.ts';
import { byDefault, type Fields, type TableFacets, unused, withoutEmptyFlags } from '../facets.ts';

/** Loads from the route of the packet. */
const rt = attributes('NFTA_RT', () => ({
  register: u32be(C.NFTA_RT_DREG),
  key: attribute(
    C.NFTA_RT_KEY,
    named(U32_BE, {
      classid: C.NFT_RT_CLASSID,
      nexthop4: C.NFT_RT_NEXTHOP4,
      nexthop6: C.NFT_RT_NEXTHOP6,
      tcpmss: C.NFT_RT_TCPMSS,
      xfrm: C.NFT_RT_XFRM,
    }),
  ),
}));

/** Loads from the socket that the packet belongs to. */
const socket = attributes('NFTA_SOCKET', () => ({
  key: attribute(
    C.NFTA_SOCKET_KEY,
    named(U32_BE, {
      transparent: C.NFT_SOCKET_TRANSPARENT,
      mark: C.NFT_SOCKET_MARK,
      wildcard: C.NFT_SOCKET_WILDCARD,
      cgroupv2: C.NFT_SOCKET_CGROUPV2,
    }),
  ),
  register: u32be(C.NFTA_SOCKET_DREG),
  /** With cgroupv2: which ancestor, counted from the root. */
  level: byDefault(opt(u32be(C.NFTA_SOCKET_LEVEL)), 0),
}));

/** Asks the routing table about an address of the packet. */
const fib = attributes('NFTA_FIB', () => ({
  register: u32be(C.NFTA_FIB_DREG),
  result: attribute(
    C.NFTA_FIB_RESULT,
    named(U32_BE, {
      oif: C.NFT_FIB_RESULT_OIF,
      oifname: C.NFT_FIB_RESULT_OIFNAME,
      'address-type': C.NFT_FIB_RESULT_ADDRTYPE,
    }),
  ),
  /** What is asked with, and `present`: only whether there is a route. */
  flags: opt(
    attribute(
      C.NFTA_FIB_FLAGS,
      flags(U32_BE, {
        saddr: C.NFTA_FIB_F_SADDR,
        daddr: C.NFTA_FIB_F_DADDR,
        mark: C.NFTA_FIB_F_MARK,
        iif: C.NFTA_FIB_F_IIF,
        oif: C.NFTA_FIB_F_OIF,
        present: C.NFTA_FIB_F_PRESENT,
      }),
    ),
  ),
}));

/** Loads the name of the operating system that a TCP SYN looks like. */
const osf = attributes(
  'NFTA_OSF',
  () => ({
    register: u32be(C.NFTA_OSF_DREG),
    /** How the packet's TTL is compared with the fingerprint's: exact, loose (less will do), or skip. */
    ttl: byDefault(
      opt(
        attribute(
          C.NFTA_OSF_TTL,
          named(U8, { exact: NF_OSF_TTL_TRUE, loose: NF_OSF_TTL_LESS, skip: NF_OSF_TTL_NOCHECK }),
        ),
      ),
      'exact',
    ),
    /** version: the system's version follows its name. */
    flags: opt(attribute(C.NFTA_OSF_FLAGS, flags(U32_BE, { version: C.NFT_OSF_F_VERSION }))),
  }),
  { facets: { accepted: withoutEmptyFlags } satisfies TableFacets },
);

/** Loads a hash of a register (jenkins), or of the connection's addresses and ports (symmetric), modulo a number. */
const hash = attributes(
  'NFTA_HASH',
  () => ({
    sourceRegister: opt(u32be(C.NFTA_HASH_SREG)),
    register: u32be(C.NFTA_HASH_DREG),
    /** Bytes of the source register. */
    length: opt(u32be(C.NFTA_HASH_LEN)),
    modulus: u32be(C.NFTA_HASH_MODULUS),
    seed: opt(u32be(C.NFTA_HASH_SEED)),
    /** Is added to the result. */
    offset: byDefault(opt(u32be(C.NFTA_HASH_OFFSET)), 0),
    type: byDefault(
      opt(attribute(C.NFTA_HASH_TYPE, named(U32_BE, { jenkins: C.NFT_HASH_JENKINS, symmetric: C.NFT_HASH_SYM }))),
      'jenkins',
    ),
    /** Kernels no longer take it. */
    set: unused(opt(string(C.NFTA_HASH_SET_NAME, 255))),
    /** Kernels no longer take it. */
    setId: unused(opt(u32be(C.NFTA_HASH_SET_ID))),
  }),
  { facets: { canonical: canonicalHash } satisfies TableFacets },
);

/** A hash of the connection needs no register. */
function canonicalHash(fields: Fields): void {
  if (fields.type === 'symmetric') for (const field of ['sourceRegister', 'length', 'seed']) delete fields[field];
}

/** Loads the next number of a cycle, or a random one, modulo a number. */
const numgen = attributes('NFTA_NG', () => ({
  register: u32be(C.NFTA_NG_DREG),
  modulus: u32be(C.NFTA_NG_MODULUS),
  type: attribute(C.NFTA_NG_TYPE, named(U32_BE, { incremental: C.NFT_NG_INCREMENTAL, random: C.NFT_NG_RANDOM })),
  /** Is added to the result. */
  offset: byDefault(opt(u32be(C.NFTA_NG_OFFSET)), 0),
  /** Kernels no longer take it. */
  set: unused(opt(string(C.NFTA_NG_SET_NAME, 255))),
  /** Kernels no longer take it. */
  setId: unused(opt(u32be(C.NFTA_NG_SET_ID))),
}));

/** Loads from the metadata of the tunnel that the packet came through or will go through. */
const tunnel = attributes('NFTA_TUNNEL', () => ({
  key: attribute(C.NFTA_TUNNEL_KEY, named(U32_BE, { path: C.NFT_TUNNEL_PATH, id: C.NFT_TUNNEL_ID })),
  register: u32be(C.NFTA_TUNNEL_DREG),
  mode: opt(
    attribute(
      C.NFTA_TUNNEL_MODE,
      named(U32_BE, { none: C.NFT_TUNNEL_MODE_NONE, receive: C.NFT_TUNNEL_MODE_RX, transmit: C.NFT_TUNNEL_MODE_TX }),
    ),
  ),
}));

/** Loads from the IPsec state that the packet went through or will go through. */
const xfrm = attributes('NFTA_XFRM', () => ({
  register: u32be(C.NFTA_XFRM_DREG),
  key: attribute(
    C.NFTA_XFRM_KEY,
    named(U32_BE, {
      'daddr-ip4': C.NFT_XFRM_KEY_DADDR_IP4,
      'daddr-ip6': C.NFT_XFRM_KEY_DADDR_IP6,
      'saddr-ip4': C.NFT_XFRM_KEY_SADDR_IP4,
      'saddr-ip6': C.NFT_XFRM_KEY_SADDR_IP6,
      reqid: C.NFT_XFRM_KEY_REQID,
      spi: C.NFT_XFRM_KEY_SPI,
    }),
  ),
  /** XFRM_POLICY_IN (0) or XFRM_POLICY_OUT (1). */
  direction: u8(C.NFTA_XFRM_DIR),
  /** Which state, where there are several. */
  index: byDefault(opt(u32be(C.NFTA_XFRM_SPNUM)), 0),
}));

export const expressions = { rt, socket, fib, osf, hash, numgen, tunnel, xfrm };
