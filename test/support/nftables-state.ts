import type { Ruleset } from '../../src/nftables/index.ts';

type Fields = Record<string, unknown>;

/** Values that packets and time change, or that the kernel counts by itself. */
const VOLATILE = new Set(['use', 'count', 'backend', 'expirationMilliseconds', 'consumed']);

function settled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(settled);
  if (typeof value !== 'object' || value === null) return value;
  const fields: Fields = {};
  for (const [key, item] of Object.entries(value)) {
    if (VOLATILE.has(key)) continue;
    fields[key] = key === 'counter' || key === 'counters' || key === 'last' ? {} : settled(item);
  }
  return fields;
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? `${item}n` : item));

const by = (key: (object: Fields) => string) => (a: unknown, b: unknown) =>
  key(a as Fields) < key(b as Fields) ? -1 : 1;

/**
 * A ruleset as two readings, or a reading and a monitor, must agree on it: without counters' values and the like, and without the order of what
 * has none. The rules of each chain keep theirs.
 */
export function stateOf(ruleset: Ruleset): Fields {
  const { tables, chains, sets, rules, objects, flowtables } = settled(ruleset) as unknown as Ruleset;
  const sorted = (list: unknown[]) => [...list].sort(by(text));
  const place = ({ family, table, chain }: Fields) => text([family, table, chain]);
  return {
    tables: sorted(tables),
    chains: sorted(chains),
    sets: sorted(sets.map(set => ({ ...set, elements: sorted(set.elements ?? []) }))),
    // Sorting is stable: within a chain nothing moves.
    rules: [...rules].sort((a, b) => {
      const [one, other] = [place(a as unknown as Fields), place(b as unknown as Fields)];
      return one === other ? 0 : one < other ? -1 : 1;
    }),
    objects: sorted(objects),
    flowtables: sorted(flowtables),
  };
}
