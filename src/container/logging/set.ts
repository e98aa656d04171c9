import { checkInteger, checkObject, checkOneOf, checkString } from '../../codec/index.ts';
import { rangeError, typeError } from '../../errors.ts';
import type { RecordLevel } from '../../nflog/index.ts';
import { type DesiredRuleset, type Rule, type Statement, Transaction } from '../../nftables/index.ts';
import type { Interfaces } from '../../nftables/interfaces.ts';
import { modelOf } from '../../nftables/plan/ruleset-model.ts';
import type { OwnedDifference } from '../owned/difference.ts';
import { WantedTable } from '../owned/model.ts';
import { FAMILY, OWNED } from '../owned/table.ts';
import { checkLabels, logComment, logName } from './comment.ts';

export const HOOKS = ['prerouting', 'input', 'forward', 'output'] as const;
export type LogHook = (typeof HOOKS)[number];

/** A rule that sends packets of a container to an NFLOG group. */
export interface LogRule {
  /** The NFLOG group, 0 to 65535. */
  group: number;
  /** The text that each packet carries, 1 to 127 bytes. If the rules of a group have different prefixes, `packet.rule` tells the rule. */
  prefix?: string;
  /** Which packets, as statements of nft's language; default all. */
  match?: readonly Statement[];
  /** The hook at which packets are logged; default 'input'. */
  hook?: LogHook;
  /** The level of its packets' records, unless `log.to` is given another; default 'info'. */
  level?: RecordLevel;
  /** The `ruleName` of its packets' records, 1 to 64 bytes; default the prefix. */
  name?: string;
}

/** The differences between a container's log rules and the wanted ones. */
export interface LogDrift {
  /** Log rules that should be there and are not. */
  missing: LogRule[];
  /** Log rules that are there and should not be. */
  unexpected: LogRule[];
  /** Every other difference of the table, and of single rules; left out if there is none. */
  differences?: OwnedDifference[];
}

export const LOGGING = 'netsteer-logging';
export const LOG_TABLE = { family: FAMILY, name: LOGGING } as const;
export const LOG_PLACE = { family: FAMILY, table: LOGGING } as const;
/** After connection tracking (-200), before nat (-100) and filters (0). */
const PRIORITY = -110;

export interface WantedLog {
  readonly hook: LogHook;
  readonly rule: LogRule;
  /** The rule's identity in the kernel: equal rules have the same. */
  readonly name: string;
  /** The whole comment: the identity, and a digest that shows whether somebody has changed the rule. */
  readonly comment: string;
}

/** The base chain of a hook. */
export const logChain = (hook: LogHook) =>
  ({ ...LOG_PLACE, name: hook, type: 'filter', hook, priority: PRIORITY }) as const;

/** The wanted log rules, checked, and the transaction that creates them. */
export class LogSet {
  readonly wanted: readonly WantedLog[];
  #fresh: Transaction | undefined;
  #table: WantedTable | undefined;
  #varies = false;

  /** @throws TypeError, RangeError with the place in the list */
  constructor(rules: readonly LogRule[]) {
    if (!Array.isArray(rules)) throw typeError([], 'an array of log rules', rules);
    const names = new Set<string>();
    const checked = rules.map((rule, i) => {
      const wanted = check(rule, i);
      if (names.has(wanted.name)) throw rangeError([i], 'a rule that differs from the others', rule, 'ERR_DUPLICATE');
      names.add(wanted.name);
      return wanted;
    });
    const contents = contentsOf(checked);
    this.#varies = contents === undefined;
    this.wanted = checked.map((each, i) => ({ ...each, comment: logComment(each.name, each.rule, contents?.[i]) }));
    // Compiles the rules now, so that bad statements throw here.
    void this.fresh;
  }

  /** The transaction for a container without log rules. It is made once for all containers. */
  get fresh(): Transaction {
    this.#fresh ??= this.create(new Transaction());
    return this.#fresh;
  }

  /** Creates the table, which must not be there, with its chains and rules. */
  create(transaction: Transaction): Transaction {
    transaction.create({ table: { ...LOG_TABLE, comment: OWNED } });
    for (const hook of hooksOf(this.wanted)) transaction.add({ chain: logChain(hook) });
    for (const each of this.wanted) transaction.add({ rule: ruleOf(each) });
    return transaction;
  }

  /** The wanted table. Rules with a device have its index, which differs between namespaces: then the table is made for each. */
  table(interfaces: Interfaces['interfaces']): WantedTable {
    if (this.#varies) return new WantedTable(desiredOf(this.wanted), interfaces);
    this.#table ??= new WantedTable(desiredOf(this.wanted));
    return this.#table;
  }
}

export const hooksOf = (rules: readonly { hook: LogHook }[]): LogHook[] =>
  HOOKS.filter(hook => rules.some(each => each.hook === hook));

function desiredOf(wanted: readonly WantedLog[]): DesiredRuleset {
  return {
    tables: [{ ...LOG_TABLE, comment: OWNED }],
    chains: hooksOf(wanted).map(logChain),
    rules: wanted.map(ruleOf),
  };
}

/** The rule as a transaction takes it. */
export function ruleOf({ hook, rule: { group, prefix, match = [] }, comment }: Omit<WantedLog, 'name'>): Rule {
  const log: Statement = { log: prefix === undefined ? { group } : { group, prefix } };
  return { ...LOG_PLACE, chain: hook, statements: [...match, log], ...(comment !== '' && { comment }) };
}

function check(rule: LogRule, index: number): Omit<WantedLog, 'comment'> {
  checkObject(rule, [index], ['group', 'prefix', 'match', 'hook', 'level', 'name']);
  const { group, prefix, match = [], hook = 'input' } = rule;
  checkInteger(group, [index, 'group'], 0, 0xffff);
  if (prefix !== undefined) checkString(prefix, [index, 'prefix'], 127);
  if (!Array.isArray(match)) throw typeError([index, 'match'], 'an array of statements', match);
  checkOneOf(hook, [index, 'hook'], HOOKS);
  checkLabels(rule, [index]);
  return { hook, rule, name: logName([hook, group, prefix ?? '', match], rule) };
}

/** The content that each rule will have in the kernel; undefined if it depends on the devices of a namespace, or cannot be told. */
function contentsOf(wanted: readonly Omit<WantedLog, 'comment'>[]): string[] | undefined {
  const desired: DesiredRuleset = {
    tables: [LOG_TABLE],
    chains: hooksOf(wanted).map(logChain),
    rules: wanted.map(({ hook, rule }) => ruleOf({ hook, rule, comment: '' })),
  };
  try {
    const { chains } = [...modelOf(desired).values()][0]!;
    const next = new Map<string, number>();
    return wanted.map(({ hook }) => {
      const index = next.get(hook) ?? 0;
      next.set(hook, index + 1);
      return `${hook} ${chains.get(hook)!.rules[index]!.content}`;
    });
  } catch {
    // If a rule is wrong, compiling the transaction throws the error.
    return undefined;
  }
}
