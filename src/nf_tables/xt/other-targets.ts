import { flags, named, U8, U16_NE, U32_NE } from '../../codec/index.ts';
import * as R6 from '../../linux/ip6t_REJECT.ts';
import * as CLUSTER from '../../linux/ipt_CLUSTERIP.ts';
import * as R4 from '../../linux/ipt_REJECT.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6 } from '../../linux/netfilter.ts';
import { XT_AUDIT_TYPE_ACCEPT, XT_AUDIT_TYPE_DROP, XT_AUDIT_TYPE_REJECT } from '../../linux/xt_AUDIT.ts';
import { XT_IDLETIMER_ALARM } from '../../linux/xt_IDLETIMER.ts';
import { NFQ_FLAG_BYPASS, NFQ_FLAG_CPU_FANOUT } from '../../linux/xt_NFQUEUE.ts';
import { fixedText, hexBytes, INET_OR_ANY, type Layout, type Layouts, listOf, structure, truth } from './layout.ts';

/* The C structures of xtables' targets that end a packet's way, or tell somebody of it (include/uapi/linux/netfilter/xt_*.h and ipt_*.h). */

const NO_SET = 0xffff;

export const OTHER_TARGET_LAYOUTS: Layouts = {
  AUDIT: {
    0: structure('xt_audit_info', {
      type: [
        1,
        named(U8, { accept: XT_AUDIT_TYPE_ACCEPT, drop: XT_AUDIT_TYPE_DROP, reject: XT_AUDIT_TYPE_REJECT }),
        'accept',
      ],
    }),
  },
  NFQUEUE: {
    0: structure('xt_NFQ_info', { queuenum: [2, U16_NE, 0, 'queue'] }),
    1: structure('xt_NFQ_info_v1', { queuenum: [2, U16_NE, 0, 'queue'], queues_total: [2, U16_NE, 1, 'queues'] }),
    2: structure('xt_NFQ_info_v2', {
      queuenum: [2, U16_NE, 0, 'queue'],
      queues_total: [2, U16_NE, 1, 'queues'],
      bypass: [2, flags(U16_NE, { bypass: NFQ_FLAG_BYPASS }), [], 'flags'],
    }),
    3: structure('xt_NFQ_info_v3', {
      queuenum: [2, U16_NE, 0, 'queue'],
      queues_total: [2, U16_NE, 1, 'queues'],
      flags: [2, flags(U16_NE, { bypass: NFQ_FLAG_BYPASS, 'cpu-fanout': NFQ_FLAG_CPU_FANOUT }), []],
    }),
  },
  TEE: {
    1: structure('xt_tee_tginfo', {
      gw: [16, INET_OR_ANY, undefined, 'gateway'],
      oif: [16, fixedText(16), '', 'device'],
      _priv: [8, hexBytes(8)],
    }),
  },
  SET: {
    3: structure('xt_set_info_target_v3', {
      'add_set.index': [2, U16_NE, NO_SET, 'add'],
      'add_set.dim': [1, U8, 0, 'addDimensions'],
      'add_set.flags': [1, U8, 0, 'addFlags'],
      'del_set.index': [2, U16_NE, NO_SET, 'delete'],
      'del_set.dim': [1, U8, 0, 'deleteDimensions'],
      'del_set.flags': [1, U8, 0, 'deleteFlags'],
      'map_set.index': [2, U16_NE, NO_SET, 'map'],
      'map_set.dim': [1, U8, 0, 'mapDimensions'],
      'map_set.flags': [1, U8, 0, 'mapFlags'],
      flags: [4, U32_NE, 0],
      timeout: [4, U32_NE, 0xffffffff],
    }),
  },
  IDLETIMER: {
    0: structure('idletimer_tg_info', {
      timeout: [4, U32_NE, 0],
      label: [28, fixedText(28), ''],
      _timer: [8, hexBytes(8)],
    }),
    1: structure('idletimer_tg_info_v1', {
      timeout: [4, U32_NE, 0],
      label: [28, fixedText(28), ''],
      send_nl_msg: [1, U8, 0, 'notify'],
      timer_type: [1, flags(U8, { alarm: XT_IDLETIMER_ALARM }), [], 'flags'],
      _padding: [6, hexBytes(6)],
      _timer: [8, hexBytes(8)],
    }),
  },
  LED: {
    0: structure('xt_led_info', {
      id: [27, fixedText(27), ''],
      always_blink: [1, truth(U8), false],
      delay: [4, U32_NE, 0],
      _internal_data: [8, hexBytes(8)],
    }),
  },
  RATEEST: {
    0: structure('xt_rateest_target_info', {
      name: [16, fixedText(16), ''],
      interval: [1, U8, 0],
      ewma_log: [1, U8, 0],
      _padding: [6, hexBytes(6)],
      _est: [8, hexBytes(8)],
    }),
  },
  CLUSTERIP: {
    0: structure('ipt_clusterip_tgt_info', {
      flags: [4, flags(U32_NE, { new: CLUSTER.CLUSTERIP_FLAG_NEW }), []],
      clustermac: [6, hexBytes(6), '000000000000', 'mac'],
      num_total_nodes: [2, U16_NE, 0, 'totalNodes'],
      num_local_nodes: [2, U16_NE, 0, 'localNodes'],
      local_nodes: [32, listOf(CLUSTER.CLUSTERIP_MAX_NODES, 2, U16_NE), undefined, 'nodes'],
      _padding: [2, U16_NE],
      hash_mode: [
        4,
        named(U32_NE, {
          sourceip: CLUSTER.CLUSTERIP_HASHMODE_SIP,
          'sourceip-sourceport': CLUSTER.CLUSTERIP_HASHMODE_SIP_SPT,
          'sourceip-sourceport-destport': CLUSTER.CLUSTERIP_HASHMODE_SIP_SPT_DPT,
        }),
        'sourceip',
      ],
      hash_initval: [4, U32_NE, 0, 'hashInitial'],
      _config: [8, hexBytes(8)],
    }),
  },
};

