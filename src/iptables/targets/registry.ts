import type { ExtensionRow } from '../extension.ts';
import { HEADER_TARGETS } from './headers.ts';
import { MARK_TARGETS } from './marks.ts';
import { NAT_TARGETS } from './nat.ts';
import { SET_TARGETS } from './sets.ts';
import { STATE_TARGETS } from './state.ts';
import { VERDICT_TARGETS } from './verdicts.ts';

/** The targets that iptables has a word for, besides chains and verdicts. */
export const targetRows = (): readonly ExtensionRow[] => [
  ...NAT_TARGETS,
  ...VERDICT_TARGETS,
  ...MARK_TARGETS,
  ...HEADER_TARGETS,
  ...STATE_TARGETS,
  ...SET_TARGETS,
];
