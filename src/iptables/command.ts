import type { Names } from '../nft/names.ts';
import type { CommandName } from './general-options.ts';
import type { IptablesCounters, IptablesFamily, IptablesRule } from './model.ts';

/* A command of iptables, as its arguments say it. */

/** One command line. */
export interface Command {
  command: CommandName;
  table: string;
  /** The chain; left out: all chains. */
  chain?: string;
  /** The place of a rule, from 1 on. */
  number?: number;
  newName?: string;
  policy?: string;
  /** -Z beside -L or -S: the counters become zero after they were listed. */
  zero?: true;
  /** One for each pair of a source and a destination. */
  rules: IptablesRule[];
  counters?: IptablesCounters;
  verbose: number;
  numeric: boolean;
  exact: boolean;
  lineNumbers: boolean;
  /** -4 or -6 says that the line is for the other family: it is passed over. */
  skipped?: true;
  /** What iptables says although it goes on. */
  warnings: string[];
}

/** How a command line is read. */
export interface ArgumentOptions {
  family: IptablesFamily;
  names: Names;
  /** Within a text, in this table: `-t` is refused. */
  restoring?: string;
}
