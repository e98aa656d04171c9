import type { Chain } from '../../nf_tables/chain.ts';
import { isDormant } from '../../nf_tables/table.ts';
import type { TableModel } from './model.ts';

/*
 * Of base chains with one priority the kernel runs the one first that was registered last. A chain is registered when it is made, so a chain that
 * must run before another one of its own priority is made after it.
 */

/** The kernel's lists that a base chain is registered in, with its priority: chains that have one in common have an order. */
export function hooksOf({ family, type, hook, priority, device, devices }: Chain): string[] {
  const onDevice = hook === 'ingress' || hook === 'egress';
  const places = onDevice
    ? (devices ?? [device]).map(name => `device ${name}`)
    : family === 'inet'
      ? ['ip', 'ip6']
      : [family];
  // All nat chains of a hook stand behind one entry of the kernel's, in a list of their own.
  return places.map(place => `${place} ${hook} ${type === 'nat' ? 'nat ' : ''}${priority}`);
}

/** The chains, by table, that cannot stay although nothing in them differs: what is made now would run before them, or they stand in another order. */
export function misplaced(
  wanted: ReadonlyMap<string, TableModel>,
  there: ReadonlyMap<string, TableModel>,
  plans: ReadonlyMap<string, { readonly wakes: boolean; makes(chain: string): boolean }>,
): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const places = new Map<string, number>();
  for (const [table, { chains }] of there)
    for (const chain of chains.keys()) places.set(`${table} ${chain}`, places.size);
  /** By hook: the tables whose chains are registered now. */
  const registered = new Map<string, Set<string>>();
  /** By table and hook: where the last chain that stays stands among those that are there. */
  const last = new Map<string, number>();
  const lastAt = (table: string, hook: string) => last.get(`${table} ${hook}`) ?? -1;
  const register = (hook: string, table: string) =>
    registered.set(hook, (registered.get(hook) ?? new Set()).add(table));
  /** Whether something else is registered now that the chain would run before. */
  const isBehind = (hook: string, but: string | undefined) =>
    [...(registered.get(hook) ?? [])].some(table => table !== but);
  for (const { table, chain, hooks } of inOrder(wanted)) {
    const place = places.get(`${table} ${chain}`) ?? -1;
    const plan = plans.get(table)!;
    const { wakes } = plan;
    const makes = plan.makes(chain);
    // The order of chains of different tables cannot be read: it is taken for what it was when this made them.
    const moves =
      !makes && hooks.some(hook => isBehind(hook, wakes ? table : undefined) || place < lastAt(table, hook));
    if (moves) found.set(table, (found.get(table) ?? new Set()).add(chain));
    for (const hook of hooks) {
      if (makes || moves) register(hook, '');
      else last.set(`${table} ${hook}`, place);
      // A table that wakes registers all of its chains, in their order.
      if (wakes) register(hook, table);
    }
  }
  return found;
}

/** The chains of all tables, as they stand in what is wanted. */
export function inOrder(
  models: ReadonlyMap<string, TableModel>,
): { table: string; chain: string; hooks: readonly string[] }[] {
  const chains: { table: string; chain: string; hooks: readonly string[]; index: number }[] = [];
  for (const [table, model] of models) {
    // Chains of a dormant table have an order among themselves only, until it wakes.
    const sleeps = isDormant(model.table);
    for (const [chain, { hooks, path }] of model.chains) {
      const own = sleeps ? hooks.map(hook => `${table} ${hook}`) : hooks;
      chains.push({ table, chain, hooks: own, index: path[1] as number });
    }
  }
  return chains.sort((a, b) => a.index - b.index);
}
