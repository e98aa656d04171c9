import { flags, named, S32_NE, U8, U16_NE, U32_NE } from '../../codec/index.ts';
import { fixedText, hexBytes, type Info, type Layout, type Layouts, structure, truth } from './layout.ts';
import { U32_LAYOUT } from './u32.ts';

/* The C structures of matches that look at the packet as it is (include/uapi/linux/netfilter/xt_*.h). */

const TRUTH = truth(U8);
const TRUTH32 = truth(U32_NE);
const COMPARISON = named(U8, { equal: 0, 'not-equal': 1, less: 2, greater: 3 });
const PROGRAM_BYTES = 512;
const PATTERN_BYTES = 128;

/** A match without settings. */
const nothing: Layout = {
  size: 8,
  keys: [],
  write: writer => writer.zeros(8),
  read: () => ({}),
};

/** A program of as many instructions as it says: each has eight bytes. */
function programToFields({ program = '', ...rest }: Info): Info {
  const text = program as string;
  return { ...rest, instructions: text.length / 16, program: text.padEnd(PROGRAM_BYTES * 2, '0') };
}
function programFromFields({ program = '', instructions = 0, ...rest }: Info): Info {
  return { ...rest, program: (program as string).slice(0, (instructions as number) * 16) };
}

function patternToFields({ pattern = '', ...rest }: Info): Info {
  const text = pattern as string;
  return { ...rest, length: text.length / 2, pattern: text.padEnd(PATTERN_BYTES * 2, '0') };
}
function patternFromFields({ pattern = '', length = 0, ...rest }: Info): Info {
  return { ...rest, pattern: (pattern as string).slice(0, (length as number) * 2) };
}

export const PACKET_MATCH_LAYOUTS: Layouts = {
  eui64: { 0: nothing },
  length: {
    0: structure('xt_length_info', {
      min: [2, U16_NE, 0],
      max: [2, U16_NE, 0xffff],
      invert: [1, TRUTH, false],
      _padding: [1, U8],
    }),
  },
  ttl: { 0: structure('ipt_ttl_info', { mode: [1, COMPARISON, 'equal'], ttl: [1, U8, 0] }) },
  hl: { 0: structure('ip6t_hl_info', { mode: [1, COMPARISON, 'equal'], hop_limit: [1, U8, 0] }) },
  dscp: { 0: structure('xt_dscp_info', { dscp: [1, U8, 0], invert: [1, TRUTH, false] }) },
  tos: {
    1: structure('xt_tos_match_info', {
      tos_mask: [1, U8, 0xff, 'mask'],
      tos_value: [1, U8, 0, 'value'],
      invert: [1, TRUTH, false],
    }),
  },
  ecn: {
    0: structure('xt_ecn_info', {
      operation: [1, flags(U8, { ip: 0x01, ece: 0x10, cwr: 0x20 }), []],
      invert: [1, flags(U8, { ip: 0x01, ece: 0x10, cwr: 0x20 }), []],
      ip_ect: [1, U8, 0],
      'proto.tcp.ect': [1, U8, 0, 'tcpEct'],
    }),
  },
  pkttype: { 0: structure('xt_pkttype_info', { pkttype: [4, S32_NE, 0, 'type'], invert: [4, TRUTH32, false] }) },
  mac: {
    0: structure('xt_mac_info', {
      srcaddr: [6, hexBytes(6), undefined, 'address'],
      _between: [2, U16_NE],
      invert: [4, TRUTH32, false],
    }),
  },
  mark: {
    1: structure('xt_mark_mtinfo1', {
      mark: [4, U32_NE, 0],
      mask: [4, U32_NE, 0xffffffff],
      invert: [1, TRUTH, false],
      _padding: [3, hexBytes(3)],
    }),
  },
  realm: {
    0: structure('xt_realm_info', {
      id: [4, U32_NE, 0],
      mask: [4, U32_NE, 0],
      invert: [1, TRUTH, false],
      _padding: [3, hexBytes(3)],
    }),
  },
  string: {
    1: structure(
      'xt_string_info',
      {
        from_offset: [2, U16_NE, 0, 'from'],
        to_offset: [2, U16_NE, 0xffff, 'to'],
        algo: [16, fixedText(16), undefined, 'algorithm'],
        pattern: [128, hexBytes(PATTERN_BYTES)],
        patlen: [1, U8, 0, 'length'],
        'u.v1.flags': [1, flags(U8, { invert: 0x01, 'ignore-case': 0x02 }), []],
        _between: [2, U16_NE],
        _config: [8, hexBytes(8)],
      },
      {
        keys: ['from', 'to', 'algorithm', 'pattern', 'flags'],
        toFields: patternToFields,
        fromFields: patternFromFields,
      },
    ),
  },
  bpf: {
    1: structure(
      'xt_bpf_info_v1',
      {
        mode: [2, named(U16_NE, { bytecode: 0, pinned: 1, elf: 2 }), 'bytecode'],
        bpf_program_num_elem: [2, U16_NE, 0, 'instructions'],
        fd: [4, S32_NE, 0],
        bpf_program: [512, hexBytes(PROGRAM_BYTES), '00'.repeat(PROGRAM_BYTES), 'program'],
        _filter: [8, hexBytes(8)],
      },
      { keys: ['mode', 'fd', 'program'], toFields: programToFields, fromFields: programFromFields },
    ),
  },
  u32: { 0: U32_LAYOUT },
};
