/* include/uapi/linux/netfilter/xt_CONNSECMARK.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const CONNSECMARK_SAVE = 1;
export const CONNSECMARK_RESTORE = 2;
