import type { Flags, Named } from './info-values.ts';
import type { U32Test } from './u32.ts';

/*
 * The structures of xtables as objects: a row for each of the layouts beside this file. What is left out is zero, or what iptables has there.
 */

/** A first and a last number. */
type Range = [first: number, last: number];
type Ipv6Header = 'proto' | 'none' | 'esp' | 'auth' | 'frag' | 'route' | 'dst' | 'hop';
type SctpField = 'source-ports' | 'destination-ports' | 'chunks';
type DccpField = 'source-ports' | 'destination-ports' | 'types' | 'option';
type SrhField =
  | 'next-header'
  | `${'length' | 'segments'}-${'equal' | 'greater' | 'less'}`
  | `last-${'equal' | 'greater' | 'less'}`
  | 'tag'
  | `${'previous' | 'next' | 'last'}-segment`;
type Hops = Named<'equal' | 'not-equal' | 'less' | 'greater'>;

interface IcmpInfo {
  /** `type` of `struct xt_audit_info`. */ type?: number;
  /** The first and the last code. */
  code?: Range;

  /** `invert` of `struct xt_length_info`. */ invert?: Flags<'type'>;
}

interface Ipv6OptionsInfo {
  /** `patlen` of `struct xt_string_info`. */ length?: number;

  /** `flags` of `struct xt_ct_target_info`. */ flags?: Flags<'length' | 'options' | 'not-strict'>;

  /** `invert` of `struct xt_length_info`. */ invert?: Flags<'length'>;
  /** Each is 256 times its type and its length; 255 is any length. */
  options?: number[];
}

