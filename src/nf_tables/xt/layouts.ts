import { NFPROTO_IPV6 } from '../../linux/netfilter.ts';
import { COMMON_MATCH_LAYOUTS } from './common-matches.ts';
import { CONNTRACK_LAYOUTS } from './conntrack.ts';
import type { Layout, Layouts, XtLayouts } from './layout.ts';
import { PACKET_MATCH_LAYOUTS } from './packet-matches.ts';
import { AH_IPV4, AH_IPV6, PROTOCOL_MATCH_LAYOUTS } from './protocol-matches.ts';
import { STATE_MATCH_LAYOUTS } from './state-matches.ts';
import { targetLayout } from './targets.ts';

const MATCH_LAYOUTS: Layouts = {
  ...COMMON_MATCH_LAYOUTS,
  ...CONNTRACK_LAYOUTS,
  ...PROTOCOL_MATCH_LAYOUTS,
  ...PACKET_MATCH_LAYOUTS,
  ...STATE_MATCH_LAYOUTS,
};

function matchLayout(name: string, revision: number, family: number): Layout | undefined {
  if (name === 'ah' && revision === 0) return family === NFPROTO_IPV6 ? AH_IPV6 : AH_IPV4;
  return Object.hasOwn(MATCH_LAYOUTS, name) ? MATCH_LAYOUTS[name]![revision] : undefined;
}

/** Every structure that this library knows. */
export const XT_LAYOUTS: XtLayouts = { match: matchLayout, target: targetLayout };
