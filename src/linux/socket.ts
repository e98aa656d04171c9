/* sys/socket.h of the C library. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;

export const SOCK_CLOEXEC = 0x80000;
export const SOCK_NONBLOCK = 0x800;

export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;

export const SOL_SOCKET = 1;
export const SOL_NETLINK = 270;

export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
/** `struct ucred` of the process that called listen(2) or connect(2) at the other end of a unix socket. */
export const SO_PEERCRED = 17;
export const SO_MEMINFO = 55;
export const SO_ERROR = 4;
export const SO_LINGER = 13;