/** What REJECT answers with; the numbers of each family are its own. */
export const REJECT_LAYOUTS: Readonly<Record<number, Layout>> = {
  [NFPROTO_IPV4]: structure('ipt_reject_info', {
    with: [
      4,
      named(U32_NE, {
        'icmp-net-unreachable': R4.IPT_ICMP_NET_UNREACHABLE,
        'icmp-host-unreachable': R4.IPT_ICMP_HOST_UNREACHABLE,
        'icmp-proto-unreachable': R4.IPT_ICMP_PROT_UNREACHABLE,
        'icmp-port-unreachable': R4.IPT_ICMP_PORT_UNREACHABLE,
        'icmp-net-prohibited': R4.IPT_ICMP_NET_PROHIBITED,
        'icmp-host-prohibited': R4.IPT_ICMP_HOST_PROHIBITED,
        'tcp-reset': R4.IPT_TCP_RESET,
        'icmp-admin-prohibited': R4.IPT_ICMP_ADMIN_PROHIBITED,
      }),
    ],
  }),
  [NFPROTO_IPV6]: structure('ip6t_reject_info', {
    with: [
      4,
      named(U32_NE, {
        'icmp6-no-route': R6.IP6T_ICMP6_NO_ROUTE,
        'icmp6-adm-prohibited': R6.IP6T_ICMP6_ADM_PROHIBITED,
        'icmp6-addr-unreachable': R6.IP6T_ICMP6_ADDR_UNREACH,
        'icmp6-port-unreachable': R6.IP6T_ICMP6_PORT_UNREACH,
        'tcp-reset': R6.IP6T_TCP_RESET,
        'icmp6-policy-fail': R6.IP6T_ICMP6_POLICY_FAIL,
        'icmp6-reject-route': R6.IP6T_ICMP6_REJECT_ROUTE,
      }),
    ],
  }),
};
