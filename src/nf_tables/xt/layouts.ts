import { flags, named, struct, U8, U16_BE, U16_NE, U32_NE } from '../../codec/index.ts';
import { rangeError, typeError } from '../../errors.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6 } from '../../linux/netfilter.ts';
import {
  XT_ADDRTYPE_ANYCAST,
  XT_ADDRTYPE_BLACKHOLE,
  XT_ADDRTYPE_BROADCAST,
  XT_ADDRTYPE_INVERT_DEST,
  XT_ADDRTYPE_INVERT_SOURCE,
  XT_ADDRTYPE_LIMIT_IFACE_IN,
  XT_ADDRTYPE_LIMIT_IFACE_OUT,
  XT_ADDRTYPE_LOCAL,
  XT_ADDRTYPE_MULTICAST,
  XT_ADDRTYPE_NAT,
  XT_ADDRTYPE_PROHIBIT,
  XT_ADDRTYPE_THROW,
  XT_ADDRTYPE_UNICAST,
  XT_ADDRTYPE_UNREACHABLE,
  XT_ADDRTYPE_UNSPEC,
  XT_ADDRTYPE_XRESOLVE,
} from '../../linux/xt_addrtype.ts';
import * as C from '../../linux/xt_conntrack.ts';
import {
  XT_MULTI_PORTS,
  XT_MULTIPORT_DESTINATION,
  XT_MULTIPORT_EITHER,
  XT_MULTIPORT_SOURCE,
} from '../../linux/xt_multiport.ts';
import { XT_NFLOG_F_COPY_LEN } from '../../linux/xt_NFLOG.ts';
import { XT_TCP_INV_DSTPT, XT_TCP_INV_FLAGS, XT_TCP_INV_OPTION, XT_TCP_INV_SRCPT } from '../../linux/xt_tcpudp.ts';
import { CT_STATUS, LOG_FLAGS, LOG_LEVELS, NAT_FLAGS } from '../names.ts';
import { arrayOf, fixedText, INET, type Info, IPV4, type Layout, layout, PORTS, truth } from './layout.ts';

/*
 * The C structures of the commonest matches and targets of xtables (include/uapi/linux/netfilter/xt_*.h). They have no attributes: their
 * members lie one behind the other, in the host's byte order but for addresses.
 */

const TRUTH = truth(U8);
const TRUTH32 = truth(U32_NE);
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

const TCP_FLAGS = { fin: 0x1, syn: 0x2, rst: 0x4, psh: 0x8, ack: 0x10, urg: 0x20, ecn: 0x40, cwr: 0x80 } as const;
const PORT_INVERSIONS = { 'source-ports': XT_TCP_INV_SRCPT, 'destination-ports': XT_TCP_INV_DSTPT } as const;

const tcp = struct('xt_tcp', {
  spts: [4, PORTS],
  dpts: [4, PORTS],
  option: [1, U8],
  flg_mask: [1, flags(U8, TCP_FLAGS)],
  flg_cmp: [1, flags(U8, TCP_FLAGS)],
  invflags: [1, flags(U8, { ...PORT_INVERSIONS, flags: XT_TCP_INV_FLAGS, option: XT_TCP_INV_OPTION })],
});

const udp = struct('xt_udp', {
  spts: [4, PORTS],
  dpts: [4, PORTS],
  invflags: [1, flags(U8, PORT_INVERSIONS)],
  _padding: [1, U8],
});

const comment = struct('xt_comment_info', { comment: [256, fixedText(256)] });

const ADDRESS_TYPES = {
  unspecified: XT_ADDRTYPE_UNSPEC,
  unicast: XT_ADDRTYPE_UNICAST,
  local: XT_ADDRTYPE_LOCAL,
  broadcast: XT_ADDRTYPE_BROADCAST,
  anycast: XT_ADDRTYPE_ANYCAST,
  multicast: XT_ADDRTYPE_MULTICAST,
  blackhole: XT_ADDRTYPE_BLACKHOLE,
  unreachable: XT_ADDRTYPE_UNREACHABLE,
  prohibit: XT_ADDRTYPE_PROHIBIT,
  throw: XT_ADDRTYPE_THROW,
  nat: XT_ADDRTYPE_NAT,
  xresolve: XT_ADDRTYPE_XRESOLVE,
} as const;
const addressTypes = flags(U16_NE, ADDRESS_TYPES);

const addrtype = struct('xt_addrtype_info', {
  source: [2, addressTypes],
  dest: [2, addressTypes],
  invert_source: [4, TRUTH32],
  invert_dest: [4, TRUTH32],
});
const addrtype1 = struct('xt_addrtype_info_v1', {
  source: [2, addressTypes],
  dest: [2, addressTypes],
  flags: [
    4,
    flags(U32_NE, {
      'invert-source': XT_ADDRTYPE_INVERT_SOURCE,
      'invert-destination': XT_ADDRTYPE_INVERT_DEST,
      'limit-in-interface': XT_ADDRTYPE_LIMIT_IFACE_IN,
      'limit-out-interface': XT_ADDRTYPE_LIMIT_IFACE_OUT,
    }),
  ],
});

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

