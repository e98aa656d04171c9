/* include/uapi/linux/netfilter_ipv6/ip6t_HL.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const IP6T_HL_SET = 0;
export const IP6T_HL_INC = 1;
export const IP6T_HL_DEC = 2;
