/* include/uapi/linux/sock_diag.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
/** Index of the number of dropped datagrams in the array that SO_MEMINFO returns. */
export const SK_MEMINFO_DROPS = 8;
/** Length of the array that SO_MEMINFO returns. */
export const SK_MEMINFO_VARS = 9;
