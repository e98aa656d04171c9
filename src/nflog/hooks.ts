import * as C from './constants.ts';

export const FAMILIES = {
  [C.NFPROTO_IPV4]: 'ip',
  [C.NFPROTO_IPV6]: 'ip6',
  [C.NFPROTO_ARP]: 'arp',
  [C.NFPROTO_BRIDGE]: 'bridge',
  [C.NFPROTO_NETDEV]: 'netdev',
} as const;

export const INET_HOOKS = {
  [C.NF_INET_PRE_ROUTING]: 'prerouting',
  [C.NF_INET_LOCAL_IN]: 'input',
  [C.NF_INET_FORWARD]: 'forward',
  [C.NF_INET_LOCAL_OUT]: 'output',
  [C.NF_INET_POST_ROUTING]: 'postrouting',
  [C.NF_INET_INGRESS]: 'ingress',
} as const;
export const BRIDGE_HOOKS = { ...INET_HOOKS, [C.NF_BR_BROUTING]: 'brouting' } as const;
export const ARP_HOOKS = { [C.NF_ARP_IN]: 'input', [C.NF_ARP_OUT]: 'output', [C.NF_ARP_FORWARD]: 'forward' } as const;
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
