import * as C from '../../linux/netfilter.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import { MESSAGES, readObject } from '../../nf_tables/message.ts';
import type { WireElement } from '../../nftables/index.ts';
import { decompileRule, type RuleEntry, type SetEntry, type Statement, Transaction } from '../../nftables/index.ts';
import { interfacesOf } from '../../nftables/interfaces.ts';
import type { NftablesOperations } from '../../nftables/nftables.ts';
import { modelOf } from '../../nftables/plan/ruleset-model.ts';
import { list } from '../../nftables/read/listing.ts';
import { readGeneration, requestFor } from '../../nftables/request.ts';
import type { OwnedDifference } from '../owned/difference.ts';
import { WantedTable } from '../owned/model.ts';
import { readContents, TableInquiry, type TableReading } from '../owned/reading.ts';
import { FAMILY, foreignTable, nextGeneration, OWNED, Stale } from '../owned/table.ts';
import { isIntact, labelsIn, nameIn } from './comment.ts';
import {
  HOOKS,
  hooksOf,
  LOG_PLACE,
  LOG_TABLE,
  LOGGING,
  type LogDrift,
  type LogHook,
  type LogRule,
  type LogSet,
  logChain,
  ruleOf,
} from './set.ts';

/** The sets of our rules have some elements; a container's root may give them any number. */
const MOST_ELEMENTS = 1 << 16;

/** A log rule that the kernel has. */
export interface PresentLog {
  readonly hook: LogHook;
  /** By which it is known; undefined where it is none of ours, or not as we made it. */
  readonly name: string | undefined;
  readonly comment: string;
  readonly rule: LogRule;
  readonly entry: RuleEntry;
  /** It has sets of its own. */
  readonly hasSets: boolean;
}

/** What was found of our table. */
export interface FoundLogs {
  readonly reading: TableReading;
  readonly rules: readonly PresentLog[];
  /** Sets that belong to the rules. */
  readonly own: readonly SetEntry[];
  /** It is somebody else's, and shall be replaced: nothing of it counts. */
  readonly foreign: boolean;
}

/**
 * The table of a container's log rules, which is read and brought to what is wanted of it: each method is one attempt, and throws Stale, or the kernel's
 * ERESTART, where others have committed meanwhile.
 */
export class LogTable {
  readonly #exchange: Exchange;
  readonly #nft: NftablesOperations;
  #inquiry: TableInquiry | undefined;
  /** At this generation all of the table was as wanted. */
  #good: number | undefined;
  /** The generation that was read before. */
  before: number | undefined;

  constructor(exchange: Exchange, nft: NftablesOperations) {
    this.#exchange = exchange;
    this.#nft = nft;
  }

  get good(): number | undefined {
    return this.#good;
  }

  /** All that is there; undefined where there is no table. */
  *find(force: boolean, remedy: string): Operation<FoundLogs | undefined> {
    this.#inquiry ??= new TableInquiry({ table: LOGGING, chains: HOOKS, sets: [] });
    const reading = yield* this.#inquiry.read(this.#exchange);
    this.before = reading.generation;
    if (!reading.exists) return undefined;
    if (reading.entry!.comment !== OWNED) {
      if (!force) throw foreignTable(LOGGING, remedy);
      return { reading, rules: [], own: [], foreign: true };
    }
    const entries = reading.rules.filter(({ chain }) => HOOKS.includes(chain as LogHook));
    const own = yield* this.#ownSets(entries, reading.generation);
    return { reading, rules: presentRules(reading, entries, own), own, foreign: false };
  }

