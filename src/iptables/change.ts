import { isTable } from './built-in.ts';
import type { Command } from './command.ts';
import { IptablesError } from './error.ts';
import { formatRule } from './format-rule.ts';
import { changedRow } from './list/rule.ts';
import { listRules, listTable } from './list/table.ts';
import type { IptablesExtension, IptablesRule } from './model.ts';
import { chainsInOrder, type RulesetState, type StateChain, type StateRule } from './state.ts';

/* What a command makes of the rules that are there. */

const NO_CHAIN = 'No chain/target/match by that name.';
const NO_RULE = 'Bad rule (does a matching rule exist in that chain?).';

/** iptables prints these with its name and without its version. */
const refusal = (message: string, argument?: string | number): IptablesError =>
  new IptablesError(message, {
    exitCode: 1,
    brief: true,
    ...(argument !== undefined && { argument: String(argument) }),
  });

/**
 * Notes what a command changes, and returns what it prints.
 * @throws IptablesError it does not fit what is there
 */
export function applyCommand(state: RulesetState, command: Command): string {
  if (!isTable(command.table))
    throw new IptablesError(`table '${command.table}' does not exist`, { exitCode: 3, argument: command.table });
  const change = new Change(state, command);
  change.apply();
  return change.printed;
}

class Change {
  readonly #state: RulesetState;
  readonly #command: Command;
  readonly #table: string;
  /** What goes to the standard output. */
  printed = '';

  constructor(state: RulesetState, command: Command) {
    this.#state = state;
    this.#command = command;
    this.#table = command.table;
  }

  apply(): void {
    const { command, chain = '', number, rules } = this.#command;
    for (const rule of rules) this.#state.checkTarget(rule);
    switch (command) {
      case 'append':
        for (const rule of rules) this.#state.append(rule);
        break;
      case 'insert':
        this.#insert(chain, number ?? 1);
        break;
      case 'replace':
        this.#replace(this.#rule(chain, number!, 'replacement'));
        break;
      case 'delete':
        if (number !== undefined) this.#remove(chain, this.#rule(chain, number, 'deletion'));
        else for (const rule of rules) this.#remove(chain, this.#find(chain, rule));
        break;
      case 'check':
        for (const rule of rules) this.#find(chain, rule);
        break;
      case 'new-chain':
        if (this.#state.chain(this.#table, chain) !== undefined) throw refusal('Chain already exists.', chain);
        this.#state.addChain(this.#table, chain);
        break;
      case 'delete-chain':
        this.#deleteChains();
        break;
      case 'rename-chain':
        this.#state.renameChain(this.#table, this.#there(chain), this.#free(this.#command.newName!));
        break;
      case 'flush':
        this.#flush();
        break;
      case 'zero':
        this.#zero();
        break;
      case 'policy':
        this.#policy(chain);
        break;
      case 'list':
        this.printed = listTable(this.#state, this.#command);
        break;
      case 'list-rules':
        this.printed = listRules(this.#state, this.#command);
        break;
      default:
    }
    if (this.#command.zero) this.#zero();
    if (this.#command.verbose > 0) this.#tell();
  }

  /** The chain in the kernel. */
  #there(name: string): StateChain {
    const chain = this.#state.chain(this.#table, name);
    if (chain === undefined || !chain.exists) throw refusal(NO_CHAIN, name);
    return chain;
  }

  /** A name that no chain has. */
  #free(name: string): string {
    if (this.#state.chain(this.#table, name) !== undefined) throw refusal('File exists.', name);
    return name;
  }

  #insert(chain: string, number: number): void {
    const found = this.#state.chain(this.#table, chain);
    if (found === undefined) throw refusal(NO_CHAIN, chain);
    if (number > found.rules.length + 1) throw refusal('Index of insertion too big.', number);
    // Each of several rules gets the same place: the last one stands first.
    for (const rule of this.#command.rules) this.#state.insert(rule, number - 1);
  }

  #rule(chain: string, number: number, purpose: string): StateRule {
    const rule = this.#there(chain).rules[number - 1];
    if (rule === undefined) throw refusal(`Index of ${purpose} too big.`, number);
    return rule;
  }

  #replace(old: StateRule): void {
    this.#state.replace(this.#command.rules[0]!, old);
  }

  #remove(chain: string, rule: StateRule): void {
    this.#state.remove(this.#table, this.#there(chain), rule);
  }

  #find(chain: string, wanted: IptablesRule): StateRule {
    const text = this.#text(wanted);
    const found = this.#state
      .chain(this.#table, chain)
      ?.rules.find(({ rule }) => rule !== undefined && this.#text(rule) === text);
    if (found === undefined) throw refusal(NO_RULE);
    return found;
  }

  /** Rules are the same if they are saved alike, and if what has no words has the same bytes. */
  #text(rule: IptablesRule): string {
    const raw = [...rule.matches, rule.target].map(one =>
      one !== undefined && 'info' in one && typeof (one as IptablesExtension).info === 'string'
        ? JSON.stringify(one)
        : '',
    );
    return [formatRule(rule, this.#state), ...raw].join('\n');
  }

  #deleteChains(): void {
    const { chain: only } = this.#command;
    const chains = only === undefined ? this.#userChains : [this.#there(only)];
    for (const chain of chains) {
      // Otherwise the kernel would take the rules of the chain away with it.
      if (chain.rules.length > 0 || chain.use > 0)
        throw this.#state.refusal('CHAIN_DEL', 'EBUSY', `chain ${chain.name}`);
      this.#state.deleteChain(this.#table, chain);
    }
    if (only !== undefined) return;
    // iptables also takes away the chains of its own that do nothing.
    for (const chain of this.#chains)
      if (chain.builtIn !== undefined && chain.exists && chain.policy === 'ACCEPT' && chain.use === 0)
        this.#state.deleteChain(this.#table, chain);
  }

  get #userChains(): StateChain[] {
    return this.#chains.filter(({ builtIn }) => builtIn === undefined);
  }

  get #chains(): StateChain[] {
    return chainsInOrder(this.#state.table(this.#table));
  }

  #flush(): void {
    const { chain: only, verbose } = this.#command;
    if (only !== undefined) {
      this.#state.flushChain(this.#table, this.#state.existing(this.#table, only));
      return;
    }
    if (verbose > 0) for (const chain of this.#chains) this.#state.ensureChain(this.#table, chain);
    this.#state.flushTable(this.#table);
  }

  #zero(): void {
    const { chain: only, number } = this.#command;
    const found = only === undefined ? undefined : this.#state.chain(this.#table, only);
    if (number !== undefined) {
      if (found === undefined || !found.exists) throw refusal(NO_RULE);
      const rule = found.rules[number - 1];
      if (rule !== undefined) this.#zeroRule(rule);
      return;
    }
    if (only !== undefined && found === undefined) throw refusal(NO_CHAIN, only);
    for (const chain of found === undefined ? this.#chains : [found]) {
      if (!chain.exists) continue;
      if (chain.builtIn !== undefined)
        this.#state.setPolicy(this.#table, chain, chain.policy, { packets: 0n, bytes: 0n });
      for (const rule of chain.rules) this.#zeroRule(rule);
    }
  }

  #zeroRule(old: StateRule): void {
    const { counters, ...rule } = old.rule ?? {};
    if (counters === undefined || (counters.packets === 0n && counters.bytes === 0n)) return;
    this.#state.replace(rule as IptablesRule, old);
  }

