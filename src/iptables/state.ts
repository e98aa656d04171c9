import type { Chain } from '../nf_tables/chain.ts';
import type { RuleEntry } from '../nf_tables/rule.ts';
import type { Names } from '../nft/names.ts';
import type { EncodedMessage } from '../nftables/write/encoded.ts';
import { type TemplateValues, Transaction, type TransactionOperation } from '../nftables/write/transaction.ts';
import { BUILT_IN, type BuiltInChain, builtInChain, FAMILIES } from './built-in.ts';
import { compileRule } from './compile.ts';
import { decompileRule } from './decompile.ts';
import { IptablesError } from './error.ts';
import { errorText } from './error-texts.ts';
import type { IpSets } from './ip-sets.ts';
import type { IptablesCounters, IptablesFamily, IptablesRule } from './model.ts';
import { withOlder } from './revisions.ts';

/*
 * What a namespace has of iptables, and what a text or a command makes of it: each change is noted here and added to one transaction.
 */

/** What was read of a namespace. */
export interface ListedState {
  readonly generation: number;
  readonly tables: readonly { name: string }[];
  readonly chains: readonly Chain[];
  /** Left out where no command looks at rules. */
  readonly rules?: readonly RuleEntry[];
}

/** A rule in its chain. */
export interface StateRule {
  /** Undefined: iptables has no words for it. */
  rule: IptablesRule | undefined;
  /** The kernel's number for it; undefined if this transaction makes it. */
  handle?: bigint;
  /** Its number within this transaction. */
  id?: number;
}

export interface StateChain {
  readonly name: string;
  readonly builtIn: BuiltInChain | undefined;
  policy: 'ACCEPT' | 'DROP';
  counters: IptablesCounters;
  /** The kernel has it, or this transaction makes it. */
  exists: boolean;
  /** A base chain that is none of iptables' own: another hook, priority or name. */
  foreign: boolean;
  /** How many rules it has, and jumps to it. */
  use: number;
  rules: StateRule[];
  /** The rules that this transaction appends are not kept, as nobody asks for them. */
  appended: number;
}

export interface StateTable {
  readonly name: string;
  exists: boolean;
  readonly chains: Map<string, StateChain>;
}

/** Nothing varies in a message that is written already. */
const AS_IT_IS: TemplateValues = { fill() {} };
const NO_VALUES = {};

const NO_COUNTERS: IptablesCounters = { packets: 0n, bytes: 0n };

/** The tables of one family, and the transaction that changes them. */
export class RulesetState {
  readonly family: IptablesFamily;
  readonly names: Names;
  /** The sets of ipset. */
  readonly sets: IpSets | undefined;
  readonly generation: number;
  readonly tables = new Map<string, StateTable>();
  readonly transaction = new Transaction();
  /** The line of the text, and the operation of iptables, that each operation of the transaction comes from. */
  readonly origins: { line: number | undefined; operation: string; chain?: string; table: string }[] = [];
  /** The line that is being read. */
  line: number | undefined;
  /** The revisions of extensions that are older than those of iptables 1.8.9: 'match conntrack'. */
  revisions: ReadonlyMap<string, number> = new Map();
  /** Rules are kept as they are added: only some commands need that. */
  readonly keepsRules: boolean;
  #nextId = 1;

  constructor(
    family: IptablesFamily,
    names: Names,
    listed: ListedState,
    interfaceName?: (index: number) => string | undefined,
    sets?: IpSets,
  ) {
    this.family = family;
    this.sets = sets;
    this.names = names;
    this.generation = listed.generation;
    this.keepsRules = listed.rules !== undefined;
    for (const { name } of listed.tables) this.tables.set(name, { name, exists: true, chains: new Map() });
    for (const chain of listed.chains) {
      const table = this.tables.get(chain.table);
      if (table !== undefined) table.chains.set(chain.name, chainOf(chain));
    }
    for (const entry of listed.rules ?? [])
      this.tables
        .get(entry.table)
        ?.chains.get(entry.chain)
        ?.rules.push({ rule: decompileRule(entry, family, interfaceName), handle: entry.handle });
  }

  /** The table, which is made when something is put into it. */
  table(name: string): StateTable {
    let table = this.tables.get(name);
    if (table === undefined) {
      table = { name, exists: false, chains: new Map() };
      this.tables.set(name, table);
    }
    return table;
  }

  /** The chain if there is one; a built-in chain may be there without the kernel having it. */
  chain(table: string, name: string): StateChain | undefined {
    return this.table(table).chains.get(name) ?? emptyBuiltIn(table, name);
  }

  /** The chain, which must be there. A built-in chain is made. */
  existing(table: string, name: string): StateChain {
    const chain = this.chain(table, name);
    if (chain === undefined)
      throw new IptablesError('No chain/target/match by that name.', { exitCode: 1, argument: name, brief: true });
    this.ensureChain(table, chain);
    return chain;
  }

