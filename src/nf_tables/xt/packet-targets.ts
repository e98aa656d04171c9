import { flags, named, U8, U16_NE, U32_BE, U32_NE } from '../../codec/index.ts';
import { IP6T_HL_DEC, IP6T_HL_INC, IP6T_HL_SET } from '../../linux/ip6t_HL.ts';
import { IPT_ECN_OP_SET_CWR, IPT_ECN_OP_SET_ECE, IPT_ECN_OP_SET_IP } from '../../linux/ipt_ECN.ts';
import { IPT_TTL_DEC, IPT_TTL_INC, IPT_TTL_SET } from '../../linux/ipt_TTL.ts';
import { XT_CHECKSUM_OP_FILL } from '../../linux/xt_CHECKSUM.ts';
import * as C from '../../linux/xt_HMARK.ts';
import { INET, INET_OR_ANY, type Layouts, listOf, structure } from './layout.ts';

/* The C structures of xtables' targets that change a packet or its mark (include/uapi/linux/netfilter/xt_*.h, ipt_*.h and ip6t_*.h). */

const BIT = 1;

const hmarkFlags = flags(U32_NE, {
  'source-mask': BIT << C.XT_HMARK_SADDR_MASK,
  'destination-mask': BIT << C.XT_HMARK_DADDR_MASK,
  spi: BIT << C.XT_HMARK_SPI,
  'spi-mask': BIT << C.XT_HMARK_SPI_MASK,
  'source-port': BIT << C.XT_HMARK_SPORT,
  'destination-port': BIT << C.XT_HMARK_DPORT,
  'source-port-mask': BIT << C.XT_HMARK_SPORT_MASK,
  'destination-port-mask': BIT << C.XT_HMARK_DPORT_MASK,
  'protocol-mask': BIT << C.XT_HMARK_PROTO_MASK,
  random: BIT << C.XT_HMARK_RND,
  modulus: BIT << C.XT_HMARK_MODULUS,
  offset: BIT << C.XT_HMARK_OFFSET,
  ct: BIT << C.XT_HMARK_CT,
  'layer-3': BIT << C.XT_HMARK_METHOD_L3,
  'layer-3-4': BIT << C.XT_HMARK_METHOD_L3_4,
});

export const PACKET_TARGET_LAYOUTS: Layouts = {
  CLASSIFY: { 0: structure('xt_classify_target_info', { priority: [4, U32_NE, 0] }) },
  CHECKSUM: {
    0: structure('xt_CHECKSUM_info', { operation: [1, flags(U8, { fill: XT_CHECKSUM_OP_FILL }), [], 'operations'] }),
  },
  DSCP: { 0: structure('xt_DSCP_info', { dscp: [1, U8, 0] }) },
  TOS: { 1: structure('xt_tos_target_info', { tos_value: [1, U8, 0, 'value'], tos_mask: [1, U8, 0, 'mask'] }) },
  ECN: {
    0: structure('ipt_ECN_info', {
      operation: [
        1,
        flags(U8, { ip: IPT_ECN_OP_SET_IP, ece: IPT_ECN_OP_SET_ECE, cwr: IPT_ECN_OP_SET_CWR }),
        [],
        'operations',
      ],
      ip_ect: [1, U8, 0, 'ect'],
      /** Two bits of C. */
      proto: [1, flags(U8, { ece: 1, cwr: 2 }), [], 'bits'],
    }),
  },
  TTL: {
    0: structure('ipt_TTL_info', {
      mode: [1, named(U8, { set: IPT_TTL_SET, increment: IPT_TTL_INC, decrement: IPT_TTL_DEC }), 'set'],
      ttl: [1, U8, 0, 'value'],
    }),
  },
  HL: {
    0: structure('ip6t_HL_info', {
      mode: [1, named(U8, { set: IP6T_HL_SET, increment: IP6T_HL_INC, decrement: IP6T_HL_DEC }), 'set'],
      hop_limit: [1, U8, 0, 'value'],
    }),
  },
  TCPMSS: { 0: structure('xt_tcpmss_info', { mss: [2, U16_NE, 0] }) },
  /** Bit n of word w is the option 32 * w + n. */
  TCPOPTSTRIP: {
    0: structure('xt_tcpoptstrip_target_info', { strip_bmap: [32, listOf(8, 4, U32_NE), undefined, 'words'] }),
  },
  HMARK: {
    0: structure('xt_hmark_info', {
      src_mask: [16, INET, null, 'sourceMask'],
      dst_mask: [16, INET, null, 'destinationMask'],
      /** The source's port in the upper half, the destination's in the lower; of ESP and AH the SPI. */
      port_mask: [4, U32_BE, 0],
      port_set: [4, U32_BE, 0, 'ports'],
      flags: [4, hmarkFlags, []],
      proto_mask: [2, U16_NE, 0, 'protocolMask'],
      _padding: [2, U16_NE],
      hashrnd: [4, U32_NE, 0, 'seed'],
      hmodulus: [4, U32_NE, 0, 'modulus'],
      hoffset: [4, U32_NE, 0, 'offset'],
    }),
  },
  SNPT: { 0: prefixes() },
  DNPT: { 0: prefixes() },
};

function prefixes() {
  return structure('ip6t_npt_tginfo', {
    src_pfx: [16, INET_OR_ANY, '::', 'source'],
    dst_pfx: [16, INET_OR_ANY, '::', 'destination'],
    src_pfx_len: [1, U8, 0, 'sourceLength'],
    dst_pfx_len: [1, U8, 0, 'destinationLength'],
    adjustment: [2, U16_NE, 0],
  });
}
