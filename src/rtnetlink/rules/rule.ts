import {
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  NO_CONTEXT,
  namedBits,
  sourceOf,
  type UnknownAttribute,
  Writer,
} from '../../codec/index.ts';
import { rangeError, typeError } from '../../errors.ts';
import { FIB_RULE_INVERT } from '../../linux/fib_rules.ts';
import { checkBoolean } from '../device.ts';
import { checkPrefix, FAMILIES, FAMILY_NAMES, familyName, type IpFamily } from '../prefix.ts';
import {
  numberOf,
  PROTOCOLS,
  type RouteProtocol,
  type RouteTable,
  tableName,
  tableNumber,
} from '../routes/attributes.ts';
import {
  ACTIONS,
  IP_PROTOCOLS,
  RULE,
  RULE_FLAGS,
  type RuleAction,
  type RuleAttributes,
  type RuleFlag,
  type RuleHeader,
  type RuleIpProtocol,
  type RulePorts,
  type RuleUsers,
} from './attributes.ts';

/** A policy rule, as it was read. Its action applies to packets that match all its selectors. */
export interface Rule
  extends Pick<
    RuleAttributes,
    | 'inDevice'
    | 'outDevice'
    | 'goto'
    | 'mark'
    | 'markMask'
    | 'realm'
    | 'tunnelId'
    | 'suppressGroup'
    | 'suppressPrefixLength'
    | 'dscp'
    | 'dscpMask'
    | 'flowLabel'
    | 'flowLabelMask'
    | 'sourcePortMask'
    | 'destinationPortMask'
  > {
  family: IpFamily;
  /** The kernel tries rules in the order of their priority, the lowest first. */
  priority: number;
  /** The source of packets, a prefix. Absent if any source matches. */
  from?: string;
  /** The destination of packets, a prefix. Absent if any destination matches. */
  to?: string;
  /** The type of service. Absent for 0, which matches any. */
  tos?: number;
  /** The rule applies to all packets that do not match its selectors. */
  not?: true;
  /** What the rule does: 'table', 'goto', 'blackhole' and others. */
  action: RuleAction | number;
  /** Action 'table': the routing table to use. */
  table?: RouteTable | number;
  /** Use the table of the VRF to which packets belong. */
  l3mdev?: true;
  /** The users whose packets match. */
  users?: RuleUsers;
  /** The transport protocol of packets. */
  ipProtocol?: RuleIpProtocol | number;
  /** The source ports of packets. */
  sourcePorts?: RulePorts;
  /** The destination ports of packets. */
  destinationPorts?: RulePorts;
  /** Who added the rule: 'kernel' for the first three, 'boot' for `ip rule add` and, by default, for this library. */
  protocol?: RouteProtocol | number;
  /** Read-only; `not` sets 'invert'. Bits without a name follow as one number. */
  flags: (RuleFlag | number)[];
  /** Attributes that this library does not know. */
  unknown?: UnknownAttribute[];
}

/** A rule to add. A rule that was read is accepted: fields that only the kernel sets are ignored. */
export interface NewRule extends Partial<Omit<Rule, 'not' | 'l3mdev'>> {
  /** The rule applies to all packets that do not match its selectors. */
  not?: boolean;
  /** Use the table of the VRF to which packets belong. */
  l3mdev?: boolean;
}

/** Selects the rule to remove: all given fields must match. At least a priority or a selector is needed. */
export type RuleKey = NewRule;

/** The value of a prefix length or a group, -1, that excludes no routes. */
const NONE = 0xffffffff;
const WHOLE_MASKS = {
  markMask: NONE,
  dscpMask: 63,
  flowLabelMask: 0xfffff,
  sourcePortMask: 0xffff,
  destinationPortMask: 0xffff,
} as const;

