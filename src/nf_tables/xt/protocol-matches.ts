import { flags, named, U8, U16_NE, U32_NE } from '../../codec/index.ts';
import { hexBytes, INET_OR_ANY, type Layouts, listOf, PORTS, structure } from './layout.ts';

/*
 * The C structures of matches that look at one protocol's header, or at headers of IPv6 (include/uapi/linux/netfilter/xt_*.h,
 * netfilter_ipv4/ipt_*.h and netfilter_ipv6/ip6t_*.h).
 */

const PAIR_OF_BYTES = listOf(2, 1, U8);
const PAIR = listOf(2, 4, U32_NE);
const ALL = [0, 0xffffffff];
const INVERT_SPI = flags(U8, { spi: 0x01 });

const icmp = {
  0: structure('ipt_icmp', {
    type: [1, U8],
    code: [2, PAIR_OF_BYTES, [0, 0xff]],
    invflags: [1, flags(U8, { type: 0x01 }), [], 'invert'],
  }),
};
const icmp6 = {
  0: structure('ip6t_icmp', {
    type: [1, U8],
    code: [2, PAIR_OF_BYTES, [0, 0xff]],
    invflags: [1, flags(U8, { type: 0x01 }), [], 'invert'],
  }),
};

/** Options of IPv6: each one a type and a length, 0xff for any. */
const opts = {
  0: structure(
    'ip6t_opts',
    {
      hdrlen: [4, U32_NE, 0, 'length'],
      flags: [1, flags(U8, { length: 0x01, options: 0x02, 'not-strict': 0x04 }), []],
      invflags: [1, flags(U8, { length: 0x01 }), [], 'invert'],
      opts: [32, listOf(16, 2, U16_NE), new Array(16).fill(0), 'options'],
      optsnr: [1, U8, 0, 'count'],
      _padding: [1, U8],
    },
    {
      keys: ['length', 'flags', 'invert', 'options'],
      toFields: ({ options = [], ...rest }) => ({ ...rest, options, count: (options as number[]).length }),
      fromFields: ({ options = [], count = 0, ...rest }) =>
        count === 0 ? rest : { ...rest, options: (options as number[]).slice(0, count as number) },
    },
  ),
};

const SRH = {
  'next-header': 0x0001,
  'length-equal': 0x0002,
  'length-greater': 0x0004,
  'length-less': 0x0008,
  'segments-equal': 0x0010,
  'segments-greater': 0x0020,
  'segments-less': 0x0040,
  'last-equal': 0x0080,
  'last-greater': 0x0100,
  'last-less': 0x0200,
  tag: 0x0400,
  'previous-segment': 0x0800,
  'next-segment': 0x1000,
  'last-segment': 0x2000,
} as const;

const CHUNKMAP_BYTES = 256;