  /** The sets without a name that rules refer to, with their elements. */
  *#ownSets(rules: readonly RuleEntry[], generation: number): Operation<SetEntry[]> {
    const names = new Set(rules.flatMap(({ expressions = [] }) => expressions.flatMap(setIn)));
    if (names.size === 0) return [];
    const sets = (yield* list(this.#exchange, 'set', { family: FAMILY, table: LOGGING })) as SetEntry[];
    const own = sets.filter(({ name, flags }) => names.has(name) && flags?.includes('anonymous') === true);
    for (const set of own) set.elements = yield* this.#elements(set.name);
    if ((yield* readGeneration(this.#exchange)) !== generation) throw new Stale();
    return own;
  }

  *#elements(set: string): Operation<WireElement[]> {
    const elements: WireElement[] = [];
    yield* this.#exchange.dump(requestFor('getsetelem', C.NFPROTO_INET, { table: LOGGING, set }), message => {
      if (message.type === MESSAGES.newsetelem.number && elements.length < MOST_ELEMENTS)
        for (const each of (readObject('newsetelem', message).elements ?? []) as WireElement[]) elements.push(each);
      return undefined;
    });
    return elements;
  }

  /** Makes these the log rules, in this order, and no others. */
  *set(wanted: LogSet, force: boolean, remedy: string): Operation<void> {
    const found = yield* this.find(force, remedy);
    if (found === undefined) return yield* this.create(wanted.fresh);
    const asWanted = !found.foreign && this.#table(wanted).isAsWanted(found.reading, found.own);
    const transaction = new Transaction();
    if (!asWanted) wanted.create(transaction.delete({ table: LOG_TABLE }));
    yield* this.#commit(found, transaction);
  }

  #table(wanted: LogSet): WantedTable {
    return wanted.table(interfacesOf(this.#exchange.transport).interfaces);
  }

  /** Commits what is not there yet, as far as was read. */
  *create(fresh: Transaction): Operation<void> {
    const generation = this.before!;
    this.#good = undefined;
    yield* this.#nft.commit(fresh, { generation });
    this.#good = nextGeneration(generation);
  }

  /** Keeps those of our rules that `stays` says, as they are, and adds `more` behind them. All else in the table goes. */
  *change(found: FoundLogs, stays: (present: PresentLog) => boolean, more: LogSet['wanted']): Operation<void> {
    const ours = found.rules.filter(({ name }) => name !== undefined);
    const kept = ours.filter(stays);
    const transaction = new Transaction();
    if (found.foreign || !this.#isWhole(found, ours)) this.#createAnew(transaction, kept, more);
    else {
      for (const { hook, entry } of ours)
        if (!kept.some(each => each.entry === entry))
          transaction.delete({ rule: { ...LOG_PLACE, chain: hook, handle: entry.handle! } });
      const [before, after] = [hooksOf(ours), hooksOf([...kept, ...more])];
      for (const hook of before) if (!after.includes(hook)) transaction.delete({ chain: { ...LOG_PLACE, name: hook } });
      for (const hook of after) if (!before.includes(hook)) transaction.add({ chain: logChain(hook) });
      for (const each of more) transaction.add({ rule: ruleOf(each) });
    }
    yield* this.#commit(found, transaction);
  }

  /** Whether there is nothing but these rules, in chains as they should be. */
  #isWhole({ reading, own }: FoundLogs, ours: readonly PresentLog[]): boolean {
    const table = new WantedTable({
      tables: [{ ...LOG_TABLE, comment: OWNED }],
      chains: hooksOf(ours).map(logChain),
      sets: own,
      rules: ours.map(({ entry }) => entry),
    });
    return table.isAsWanted(reading, own);
  }

  #createAnew(transaction: Transaction, kept: readonly PresentLog[], more: LogSet['wanted']): void {
    transaction.delete({ table: LOG_TABLE }).create({ table: { ...LOG_TABLE, comment: OWNED } });
    for (const hook of hooksOf([...kept, ...more])) transaction.add({ chain: logChain(hook) });
    for (const { hook, entry, rule, comment, hasSets } of kept) {
      // As the kernel had it; sets of its own are made from what it says.
      const { expressions = [] } = entry;
      const place = { ...LOG_PLACE, chain: hook };
      transaction.add({ rule: hasSets ? ruleOf({ hook, rule, comment }) : { ...place, expressions, comment } });
    }
    for (const each of more) transaction.add({ rule: ruleOf(each) });
  }

  *#commit({ reading: { generation } }: FoundLogs, transaction: Transaction): Operation<void> {
    this.#good = undefined;
    if (transaction.length > 0) yield* this.#nft.commit(transaction, { generation });
    this.#good = transaction.length > 0 ? nextGeneration(generation) : generation;
  }

