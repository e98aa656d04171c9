import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI } from '../../linux/netlink.ts';
import { NF_CT_EXPECT_USERSPACE } from '../../linux/nf_conntrack_common.ts';
import { NFNL_SUBSYS_CTNETLINK_EXP } from '../../linux/nfnetlink.ts';
import * as Ct from '../../linux/nfnetlink_conntrack.ts';
import type { Machine } from '../machine/machine.ts';
import type { Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import { EEXIST, EINVAL, EMFILE, ENOENT, EOPNOTSUPP, ESHUTDOWN, refuse } from '../refusal.ts';
import { type Call, callOf, HEADERS, isDump, startDump, statisticsMessage } from './call.ts';
import { expectationMessage, findExpectation, forget, tellExpectation } from './expectations.ts';
import { hasHelper, policyOf } from './helpers.ts';
import { readTuple } from './read.ts';
import { settingOf } from './settings.ts';
import type { Connection, Expectation } from './state.ts';
import { findTuple } from './tuples.ts';

/* Expectations over nfnetlink (net/netfilter/nf_conntrack_netlink.c, ctnetlink_new_expect and its like). */

const FUNCTIONS = new Set(['nat-follow-master', 'sip', 'Q.931', 'callforwarding']);

const OPERATIONS: Record<number, (call: Call) => void> = {
  [Ct.IPCTNL_MSG_EXP_NEW]: createOrChange,
  [Ct.IPCTNL_MSG_EXP_GET]: get,
  [Ct.IPCTNL_MSG_EXP_DELETE]: end,
  [Ct.IPCTNL_MSG_EXP_GET_STATS_CPU]: perCpu,
};

export function answer(machine: Machine, socket: MemorySocket, request: Request): void {
  if (request.bytes.length < HEADERS) return;
  const operation = OPERATIONS[request.type & 0xff] ?? refuse(EINVAL);
  operation(callOf(machine, socket, request));
}

/** The expectation that a message names by its tuple, or by its master. */
function find({ attributes, family, namespace }: Call): Expectation | undefined {
  const named =
    readTuple(attributes, Ct.CTA_EXPECT_TUPLE, family) ??
    readTuple(attributes, Ct.CTA_EXPECT_MASTER, family) ??
    refuse(EINVAL);
  const zone = attributes.u16be(Ct.CTA_EXPECT_ZONE) ?? 0;
  return findExpectation(namespace, family, named.protocol, named.tuple, zone);
}

function get(call: Call): void {
  const { machine, namespace, attributes, family, request, socket } = call;
  const { sequence, port } = request;
  if (isDump(request)) {
    const isOfMaster = attributes.has(Ct.CTA_EXPECT_MASTER);
    const master = isOfMaster ? masterOf(call) : undefined;
    const wanted = namespace.conntrack.expectations.filter(
      each => (family === 0 || each.family === family) && (!isOfMaster || each.master === master),
    );
    startDump(
      call,
      wanted.map(each => expectationMessage(machine, { sequence, port, flags: NLM_F_MULTI }, each)),
    );
    return;
  }
  const found = find(call) ?? refuse(ENOENT);
  const id = attributes.u32be(Ct.CTA_EXPECT_ID);
  if (id !== undefined && id !== found.id) refuse(ENOENT);
  socket.deliver(expectationMessage(machine, { sequence, port, flags: NLM_F_MULTI }, found));
}

function end(call: Call): void {
  const { machine, namespace, attributes, author } = call;
  const drop = (expectation: Expectation) => {
    forget(namespace, expectation);
    tellExpectation(machine, namespace, 'destroy', expectation, author);
  };
  if (attributes.has(Ct.CTA_EXPECT_TUPLE)) {
    const found = find(call) ?? refuse(ENOENT);
    const id = attributes.u32be(Ct.CTA_EXPECT_ID);
    if (id !== undefined && id !== found.id) refuse(ENOENT);
    drop(found);
    return;
  }
  const helper = attributes.text(Ct.CTA_EXPECT_HELP_NAME);
  for (const each of [...namespace.conntrack.expectations])
    if (helper === undefined || each.master.helper === helper) drop(each);
}

function masterOf({ attributes, family, namespace }: Call): Connection {
  const master = readTuple(attributes, Ct.CTA_EXPECT_MASTER, family) ?? refuse(EINVAL);
  const zone = { id: attributes.u16be(Ct.CTA_EXPECT_ZONE) ?? 0, directions: 3 };
  return findTuple(namespace.conntrack, family, master.protocol, master.tuple, zone)?.connection ?? refuse(ENOENT);
}

function createOrChange(call: Call): void {
  const { machine, attributes, request } = call;
  for (const type of [Ct.CTA_EXPECT_TUPLE, Ct.CTA_EXPECT_MASK, Ct.CTA_EXPECT_MASTER])
    if (!attributes.has(type)) refuse(EINVAL);
  const found = find(call);
  if (found === undefined) {
    if ((request.flags & NLM_F_CREATE) === 0) refuse(ENOENT);
    create(call);
    return;
  }
  if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST);
  const seconds = attributes.u32be(Ct.CTA_EXPECT_TIMEOUT);
  if (seconds !== undefined) found.expires = machine.now + BigInt(seconds) * 1000n;
}

