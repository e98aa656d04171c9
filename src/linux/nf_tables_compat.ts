/* include/uapi/linux/netfilter/nf_tables_compat.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const NFNL_MSG_COMPAT_GET = 0;
export const NFTA_COMPAT_NAME = 1;
export const NFTA_COMPAT_REV = 2;
export const NFTA_COMPAT_TYPE = 3;
export const NFTA_TARGET_NAME = 1;
export const NFTA_TARGET_REV = 2;
export const NFTA_TARGET_INFO = 3;
export const NFTA_MATCH_NAME = 1;
export const NFTA_MATCH_REV = 2;
export const NFTA_MATCH_INFO = 3;