  /** How it differs from what `set` would make of it. */
  *differences(wanted: LogSet, force: boolean, remedy: string): Operation<LogDrift> {
    const found = yield* this.find(force, remedy);
    const place = { family: FAMILY, table: LOGGING } as const;
    const all = wanted.wanted.map(({ rule }) => rule);
    if (found === undefined)
      return {
        missing: all,
        unexpected: [],
        differences: [{ ...place, kind: 'table', problem: 'missing', expected: { comment: OWNED } }],
      };
    const { reading, own, foreign, rules } = found;
    if (foreign) {
      const { comment } = reading.entry!;
      const shown = comment === undefined ? {} : { comment };
      return {
        missing: all,
        unexpected: [],
        differences: [{ ...place, kind: 'table', problem: 'foreign', found: shown }],
      };
    }
    const table = this.#table(wanted);
    const there = new Set(rules.map(({ name }) => name));
    const shall = new Set(wanted.wanted.map(({ name }) => name));
    const missing = wanted.wanted.filter(({ name }) => !there.has(name));
    const unexpected = rules.filter(({ name }) => name === undefined || !shall.has(name));
    const drift: LogDrift = {
      missing: missing.map(({ rule }) => rule),
      unexpected: unexpected.map(({ rule }) => rule),
    };
    if (table.isAsWanted(reading, own)) return drift;
    // A rule that is missing, or one of ours that is not wanted, is told by what it says already.
    const lost = new Set(missing.map(({ comment }) => comment));
    const ours = new Set<bigint | undefined>(
      unexpected.flatMap(({ name, entry }) => (name === undefined ? [] : [entry.handle])),
    );
    const isTold = (each: OwnedDifference) =>
      each.kind === 'rule' &&
      (each.problem === 'missing' ? lost.has(each.comment ?? '') : each.problem === 'foreign' && ours.has(each.handle));
    const every = table.differences(reading, own, yield* readContents(this.#exchange, LOGGING));
    const differences = every.filter(each => !isTold(each));
    return differences.length === 0 ? drift : { ...drift, differences };
  }

  *release(force: boolean, remedy: string): Operation<void> {
    this.#inquiry ??= new TableInquiry({ table: LOGGING, chains: HOOKS, sets: [] });
    const reading = yield* this.#inquiry.read(this.#exchange);
    if (!reading.exists) return;
    if (!force && reading.entry!.comment !== OWNED) throw foreignTable(LOGGING, remedy);
    this.#good = undefined;
    yield* this.#nft.commit(new Transaction().delete({ table: LOG_TABLE }), { generation: reading.generation });
  }
}

/** The set that an expression refers to. */
function setIn(expression: object): string[] {
  const [value] = Object.values(expression) as [{ set?: unknown }];
  return typeof value?.set === 'string' ? [value.set] : [];
}

/** By hook, in their order. */
function presentRules(reading: TableReading, entries: readonly RuleEntry[], own: readonly SetEntry[]): PresentLog[] {
  const contents = contentsOf(reading, entries, own);
  return HOOKS.flatMap(hook => entries.filter(({ chain }) => chain === hook).map(each => read(each, contents, own)));
}

/** What the kernel has of each rule, without its comment. */
function contentsOf(
  reading: TableReading,
  entries: readonly RuleEntry[],
  own: readonly SetEntry[],
): ReadonlyMap<RuleEntry, string> {
  const contents = new Map<RuleEntry, string>();
  const { chains } = reading;
  const rules = entries.filter(({ chain }) => chains.some(({ name }) => name === chain));
  const bare = rules.map(rule => {
    const { comment: _, position: __, ...rest } = rule as RuleEntry & { position?: bigint };
    return rest as RuleEntry;
  });
  try {
    const [model] = [...modelOf({ tables: [LOG_TABLE], chains, sets: own, rules: bare }, { isThere: true }).values()];
    for (const { rules: found } of model!.chains.values())
      for (const { rule, content } of found) contents.set(rules[bare.indexOf(rule as RuleEntry)]!, content);
  } catch {
    // None of them is ours, then: whoever made them wants them to be unreadable.
  }
  return contents;
}

/** A rule as it was given, read back from the kernel's expressions. */
export function logRuleIn(entry: RuleEntry, own: readonly SetEntry[] = []): { rule: LogRule; logs: boolean } {
  const statements = decompileRule(entry, { sets: own }) as Statement[];
  const log = statements.find(statement => 'log' in statement);
  const { group = 0, prefix } = (log as { log: { group?: number; prefix?: string } } | undefined)?.log ?? {};
  const match = statements.filter(statement => statement !== log);
  const hook = entry.chain as LogHook;
  const rule: LogRule = {
    group,
    ...(prefix !== undefined && { prefix }),
    ...(match.length > 0 && { match }),
    ...(hook !== 'input' && { hook }),
    ...labelsIn(entry.comment ?? ''),
  };
  return { rule, logs: log !== undefined };
}

function read(entry: RuleEntry, contents: ReadonlyMap<RuleEntry, string>, own: readonly SetEntry[]): PresentLog {
  const { rule, logs } = logRuleIn(entry, own);
  const { comment = '' } = entry;
  const hook = entry.chain as LogHook;
  const content = contents.get(entry);
  const intact = content !== undefined && logs && isIntact(comment, `${hook} ${content}`);
  const hasSets = (entry.expressions ?? []).some(each => setIn(each).length > 0);
  return { hook, name: intact ? nameIn(comment) : undefined, comment, rule, entry, hasSets };
}
