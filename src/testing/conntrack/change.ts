import {
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_DYING,
  IPS_EXPECTED,
  IPS_FIXED_TIMEOUT,
  IPS_HELPER,
  IPS_SEEN_REPLY,
  IPS_SEQ_ADJUST,
} from '../../linux/nf_conntrack_common.ts';
import * as Ct from '../../linux/nfnetlink_conntrack.ts';
import { AF_INET } from '../../linux/socket.ts';
import type { Namespace } from '../machine/state.ts';
import { EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM, ERANGE, refuse } from '../refusal.ts';
import type { Attributes } from '../wire/attributes.ts';
import type { Call } from './call.ts';
import { forget, tellExpectation } from './expectations.ts';
import { hasHelper } from './helpers.ts';
import { type Range, setUp } from './nat.ts';
import { type NamedTuple, readTuple } from './read.ts';
import type { Adjustment, Connection, Tuple, Zone } from './state.ts';
import { insert, makeRoom, newConnection } from './table.ts';
import { findTuple, SCTP, TCP } from './tuples.ts';

/* What programs may set of connections (ctnetlink_create_conntrack, ctnetlink_change_conntrack). */

/** IPS_UNCHANGEABLE_MASK: bits of a status that programs cannot set. */
const FIXED = ~(IPS_SEEN_REPLY | IPS_ASSURED | IPS_FIXED_TIMEOUT | IPS_HELPER);
/** The kernel counts at most so many ticks; a second has 250. */
const MOST_TICKS = 0x7fff_ffffn;
const TICK = 4n;

function setTimeout(call: Call, connection: Connection, seconds: number): void {
  const ticks = (BigInt(seconds) * 1000n) / TICK;
  connection.timeout = (ticks > MOST_TICKS ? MOST_TICKS : ticks) * TICK;
  connection.expires = call.machine.now + connection.timeout;
}

/** Makes a connection as a message describes it. */
export function create(call: Call, original: NamedTuple, reply: Tuple, zone: Zone): Connection {
  const { machine, namespace, attributes, family } = call;
  if (!makeRoom(machine, namespace)) refuse(ENOMEM);
  const connection = newConnection(machine, namespace, family, original.protocol, original.tuple, reply, zone);
  const seconds = attributes.u32be(Ct.CTA_TIMEOUT) ?? refuse(EINVAL);
  setTimeout(call, connection, seconds);
  const helper = helperOf(attributes);
  if (helper !== undefined) {
    if (!hasHelper(helper, connection.protocol)) refuse(EOPNOTSUPP);
    connection.helper = helper;
    connection.status |= IPS_HELPER;
  }
  translateNew(namespace, connection, attributes);
  connection.synproxy = [0, 0, 0];
  connection.adjustments = [
    [0, 0, 0],
    [0, 0, 0],
  ];
  connection.status |= IPS_CONFIRMED;
  setStatus(connection, attributes);
  setAdjustments(connection, attributes);
  setProtocol(connection, attributes);
  setProxy(connection, attributes);
  setMark(connection, attributes);
  setLabels(connection, attributes, false);
  const master = readTuple(attributes, Ct.CTA_TUPLE_MASTER, family);
  if (master !== undefined) {
    const found = findTuple(namespace.conntrack, family, master.protocol, master.tuple, zone);
    connection.master = found?.connection ?? refuse(ENOENT);
    connection.status |= IPS_EXPECTED;
  }
  if (!insert(namespace, connection)) refuse(EEXIST);
  return connection;
}

/** Changes what a message names. */
export function change(call: Call, connection: Connection): void {
  const { attributes } = call;
  for (const type of [Ct.CTA_NAT_SRC, Ct.CTA_NAT_DST, Ct.CTA_TUPLE_MASTER])
    if (attributes.has(type)) refuse(EOPNOTSUPP);
  const helper = helperOf(attributes);
  if (helper !== undefined) changeHelper(call, connection, helper);
  const seconds = attributes.u32be(Ct.CTA_TIMEOUT);
  if (seconds !== undefined) {
    if ((connection.status & IPS_FIXED_TIMEOUT) !== 0) refuse(EPERM);
    setTimeout(call, connection, seconds);
  }
  setStatus(connection, attributes);
  setProtocol(connection, attributes);
  setMark(connection, attributes);
  setAdjustments(connection, attributes);
  setProxy(connection, attributes);
  setLabels(connection, attributes, true);
}

