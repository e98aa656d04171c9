import { LinkKind } from './kind.ts';
import type { NewLink } from './settings.ts';

/** A device that gives packets back to where they came from, so that received packets can be queued and limited. It has no data of its own. */
export const ifb = new LinkKind<'ifb', NewLink, never>({ name: 'ifb' });
