import { checkObject } from '../codec/index.ts';
import { NETLINK_NETFILTER } from '../linux/netlink.ts';
import { Exchange, NetlinkSocket, type RequestInfo } from '../netlink/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';

/** What a handle is opened with. */
export interface NftablesOptions {
  /** The namespace to program; home where left out. */
  netns?: NetNs;
  /** A logger such as pino's; nothing is logged without one. */
  logger?: Logger;
}

/** Opens a socket in the namespace. `hint` says what usually causes an errno. */
export function openSocket(options: NftablesOptions, hint?: RequestInfo['hint']): Exchange {
  checkObject(options, [], ['netns', 'logger']);
  const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_NETFILTER });
  return new Exchange(socket, 'nftables', new Observer(options.logger), hint);
}