function helperOf(attributes: Attributes): string | undefined {
  const help = attributes.nested(Ct.CTA_HELP);
  return help && (help.text(Ct.CTA_HELP_NAME) ?? refuse(EINVAL));
}

function changeHelper({ machine, namespace, author }: Call, connection: Connection, name: string): void {
  if (connection.master !== undefined) {
    if (connection.helper !== name) refuse(EBUSY);
    return;
  }
  if (name === '') {
    if (connection.helper === undefined) return;
    connection.helper = undefined;
    for (const expectation of [...namespace.conntrack.expectations])
      if (expectation.master === connection) {
        forget(namespace, expectation);
        tellExpectation(machine, namespace, 'destroy', expectation, author);
      }
    return;
  }
  if (!hasHelper(name, connection.protocol)) refuse(EOPNOTSUPP);
  if (connection.helper === undefined) refuse((connection.status & IPS_HELPER) === 0 ? EOPNOTSUPP : EBUSY);
  if (connection.helper !== name) refuse(EBUSY);
}

function setStatus(connection: Connection, attributes: Attributes): void {
  const status = attributes.u32be(Ct.CTA_STATUS);
  if (status === undefined) return;
  const difference = connection.status ^ status;
  if ((difference & (IPS_EXPECTED | IPS_CONFIRMED | IPS_DYING)) !== 0) refuse(EBUSY);
  if ((difference & (IPS_SEEN_REPLY | IPS_ASSURED) & ~status) !== 0) refuse(EBUSY);
  connection.status |= status & ~FIXED;
}

function setMark(connection: Connection, attributes: Attributes): void {
  const mark = attributes.u32be(Ct.CTA_MARK);
  if (mark === undefined) return;
  const mask = attributes.u32be(Ct.CTA_MARK_MASK);
  const kept = mask === undefined ? 0 : ~mask;
  connection.mark = ((connection.mark & kept) ^ mark) >>> 0;
}

/** Words of labels that are given; with a mask, its bits count, and bits of the value outside of it are turned round. */
function setLabels(connection: Connection, attributes: Attributes, isChange: boolean): void {
  const given = attributes.get(Ct.CTA_LABELS)?.bytes;
  if (given === undefined) return;
  if (given.length === 0 || given.length % 4 !== 0) refuse(EINVAL);
  const mask = attributes.get(Ct.CTA_LABELS_MASK)?.bytes;
  if (mask !== undefined && (mask.length === 0 || mask.length !== given.length)) refuse(EINVAL);
  if (connection.labels === undefined) {
    if (isChange) refuse(ENOSPC);
    return;
  }
  connection.labels = connection.labels.map((old, i) => {
    if (i >= given.length) return 0;
    return mask === undefined ? given[i]! : ((old & ~mask[i]!) ^ given[i]!) & 255;
  });
}

function setAdjustments(connection: Connection, attributes: Attributes): void {
  if (connection.adjustments === undefined) return;
  const [original, reply] = [Ct.CTA_SEQ_ADJ_ORIG, Ct.CTA_SEQ_ADJ_REPLY].map((type, i) => {
    const inside = attributes.nested(type);
    if (inside === undefined) return connection.adjustments![i]!;
    const number = (at: number): number => inside.u32be(at) ?? refuse(EINVAL);
    const adjustment: Adjustment = [
      number(Ct.CTA_SEQADJ_CORRECTION_POS),
      number(Ct.CTA_SEQADJ_OFFSET_BEFORE),
      number(Ct.CTA_SEQADJ_OFFSET_AFTER),
    ];
    connection.status |= IPS_SEQ_ADJUST;
    return adjustment;
  }) as [Adjustment, Adjustment];
  connection.adjustments = [original, reply];
}

