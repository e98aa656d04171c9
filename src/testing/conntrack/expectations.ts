import { NLA_F_NESTED as NESTED, NETLINK_NETFILTER, NLM_F_CREATE, NLM_F_EXCL } from '../../linux/netlink.ts';
import { IPS_CONFIRMED, NF_CT_EXPECT_INACTIVE, NF_CT_EXPECT_PERMANENT } from '../../linux/nf_conntrack_common.ts';
import {
  NFNL_SUBSYS_CTNETLINK_EXP,
  NFNLGRP_CONNTRACK_EXP_DESTROY,
  NFNLGRP_CONNTRACK_EXP_NEW,
} from '../../linux/nfnetlink.ts';
import * as Ct from '../../linux/nfnetlink_conntrack.ts';
import type { Namespace } from '../machine/state.ts';
import { Writer } from '../wire/attributes.ts';
import type { Kernel } from './kernel.ts';
import { type Author, secondsLeft, writeAddresses, writeTuple } from './messages.ts';
import { setUp } from './nat.ts';
import type { Connection, Expectation, Tuple } from './state.ts';
import { hasPorts } from './tuples.ts';

/* Connections that others have announced (net/netfilter/nf_conntrack_expect.c). */

/** Whether two tuples agree in what a mask lets through. */
function agree(tuple: Tuple, other: Tuple, { source, sourcePort }: Expectation['mask']): boolean {
  return (
    tuple.destination.every((byte, i) => byte === other.destination[i]) &&
    tuple.destinationPort === other.destinationPort &&
    source.every((mask, i) => ((tuple.source[i]! ^ other.source[i]!) & mask) === 0) &&
    ((tuple.sourcePort ^ other.sourcePort) & sourcePort) === 0
  );
}

/** The expectation of which a tuple is exactly the tuple, but for what its mask hides (__nf_ct_expect_find). */
export function findExpectation(
  { conntrack }: Namespace,
  family: number,
  protocol: number,
  tuple: Tuple,
  zone: number,
): Expectation | undefined {
  return conntrack.expectations.findLast(
    each =>
      each.family === family &&
      each.protocol === protocol &&
      each.master.zone === zone &&
      agree(each.tuple, tuple, each.mask),
  );
}

export function forget({ conntrack }: Namespace, expectation: Expectation): void {
  conntrack.expectations.splice(conntrack.expectations.indexOf(expectation), 1);
  conntrack.statistics.expectDelete++;
}

/** The expectation that a new connection fulfils; it is gone then, unless it is permanent. */
export function takeExpected(
  kernel: Kernel,
  namespace: Namespace,
  { family, protocol, original, zone }: Connection,
): Expectation | undefined {
  const found = namespace.conntrack.expectations.findLast(
    each =>
      (each.flags & NF_CT_EXPECT_INACTIVE) === 0 &&
      each.expires > kernel.now &&
      each.family === family &&
      each.protocol === protocol &&
      each.master.zone === zone &&
      agree(each.tuple, original, each.mask),
  );
  if (found === undefined || (found.master.status & IPS_CONFIRMED) === 0) return undefined;
  if ((found.flags & NF_CT_EXPECT_PERMANENT) === 0) {
    forget(namespace, found);
    tellExpectation(kernel, namespace, 'destroy', found);
  }
  return found;
}

/** The translation of an expected connection (nf_nat_follow_master). */
export function follow(
  kernel: Kernel,
  namespace: Namespace,
  connection: Connection,
  { master, function: name, saved }: Expectation,
): void {
  if (name === undefined) return;
  if (name !== 'nat-follow-master') kernel.notModelled(`expectations with the function ${name}`);
  const { direction, port } = saved ?? { direction: 0, port: 0 };
  const other = direction === 0 ? master.reply : master.original;
  const one = { portMin: undefined, portMax: undefined };
  const source = { flags: 1, addressMin: other.destination, addressMax: other.destination, ...one };
  setUp(namespace, connection, source, 'source');
  const destination = { flags: 3, addressMin: other.source, addressMax: other.source, portMin: port, portMax: port };
  setUp(namespace, connection, destination, 'destination');
}

