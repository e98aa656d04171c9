/* include/uapi/linux/netfilter/xt_addrtype.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
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
