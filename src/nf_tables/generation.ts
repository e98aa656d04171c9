import { attributes, opt, string, u32be } from '../codec/index.ts';
import * as C from '../linux/nf_tables.ts';

/** The number of the ruleset's state: each commit makes the next one. */
export const generationTable = attributes('NFTA_GEN', () => ({
  id: u32be(C.NFTA_GEN_ID),
  /** Who committed; in events. */
  processId: opt(u32be(C.NFTA_GEN_PROC_PID)),
  processName: opt(string(C.NFTA_GEN_PROC_NAME, 15)),
}));
