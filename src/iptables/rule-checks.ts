import { parseAddresses } from './addresses.ts';
import { IptablesError } from './error.ts';
import type { IptablesAddress, IptablesFamily, IptablesRule } from './model.ts';
import { findTarget } from './registry.ts';
import { parseNumber } from './values.ts';

/* Addresses, names and numbers of a command, and what goes together in one. */

/** Longer names of chains are refused. */
const LONGEST_CHAIN = 28;
/** Words after -j that no chain may have. */
const RESERVED: ReadonlySet<string> = new Set(['', 'ACCEPT', 'DROP', 'RETURN', 'QUEUE', 'standard']);
const LARGEST_NUMBER = 0x7fffffff;

/** Addresses as a command gives them. */
export interface GivenAddresses {
  readonly text: string;
  readonly inverted: boolean;
}

interface Addresses {
  readonly family: IptablesFamily;
  readonly source: GivenAddresses | undefined;
  readonly destination: GivenAddresses | undefined;
  /** The command replaces one rule. */
  readonly isReplacement: boolean;
}

/** A rule for each pair of addresses. */
export function addressed(
  rule: IptablesRule,
  { family, source: from, destination: to, isReplacement }: Addresses,
): IptablesRule[] {
  const sources = from && parseAddresses(from.text, family, from.inverted);
  const destinations = to && parseAddresses(to.text, family, to.inverted);
  for (const [given, list] of [
    [from, sources],
    [to, destinations],
  ] as const)
    if (given?.inverted && list!.length > 1)
      throw new IptablesError('! not allowed with multiple source or destination IP addresses', {
        argument: given.text,
      });
  if (isReplacement && ((sources?.length ?? 1) > 1 || (destinations?.length ?? 1) > 1))
    throw new IptablesError('Replacement rule does not specify a unique address');
  if ((sources?.length ?? 1) === 1 && (destinations?.length ?? 1) === 1) {
    const [source, destination] = [sources?.[0], destinations?.[0]];
    if (source !== undefined && !matchesAll(source)) rule.source = source;
    if (destination !== undefined && !matchesAll(destination)) rule.destination = destination;
    return [rule];
  }
  return (sources ?? [undefined]).flatMap(source =>
    (destinations ?? [undefined]).map(destination => withAddresses(rule, source, destination)),
  );
}

function withAddresses(
  rule: IptablesRule,
  source: IptablesAddress | undefined,
  destination: IptablesAddress | undefined,
): IptablesRule {
  const { table, chain, ...rest } = rule;
  return {
    table,
    chain,
    ...(source !== undefined && !matchesAll(source) && { source }),
    ...(destination !== undefined && !matchesAll(destination) && { destination }),
    ...rest,
  };
}

const matchesAll = ({ mask, invert }: IptablesAddress): boolean => !invert && (mask === '0.0.0.0' || mask === '::');

const VERDICTS: ReadonlySet<string> = new Set(['ACCEPT', 'DROP', 'RETURN']);

/** What a word after -j means that is no target of xtables. */
export const plainTarget = (name: string): NonNullable<IptablesRule['target']> =>
  VERDICTS.has(name) ? { verdict: name as 'ACCEPT' } : { jump: name };

/** The table nat sees the first packet of a connection only. */
export function refuseDrop(table: string, policy: string | undefined, { target }: IptablesRule): void {
  const drops = target !== undefined && 'verdict' in target && target.verdict === 'DROP';
  if (table === 'nat' && (policy === 'DROP' || drops))
    throw new IptablesError(
      '\nThe "nat" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n',
      { argument: 'DROP' },
    );
}

/** A packet that comes in has no way out yet, and the other way round. */
export function refuseInterfaces({ chain, inInterface, outInterface }: IptablesRule): void {
  const entering = chain === 'PREROUTING' || chain === 'INPUT';
  const leaving = chain === 'POSTROUTING' || chain === 'OUTPUT';
  if (entering && outInterface !== undefined)
    throw new IptablesError(`Can't use -o with ${chain}\n`, { argument: outInterface.name });
  if (leaving && inInterface !== undefined)
    throw new IptablesError(`Can't use -i with ${chain}\n`, { argument: inInterface.name });
}

/** What stands after -j or -g, as a name of a chain. */
export function chainName(name: string): string {
  if (name === '') throw new IptablesError('Invalid target name (too short)', { argument: name });
  if (Buffer.byteLength(name) > LONGEST_CHAIN)
    throw new IptablesError(`Invalid target name \`${name}' (${LONGEST_CHAIN} chars max)`, { argument: name });
  if (/\s/.test(name)) throw new IptablesError(`Invalid target name \`${name}'`, { argument: name });
  return name;
}

export function ruleNumber(text: string): number {
  const number = parseNumber(text, LARGEST_NUMBER);
  if (number === undefined || number < 1) throw new IptablesError(`Invalid rule number \`${text}'`, { argument: text });
  return number;
}

/** The number that a text begins with, as C's sscanf takes it. */
export function counter(text: string, what: string): bigint {
  const digits = /^\s*([-+]?\d+)/.exec(text)?.[1];
  if (digits === undefined) throw new IptablesError(`-c ${what} counter not numeric`, { argument: text });
  const value = BigInt(digits.replace('+', ''));
  return value > MOST ? MOST : BigInt.asUintN(64, value);
}

const MOST = (1n << 64n) - 1n;

/** Refuses the names that no chain may have. */
export function refuseChainName(chain: string): void {
  if (/^[-!]/.test(chain))
    throw new IptablesError(`chain name not allowed to start with \`${chain[0]}'`, { argument: chain });
  if (RESERVED.has(chain)) throw new IptablesError('chain name may not clash with target name', { argument: chain });
  if (/\s/.test(chain)) throw new IptablesError(`Invalid chain name \`${chain}'`, { argument: chain });
  refuseLongName(chain);
}

/** Refuses the names that a command may not give to a new chain. */
export function refuseNewName(chain: string, family: IptablesFamily): void {
  if (!/^[-!]/.test(chain) && findTarget(chain, family) !== undefined)
    throw new IptablesError('chain name may not clash with target name', { argument: chain });
  refuseChainName(chain);
}

/** Refuses a name that is too long. */
export function refuseLongName(chain: string): void {
  if (Buffer.byteLength(chain) > LONGEST_CHAIN)
    throw new IptablesError(`chain name \`${chain}' too long (must be under ${LONGEST_CHAIN + 1} chars)`, {
      argument: chain,
    });
}