/** The structures of matches on the headers and the payload of packets. */
export interface HeaderMatchInfos {
  ah: {
    /** `spis` of `struct ipt_ah`. */ spis?: Range;
    /** `hdrlen` of `struct ip6t_ah`. */ length?: number;
    /** `hdrres` of `struct ip6t_ah`. */ reserved?: number;
    /** `invflags` of `struct ipt_ah`. */ invert?: Flags<'spi' | 'length'>;
  };
  dccp: {
    /** `spts` of `struct xt_dccp_info`. */ sourcePorts?: Range;

    /** `dpts` of `struct xt_dccp_info`. */ destinationPorts?: Range;

    /** `typemask` of `struct xt_dccp_info`. */ types?: number;

    /** `option` of `struct xt_dccp_info`. */ option?: number;

    /** `flags` of `struct xt_dccp_info`. */ flags?: Flags<DccpField>;

    /** `invflags` of `struct xt_dccp_info`. */ invert?: Flags<DccpField>;
  };
  dscp: {
    /** `dscp` of `struct xt_dscp_info`. */ dscp?: number;
    /** `invert` of `struct xt_dscp_info`. */ invert?: boolean;
  };
  dst: Ipv6OptionsInfo;
  ecn: {
    /** `operation` of `struct xt_ecn_info`. */ operation?: Flags<'ip' | 'ece' | 'cwr'>;

    /** `invert` of `struct xt_ecn_info`. */ invert?: Flags<'ip' | 'ece' | 'cwr'>;

    /** `ip_ect` of `struct xt_ecn_info`. */ ipEct?: number;

    /** `proto.tcp.ect` of `struct xt_ecn_info`. */ tcpEct?: number;
  };
  esp: {
    /** `spis` of `struct xt_esp`. */ spis?: Range;
    /** `invflags` of `struct xt_esp`. */ invert?: Flags<'spi'>;
  };
  eui64: Record<string, never>;
  frag: {
    /** `ids` of `struct ip6t_frag`. */ ids?: Range;

    /** `hdrlen` of `struct ip6t_frag`. */ length?: number;

    /** `flags` of `struct ip6t_frag`. */ flags?: Flags<'ids' | 'length' | 'reserved' | 'first' | 'more' | 'last'>;

    /** `invflags` of `struct ip6t_frag`. */ invert?: Flags<'ids' | 'length'>;
  };
  hbh: Ipv6OptionsInfo;
  hl: {
    /** `mode` of `struct ip6t_hl_info`. */ mode?: Hops;
    /** `hop_limit` of `struct ip6t_hl_info`. */ hopLimit?: number;
  };
  icmp: IcmpInfo;
  icmp6: IcmpInfo;
  ipcomp: {
    /** `spis` of `struct xt_ipcomp`. */ spis?: Range;
    /** `hdrres` of `struct xt_ipcomp`. */ reserved?: number;
    /** `invflags` of `struct xt_ipcomp`. */ invert?: Flags<'spi'>;
  };
  ipv6header: {
    /** `matchflags` of `struct ip6t_ipv6header_info`. */ headers?: Flags<Ipv6Header>;
    /** `invflags` of `struct ip6t_ipv6header_info`. */ invert?: Flags<Ipv6Header>;
    /** `modeflag` of `struct ip6t_ipv6header_info`. */ mode?: Flags<'soft'>;
  };
  length: {
    /** `min` of `struct xt_length_info`. */ min?: number;
    /** `max` of `struct xt_length_info`. */ max?: number;
    /** `invert` of `struct xt_length_info`. */ invert?: boolean;
  };
  mh: {
    /** `types` of `struct ip6t_mh`. */ types?: Range;
    /** `invflags` of `struct ip6t_mh`. */ invert?: Flags<'type'>;
  };
  rt: {
    /** `rt_type` of `struct ip6t_rt`. */ type?: number;

    /** `segsleft` of `struct ip6t_rt`. */ segmentsLeft?: Range;

    /** `hdrlen` of `struct ip6t_rt`. */ length?: number;

    /** `flags` of `struct ip6t_rt`. */ flags?: Flags<
      'type' | 'segments' | 'length' | 'reserved' | 'addresses' | 'not-strict'
    >;

    /** `invflags` of `struct ip6t_rt`. */ invert?: Flags<'type' | 'segments' | 'length'>;

    /** `addrs` of `struct ip6t_rt`. */ addresses?: string[];
  };
  sctp: {
    /** `spts` of `struct xt_sctp_info`. */ sourcePorts?: Range;

    /** `dpts` of `struct xt_sctp_info`. */ destinationPorts?: Range;
    /** A bit for each chunk, as hex. */
    chunks?: string;

    /** `chunk_match_type` of `struct xt_sctp_info`. */ chunkMatchType?: Named<'none' | 'any' | 'all' | 'only'>;

    /** `flag_info` of `struct xt_sctp_info`. */ flagInfo?: string;

    /** `flag_count` of `struct xt_sctp_info`. */ flagCount?: number;

    /** `flags` of `struct xt_sctp_info`. */ flags?: Flags<SctpField>;

    /** `invflags` of `struct xt_sctp_info`. */ invert?: Flags<SctpField>;
  };
  srh: {
    /** `next_hdr` of `struct ip6t_srh1`. */ nextHeader?: number;

    /** `hdr_len` of `struct ip6t_srh1`. */ length?: number;

    /** `segs_left` of `struct ip6t_srh1`. */ segmentsLeft?: number;

    /** `last_entry` of `struct ip6t_srh1`. */ lastEntry?: number;

    /** `tag` of `struct ip6t_srh1`. */ tag?: number;

    /** `psid_addr` of `struct ip6t_srh1`. */ previousSegment?: string;

    /** `nsid_addr` of `struct ip6t_srh1`. */ nextSegment?: string;

    /** `lsid_addr` of `struct ip6t_srh1`. */ lastSegment?: string;

    /** `psid_msk` of `struct ip6t_srh1`. */ previousSegmentMask?: string;

    /** `nsid_msk` of `struct ip6t_srh1`. */ nextSegmentMask?: string;

    /** `lsid_msk` of `struct ip6t_srh1`. */ lastSegmentMask?: string;

    /** `mt_flags` of `struct ip6t_srh1`. */ match?: Flags<SrhField>;

    /** `mt_invflags` of `struct ip6t_srh1`. */ invert?: Flags<SrhField>;
  };
  /** The pattern is hex. */
  string: {
    /** `algo` of `struct xt_string_info`. */ algorithm: string;
    /** `pattern` of `struct xt_string_info`. */ pattern: string;
    /** `from_offset` of `struct xt_string_info`. */ from?: number;
    /** `to_offset` of `struct xt_string_info`. */ to?: number;
    /** `u.v1.flags` of `struct xt_string_info`. */ flags?: Flags<'invert' | 'ignore-case'>;
  };
  tcpmss: {
    /** `mss_min` of `struct xt_tcpmss_match_info`. */ mssMin?: number;
    /** `mss_max` of `struct xt_tcpmss_match_info`. */ mssMax?: number;
    /** `invert` of `struct xt_tcpmss_match_info`. */ invert?: Flags<'mss'>;
  };
  tos: {
    /** `tos_value` of `struct xt_tos_match_info`. */ value?: number;
    /** `tos_mask` of `struct xt_tos_match_info`. */ mask?: number;
    /** `invert` of `struct xt_tos_match_info`. */ invert?: boolean;
  };
  ttl: {
    /** `mode` of `struct ipt_ttl_info`. */ mode?: Hops;
    /** `ttl` of `struct ipt_ttl_info`. */ ttl?: number;
  };
  u32: {
    /** What is read of the packet, and between which numbers it must lie. */ tests: U32Test[];
    /** Matches what does not pass the tests. */ invert?: boolean;
  };
}
