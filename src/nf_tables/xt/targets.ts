import { flags, named, struct, U8, U16_BE, U16_NE, U32_NE } from '../../codec/index.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6 } from '../../linux/netfilter.ts';
import { XT_NFLOG_F_COPY_LEN } from '../../linux/xt_NFLOG.ts';
import { LOG_FLAGS, LOG_LEVELS, NAT_FLAGS } from '../names.ts';
import { CONNECTION_TARGET_LAYOUTS } from './connection-targets.ts';
import { fixedText, INET, IPV4, type Layout, type Layouts, layout } from './layout.ts';
import { OTHER_TARGET_LAYOUTS, REJECT_LAYOUTS } from './other-targets.ts';
import { PACKET_TARGET_LAYOUTS } from './packet-targets.ts';

/* The C structures of the commonest targets of xtables (include/uapi/linux/netfilter/xt_*.h). */

const natFlags = flags(U32_NE, NAT_FLAGS);

/** nf_nat.h; MASQUERADE, REDIRECT, SNAT and DNAT of IPv4 in revision 0 wrap it. */
const ipv4Range = struct('nf_nat_ipv4_range', {
  flags: [4, natFlags],
  min_ip: [4, IPV4],
  max_ip: [4, IPV4],
  min: [2, U16_BE],
  max: [2, U16_BE],
});
const ipv4Ranges = struct('nf_nat_ipv4_multi_range_compat', { rangesize: [4, U32_NE], range: [16, ipv4Range] });
const range = struct('nf_nat_range', {
  flags: [4, natFlags],
  min_addr: [16, INET],
  max_addr: [16, INET],
  min_proto: [2, U16_BE],
  max_proto: [2, U16_BE],
});
const range2 = struct('nf_nat_range2', {
  flags: [4, natFlags],
  min_addr: [16, INET],
  max_addr: [16, INET],
  min_proto: [2, U16_BE],
  max_proto: [2, U16_BE],
  base_proto: [2, U16_BE],
  _padding: [2, U16_NE],
});

const mark = struct('xt_mark_tginfo2', { mark: [4, U32_NE], mask: [4, U32_NE] });

const logInfo = struct('xt_log_info', {
  level: [1, named(U8, LOG_LEVELS)],
  logflags: [1, flags(U8, LOG_FLAGS)],
  prefix: [30, fixedText(30)],
});

const nflog = struct('xt_nflog_info', {
  len: [4, U32_NE],
  group: [2, U16_NE],
  threshold: [2, U16_NE],
  flags: [2, flags(U16_NE, { 'copy-length': XT_NFLOG_F_COPY_LEN })],
  _pad: [2, U16_NE],
  prefix: [64, fixedText(64)],
});

const NO_PORT = 0;
const NO_IPV4 = '0.0.0.0';

const ipv4NatLayout = layout(
  ipv4Ranges,
  {
    flags: ['range.flags', []],
    address: ['range.min_ip', NO_IPV4],
    lastAddress: ['range.max_ip', NO_IPV4],
    port: ['range.min', NO_PORT],
    lastPort: ['range.max', NO_PORT],
  },
  { fixed: { rangesize: 1 } },
);
const natFields = {
  flags: ['flags', []],
  address: ['min_addr', null],
  lastAddress: ['max_addr', null],
  port: ['min_proto', NO_PORT],
  lastPort: ['max_proto', NO_PORT],
} as const;
const natLayout = layout(range, natFields);
const NAT_LAYOUTS: Readonly<Record<number, Layout>> = {
  [NFPROTO_IPV4]: ipv4NatLayout,
  [NFPROTO_IPV6]: natLayout,
};
const nat2Layout = layout(range2, { ...natFields, basePort: ['base_proto', NO_PORT] });

const logLayout = layout(logInfo, { level: ['level', 'warn'], flags: ['logflags', []], prefix: ['prefix', ''] });
const nflogLayout = layout(nflog, {
  group: ['group', 0],
  prefix: ['prefix', ''],
  /** Of the packet; used with the flag. */
  copyBytes: ['len', 0],
  threshold: ['threshold', 0],
  flags: ['flags', []],
});

const TARGET_LAYOUTS: Layouts = {
  ...PACKET_TARGET_LAYOUTS,
  ...CONNECTION_TARGET_LAYOUTS,
  ...OTHER_TARGET_LAYOUTS,
  SNAT: { 1: natLayout },
  DNAT: { 1: natLayout, 2: nat2Layout },
  MARK: { 2: layout(mark, { mark: ['mark', 0], mask: ['mask', 0] }) },
  LOG: { 0: logLayout },
  NFLOG: { 0: nflogLayout },
};

/** Revision 0 of these is another structure in each family. */
const BY_FAMILY: Readonly<Record<string, Readonly<Record<number, Layout>>>> = {
  REDIRECT: NAT_LAYOUTS,
  MASQUERADE: NAT_LAYOUTS,
  SNAT: NAT_LAYOUTS,
  DNAT: NAT_LAYOUTS,
  NETMAP: NAT_LAYOUTS,
  REJECT: REJECT_LAYOUTS,
};

export function targetLayout(name: string, revision: number, family: number): Layout | undefined {
  if (revision === 0 && Object.hasOwn(BY_FAMILY, name)) return BY_FAMILY[name]![family];
  return Object.hasOwn(TARGET_LAYOUTS, name) ? TARGET_LAYOUTS[name]![revision] : undefined;
}
