import { LinkKind } from './kind.ts';
import type { NewLink } from './settings.ts';

/** A device that drops what is sent to it. It has no data of its own. */
export const dummy = new LinkKind<'dummy', NewLink, never>({ name: 'dummy' });
