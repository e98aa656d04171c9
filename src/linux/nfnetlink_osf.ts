/* include/uapi/linux/netfilter/nfnetlink_osf.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const NF_OSF_TTL_TRUE = 0;
export const NF_OSF_TTL_LESS = 1;
export const NF_OSF_TTL_NOCHECK = 2;
