import type { Outcome } from './corpus.ts';
export const ipvsadm = (): Outcome[] => [];
