import { flags, named, U8, U16_BE, U16_NE, U32_NE } from '../../codec/index.ts';
import * as EVENT from '../../linux/nf_conntrack_common.ts';
import * as SYN from '../../linux/nf_synproxy.ts';
import { CONNSECMARK_RESTORE, CONNSECMARK_SAVE } from '../../linux/xt_CONNSECMARK.ts';
import * as CT from '../../linux/xt_CT.ts';
import * as MARK from '../../linux/xt_connmark.ts';
import { SECMARK_MODE_SEL } from '../../linux/xt_SECMARK.ts';
import { fixedText, hexBytes, INET_OR_ANY, type Layouts, structure } from './layout.ts';

/* The C structures of xtables' targets that concern connections (include/uapi/linux/netfilter/xt_*.h). */

const events = flags(U32_NE, {
  new: 1 << EVENT.IPCT_NEW,
  related: 1 << EVENT.IPCT_RELATED,
  destroy: 1 << EVENT.IPCT_DESTROY,
  reply: 1 << EVENT.IPCT_REPLY,
  assured: 1 << EVENT.IPCT_ASSURED,
  protoinfo: 1 << EVENT.IPCT_PROTOINFO,
  helper: 1 << EVENT.IPCT_HELPER,
  mark: 1 << EVENT.IPCT_MARK,
  natseqinfo: 1 << EVENT.IPCT_NATSEQADJ,
  secmark: 1 << EVENT.IPCT_SECMARK,
});
const expectationEvents = flags(U32_NE, { new: 1 << EVENT.IPEXP_NEW, destroy: 1 << EVENT.IPEXP_DESTROY });

const ctFlags = flags(U16_NE, {
  notrack: CT.XT_CT_NOTRACK,
  'notrack-alias': CT.XT_CT_NOTRACK_ALIAS,
  original: CT.XT_CT_ZONE_DIR_ORIG,
  reply: CT.XT_CT_ZONE_DIR_REPL,
  mark: CT.XT_CT_ZONE_MARK,
});

const connmarkMode = named(U8, {
  set: MARK.XT_CONNMARK_SET,
  save: MARK.XT_CONNMARK_SAVE,
  restore: MARK.XT_CONNMARK_RESTORE,
});

export const CONNECTION_TARGET_LAYOUTS: Layouts = {
  CONNMARK: {
    1: structure('xt_connmark_tginfo1', {
      ctmark: [4, U32_NE, 0],
      ctmask: [4, U32_NE, 0],
      nfmask: [4, U32_NE, 0],
      mode: [1, connmarkMode, 'set'],
      _padding: [3, hexBytes(3)],
    }),
    2: structure('xt_connmark_tginfo2', {
      ctmark: [4, U32_NE, 0],
      ctmask: [4, U32_NE, 0],
      nfmask: [4, U32_NE, 0],
      shift_dir: [1, named(U8, { left: MARK.D_SHIFT_LEFT, right: MARK.D_SHIFT_RIGHT }), 'left', 'shift'],
      shift_bits: [1, U8, 0],
      mode: [1, connmarkMode, 'set'],
      _padding: [1, U8],
    }),
  },
  CONNSECMARK: {
    0: structure('xt_connsecmark_target_info', {
      mode: [1, named(U8, { save: CONNSECMARK_SAVE, restore: CONNSECMARK_RESTORE })],
    }),
  },
  SECMARK: {
    0: structure('xt_secmark_target_info', {
      mode: [1, U8, SECMARK_MODE_SEL],
      _padding: [3, hexBytes(3)],
      secid: [4, U32_NE, 0],
      secctx: [256, fixedText(256), '', 'context'],
    }),
    1: structure('xt_secmark_target_info_v1', {
      mode: [1, U8, SECMARK_MODE_SEL],
      secctx: [256, fixedText(256), '', 'context'],
      _padding: [3, hexBytes(3)],
      secid: [4, U32_NE, 0],
    }),
  },
  CT: {
    0: structure('xt_ct_target_info', {
      flags: [2, ctFlags, []],
      zone: [2, U16_NE, 0],
      ct_events: [4, events, [], 'events'],
      exp_events: [4, expectationEvents, [], 'expectationEvents'],
      helper: [16, fixedText(16), ''],
      _padding: [4, U32_NE],
      _ct: [8, hexBytes(8)],
    }),
    2: structure('xt_ct_target_info_v1', {
      flags: [2, ctFlags, []],
      zone: [2, U16_NE, 0],
      ct_events: [4, events, [], 'events'],
      exp_events: [4, expectationEvents, [], 'expectationEvents'],
      helper: [16, fixedText(16), ''],
      timeout: [32, fixedText(32), ''],
      _padding: [4, U32_NE],
      _ct: [8, hexBytes(8)],
    }),
  },
  SYNPROXY: {
    0: structure('nf_synproxy_info', {
      options: [
        1,
        flags(U8, {
          mss: SYN.NF_SYNPROXY_OPT_MSS,
          wscale: SYN.NF_SYNPROXY_OPT_WSCALE,
          'sack-perm': SYN.NF_SYNPROXY_OPT_SACK_PERM,
          timestamp: SYN.NF_SYNPROXY_OPT_TIMESTAMP,
          ecn: SYN.NF_SYNPROXY_OPT_ECN,
        }),
        [],
      ],
      wscale: [1, U8, 0],
      mss: [2, U16_NE, 0],
    }),
  },
  TPROXY: {
    1: structure('xt_tproxy_target_info_v1', {
      mark_mask: [4, U32_NE, 0, 'mask'],
      mark_value: [4, U32_NE, 0, 'mark'],
      laddr: [16, INET_OR_ANY, undefined, 'address'],
      lport: [2, U16_BE, 0, 'port'],
      _padding: [2, U16_NE],
    }),
  },
};
