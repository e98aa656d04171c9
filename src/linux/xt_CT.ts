/* include/uapi/linux/netfilter/xt_CT.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_CT_NOTRACK = 0x1;
export const XT_CT_NOTRACK_ALIAS = 0x2;
export const XT_CT_ZONE_DIR_ORIG = 0x4;
export const XT_CT_ZONE_DIR_REPL = 0x8;
export const XT_CT_ZONE_MARK = 0x10;
