import { attribute, byteString, nested, opt, s32ne, U8, U16_NE, u16be, u16ne, u32ne } from '../codec/index.ts';
import * as C from '../linux/ip_vs.ts';
import { field, integer, named } from './fields.ts';
import { stats32, stats64 } from './stats.ts';

/*
 * A destination, field by field: IPVS_DEST_ATTR_* (include/uapi/linux/ip_vs.h) with everything that follows from a field. A new field needs its
 * number in constants.ts, its row here, and its declaration in `Destination` or `DestinationEntry` (destination.ts).
 */

export const FORWARD = {
  masquerade: C.IP_VS_CONN_F_MASQ,
  local: C.IP_VS_CONN_F_LOCALNODE,
  tunnel: C.IP_VS_CONN_F_TUNNEL,
  direct: C.IP_VS_CONN_F_DROUTE,
  bypass: C.IP_VS_CONN_F_BYPASS,
} as const;
export const TUNNELS = {
  ipip: C.IP_VS_CONN_F_TUNNEL_TYPE_IPIP,
  gue: C.IP_VS_CONN_F_TUNNEL_TYPE_GUE,
  gre: C.IP_VS_CONN_F_TUNNEL_TYPE_GRE,
} as const;
export const CHECKSUMS = {
  none: C.IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM,
  required: C.IP_VS_TUNNEL_ENCAP_FLAG_CSUM,
  remote: C.IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM,
} as const;

const MAX_WEIGHT = 0x7fffffff;
/** Linux 7.1 and later refuse a threshold from 2^31 on, which older kernels take. */
const threshold = integer([0, 0xffffffff], [0, 0x7fffffff]);
const zero = () => 0;
/** The socket options make a plain IPIP tunnel of every tunnel. */
const NO_TUNNELS = { missing: 'another tunnel than plain IPIP' } as const;

/** In the order in which `formatPlan` prints them. */
export const destinationRows = {
  /** The kernel answers with sixteen bytes always; those after an IPv4 address mean nothing. */
  address: field(attribute(C.IPVS_DEST_ATTR_ADDR, byteString({ min: 4, max: 16 })), { role: 'key', name: 'address' }),
  port: field(u16be(C.IPVS_DEST_ATTR_PORT), { role: 'key', name: 'port' }),
  /** Linux 3.18. Older kernels mean the family of the service. */
  family: field(opt(u16ne(C.IPVS_DEST_ATTR_ADDR_FAMILY)), { role: 'key' }),
  /** IP_VS_CONN_F_*. */
  forward: field(opt(u32ne(C.IPVS_DEST_ATTR_FWD_METHOD)), {
    role: 'setting',
    path: ['forward'],
    type: named(FORWARD, C.IP_VS_CONN_F_FWD_MASK),
    required: true,
    always: true,
    bits: C.IP_VS_CONN_F_FWD_MASK,
    sockopt: 'conn_flags',
    ipvsadm: [
      { option: 'masquerading', letter: 'm', argument: 'none', apart: true },
      { option: 'ipip', letter: 'i', argument: 'none', apart: true },
      { option: 'gatewaying', letter: 'g', argument: 'none', apart: true },
    ],
    label: '',
  }),
  tunnelType: field(opt(attribute(C.IPVS_DEST_ATTR_TUN_TYPE, U8)), {
    role: 'setting',
    path: ['tunnel', 'type'],
    type: named(TUNNELS, 0xff),
    required: true,
    always: true,
    sockopt: NO_TUNNELS,
    ipvsadm: [{ option: 'tun-type', argument: 'required', apart: true }],
    label: 'type',
  }),
  tunnelPort: field(opt(u16be(C.IPVS_DEST_ATTR_TUN_PORT)), {
    role: 'setting',
    path: ['tunnel', 'port'],
    type: integer([0, 65535]),
    byDefault: zero,
    sockopt: NO_TUNNELS,
    ipvsadm: [{ option: 'tun-port', argument: 'required', apart: true }],
    label: 'port',
  }),
  /** In host order, unlike the port. */
  tunnelFlags: field(opt(attribute(C.IPVS_DEST_ATTR_TUN_FLAGS, U16_NE)), {
    role: 'setting',
    path: ['tunnel', 'checksum'],
    type: named(CHECKSUMS, 0xffff),
    byDefault: zero,
    sockopt: NO_TUNNELS,
    ipvsadm: [
      { option: 'tun-nocsum', argument: 'none', apart: true },
      { option: 'tun-csum', argument: 'none', apart: true },
      { option: 'tun-remcsum', argument: 'none', apart: true },
    ],
    label: 'checksum',
  }),
  weight: field(opt(s32ne(C.IPVS_DEST_ATTR_WEIGHT)), {
    role: 'setting',
    path: ['weight'],
    type: integer([0, MAX_WEIGHT]),
    byDefault: () => 1,
    always: true,
    sockopt: 'weight',
    ipvsadm: [{ option: 'weight', letter: 'w', argument: 'required' }],
    label: 'weight',
  }),
  upperThreshold: field(opt(u32ne(C.IPVS_DEST_ATTR_U_THRESH)), {
    role: 'setting',
    path: ['upperThreshold'],
    type: threshold,
    byDefault: zero,
    sockopt: 'u_threshold',
    ipvsadm: [{ option: 'u-threshold', letter: 'x', argument: 'required' }],
    label: 'upper',
  }),
  lowerThreshold: field(opt(u32ne(C.IPVS_DEST_ATTR_L_THRESH)), {
    role: 'setting',
    path: ['lowerThreshold'],
    type: threshold,
    byDefault: zero,
    sockopt: 'l_threshold',
    ipvsadm: [{ option: 'l-threshold', letter: 'y', argument: 'required' }],
    label: 'lower',
  }),
  activeConnections: field(opt(u32ne(C.IPVS_DEST_ATTR_ACTIVE_CONNS)), { role: 'reading', sockopt: 'activeconns' }),
  inactiveConnections: field(opt(u32ne(C.IPVS_DEST_ATTR_INACT_CONNS)), { role: 'reading', sockopt: 'inactconns' }),
  persistentConnections: field(opt(u32ne(C.IPVS_DEST_ATTR_PERSIST_CONNS)), {
    role: 'reading',
    sockopt: 'persistconns',
  }),
  stats: field(opt(nested(C.IPVS_DEST_ATTR_STATS, stats32)), { role: 'counters' }),
  stats64: field(opt(nested(C.IPVS_DEST_ATTR_STATS64, stats64)), { role: 'counters' }),
};
