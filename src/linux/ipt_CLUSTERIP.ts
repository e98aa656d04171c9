/* include/uapi/linux/netfilter_ipv4/ipt_CLUSTERIP.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const CLUSTERIP_FLAG_NEW = 1;
export const CLUSTERIP_MAX_NODES = 16;
export const CLUSTERIP_HASHMODE_SIP = 0;
export const CLUSTERIP_HASHMODE_SIP_SPT = 1;
export const CLUSTERIP_HASHMODE_SIP_SPT_DPT = 2;
