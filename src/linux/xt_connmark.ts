/* include/uapi/linux/netfilter/xt_connmark.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_CONNMARK_SET = 0;
export const XT_CONNMARK_SAVE = 1;
export const XT_CONNMARK_RESTORE = 2;
export const D_SHIFT_LEFT = 0;
export const D_SHIFT_RIGHT = 1;
