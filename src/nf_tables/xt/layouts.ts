import { COMMON_MATCH_LAYOUTS } from './common-matches.ts';
import { CONNTRACK_LAYOUTS } from './conntrack.ts';
import type { Layout, Layouts } from './layout.ts';

export { targetLayout } from './targets.ts';

const MATCH_LAYOUTS: Layouts = { ...COMMON_MATCH_LAYOUTS, ...CONNTRACK_LAYOUTS };

export function matchLayout(name: string, revision: number): Layout | undefined {
  return Object.hasOwn(MATCH_LAYOUTS, name) ? MATCH_LAYOUTS[name]![revision] : undefined;
}
