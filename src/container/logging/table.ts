import * as C from '../../linux/netfilter.ts';
import type { Exchange, Operation } from '../../netlink/index.ts';
import { Disturbed } from '../../netlink/retry.ts';
import { MESSAGES, readObject } from '../../nf_tables/message.ts';
import type { WireElement } from '../../nftables/index.ts';
import { decompileRule, type RuleEntry, type SetEntry, type Statement, Transaction } from '../../nftables/index.ts';
import { interfacesOf } from '../../nftables/interfaces.ts';
import type { NftablesOperations } from '../../nftables/nftables-operations.ts';
import { modelOf } from '../../nftables/plan/ruleset-model.ts';
import { list } from '../../nftables/read/listing.ts';
import { readGeneration, requestFor } from '../../nftables/request.ts';
import type { OwnedDifference } from '../owned/difference.ts';
import { WantedTable } from '../owned/model.ts';
import { readContents, TableInquiry, type TableReading } from '../owned/reading.ts';
import { FAMILY, foreignTable, nextGeneration, OWNED } from '../owned/table.ts';
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

/** How many elements are read of a set: ours have few, but a container's root can add any number. */
const MAX_ELEMENTS = 1 << 16;

/** A log rule in the kernel. */
export interface PresentLog {
  readonly hook: LogHook;
  /** Its identity (comment.ts); undefined if it is not ours, or was changed. */
  readonly name: string | undefined;
  readonly comment: string;
  readonly rule: LogRule;
  readonly entry: RuleEntry;
  /** Whether it has anonymous sets. */
  readonly hasSets: boolean;
}

/** The table, as it was read. */
export interface FoundLogs {
  readonly reading: TableReading;
  readonly rules: readonly PresentLog[];
  /** The anonymous sets of the rules. */
  readonly own: readonly SetEntry[];
  /** The table is somebody else's and is to be replaced. */
  readonly foreign: boolean;
}

/**
 * Reads the table of a container's log rules and brings it to the wanted state. Each method is one attempt: it throws Disturbed, or the
 * kernel's ERESTART, if others have committed meanwhile.
 */
export class LogTable {
  readonly #exchange: Exchange;
  readonly #nft: NftablesOperations;
  #inquiry: TableInquiry | undefined;
  /** The generation at which the table was as wanted. */
  #good: number | undefined;
  /** The generation of the last reading. */
  before: number | undefined;

  constructor(exchange: Exchange, nft: NftablesOperations) {
    this.#exchange = exchange;
    this.#nft = nft;
  }

  get good(): number | undefined {
    return this.#good;
  }

  /** Reads the table with its rules; undefined if there is none. */
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

  /** The anonymous sets that rules refer to, with their elements. */
  *#ownSets(rules: readonly RuleEntry[], generation: number): Operation<SetEntry[]> {
    const names = new Set(rules.flatMap(({ expressions = [] }) => expressions.flatMap(setIn)));
    if (names.size === 0) return [];
    const sets = (yield* list(this.#exchange, 'set', { family: FAMILY, table: LOGGING })) as SetEntry[];
    const own = sets.filter(({ name, flags }) => names.has(name) && flags?.includes('anonymous') === true);
    for (const set of own) set.elements = yield* this.#elements(set.name);
    if ((yield* readGeneration(this.#exchange)) !== generation) throw new Disturbed();
    return own;
  }

  *#elements(set: string): Operation<WireElement[]> {
    const elements: WireElement[] = [];
    yield* this.#exchange.dump(requestFor('getsetelem', C.NFPROTO_INET, { table: LOGGING, set }), message => {
      if (message.type === MESSAGES.newsetelem.number && elements.length < MAX_ELEMENTS)
        for (const each of readObject('newsetelem', message).elements ?? []) elements.push(each);
      return undefined;
    });
    return elements;
  }

  /** Makes these the only log rules, in this order. */
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

  /** Commits the whole table, bound to the generation at which it was not there. */
  *create(fresh: Transaction): Operation<void> {
    const generation = this.before!;
    this.#good = undefined;
    yield* this.#nft.commit(fresh, { generation });
    this.#good = nextGeneration(generation);
  }

  /** Keeps our rules for which `stays` holds, adds `more` behind them, and removes everything else from the table. */
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

  /** Whether the table has only these rules, in the right chains. */
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
      // In the kernel's form, unless it has anonymous sets: those are made again from the rule as it was given.
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

  /** Compares the table with what `set` would make of it. */
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
    // `missing` and `unexpected` have these rules already.
    const lost = new Set(missing.map(({ comment }) => comment));
    const ours = new Set<bigint | undefined>(
      unexpected.flatMap(({ name, entry }) => (name === undefined ? [] : [entry.handle])),
    );
    const isListed = (each: OwnedDifference) =>
      each.kind === 'rule' &&
      (each.problem === 'missing' ? lost.has(each.comment ?? '') : each.problem === 'foreign' && ours.has(each.handle));
    const every = table.differences(reading, own, yield* readContents(this.#exchange, LOGGING));
    const differences = every.filter(each => !isListed(each));
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

/** The rules by hook, in their order. */
function presentRules(reading: TableReading, entries: readonly RuleEntry[], own: readonly SetEntry[]): PresentLog[] {
  const contents = contentsOf(reading, entries, own);
  return HOOKS.flatMap(hook => entries.filter(({ chain }) => chain === hook).map(each => read(each, contents, own)));
}

/** The content of each rule in the kernel, without its comment. */
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
    // Somebody has made a rule that the model does not accept. Then no rule counts as ours and unchanged.
  }
  return contents;
}

/** The rule as a caller would give it, from the kernel's expressions. */
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
