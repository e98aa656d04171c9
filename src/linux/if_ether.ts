/* include/uapi/linux/if_ether.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const ETH_P_IP = 0x800;
export const ETH_P_ARP = 0x806;
export const ETH_P_RARP = 0x8035;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_IPV6 = 0x86dd;
export const ETH_P_8021AD = 0x88a8;
/** Used for an outer tag before 802.1ad. */
export const ETH_P_QINQ1 = 0x9100;

export const ETH_ALEN = 6;
export const ETH_HLEN = 14;
