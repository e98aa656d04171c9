import { NetlinkError, StateError } from '../errors.ts';
import { Descriptor, type Ffi, type Watch } from '../ffi/index.ts';
import { IFNAMSIZ } from '../linux/if.ts';
import { NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_NETFILTER } from '../linux/netlink.ts';
import {
  AF_NETLINK,
  MSG_DONTWAIT,
  MSG_TRUNC,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_RAW,
  SOL_NETLINK,
  SOL_SOCKET,
} from '../linux/socket.ts';
import { SIOCGIFINDEX, SIOCGIFNAME, SIOCGSKNS } from '../linux/sockios.ts';
import type { NamespaceAccess } from '../netns/access.ts';
import { threadSwitcher } from '../netns/namespace-switcher.ts';
import { NetNs } from '../netns/netns.ts';
import { ofThread } from '../thread.ts';
import type { GatheringTransport } from './transport.ts';

/** `struct sockaddr_nl`: u16 family, u16 padding, u32 port, u32 groups. */
const ADDRESS_LENGTH = 12;
/** The kernel refuses a datagram above sk_sndbuf - 32 with EMSGSIZE (net/netlink/af_netlink.c, netlink_sendmsg). */
const SEND_OVERHEAD = 32;
/** An acknowledgement is charged 768 to 896 bytes of receive buffer whatever its payload. */
const REPLY_CHARGE = 1024;
/** `struct ifreq` of a 64-bit kernel: the name, 16 bytes, then the index. */
const IFREQ_LENGTH = 40;
/** SO_SNDBUF and SO_RCVBUF are ints. */
const MAX_BUFFER = 0x3fffffff;

/** Where a socket is opened, and for which protocol. */
export interface NetlinkSocketOptions {
  /** The namespace; home where it is left out. */
  netns?: NetNs;
  /** NETLINK_ROUTE, NETLINK_NETFILTER, NETLINK_GENERIC ... */
  protocol: number;
  /** Another way of calling the C library, for tests. */
  ffi?: Ffi;
}

/**
 * A netlink socket in one namespace, which it belongs to for ever and keeps alive. It is connected to the kernel's port: a message that
 * another process forges and sends to ours is refused by the kernel, at the forger.
 * @example
 * const socket = new NetlinkSocket({ netns, protocol: NETLINK_ROUTE });
 * await socket.close();
 */
export class NetlinkSocket implements GatheringTransport {
  readonly netnsInode: number;
  readonly #ffi: Ffi;
  readonly #access: NamespaceAccess;
  readonly #descriptor: Descriptor;
  #watch: Watch | undefined;
  /** sk_sndbuf and sk_rcvbuf as the kernel reports them, once they have been asked for. */
  #sendBuffer = 0;
  #receiveBuffer = 0;

