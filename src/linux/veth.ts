/* include/uapi/linux/veth.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const VETH_INFO_PEER = 1;
