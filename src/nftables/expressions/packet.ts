import { attribute, attributes, flags, named, opt, U32_BE, u32be } from '../../codec/index.ts';
import * as C from '../constants.ts';

/** Loads bytes of the packet into a register, or with `sourceRegister` writes them. */
const payload = attributes('NFTA_PAYLOAD', {
  register: opt(u32be(C.NFTA_PAYLOAD_DREG)),
  /** The header that `offset` counts from. */
  base: attribute(
    C.NFTA_PAYLOAD_BASE,
    named(U32_BE, {
      link: C.NFT_PAYLOAD_LL_HEADER,
      network: C.NFT_PAYLOAD_NETWORK_HEADER,
      transport: C.NFT_PAYLOAD_TRANSPORT_HEADER,
      inner: C.NFT_PAYLOAD_INNER_HEADER,
    }),
  ),
  /** Bytes from the beginning of the header. */
  offset: u32be(C.NFTA_PAYLOAD_OFFSET),
  /** Bytes. */
  length: u32be(C.NFTA_PAYLOAD_LEN),
  /** The register whose content is written into the packet. */
  sourceRegister: opt(u32be(C.NFTA_PAYLOAD_SREG)),
  checksumType: opt(
    attribute(
      C.NFTA_PAYLOAD_CSUM_TYPE,
      named(U32_BE, { none: C.NFT_PAYLOAD_CSUM_NONE, inet: C.NFT_PAYLOAD_CSUM_INET, sctp: C.NFT_PAYLOAD_CSUM_SCTP }),
    ),
  ),
  /** Where in the header the checksum stands. */
  checksumOffset: opt(u32be(C.NFTA_PAYLOAD_CSUM_OFFSET)),
  checksumFlags: opt(attribute(C.NFTA_PAYLOAD_CSUM_FLAGS, flags(U32_BE, { 'pseudo-header': 1 }))),
});

export const META_KEYS = {
  len: C.NFT_META_LEN,
  protocol: C.NFT_META_PROTOCOL,
  priority: C.NFT_META_PRIORITY,
  mark: C.NFT_META_MARK,
  iif: C.NFT_META_IIF,
  oif: C.NFT_META_OIF,
  iifname: C.NFT_META_IIFNAME,
  oifname: C.NFT_META_OIFNAME,
  iiftype: C.NFT_META_IIFTYPE,
  oiftype: C.NFT_META_OIFTYPE,
  skuid: C.NFT_META_SKUID,
  skgid: C.NFT_META_SKGID,
  nftrace: C.NFT_META_NFTRACE,
  nfproto: C.NFT_META_NFPROTO,
  l4proto: C.NFT_META_L4PROTO,
  pkttype: C.NFT_META_PKTTYPE,
} as const;

/** Loads what the kernel knows about the packet besides its bytes, or with `sourceRegister` sets it. */
const meta = attributes('NFTA_META', {
  register: opt(u32be(C.NFTA_META_DREG)),
  key: attribute(C.NFTA_META_KEY, named(U32_BE, META_KEYS)),
  sourceRegister: opt(u32be(C.NFTA_META_SREG)),
});

export const expressions = { payload, meta };