export function readRule(header: RuleHeader, value: RuleAttributes): Rule | undefined {
  const family = familyName(header.family);
  if (family === undefined) return undefined;
  const { from, to, priority = 0, table = header.table, l3mdev, protocol, mark, markMask, ...others } = value;
  const { suppressGroup, suppressPrefixLength, ...rest } = others;
  const prefix = (address: string | undefined, length: number) =>
    `${address ?? (family === 'ipv4' ? '0.0.0.0' : '::')}/${length}`;
  const rule: Rule = {
    family,
    priority,
    ...(header.src_len > 0 && { from: prefix(from, header.src_len) }),
    ...(header.dst_len > 0 && { to: prefix(to, header.dst_len) }),
    ...(header.tos !== 0 && { tos: header.tos }),
    ...((header.flags & FIB_RULE_INVERT) !== 0 && { not: true as const }),
    action: header.action,
    ...rest,
    flags: namedBits<RuleFlag>(header.flags, RULE_FLAGS),
  };
  if (table !== 0) rule.table = tableName(table);
  if (l3mdev === 1) rule.l3mdev = true;
  if (protocol !== undefined && protocol !== 'unspec') rule.protocol = protocol;
  if (suppressGroup !== undefined && suppressGroup !== NONE) rule.suppressGroup = suppressGroup;
  if (suppressPrefixLength !== undefined && suppressPrefixLength !== NONE)
    rule.suppressPrefixLength = suppressPrefixLength;
  if (mark !== undefined || markMask !== undefined) rule.mark = mark ?? 0;
  if (markMask !== undefined) rule.markMask = markMask;
  // Newer kernels report a mask of all bits if none was given. That is the default, so it is left out.
  for (const [field, all] of Object.entries(WHOLE_MASKS) as [keyof typeof WHOLE_MASKS, number][])
    if (rule[field] === all) delete rule[field];
  return rule;
}

const NUMBERS = {
  priority: NONE,
  goto: NONE,
  mark: NONE,
  markMask: NONE,
  realm: NONE,
  suppressGroup: NONE - 1,
  suppressPrefixLength: 128,
  dscp: 63,
  dscpMask: 63,
  flowLabel: 0xfffff,
  flowLabelMask: 0xfffff,
  sourcePortMask: 0xffff,
  destinationPortMask: 0xffff,
} as const;

/** The type of this object makes the compiler report a field that is missing here. */
const FIELDS = Object.keys({
  family: true,
  priority: true,
  from: true,
  to: true,
  tos: true,
  not: true,
  action: true,
  table: true,
  goto: true,
  inDevice: true,
  outDevice: true,
  mark: true,
  markMask: true,
  realm: true,
  tunnelId: true,
  suppressGroup: true,
  suppressPrefixLength: true,
  l3mdev: true,
  users: true,
  ipProtocol: true,
  sourcePorts: true,
  destinationPorts: true,
  dscp: true,
  dscpMask: true,
  flowLabel: true,
  flowLabelMask: true,
  sourcePortMask: true,
  destinationPortMask: true,
  protocol: true,
  flags: true,
  unknown: true,
} satisfies Record<keyof NewRule, true>);

function checkRange(value: unknown, field: string, min: number, max: number): { start: number; end: number } {
  checkObject(value, [field], ['start', 'end']);
  const { start, end } = value as { start: unknown; end: unknown };
  const first = checkInteger(start, [field, 'start'], min, max);
  return { start: first, end: checkInteger(end, [field, 'end'], first, max) };
}

/** Finds the family of a rule, which must be the family of its prefixes. */
function familyOf(rule: NewRule): IpFamily {
  const own = rule.family === undefined ? undefined : checkOneOf(rule.family, ['family'], FAMILY_NAMES);
  let family = own;
  for (const field of ['from', 'to'] as const) {
    if (rule[field] === undefined) continue;
    const prefix = checkPrefix(rule[field], [field]);
    if (family !== undefined && prefix.family !== family)
      throw rangeError([field], `a prefix of ${family}`, rule[field], 'ERR_FAMILY_MISMATCH');
    family = prefix.family;
  }
  return family ?? 'ipv4';
}