  #policy(name: string): void {
    const policy = this.#command.policy!;
    if (policy !== 'ACCEPT' && policy !== 'DROP')
      throw refusal("Bad policy name. Run `dmesg' for more information.", policy);
    const chain = this.#state.chain(this.#table, name);
    if (chain?.builtIn === undefined) throw refusal('Bad built-in chain name.', name);
    this.#state.setPolicy(this.#table, chain, policy);
  }

  /** What -v says. */
  #tell(): void {
    const { command, chain, number, rules } = this.#command;
    const names = chain === undefined ? this.#chains.map(({ name }) => name) : [chain];
    const at = { ...this.#state, protocol: 0, protocolInverted: false, table: this.#table, chain: '', numeric: true };
    switch (command) {
      case 'append':
      case 'insert':
      case 'replace':
      case 'delete':
      case 'check':
        if (command !== 'delete' || number === undefined)
          for (const rule of rules) this.printed += `${changedRow(rule, at)}\n`;
        break;
      case 'flush':
        for (const name of names) this.printed += `Flushing chain \`${name}'\n`;
        break;
      case 'zero':
        if (number === undefined) for (const name of names) this.printed += `Zeroing chain \`${name}'\n`;
        break;
      case 'delete-chain':
        // Those that are gone by now.
        for (const name of this.#gone) this.printed += `Deleting chain \`${name}'\n`;
        break;
      default:
    }
  }

  get #gone(): string[] {
    return this.#state.origins
      .filter(
        ({ operation, chain }) =>
          operation === 'CHAIN_DEL' && !/^(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING)$/.test(chain!),
      )
      .map(({ chain }) => chain!);
  }
}
