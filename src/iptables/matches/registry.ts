import type { ExtensionRow } from '../extension.ts';

/** The matches. */
export const matchRows = (): readonly ExtensionRow[] => [];
