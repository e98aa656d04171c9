import type { Ffi, Watch } from '../../ffi/index.ts';
import { IFNAMSIZ } from '../../linux/if.ts';
import { NETLINK_ADD_MEMBERSHIP } from '../../linux/netlink.ts';
import { NS_GET_NSTYPE } from '../../linux/nsfs.ts';
import { CLONE_NEWNET } from '../../linux/sched.ts';
import {
  AF_INET,
  AF_NETLINK,
  SO_MEMINFO,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOL_NETLINK,
  SOL_SOCKET,
} from '../../linux/socket.ts';
import { SIOCGIFINDEX, SIOCGIFNAME, SIOCGSKNS } from '../../linux/sockios.ts';
import { EAFNOSUPPORT, EBADF, EINVAL, EMSGSIZE, ENODEV, ENOPROTOOPT, EOPNOTSUPP } from '../refusal.ts';
import type { Machine } from './machine.ts';
import { nextDescriptor } from './numbers.ts';
import type { MemorySocket } from './socket.ts';

/** The kernel refuses a datagram above sk_sndbuf - 32. */
const SEND_OVERHEAD = 32;

/** What a number stands for. */
type Opened =
  | { readonly kind: 'netlink'; readonly socket: MemorySocket }
  | { readonly kind: 'inet'; readonly namespace: number }
  | { readonly kind: 'namespace'; readonly inode: number };

/** The C library of a kernel in memory: the calls by which the handles of this library reach a kernel, without one. */
export class MemoryCalls implements Ffi {
  readonly name = 'memory';
  readonly #machine: Machine;
  readonly #opened = new Map<number, Opened>();
  /** The namespace that the caller has entered. */
  #inside: number | undefined;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Runs a function with this thread in a namespace. */
  enter<T>(inode: number, inside: () => T): T {
    const outside = this.#inside;
    this.#inside = inode;
    try {
      return inside();
    } finally {
      this.#inside = outside;
    }
  }

