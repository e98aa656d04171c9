/* include/uapi/linux/netfilter/xt_AUDIT.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_AUDIT_TYPE_ACCEPT = 0;
export const XT_AUDIT_TYPE_DROP = 1;
export const XT_AUDIT_TYPE_REJECT = 2;
