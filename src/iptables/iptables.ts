import { checkObject, checkOneOf } from '../codec/index.ts';
import { NETLINK_NETFILTER } from '../linux/netlink.ts';
import { Exchange, NetlinkSocket, syncAndAsync } from '../netlink/index.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { IptablesOperations } from './iptables-operations.ts';
import type { IptablesFamily } from './model.ts';

/** What a handle is opened with. */
export interface IptablesOptions {
  /** The namespace whose rules are read and changed. Default: the namespace of this process. */
  netns?: NetNs;
  /** ipv4: the rules of iptables, the default. ipv6: those of ip6tables. */
  family?: IptablesFamily;
  /** Receives a record of each request, as with every handle. */
  logger?: Logger;
}

/**
 * The rules of iptables in one network namespace, as iptables-nft 1.8.9 keeps them in nf_tables: that program reads what this one writes,
 * and the other way round. Nothing is executed.
 *
 * Needs CAP_NET_ADMIN in the user namespace that owns the network namespace; a container's own root has that.
 * @example
 * using ipt = Iptables.open({ netns });
 * await ipt.restore(fs.readFileSync('/etc/iptables/rules.v4', 'utf8'));
 * console.log(await ipt.save({ table: 'nat' }));
 */
export class Iptables extends syncAndAsync(IptablesOperations) {
  /**
   * Opens a socket in the namespace. It sends no request yet.
   * @param options `netns`, `family`, `logger`
   * @throws NetlinkError EPERM this process may not enter the namespace
   * @example
   * using ipt = Iptables.open({ netns, family: 'ipv6' });
   */
  static open(options: IptablesOptions = {}): Iptables {
    checkObject(options, [], ['netns', 'family', 'logger']);
    const { family = 'ipv4', logger } = options;
    checkOneOf(family, ['family'], ['ipv4', 'ipv6']);
    const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_NETFILTER });
    const exchange = new Exchange(socket, 'iptables', new Observer(logger));
    return new Iptables(exchange, new IptablesOperations(exchange, family));
  }
}
