import { StateError } from '../errors.ts';
import { NETLINK_NETFILTER } from '../linux/netlink.ts';
import type { Exchange } from './exchange.ts';
import { GroupReader } from './group.ts';
import { NetlinkSocket } from './socket.ts';

/** It listens until it is closed, or the handle is. */
interface Watcher {
  readonly closed: boolean;
  close(): Promise<void>;
}

/**
 * Opens what listens to multicast groups in the namespace of a handle, in a socket of its own; it is closed with the handle.
 * @throws StateError ERR_CLOSED the handle is closed
 * @param exchange of the handle
 * @param groups the numbers of the groups: NFNLGRP_NFTABLES ...
 * @param receiveBufferBytes the size of the receive buffer
 * @param open makes the watcher of a reader, and calls `closed` when it is closed
 * @param protocol whose groups they are: NETLINK_NETFILTER where left out
 * @example
 * const monitor = openWatcher(exchange, [7], 1024 * 1024, (open, closed) => ({
 *   closed: false,
 *   close: () => open.close().then(closed),
 * }));
 */
export function openWatcher<T extends Watcher>(
  exchange: Exchange,
  groups: readonly number[],
  receiveBufferBytes: number,
  open: (reader: GroupReader, closed: () => void) => T,
  protocol = NETLINK_NETFILTER,
): T {
  const { lifetime, transport } = exchange;
  lifetime.checkOpen();
  if (!(transport instanceof NetlinkSocket)) throw new StateError('ERR_FFI', 'this handle has no socket of the kernel');
  // The caller may have closed the namespace that this handle was opened with.
  const netns = transport.namespace();
  let reader: GroupReader;
  try {
    reader = GroupReader.open(netns, protocol, groups, receiveBufferBytes);
  } finally {
    netns.close();
  }
  let detach = () => {};
  const watcher = open(reader, () => detach());
  // Where the signal is aborted already, it is closed by now.
  if (!watcher.closed) detach = lifetime.attach(watcher);
  return watcher;
}
