/* include/uapi/linux/netfilter/nf_conntrack_tuple_common.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const IP_CT_DIR_ORIGINAL = 0;
export const IP_CT_DIR_REPLY = 1;