  constructor(options: NetlinkSocketOptions) {
    const netns = options.netns ?? NetNs.home();
    this.#access = netns.access;
    this.#ffi = options.ffi ?? netns.access.ffi;
    this.netnsInode = netns.inode;
    const fd = openInside(netns, () => this.#ffi.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, options.protocol));
    if (fd < 0) throw refused(fd, 'socket');
    this.#descriptor = new Descriptor(this.#ffi, fd, {
      closeOffThread: options.protocol === NETLINK_NETFILTER,
      what: 'a netlink socket',
      inode: netns.inode,
    });
    try {
      // It gives the socket a port, too (netlink_connect binds what is not bound).
      this.#check(this.#ffi.connect(fd, kernelAddress()), 'connect');
      this.setOption(SOL_NETLINK, NETLINK_EXT_ACK, 1);
      // Without it each refusal echoes the whole request into our receive buffer.
      this.setOption(SOL_NETLINK, NETLINK_CAP_ACK, 1);
    } catch (error) {
      void this.#descriptor.close();
      throw error;
    }
  }

  #check(result: number, syscall: string): number {
    if (result < 0) throw refused(result, syscall);
    return result;
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#descriptor.closed;
  }

  /**
   * Sends one datagram: the number of bytes, or the negative errno.
   * @param bytes the messages, one behind the other
   * @param length how many of the bytes are sent
   * @example
   * socket.send(requests.bytes(0, 1), requests.start(1));
   */
  send(bytes: Uint8Array, length: number): number {
    return this.#ffi.send(this.#descriptor.fd, bytes, length, 0);
  }

  /**
   * As `send`, on another thread: a large send keeps the kernel busy for milliseconds.
   * @param bytes nobody may change them until the promise is settled
   * @param length how many of the bytes are sent
   * @example
   * await socket.sendOffThread(requests.bytes(0, 1), requests.start(1));
   */
  sendOffThread(bytes: Uint8Array, length: number): Promise<number> {
    return this.#descriptor.hold(fd => this.#ffi.sendOffThread(fd, bytes, length, 0));
  }

  /**
   * Sends several pieces as one datagram: the number of bytes, or the negative errno.
   * @param parts one behind the other
   * @example
   * socket.sendParts([requests.bytes(0, 1), requests.bytes(1, 2)]);
   */
  sendParts(parts: readonly Uint8Array[]): number {
    return this.#ffi.sendParts(this.#descriptor.fd, parts);
  }

  /**
   * As `sendParts`, on another thread.
   * @param parts one behind the other; nobody may change them until the promise is settled
   * @example
   * await socket.sendPartsOffThread([requests.bytes(0, 1)]);
   */
  sendPartsOffThread(parts: readonly Uint8Array[]): Promise<number> {
    return this.#descriptor.hold(fd => this.#ffi.sendPartsOffThread(fd, parts));
  }

  /**
   * Receives one datagram without waiting: its length, 0 where there is none, or the negative errno.
   * @param into where the datagram goes
   * @example
   * const length = socket.receive(new Uint8Array(65_536));
   */
  receive(into: Uint8Array): number {
    return this.#ffi.recv(this.#descriptor.fd, into, MSG_DONTWAIT | MSG_TRUNC, null);
  }

  /**
   * As `receive`, on another thread, which waits in the kernel meanwhile.
   * @param into where the datagram goes; nobody may use it until the promise is settled
   * @example
   * const length = await socket.receiveOffThread(new Uint8Array(65_536));
   */
  receiveOffThread(into: Uint8Array): Promise<number> {
    return this.#descriptor.hold(fd => this.#ffi.recvOffThread(fd, into, MSG_DONTWAIT | MSG_TRUNC));
  }

  /**
   * As `receive`, with the sender's port; 0 is the kernel.
   * @param into where the datagram goes
   * @param address 12 bytes, into which the sender's sockaddr_nl goes
   * @example
   * const length = socket.receiveFrom(new Uint8Array(65_536), new Uint8Array(12));
   */
  receiveFrom(into: Uint8Array, address: Uint8Array): number {
    return this.#ffi.recv(this.#descriptor.fd, into, MSG_DONTWAIT | MSG_TRUNC, address);
  }

  /** Our port: what the kernel calls us, for instance in /proc/net/netfilter/nfnetlink_log. */
  get port(): number {
    const address = new Uint8Array(ADDRESS_LENGTH);
    this.#check(this.#ffi.getsockname(this.#descriptor.fd, address), 'getsockname');
    return new Uint32Array(address.buffer)[1]!;
  }

  /**
   * The namespace that this socket belongs to, opened anew (Linux 4.10; the kernel wants CAP_NET_ADMIN over it). Whoever opened the socket
   * may have closed theirs.
   * @example
   * const netns = socket.namespace();
   */
  namespace(): NetNs {
    return namespaceOf(this.#ffi, this.#access, this.#descriptor.fd);
  }

  /**
   * What the device with that index is called in the socket's namespace now; undefined where there is none. Takes no lock that others hold
   * for long.
   * @param index a positive integer
   * @example
   * console.log(socket.deviceName(1));
   */
  deviceName(index: number): string | undefined {
    const request = Buffer.alloc(IFREQ_LENGTH);
    new Int32Array(request.buffer, request.byteOffset + IFNAMSIZ, 1)[0] = index;
    if (this.#ffi.ioctl(this.#descriptor.fd, SIOCGIFNAME, request) < 0) return undefined;
    return request.toString('utf8', 0, request.indexOf(0));
  }

  /**
   * The index of the device with that name in the socket's namespace now; undefined where there is none.
   * @param name at most 15 bytes
   * @example
   * console.log(socket.deviceIndex('eth0'));
   */
  deviceIndex(name: string): number | undefined {
    const { fd } = this.#descriptor;
    // The kernel takes what stands before a colon, as if it named an alias of IPv4.
    if (name === '' || /[\0:]/.test(name) || Buffer.byteLength(name) >= IFNAMSIZ) return undefined;
    const request = Buffer.alloc(IFREQ_LENGTH);
    request.write(name);
    if (this.#ffi.ioctl(fd, SIOCGIFINDEX, request) < 0) return undefined;
    return new Int32Array(request.buffer, request.byteOffset + IFNAMSIZ, 1)[0];
  }

  /**
   * Sets an option that is a 32-bit number.
   * @param level SOL_SOCKET or SOL_NETLINK
   * @param name the option's number
   * @param value the new value
   * @throws NetlinkError the kernel refuses
   * @example
   * socket.setOption(270, 1, 3);
   */
  setOption(level: number, name: number, value: number): void {
    this.#check(this.#setInt(level, name, value), 'setsockopt');
  }

  #setInt(level: number, name: number, value: number): number {
    return this.#ffi.setsockoptInt(this.#descriptor.fd, level, name, value);
  }

  /**
   * An array-valued option such as SO_MEMINFO.
   * @param level SOL_SOCKET or SOL_NETLINK
   * @param name the option's number
   * @param count how many 32-bit values it has at most
   * @example
   * const [allocated] = socket.getOptions(1, 55, 9);
   */
  getOptions(level: number, name: number, count: number): Uint32Array {
    const value = new Uint32Array(count);
    this.#check(this.#ffi.getsockopt(this.#descriptor.fd, level, name, new Uint8Array(value.buffer)), 'getsockopt');
    return value;
  }

  /**
   * Makes the socket's buffers large enough for a send of `bytes` bytes with so many kibibytes of `replies`.
   * @example
   * socket.reserve(65_536, 200);
   */
  reserve(bytes: number, replies: number): number {
    // Also where there is room enough already.
    void this.#descriptor.fd;
    const needed = bytes + SEND_OVERHEAD;
    this.#sendBuffer = this.#grow(this.#sendBuffer, needed, SO_SNDBUF, SO_SNDBUFFORCE);
    this.#receiveBuffer = this.#grow(this.#receiveBuffer, replies * REPLY_CHARGE, SO_RCVBUF, SO_RCVBUFFORCE);
    return this.#sendBuffer - SEND_OVERHEAD;
  }

  /** The size in force. Callers without CAP_NET_ADMIN in the initial user namespace end at twice net.core.wmem_max or rmem_max. */
  #grow(known: number, needed: number, option: number, force: number): number {
    const current = known || this.getOptions(SOL_SOCKET, option, 1)[0]!;
    if (needed <= current) return current;
    // The kernel doubles what it is given.
    const half = Math.min(Math.ceil(needed / 2), MAX_BUFFER);
    if (this.#setInt(SOL_SOCKET, force, half) < 0) this.#setInt(SOL_SOCKET, option, half);
    return this.getOptions(SOL_SOCKET, option, 1)[0]!;
  }

  /**
   * Calls `ready` on the event loop while there is something to read.
   * @param ready must read until there is nothing left, or it is called again
   * @throws StateError ERR_BUSY it is watched already
   * @example
   * const watch = socket.watch(() => socket.receive(new Uint8Array(65_536)));
   * watch.close();
   */
  watch(ready: () => void): Watch {
    const { fd } = this.#descriptor;
    if (this.#watch !== undefined) throw new StateError('ERR_BUSY', 'the socket is watched already');
    // It holds this socket: a watched descriptor must not be collected, and so be closed, before its watch is.
    const watch = this.#ffi.watch(fd, () => {
      if (!this.closed) ready();
    });
    this.#watch = watch;
    return {
      ref: () => watch.ref(),
      unref: () => watch.unref(),
      close: () => {
        // The socket can be watched again after a pause.
        watch.close();
        if (this.#watch === watch) this.#watch = undefined;
      },
    };
  }

  /**
   * Closes the watch and then the socket. Resolves when the kernel has let go.
   * @example
   * await socket.close();
   */
  close(): Promise<void> {
    // uv_poll aborts the process when its descriptor is closed first.
    this.#watch?.close();
    this.#watch = undefined;
    return this.#descriptor.close();
  }
}

const thread = ofThread('netlink.kernel', { address: undefined as Uint8Array | undefined });

/** The kernel's address: port 0, no groups. */
function kernelAddress(): Uint8Array {
  if (thread.address === undefined) {
    thread.address = new Uint8Array(ADDRESS_LENGTH);
    new Uint16Array(thread.address.buffer)[0] = AF_NETLINK;
  }
  return thread.address;
}

/** Opens a socket in a namespace. Only the opening needs to be inside; everything after it can be done from home. */
export function openInside(netns: NetNs, open: () => number): number {
  // One that is closed is refused, even if it was home.
  void netns.descriptor;
  const { access } = netns;
  return access.movesThread && netns.equals(NetNs.home()) ? threadSwitcher().atHome(open) : access.enter(open);
}

/** The namespace that a socket belongs to, opened anew. `access` is any namespace of that kernel. */
export function namespaceOf(backend: Ffi, access: NamespaceAccess, socket: number): NetNs {
  const fd = backend.ioctl(socket, SIOCGSKNS, null);
  if (fd < 0) throw refused(fd, 'ioctl');
  return NetNs.over(access.adopt(fd));
}

export function refused(errno: number, syscall: string): NetlinkError {
  const hints: Record<string, string> = {
    '-24': 'raise `ulimit -n`: each open handle is one descriptor',
    '-93': 'the kernel has no such netlink protocol, and no module of it could be loaded',
  };
  return new NetlinkError({ errno, syscall, hint: hints[errno] });
}