const MULTIPORT_SIDE = named(U8, {
  source: XT_MULTIPORT_SOURCE,
  destination: XT_MULTIPORT_DESTINATION,
  either: XT_MULTIPORT_EITHER,
});
const PORT_ARRAY = arrayOf(XT_MULTI_PORTS, 2, U16_NE);
const FLAG_ARRAY = arrayOf(XT_MULTI_PORTS, 1, U8);
const multiport = struct('xt_multiport_v1', {
  flags: [1, MULTIPORT_SIDE],
  count: [1, U8],
  ports: [30, PORT_ARRAY],
  pflags: [15, FLAG_ARRAY],
  invert: [1, TRUTH],
});

/** The ports are fifteen in all; a flag on one says that a range begins there. */
function portsToFields({ ports, ...rest }: Info): Info {
  if (!Array.isArray(ports)) throw typeError(['ports'], 'an array of ports and [first, last]', ports);
  const list: number[] = [];
  const begins: number[] = [];
  for (const [i, entry] of ports.entries()) {
    const range = Array.isArray(entry) ? entry : [entry];
    if (range.length < 1 || range.length > 2) throw typeError(['ports', i], 'a port or [first, last]', entry);
    list.push(...range);
    begins.push(...(range.length === 2 ? [1, 0] : [0]));
  }
  if (list.length > XT_MULTI_PORTS)
    throw rangeError(['ports'], `at most ${XT_MULTI_PORTS} ports, where a range counts twice`, ports);
  return { ...rest, count: list.length, ports: list, begins };
}

function portsFromFields({ count, ports, begins, ...rest }: Info): Info {
  const entries: unknown[] = [];
  const list = ports as number[];
  for (let i = 0; i < (count as number); i++) {
    entries.push((begins as number[])[i] === 1 ? [list[i], list[++i]] : list[i]);
  }
  return { ...rest, ports: entries };
}

const ANY_PORT = [0, 0xffff];
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
const nat2Layout = layout(range2, { ...natFields, basePort: ['base_proto', NO_PORT] });

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

type Layouts = Readonly<Record<string, Readonly<Record<number, Layout>>>>;

const MATCH_LAYOUTS: Layouts = {
  tcp: {
    0: layout(tcp, {
      sourcePorts: ['spts', ANY_PORT],
      destinationPorts: ['dpts', ANY_PORT],
      option: ['option', 0],
      flagsMask: ['flg_mask', []],
      flags: ['flg_cmp', []],
      invert: ['invflags', []],
    }),
  },
  udp: {
    0: layout(udp, {
      sourcePorts: ['spts', ANY_PORT],
      destinationPorts: ['dpts', ANY_PORT],
      invert: ['invflags', []],
    }),
  },
  comment: { 0: layout(comment, { comment: ['comment', undefined] }) },
  multiport: {
    1: layout(
      multiport,
      {
        side: ['flags', undefined],
        count: ['count', undefined],
        ports: ['ports', undefined],
        begins: ['pflags', undefined],
        invert: ['invert', false],
      },
      { keys: ['side', 'ports', 'invert'], toFields: portsToFields, fromFields: portsFromFields },
    ),
  },
  addrtype: {
    0: layout(addrtype, {
      source: ['source', []],
      destination: ['dest', []],
      invertSource: ['invert_source', false],
      invertDestination: ['invert_dest', false],
    }),
    1: layout(addrtype1, { source: ['source', []], destination: ['dest', []], flags: ['flags', []] }),
  },
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
  SNAT: { 1: natLayout },
  DNAT: { 1: natLayout, 2: nat2Layout },
  MARK: { 2: layout(mark, { mark: ['mark', 0], mask: ['mask', 0] }) },
  LOG: { 0: logLayout },
  NFLOG: { 0: nflogLayout },
};

/** Revision 0 of the targets that translate addresses is another structure in each family. */
const FIRST_NAT_TARGETS: Readonly<Record<number, Layout>> = {
  [NFPROTO_IPV4]: ipv4NatLayout,
  [NFPROTO_IPV6]: natLayout,
};

export function matchLayout(name: string, revision: number): Layout | undefined {
  return Object.hasOwn(MATCH_LAYOUTS, name) ? MATCH_LAYOUTS[name]![revision] : undefined;
}

export function targetLayout(name: string, revision: number, family: number): Layout | undefined {
  if (revision === 0 && ['REDIRECT', 'MASQUERADE', 'SNAT', 'DNAT'].includes(name)) return FIRST_NAT_TARGETS[family];
  return Object.hasOwn(TARGET_LAYOUTS, name) ? TARGET_LAYOUTS[name]![revision] : undefined;
}
