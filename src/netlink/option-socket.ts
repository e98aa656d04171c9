import { Descriptor, type Ffi } from '../ffi/index.ts';
import { AF_INET, SOCK_CLOEXEC, SOCK_DGRAM } from '../linux/socket.ts';
import type { NamespaceAccess } from '../netns/access.ts';
import type { NetNs } from '../netns/netns.ts';
import { namespaceOf, openInside, refused } from './socket.ts';

/**
 * A socket in one namespace of which only the options are used: the older interface of some subsystems (IPVS, iptables). The kernel asks
 * for CAP_NET_ADMIN in the user namespace that owns the network namespace, where most of netlink wants it in the initial one.
 * @example
 * const optionSocket = new OptionSocket(netns);
 * await optionSocket.close();
 */
export class OptionSocket {
  readonly #ffi: Ffi;
  readonly #access: NamespaceAccess;
  readonly #descriptor: Descriptor;

  constructor(netns: NetNs, backend: Ffi = netns.access.ffi) {
    this.#ffi = backend;
    this.#access = netns.access;
    // A UDP socket needs no privilege to open, a raw one does.
    const fd = openInside(netns, () => backend.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (fd < 0) throw refused(fd, 'socket');
    this.#descriptor = new Descriptor(backend, fd, { what: 'a socket', inode: netns.inode });
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#descriptor.closed;
  }

  /**
   * The namespace that this socket belongs to, opened anew (Linux 4.10; the kernel wants CAP_NET_ADMIN over it).
   * @example
   * const netns = optionSocket.namespace();
   */
  namespace(): NetNs {
    return namespaceOf(this.#ffi, this.#access, this.#descriptor.fd);
  }

  /**
   * Sets an option: 0, or the negative errno.
   * @param level IPPROTO_IP ...
   * @param name the option's number
   * @param value the bytes of its structure
   * @example
   * const result = optionSocket.set(0, 64, new Uint8Array(12));
   */
  set(level: number, name: number, value: Uint8Array): number {
    return this.#ffi.setsockopt(this.#descriptor.fd, level, name, value);
  }

  /**
   * Fills `value`, of which the kernel may read the beginning first: the length, or the negative errno.
   * @param level IPPROTO_IP ...
   * @param name the option's number
   * @param value its beginning may be a request, and all of it is room for the answer
   * @example
   * const length = optionSocket.get(0, 64, new Uint8Array(12));
   */
  get(level: number, name: number, value: Uint8Array): number {
    return this.#ffi.getsockopt(this.#descriptor.fd, level, name, value);
  }

  /**
   * Closes the socket. Resolves when the kernel has let go.
   * @example
   * await optionSocket.close();
   */
  close(): Promise<void> {
    return this.#descriptor.close();
  }
}
