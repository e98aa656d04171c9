import { checkObject, checkOneOf } from '../../codec/index.ts';
import { NetlinkError, rangeError, typeError, UnsupportedError } from '../../errors.ts';
import { NLM_F_CREATE } from '../../linux/netlink.ts';
import { RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE } from '../../linux/rtnetlink.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import { present } from '../devices.ts';
import { FAMILIES, FAMILY_NAMES, type IpFamily } from '../prefix.ts';
import { dump, request } from '../request.ts';
import { NEWER, RULE, type RuleAttributes, type RuleHeader } from './attributes.ts';
import { asRead, type NewRule, type Rule, type RuleKey, readRule, writeNewRule, writeRule } from './rule.ts';

/** Selects the rules of a list. */
export interface RuleFilter {
  /** Only rules of this family. */
  family?: IpFamily;
  /** Ends the call: before the send, and between reads. */
  signal?: AbortSignal;
}

const ENOENT = -2;
const EEXIST = -17;
/** No device can have this name, so a rule with it matches no packet. */
const NO_DEVICE = 'not/a/device';

function headerOf(family: number): RuleHeader {
  return { family, dst_len: 0, src_len: 0, tos: 0, table: 0, action: 0, flags: 0 };
}

/** Lists the rules of both families, or of one, in the order in which the kernel tries them. */
export function* listRules(exchange: Exchange, filter: RuleFilter): Operation<Rule[]> {
  checkObject(filter, [], ['family', 'signal']);
  const family = filter.family === undefined ? undefined : checkOneOf(filter.family, ['family'], FAMILY_NAMES);
  const header = headerOf(family === undefined ? 0 : FAMILIES[family]);
  const found = yield* dump(exchange, RULE, { syscall: 'RTM_GETRULE', type: RTM_GETRULE, header });
  return present(found, ([head, attributes]) => readRule(head, attributes));
}

/** The fields by which two rules are compared: all fields except those that only the kernel sets. */
function contentOf(rule: Rule): Record<string, unknown> {
  const { flags: _flags, unknown: _unknown, ...content } = rule;
  return content;
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_key, item) => (typeof item === 'bigint' ? `${item}n` : item)) ?? '';

/** Finds the first field that differs. */
function difference(one: Record<string, unknown>, other: Record<string, unknown>): string | undefined {
  return [...new Set([...Object.keys(one), ...Object.keys(other)])].find(key => text(one[key]) !== text(other[key]));
}

/** Adds a rule, and reads it back. Kernels accept selectors that they do not know, and the rule then matches all packets. */
export function* addRule(exchange: Exchange, rule: NewRule): Operation<void> {
  const { header, attributes } = writeNewRule(rule);
  const newer = Object.keys(NEWER).find(field => attributes[field as keyof RuleAttributes] !== undefined);
  // The first try matches no packet. Otherwise a rule for all packets would be in force until it is removed.
  if (newer !== undefined) {
    const probe = yield* tryRule(exchange, rule, header, { ...attributes, inDevice: NO_DEVICE });
    if (probe.made !== undefined) yield* deleteRule(exchange, probe.made, rule);
    if (probe.ignored !== undefined) throw probe.ignored;
  }
  const { made, ignored } = yield* tryRule(exchange, rule, header, attributes);
  if (ignored === undefined) return;
  if (made !== undefined) yield* deleteRule(exchange, made, rule);
  throw ignored;
}