function writeExpectation(writer: Writer, kernel: Kernel, expectation: Expectation): void {
  const { tuple, mask, master, protocol, saved } = expectation;
  writeTuple(writer, Ct.CTA_EXPECT_TUPLE, tuple, expectation, undefined);
  writer.nest(Ct.CTA_EXPECT_MASK | NESTED, () => {
    const masked = { source: mask.source, destination: new Uint8Array(mask.source.length).fill(255) };
    writeAddresses(writer, { ...masked, sourcePort: 0, destinationPort: 0 }, expectation.family);
    writer.nest(Ct.CTA_TUPLE_PROTO | NESTED, () => {
      writer.u8(Ct.CTA_PROTO_NUM, protocol);
      if (!hasPorts(protocol)) return;
      writer.u16be(Ct.CTA_PROTO_SRC_PORT, mask.sourcePort);
      writer.u16be(Ct.CTA_PROTO_DST_PORT, 0xffff);
    });
  });
  writeTuple(writer, Ct.CTA_EXPECT_MASTER, master.original, master, undefined);
  if (saved !== undefined)
    writer.nest(Ct.CTA_EXPECT_NAT | NESTED, () => {
      writer.u32be(Ct.CTA_EXPECT_NAT_DIR, saved.direction);
      const { original } = master;
      const announced: Tuple = {
        source: saved.address,
        destination: new Uint8Array(original.destination.length),
        sourcePort: saved.port,
        destinationPort: 0,
      };
      writeTuple(writer, Ct.CTA_EXPECT_NAT_TUPLE, announced, master, undefined);
    });
  writer.u32be(Ct.CTA_EXPECT_TIMEOUT, secondsLeft(expectation.expires, kernel.now));
  writer.u32be(Ct.CTA_EXPECT_ID, expectation.id);
  writer.u32be(Ct.CTA_EXPECT_FLAGS, expectation.flags);
  writer.u32be(Ct.CTA_EXPECT_CLASS, expectation.class);
  const helper = master.helper;
  if (helper !== undefined) writer.text(Ct.CTA_EXPECT_HELP_NAME, helper);
  if (expectation.function !== undefined) writer.text(Ct.CTA_EXPECT_FN, expectation.function);
}

/** An expectation as a dump tells it. */
export function expectationMessage(
  kernel: Kernel,
  { sequence, port, flags, deleted = false }: { sequence: number; port: number; flags: number; deleted?: boolean },
  expectation: Expectation,
): Uint8Array {
  const writer = new Writer();
  const type = (NFNL_SUBSYS_CTNETLINK_EXP << 8) | (deleted ? Ct.IPCTNL_MSG_EXP_DELETE : Ct.IPCTNL_MSG_EXP_NEW);
  writer.message({ type, flags, sequence, port }, () => {
    writer.raw(Uint8Array.of(expectation.family, 0, 0, 0));
    writeExpectation(writer, kernel, expectation);
  });
  return writer.take();
}

export function tellExpectation(
  kernel: Kernel,
  namespace: Namespace,
  kind: 'new' | 'destroy',
  expectation: Expectation,
  author?: Author,
): void {
  if (expectation.master.events === undefined) return;
  const isEnd = kind === 'destroy';
  const header = { sequence: 0, port: author?.socket.port ?? 0, flags: isEnd ? 0 : NLM_F_CREATE | NLM_F_EXCL };
  const datagram = expectationMessage(kernel, { ...header, deleted: isEnd }, expectation);
  const told = author?.echo === true ? author.socket : undefined;
  const group = isEnd ? NFNLGRP_CONNTRACK_EXP_DESTROY : NFNLGRP_CONNTRACK_EXP_NEW;
  kernel.multicast(namespace, NETLINK_NETFILTER, group, datagram, told);
  told?.deliver(datagram);
}
