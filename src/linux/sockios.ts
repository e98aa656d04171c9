/* include/uapi/linux/sockios.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
/** The name of the device with an index. */
export const SIOCGIFNAME = 0x8910;
/** The index of the device with a name. */
export const SIOCGIFINDEX = 0x8933;
/** The network namespace of a socket, as a descriptor. */
export const SIOCGSKNS = 0x894c;
