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

/** A policy rule, as it was read: packets that have all that it names take its action. */
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
  /** Rules are asked in this order, the lowest first. */
  priority: number;
  /** The source of packets, a prefix; any where absent. */
  from?: string;
  /** The destination of packets, a prefix; any where absent. */
  to?: string;
  /** Type of service; absent for 0, which is any. */
  tos?: number;
  /** The rule is for all packets that do not have what it names. */
  not?: true;
  action: RuleAction | number;
  /** Action 'table': the table that is looked into. */
  table?: RouteTable | number;
  /** The table is that of the VRF that packets belong to. */
  l3mdev?: true;
  users?: RuleUsers;
  ipProtocol?: RuleIpProtocol | number;
  sourcePorts?: RulePorts;
  destinationPorts?: RulePorts;
  /** Who added it: 'kernel' for the first three, 'boot' for `ip rule add` and for this library by default. */
  protocol?: RouteProtocol | number;
  /** Only read; `not` sets 'invert'. Bits without a name are one number at the end. */
  flags: (RuleFlag | number)[];
  /** Attributes that this library does not know. */
  unknown?: UnknownAttribute[];
}

/** A rule to add. One that was read can be added as it is: what only the kernel sets is ignored. */
export interface NewRule extends Partial<Omit<Rule, 'not' | 'l3mdev'>> {
  not?: boolean;
  l3mdev?: boolean;
}

/** Which rule to remove: all that is given must be so. At least a priority or a selector is needed. */
export type RuleKey = NewRule;

/** No table is kept from a rule by a prefix length or a group of -1. */
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
  // All bits are looked at where no mask is given, and newer kernels say so.
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

/** The compiler finds a field that is missing here. */
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

/** The family of a rule, which must be that of its prefixes. */
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

/** The message for a rule. What is not given is left out. */
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
    // Without a length the kernel would take it for every packet.
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
  // The kernel wants both.
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

/** What the kernel would take and do nothing with. */
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

/** A message as it would be read. */
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

/** The message for a new rule: it must say what is done. */
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
