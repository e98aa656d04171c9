import { emit } from '../compile/lower.ts';
import type { Construct } from './construct.ts';

/* `notrack`: keeps the packet out of connection tracking. */

export const NOTRACK: Construct<{ kind: 'notrack' }, 'notrack'> = {
  compile: { notrack: e => emit(e, { notrack: {} }) },
  fromText: { notrack: () => ({ notrack: null }) },
  read: { notrack: () => ({ kind: 'notrack' }) },
  text: () => 'notrack',
  json: () => ({ notrack: null }),
};
