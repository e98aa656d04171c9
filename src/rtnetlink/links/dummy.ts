import { LinkKind } from './kind.ts';
import type { NewLink } from './settings.ts';

/** A device that drops all packets sent to it. It has no settings of its own. */
export const dummy = new LinkKind<'dummy', NewLink, never>({ name: 'dummy' });
