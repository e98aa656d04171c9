import { LinkKind } from './kind.ts';
import type { NewLink } from './settings.ts';

/**
 * A device that returns packets to the point from which they came, so that received packets can be queued and limited. It has no own
 * settings.
 */
export const ifb = new LinkKind<'ifb', NewLink, never>({ name: 'ifb' });
