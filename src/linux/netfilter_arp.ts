/* include/uapi/linux/netfilter_arp.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const NF_ARP_IN = 0;
export const NF_ARP_OUT = 1;
export const NF_ARP_FORWARD = 2;
