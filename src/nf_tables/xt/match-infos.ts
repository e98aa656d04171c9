import type { Address, Flags, Named } from './info-values.ts';

/*
 * The structures of xtables as objects: a row for each of the layouts beside this file. What is left out is zero, or what iptables has there.
 */

type HashlimitMode =
  | 'destination-address'
  | 'destination-port'
  | 'source-address'
  | 'source-port'
  | 'invert'
  | 'bytes'
  | 'rate-match';
type IpvsField = 'ipvs' | 'protocol' | 'address' | 'port' | 'direction' | 'method' | 'control-port';
type PolicyField = 'source' | 'destination' | 'protocol' | 'mode' | 'spi' | 'reqid';
type OwnerField = 'uid' | 'gid' | 'socket' | 'supplementary-groups';
type BridgeField = 'in' | 'out' | 'bridged' | 'is-in' | 'is-out';

/** The structures of matches on all else: connections, devices, times, owners, states of the kernel. */
export interface OtherMatchInfos {
  bpf: {
    /** `mode` of `struct xt_bpf_info_v1`. */ mode?: Named<'bytecode' | 'pinned' | 'elf'>;
    /** `fd` of `struct xt_bpf_info_v1`. */ fd?: number;
    /** `bpf_program` of `struct xt_bpf_info_v1`. */ program?: string;
  };
  cgroup: {
    /** `path` of `struct xt_cgroup_info_v2`. */ path?: string;
    /** `classid` of `struct xt_cgroup_info_v2`. */ classid?: number;
    /** `invert_path` of `struct xt_cgroup_info_v2`. */ invertPath?: boolean;
    /** `invert_classid` of `struct xt_cgroup_info_v2`. */ invertClassid?: boolean;
  };
  cluster: {
    /** `total_nodes` of `struct xt_cluster_match_info`. */ totalNodes?: number;
    /** `node_mask` of `struct xt_cluster_match_info`. */ nodeMask?: number;
    /** `hash_seed` of `struct xt_cluster_match_info`. */ hashSeed?: number;
    /** `flags` of `struct xt_cluster_match_info`. */ flags?: Flags<'invert'>;
  };
  connbytes: {
    /** `count.from` of `struct xt_connbytes_info`. */ from?: bigint;

    /** `count.to` of `struct xt_connbytes_info`. */ to?: bigint;

    /** `what` of `struct xt_connbytes_info`. */ mode?: Named<'packets' | 'bytes' | 'avgpkt'>;

    /** `direction` of `struct xt_connbytes_info`. */ direction?: Named<'original' | 'reply' | 'both'>;
  };
  connlabel: {
    /** `bit` of `struct xt_connlabel_mtinfo`. */ bit?: number;
    /** `options` of `struct xt_connlabel_mtinfo`. */ options?: Flags<'invert' | 'set'>;
  };
  connlimit: {
    /** `mask` of `struct xt_connlimit_info`. */ mask?: Address;
    /** `limit` of `struct xt_connlimit_info`. */ limit?: number;
    /** `flags` of `struct xt_connlimit_info`. */ flags?: Flags<'invert' | 'destination'>;
  };
  connmark: {
    /** `mark` of `struct xt_connmark_mtinfo1`. */ mark?: number;
    /** `mask` of `struct xt_connmark_mtinfo1`. */ mask?: number;
    /** `invert` of `struct xt_connmark_mtinfo1`. */ invert?: boolean;
  };
  cpu: {
    /** `cpu` of `struct xt_cpu_info`. */ cpu?: number;
    /** `invert` of `struct xt_cpu_info`. */ invert?: boolean;
  };
  devgroup: {
    /** `src_group` of `struct xt_devgroup_info`. */ source?: number;

    /** `src_mask` of `struct xt_devgroup_info`. */ sourceMask?: number;

    /** `dst_group` of `struct xt_devgroup_info`. */ destination?: number;

    /** `dst_mask` of `struct xt_devgroup_info`. */ destinationMask?: number;

    /** `flags` of `struct xt_devgroup_info`. */ flags?: Flags<`${'' | 'invert-'}${'source' | 'destination'}`>;
  };
  hashlimit: {
    /** `name` of `struct xt_hashlimit_mtinfo3`. */ name: string;
    /** Millionths of a second between packets, or the time of sixteen bytes. */
    average?: bigint;

    /** `cfg.burst` of `struct xt_hashlimit_mtinfo3`. */ burst?: bigint;

    /** `cfg.mode` of `struct xt_hashlimit_mtinfo3`. */ mode?: Flags<HashlimitMode>;

    /** `cfg.size` of `struct xt_hashlimit_mtinfo3`. */ size?: number;

    /** `cfg.max` of `struct xt_hashlimit_mtinfo3`. */ max?: number;

    /** `cfg.gc_interval` of `struct xt_hashlimit_mtinfo3`. */ gcIntervalMs?: number;

    /** `cfg.expire` of `struct xt_hashlimit_mtinfo3`. */ expireMs?: number;

    /** `cfg.interval` of `struct xt_hashlimit_mtinfo3`. */ interval?: number;
    /** The length of a prefix. */
    sourceMask?: number;

    /** `cfg.dstmask` of `struct xt_hashlimit_mtinfo3`. */ destinationMask?: number;
  };
  helper: {
    /** `name` of `struct xt_helper_info`. */ name?: string;
    /** `invert` of `struct xt_helper_info`. */ invert?: boolean;
  };
  iprange: {
    /** `src_min` of `struct xt_iprange_mtinfo`. */ firstSource?: string;

    /** `src_max` of `struct xt_iprange_mtinfo`. */ lastSource?: string;

    /** `dst_min` of `struct xt_iprange_mtinfo`. */ firstDestination?: string;

    /** `dst_max` of `struct xt_iprange_mtinfo`. */ lastDestination?: string;

    /** `flags` of `struct xt_iprange_mtinfo`. */ flags?: Flags<`${'' | 'invert-'}${'source' | 'destination'}`>;
  };
  ipvs: {
    /** `vaddr` of `struct xt_ipvs_mtinfo`. */ address?: Address;

    /** `vmask` of `struct xt_ipvs_mtinfo`. */ mask?: Address;

    /** `vport` of `struct xt_ipvs_mtinfo`. */ port?: number;

    /** `l4proto` of `struct xt_ipvs_mtinfo`. */ protocol?: number;

    /** `fwd_method` of `struct xt_ipvs_mtinfo`. */ method?: number;

    /** `vportctl` of `struct xt_ipvs_mtinfo`. */ controlPort?: number;

    /** `bitmask` of `struct xt_ipvs_mtinfo`. */ match?: Flags<IpvsField>;

    /** `invert` of `struct xt_ipvs_mtinfo`. */ invert?: Flags<IpvsField>;
  };
  /** The address is hex. */
  mac: {
    /** `srcaddr` of `struct xt_mac_info`. */ address: string;
    /** `invert` of `struct xt_mac_info`. */ invert?: boolean;
  };
  mark: {
    /** `mark` of `struct xt_mark_mtinfo1`. */ mark?: number;
    /** `mask` of `struct xt_mark_mtinfo1`. */ mask?: number;
    /** `invert` of `struct xt_mark_mtinfo1`. */ invert?: boolean;
  };
  nfacct: {
    /** `name` of `struct xt_nfacct_match_info`. */ name: string;
  };
  osf: {
    /** `genre` of `struct nf_osf_info`. */ genre?: string;

    /** `len` of `struct nf_osf_info`. */ length?: number;

    /** `flags` of `struct nf_osf_info`. */ flags?: Flags<'genre' | 'ttl' | 'log' | 'invert'>;

    /** `loglevel` of `struct nf_osf_info`. */ logLevel?: number;

    /** `ttl` of `struct nf_osf_info`. */ ttl?: number;
  };
  owner: {
    /** `uid_min` of `struct xt_owner_match_info`. */ firstUid?: number;

    /** `uid_max` of `struct xt_owner_match_info`. */ lastUid?: number;

    /** `gid_min` of `struct xt_owner_match_info`. */ firstGid?: number;

    /** `gid_max` of `struct xt_owner_match_info`. */ lastGid?: number;

    /** `match` of `struct xt_owner_match_info`. */ match?: Flags<OwnerField>;

    /** `invert` of `struct xt_owner_match_info`. */ invert?: Flags<OwnerField>;
  };
  physdev: {
    /** `physindev` of `struct xt_physdev_info`. */ in?: string;
    /** The bytes of the name that count, as hex. */
    inMask?: string;

    /** `physoutdev` of `struct xt_physdev_info`. */ out?: string;

    /** `out_mask` of `struct xt_physdev_info`. */ outMask?: string;

    /** `bitmask` of `struct xt_physdev_info`. */ match?: Flags<BridgeField>;

    /** `invert` of `struct xt_physdev_info`. */ invert?: Flags<BridgeField>;
  };
  pkttype: {
    /** `pkttype` of `struct xt_pkttype_info`. */ type?: number;
    /** `invert` of `struct xt_pkttype_info`. */ invert?: boolean;
  };
  policy: {
    /** `pol` of `struct xt_policy_info`. */ elements?: {
      /** `saddr` of `struct xt_policy_elem`. */ source?: string;
      /** `smask` of `struct xt_policy_elem`. */ sourceMask?: string;
      /** `daddr` of `struct xt_policy_elem`. */ destination?: string;
      /** `dmask` of `struct xt_policy_elem`. */ destinationMask?: string;
      /** `spi` of `struct xt_policy_elem`. */ spi?: number;
      /** `reqid` of `struct xt_policy_elem`. */ reqid?: number;
      /** `proto` of `struct xt_policy_elem`. */ protocol?: number;
      /** `mode` of `struct xt_policy_elem`. */ mode?: 'transport' | 'tunnel';
      /** `match` of `struct xt_policy_elem`. */ match?: Flags<PolicyField>;
      /** `invert` of `struct xt_policy_elem`. */ invert?: Flags<PolicyField>;
    }[];

    /** `flags` of `struct xt_policy_info`. */ flags?: Flags<'in' | 'out' | 'none' | 'strict'>;

    /** `len` of `struct xt_policy_info`. */ count?: number;
  };
  quota: {
    /** `quota` of `struct xt_quota_info`. */ quota?: bigint;
    /** `flags` of `struct xt_quota_info`. */ flags?: Flags<'invert'>;
  };
  rateest: {
    /** `name1` of `struct xt_rateest_match_info`. */ name1?: string;

    /** `name2` of `struct xt_rateest_match_info`. */ name2?: string;

    /** `flags` of `struct xt_rateest_match_info`. */ flags?: Flags<
      'invert' | 'absolute' | 'relative' | 'delta' | 'bps' | 'pps'
    >;

    /** `mode` of `struct xt_rateest_match_info`. */ mode?: Named<'none' | 'equal' | 'less' | 'greater'>;

    /** `bps1` of `struct xt_rateest_match_info`. */ bps1?: number;

    /** `pps1` of `struct xt_rateest_match_info`. */ pps1?: number;

    /** `bps2` of `struct xt_rateest_match_info`. */ bps2?: number;

    /** `pps2` of `struct xt_rateest_match_info`. */ pps2?: number;
  };
  realm: {
    /** `id` of `struct xt_realm_info`. */ id?: number;
    /** `mask` of `struct xt_realm_info`. */ mask?: number;
    /** `invert` of `struct xt_realm_info`. */ invert?: boolean;
  };
  recent: {
    /** `name` of `struct xt_recent_mtinfo_v1`. */ name?: string;

    /** `seconds` of `struct xt_recent_mtinfo_v1`. */ seconds?: number;

    /** `hit_count` of `struct xt_recent_mtinfo_v1`. */ hitCount?: number;

    /** `check_set` of `struct xt_recent_mtinfo_v1`. */ checkSet?: Flags<
      'check' | 'set' | 'update' | 'remove' | 'ttl' | 'reap'
    >;

    /** `side` of `struct xt_recent_mtinfo_v1`. */ side?: Named<'source' | 'destination'>;

    /** `mask` of `struct xt_recent_mtinfo_v1`. */ mask?: Address;

    /** `invert` of `struct xt_recent_mtinfo_v1`. */ invert?: boolean;
  };
  rpfilter: {
    /** `flags` of `struct xt_rpfilter_info`. */ flags?: Flags<'loose' | 'valid-mark' | 'accept-local' | 'invert'>;
  };
  set: {
    /** `match_set.index` of `struct xt_set_info_match_v4`. */ index: number;

    /** `match_set.dim` of `struct xt_set_info_match_v4`. */ dimensions?: number;

    /** `match_set.flags` of `struct xt_set_info_match_v4`. */ sides?: number;

    /** `packets.value` of `struct xt_set_info_match_v4`. */ packets?: bigint;

    /** `packets.op` of `struct xt_set_info_match_v4`. */ packetsOperation?: number;

    /** `bytes.value` of `struct xt_set_info_match_v4`. */ bytes?: bigint;

    /** `bytes.op` of `struct xt_set_info_match_v4`. */ bytesOperation?: number;

    /** `flags` of `struct xt_set_info_match_v4`. */ flags?: number;
  };
  socket: {
    /** `flags` of `struct xt_socket_mtinfo3`. */ flags?: Flags<'transparent' | 'no-wildcard' | 'restore-mark'>;
  };
  statistic: {
    /** `mode` of `struct xt_statistic_info`. */ mode?: Named<'random' | 'nth'>;

    /** `flags` of `struct xt_statistic_info`. */ flags?: Flags<'invert'>;
    /** Of nth: every so many packets, less one. */
    every?: number;

    /** `u.nth.packet` of `struct xt_statistic_info`. */ packet?: number;
    /** Of random: times 2 to the power of 31. */
    probability?: number;

    /** `u.nth.count` of `struct xt_statistic_info`. */ count?: number;
  };
  time: {
    /** Seconds since 1970. */
    dateStart?: number;

    /** `date_stop` of `struct xt_time_info`: seconds since 1970. */ dateStop?: number;
    /** Seconds since midnight. */
    daytimeStart?: number;

    /** `daytime_stop` of `struct xt_time_info`: a second of the day. */ daytimeStop?: number;
    /** Day n is bit n. */
    monthDays?: number;

    /** `weekdays_match` of `struct xt_time_info`. */ weekDays?: number;

    /** `flags` of `struct xt_time_info`. */ flags?: Flags<'local-time' | 'contiguous'>;
  };
}
