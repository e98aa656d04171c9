/* include/uapi/linux/netfilter/ipset/ip_set.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const SO_IP_SET = 83;
export const IP_SET_OP_VERSION = 256;
export const IP_SET_OP_GET_FNAME = 8;
export const IP_SET_OP_GET_BYINDEX = 7;
export const IPSET_INVALID_ID = 65535;
export const IPSET_MAXNAMELEN = 32;
export const IPSET_DIM_MAX = 6;

export const IPSET_FLAG_EXIST = 1;
export const IPSET_FLAG_RETURN_NOMATCH = 128;
export const IPSET_FLAG_SKIP_COUNTER_UPDATE = 8;
export const IPSET_FLAG_SKIP_SUBCOUNTER_UPDATE = 16;
export const IPSET_FLAG_MATCH_COUNTERS = 32;
export const IPSET_FLAG_MAP_SKBMARK = 256;
export const IPSET_FLAG_MAP_SKBPRIO = 512;
export const IPSET_FLAG_MAP_SKBQUEUE = 1024;

export const IPSET_COUNTER_EQ = 1;
export const IPSET_COUNTER_NE = 2;
export const IPSET_COUNTER_LT = 3;
export const IPSET_COUNTER_GT = 4;
