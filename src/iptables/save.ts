import type { Names } from '../nft/names.ts';
import { BUILT_IN } from './built-in.ts';
import { formatRule } from './format-rule.ts';
import type { IptablesRuleset } from './model.ts';
import type { SavedRules } from './saved-rules.ts';
import { chainsInOrder, type RulesetState } from './state.ts';

/* The text of iptables-save. */

/** The text of iptables-save, without the comments that have the time in them. `only`: of one table. */
export function saveText(state: RulesetState, saved: SavedRules, only?: string): string {
  let text = '';
  for (const name of Object.keys(BUILT_IN)) {
    const table = state.tables.get(name);
    if (table === undefined || !table.exists || (only !== undefined && only !== name)) continue;
    const chains = chainsInOrder(table);
    const rules = [...table.chains.values()]
      .filter(({ foreign }) => !foreign)
      .map(({ name: chain }) => [chain, saved.text(name, chain)] as const);
    if (rules.some(([, lines]) => lines === undefined)) {
      text += `# Table \`${name}' is incompatible, use 'nft' tool.\n`;
      continue;
    }
    if ([...table.chains.values()].some(({ foreign }) => foreign))
      text += `# Table \`${name}' contains incompatible base-chains, use 'nft' tool to list them.\n`;
    text += `*${name}\n`;
    for (const {
      name: chain,
      builtIn,
      policy,
      counters: { packets, bytes },
    } of chains)
      text += builtIn === undefined ? `:${chain} - [0:0]\n` : `:${chain} ${policy} [${packets}:${bytes}]\n`;
    const lines = new Map(rules);
    for (const { name: chain } of chains) text += lines.get(chain) ?? '';
    text += 'COMMIT\n';
  }
  return text;
}

/** A ruleset as text, in its own order. */
export function rulesetText({ family, tables }: IptablesRuleset, names: Names, counters: boolean): string {
  let text = '';
  const format = counters ? ({ counters: 'front' } as const) : {};
  for (const { name, chains } of tables) {
    text += `*${name}\n`;
    for (const { name: chain, policy, counters: { packets, bytes } = { packets: 0n, bytes: 0n } } of chains)
      text += `:${chain} ${policy ?? '-'} [${packets}:${bytes}]\n`;
    for (const { rules } of chains)
      for (const rule of rules) text += `${formatRule(rule, { family, names }, format)}\n`;
    text += 'COMMIT\n';
  }
  return text;
}
