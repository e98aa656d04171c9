/* include/uapi/linux/netfilter/xt_*.h: the structures of xtables' matches and targets. */
export const XT_TCP_INV_SRCPT = 0x1;
export const XT_TCP_INV_DSTPT = 0x2;
export const XT_TCP_INV_FLAGS = 0x4;
export const XT_TCP_INV_OPTION = 0x8;
export const XT_UDP_INV_SRCPT = 0x1;
export const XT_UDP_INV_DSTPT = 0x2;

export const XT_MULTIPORT_SOURCE = 0;
export const XT_MULTIPORT_DESTINATION = 1;
export const XT_MULTIPORT_EITHER = 2;
export const XT_MULTI_PORTS = 15;

export const XT_ADDRTYPE_UNSPEC = 0x1;
export const XT_ADDRTYPE_UNICAST = 0x2;
export const XT_ADDRTYPE_LOCAL = 0x4;
export const XT_ADDRTYPE_BROADCAST = 0x8;
export const XT_ADDRTYPE_ANYCAST = 0x10;
export const XT_ADDRTYPE_MULTICAST = 0x20;
export const XT_ADDRTYPE_BLACKHOLE = 0x40;
export const XT_ADDRTYPE_UNREACHABLE = 0x80;
export const XT_ADDRTYPE_PROHIBIT = 0x100;
export const XT_ADDRTYPE_THROW = 0x200;
export const XT_ADDRTYPE_NAT = 0x400;
export const XT_ADDRTYPE_XRESOLVE = 0x800;
export const XT_ADDRTYPE_INVERT_SOURCE = 0x1;
export const XT_ADDRTYPE_INVERT_DEST = 0x2;
export const XT_ADDRTYPE_LIMIT_IFACE_IN = 0x4;
export const XT_ADDRTYPE_LIMIT_IFACE_OUT = 0x8;

export const XT_CONNTRACK_STATE = 0x1;
export const XT_CONNTRACK_PROTO = 0x2;
export const XT_CONNTRACK_ORIGSRC = 0x4;
export const XT_CONNTRACK_ORIGDST = 0x8;
export const XT_CONNTRACK_REPLSRC = 0x10;
export const XT_CONNTRACK_REPLDST = 0x20;
export const XT_CONNTRACK_STATUS = 0x40;
export const XT_CONNTRACK_EXPIRES = 0x80;
export const XT_CONNTRACK_ORIGSRC_PORT = 0x100;
export const XT_CONNTRACK_ORIGDST_PORT = 0x200;
export const XT_CONNTRACK_REPLSRC_PORT = 0x400;
export const XT_CONNTRACK_REPLDST_PORT = 0x800;
export const XT_CONNTRACK_DIRECTION = 0x1000;
export const XT_CONNTRACK_STATE_ALIAS = 0x2000;
export const XT_CONNTRACK_STATE_INVALID = 0x1;
export const XT_CONNTRACK_STATE_SNAT = 0x40;
export const XT_CONNTRACK_STATE_DNAT = 0x80;
export const XT_CONNTRACK_STATE_UNTRACKED = 0x100;

export const XT_NFLOG_F_COPY_LEN = 0x1;
