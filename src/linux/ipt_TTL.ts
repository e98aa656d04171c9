/* include/uapi/linux/netfilter_ipv4/ipt_TTL.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const IPT_TTL_SET = 0;
export const IPT_TTL_INC = 1;
export const IPT_TTL_DEC = 2;