  #open(opened: Opened): number {
    const fd = nextDescriptor();
    this.#opened.set(fd, opened);
    return fd;
  }
  #netlink(fd: number): MemorySocket | undefined {
    const opened = this.#opened.get(fd);
    return opened?.kind === 'netlink' ? opened.socket : undefined;
  }
  #namespaceOf(fd: number): number | undefined {
    const opened = this.#opened.get(fd);
    if (opened === undefined) return undefined;
    return opened.kind === 'netlink'
      ? opened.socket.namespace
      : opened.kind === 'inet'
        ? opened.namespace
        : opened.inode;
  }

  openNamespace(inode: number): number {
    return this.#open({ kind: 'namespace', inode });
  }

  /** The inode of a descriptor of a namespace. */
  namespaceAt(fd: number): number | undefined {
    const opened = this.#opened.get(fd);
    return opened?.kind === 'namespace' ? opened.inode : undefined;
  }

  socket(domain: number, _type: number, protocol: number): number {
    const namespace = this.#inside;
    if (namespace === undefined) return EAFNOSUPPORT;
    const failed = this.#machine.faultOf('socket', namespace);
    if (failed !== 0) return failed;
    if (domain === AF_INET) return this.#open({ kind: 'inet', namespace });
    if (domain !== AF_NETLINK) return EAFNOSUPPORT;
    const socket = this.#machine.openSocket(protocol, namespace);
    return typeof socket === 'number' ? socket : this.#open({ kind: 'netlink', socket });
  }
  streamSocket(): number {
    return EAFNOSUPPORT;
  }
  bind(fd: number): number {
    return this.#opened.has(fd) ? 0 : EBADF;
  }
  connect(fd: number): number {
    return this.#opened.has(fd) ? 0 : EBADF;
  }
  getsockname(fd: number, address: Uint8Array): number {
    const socket = this.#netlink(fd);
    if (socket === undefined) return EBADF;
    const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
    view.setUint16(0, AF_NETLINK, true);
    view.setUint32(4, socket.port, true);
    view.setUint32(8, 0, true);
    return 12;
  }

  send(fd: number, bytes: Uint8Array, length: number): number {
    const socket = this.#netlink(fd);
    if (socket === undefined) return EBADF;
    const failed = this.#machine.faultOf('sendto', socket.namespace);
    if (failed !== 0) return failed;
    if (length > socket.sendBuffer - SEND_OVERHEAD) return EMSGSIZE;
    // The kernel has a copy of its own; of a Buffer, slice() would share the bytes.
    this.#machine.request(socket, new Uint8Array(bytes.subarray(0, length)));
    return length;
  }
  sendParts(fd: number, parts: readonly Uint8Array[]): number {
    const whole = Buffer.concat(parts);
    return this.send(fd, whole, whole.length);
  }
  recv(fd: number, into: Uint8Array, _flags: number, address: Uint8Array | null): number {
    const socket = this.#netlink(fd);
    if (socket === undefined) return EBADF;
    const failed = this.#machine.faultOf('recvmsg', socket.namespace);
    if (failed !== 0) return failed;
    // The kernel's own port is 0.
    address?.fill(0);
    return socket.receive(into);
  }

  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
    const opened = this.#opened.get(fd);
    if (opened === undefined) return EBADF;
    if (opened.kind === 'inet') return this.#machine.setOption(opened.namespace, level, name, value);
    return ENOPROTOOPT;
  }
  setsockoptInt(fd: number, level: number, name: number, value: number): number {
    const socket = this.#netlink(fd);
    if (socket === undefined) return EBADF;
    if (level === SOL_SOCKET) {
      if (name === SO_RCVBUF || name === SO_RCVBUFFORCE) socket.resize('receiveBuffer', value);
      else if (name === SO_SNDBUF || name === SO_SNDBUFFORCE) socket.resize('sendBuffer', value);
      else return ENOPROTOOPT;
      return 0;
    }
    if (level !== SOL_NETLINK) return ENOPROTOOPT;
    if (name === NETLINK_ADD_MEMBERSHIP) socket.groups.add(value);
    else socket.options.set(name, value);
    return 0;
  }
  getsockopt(fd: number, level: number, name: number, value: Uint8Array): number {
    const opened = this.#opened.get(fd);
    if (opened === undefined) return EBADF;
    if (opened.kind === 'inet') return this.#machine.getOption(opened.namespace, level, name, value);
    if (opened.kind !== 'netlink' || level !== SOL_SOCKET) return ENOPROTOOPT;
    const { socket } = opened;
    const words = new Uint32Array(value.buffer, value.byteOffset, value.byteLength >> 2);
    if (name === SO_RCVBUF) words[0] = socket.receiveBuffer;
    else if (name === SO_SNDBUF) words[0] = socket.sendBuffer;
    else if (name === SO_MEMINFO) {
      // SK_MEMINFO_RMEM_ALLOC, _RCVBUF ... _DROPS (linux/sock_diag.h).
      words.fill(0);
      words[0] = socket.charged;
      words[1] = socket.receiveBuffer;
      words[8] = socket.drops;
      return Math.min(value.length, 36);
    } else return ENOPROTOOPT;
    return 4;
  }

  open(): number {
    return EOPNOTSUPP;
  }
  close(fd: number): number {
    const opened = this.#opened.get(fd);
    if (opened === undefined) return EBADF;
    this.#opened.delete(fd);
    if (opened.kind === 'netlink') this.#machine.closeSocket(opened.socket);
    return 0;
  }
  ioctl(fd: number, request: number, argument: Uint8Array | null): number {
    const inode = this.#namespaceOf(fd);
    if (inode === undefined) return EBADF;
    if (request === SIOCGSKNS) return this.openNamespace(inode);
    if (request === NS_GET_NSTYPE) return this.namespaceAt(fd) === undefined ? EINVAL : CLONE_NEWNET;
    if (argument === null) return EINVAL;
    const { links } = this.#machine.namespace(inode);
    const view = new DataView(argument.buffer, argument.byteOffset, argument.byteLength);
    if (request === SIOCGIFNAME) {
      const link = links.find(({ index }) => index === view.getInt32(IFNAMSIZ, true));
      if (link === undefined) return ENODEV;
      argument.fill(0, 0, IFNAMSIZ);
      argument.set(Buffer.from(link.name));
      return 0;
    }
    if (request === SIOCGIFINDEX) {
      const end = argument.indexOf(0);
      const name = Buffer.from(argument.subarray(0, Math.min(end, IFNAMSIZ))).toString();
      const link = links.find(each => each.name === name);
      if (link === undefined) return ENODEV;
      view.setInt32(IFNAMSIZ, link.index, true);
      return 0;
    }
    return EINVAL;
  }
  ioctlInt(): number {
    return EINVAL;
  }
  setns(): number {
    return EINVAL;
  }
  unshare(): number {
    return EINVAL;
  }
  pidfdOpen(): number {
    return EINVAL;
  }
  readable(fd: number): number {
    const socket = this.#netlink(fd);
    return socket === undefined ? EBADF : Number(socket.readable);
  }
  mount(): number {
    return EOPNOTSUPP;
  }
  umount(): number {
    return EOPNOTSUPP;
  }

  /* There are no other threads here: what runs off the thread runs in a later turn of the event loop. */
  sendOffThread(fd: number, bytes: Uint8Array, length: number): Promise<number> {
    return later(() => this.send(fd, bytes, length));
  }
  sendPartsOffThread(fd: number, parts: readonly Uint8Array[]): Promise<number> {
    return later(() => this.sendParts(fd, parts));
  }
  recvOffThread(fd: number, into: Uint8Array, flags: number): Promise<number> {
    return later(() => this.recv(fd, into, flags, null));
  }
  closeOffThread(fd: number): Promise<number> {
    return later(() => this.close(fd));
  }

  watch(fd: number, ready: () => void): Watch {
    const socket = this.#netlink(fd);
    let anchor: NodeJS.Timeout | undefined = setInterval(() => {}, 0x7fffffff);
    socket?.watch(ready);
    return {
      // A watch keeps the process alive, as a poll of a descriptor does.
      ref: () => void anchor?.ref(),
      unref: () => void anchor?.unref(),
      close: () => {
        clearInterval(anchor);
        anchor = undefined;
        socket?.watch(undefined);
      },
    };
  }
}

const later = (call: () => number): Promise<number> =>
  new Promise(resolve => {
    setImmediate(() => resolve(call()));
  });
