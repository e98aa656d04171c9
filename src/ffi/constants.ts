/*
 * Numbers of the C library's interface to the kernel, under their C names: native/abi compares each with the headers.
 * They are the same on every architecture that this package runs on (x64, arm64).
 */
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_CLOEXEC = 0o2000000;
export const SOCK_NONBLOCK = 0o4000;

export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;

export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
/** `struct ucred` of the process at the other end of a unix socket: who has called listen(2), or connect(2). */
export const SO_PEERCRED = 17;
export const SO_MEMINFO = 55;

/** linux/sockios.h: the name of the device with an index. */
export const SIOCGIFNAME = 0x8910;
/** linux/sockios.h: the index of the device with a name. */
export const SIOCGIFINDEX = 0x8933;
/** linux/sockios.h: the network namespace of a socket, as a descriptor. */
export const SIOCGSKNS = 0x894c;

export const POLLIN = 1;

export const O_RDONLY = 0;
export const O_CLOEXEC = 0o2000000;

export const CLONE_NEWNET = 0x40000000;

/** asm-generic/unistd.h; x86-64 has the same number. */
export const SYS_pidfd_open = 434;
/** Linux 5.9. */
export const SYS_close_range = 436;

export const MS_BIND = 0x1000;
export const MS_REC = 0x4000;
export const MS_SHARED = 0x100000;
export const MNT_DETACH = 2;

/** linux/nsfs.h */
export const NS_GET_NSTYPE = 0xb703;
/** linux/nsfs.h: the user namespace that owns a namespace. */
export const NS_GET_USERNS = 0xb701;
/** linux/nsfs.h: the user namespace around a user namespace. */
export const NS_GET_PARENT = 0xb702;
/** linux/nsfs.h: the user who has made a user namespace (Linux 4.11). */
export const NS_GET_OWNER_UID = 0xb704;
