/* include/uapi/linux/netfilter/xt_TCPMSS.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_TCPMSS_CLAMP_PMTU = 0xffff;
