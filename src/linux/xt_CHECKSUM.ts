/* include/uapi/linux/netfilter/xt_CHECKSUM.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_CHECKSUM_OP_FILL = 0x1;