  ensureTable(name: string): StateTable {
    const table = this.table(name);
    if (!table.exists) {
      this.transaction.add({ table: { family: FAMILIES[this.family], name } });
      this.note('TABLE_ADD', name);
      table.exists = true;
    }
    return table;
  }

  /** Makes a built-in chain unless it is there. */
  ensureChain(tableName: string, chain: StateChain): void {
    const table = this.ensureTable(tableName);
    if (chain.exists || chain.builtIn === undefined) return;
    this.#putBase(tableName, chain, 'accept');
    chain.exists = true;
    table.chains.set(chain.name, chain);
  }

  #putBase(table: string, { name, builtIn }: StateChain, policy: 'accept' | 'drop', counters?: IptablesCounters): void {
    const { hook, type, priority } = builtIn!;
    this.transaction.add({
      chain: {
        family: FAMILIES[this.family],
        table,
        name,
        hook,
        type,
        priority,
        policy,
        ...(counters !== undefined && { counters }),
      },
    });
    this.note('CHAIN_UPDATE', table, name);
  }

  /** Sets the policy of a built-in chain, and its counters. */
  setPolicy(table: string, chain: StateChain, policy: 'ACCEPT' | 'DROP', counters?: IptablesCounters): void {
    this.ensureTable(table);
    this.#putBase(table, chain, policy === 'ACCEPT' ? 'accept' : 'drop', counters);
    chain.exists = true;
    chain.policy = policy;
    if (counters !== undefined) chain.counters = counters;
    this.table(table).chains.set(chain.name, chain);
  }

  /** Removes a table with all that is in it, and begins it anew. */
  resetTable(name: string): void {
    const table = this.table(name);
    if (!table.exists) return;
    this.transaction.delete({ table: { family: FAMILIES[this.family], name } });
    this.note('TABLE_FLUSH', name);
    table.exists = false;
    table.chains.clear();
  }

  /** Makes a chain of the user's own, or empties the one that is there. */
  declareChain(tableName: string, name: string): void {
    const table = this.ensureTable(tableName);
    const found = table.chains.get(name);
    if (found !== undefined) {
      this.flushChain(tableName, found);
      return;
    }
    this.addChain(tableName, name);
  }

  addChain(tableName: string, name: string): void {
    const table = this.ensureTable(tableName);
    this.transaction.add({ chain: { family: FAMILIES[this.family], table: tableName, name } });
    this.note('CHAIN_USER_ADD', tableName, name);
    table.chains.set(name, { ...emptyChain(name), exists: true });
  }

  flushChain(table: string, chain: StateChain): void {
    if (!chain.exists) return;
    this.transaction.flush({ chain: { family: FAMILIES[this.family], table, name: chain.name } });
    this.note('RULE_FLUSH', table, chain.name);
    chain.rules = [];
    chain.appended = 0;
  }

  /** Appends a rule. */
  append(rule: IptablesRule): void {
    const chain = this.existing(rule.table, rule.chain);
    this.checkTarget(rule);
    const written = this.written(rule);
    if (this.keepsRules) {
      const id = this.nextId();
      this.transaction.add({ rule: { ...written, id } });
      chain.rules.push({ rule, id });
    } else this.transaction.add({ rule: written });
    this.note('RULE_APPEND', rule.table, rule.chain);
    chain.appended++;
  }

  /** Appends a rule whose message was written before. */
  appendWritten(
    rule: TransactionOperation & RulesetState['origins'][number],
    chain: StateChain,
    message: EncodedMessage,
    bytes: Uint8Array,
  ): void {
    this.transaction.append(rule, bytes, message, AS_IT_IS, NO_VALUES);
    this.origins.push(rule);
    chain.appended++;
  }

  /** Puts a rule into a chain before the one at `index`, or at the end. */
  insert(rule: IptablesRule, index: number): void {
    const chain = this.existing(rule.table, rule.chain);
    this.checkTarget(rule);
    const id = this.nextId();
    const next = chain.rules[index];
    const written = { ...this.written(rule), id };
    if (index === 0) this.transaction.insert({ rule: written });
    else if (next === undefined) this.transaction.add({ rule: written });
    else this.transaction.insert({ rule: { ...written, ...placeOf(next) } });
    this.note('RULE_INSERT', rule.table, rule.chain);
    chain.rules.splice(index, 0, { rule, id });
  }

  /** Puts a rule in the place of another one. */
  replace(rule: IptablesRule, old: StateRule): void {
    if (old.handle === undefined) throw this.refusal('RULE_REPLACE', 'EINVAL', `rule in chain ${rule.chain}`);
    this.transaction.replace({ rule: { ...this.written(rule), handle: old.handle } });
    this.note('RULE_REPLACE', rule.table, rule.chain);
    old.rule = rule;
  }

  remove(table: string, chain: StateChain, old: StateRule): void {
    const { handle } = old;
    // A rule of the same transaction has no handle yet.
    if (handle === undefined) throw this.refusal('RULE_DELETE', 'EINVAL', `rule in chain ${chain.name}`);
    this.transaction.delete({ rule: { family: FAMILIES[this.family], table, chain: chain.name, handle } });
    this.note('RULE_DELETE', table, chain.name);
    chain.rules.splice(chain.rules.indexOf(old), 1);
    chain.use--;
  }

  deleteChain(table: string, chain: StateChain): void {
    this.transaction.delete({ chain: { family: FAMILIES[this.family], table, name: chain.name } });
    this.note('CHAIN_DEL', table, chain.name);
    this.table(table).chains.delete(chain.name);
  }

  renameChain(table: string, chain: StateChain, newName: string): void {
    this.transaction.rename({ chain: { family: FAMILIES[this.family], table, name: chain.name, newName } });
    this.note('CHAIN_RENAME', table, newName);
    const { chains } = this.table(table);
    chains.delete(chain.name);
    chains.set(newName, { ...chain, name: newName });
  }

  /** Removes the rules of all chains. */
  flushTable(name: string): void {
    const table = this.table(name);
    if (!table.exists) return;
    this.transaction.flush({ table: { family: FAMILIES[this.family], name } });
    this.note('RULE_FLUSH', name);
    for (const chain of table.chains.values()) {
      chain.rules = [];
      chain.appended = 0;
    }
  }

  /** A jump needs its chain. */
  checkTarget({ table, target }: IptablesRule): void {
    if (target === undefined || !('jump' in target || 'goto' in target)) return;
    const name = 'jump' in target ? target.jump : (target as { goto: string }).goto;
    if (this.chain(table, name) === undefined)
      throw new IptablesError(`Chain '${name}' does not exist`, { argument: name });
  }

  /** The rule as the transaction takes it. */
  written(rule: IptablesRule): {
    family: 'ip' | 'ip6';
    table: string;
    chain: string;
    expressions: ReturnType<typeof compileRule>['expressions'];
    compat: { protocol: number; flags: number };
  } {
    const { expressions, compat } = compileRule(this.family === 'ipv6' ? withoutCounters(rule) : rule, this);
    const written = withOlder(expressions, this.revisions);
    return { family: FAMILIES[this.family], table: rule.table, chain: rule.chain, expressions: written, compat };
  }

  /** A number for a rule that others of the transaction stand beside. */
  nextId(): number {
    return this.#nextId++;
  }

  /** An error that the kernel would give, in the words in which iptables tells those. */
  refusal(operation: string, code: string, subject: string): IptablesError {
    const at = this.line === undefined ? ' ' : `\nline ${this.line}: `;
    const error = new IptablesError(`${at}${operation} failed (${errorText(code)}): ${subject}`, { exitCode: 4 });
    error.line = this.line;
    return error;
  }

  note(operation: string, table: string, chain?: string): void {
    this.origins.push({ line: this.line, operation, table, ...(chain !== undefined && { chain }) });
  }
}

