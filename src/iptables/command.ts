import type { Names } from '../nft/names.ts';
import type { OptionPlace, OptionRow, Surroundings } from './extension.ts';
import type { CommandName } from './general-options.ts';
import type { IpSets } from './ip-sets.ts';
import type { Instance } from './loaded-extensions.ts';
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

/** A match or target that a command names. */
export interface LoadedExtension {
  readonly kind: 'match' | 'target';
  readonly name: string;
  readonly revision: number;
}

/** How a command line is read. */
export interface ArgumentOptions {
  family: IptablesFamily;
  names: Names;
  /** The sets of ipset. Left out: none are known. */
  sets?: IpSets | undefined;
  /** Within a text, in this table: `-t` is refused. */
  restoring?: string;
  /** Gets the matches and targets, even of a command that is refused. */
  loaded?: LoadedExtension[];
  /** Takes down what each word was read as. */
  trace?: ArgumentTrace;
}

/** What the words of a command are. Words are named by their places in the command. */
export interface ArgumentTrace {
  /** The argument of a general option, by the option's letter. */
  readonly general: Map<string, number>;
  /** In the order in which they were loaded. */
  readonly extensions: TracedExtension[];
}

/** A match or a target while its options were read. */
export interface TracedExtension {
  readonly instance: Instance;
  /** The word that has loaded it. */
  readonly word: string;
  /** What the rule said when it was loaded. */
  readonly at: Surroundings;
  readonly options: TracedOption[];
}

/** One option of an extension. */
export interface TracedOption {
  readonly option: OptionRow;
  /** What the rule said when the option was read. */
  readonly place: OptionPlace;
  /** The place of its first value; the others follow. */
  readonly first: number;
  readonly values: readonly string[];
}