function create(call: Call): void {
  const { machine, namespace, attributes, family, author } = call;
  const tuple = readTuple(attributes, Ct.CTA_EXPECT_TUPLE, family)!;
  const mask = readTuple(attributes, Ct.CTA_EXPECT_MASK, family)!;
  const master = masterOf(call);
  const named = attributes.text(Ct.CTA_EXPECT_HELP_NAME);
  if (named !== undefined && !hasHelper(named, master.protocol)) refuse(EOPNOTSUPP);
  const { helper } = master;
  if (helper === undefined) refuse((master.status & 0x2000) === 0 ? EOPNOTSUPP : ESHUTDOWN);
  const given = attributes.u32be(Ct.CTA_EXPECT_CLASS) ?? 0;
  if (named !== undefined && given > 0) refuse(EINVAL);
  const name = attributes.text(Ct.CTA_EXPECT_FN);
  if (name !== undefined && !FUNCTIONS.has(name)) refuse(EINVAL);
  const translation = attributes.nested(Ct.CTA_EXPECT_NAT);
  const direction = translation && (translation.u32be(Ct.CTA_EXPECT_NAT_DIR) ?? refuse(EINVAL));
  const announced = translation && (readTuple(translation, Ct.CTA_EXPECT_NAT_TUPLE, family) ?? refuse(EINVAL));
  const policy = policyOf(helper!) ?? machine.notModelled(`expectations of the helper ${helper}`);
  const { conntrack } = namespace;
  const own = conntrack.expectations.filter(each => each.master === master);
  if (own.length >= policy[0]) {
    forget(namespace, own[0]!);
    tellExpectation(machine, namespace, 'destroy', own[0]!, author);
  }
  if (conntrack.expectations.length >= settingOf(namespace, 'expect_max')) refuse(EMFILE);
  const expectation: Expectation = {
    id: ++conntrack.lastId,
    family,
    protocol: tuple.protocol,
    master,
    tuple: tuple.tuple,
    mask: { source: mask.tuple.source, sourcePort: mask.tuple.sourcePort },
    // The kernel reads no timeout here: only a change can set another one.
    expires: machine.now + BigInt(policy[1]) * 1000n,
    flags: ((attributes.u32be(Ct.CTA_EXPECT_FLAGS) ?? 0) & ~NF_CT_EXPECT_USERSPACE) >>> 0,
    class: named === undefined ? 0 : given,
    helper: named,
    function: name,
    saved: announced && { direction: direction!, address: announced.tuple.source, port: announced.tuple.sourcePort },
  };
  conntrack.expectations.push(expectation);
  conntrack.statistics.expectCreate++;
  tellExpectation(machine, namespace, 'new', expectation, author);
}

function perCpu(call: Call): void {
  const { request, namespace } = call;
  if (!isDump(request)) return;
  const { expectNew, expectCreate, expectDelete } = namespace.conntrack.statistics;
  const fields = [
    [Ct.CTA_STATS_EXP_NEW, expectNew],
    [Ct.CTA_STATS_EXP_CREATE, expectCreate],
    [Ct.CTA_STATS_EXP_DELETE, expectDelete],
  ] as const;
  startDump(call, [statisticsMessage(request, NFNL_SUBSYS_CTNETLINK_EXP, Ct.IPCTNL_MSG_EXP_GET_STATS_CPU, fields)]);
}
