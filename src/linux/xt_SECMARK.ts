/* include/uapi/linux/netfilter/xt_SECMARK.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const SECMARK_MODE_SEL = 1;
