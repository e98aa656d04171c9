/* include/uapi/linux/if_arp.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const ARPHRD_ETHER = 1;
export const ARPHRD_INFINIBAND = 32;
export const ARPHRD_PPP = 512;
export const ARPHRD_RAWIP = 519;
export const ARPHRD_TUNNEL = 768;
export const ARPHRD_TUNNEL6 = 769;
export const ARPHRD_LOOPBACK = 772;
export const ARPHRD_SIT = 776;
export const ARPHRD_IPGRE = 778;
export const ARPHRD_IEEE80211 = 801;
export const ARPHRD_IP6GRE = 823;
export const ARPHRD_NETLINK = 824;

export const ARPHRD_NONE = 0xfffe;
export const ARPHRD_VOID = 0xffff;
