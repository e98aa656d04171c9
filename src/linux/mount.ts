/* sys/mount.h of the C library. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const MS_BIND = 0x1000;
export const MS_REC = 0x4000;
export const MS_SHARED = 0x100000;

export const MNT_DETACH = 0x2;
