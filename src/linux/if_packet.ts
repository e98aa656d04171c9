/* include/uapi/linux/if_packet.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const PACKET_HOST = 0;
export const PACKET_BROADCAST = 1;
export const PACKET_MULTICAST = 2;
export const PACKET_OTHERHOST = 3;