/** Adds a rule and reads it back. @returns the rule that the kernel created, and the field that it ignored */
function* tryRule(
  exchange: Exchange,
  rule: NewRule,
  header: RuleHeader,
  attributes: RuleAttributes,
): Operation<{ made?: Rule; ignored?: UnsupportedError }> {
  const wanted = contentOf(asRead(header, attributes));
  const family = wanted.family as IpFamily;
  const isWanted = (each: Rule) => {
    const own = contentOf(each);
    // The kernel chooses a priority if none is given.
    if (attributes.priority === undefined) own.priority = wanted.priority;
    return difference(wanted, own) === undefined;
  };
  const before = yield* listRules(exchange, { family });
  // The kernel's own check (NLM_F_EXCL) cannot be used, because it confuses the rule with a rule that has more selectors.
  if (before.some(isWanted)) throw refused(exchange, 'RTM_NEWRULE', EEXIST, rule, 'there is such a rule');
  yield* exchange.request(
    request(RULE, {
      syscall: 'RTM_NEWRULE',
      type: RTM_NEWRULE,
      flags: NLM_F_CREATE,
      header,
      value: attributes,
      subject: rule,
      refusals: { hints: { EAFNOSUPPORT: 'this kernel has no policy rules for this family' }, blame: {} },
    }),
  );
  const after = yield* listRules(exchange, { family });
  const made = after.find(isWanted);
  if (made !== undefined) return { made };
  const left = before.map(each => text(contentOf(each)));
  const other = after.find(each => {
    const at = left.indexOf(text(contentOf(each)));
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
  // Another program has removed the rule since.
  if (other === undefined) return {};
  const field = difference(wanted, { ...contentOf(other), priority: wanted.priority }) ?? 'priority';
  return { made: other, ignored: new UnsupportedError(`rules with ${field}`, NEWER[field]) };
}

function refused(exchange: Exchange, syscall: string, errno: number, subject: object, hint: string): NetlinkError {
  return new NetlinkError({ errno, syscall, operation: exchange.operation, subject, path: [], hint });
}

/** Removes the first rule that has all given fields. */
export function* removeRule(exchange: Exchange, rule: RuleKey): Operation<void> {
  const { header, attributes } = writeRule(rule);
  const { family: _family, flags, unknown: _unknown, ...given } = rule;
  if (Object.values(given).every(value => value === undefined))
    throw typeError([], 'a priority or a selector: the kernel would remove its first rule', rule, 'ERR_MISSING');
  const named = asRead(header, attributes);
  const all = yield* listRules(exchange, { family: named.family });
  const wanted = contentOf(named);
  // The reader fills in a priority and an action if they are absent.
  if (given.priority === undefined) delete wanted.priority;
  if (header.action === 0) delete wanted.action;
  const hasAll = (each: Rule) =>
    Object.entries(wanted).every(
      ([key, value]) => text((each as object as Record<string, unknown>)[key]) === text(value),
    );
  const isExactly = (each: Rule) => difference(wanted, contentOf(each)) === undefined;
  // A rule that was read has flags. It identifies only itself, and no rule with more selectors.
  const target = all.find(isExactly) ?? (flags === undefined ? all.find(hasAll) : undefined);
  if (target === undefined) throw refused(exchange, 'RTM_DELRULE', ENOENT, rule, 'there is no such rule');
  const first = all.find(each => isTaken(target, each));
  if (first !== target)
    throw rangeError(
      [],
      `a rule that the kernel can tell from the one before it (priority ${first?.priority}): remove that first`,
      rule,
      'ERR_CONFLICT',
    );
  yield* deleteRule(exchange, target, rule);
}

/** Fields that the kernel does not compare when it looks for a rule to delete (rule_find in net/core/fib_rules.c). */
const NOT_COMPARED = new Set(['flags', 'unknown', 'not', 'suppressGroup', 'suppressPrefixLength', 'realm', 'goto']);

/** Whether the kernel could take `rule` when it is told to delete `target`. A field that `target` lacks matches any value. */
function isTaken(target: Rule, rule: Rule): boolean {
  return Object.entries(target).every(
    ([key, value]) => NOT_COMPARED.has(key) || text((rule as object as Record<string, unknown>)[key]) === text(value),
  );
}

/** Removes a rule that was read. It sends all known fields, to match no other rule. */
function* deleteRule(exchange: Exchange, target: Rule, subject: object): Operation<void> {
  const { header, attributes } = writeRule(target);
  attributes.priority = target.priority;
  yield* exchange.request(
    request(RULE, {
      syscall: 'RTM_DELRULE',
      type: RTM_DELRULE,
      header,
      value: attributes,
      subject,
      refusals: {
        hints: { ENOENT: 'there is no such rule', EPERM: 'this rule is permanent' },
        blame: {},
      },
    }),
  );
}
