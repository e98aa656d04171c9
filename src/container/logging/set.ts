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

/** Packets that a container hands to NFLOG. */
export interface LogRule {
  /** The NFLOG group, 0 to 65535. */
  group: number;
  /** Of each packet's record: 1 to 127 bytes. Where each rule of a group has one of its own, a packet knows its rule. */
  prefix?: string;
  /** Which packets, as statements of nft's language; default all. */
  match?: readonly Statement[];
  /** Where they are seen; default 'input'. */
  hook?: LogHook;
  /** The level of its packets' records, where `log.to` is not told another; 'info' where left out. */
  level?: RecordLevel;
  /** What records call it, as `ruleName`: 1 to 64 bytes; its prefix where left out. */
  name?: string;
}

/** How a container's log rules differ from those that are wanted. */
export interface LogDrift {
  missing: LogRule[];
  unexpected: LogRule[];
  /** All that is not as wanted in the table, rule by rule, and besides rules; left out where there is nothing. */
  differences?: OwnedDifference[];
}

export const LOGGING = 'netsteer-logging';
export const LOG_TABLE = { family: FAMILY, name: LOGGING } as const;
export const LOG_PLACE = { family: FAMILY, table: LOGGING } as const;
/** Behind the connection tracking (-200), and before anything is filtered (0). What nat chains do at -100 comes later, too. */
const PRIORITY = -110;

export interface WantedLog {
  readonly hook: LogHook;
  readonly rule: LogRule;
  /** What the rule is known by in the kernel: the same for rules that say the same. */
  readonly name: string;
  /** The name, and a digest of what the kernel has of the rule: by it a rule is known that somebody has changed. */
  readonly comment: string;
}

/** The base chain of a hook. */
export const logChain = (hook: LogHook) =>
  ({ ...LOG_PLACE, name: hook, type: 'filter', hook, priority: PRIORITY }) as const;

/** Log rules that are wanted, checked, and the transaction that makes them. */
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
      if (names.has(wanted.name)) throw rangeError([i], 'a rule that is not there twice', rule, 'ERR_DUPLICATE');
      names.add(wanted.name);
      return wanted;
    });
    const contents = contentsOf(checked);
    this.#varies = contents === undefined;
    this.wanted = checked.map((each, i) => ({ ...each, comment: logComment(each.name, each.rule, contents?.[i]) }));
    // What cannot be compiled is found here, and not in the middle of something.
    void this.fresh;
  }

  /** All of it, for a container that has nothing yet. It is made once, however many containers it is committed to. */
  get fresh(): Transaction {
    this.#fresh ??= this.create(new Transaction());
    return this.#fresh;
  }

  /** Adds the table, which must not be there, and all that is in it. */
  create(transaction: Transaction): Transaction {
    transaction.create({ table: { ...LOG_TABLE, comment: OWNED } });
    for (const hook of hooksOf(this.wanted)) transaction.add({ chain: logChain(hook) });
    for (const each of this.wanted) transaction.add({ rule: ruleOf(each) });
    return transaction;
  }

  /** The table as it shall be. Rules that name a device have another number for it in each namespace. */
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

/** As a transaction takes it: the packets, and what logs them. */
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

/** What the kernel will have of each rule; undefined where that depends on the devices of a namespace, or cannot be told. */
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
    // The transaction tells what is wrong, if anything is.
    return undefined;
  }
}
