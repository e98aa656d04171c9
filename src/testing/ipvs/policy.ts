import * as Vs from '../../linux/ip_vs.ts';
import { NLA_HDRLEN } from '../../linux/netlink.ts';
import type { Attribute, Attributes } from '../wire/attributes.ts';

/* How long attributes may be (the policies of ip_vs_ctl.c, as nla_parse_deprecated() reads them: longer numbers pass). */

type Rule =
  | { readonly least: number }
  | { readonly most: number }
  /** A text of at most so many characters, with a NUL behind it. */
  | { readonly text: number }
  | { readonly nested: true };
export type Policy = ReadonlyMap<number, Rule>;

const U8 = { least: 1 } as const;
const U16 = { least: 2 } as const;
const U32 = { least: 4 } as const;
const NESTED = { nested: true } as const;
/** union nf_inet_addr */
const ADDRESS = { most: 16 } as const;

export const COMMAND_POLICY: Policy = new Map<number, Rule>([
  [Vs.IPVS_CMD_ATTR_SERVICE, NESTED],
  [Vs.IPVS_CMD_ATTR_DEST, NESTED],
  [Vs.IPVS_CMD_ATTR_DAEMON, NESTED],
  [Vs.IPVS_CMD_ATTR_TIMEOUT_TCP, U32],
  [Vs.IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, U32],
  [Vs.IPVS_CMD_ATTR_TIMEOUT_UDP, U32],
]);

export const SERVICE_POLICY: Policy = new Map<number, Rule>([
  [Vs.IPVS_SVC_ATTR_AF, U16],
  [Vs.IPVS_SVC_ATTR_PROTOCOL, U16],
  [Vs.IPVS_SVC_ATTR_ADDR, ADDRESS],
  [Vs.IPVS_SVC_ATTR_PORT, U16],
  [Vs.IPVS_SVC_ATTR_FWMARK, U32],
  [Vs.IPVS_SVC_ATTR_SCHED_NAME, { text: Vs.IP_VS_SCHEDNAME_MAXLEN - 1 }],
  [Vs.IPVS_SVC_ATTR_PE_NAME, { text: Vs.IP_VS_PENAME_MAXLEN }],
  [Vs.IPVS_SVC_ATTR_FLAGS, { most: 8 }],
  [Vs.IPVS_SVC_ATTR_TIMEOUT, U32],
  [Vs.IPVS_SVC_ATTR_NETMASK, U32],
  [Vs.IPVS_SVC_ATTR_STATS, NESTED],
]);

export const DESTINATION_POLICY: Policy = new Map<number, Rule>([
  [Vs.IPVS_DEST_ATTR_ADDR, ADDRESS],
  [Vs.IPVS_DEST_ATTR_PORT, U16],
  [Vs.IPVS_DEST_ATTR_FWD_METHOD, U32],
  [Vs.IPVS_DEST_ATTR_WEIGHT, U32],
  [Vs.IPVS_DEST_ATTR_U_THRESH, U32],
  [Vs.IPVS_DEST_ATTR_L_THRESH, U32],
  [Vs.IPVS_DEST_ATTR_ACTIVE_CONNS, U32],
  [Vs.IPVS_DEST_ATTR_INACT_CONNS, U32],
  [Vs.IPVS_DEST_ATTR_PERSIST_CONNS, U32],
  [Vs.IPVS_DEST_ATTR_STATS, NESTED],
  [Vs.IPVS_DEST_ATTR_ADDR_FAMILY, U16],
  [Vs.IPVS_DEST_ATTR_TUN_TYPE, U8],
  [Vs.IPVS_DEST_ATTR_TUN_PORT, U16],
  [Vs.IPVS_DEST_ATTR_TUN_FLAGS, U16],
]);

export const DAEMON_POLICY: Policy = new Map<number, Rule>([
  [Vs.IPVS_DAEMON_ATTR_STATE, U32],
  [Vs.IPVS_DAEMON_ATTR_MCAST_IFN, { text: Vs.IP_VS_IFNAME_MAXLEN - 1 }],
  [Vs.IPVS_DAEMON_ATTR_SYNC_ID, U32],
  [Vs.IPVS_DAEMON_ATTR_SYNC_MAXLEN, U16],
  [Vs.IPVS_DAEMON_ATTR_MCAST_GROUP, U32],
  [Vs.IPVS_DAEMON_ATTR_MCAST_GROUP6, { least: 16 }],
  [Vs.IPVS_DAEMON_ATTR_MCAST_PORT, U16],
  [Vs.IPVS_DAEMON_ATTR_MCAST_TTL, U8],
]);

function fits({ bytes }: Attribute, rule: Rule): boolean {
  if ('least' in rule) return bytes.length >= rule.least;
  if ('most' in rule) return bytes.length <= rule.most;
  if ('nested' in rule) return bytes.length === 0 || bytes.length >= NLA_HDRLEN;
  const hasEnd = bytes.subarray(0, rule.text + 1).includes(0);
  const length = bytes.at(-1) === 0 ? bytes.length - 1 : bytes.length;
  return hasEnd && length <= rule.text;
}

/** The first attribute that a policy does not allow. Those that it does not know pass. */
export function violation(attributes: Attributes, policy: Policy): Attribute | undefined {
  return attributes.list().find(each => {
    const rule = policy.get(each.type);
    return rule !== undefined && !fits(each, rule);
  });
}
