import type { Info } from '../nf_tables/xt/layout.ts';
import { formatAddress } from './addresses.ts';
import type { ExtensionRow, Surroundings } from './extension.ts';
import type { IptablesAddress, IptablesExtension, IptablesFamily, IptablesInterface, IptablesRule } from './model.ts';
import { formatProtocol } from './protocols.ts';
import { findMatch, findTarget } from './registry.ts';
import { quoted } from './words.ts';

/** How a rule is written. */
export interface RuleFormat {
  /** `[packets:bytes]` in front, as iptables-save -c has it, or `-c packets bytes` before the target, as iptables -v -S. */
  counters?: 'front' | 'inside';
}

/** A rule as iptables-save writes it: `-A INPUT ...`. */
export function formatRule(
  rule: IptablesRule,
  surroundings: Pick<Surroundings, 'family' | 'names' | 'sets' | 'warnings'>,
  { counters }: RuleFormat = {},
): string {
  const { protocol, target, fragment } = rule;
  const { family, names } = surroundings;
  const at: Surroundings = {
    ...surroundings,
    protocol: protocol?.number ?? 0,
    protocolInverted: protocol?.invert === true,
    table: rule.table,
    chain: rule.chain,
  };
  const { packets = 0n, bytes = 0n } = rule.counters ?? {};
  let text = counters === 'front' ? `[${packets}:${bytes}] -A ${rule.chain}` : `-A ${rule.chain}`;
  text += address(rule.source, '-s', family) + address(rule.destination, '-d', family);
  text += interfaceName(rule.inInterface, '-i') + interfaceName(rule.outInterface, '-o');
  if (protocol !== undefined) text += `${protocol.invert ? ' !' : ''} -p ${formatProtocol(protocol.number, names)}`;
  if (fragment !== undefined) text += fragment.invert ? ' ! -f' : ' -f';
  for (const match of rule.matches) text += ` -m ${formatExtension(findMatch(match.name, family), match, at)}`;
  if (counters === 'inside') text += ` -c ${packets} ${bytes}`;
  if (target === undefined) return text;
  if ('verdict' in target) return `${text} -j ${target.verdict}`;
  if ('jump' in target) return `${text} -j ${target.jump}`;
  if ('goto' in target) return `${text} -g ${target.goto}`;
  return `${text} -j ${formatExtension(findTarget(target.name, family), target, at)}`;
}

function address(value: IptablesAddress | undefined, option: string, family: IptablesFamily): string {
  if (value === undefined) return '';
  const text = formatAddress(value, family);
  return text === undefined ? '' : `${value.invert ? ' !' : ''} ${option} ${text}`;
}

const interfaceName = (value: IptablesInterface | undefined, option: string): string =>
  value === undefined || (value.name === '+' && !value.invert)
    ? ''
    : `${value.invert ? ' !' : ''} ${option} ${quoted(value.name) === value.name ? value.name : value.name}`;

/** The word of an extension and its options. */
export function formatExtension(row: ExtensionRow | undefined, extension: IptablesExtension, at: Surroundings): string {
  const { name, info } = extension;
  // Older revisions of a structure have fewer fields, of the same names.
  if (row === undefined || typeof info === 'string') return name;
  return `${row.word?.(info) ?? row.name}${formatOptions(row, info, at)}`;
}

/** The options of an extension, each with a blank in front. */
export function formatOptions(row: ExtensionRow, info: Info, at: Surroundings): string {
  let text = '';
  for (const option of row.options) {
    if (option.hidden || row.shows?.(option, info) === false) continue;
    const words = option.value.print(info, at);
    if (words === undefined) continue;
    text += `${option.invert?.has(info) ? ' !' : ''} --${option.name}${words === '' ? '' : ` ${words}`}`;
  }
  return row.tail === undefined ? text : text + row.tail(info, at);
}
