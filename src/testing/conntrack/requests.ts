import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI } from '../../linux/netlink.ts';
import { NFNL_SUBSYS_CTNETLINK } from '../../linux/nfnetlink.ts';
import * as Ct from '../../linux/nfnetlink_conntrack.ts';
import type { Machine } from '../machine/machine.ts';
import type { Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import { isSince } from '../machine/state.ts';
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, refuse } from '../refusal.ts';
import { type Attributes, Writer } from '../wire/attributes.ts';
import { type Call, callOf, HEADERS, isDump, startDump, statisticsMessage } from './call.ts';
import { change, create } from './change.ts';
import { filterOf, isFiltered } from './filter.ts';
import { connectionMessage, EVENT, tell } from './messages.ts';
import { readTuple, readZone } from './read.ts';
import { settingOf } from './settings.ts';
import type { Connection } from './state.ts';
import { remove } from './table.ts';
import { DCCP, findTuple } from './tuples.ts';

/* ctnetlink: the table of connections over nfnetlink (net/netfilter/nf_conntrack_netlink.c). */

/** NLM_F_DUMP_FILTERED */
const FILTERED = 0x20;

const OPERATIONS: Record<number, (call: Call) => void> = {
  [Ct.IPCTNL_MSG_CT_NEW]: createOrChange,
  [Ct.IPCTNL_MSG_CT_GET]: call => get(call, false),
  [Ct.IPCTNL_MSG_CT_DELETE]: end,
  [Ct.IPCTNL_MSG_CT_GET_CTRZERO]: call => get(call, true),
  [Ct.IPCTNL_MSG_CT_GET_STATS_CPU]: perCpu,
  [Ct.IPCTNL_MSG_CT_GET_STATS]: totals,
  [Ct.IPCTNL_MSG_CT_GET_DYING]: none,
  [Ct.IPCTNL_MSG_CT_GET_UNCONFIRMED]: none,
};

export function answer(machine: Machine, socket: MemorySocket, request: Request): void {
  // Without the header of nfnetlink, a message is acknowledged and does nothing.
  if (request.bytes.length < HEADERS) return;
  const operation = OPERATIONS[request.type & 0xff] ?? refuse(EINVAL);
  operation(callOf(machine, socket, request));
}

function nameOf(attributes: Attributes): number | undefined {
  return [Ct.CTA_TUPLE_ORIG, Ct.CTA_TUPLE_REPLY].find(type => attributes.has(type));
}

const isLive = ({ expires }: Connection, { now }: Machine): boolean => expires > now;

/** The connection that a message names. @param name of the tuple in the message */
function findLive({ attributes, family, namespace, machine }: Call, name: number): Connection {
  const { protocol, tuple } = readTuple(attributes, name, family)!;
  const zone = readZone(attributes, [name, name === Ct.CTA_TUPLE_ORIG ? 1 : 2]);
  const found = findTuple(namespace.conntrack, family, protocol, tuple, zone)?.connection;
  return found !== undefined && isLive(found, machine) ? found : refuse(ENOENT);
}

function get(call: Call, zeroes: boolean): void {
  const { machine, socket, request, attributes, family } = call;
  if (isDump(request)) {
    const wants = isFiltered(machine.release, attributes, family)
      ? filterOf(machine.release, attributes, family)
      : undefined;
    startDump(call, list(call, wants, zeroes));
    return;
  }
  const name = nameOf(attributes) ?? refuse(EINVAL);
  const connection = findLive(call, name);
  const { sequence, port } = request;
  socket.deliver(connectionMessage(machine, { sequence, port, flags: NLM_F_MULTI, use: 2 }, connection));
  if (zeroes) zero(connection);
}

function* list(
  { machine, namespace, request: { sequence, port } }: Call,
  wants: ((connection: Connection) => boolean) | undefined,
  zeroes: boolean,
): Generator<Uint8Array> {
  const flags = wants === undefined ? NLM_F_MULTI : NLM_F_MULTI | FILTERED;
  for (const connection of namespace.conntrack.connections) {
    if (!isLive(connection, machine) || wants?.(connection) === false) continue;
    yield connectionMessage(machine, { sequence, port, flags, use: 1 }, connection);
    if (zeroes) zero(connection);
  }
}

function zero({ counters }: Connection): void {
  for (const counter of counters ?? []) Object.assign(counter, { packets: 0n, bytes: 0n });
}

/** Connections whose end could not be told, and those that are not in the table yet: there are none. */
function none(call: Call): void {
  if (!isDump(call.request)) refuse(EOPNOTSUPP);
  startDump(call, []);
}

