/* include/uapi/linux/netfilter/xt_tcpudp.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_TCP_INV_SRCPT = 0x1;
export const XT_TCP_INV_DSTPT = 0x2;
export const XT_TCP_INV_FLAGS = 0x4;
export const XT_TCP_INV_OPTION = 0x8;
export const XT_UDP_INV_SRCPT = 0x1;
export const XT_UDP_INV_DSTPT = 0x2;