export const PROTOCOL_MATCH_LAYOUTS: Layouts = {
  icmp,
  icmp6,
  esp: {
    0: structure('xt_esp', {
      spis: [8, PAIR, ALL],
      invflags: [1, INVERT_SPI, [], 'invert'],
      _padding: [3, hexBytes(3)],
    }),
  },
  ipcomp: {
    0: structure('xt_ipcomp', {
      spis: [8, PAIR, ALL],
      invflags: [1, INVERT_SPI, [], 'invert'],
      hdrres: [1, U8, 0, 'reserved'],
      _padding: [2, hexBytes(2)],
    }),
  },
  mh: {
    0: structure('ip6t_mh', {
      types: [2, PAIR_OF_BYTES, [0, 0xff]],
      invflags: [1, flags(U8, { type: 0x01 }), [], 'invert'],
    }),
  },
  tcpmss: {
    0: structure('xt_tcpmss_match_info', {
      mss_min: [2, U16_NE, 0],
      mss_max: [2, U16_NE, 0],
      invert: [1, flags(U8, { mss: 1 }), []],
      _padding: [1, U8],
    }),
  },
  dccp: {
    0: structure('xt_dccp_info', {
      dpts: [4, PORTS, [0, 0], 'destinationPorts'],
      spts: [4, PORTS, [0, 0], 'sourcePorts'],
      flags: [2, flags(U16_NE, { 'source-ports': 0x01, 'destination-ports': 0x02, types: 0x04, option: 0x08 }), []],
      invflags: [
        2,
        flags(U16_NE, { 'source-ports': 0x01, 'destination-ports': 0x02, types: 0x04, option: 0x08 }),
        [],
        'invert',
      ],
      typemask: [2, U16_NE, 0, 'types'],
      option: [1, U8, 0],
      _padding: [1, U8],
    }),
  },
  sctp: {
    0: structure('xt_sctp_info', {
      dpts: [4, PORTS, [0, 0], 'destinationPorts'],
      spts: [4, PORTS, [0, 0], 'sourcePorts'],
      chunkmap: [256, hexBytes(CHUNKMAP_BYTES), '00'.repeat(CHUNKMAP_BYTES), 'chunks'],
      chunk_match_type: [4, named(U32_NE, { none: 0, any: 0x01, all: 0x02, only: 0x04 }), 'none'],
      flag_info: [12, hexBytes(12), '00'.repeat(12)],
      flag_count: [4, U32_NE, 0],
      flags: [4, flags(U32_NE, { 'source-ports': 0x01, 'destination-ports': 0x02, chunks: 0x04 }), []],
      invflags: [4, flags(U32_NE, { 'source-ports': 0x01, 'destination-ports': 0x02, chunks: 0x04 }), [], 'invert'],
    }),
  },
  dst: opts,
  hbh: opts,
  frag: {
    0: structure('ip6t_frag', {
      ids: [8, PAIR, ALL],
      hdrlen: [4, U32_NE, 0, 'length'],
      flags: [1, flags(U8, { ids: 0x01, length: 0x02, reserved: 0x04, first: 0x08, more: 0x10, last: 0x20 }), []],
      invflags: [1, flags(U8, { ids: 0x01, length: 0x02 }), [], 'invert'],
      _padding: [2, hexBytes(2)],
    }),
  },
  ipv6header: {
    0: structure('ip6t_ipv6header_info', {
      matchflags: [
        1,
        flags(U8, { proto: 1, none: 2, esp: 4, auth: 8, frag: 16, route: 32, dst: 64, hop: 128 }),
        [],
        'headers',
      ],
      invflags: [
        1,
        flags(U8, { proto: 1, none: 2, esp: 4, auth: 8, frag: 16, route: 32, dst: 64, hop: 128 }),
        [],
        'invert',
      ],
      modeflag: [1, flags(U8, { soft: 1 }), [], 'mode'],
    }),
  },
  rt: {
    0: structure(
      'ip6t_rt',
      {
        rt_type: [4, U32_NE, 0, 'type'],
        segsleft: [8, PAIR, ALL, 'segmentsLeft'],
        hdrlen: [4, U32_NE, 0, 'length'],
        flags: [
          1,
          flags(U8, { type: 0x01, segments: 0x02, length: 0x04, reserved: 0x08, addresses: 0x10, 'not-strict': 0x20 }),
          [],
        ],
        invflags: [1, flags(U8, { type: 0x01, segments: 0x02, length: 0x04 }), [], 'invert'],
        _between: [2, hexBytes(2)],
        addrs: [256, listOf(16, 16, INET_OR_ANY), [], 'addresses'],
        addrnr: [1, U8, 0, 'count'],
        _padding: [3, hexBytes(3)],
      },
      {
        keys: ['type', 'segmentsLeft', 'length', 'flags', 'invert', 'addresses'],
        toFields: ({ addresses = [], ...rest }) => ({ ...rest, addresses, count: (addresses as string[]).length }),
        fromFields: ({ addresses = [], count = 0, ...rest }) =>
          count === 0 ? rest : { ...rest, addresses: (addresses as string[]).slice(0, count as number) },
      },
    ),
  },
  srh: {
    1: structure('ip6t_srh1', {
      next_hdr: [1, U8, 0, 'nextHeader'],
      hdr_len: [1, U8, 0, 'length'],
      segs_left: [1, U8, 0, 'segmentsLeft'],
      last_entry: [1, U8, 0, 'lastEntry'],
      tag: [2, U16_NE, 0],
      _between: [2, hexBytes(2)],
      psid_addr: [16, INET_OR_ANY, '::', 'previousSegment'],
      nsid_addr: [16, INET_OR_ANY, '::', 'nextSegment'],
      lsid_addr: [16, INET_OR_ANY, '::', 'lastSegment'],
      psid_msk: [16, INET_OR_ANY, '::', 'previousSegmentMask'],
      nsid_msk: [16, INET_OR_ANY, '::', 'nextSegmentMask'],
      lsid_msk: [16, INET_OR_ANY, '::', 'lastSegmentMask'],
      mt_flags: [2, flags(U16_NE, SRH), [], 'match'],
      mt_invflags: [2, flags(U16_NE, SRH), [], 'invert'],
    }),
  },
};

/** The match ah has another structure in each family. */
export const AH_IPV4 = structure('ipt_ah', {
  spis: [8, PAIR, ALL],
  invflags: [1, INVERT_SPI, [], 'invert'],
  _padding: [3, hexBytes(3)],
});
export const AH_IPV6 = structure('ip6t_ah', {
  spis: [8, PAIR, ALL],
  hdrlen: [4, U32_NE, 0, 'length'],
  hdrres: [1, U8, 0, 'reserved'],
  invflags: [1, flags(U8, { spi: 0x01, length: 0x02 }), [], 'invert'],
  _padding: [2, hexBytes(2)],
});
