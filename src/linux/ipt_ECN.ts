/* include/uapi/linux/netfilter_ipv4/ipt_ECN.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const IPT_ECN_OP_SET_IP = 0x1;
export const IPT_ECN_OP_SET_ECE = 0x10;
export const IPT_ECN_OP_SET_CWR = 0x20;