/** Writes the message for a rule. Fields that are not given are left out. */
export function writeRule(rule: NewRule): { header: RuleHeader; attributes: RuleAttributes } {
  checkObject(rule, [], FIELDS);
  const family = familyOf(rule);
  const attributes: RuleAttributes = {};
  const lengths = { from: 0, to: 0 };
  for (const field of ['from', 'to'] as const) {
    if (rule[field] === undefined) continue;
    const prefix = checkPrefix(rule[field], [field]);
    if (!prefix.isNetwork)
      throw rangeError([field], 'a prefix whose other bits are zero', rule[field], 'ERR_INVALID_ADDRESS');
    lengths[field] = prefix.length;
    // A prefix of length 0 matches every packet, so its address means nothing and is not sent.
    if (prefix.length > 0) attributes[field] = prefix.address;
  }
  for (const [field, max] of Object.entries(NUMBERS) as [keyof typeof NUMBERS, number][])
    if (rule[field] !== undefined) attributes[field] = checkInteger(rule[field], [field], 0, max);
  for (const field of ['inDevice', 'outDevice'] as const)
    if (rule[field] !== undefined) attributes[field] = checkString(rule[field], [field], 15);
  if (rule.tunnelId !== undefined) attributes.tunnelId = rule.tunnelId;
  if (rule.users !== undefined) attributes.users = checkRange(rule.users, 'users', 0, NONE);
  for (const field of ['sourcePorts', 'destinationPorts'] as const)
    if (rule[field] !== undefined) attributes[field] = checkRange(rule[field], field, 1, 0xffff);
  if (rule.ipProtocol !== undefined) {
    numberOf(rule.ipProtocol, ['ipProtocol'], IP_PROTOCOLS, 0xff);
    attributes.ipProtocol = rule.ipProtocol;
  }
  if (rule.protocol !== undefined) {
    numberOf(rule.protocol, ['protocol'], PROTOCOLS, 0xff);
    attributes.protocol = rule.protocol;
  }
  if (rule.l3mdev !== undefined && checkBoolean(rule.l3mdev, ['l3mdev'])) attributes.l3mdev = 1;
  // The kernel requires both attributes.
  if (attributes.flowLabel !== undefined) attributes.flowLabelMask ??= WHOLE_MASKS.flowLabelMask;
  const action = actionOf(rule);
  const table = rule.table === undefined ? 0 : tableNumber(rule.table);
  if (table > 0xff) attributes.table = table;
  refuseForeign(rule, family);
  return {
    header: {
      family: FAMILIES[family],
      dst_len: lengths.to,
      src_len: lengths.from,
      tos: rule.tos === undefined ? 0 : checkInteger(rule.tos, ['tos'], 0, 0xff),
      table: table > 0xff ? 0 : table,
      action,
      flags: rule.not !== undefined && checkBoolean(rule.not, ['not']) ? FIB_RULE_INVERT : 0,
    },
    attributes,
  };
}

function actionOf({ action, goto, table, l3mdev }: NewRule): RuleAction | number {
  if (action !== undefined) {
    numberOf(action, ['action'], ACTIONS, 0xff);
    return action;
  }
  if (goto !== undefined) return 'goto';
  return table !== undefined || l3mdev === true ? 'table' : 0;
}

/** Refuses fields that the kernel would accept but ignore. */
function refuseForeign(rule: NewRule, family: IpFamily): void {
  const refuse = (field: keyof NewRule, expected: string): never => {
    throw typeError([field], expected, rule[field], 'ERR_CONFLICT');
  };
  if (rule.flowLabel !== undefined && family !== 'ipv6') refuse('flowLabel', 'nothing: only IPv6 has flow labels');
  if (rule.realm !== undefined && family !== 'ipv4') refuse('realm', 'nothing: only IPv4 has realms');
  if (rule.tos !== undefined && rule.dscp !== undefined) refuse('dscp', 'nothing beside tos');
  if (rule.goto !== undefined && rule.action !== undefined && rule.action !== 'goto')
    refuse('goto', "the action 'goto' beside it");
  for (const [mask, of] of [
    ['markMask', 'mark'],
    ['dscpMask', 'dscp'],
    ['flowLabelMask', 'flowLabel'],
    ['sourcePortMask', 'sourcePorts'],
    ['destinationPortMask', 'destinationPorts'],
  ] as const)
    if (rule[mask] !== undefined && rule[of] === undefined) refuse(mask, `${of} beside it`);
}

/** Converts a message to the rule that would be read back. */
export function asRead(header: RuleHeader, attributes: RuleAttributes): Rule {
  const writer = new Writer();
  RULE.header.write(writer, header);
  RULE.partial.write(writer, attributes, NO_CONTEXT);
  const source = sourceOf(writer.copy());
  const end = source.bytes.length;
  const rule = readRule(
    RULE.header.read(source, 0, end) ?? header,
    RULE.table.read(source, RULE.header.size, end, NO_CONTEXT) ?? attributes,
  );
  if (rule === undefined) throw typeError(['family'], 'a family with rules', header.family);
  return rule;
}

/** Writes the message for a new rule, which must have an action. */
export function writeNewRule(rule: NewRule): { header: RuleHeader; attributes: RuleAttributes } {
  const { header, attributes } = writeRule(rule);
  if (header.action === 0) throw typeError(['table'], 'a table, goto or an action', undefined, 'ERR_MISSING');
  if (header.action === 'table' && rule.table === undefined && rule.l3mdev !== true)
    throw typeError(['table'], 'the table to look into', undefined, 'ERR_MISSING');
  if (rule.table !== undefined && header.table === 0 && attributes.table === undefined)
    throw rangeError(['table'], 'a table from 1', rule.table);
  if (header.action === 'goto' && rule.goto === undefined)
    throw typeError(['goto'], 'the priority to go to', undefined, 'ERR_MISSING');
  attributes.protocol ??= 'boot';
  return { header, attributes };
}
