import { flags, struct, U8, U16_BE, U16_NE, U32_NE } from '../../codec/index.ts';
import * as C from '../../linux/xt_conntrack.ts';
import { CT_STATUS } from '../names.ts';
import { INET, type Layouts, layout } from './layout.ts';

/* The structures of the match conntrack (include/uapi/linux/netfilter/xt_conntrack.h). */

/** XT_CONNTRACK_STATE_BIT(), a macro: established, related and new are the bits 1 to 3. */
const CT_STATES = {
  invalid: C.XT_CONNTRACK_STATE_INVALID,
  established: 0x2,
  related: 0x4,
  new: 0x8,
  snat: C.XT_CONNTRACK_STATE_SNAT,
  dnat: C.XT_CONNTRACK_STATE_DNAT,
  untracked: C.XT_CONNTRACK_STATE_UNTRACKED,
} as const;

const conntrackFields = flags(U16_NE, {
  states: C.XT_CONNTRACK_STATE,
  protocol: C.XT_CONNTRACK_PROTO,
  'original-source': C.XT_CONNTRACK_ORIGSRC,
  'original-destination': C.XT_CONNTRACK_ORIGDST,
  'reply-source': C.XT_CONNTRACK_REPLSRC,
  'reply-destination': C.XT_CONNTRACK_REPLDST,
  status: C.XT_CONNTRACK_STATUS,
  expires: C.XT_CONNTRACK_EXPIRES,
  'original-source-port': C.XT_CONNTRACK_ORIGSRC_PORT,
  'original-destination-port': C.XT_CONNTRACK_ORIGDST_PORT,
  'reply-source-port': C.XT_CONNTRACK_REPLSRC_PORT,
  'reply-destination-port': C.XT_CONNTRACK_REPLDST_PORT,
  direction: C.XT_CONNTRACK_DIRECTION,
  'state-alias': C.XT_CONNTRACK_STATE_ALIAS,
});

/** Revisions 1 and 2 have ports in network byte order, and the first has room for the oldest bits of states and status only. */
const conntrack1 = struct('xt_conntrack_mtinfo1', {
  origsrc_addr: [16, INET],
  origsrc_mask: [16, INET],
  origdst_addr: [16, INET],
  origdst_mask: [16, INET],
  replsrc_addr: [16, INET],
  replsrc_mask: [16, INET],
  repldst_addr: [16, INET],
  repldst_mask: [16, INET],
  expires_min: [4, U32_NE],
  expires_max: [4, U32_NE],
  l4proto: [2, U16_NE],
  origsrc_port: [2, U16_BE],
  origdst_port: [2, U16_BE],
  replsrc_port: [2, U16_BE],
  repldst_port: [2, U16_BE],
  match_flags: [2, conntrackFields],
  invert_flags: [2, conntrackFields],
  state_mask: [1, flags(U8, CT_STATES)],
  status_mask: [1, flags(U8, CT_STATUS)],
});
const conntrack2 = struct('xt_conntrack_mtinfo2', {
  origsrc_addr: [16, INET],
  origsrc_mask: [16, INET],
  origdst_addr: [16, INET],
  origdst_mask: [16, INET],
  replsrc_addr: [16, INET],
  replsrc_mask: [16, INET],
  repldst_addr: [16, INET],
  repldst_mask: [16, INET],
  expires_min: [4, U32_NE],
  expires_max: [4, U32_NE],
  l4proto: [2, U16_NE],
  origsrc_port: [2, U16_BE],
  origdst_port: [2, U16_BE],
  replsrc_port: [2, U16_BE],
  repldst_port: [2, U16_BE],
  match_flags: [2, conntrackFields],
  invert_flags: [2, conntrackFields],
  state_mask: [2, flags(U16_NE, CT_STATES)],
  status_mask: [2, flags(U16_NE, CT_STATUS)],
  _padding: [2, U16_NE],
});
const conntrack3 = struct('xt_conntrack_mtinfo3', {
  origsrc_addr: [16, INET],
  origsrc_mask: [16, INET],
  origdst_addr: [16, INET],
  origdst_mask: [16, INET],
  replsrc_addr: [16, INET],
  replsrc_mask: [16, INET],
  repldst_addr: [16, INET],
  repldst_mask: [16, INET],
  expires_min: [4, U32_NE],
  expires_max: [4, U32_NE],
  l4proto: [2, U16_NE],
  origsrc_port: [2, U16_NE],
  origdst_port: [2, U16_NE],
  replsrc_port: [2, U16_NE],
  repldst_port: [2, U16_NE],
  match_flags: [2, conntrackFields],
  invert_flags: [2, conntrackFields],
  state_mask: [2, flags(U16_NE, CT_STATES)],
  status_mask: [2, flags(U16_NE, CT_STATUS)],
  origsrc_port_high: [2, U16_NE],
  origdst_port_high: [2, U16_NE],
  replsrc_port_high: [2, U16_NE],
  repldst_port_high: [2, U16_NE],
  _padding: [2, U16_NE],
});

const NO_PORT = 0;

const conntrackNames = {
  match: ['match_flags', []],
  invert: ['invert_flags', []],
  states: ['state_mask', []],
  status: ['status_mask', []],
  protocol: ['l4proto', 0],
  originalSource: ['origsrc_addr', null],
  originalSourceMask: ['origsrc_mask', null],
  originalDestination: ['origdst_addr', null],
  originalDestinationMask: ['origdst_mask', null],
  replySource: ['replsrc_addr', null],
  replySourceMask: ['replsrc_mask', null],
  replyDestination: ['repldst_addr', null],
  replyDestinationMask: ['repldst_mask', null],
  originalSourcePort: ['origsrc_port', NO_PORT],
  originalDestinationPort: ['origdst_port', NO_PORT],
  replySourcePort: ['replsrc_port', NO_PORT],
  replyDestinationPort: ['repldst_port', NO_PORT],
  expiresFromSeconds: ['expires_min', 0],
  expiresToSeconds: ['expires_max', 0],
} as const;

export const CONNTRACK_LAYOUTS: Layouts = {
  conntrack: {
    1: layout(conntrack1, conntrackNames),
    2: layout(conntrack2, conntrackNames),
    3: layout(conntrack3, {
      ...conntrackNames,
      originalSourceLastPort: ['origsrc_port_high', NO_PORT],
      originalDestinationLastPort: ['origdst_port_high', NO_PORT],
      replySourceLastPort: ['replsrc_port_high', NO_PORT],
      replyDestinationLastPort: ['repldst_port_high', NO_PORT],
    }),
  },
};
