import type { Command } from '../command.ts';
import { IptablesError } from '../error.ts';
import { formatRule } from '../format-rule.ts';
import { chainsInOrder, type RulesetState, type StateChain } from '../state.ts';
import { scaled, tableRow } from './rule.ts';
import type { ListPlace } from './shown.ts';

/* What -L and -S print. */

/** The chains that are asked for. */
function chosen(state: RulesetState, { table, chain: only }: Command): { chains: StateChain[]; note: string } {
  const found = state.table(table);
  const all = chainsInOrder(found);
  if (only !== undefined) {
    const chain = all.find(({ name }) => name === only);
    if (chain === undefined || incompatible(chain))
      throw new IptablesError(`chain \`${only}' in table \`${table}' is incompatible, use 'nft' tool.`, {
        exitCode: 1,
        argument: only,
      });
    return { chains: [chain], note: '' };
  }
  if (all.some(incompatible))
    throw new IptablesError(`table \`${table}' is incompatible, use 'nft' tool.`, { exitCode: 1, argument: table });
  const foreign = [...found.chains.values()].some(chain => chain.foreign);
  return {
    chains: all,
    note: foreign ? `# Table \`${table}' contains incompatible base-chains, use 'nft' tool to list them.\n` : '',
  };
}

const incompatible = ({ rules }: StateChain): boolean => rules.some(({ rule }) => rule === undefined);

/** The table of -L. */
export function listTable(state: RulesetState, command: Command): string {
  const { verbose, exact, numeric, lineNumbers, number } = command;
  const { chains, note } = chosen(state, command);
  const { family, names } = state;
  const at: ListPlace = {
    family,
    names,
    numeric,
    warnings: command.warnings,
    protocol: 0,
    protocolInverted: false,
    table: command.table,
    chain: '',
  };
  const row = ({ rules }: StateChain, index: number): string =>
    `${tableRow(rules[index]!.rule!, at, { verbose: verbose > 0, exact, ...(lineNumbers && { line: index + 1 }) })}\n`;
  if (number !== undefined) {
    const chain = chains[0]!;
    return chain.rules[number - 1] === undefined ? '' : row(chain, number - 1);
  }
  return (
    note + chains.map(chain => heading(chain, command) + chain.rules.map((_, i) => row(chain, i)).join('')).join('\n')
  );
}

function heading(chain: StateChain, { verbose, exact, lineNumbers }: Command): string {
  const { name, builtIn, policy, counters } = chain;
  let state = `${chain.use - chain.rules.length} references`;
  if (builtIn !== undefined) {
    const number = (count: bigint): string => (exact ? String(count) : scaled(count));
    const counted = verbose > 0 ? ` ${number(counters.packets)} packets, ${number(counters.bytes)} bytes` : '';
    state = `policy ${policy}${counted}`;
  }
  let text = `Chain ${name} (${state})\n`;
  if (lineNumbers) text += `${'num'.padEnd(4)} `;
  if (verbose > 0) text += exact ? `${'pkts'.padStart(8)} ${'bytes'.padStart(10)} ` : `${'pkts'.padStart(5)} bytes `;
  text += `${'target'.padEnd(9)}  prot opt `;
  if (verbose > 0) text += 'in     out     ';
  return `${text}${'source'.padEnd(20)} ${'destination'.padEnd(20)}\n`;
}

/** The lines of -S. */
export function listRules(state: RulesetState, command: Command): string {
  const { verbose, number } = command;
  const { chains, note } = chosen(state, command);
  const format = verbose > 0 ? ({ counters: 'inside' } as const) : {};
  const at = { family: state.family, names: state.names, warnings: command.warnings };
  const line = ({ rules }: StateChain, index: number): string => `${formatRule(rules[index]!.rule!, at, format)}\n`;
  if (number !== undefined) return chains[0]!.rules[number - 1] === undefined ? '' : line(chains[0]!, number - 1);
  let text = note;
  for (const { name, builtIn, policy, counters } of chains) {
    if (builtIn === undefined) text += `-N ${name}\n`;
    else {
      const counted = verbose > 0 ? ` -c ${counters.packets} ${counters.bytes}` : '';
      text += `-P ${name} ${policy}${counted}\n`;
    }
  }
  for (const chain of chains) text += chain.rules.map((_, i) => line(chain, i)).join('');
  return text;
}
