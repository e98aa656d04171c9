import { CTRL_CMD_GETFAMILY, GENL_ID_CTRL } from '../linux/genetlink.ts';
import * as Vs from '../linux/ip_vs.ts';
import { NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE } from '../linux/netlink.ts';
import { NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP, NFNL_SUBSYS_ULOG } from '../linux/nfnetlink.ts';
import * as Ct from '../linux/nfnetlink_conntrack.ts';
import * as Log from '../linux/nfnetlink_log.ts';
import * as Rt from '../linux/rtnetlink.ts';
import { nfnetlinkType } from '../netlink/nfnetlink.ts';
import { ALL_MESSAGES } from '../nf_tables/all-messages.ts';
import { IPVS_ID } from './generic.ts';
import type { RequestKind } from './machine/faults.ts';

/*
 * The kernel's names of requests. They are listed, because a module of constants that is looked up by name would stay in every bundle with all that it
 * has.
 */

const CONNECTIONS = {
  IPCTNL_MSG_CT_NEW: Ct.IPCTNL_MSG_CT_NEW,
  IPCTNL_MSG_CT_GET: Ct.IPCTNL_MSG_CT_GET,
  IPCTNL_MSG_CT_DELETE: Ct.IPCTNL_MSG_CT_DELETE,
  IPCTNL_MSG_CT_GET_CTRZERO: Ct.IPCTNL_MSG_CT_GET_CTRZERO,
  IPCTNL_MSG_CT_GET_STATS_CPU: Ct.IPCTNL_MSG_CT_GET_STATS_CPU,
  IPCTNL_MSG_CT_GET_DYING: Ct.IPCTNL_MSG_CT_GET_DYING,
  IPCTNL_MSG_CT_GET_UNCONFIRMED: Ct.IPCTNL_MSG_CT_GET_UNCONFIRMED,
  IPCTNL_MSG_CT_GET_STATS: Ct.IPCTNL_MSG_CT_GET_STATS,
};
const EXPECTATIONS = {
  IPCTNL_MSG_EXP_NEW: Ct.IPCTNL_MSG_EXP_NEW,
  IPCTNL_MSG_EXP_GET: Ct.IPCTNL_MSG_EXP_GET,
  IPCTNL_MSG_EXP_DELETE: Ct.IPCTNL_MSG_EXP_DELETE,
  IPCTNL_MSG_EXP_GET_STATS_CPU: Ct.IPCTNL_MSG_EXP_GET_STATS_CPU,
};
const LOGS = {
  NFULNL_MSG_PACKET: Log.NFULNL_MSG_PACKET,
  NFULNL_MSG_CONFIG: Log.NFULNL_MSG_CONFIG,
};
const ROUTING = {
  RTM_NEWLINK: Rt.RTM_NEWLINK,
  RTM_DELLINK: Rt.RTM_DELLINK,
  RTM_GETLINK: Rt.RTM_GETLINK,
  RTM_SETLINK: Rt.RTM_SETLINK,
  RTM_NEWADDR: Rt.RTM_NEWADDR,
  RTM_DELADDR: Rt.RTM_DELADDR,
  RTM_GETADDR: Rt.RTM_GETADDR,
  RTM_NEWROUTE: Rt.RTM_NEWROUTE,
  RTM_DELROUTE: Rt.RTM_DELROUTE,
  RTM_GETROUTE: Rt.RTM_GETROUTE,
  RTM_NEWNEIGH: Rt.RTM_NEWNEIGH,
  RTM_DELNEIGH: Rt.RTM_DELNEIGH,
  RTM_GETNEIGH: Rt.RTM_GETNEIGH,
  RTM_NEWRULE: Rt.RTM_NEWRULE,
  RTM_DELRULE: Rt.RTM_DELRULE,
  RTM_GETRULE: Rt.RTM_GETRULE,
  RTM_NEWNEXTHOP: Rt.RTM_NEWNEXTHOP,
  RTM_DELNEXTHOP: Rt.RTM_DELNEXTHOP,
  RTM_GETNEXTHOP: Rt.RTM_GETNEXTHOP,
  RTM_NEWLINKPROP: Rt.RTM_NEWLINKPROP,
  RTM_DELLINKPROP: Rt.RTM_DELLINKPROP,
};
const IPVS = {
  IPVS_CMD_NEW_SERVICE: Vs.IPVS_CMD_NEW_SERVICE,
  IPVS_CMD_SET_SERVICE: Vs.IPVS_CMD_SET_SERVICE,
  IPVS_CMD_DEL_SERVICE: Vs.IPVS_CMD_DEL_SERVICE,
  IPVS_CMD_GET_SERVICE: Vs.IPVS_CMD_GET_SERVICE,
  IPVS_CMD_NEW_DEST: Vs.IPVS_CMD_NEW_DEST,
  IPVS_CMD_SET_DEST: Vs.IPVS_CMD_SET_DEST,
  IPVS_CMD_DEL_DEST: Vs.IPVS_CMD_DEL_DEST,
  IPVS_CMD_GET_DEST: Vs.IPVS_CMD_GET_DEST,
  IPVS_CMD_NEW_DAEMON: Vs.IPVS_CMD_NEW_DAEMON,
  IPVS_CMD_DEL_DAEMON: Vs.IPVS_CMD_DEL_DAEMON,
  IPVS_CMD_GET_DAEMON: Vs.IPVS_CMD_GET_DAEMON,
  IPVS_CMD_SET_CONFIG: Vs.IPVS_CMD_SET_CONFIG,
  IPVS_CMD_GET_CONFIG: Vs.IPVS_CMD_GET_CONFIG,
  IPVS_CMD_SET_INFO: Vs.IPVS_CMD_SET_INFO,
  IPVS_CMD_GET_INFO: Vs.IPVS_CMD_GET_INFO,
  IPVS_CMD_ZERO: Vs.IPVS_CMD_ZERO,
  IPVS_CMD_FLUSH: Vs.IPVS_CMD_FLUSH,
};

const netfilter = (subsystem: number, command: number): RequestKind => ({
  protocol: NETLINK_NETFILTER,
  type: nfnetlinkType(subsystem, command),
});

const TABLES: readonly (readonly [numbers: Readonly<Record<string, number>>, kind: (number: number) => RequestKind])[] =
  [
    [CONNECTIONS, command => netfilter(NFNL_SUBSYS_CTNETLINK, command)],
    [EXPECTATIONS, command => netfilter(NFNL_SUBSYS_CTNETLINK_EXP, command)],
    [LOGS, command => netfilter(NFNL_SUBSYS_ULOG, command)],
    [ROUTING, type => ({ protocol: NETLINK_ROUTE, type })],
    [IPVS, command => ({ protocol: NETLINK_GENERIC, type: IPVS_ID, command })],
    [{ CTRL_CMD_GETFAMILY }, command => ({ protocol: NETLINK_GENERIC, type: GENL_ID_CTRL, command })],
  ];

/** The request that the kernel calls by this name: 'NFT_MSG_NEWRULE', 'RTM_NEWLINK'. Undefined if there is none. */
export function requestNamed(name: string): RequestKind | undefined {
  for (const { kernelName, number } of Object.values(ALL_MESSAGES)) {
    if (kernelName === name) return { protocol: NETLINK_NETFILTER, type: number };
  }
  for (const [numbers, kind] of TABLES) {
    if (Object.hasOwn(numbers, name)) return kind(numbers[name]!);
  }
  return undefined;
}
