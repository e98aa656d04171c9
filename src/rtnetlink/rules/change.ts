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

/** Which rules a list is about. */
export interface RuleFilter {
  family?: IpFamily;
  signal?: AbortSignal;
}

const ENOENT = -2;
const EEXIST = -17;
/** No device can have this name, so a rule with it is one for no packet. */
const NO_DEVICE = 'not/a/device';

function headerOf(family: number): RuleHeader {
  return { family, dst_len: 0, src_len: 0, tos: 0, table: 0, action: 0, flags: 0 };
}

/** The rules of both families, or of one, in the order in which they are asked. */
export function* listRules(exchange: Exchange, filter: RuleFilter): Operation<Rule[]> {
  checkObject(filter, [], ['family', 'signal']);
  const family = filter.family === undefined ? undefined : checkOneOf(filter.family, ['family'], FAMILY_NAMES);
  const header = headerOf(family === undefined ? 0 : FAMILIES[family]);
  const found = yield* dump(exchange, RULE, { syscall: 'RTM_GETRULE', type: RTM_GETRULE, header });
  return present(found, ([head, attributes]) => readRule(head, attributes));
}

/** What two rules are compared by: all but what only the kernel says. */
function contentOf(rule: Rule): Record<string, unknown> {
  const { flags: _flags, unknown: _unknown, ...content } = rule;
  return content;
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_key, item) => (typeof item === 'bigint' ? `${item}n` : item)) ?? '';

/** The first field that differs. */
function difference(one: Record<string, unknown>, other: Record<string, unknown>): string | undefined {
  return [...new Set([...Object.keys(one), ...Object.keys(other)])].find(key => text(one[key]) !== text(other[key]));
}

/** Adds a rule. Kernels take selectors that they do not know, and the rule is then one for all packets: it is read back. */
export function* addRule(exchange: Exchange, rule: NewRule): Operation<void> {
  const { header, attributes } = writeNewRule(rule);
  const newer = Object.keys(NEWER).find(field => attributes[field as keyof RuleAttributes] !== undefined);
  // Tried where it does no harm: a rule for all packets would be in force until it is taken away.
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

/** Adds a rule and reads it back: what the kernel made, and what it ignored of it. */
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
    // The kernel chooses a priority where none is given.
    if (attributes.priority === undefined) own.priority = wanted.priority;
    return difference(wanted, own) === undefined;
  };
  const before = yield* listRules(exchange, { family });
  // The kernel's own check (NLM_F_EXCL) takes a rule with more selectors for the same one.
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
  // Somebody has removed it meanwhile.
  if (other === undefined) return {};
  const field = difference(wanted, { ...contentOf(other), priority: wanted.priority }) ?? 'priority';
  return { made: other, ignored: new UnsupportedError(`rules with ${field}`, NEWER[field]) };
}

function refused(exchange: Exchange, syscall: string, errno: number, subject: object, hint: string): NetlinkError {
  return new NetlinkError({ errno, syscall, operation: exchange.operation, subject, path: [], hint });
}

/** Removes the first rule that has all that is given. */
export function* removeRule(exchange: Exchange, rule: RuleKey): Operation<void> {
  const { header, attributes } = writeRule(rule);
  const { family: _family, flags, unknown: _unknown, ...given } = rule;
  if (Object.values(given).every(value => value === undefined))
    throw typeError([], 'a priority or a selector: the kernel would remove its first rule', rule, 'ERR_MISSING');
  const named = asRead(header, attributes);
  const all = yield* listRules(exchange, { family: named.family });
  const wanted = contentOf(named);
  // The reader puts a priority and an action where there are none.
  if (given.priority === undefined) delete wanted.priority;
  if (header.action === 0) delete wanted.action;
  const hasAll = (each: Rule) =>
    Object.entries(wanted).every(
      ([key, value]) => text((each as object as Record<string, unknown>)[key]) === text(value),
    );
  const isExactly = (each: Rule) => difference(wanted, contentOf(each)) === undefined;
  // A rule that was read has flags: it names itself, and no other with more selectors.
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

/** What the kernel does not compare when it looks for a rule to delete (rule_find in net/core/fib_rules.c). */
const NOT_COMPARED = new Set(['flags', 'unknown', 'not', 'suppressGroup', 'suppressPrefixLength', 'realm', 'goto']);

/** Whether the kernel would take `rule` when it is told to delete `target`: what `target` does not name is any. */
function isTaken(target: Rule, rule: Rule): boolean {
  return Object.entries(target).every(
    ([key, value]) => NOT_COMPARED.has(key) || text((rule as object as Record<string, unknown>)[key]) === text(value),
  );
}

/** Removes a rule that was read, by all that is known of it. */
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
