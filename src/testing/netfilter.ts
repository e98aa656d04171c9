import { NETLINK_NETFILTER } from '../linux/netlink.ts';
import {
  NFNL_MSG_BATCH_BEGIN,
  NFNL_SUBSYS_CTNETLINK,
  NFNL_SUBSYS_CTNETLINK_EXP,
  NFNL_SUBSYS_NFTABLES,
  NFNL_SUBSYS_ULOG,
} from '../linux/nfnetlink.ts';
import * as expectations from './conntrack/expectation-requests.ts';
import * as conntrack from './conntrack/requests.ts';
import { COUNT, refusalOf } from './conntrack/settings.ts';
import type { Family } from './machine/machine.ts';
import { hasModule } from './machine/state.ts';
import * as nfTables from './nf_tables/subsystem.ts';
import * as nflog from './nflog/log.ts';
import { EINVAL, refuse } from './refusal.ts';

const TYPE_AT = 4;

/** The subsystems behind NETLINK_NETFILTER. Without its module one is none that the kernel knows. */
const SUBSYSTEMS: Readonly<Record<number, { readonly module: string; readonly answer: Family['answer'] }>> = {
  [NFNL_SUBSYS_NFTABLES]: { module: 'nf_tables', answer: nfTables.answer },
  [NFNL_SUBSYS_ULOG]: { module: 'nfnetlink_log', answer: nflog.answer },
  [NFNL_SUBSYS_CTNETLINK]: { module: 'nf_conntrack_netlink', answer: conntrack.answer },
  [NFNL_SUBSYS_CTNETLINK_EXP]: { module: 'nf_conntrack_netlink', answer: expectations.answer },
};

/** nfnetlink. */
export const netfilter: Family = {
  protocol: NETLINK_NETFILTER,
  datagram(machine, socket, datagram) {
    const type = datagram[TYPE_AT]! | (datagram[TYPE_AT + 1]! << 8);
    if (datagram.length < 16 || type !== NFNL_MSG_BATCH_BEGIN) return false;
    nfTables.answerBatch(machine, socket, datagram);
    return true;
  },
  answer(machine, socket, request) {
    const subsystem = SUBSYSTEMS[request.type >> 8];
    if (subsystem === undefined || !hasModule(machine.release, subsystem.module)) return refuse(EINVAL);
    subsystem.answer(machine, socket, request);
  },
  file(_machine, { conntrack: { connections } }, path) {
    return path === `/proc/sys/${COUNT}` ? `${connections.size}\n` : undefined;
  },
  writeSetting(_machine, { sysctls }, path, text) {
    const errno = refusalOf(path, text);
    if (errno === 0) sysctls.set(path, text.trim());
    return errno;
  },
  closed(machine, socket) {
    nfTables.closed(machine, socket);
    nflog.closed(machine, socket);
  },
};
