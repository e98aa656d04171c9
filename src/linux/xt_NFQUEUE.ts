/* include/uapi/linux/netfilter/xt_NFQUEUE.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const NFQ_FLAG_BYPASS = 0x1;
export const NFQ_FLAG_CPU_FANOUT = 0x2;
