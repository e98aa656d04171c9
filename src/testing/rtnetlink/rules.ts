import * as Rule from '../../linux/fib_rules.ts';
import { NLM_F_EXCL, NLM_F_MULTI } from '../../linux/netlink.ts';
import * as Rt from '../../linux/rtnetlink.ts';
import { AF_INET, AF_INET6 } from '../../linux/socket.ts';
import type { Namespace } from '../machine/state.ts';
import { EAFNOSUPPORT, EEXIST, EINVAL, ENOENT, refuse } from '../refusal.ts';
import { textOf, type Writer } from '../wire/attributes.ts';
import { type Call, equal, HEADER, message, partsOf, tell } from './call.ts';
import type { PolicyRule } from './state.ts';

/* Rules that choose the table in which a route is looked up (net/core/fib_rules.c). */

/** fib_rule_hdr */
const LENGTH = 12;
const ALL_ONES = 0xffff_ffff;
/** Attributes that are kept as they are given, in the order in which the kernel tells them. */
const KEPT: readonly number[] = [
  Rule.FRA_IIFNAME,
  Rule.FRA_OIFNAME,
  Rule.FRA_FWMARK,
  Rule.FRA_FWMASK,
  Rule.FRA_TUN_ID,
  Rule.FRA_L3MDEV,
  Rule.FRA_UID_RANGE,
  Rule.FRA_SPORT_RANGE,
  Rule.FRA_DPORT_RANGE,
  Rule.FRA_IP_PROTO,
];

function readRule(call: Call): { rule: PolicyRule; hasPriority: boolean } {
  const { header, attributes } = partsOf(call, LENGTH);
  const family = header.getUint8(0);
  if (family !== AF_INET && family !== AF_INET6) refuse(EAFNOSUPPORT);
  const width = family === AF_INET ? 4 : 16;
  const network = (type: number, bits: number): PolicyRule['from'] => {
    if (bits > width * 8) refuse(EINVAL);
    const bytes = attributes.get(type)?.bytes;
    return bytes === undefined || bits === 0 ? undefined : { address: bytes.slice(0, width), bits };
  };
  const to = network(Rule.FRA_DST, header.getUint8(1));
  const from = network(Rule.FRA_SRC, header.getUint8(2));
  for (const type of [Rule.FRA_GOTO, Rule.FRA_SUPPRESS_IFGROUP, Rule.FRA_SUPPRESS_PREFIXLEN])
    if (attributes.has(type) && attributes.u32(type) !== ALL_ONES)
      call.machine.notModelled('rules that go to other rules, or that suppress routes');
  const others = new Map<number, Uint8Array>();
  for (const type of KEPT) {
    const bytes = attributes.get(type)?.bytes.slice();
    if (bytes !== undefined) others.set(type, bytes);
  }
  if (others.has(Rule.FRA_FWMARK) && !others.has(Rule.FRA_FWMASK))
    others.set(Rule.FRA_FWMASK, Uint8Array.of(255, 255, 255, 255));
  const action = header.getUint8(7);
  const table = attributes.u32(Rule.FRA_TABLE) ?? header.getUint8(4);
  const priority = attributes.u32(Rule.FRA_PRIORITY);
  return {
    hasPriority: priority !== undefined,
    rule: {
      family,
      priority: priority ?? 0,
      action,
      table,
      flags: header.getUint32(8, true) & Rule.FIB_RULE_INVERT,
      tos: header.getUint8(3),
      from,
      to,
      protocol: attributes.u8(Rule.FRA_PROTOCOL) ?? 0,
      others,
    },
  };
}

/** Flags of a rule, with those of devices that there are not. */
function flagsOf({ links }: Namespace, { flags, others }: PolicyRule): number {
  const isDetached = (type: number) => {
    const name = others.get(type);
    return name !== undefined && !links.some(each => each.name === textOf(name));
  };
  return (
    flags |
    (isDetached(Rule.FRA_IIFNAME) ? Rule.FIB_RULE_IIF_DETACHED : 0) |
    (isDetached(Rule.FRA_OIFNAME) ? Rule.FIB_RULE_OIF_DETACHED : 0)
  );
}

