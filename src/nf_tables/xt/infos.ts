import type { HeaderMatchInfos } from './header-infos.ts';
import type { Address, Flags, Named } from './info-values.ts';
import type { OtherMatchInfos } from './match-infos.ts';

/*
 * The structures of xtables as objects: a row for each of the layouts beside this file. What is left out is zero, or what iptables has there.
 */

type HmarkFlag =
  | `${'source' | 'destination' | 'spi' | 'protocol'}-mask`
  | `${'source' | 'destination'}-port${'' | '-mask'}`
  | 'spi'
  | 'random'
  | 'modulus'
  | 'offset'
  | 'ct'
  | 'layer-3'
  | 'layer-3-4';
type ConnectionEvent =
  | 'new'
  | 'related'
  | 'destroy'
  | 'reply'
  | 'assured'
  | 'protoinfo'
  | 'helper'
  | 'mark'
  | 'natseqinfo'
  | 'secmark';
type RejectWith =
  | `icmp-${'net' | 'host' | 'proto' | 'port'}-unreachable`
  | `icmp-${'net' | 'host' | 'admin'}-prohibited`
  | 'tcp-reset'
  | 'icmp6-no-route'
  | 'icmp6-adm-prohibited'
  | `icmp6-${'addr' | 'port'}-unreachable`
  | 'icmp6-policy-fail'
  | 'icmp6-reject-route';

interface PrefixesInfo {
  /** `src_pfx` of `struct ip6t_npt_tginfo`. */ source?: string;

  /** `dst_pfx` of `struct ip6t_npt_tginfo`. */ destination?: string;

  /** `src_pfx_len` of `struct ip6t_npt_tginfo`. */ sourceLength?: number;

  /** `dst_pfx_len` of `struct ip6t_npt_tginfo`. */ destinationLength?: number;

  /** `adjustment` of `struct ip6t_npt_tginfo`. */ adjustment?: number;
}

/** Matches by their names. */
export interface MoreMatchInfos extends HeaderMatchInfos, OtherMatchInfos {}

