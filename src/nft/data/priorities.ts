import { NFT_1_1_6 } from './dialects.ts';

/*
 * nft's names for the priorities of base chains. A priority within 10 of one is printed as 'dstnat + 5'; the name must fit the family and
 * hook.
 */

interface NamedPriority {
  readonly name: string;
  readonly value: number;
  readonly families: readonly string[];
  /** Default: any hook. */
  readonly hooks?: readonly string[];
  /** The hooks in nft 1.0.6; default: the same. */
  readonly oldHooks?: readonly string[];
}

const IP_FAMILIES = ['ip', 'ip6', 'inet'];

/** In the order in which nft looks for the nearest one. */
export const PRIORITIES: readonly NamedPriority[] = [
  { name: 'raw', value: -300, families: IP_FAMILIES },
  { name: 'mangle', value: -150, families: IP_FAMILIES },
  { name: 'dstnat', value: -100, families: IP_FAMILIES, hooks: ['prerouting', 'output'], oldHooks: ['prerouting'] },
  { name: 'filter', value: 0, families: [...IP_FAMILIES, 'arp', 'netdev'] },
  { name: 'security', value: 50, families: IP_FAMILIES },
  { name: 'srcnat', value: 100, families: IP_FAMILIES, hooks: ['input', 'postrouting'], oldHooks: ['postrouting'] },
];

export const BRIDGE_PRIORITIES: readonly NamedPriority[] = [
  { name: 'dstnat', value: -300, families: ['bridge'], hooks: ['prerouting'] },
  { name: 'filter', value: -200, families: ['bridge'] },
  { name: 'out', value: 100, families: ['bridge'], hooks: ['output'] },
  { name: 'srcnat', value: 300, families: ['bridge'], hooks: ['postrouting'] },
];

const REACH = 10;

/** The number of 'dstnat + 10', 'filter' or '-5'; undefined for a name that this family and hook do not have. */
export function parsePriority(text: string, family: string, hook: string, dialect = NFT_1_1_6): number | undefined {
  const found = /^\s*([a-z]+)\s*(?:([+-])\s*(\d+))?\s*$/.exec(text);
  if (found === null) return /^\s*-?\d+\s*$/.test(text) ? Number(text) : undefined;
  const [, name, sign, distance = '0'] = found;
  const named = prioritiesOf(family).find(each => each.name === name);
  if (named === undefined || !fits(named, family, hook, dialect)) return undefined;
  return named.value + (sign === '-' ? -Number(distance) : Number(distance));
}

/** A priority as nft's text has it. */
export function formatPriority(priority: number, family: string, hook: string, dialect = NFT_1_1_6): string {
  const near = prioritiesOf(family).find(each => Math.abs(priority - each.value) <= REACH);
  if (near === undefined || !fits(near, family, hook, dialect)) return String(priority);
  const distance = priority - near.value;
  if (distance === 0) return near.name;
  return distance > 0 ? `${near.name} + ${distance}` : `${near.name} - ${-distance}`;
}

function prioritiesOf(family: string): readonly NamedPriority[] {
  return family === 'bridge' ? BRIDGE_PRIORITIES : PRIORITIES;
}

function fits(
  { families, hooks, oldHooks = hooks }: NamedPriority,
  family: string,
  hook: string,
  dialect = NFT_1_1_6,
): boolean {
  const known = dialect.hasPriorityNamesInBothHooks ? hooks : oldHooks;
  return families.includes(family) && (known === undefined || known.includes(hook));
}
