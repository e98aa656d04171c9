import * as C from '../linux/netfilter.ts';
import { NF_ARP_FORWARD, NF_ARP_IN, NF_ARP_OUT } from '../linux/netfilter_arp.ts';
import { NF_BR_BROUTING } from '../linux/netfilter_bridge.ts';

export const FAMILIES: Readonly<Record<number, Family | undefined>> = {
  [C.NFPROTO_IPV4]: 'ip',
  [C.NFPROTO_IPV6]: 'ip6',
  [C.NFPROTO_ARP]: 'arp',
  [C.NFPROTO_BRIDGE]: 'bridge',
  [C.NFPROTO_NETDEV]: 'netdev',
};

export const INET_HOOKS = {
  [C.NF_INET_PRE_ROUTING]: 'prerouting',
  [C.NF_INET_LOCAL_IN]: 'input',
  [C.NF_INET_FORWARD]: 'forward',
  [C.NF_INET_LOCAL_OUT]: 'output',
  [C.NF_INET_POST_ROUTING]: 'postrouting',
  [C.NF_INET_INGRESS]: 'ingress',
} as const;
export const BRIDGE_HOOKS = { ...INET_HOOKS, [NF_BR_BROUTING]: 'brouting' } as const;
export const ARP_HOOKS = { [NF_ARP_IN]: 'input', [NF_ARP_OUT]: 'output', [NF_ARP_FORWARD]: 'forward' } as const;
export const NETDEV_HOOKS = { [C.NF_NETDEV_INGRESS]: 'ingress', [C.NF_NETDEV_EGRESS]: 'egress' } as const;

/** The family of the rule; 'inet' rules show up as 'ip' or 'ip6'. One without a name is its number (NFPROTO_*). */
export type Family = 'ip' | 'ip6' | 'arp' | 'bridge' | 'netdev' | number;
/** The same number means different hooks in different families; one without a name stays a number. */
export type Hook =
  | 'prerouting'
  | 'input'
  | 'forward'
  | 'output'
  | 'postrouting'
  | 'ingress'
  | 'egress'
  | 'brouting'
  | number;

/**
 * Whose socket `uid` and `gid` of a packet are of. 'receiver': the packet has come in, and the kernel has already
 * found the socket that it goes to (of a connection, or by `tproxy`). 'unknown': the hook does not tell.
 */
export type SocketSide = 'sender' | 'receiver' | 'unknown';

const SIDES: Readonly<Record<string, SocketSide>> = {
  prerouting: 'receiver',
  input: 'receiver',
  output: 'sender',
  postrouting: 'sender',
  ingress: 'sender',
  egress: 'sender',
};

/**
 * A packet belongs to its sender's socket until it enters the IP layer, which releases the socket before the
 * prerouting hook. A socket that the packet has after that was looked up for it. A bridge passes packets below the IP
 * layer. (ip_rcv_core, ip_rcv_finish_core, br_pass_frame_up)
 */
export function socketSideOf(family: Family, hook: Hook | undefined): SocketSide {
  if (family === 'bridge') return typeof hook === 'string' ? 'sender' : 'unknown';
  if (family === 'arp') return hook === 'output' ? 'sender' : 'unknown';
  return SIDES[hook ?? ''] ?? 'unknown';
}
