import type { Exchange, Operation } from '../../netlink/index.ts';
import type { Chain, Family } from '../../nftables/index.ts';
import { list } from '../../nftables/read/listing.ts';
import { MAX_LISTED, type OwnedDifference } from '../owned/difference.ts';
import { FAMILY, FIRST_PRIORITY, type RedirectSettings } from '../owned/table.ts';
import { CHAINS, REDIRECTS } from './maps.ts';

/** Families whose nat chains see the same packets as ours. */
const SAME_PACKETS: readonly Family[] = ['ip', 'ip6', 'inet'];

/**
 * Lists nat chains of others that see packets before ours. Lower priorities come first, and of equal ones the chain that was registered
 * last. The kernel does not tell when that was. A chain of a younger table is younger; a chain of an older table may be. If ours has the
 * lowest possible priority, every chain with the same one is listed.
 */
export function* foreignBefore(
  exchange: Exchange,
  { priority, output }: RedirectSettings,
): Operation<OwnedDifference[]> {
  const hooks = output ? CHAINS : CHAINS.slice(0, 1);
  const chains = (yield* list(exchange, 'chain')).flatMap(chain => {
    const hook = hooks.find(each => each === chain.hook);
    const isOurs = chain.family === FAMILY && chain.table === REDIRECTS;
    if (chain.type !== 'nat' || hook === undefined || isOurs || !SAME_PACKETS.includes(chain.family)) return [];
    return Number(chain.priority) <= priority ? [{ ...chain, hook }] : [];
  });
  if (chains.length === 0) return [];
  const tables = yield* list(exchange, 'table');
  const ageOf = (family: Family, table: string) =>
    tables.find(each => each.family === family && each.name === table)?.handle ?? 0n;
  const ours = ageOf(FAMILY, REDIRECTS);
  const isBefore = ({ family, table, priority: other }: Chain) =>
    Number(other) < priority || priority === FIRST_PRIORITY || ageOf(family, table) > ours;
  return chains
    .filter(isBefore)
    .slice(0, MAX_LISTED)
    .map(({ family, table, name, hook, priority: other }) => ({
      kind: 'order',
      problem: 'foreign',
      family,
      table,
      chain: name,
      expected: { hook, priorityAbove: priority },
      found: { hook, priority: Number(other) },
    }));
}
