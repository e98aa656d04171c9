/* include/uapi/linux/netfilter_bridge.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const NF_BR_BROUTING = 5;
