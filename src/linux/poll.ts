/* poll.h of the C library. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const POLLIN = 1;
export const POLLOUT = 4;