function writeRule(writer: Writer, namespace: Namespace, rule: PolicyRule): void {
  const header = new Uint8Array(LENGTH);
  const view = new DataView(header.buffer);
  header.set([
    rule.family,
    rule.to?.bits ?? 0,
    rule.from?.bits ?? 0,
    rule.tos,
    rule.table < 256 ? rule.table : 252,
    0,
    0,
    rule.action,
  ]);
  view.setUint32(8, flagsOf(namespace, rule), true);
  writer.raw(header);
  writer.u32(Rule.FRA_TABLE, rule.table);
  writer.u32(Rule.FRA_SUPPRESS_PREFIXLEN, ALL_ONES);
  writer.u8(Rule.FRA_PROTOCOL, rule.protocol);
  const other = (type: number) => {
    const bytes = rule.others.get(type);
    if (bytes !== undefined) writer.attribute(type, bytes);
  };
  other(Rule.FRA_IIFNAME);
  other(Rule.FRA_OIFNAME);
  if (rule.priority !== 0) writer.u32(Rule.FRA_PRIORITY, rule.priority);
  for (const type of KEPT.slice(2)) other(type);
  if (rule.to !== undefined) writer.attribute(Rule.FRA_DST, rule.to.address);
  if (rule.from !== undefined) writer.attribute(Rule.FRA_SRC, rule.from.address);
}

const sameNetwork = (a: PolicyRule['from'], b: PolicyRule['from']): boolean =>
  a === b || (a !== undefined && b !== undefined && a.bits === b.bits && equal(a.address, b.address));
const sameOthers = ({ others: a }: PolicyRule, { others: b }: PolicyRule): boolean =>
  a.size === b.size && [...a].every(([type, bytes]) => b.has(type) && equal(b.get(type)!, bytes));

const groupOf = ({ family }: PolicyRule): number => (family === AF_INET ? Rt.RTNLGRP_IPV4_RULE : Rt.RTNLGRP_IPV6_RULE);

/** A rule without a priority comes before the second one. */
export function newRule(call: Call): void {
  const { rule, hasPriority } = readRule(call);
  const { policyRules } = call.namespace;
  const own = policyRules.filter(({ family }) => family === rule.family);
  const priority = hasPriority ? rule.priority : Math.max((own[1]?.priority ?? 1) - 1, 0);
  const made: PolicyRule = { ...rule, priority };
  const isSame = (each: PolicyRule) =>
    each.priority === made.priority &&
    each.action === made.action &&
    each.table === made.table &&
    each.tos === made.tos &&
    each.flags === made.flags &&
    sameNetwork(each.from, made.from) &&
    sameNetwork(each.to, made.to) &&
    sameOthers(each, made);
  if ((call.request.flags & NLM_F_EXCL) !== 0 && own.some(isSame)) refuse(EEXIST);
  const at = policyRules.findIndex(each => each.family === made.family && each.priority > made.priority);
  policyRules.splice(at < 0 ? policyRules.findLastIndex(each => each.family === made.family) + 1 : at, 0, made);
  tell(call, groupOf(made), Rt.RTM_NEWRULE, 0, writer => writeRule(writer, call.namespace, made));
}

/** What is given must agree; the first such rule goes. */
export function deleteRule(call: Call): void {
  const { rule, hasPriority } = readRule(call);
  const { policyRules } = call.namespace;
  const found =
    policyRules.find(
      each =>
        each.family === rule.family &&
        (!hasPriority || each.priority === rule.priority) &&
        (rule.action === 0 || each.action === rule.action) &&
        (rule.table === 0 || each.table === rule.table) &&
        (rule.tos === 0 || each.tos === rule.tos) &&
        (rule.protocol === 0 || each.protocol === rule.protocol) &&
        (rule.from === undefined || sameNetwork(each.from, rule.from)) &&
        (rule.to === undefined || sameNetwork(each.to, rule.to)) &&
        [...rule.others].every(([type, bytes]) => each.others.has(type) && equal(each.others.get(type)!, bytes)),
    ) ?? refuse(ENOENT);
  policyRules.splice(policyRules.indexOf(found), 1);
  tell(call, groupOf(found), Rt.RTM_DELRULE, 0, writer => writeRule(writer, call.namespace, found));
}

export function* listRules({ namespace, request }: Call): Generator<Uint8Array> {
  const family = request.bytes[HEADER] ?? 0;
  for (const rule of namespace.policyRules)
    if (family === 0 || rule.family === family)
      yield message(request, Rt.RTM_NEWRULE, NLM_F_MULTI, writer => writeRule(writer, namespace, rule));
}