/** ip6tables-nft 1.8.9 takes counters of rules and forgets them. */
function withoutCounters({ counters: _, ...rule }: IptablesRule): IptablesRule {
  return rule;
}

/** How a transaction names a rule that another one stands beside. */
const placeOf = ({ handle, id }: StateRule) => (handle === undefined ? { positionId: id! } : { position: handle });

function emptyChain(name: string, builtIn?: BuiltInChain): StateChain {
  return {
    name,
    builtIn,
    policy: 'ACCEPT',
    counters: NO_COUNTERS,
    exists: false,
    foreign: false,
    use: 0,
    rules: [],
    appended: 0,
  };
}

function emptyBuiltIn(table: string, name: string): StateChain | undefined {
  const builtIn = builtInChain(table, name);
  return builtIn === undefined ? undefined : emptyChain(name, builtIn);
}

function chainOf(chain: Chain): StateChain {
  const builtIn = builtInChain(chain.table, chain.name);
  const isBase = chain.hook !== undefined;
  const own = builtIn !== undefined && chain.hook === builtIn.hook && chain.priority === builtIn.priority;
  const { packets = 0n, bytes = 0n } = (chain.counters ?? {}) as Partial<IptablesCounters>;
  return {
    name: chain.name,
    builtIn: own ? builtIn : undefined,
    policy: chain.policy === 'drop' ? 'DROP' : 'ACCEPT',
    counters: { packets, bytes },
    exists: true,
    foreign: isBase !== own,
    use: chain.use ?? 0,
    rules: [],
    appended: 0,
  };
}

/** The chains of a table in the order in which iptables writes them: its own, all of them, and then the user's by their names. */
export function chainsInOrder({ name, chains }: StateTable): StateChain[] {
  const own = (BUILT_IN[name] ?? []).map(each => chains.get(each.name) ?? emptyChain(each.name, each));
  const others = [...chains.values()].filter(chain => chain.builtIn === undefined && !chain.foreign);
  return [...own, ...others.sort((a, b) => (a.name < b.name ? -1 : 1))];
}
