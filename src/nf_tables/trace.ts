import {
  attribute,
  attributes,
  bytes,
  flags,
  type Infer,
  named,
  nested,
  opt,
  string,
  U32_BE,
  u16be,
  u32be,
  u64be,
} from '../codec/index.ts';
import { NF_ACCEPT, NF_DROP } from '../linux/netfilter.ts';
import { NF_CT_STATE_INVALID_BIT, NF_CT_STATE_UNTRACKED_BIT } from '../linux/nf_conntrack_common.ts';
import * as C from '../linux/nf_tables.ts';
import { verdictTable } from './data.ts';
import { CT_DIRECTION } from './expressions/packet.ts';
import { CT_STATUS, PROTOCOL_FAMILY } from './names.ts';

/** NF_CT_STATE_BIT(), a macro: established, related and new are the bits 1 to 3. */
const CT_STATES = {
  invalid: NF_CT_STATE_INVALID_BIT,
  established: 0x2,
  related: 0x4,
  new: 0x8,
  untracked: NF_CT_STATE_UNTRACKED_BIT,
} as const;

/** One step of a packet with `meta nftrace set 1` through the rules. */
export const traceTable = attributes('NFTA_TRACE', () => ({
  /** The name of the table. */
  table: opt(string(C.NFTA_TRACE_TABLE, 255)),
  /** The name of the chain. */
  chain: opt(string(C.NFTA_TRACE_CHAIN, 255)),
  /** The rule that matched. */
  ruleHandle: opt(u64be(C.NFTA_TRACE_RULE_HANDLE)),
  /** What this step is: a rule matched, a chain returned, or a base chain's policy decided. */
  type: attribute(
    C.NFTA_TRACE_TYPE,
    named(U32_BE, {
      policy: C.NFT_TRACETYPE_POLICY,
      return: C.NFT_TRACETYPE_RETURN,
      rule: C.NFT_TRACETYPE_RULE,
    }),
  ),
  /** The verdict of the step. */
  verdict: opt(nested(C.NFTA_TRACE_VERDICT, verdictTable)),
  /** The same for all steps of one packet. */
  id: u32be(C.NFTA_TRACE_ID),
  /** The packet's headers, in its first step. */
  linkHeader: opt(bytes(C.NFTA_TRACE_LL_HEADER)),
  /** The network header, as hex. */
  networkHeader: opt(bytes(C.NFTA_TRACE_NETWORK_HEADER)),
  /** The transport header, as hex. */
  transportHeader: opt(bytes(C.NFTA_TRACE_TRANSPORT_HEADER)),
  /** The index of the device that it came in by. */
  inDevice: opt(u32be(C.NFTA_TRACE_IIF)),
  /** ARPHRD_*. */
  inDeviceType: opt(u16be(C.NFTA_TRACE_IIFTYPE)),
  /** The index of the device that it leaves by. */
  outDevice: opt(u32be(C.NFTA_TRACE_OIF)),
  /** ARPHRD_*. */
  outDeviceType: opt(u16be(C.NFTA_TRACE_OIFTYPE)),
  /** The mark of the packet. */
  mark: opt(u32be(C.NFTA_TRACE_MARK)),
  /** The protocol family of the packet. */
  protocolFamily: opt(attribute(C.NFTA_TRACE_NFPROTO, PROTOCOL_FAMILY)),
  /** What the base chain's policy decided. */
  policy: opt(attribute(C.NFTA_TRACE_POLICY, named(U32_BE, { drop: NF_DROP, accept: NF_ACCEPT }))),
  /** The connection's number, where it is tracked. */
  connectionId: opt(u32be(C.NFTA_TRACE_CT_ID)),
  /** The direction within the connection. Linux 6.18. */
  connectionDirection: opt(attribute(C.NFTA_TRACE_CT_DIRECTION, CT_DIRECTION)),
  /** The status of the connection. Linux 6.18. */
  connectionStatus: opt(attribute(C.NFTA_TRACE_CT_STATUS, flags(U32_BE, CT_STATUS))),
  /** The state of the connection. Linux 6.18. */
  connectionState: opt(attribute(C.NFTA_TRACE_CT_STATE, flags(U32_BE, CT_STATES))),
}));

/** One step of a packet through the rules. */
export type TraceStep = Infer<typeof traceTable>;
