/* The codec and netlink itself: what the kinds of netlink here are made of, and what another one needs. */
export * from '../codec/index.ts';
export type { Watch } from '../ffi/index.ts';
export { configureOffThread, type FfiName, type OffThreadOptions, selectFfi } from '../ffi/index.ts';
export { CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_ID_CTRL } from '../linux/genetlink.ts';
export {
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_GENERIC,
  NETLINK_GET_STRICT_CHK,
  NETLINK_NETFILTER,
  NETLINK_NO_ENOBUFS,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_APPEND,
  NLM_F_CAPPED,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_ECHO,
  NLM_F_EXCL,
  NLM_F_MATCH,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  NLM_F_ROOT,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
  NLMSG_OVERRUN,
  NLMSGERR_ATTR_MISS_NEST,
  NLMSGERR_ATTR_MISS_TYPE,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
} from '../linux/netlink.ts';
export {
  NFNETLINK_V0,
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  NFNL_SUBSYS_ULOG,
  NFNLGRP_NFTABLES,
  NFNLGRP_NFTRACE,
} from '../linux/nfnetlink.ts';
export { SOL_NETLINK } from '../linux/socket.ts';
export { Observer } from '../observe.ts';
export { type Ack, ackError, type Locate, locateIn, type PipelineResult, type RequestInfo, readAck } from './ack.ts';
export { EncodedRequests } from './encoded-requests.ts';
export { EventLoopBudget } from './event-loop-budget.ts';
export { type Call, Exchange } from './exchange.ts';
export { type Command, GenericFamily, genlmsghdr } from './generic.ts';
export { type GroupRead, GroupReader, type GroupSocket } from './group.ts';
export { type Handle, type Promised, type Synchronous, syncAndAsync } from './handle.ts';
export { closedError, type Lifetime } from './lifetime.ts';
export * from './message.ts';
export * from './nfnetlink.ts';
export { type Operation, OVER, type Step } from './operation.ts';
export { OptionSocket } from './option-socket.ts';
export { pipeline, streamRequests } from './pipeline.ts';
export { NetlinkSocket, type NetlinkSocketOptions } from './socket.ts';
export type { Transport } from './transport.ts';
export { openWatcher } from './watcher.ts';