function setProxy(connection: Connection, attributes: Attributes): void {
  const inside = attributes.nested(Ct.CTA_SYNPROXY);
  if (inside === undefined || connection.synproxy === undefined) return;
  const number = (at: number): number => inside.u32be(at) ?? refuse(EINVAL);
  connection.synproxy = [number(Ct.CTA_SYNPROXY_ISN), number(Ct.CTA_SYNPROXY_ITS), number(Ct.CTA_SYNPROXY_TSOFF)];
}

const LAST_TCP_STATE = 9;
const LARGEST_SCALE = 14;
const WINDOW_SCALE = 1;

function setProtocol(connection: Connection, attributes: Attributes): void {
  const info = attributes.nested(Ct.CTA_PROTOINFO);
  if (info === undefined) return;
  if (connection.protocol === TCP) {
    const inside = info.nested(Ct.CTA_PROTOINFO_TCP);
    if (inside !== undefined) setTcp(connection, inside);
  } else if (connection.protocol === SCTP) {
    const inside = info.nested(Ct.CTA_PROTOINFO_SCTP);
    if (inside === undefined) return;
    const state = inside.u8(Ct.CTA_PROTOINFO_SCTP_STATE) ?? refuse(EINVAL);
    const tag = (type: number): number => inside.u32be(type) ?? refuse(EINVAL);
    connection.sctp = {
      state,
      tags: [tag(Ct.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL), tag(Ct.CTA_PROTOINFO_SCTP_VTAG_REPLY)],
    };
  }
}

function setTcp({ tcp }: Connection, inside: Attributes): void {
  const state = inside.u8(Ct.CTA_PROTOINFO_TCP_STATE);
  if (state !== undefined && state > LAST_TCP_STATE) refuse(ERANGE);
  if (state !== undefined) tcp.state = state;
  for (const [i, type] of [Ct.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, Ct.CTA_PROTOINFO_TCP_FLAGS_REPLY].entries()) {
    const [flags, mask] = inside.get(type)?.bytes ?? [];
    const end = tcp.ends[i]!;
    if (flags !== undefined && mask !== undefined) end.flags = (end.flags & ~mask) | (flags & mask);
  }
  const scales = [Ct.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, Ct.CTA_PROTOINFO_TCP_WSCALE_REPLY].map(type => inside.u8(type));
  if (scales.some(scale => scale !== undefined && scale > LARGEST_SCALE)) refuse(ERANGE);
  const [first, second] = scales;
  const bothScale = (tcp.ends[0].flags & tcp.ends[1].flags & WINDOW_SCALE) !== 0;
  if (first === undefined || second === undefined || !bothScale) return;
  tcp.ends[0].scale = first;
  tcp.ends[1].scale = second;
}

/** The translation that a program asks for: with one side given, the other stays as it is. */
function translateNew(namespace: Namespace, connection: Connection, attributes: Attributes): void {
  if (!attributes.has(Ct.CTA_NAT_DST) && !attributes.has(Ct.CTA_NAT_SRC)) return;
  const isV4 = connection.family === AF_INET;
  for (const [type, manip] of [
    [Ct.CTA_NAT_DST, 'destination'],
    [Ct.CTA_NAT_SRC, 'source'],
  ] as const)
    setUp(namespace, connection, rangeOf(attributes.nested(type), isV4), manip);
}

function rangeOf(inside: Attributes | undefined, isV4: boolean): Range | undefined {
  if (inside === undefined) return undefined;
  const min = inside.get(isV4 ? Ct.CTA_NAT_V4_MINIP : Ct.CTA_NAT_V6_MINIP)?.bytes.slice();
  const max = inside.get(isV4 ? Ct.CTA_NAT_V4_MAXIP : Ct.CTA_NAT_V6_MAXIP)?.bytes.slice() ?? min;
  const ports = inside.nested(Ct.CTA_NAT_PROTO);
  const portMin = ports?.u16be(Ct.CTA_PROTONAT_PORT_MIN);
  const portMax = ports?.u16be(Ct.CTA_PROTONAT_PORT_MAX) ?? portMin;
  return {
    flags: (min === undefined ? 0 : 1) | (portMin === undefined ? 0 : 2),
    addressMin: min,
    addressMax: max,
    portMin,
    portMax,
  };
}
