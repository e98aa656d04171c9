import { checkInteger, checkObject, checkOneOf, checkString } from '../codec/index.ts';
import { rangeError, typeError } from '../errors.ts';
import type { RecordLevel } from '../nflog/index.ts';
import { decompileRule, type RuleEntry, type Statement, Transaction } from '../nftables/index.ts';
import { NftablesOperations } from '../nftables/nftables.ts';
import { type Exchange, type Operation, twoForms } from '../transport/index.ts';
import { checkLabels, labelsIn, logComment } from './log-comment.ts';
import { commitAnew, FAMILY, findOwned, OWNED } from './owned-table.ts';

export const HOOKS = ['prerouting', 'input', 'forward', 'output'] as const;

/** Packets that a container hands to NFLOG. */
export interface LogRule {
  /** The NFLOG group, 0 to 65535. */
  group: number;
  /** Of each packet's record: 1 to 127 bytes. Where each rule of a group has one of its own, a packet knows its rule. */
  prefix?: string;
  /** Which packets, as statements of nft's language; default all. */
  match?: readonly Statement[];
  /** Where they are seen; default 'input'. */
  hook?: (typeof HOOKS)[number];
  /** The level of its packets' records, where `log.to` is not told another; 'info' where left out. */
  level?: RecordLevel;
  /** What records call it, as `ruleName`: 1 to 64 bytes; its prefix where left out. */
  name?: string;
}

/** How a container's log rules differ from those that are wanted. */
export interface LogDrift {
  missing: LogRule[];
  unexpected: LogRule[];
}

export const LOGGING = 'netsteer-logging';
const TABLE = { family: FAMILY, name: LOGGING } as const;
const PLACE = { family: FAMILY, table: LOGGING } as const;
/** Behind the connection tracking (-200) and before anything is translated (-100) or filtered (0). */
const PRIORITY = -110;

type Hook = (typeof HOOKS)[number];

interface Wanted {
  readonly hook: Hook;
  readonly rule: LogRule;
  /** What the rule is known by in the kernel: the same for rules that say the same. */
  readonly comment: string;
}

/** Log rules that are wanted, checked, and the transaction that makes them. */
export class LogSet {
  readonly wanted: readonly Wanted[];
  #fresh: Transaction | undefined;

  /** @throws TypeError, RangeError with the place in the list */
  constructor(rules: readonly LogRule[]) {
    if (!Array.isArray(rules)) throw typeError([], 'an array of log rules', rules);
    const comments = new Set<string>();
    this.wanted = rules.map((rule, i) => {
      const wanted = check(rule, i);
      if (comments.has(wanted.comment)) throw rangeError([i], 'a rule that is not there twice', rule, 'ERR_DUPLICATE');
      comments.add(wanted.comment);
      return wanted;
    });
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
    transaction.create({ table: { ...TABLE, comment: OWNED } });
    const add = adder(transaction);
    for (const each of this.wanted) add(each);
    return transaction;
  }

  differences(present: readonly Present[]): LogDrift {
    const comments = new Set(present.map(({ comment }) => comment));
    const wanted = new Set(this.wanted.map(({ comment }) => comment));
    return {
      missing: this.wanted.filter(({ comment }) => !comments.has(comment)).map(({ rule }) => rule),
      unexpected: present.filter(({ comment }) => !wanted.has(comment)).map(({ rule }) => rule),
    };
  }
}

function check(rule: LogRule, index: number): Wanted {
  checkObject(rule, [index], ['group', 'prefix', 'match', 'hook', 'level', 'name']);
  const { group, prefix, match = [], hook = 'input' } = rule;
  checkInteger(group, [index, 'group'], 0, 0xffff);
  if (prefix !== undefined) checkString(prefix, [index, 'prefix'], 127);
  if (!Array.isArray(match)) throw typeError([index, 'match'], 'an array of statements', match);
  checkOneOf(hook, [index, 'hook'], HOOKS);
  checkLabels(rule, [index]);
  return { hook, rule, comment: logComment([hook, group, prefix ?? '', match], rule) };
}

/** Adds rules, and the chain of each hook with the first of them. */
function adder(transaction: Transaction): (wanted: Wanted) => void {
  const chains = new Set<Hook>();
  return ({ hook, rule: { group, prefix, match = [] }, comment }) => {
    if (!chains.has(hook))
      transaction.add({ chain: { ...PLACE, name: hook, type: 'filter', hook, priority: PRIORITY } });
    chains.add(hook);
    const log: Statement = { log: prefix === undefined ? { group } : { group, prefix } };
    transaction.add({ rule: { ...PLACE, chain: hook, statements: [...match, log], comment } });
  };
}

