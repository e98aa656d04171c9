import { checkObject, checkOneOf } from '../codec/index.ts';
import { typeError } from '../errors.ts';
import { Names } from '../nft/names.ts';
import { parseArguments } from './arguments.ts';
import { builtInChain } from './built-in.ts';
import { IptablesError } from './error.ts';
import type { IptablesChain, IptablesFamily, IptablesRuleset, IptablesTable } from './model.ts';
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
 * Tables, chains and rules stand in the order of the text. Only what iptables-save itself writes is read: `:CHAIN`, `-A`, and `-N` and `-P`.
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
          if (command.command === 'new-chain') begin(table, command.chain!);
          else if (command.command === 'policy') begin(table, command.chain!).policy = command.policy as 'ACCEPT';
          else if (command.command !== 'append')
            throw new IptablesError('only -A, -N and -P have a place in rules as data', { argument: words[0] });
          for (const rule of command.command === 'append' ? command.rules : []) {
            if (counters?.every(isNumeric)) rule.counters ??= countersOf(counters);
            begin(table, rule.chain).rules.push(rule);
          }
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
