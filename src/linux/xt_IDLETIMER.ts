/* include/uapi/linux/netfilter/xt_IDLETIMER.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_IDLETIMER_ALARM = 0x1;
