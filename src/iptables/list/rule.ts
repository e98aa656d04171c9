import type { Info } from '../../nf_tables/xt/layout.ts';
import type { ExtensionRow } from '../extension.ts';
import type { IptablesAddress, IptablesCounters, IptablesExtension, IptablesRule } from '../model.ts';
import { findMatch, findTarget } from '../registry.ts';
import { lengthOfMask } from '../values.ts';
import { MATCH_LISTINGS } from './matches.ts';
import { hostName, networkName } from './names.ts';
import { type Listing, type ListPlace, Shown } from './shown.ts';
import { TARGET_LISTINGS } from './targets.ts';

/* One rule in a list of `iptables -L`. */

/** The columns that are wanted. */
export interface RuleColumns {
  /** -v */
  readonly verbose: boolean;
  /** -x */
  readonly exact: boolean;
  /** --line-numbers */
  readonly line?: number;
}

/** The line of a rule in a table. */
export function tableRow(rule: IptablesRule, at: ListPlace, { verbose, exact, line }: RuleColumns): string {
  let text = line === undefined ? '' : `${String(line).padEnd(4)} `;
  if (verbose) text += counterColumns(rule.counters, exact);
  text += `${targetName(rule, at).padEnd(9)} `;
  text += `${rule.protocol?.invert ? '!' : ' '}${protocolName(rule, at, !at.numeric).padEnd(4)} `;
  text += `${fragment(rule)} `;
  if (verbose) {
    text += ` ${interfaceName(rule.inInterface, at.numeric ? '*' : 'any').padEnd(6)} `;
    text += `${interfaceName(rule.outInterface, at.numeric ? '*' : 'any').padEnd(6)} `;
  }
  text += `${rule.source?.invert ? '!' : ' '}${addressName(rule.source, at).padEnd(19)} `;
  text += `${rule.destination?.invert ? '!' : ' '}${addressName(rule.destination, at).padEnd(19)} `;
  return `${text}${extensions(rule, at)}`;
}

/** The line of a rule that was changed with -v. */
export function changedRow(rule: IptablesRule, at: ListPlace): string {
  return (
    `${targetName(rule, at)} ${rule.protocol?.invert ? '!' : ' '}${protocolName(rule, at, true)} opt ${fragment(rule)} ` +
    `in ${interfaceName(rule.inInterface, '*')} out ${interfaceName(rule.outInterface, '*')} ` +
    `${rule.source?.invert ? '!' : ' '}${addressName(rule.source, at)} ` +
    `${rule.destination?.invert ? '!' : ' '}-> ${addressName(rule.destination, at)}  ${extensions(rule, at)}`
  );
}

const isGoto = ({ target }: IptablesRule): boolean => target !== undefined && 'goto' in target;

function extensions(rule: IptablesRule, at: ListPlace): string {
  const place: ListPlace = {
    ...at,
    protocol: rule.protocol?.number ?? 0,
    protocolInverted: rule.protocol?.invert === true,
  };
  let text = isGoto(rule) ? '[goto] ' : '';
  for (const match of rule.matches)
    text += listed(findMatch(match.name, at.family), match, MATCH_LISTINGS, place) ?? ` UNKNOWN match \`${match.name}'`;
  const { target } = rule;
  if (target !== undefined && 'info' in target) {
    const extension = target as IptablesExtension;
    text +=
      listed(findTarget(extension.name, at.family), extension, TARGET_LISTINGS, place) ??
      ` [${bytesOf(extension.info)} bytes of unknown target data]`;
  }
  return text;
}

const bytesOf = (info: Info | string): number => (typeof info === 'string' ? info.length / 2 : 0);

function listed(
  row: ExtensionRow | undefined,
  { info, revision }: IptablesExtension,
  listings: Readonly<Record<string, Listing>>,
  place: ListPlace,
): string | undefined {
  if (row === undefined || typeof info === 'string' || row.revision !== revision) return undefined;
  const shown = new Shown(row, info, place);
  const listing = Object.hasOwn(listings, row.name) ? listings[row.name] : undefined;
  return listing === undefined ? ` ${row.name} ${shown.plain}`.trimEnd() : listing(shown);
}

function targetName({ target }: IptablesRule, at: ListPlace): string {
  if (target === undefined) return '';
  if ('verdict' in target) return target.verdict;
  if ('jump' in target) return target.jump;
  return 'goto' in target ? target.goto : (findTarget(target.name, at.family)?.name ?? target.name);
}

function protocolName({ protocol }: IptablesRule, { names }: ListPlace, named: boolean): string {
  const number = protocol?.number ?? 0;
  if (!named) return String(number);
  return number === 0 ? 'all' : (names.protocols().byNumber.get(number) ?? String(number));
}

function fragment({ fragment: given }: IptablesRule): string {
  if (given === undefined) return '--';
  return given.invert ? '!f' : '-f';
}

const interfaceName = (given: { name: string; invert?: true } | undefined, any: string): string =>
  given === undefined ? any : `${given.invert ? '!' : ''}${given.name}`;

function addressName(given: IptablesAddress | undefined, { family, numeric }: ListPlace): string {
  const full = family === 'ipv4' ? 32 : 128;
  const any = family === 'ipv4' ? '0.0.0.0/0' : '::/0';
  const bits = given === undefined ? 0 : given.mask === undefined ? full : lengthOfMask(given.mask, family);
  if (given === undefined || bits === 0) return numeric || given?.invert ? any : 'anywhere';
  // ip6tables takes every address of zeros for this one, with whatever mask.
  if (!numeric && given.address === '::') return 'anywhere';
  if (bits === full) {
    if (numeric) return given.address;
    return hostName(given.address) ?? networkName(given.address) ?? given.address;
  }
  const name = numeric ? undefined : networkName(given.address);
  return `${name ?? given.address}/${bits ?? given.mask}`;
}

const LARGEST = 99999n;
const LARGEST_SCALED = 9999n;
const UNITS = ['K', 'M', 'G'];

/** A counter: large ones are rounded to thousands, millions and so on. */
export function scaled(number: bigint): string {
  if (number <= LARGEST) return String(number);
  let left = number;
  for (const unit of UNITS) {
    left = (left + 500n) / 1000n;
    if (left <= LARGEST_SCALED) return `${left}${unit}`;
  }
  return `${(left + 500n) / 1000n}T`;
}

function counterColumns(counters: IptablesCounters | undefined, exact: boolean): string {
  const { packets = 0n, bytes = 0n } = counters ?? {};
  const column = (number: bigint): string => {
    if (exact) return `${String(number).padStart(8)} `;
    return `${scaled(number).padStart(5)} `;
  };
  return column(packets) + column(bytes);
}
