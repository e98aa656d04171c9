import type { Hook } from '../nf_tables/chain.ts';
import type { IptablesFamily } from './model.ts';

/* The tables and chains that iptables has from the beginning, as iptables-nft makes them in the kernel. */

/** A chain that the kernel calls at a hook. */
export interface BuiltInChain {
  readonly name: string;
  readonly hook: Hook;
  readonly type: 'filter' | 'nat' | 'route';
  readonly priority: number;
}

const chains = (
  priority: number | Readonly<Record<string, number>>,
  names: readonly string[],
  type: BuiltInChain['type'] = 'filter',
): BuiltInChain[] =>
  names.map(name => ({
    name,
    hook: name.toLowerCase() as Hook,
    // Only the output of mangle looks up the route again.
    type: priority === MANGLE && name === 'OUTPUT' ? 'route' : type,
    priority: typeof priority === 'number' ? priority : priority[name]!,
  }));

const MANGLE = -150;

/** By table, in the order in which iptables-save writes them. Chains stand in their own order. */
export const BUILT_IN: Readonly<Record<string, readonly BuiltInChain[]>> = {
  mangle: chains(MANGLE, ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']),
  // nft means 50 by the name.
  security: chains(150, ['INPUT', 'FORWARD', 'OUTPUT']),
  raw: chains(-300, ['PREROUTING', 'OUTPUT']),
  filter: chains(0, ['INPUT', 'FORWARD', 'OUTPUT']),
  nat: chains(
    { PREROUTING: -100, INPUT: 100, OUTPUT: -100, POSTROUTING: 100 },
    ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
    'nat',
  ),
};

/** Do built-in chains have this name? */
export const isBuiltIn = (chain: string): boolean => /^(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING)$/.test(chain);

/** The families of nf_tables. */
export const FAMILIES = { ipv4: 'ip', ipv6: 'ip6' } as const satisfies Record<IptablesFamily, string>;

export const isTable = (name: string): boolean => Object.hasOwn(BUILT_IN, name);
export const builtInChain = (table: string, chain: string): BuiltInChain | undefined =>
  BUILT_IN[table]?.find(({ name }) => name === chain);
