/**
 * The calls of the C library that are used, and the only way to native code. Every call returns what C returns,
 * or the negative errno; none throws for what the kernel says. Backends (koffi today) implement exactly this.
 *
 * Buffers are passed without a copy and are the caller's: a synchronous call is done with them when it returns, one that runs
 * off the thread when its promise settles.
 */
export interface Ffi {
  /** The backend's name and version, for diagnostics. */
  readonly name: string;

  /** socket(2). */
  socket(domain: number, type: number, protocol: number): number;
  /** A stream socket that does not block, for a `net.Socket` of Node's, which closes it. */
  streamSocket(domain: number): number;
  /** bind(2). */
  bind(fd: number, address: Uint8Array): number;
  /** connect(2). */
  connect(fd: number, address: Uint8Array): number;
  /** Fills `address`; returns its length. */
  getsockname(fd: number, address: Uint8Array): number;
  /** Sends the first `length` bytes of `bytes` to the peer that the socket is connected to. */
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  /** Sends one datagram whose bytes stand in at most 1,024 places, one behind the other (writev(2), which is send(2) on a connected socket). */
  sendParts(fd: number, parts: readonly Uint8Array[]): number;
  /** Receives one datagram and, where `address` is given, its sender. With MSG_TRUNC the datagram's true length is returned. */
  recv(fd: number, into: Uint8Array, flags: number, address: Uint8Array | null): number;
  /** setsockopt(2). */
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number;
  /** Of an option that is an int. */
  setsockoptInt(fd: number, level: number, name: number, value: number): number;
  /** Fills `value`; returns the option's length. */
  getsockopt(fd: number, level: number, name: number, value: Uint8Array): number;

  /** open(2). */
  open(path: string, flags: number): number;
  /** Ends the watch; of the interface of the C library, close(2). */
  close(fd: number): number;
  /** `argument` is read or filled, as the request wants it. */
  ioctl(fd: number, request: number, argument: Uint8Array | null): number;
  /** Of a request whose argument is a number and no pointer. */
  ioctlInt(fd: number, request: number, argument: number): number;
  /** setns(2), for the calling thread. */
  setns(fd: number, type: number): number;
  /** unshare(2), for the calling thread. */
  unshare(flags: number): number;
  /** pidfd_open(2). */
  pidfdOpen(pid: number): number;
  /** 1 if there is something to read (of a pidfd: its process has ended), 0 if not; does not wait. */
  readable(fd: number): number;
  /** mount(2). */
  mount(source: string, target: string, type: string | null, flags: number): number;
  /** umount2(2). */
  umount(target: string, flags: number): number;

  /** As `send`, on a thread of the pool: for what keeps the kernel busy for milliseconds. */
  sendOffThread(fd: number, bytes: Uint8Array, length: number, flags: number): Promise<number>;
  /** As `sendParts`, on a thread of the pool. */
  sendPartsOffThread(fd: number, parts: readonly Uint8Array[]): Promise<number>;
  /** As `recv` without an address, on a thread of the pool. The caller never lets it wait: MSG_DONTWAIT, or the process cannot exit. */
  recvOffThread(fd: number, into: Uint8Array, flags: number): Promise<number>;
  /** As `close`, on a thread of the pool: closing an nfnetlink socket waits for the kernel's clean-up. */
  closeOffThread(fd: number): Promise<number>;

  /**
   * Calls `ready` on the event loop while the descriptor is readable (or writable, which a socket is that has connected, or has failed to). One
   * watch at a time for a descriptor.
   */
  watch(fd: number, ready: () => void, readiness?: Readiness): Watch;
}

/** What a watch waits for. */
export type Readiness = 'readable' | 'writable';

/** A descriptor watched by the event loop. It must be closed before its descriptor is. */
export interface Watch {
  /** Lets the process end although the watch goes on; `ref` takes that back. */
  ref(): void;
  /** Lets the process end while it watches. */
  unref(): void;
  /** Ends the watch; of the interface of the C library, close(2). */
  close(): void;
}
