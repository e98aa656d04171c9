/* include/uapi/linux/netfilter/nf_synproxy.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const NF_SYNPROXY_OPT_MSS = 0x1;
export const NF_SYNPROXY_OPT_WSCALE = 0x2;
export const NF_SYNPROXY_OPT_SACK_PERM = 0x4;
export const NF_SYNPROXY_OPT_TIMESTAMP = 0x8;
export const NF_SYNPROXY_OPT_ECN = 0x10;
