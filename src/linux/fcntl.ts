/* fcntl.h of the C library. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const O_RDONLY = 0x0;
export const O_NONBLOCK = 0x800;
export const O_CLOEXEC = 0x80000;