/** A log rule that the kernel has. */
interface Present {
  readonly handle: bigint;
  readonly chain: string;
  readonly comment: string;
  readonly rule: LogRule;
}

/**
 * A container's packet logs: rules that hand packets to NFLOG groups, in a table of their own, `inet netsteer-logging`, known by its comment.
 * A rule stands before anything is translated or filtered, and decides nothing about the packet.
 */
export class LoggingOperations {
  readonly #nft: NftablesOperations;

  constructor(exchange: Exchange, nft = new NftablesOperations(exchange)) {
    this.#nft = nft;
  }

  /**
   * Makes these the container's log rules, in this order, and no others; nothing is touched where they are so already.
   * @throws TypeError, RangeError with the place in the list
   * @throws StateError ERR_FOREIGN_TABLE somebody else has a table of that name
   */
  *set(rules: readonly LogRule[] | LogSet): Operation<void> {
    const set = wantedOf(rules);
    const { wanted, fresh } = set;
    yield* commitAnew(this.#nft, this, function* (this: LoggingOperations) {
      const present = yield* this.#present();
      if (present === undefined) return fresh;
      const same = HOOKS.every(hook => {
        const [are, shall] = [present.filter(each => each.chain === hook), wanted.filter(each => each.hook === hook)];
        return are.length === shall.length && are.every(({ comment }, i) => comment === shall[i]!.comment);
      });
      if (same) return new Transaction();
      return set.create(new Transaction().delete({ table: TABLE }));
    });
  }

  /** Makes sure that these are there, behind the others. */
  *add(rules: readonly LogRule[]): Operation<void> {
    const { wanted, fresh } = wantedOf(rules);
    yield* commitAnew(this.#nft, this, function* (this: LoggingOperations) {
      const present = yield* this.#present();
      if (present === undefined) return fresh;
      const transaction = new Transaction();
      const add = adder(transaction);
      for (const each of wanted) if (present.every(({ comment }) => comment !== each.comment)) add(each);
      return transaction;
    });
  }

  /** Makes sure that these are not there: rules that say the same. */
  *remove(rules: readonly LogRule[]): Operation<void> {
    const comments = new Set(wantedOf(rules).wanted.map(({ comment }) => comment));
    yield* commitAnew(this.#nft, this, function* (this: LoggingOperations) {
      const transaction = new Transaction();
      for (const { chain, handle, comment } of (yield* this.#present()) ?? [])
        if (comments.has(comment)) transaction.delete({ rule: { ...PLACE, chain, handle } });
      return transaction;
    });
  }

  /** The rules that are there, by hook. */
  *list(): Operation<LogRule[]> {
    return ((yield* this.#present()) ?? []).map(({ rule }) => rule);
  }

  /** How what is there differs from these. */
  *differences(rules: readonly LogRule[] | LogSet): Operation<LogDrift> {
    return wantedOf(rules).differences((yield* this.#present()) ?? []);
  }

  /** Takes over what an earlier process has left, and returns it. The other operations recognise it too. @throws StateError ERR_FOREIGN_TABLE */
  *adopt(): Operation<LogRule[]> {
    return yield* this.list();
  }

  /** Removes all of it: rules, chains and table. */
  *release(): Operation<void> {
    if (yield* findOwned(this.#nft, LOGGING)) yield* this.#nft.commit(new Transaction().destroy({ table: TABLE }));
  }

  *#present(): Operation<Present[] | undefined> {
    if (!(yield* findOwned(this.#nft, LOGGING))) return undefined;
    const rules = yield* this.#nft.rules(PLACE);
    return HOOKS.flatMap(hook => rules.filter(({ chain }) => chain === hook).map(readRule));
  }
}

/** The log rules of one container, in both forms. They share the socket of its `nftables`. */
export class Logging extends twoForms(LoggingOperations) {}

const wantedOf = (rules: readonly LogRule[] | LogSet): LogSet => (rules instanceof LogSet ? rules : new LogSet(rules));

/** A rule as it was given, read back from the kernel's expressions. */
export function readRule(entry: RuleEntry): Present {
  const statements = decompileRule(entry) as Statement[];
  const log = statements.find(statement => 'log' in statement);
  const { group = 0, prefix } = (log as { log: { group?: number; prefix?: string } } | undefined)?.log ?? {};
  const match = statements.filter(statement => statement !== log);
  const hook = entry.chain as Hook;
  const rule: LogRule = {
    group,
    ...(prefix !== undefined && { prefix }),
    ...(match.length > 0 && { match }),
    ...(hook !== 'input' && { hook }),
    ...labelsIn(entry.comment ?? ''),
  };
  return { handle: entry.handle ?? 0n, chain: hook, comment: entry.comment ?? '', rule };
}
