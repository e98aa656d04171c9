/* include/uapi/linux/in6.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const IPPROTO_HOPOPTS = 0;
export const IPPROTO_ROUTING = 43;
export const IPPROTO_FRAGMENT = 44;
export const IPPROTO_ICMPV6 = 58;
export const IPPROTO_DSTOPTS = 60;
