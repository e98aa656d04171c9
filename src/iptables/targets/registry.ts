import type { ExtensionRow } from '../extension.ts';

/** The targets. */
export const targetRows = (): readonly ExtensionRow[] => [];
