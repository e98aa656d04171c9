import { UnsupportedError } from '../../errors.ts';
import { NETLINK_GENERIC } from '../../linux/netlink.ts';
import { type Exchange, NetlinkSocket, OptionSocket, type Transport } from '../../netlink/index.ts';
import { NetNs } from '../../netns/netns.ts';

/** The way to the kernel. 'auto' is netlink, or the socket options if netlink is not permitted. */
export type Via = 'auto' | 'netlink' | 'sockopt';

/** The options of one socket. The results are 0 or a length, or the negative errno. */
export interface Options {
  set(level: number, name: number, value: Uint8Array): number;
  get(level: number, name: number, value: Uint8Array): number;
}

/** A transport that has socket options besides messages. */
export interface IpvsTransport extends Transport {
  /** Opens the namespace again. Transports in memory do not have one. */
  namespace?(): NetNs;
  readonly via: Via;
  /** Opened when first asked for. */
  options(): Options;
}

/** The sockets of one handle in one namespace: netlink, unless `via` is 'sockopt', and a socket for the options when it is first needed. */
export class IpvsSocket implements IpvsTransport {
  readonly via: Via;
  readonly netnsInode: number;
  readonly #netlink: NetlinkSocket | undefined;
  #options: OptionSocket | undefined;

  constructor(netns: NetNs, via: Via) {
    this.via = via;
    this.netnsInode = netns.inode;
    if (via === 'sockopt') this.#options = new OptionSocket(netns);
    else this.#netlink = new NetlinkSocket({ netns, protocol: NETLINK_GENERIC });
  }

  options(): OptionSocket {
    this.#options ??= this.#openOptions();
    return this.#options;
  }

  #openOptions(): OptionSocket {
    // The caller may have closed the namespace since; the socket keeps it open.
    const netns = this.#socket.namespace();
    try {
      return new OptionSocket(netns);
    } finally {
      netns.close();
    }
  }

  /** The namespace of both sockets, opened again, because the caller may have closed it since. */
  namespace(): NetNs {
    return (this.#netlink ?? this.options()).namespace();
  }

  get #socket(): NetlinkSocket {
    if (this.#netlink === undefined) throw new TypeError('this handle has no netlink socket');
    return this.#netlink;
  }

  send(bytes: Uint8Array, length: number): number {
    return this.#socket.send(bytes, length);
  }
  sendOffThread(bytes: Uint8Array, length: number): Promise<number> {
    return this.#socket.sendOffThread(bytes, length);
  }
  receive(into: Uint8Array): number {
    return this.#socket.receive(into);
  }
  receiveOffThread(into: Uint8Array): Promise<number> {
    return this.#socket.receiveOffThread(into);
  }
  reserve(bytes: number, replies: number): number {
    return this.#socket.reserve(bytes, replies);
  }

  get closed(): boolean {
    return this.#netlink?.closed ?? this.#options?.closed ?? true;
  }

  async close(): Promise<void> {
    await Promise.all([this.#netlink?.close(), this.#options?.close()]);
  }
}

/** The namespace of a handle, for as long as it is open. Home needs no privilege. */
export function namespaceOf({ lifetime, transport }: Exchange): NetNs {
  lifetime.checkOpen();
  const home = NetNs.home();
  if (transport.netnsInode === home.inode) return home;
  const netns = (transport as Partial<IpvsTransport>).namespace?.();
  if (netns === undefined) throw new UnsupportedError('a namespace behind this transport');
  return netns;
}
