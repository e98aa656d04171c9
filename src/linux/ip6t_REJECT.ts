/* include/uapi/linux/netfilter_ipv6/ip6t_REJECT.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const IP6T_ICMP6_NO_ROUTE = 0;
export const IP6T_ICMP6_ADM_PROHIBITED = 1;
export const IP6T_ICMP6_ADDR_UNREACH = 3;
export const IP6T_ICMP6_PORT_UNREACH = 4;
export const IP6T_TCP_RESET = 6;
export const IP6T_ICMP6_POLICY_FAIL = 7;
export const IP6T_ICMP6_REJECT_ROUTE = 8;
