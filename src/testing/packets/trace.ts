import { ARPHRD_ETHER, ARPHRD_LOOPBACK } from '../../linux/if_arp.ts';
import { NETLINK_NETFILTER } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { NFNLGRP_NFTRACE } from '../../linux/nfnetlink.ts';
import type { Machine } from '../machine/machine.ts';
import { isSince, type Link, type Namespace } from '../machine/state.ts';
import { nftMessage } from '../nf_tables/message.ts';
import type { Chain, Rule, Verdict } from '../nf_tables/state.ts';
import type { Writer } from '../wire/attributes.ts';
import type { Packet } from './packet.ts';

/* What `nft monitor trace` reads: a message for each rule that a packet with `meta nftrace set 1` has matched (nf_tables_trace.c). */

/** NFT_TRACETYPE_*_HSIZE: so much of each header is told. */
const LINK = 20;
const NETWORK = 40;
const TRANSPORT = 20;
/** From here on an implicit and an explicit return are told as rules: the mask of a verdict has changed. */
const RETURNS_AS_RULES = [6, 6] as const;
const CONNECTIONS = [6, 16] as const;

/** One run of a packet through a base chain. */
export interface Traced {
  readonly base: Chain;
  readonly packet: Packet;
  /** NFPROTO of the packet. */
  readonly family: number;
  /** A first message tells the packet's headers and devices, later ones do not. */
  isTold: boolean;
}

export type TraceKind = 'rule' | 'policy' | 'return';

/** Whether anybody listens. */
export const isHeard = (machine: Machine, namespace: Namespace): boolean =>
  machine.listens(namespace, NETLINK_NETFILTER, NFNLGRP_NFTRACE);

/** Tells one step: a rule that has matched, the end of a chain, or a policy. */
export function tellStep(
  machine: Machine,
  namespace: Namespace,
  traced: Traced,
  step: { readonly kind: TraceKind; readonly chain: Chain; readonly rule: Rule | undefined; readonly verdict: Verdict },
): void {
  const { packet, base } = traced;
  const { kind, chain, rule, verdict } = step;
  const header = { type: Nft.NFT_MSG_TRACE, flags: 0, sequence: 0, port: 0, family: base.table.family };
  const { release } = machine;
  const message = nftMessage(namespace.nfTables, header, writer => {
    writer.u32be(Nft.NFTA_TRACE_NFPROTO, traced.family);
    writer.u32be(Nft.NFTA_TRACE_TYPE, typeOf(kind, isSince(release, RETURNS_AS_RULES)));
    writer.u32be(Nft.NFTA_TRACE_ID, packet.id);
    writer.text(Nft.NFTA_TRACE_CHAIN, chain.name);
    writer.text(Nft.NFTA_TRACE_TABLE, chain.table.name);
    if (rule !== undefined) writer.u64be(Nft.NFTA_TRACE_RULE_HANDLE, BigInt(rule.handle));
    if (kind === 'policy') writer.u32be(Nft.NFTA_TRACE_POLICY, base.base!.policy);
    else
      writer.nest(Nft.NFTA_TRACE_VERDICT, () => {
        writer.u32be(Nft.NFTA_VERDICT_CODE, verdict.code);
        if (verdict.chain !== undefined) writer.text(Nft.NFTA_VERDICT_CHAIN, verdict.chain.name);
      });
    if (packet.mark !== 0) writer.u32be(Nft.NFTA_TRACE_MARK, packet.mark);
    if (!traced.isTold) {
      writeDevices(writer, packet);
      writeHeaders(writer, packet);
      if (isSince(release, CONNECTIONS)) writeConnection(writer, packet);
    }
  });
  traced.isTold = true;
  machine.multicast(namespace, NETLINK_NETFILTER, NFNLGRP_NFTRACE, message);
}

function typeOf(kind: TraceKind, asRules: boolean): number {
  if (kind === 'policy') return Nft.NFT_TRACETYPE_POLICY;
  return kind === 'return' && !asRules ? Nft.NFT_TRACETYPE_RETURN : Nft.NFT_TRACETYPE_RULE;
}

const STATES = { new: 8, established: 2, related: 4 } as const;
const UNTRACKED = 64;

function writeConnection(writer: Writer, { tracked, untracked }: Packet): void {
  if (tracked === undefined) {
    if (untracked) writer.u32be(Nft.NFTA_TRACE_CT_STATE, UNTRACKED);
    return;
  }
  writer.u32be(Nft.NFTA_TRACE_CT_STATE, STATES[tracked.state]);
  writer.u8(Nft.NFTA_TRACE_CT_DIRECTION, tracked.direction);
  writer.u32be(Nft.NFTA_TRACE_CT_ID, tracked.connection.id);
  if (tracked.connection.status !== 0) writer.u32be(Nft.NFTA_TRACE_CT_STATUS, tracked.connection.status);
}

function writeDevices(writer: Writer, { inDevice, outDevice }: Packet): void {
  const type = ({ loopback }: Link) => (loopback ? ARPHRD_LOOPBACK : ARPHRD_ETHER);
  if (inDevice !== undefined) {
    writer.u32be(Nft.NFTA_TRACE_IIF, inDevice.index);
    writer.u16be(Nft.NFTA_TRACE_IIFTYPE, type(inDevice));
  }
  if (outDevice !== undefined) {
    writer.u32be(Nft.NFTA_TRACE_OIF, outDevice.index);
    writer.u16be(Nft.NFTA_TRACE_OIFTYPE, type(outDevice));
  }
}

function writeHeaders(writer: Writer, { bytes, link, transport }: Packet): void {
  const end = transport ?? bytes.length;
  const part = (type: number, from: number, length: number) => {
    if (length > 0 && from + length <= bytes.length) writer.attribute(type, bytes.slice(from, from + length));
  };
  part(Nft.NFTA_TRACE_NETWORK_HEADER, 0, Math.min(end, NETWORK));
  if (transport !== undefined)
    part(Nft.NFTA_TRACE_TRANSPORT_HEADER, transport, Math.min(bytes.length - transport, TRANSPORT));
  if (link !== undefined) writer.attribute(Nft.NFTA_TRACE_LL_HEADER, link.slice(0, LINK));
}