/** Ends one connection, or all that a filter lets through. */
function end(call: Call): void {
  const { machine, namespace, attributes, request, author } = call;
  const isNew = isSince(machine.release, [6, 11]);
  const hasFilter = attributes.has(Ct.CTA_FILTER);
  const name = nameOf(attributes);
  if (name !== undefined && !(isNew && hasFilter)) {
    const connection = findLive(call, name);
    const id = attributes.u32be(Ct.CTA_ID);
    if (id !== undefined && id !== connection.id) refuse(ENOENT);
    remove(machine, namespace, connection, author);
    return;
  }
  if (!isNew && hasFilter) refuse(EOPNOTSUPP);
  // The family counts only in messages of version 1.
  const family = request.bytes[17] === 0 ? 0 : call.family;
  const { release } = machine;
  const wants = isFiltered(release, attributes, family)
    ? filterOf(release, attributes, family, call.family)
    : undefined;
  for (const connection of [...namespace.conntrack.connections])
    if (wants?.(connection) !== false) remove(machine, namespace, connection, author);
}

/** What is told of a connection that a program has made or changed. */
const BY_PROGRAM =
  EVENT.reply | EVENT.assured | EVENT.helper | EVENT.protocol | EVENT.adjustment | EVENT.mark | EVENT.synproxy;

/** Creates a connection, or changes what may be changed of one (ctnetlink_new_conntrack). */
function createOrChange(call: Call): void {
  const { machine, namespace, request, attributes, family, author } = call;
  const original = readTuple(attributes, Ct.CTA_TUPLE_ORIG, family);
  const reply = readTuple(attributes, Ct.CTA_TUPLE_REPLY, family);
  const zone = readZone(attributes, [Ct.CTA_TUPLE_ORIG, 1], [Ct.CTA_TUPLE_REPLY, 2]);
  const named = original ?? reply;
  if (named?.protocol === DCCP && !isSince(machine.release, [6, 16]))
    machine.notModelled('connections of DCCP before Linux 6.16');
  const found = named && findTuple(namespace.conntrack, family, named.protocol, named.tuple, zone)?.connection;
  if (found !== undefined && !isLive(found, machine)) remove(machine, namespace, found);
  if (found === undefined || !isLive(found, machine)) {
    if ((request.flags & NLM_F_CREATE) === 0) refuse(ENOENT);
    if (original === undefined || reply === undefined || original.protocol !== reply.protocol) refuse(EINVAL);
    const connection = create(call, original!, reply!.tuple, zone);
    const isPart = connection.master !== undefined;
    const label = connection.labels !== undefined && attributes.has(Ct.CTA_LABELS) ? EVENT.label : 0;
    tell(machine, namespace, connection, BY_PROGRAM | (isPart ? EVENT.related : EVENT.new) | label, author);
    return;
  }
  if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST);
  change(call, found);
  tell(machine, namespace, found, BY_PROGRAM | EVENT.label, author);
}

function totals({ socket, request: { type, sequence, port }, namespace }: Call): void {
  const writer = new Writer();
  writer.message({ type, flags: 0, sequence, port }, () => {
    writer.raw(Uint8Array.of(0, 0, 0, 0));
    writer.u32be(Ct.CTA_STATS_GLOBAL_ENTRIES, namespace.conntrack.connections.size);
    writer.u32be(Ct.CTA_STATS_GLOBAL_MAX_ENTRIES, settingOf(namespace, 'max'));
  });
  socket.deliver(writer.take());
}

/** The counters of the one processor that there is. */
function perCpu(call: Call): void {
  const { request, namespace } = call;
  if (!isDump(request)) return;
  const { statistics } = namespace.conntrack;
  const fields: readonly (readonly [type: number, value: number])[] = [
    [Ct.CTA_STATS_FOUND, statistics.found],
    [Ct.CTA_STATS_INVALID, statistics.invalid],
    [Ct.CTA_STATS_INSERT, statistics.insert],
    [Ct.CTA_STATS_INSERT_FAILED, statistics.insertFailed],
    [Ct.CTA_STATS_DROP, statistics.drop],
    [Ct.CTA_STATS_EARLY_DROP, statistics.earlyDrop],
    [Ct.CTA_STATS_ERROR, statistics.error],
    [Ct.CTA_STATS_SEARCH_RESTART, 0],
    [Ct.CTA_STATS_CLASH_RESOLVE, 0],
    [Ct.CTA_STATS_CHAIN_TOOLONG, 0],
  ];
  startDump(call, [statisticsMessage(request, NFNL_SUBSYS_CTNETLINK, Ct.IPCTNL_MSG_CT_GET_STATS_CPU, fields)]);
}
