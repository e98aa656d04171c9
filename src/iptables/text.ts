import { checkObject, checkOneOf } from '../codec/index.ts';
import { typeError } from '../errors.ts';
import { Names } from '../nft/names.ts';
import { parseArguments } from './arguments.ts';
import { builtInChain } from './built-in.ts';
import type { Command } from './command.ts';
import { IptablesError } from './error.ts';
import { formatRule } from './format-rule.ts';
import type { IptablesChain, IptablesFamily, IptablesRule, IptablesRuleset, IptablesTable } from './model.ts';
import { countersOf, readText } from './restore.ts';
import { rulesetText } from './save.ts';

/** How a text of iptables-save is read. */
export interface ParseIptablesOptions {
  /** Default: ipv4, or ipv6 if only ip6tables takes the text. */
  family?: IptablesFamily;
  /** The names of protocols, services, users and groups. Default: this system's. */
  names?: Names;
}

/**
 * Reads the text of iptables-save, or of ip6tables-save, as data. It needs no kernel.
 *
 * Tables, chains and rules stand in the order of the text. Other commands than those of iptables-save, such as `-I` and `-D`, do what they would do
 * to the rules of the lines before them.
 *
 * @param text the whole text; each table ends with a line COMMIT
 * @param options `family`, `names`
 * @throws IptablesError iptables would refuse the text; it has the line and the word
 * @example
 * const { tables } = parseIptables(fs.readFileSync('/etc/iptables/rules.v4', 'utf8'));
 * for (const { name, chains } of tables) console.log(name, chains.flatMap(({ rules }) => rules).length);
 */
export function parseIptables(text: string, options: ParseIptablesOptions = {}): IptablesRuleset {
  if (typeof text !== 'string') throw typeError(['text'], 'a string', text);
  checkObject(options, [], ['family', 'names']);
  const { family, names = new Names() } = options;
  if (family !== undefined) return parse(text, checkOneOf(family, ['family'], ['ipv4', 'ipv6']), names);
  try {
    return parse(text, 'ipv4', names);
  } catch (error) {
    if (!(error instanceof IptablesError)) throw error;
    try {
      return parse(text, 'ipv6', names);
    } catch (other) {
      // The family in which more of the text can be read says more about its error.
      throw other instanceof IptablesError && (other.line ?? 0) > (error.line ?? 0) ? other : error;
    }
  }
}

const isNumeric = (word: string): boolean => /^\s*[-+]?\d/.test(word);

function parse(text: string, family: IptablesFamily, names: Names): IptablesRuleset {
  const tables: IptablesTable[] = [];
  let chains = new Map<string, IptablesChain>();
  let line = 0;
  const begin = (table: string, name: string): IptablesChain => {
    const found = chains.get(name);
    if (found !== undefined) return found;
    const chain: IptablesChain = { name, rules: [] };
    if (builtInChain(table, name) !== undefined) chain.policy = 'ACCEPT';
    chains.set(name, chain);
    tables.at(-1)!.chains.push(chain);
    return chain;
  };
  try {
    readText(
      text,
      {
        table(name) {
          chains = new Map();
          tables.push({ name, chains: [] });
        },
        chain(table, name, policy, counters) {
          const chain = begin(table, name);
          if (policy === 'ACCEPT' || policy === 'DROP') chain.policy = policy;
          if (counters !== undefined) chain.counters = counters;
        },
        command(words, table, counters) {
          const command = parseArguments(words, { family, names, restoring: table });
          if (command.skipped) return;
          if (counters?.every(isNumeric)) for (const rule of command.rules) rule.counters ??= countersOf(counters);
          apply(command, tables.at(-1)!, chains, begin, rule => formatRule(rule, { family, names }));
        },
        commit() {},
      },
      number => {
        line = number;
      },
    );
  } catch (error) {
    if (error instanceof IptablesError) error.line ??= line;
    throw error;
  }
  return { family, tables };
}

/** Does to the rules of a text what a command does to those of a kernel. */
function apply(
  command: Command,
  table: IptablesTable,
  chains: Map<string, IptablesChain>,
  begin: (table: string, name: string) => IptablesChain,
  textOf: (rule: IptablesRule) => string,
): void {
  const { chain: name = '', number, rules, newName } = command;
  const refuse = (message: string): never => {
    throw new IptablesError(message, { exitCode: 1, brief: true, argument: name });
  };
  const there = (): IptablesChain => {
    if (builtInChain(table.name, name) !== undefined) return begin(table.name, name);
    return chains.get(name) ?? refuse('No chain/target/match by that name.');
  };
  const remove = (chain: IptablesChain): void => {
    chains.delete(chain.name);
    table.chains.splice(table.chains.indexOf(chain), 1);
  };
  const placeOf = (chain: IptablesChain, wanted: IptablesRule): number => {
    const found = chain.rules.findIndex(rule => textOf(rule) === textOf(wanted));
    return found < 0 ? refuse('Bad rule (does a matching rule exist in that chain?).') : found;
  };
  switch (command.command) {
    case 'append':
      for (const rule of rules) begin(table.name, rule.chain).rules.push(rule);
      break;
    case 'insert': {
      const chain = there();
      if ((number ?? 1) > chain.rules.length + 1) refuse('Index of insertion too big.');
      for (const rule of rules) chain.rules.splice((number ?? 1) - 1, 0, rule);
      break;
    }
    case 'replace': {
      const chain = there();
      if (number! > chain.rules.length) refuse('Index of replacement too big.');
      chain.rules[number! - 1] = rules[0]!;
      break;
    }
    case 'delete': {
      const chain = there();
      if (number !== undefined && number > chain.rules.length) refuse('Index of deletion too big.');
      if (number !== undefined) chain.rules.splice(number - 1, 1);
      else for (const rule of rules) chain.rules.splice(placeOf(chain, rule), 1);
      break;
    }
    case 'check':
      for (const rule of rules) placeOf(there(), rule);
      break;
    case 'new-chain':
      begin(table.name, name);
      break;
    case 'delete-chain':
      if (name !== '') remove(there());
      else for (const chain of [...table.chains]) if (chain.policy === undefined) remove(chain);
      break;
    case 'rename-chain': {
      const chain = there();
      chains.delete(name);
      chain.name = newName!;
      chains.set(chain.name, chain);
      for (const rule of chain.rules) rule.chain = chain.name;
      break;
    }
    case 'flush':
      for (const chain of name === '' ? table.chains : [there()]) chain.rules = [];
      break;
    case 'policy':
      begin(table.name, name).policy = command.policy as 'ACCEPT';
      break;
    // What lists rules, or makes counters zero, changes none.
    default:
  }
}

/**
 * Writes rules as the text of iptables-save.
 *
 * @param ruleset the tables, in the order in which they are to stand
 * @param options `counters`: writes the counters of rules; `names`: of protocols, device groups and so on, default this system's
 * @example
 * console.log(formatIptables({ family: 'ipv4', tables: [{ name: 'filter', chains: [{ name: 'INPUT', policy: 'DROP', rules: [] }] }] }));
 */
export function formatIptables(
  ruleset: IptablesRuleset,
  options: {
    /** Writes packets and bytes. */
    counters?: boolean;
    /** The names of numbers, such as protocols and users. */
    names?: Names;
  } = {},
): string {
  checkObject(options, [], ['counters', 'names']);
  checkOneOf(ruleset?.family, ['family'], ['ipv4', 'ipv6']);
  const { counters = false, names = new Names() } = options;
  return rulesetText(ruleset, names, counters);
}
