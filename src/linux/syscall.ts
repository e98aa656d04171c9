/* sys/syscall.h of the C library. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const SYS_pidfd_open = 434;
/** Linux 5.9. */
export const SYS_close_range = 436;
