/* include/uapi/linux/netfilter/xt_NFLOG.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_NFLOG_F_COPY_LEN = 0x1;