/** Targets by their names. */
export interface MoreTargetInfos {
  AUDIT: {
    /** `type` of `struct xt_audit_info`. */ type?: Named<'accept' | 'drop' | 'reject'>;
  };
  CHECKSUM: {
    /** `operation` of `struct xt_CHECKSUM_info`. */ operations?: Flags<'fill'>;
  };
  CLASSIFY: {
    /** `priority` of `struct xt_classify_target_info`. */ priority?: number;
  };
  CLUSTERIP: {
    /** `flags` of `struct ipt_clusterip_tgt_info`. */ flags?: Flags<'new'>;

    /** `clustermac` of `struct ipt_clusterip_tgt_info`. */ mac?: string;

    /** `num_total_nodes` of `struct ipt_clusterip_tgt_info`. */ totalNodes?: number;

    /** `num_local_nodes` of `struct ipt_clusterip_tgt_info`. */ localNodes?: number;

    /** `local_nodes` of `struct ipt_clusterip_tgt_info`. */ nodes: number[];

    /** `hash_mode` of `struct ipt_clusterip_tgt_info`. */ hashMode?: Named<
      'sourceip' | 'sourceip-sourceport' | 'sourceip-sourceport-destport'
    >;

    /** `hash_initval` of `struct ipt_clusterip_tgt_info`. */ hashInitial?: number;
  };
  CONNMARK: {
    /** `ctmark` of `struct xt_connmark_tginfo1`. */ ctmark?: number;

    /** `ctmask` of `struct xt_connmark_tginfo1`. */ ctmask?: number;

    /** `nfmask` of `struct xt_connmark_tginfo1`. */ nfmask?: number;

    /** `mode` of `struct xt_connmark_tginfo1`. */ mode?: Named<'set' | 'save' | 'restore'>;

    /** `shift_dir` of `struct xt_connmark_tginfo2`. */ shift?: Named<'left' | 'right'>;

    /** `shift_bits` of `struct xt_connmark_tginfo2`. */ shiftBits?: number;
  };
  CONNSECMARK: {
    /** `mode` of `struct xt_connsecmark_target_info`. */ mode: Named<'save' | 'restore'>;
  };
  CT: {
    /** `flags` of `struct xt_ct_target_info`. */ flags?: Flags<
      'notrack' | 'notrack-alias' | 'original' | 'reply' | 'mark'
    >;

    /** `zone` of `struct xt_ct_target_info`. */ zone?: number;

    /** `ct_events` of `struct xt_ct_target_info`. */ events?: Flags<ConnectionEvent>;

    /** `exp_events` of `struct xt_ct_target_info`. */ expectationEvents?: Flags<'new' | 'destroy'>;

    /** `helper` of `struct xt_ct_target_info`. */ helper?: string;

    /** `timeout` of `struct xt_ct_target_info_v1`. */ timeout?: string;
  };
  DNPT: PrefixesInfo;
  DSCP: {
    /** `dscp` of `struct xt_DSCP_info`. */ dscp?: number;
  };
  ECN: {
    /** `operation` of `struct ipt_ECN_info`. */ operations?: Flags<'ip' | 'ece' | 'cwr'>;
    /** `ip_ect` of `struct ipt_ECN_info`. */ ect?: number;
    /** `proto` of `struct ipt_ECN_info`. */ bits?: Flags<'ece' | 'cwr'>;
  };
  HL: {
    /** `mode` of `struct ip6t_HL_info`. */ mode?: Named<'set' | 'increment' | 'decrement'>;
    /** `hop_limit` of `struct ip6t_HL_info`. */ value?: number;
  };
  HMARK: {
    /** `src_mask` of `struct xt_hmark_info`. */ sourceMask?: Address;

    /** `dst_mask` of `struct xt_hmark_info`. */ destinationMask?: Address;

    /** `port_mask` of `struct xt_hmark_info`. */ portMask?: number;

    /** `port_set` of `struct xt_hmark_info`. */ ports?: number;

    /** `flags` of `struct xt_hmark_info`. */ flags?: Flags<HmarkFlag>;

    /** `proto_mask` of `struct xt_hmark_info`. */ protocolMask?: number;

    /** `hashrnd` of `struct xt_hmark_info`. */ seed?: number;

    /** `hmodulus` of `struct xt_hmark_info`. */ modulus?: number;

    /** `hoffset` of `struct xt_hmark_info`. */ offset?: number;
  };
  IDLETIMER: {
    /** `timeout` of `struct idletimer_tg_info`. */ timeout?: number;
    /** `label` of `struct idletimer_tg_info`. */ label?: string;
    /** `send_nl_msg` of `struct idletimer_tg_info_v1`. */ notify?: number;
    /** `timer_type` of `struct idletimer_tg_info_v1`. */ flags?: Flags<'alarm'>;
  };
  LED: {
    /** `id` of `struct xt_led_info`. */ id?: string;
    /** `always_blink` of `struct xt_led_info`. */ alwaysBlink?: boolean;
    /** `delay` of `struct xt_led_info`. */ delay?: number;
  };
  NFQUEUE: {
    /** `queuenum` of `struct xt_NFQ_info`. */ queue?: number;
    /** `queues_total` of `struct xt_NFQ_info_v1`. */ queues?: number;
    /** `bypass` of `struct xt_NFQ_info_v2`. */ flags?: Flags<'bypass' | 'cpu-fanout'>;
  };
  RATEEST: {
    /** `name` of `struct xt_rateest_target_info`. */ name?: string;
    /** `interval` of `struct xt_rateest_target_info`. */ interval?: number;
    /** `ewma_log` of `struct xt_rateest_target_info`. */ ewmaLog?: number;
  };
  REJECT: {
    /** `with` of `struct ipt_reject_info`. */ with: Named<RejectWith>;
  };
  SECMARK: {
    /** `mode` of `struct xt_secmark_target_info`. */ mode?: number;
    /** `secid` of `struct xt_secmark_target_info`. */ secid?: number;
    /** `secctx` of `struct xt_secmark_target_info`. */ context?: string;
  };
  SET: {
    /** `add_set.index` of `struct xt_set_info_target_v3`. */ add?: number;

    /** `add_set.dim` of `struct xt_set_info_target_v3`. */ addDimensions?: number;

    /** `add_set.flags` of `struct xt_set_info_target_v3`. */ addFlags?: number;

    /** `del_set.index` of `struct xt_set_info_target_v3`. */ delete?: number;

    /** `del_set.dim` of `struct xt_set_info_target_v3`. */ deleteDimensions?: number;

    /** `del_set.flags` of `struct xt_set_info_target_v3`. */ deleteFlags?: number;

    /** `map_set.index` of `struct xt_set_info_target_v3`. */ map?: number;

    /** `map_set.dim` of `struct xt_set_info_target_v3`. */ mapDimensions?: number;

    /** `map_set.flags` of `struct xt_set_info_target_v3`. */ mapFlags?: number;

    /** `flags` of `struct xt_set_info_target_v3`. */ flags?: number;

    /** `timeout` of `struct xt_set_info_target_v3`. */ timeout?: number;
  };
  SNPT: PrefixesInfo;
  SYNPROXY: {
    /** `options` of `struct nf_synproxy_info`. */ options?: Flags<
      'mss' | 'wscale' | 'sack-perm' | 'timestamp' | 'ecn'
    >;

    /** `wscale` of `struct nf_synproxy_info`. */ wscale?: number;

    /** `mss` of `struct nf_synproxy_info`. */ mss?: number;
  };
  TCPMSS: {
    /** `mss` of `struct xt_tcpmss_info`. */ mss?: number;
  };
  /** Bit n of word w is the option 32 * w + n. */
  TCPOPTSTRIP: {
    /** `strip_bmap` of `struct xt_tcpoptstrip_target_info`. */ words: number[];
  };
  TEE: {
    /** `gw` of `struct xt_tee_tginfo`. */ gateway: string;
    /** `oif` of `struct xt_tee_tginfo`. */ device?: string;
  };
  TOS: {
    /** `tos_value` of `struct xt_tos_target_info`. */ value?: number;
    /** `tos_mask` of `struct xt_tos_target_info`. */ mask?: number;
  };
  TPROXY: {
    /** `laddr` of `struct xt_tproxy_target_info_v1`. */ address: string;
    /** `lport` of `struct xt_tproxy_target_info_v1`. */ port?: number;
    /** `mark_value` of `struct xt_tproxy_target_info_v1`. */ mark?: number;
    /** `mark_mask` of `struct xt_tproxy_target_info_v1`. */ mask?: number;
  };
  TTL: {
    /** `mode` of `struct ipt_TTL_info`. */ mode?: Named<'set' | 'increment' | 'decrement'>;
    /** `ttl` of `struct ipt_TTL_info`. */ value?: number;
  };
}
