/* include/uapi/linux/netfilter/xt_multiport.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_MULTIPORT_SOURCE = 0;
export const XT_MULTIPORT_DESTINATION = 1;
export const XT_MULTIPORT_EITHER = 2;
export const XT_MULTI_PORTS = 15;
