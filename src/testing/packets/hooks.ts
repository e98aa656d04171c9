import { NFT_TABLE_F_DORMANT } from '../../linux/nf_tables.ts';
import type { Namespace } from '../machine/state.ts';
import { NF_ACCEPT } from '../nf_tables/expressions/type.ts';
import type { Chain } from '../nf_tables/state.ts';
import { type ChainPath, runChain } from './chain.ts';
import { type Packet, parse } from './packet.ts';

export const PREROUTING = 0;
export const INPUT = 1;
export const FORWARD = 2;
export const OUTPUT = 3;
export const POSTROUTING = 4;
const INET = 1;

/** Something of the kernel's own in a hook, among the chains: connection tracking, NAT, IPVS. */
export interface BuiltIn {
  readonly family: number;
  readonly hook: number;
  readonly priority: number;
  run(packet: Packet): number;
}

type Entry = { readonly priority: number; readonly registered: number; run(): number };

/** Runs all that is registered at a hook of IPv4 or IPv6, in the order of priorities; of equal ones the newest first (nf_hook_slow). */
export function runHook(
  path: ChainPath,
  builtIns: readonly BuiltIn[],
  family: number,
  hook: number,
  packet: Packet,
): number {
  const point = { family, hook };
  const entries: Entry[] = builtIns
    .filter(each => each.family === family && each.hook === hook)
    .map(each => ({ priority: each.priority, registered: 0, run: () => each.run(packet) }));
  for (const chain of baseChains(path.namespace, family, hook))
    if (chain.base!.type !== 'nat')
      entries.push({
        priority: chain.base!.priority,
        registered: chain.base!.registered,
        run: () => runChain(path, chain, packet, point),
      });
  entries.sort(inOrder);
  for (const entry of entries) {
    parse(packet);
    const verdict = entry.run();
    if (verdict !== NF_ACCEPT) return verdict;
  }
  return NF_ACCEPT;
}

const inOrder = (a: { priority: number; registered: number }, b: { priority: number; registered: number }): number =>
  a.priority - b.priority || b.registered - a.registered;

/** The chains of type nat of a hook, in the order in which they are asked. */
export const natChains = (namespace: Namespace, family: number, hook: number): Chain[] =>
  baseChains(namespace, family, hook)
    .filter(each => each.base!.type === 'nat')
    .sort((a, b) => inOrder(a.base!, b.base!));

function baseChains({ nfTables }: Namespace, family: number, hook: number): Chain[] {
  const found: Chain[] = [];
  for (const table of nfTables.tables) {
    if ((table.family !== family && table.family !== INET) || (table.flags & NFT_TABLE_F_DORMANT) !== 0) continue;
    for (const chain of table.chains) if (chain.base !== undefined && chain.base.hook === hook) found.push(chain);
  }
  return found;
}
