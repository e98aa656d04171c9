import type { Expression } from '../nf_tables/expression.ts';
import type { Info } from '../nf_tables/xt/layout.ts';
import type { Names } from '../nft/names.ts';
import { IptablesError } from './error.ts';
import type { IpSets } from './ip-sets.ts';
import type { IptablesFamily } from './model.ts';

/** What the meaning of an option depends on, besides its own words. */
export interface Surroundings {
  readonly family: IptablesFamily;
  /** The protocol that the rule demands so far; 0 if none. */
  readonly protocol: number;
  /** `! -p` */
  readonly protocolInverted: boolean;
  readonly table: string;
  readonly chain: string;
  /** The names of protocols, services, users and groups. */
  readonly names: Names;
  /** The sets of ipset. Left out: none are known. */
  readonly sets?: IpSets | undefined;
  /** Gets what iptables says although it goes on. */
  readonly warnings?: string[];
}

/** Where an option stands while it is read. */
export interface OptionPlace extends Surroundings {
  /** 'length' */
  readonly extension: string;
  /** 'length' of `--length` */
  readonly option: string;
  /** A `!` stands before it. */
  readonly inverted: boolean;
  /** The options of this extension that were read before it. */
  readonly given: ReadonlySet<string>;
  readonly warnings: string[];
}

/** One kind of value of options, in both directions. */
export interface Value {
  /** How many arguments the option takes. */
  readonly words: number;
  /** Puts the arguments into the structure. */
  parse(info: Info, words: readonly string[], place: OptionPlace): void;
  /** The arguments as iptables-save writes them ('' for none); undefined if the option is not there. */
  print(info: Info, at: Surroundings): string | undefined;
}

/** One bit of a structure. */
export interface Flag {
  set(info: Info): void;
  has(info: Info): boolean;
}

/** One option of an extension. */
export interface OptionRow {
  /** Without `--`. */
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly value: Value;
  /** Where `!` is kept. Left out: the option cannot be inverted. */
  readonly invert?: Flag;
  readonly required?: true;
  /** The options that cannot stand beside it, in the order in which iptables looks for them. */
  readonly excludes?: readonly string[];
  /** The options without which it makes no sense. */
  readonly requires?: readonly string[];
  /** May be given more than once. */
  readonly repeats?: true;
  /** What iptables says where it is given twice, or beside another option that says the same. Default: as its option parser does. */
  readonly twice?: string | undefined;
  /** What iptables says where the second argument is missing. Default: `--name requires two args.` */
  readonly lacking?: string;
  /** The name that messages have for it. */
  readonly title?: string;
  /** Read, but saved by another option. */
  readonly hidden?: true;
}

/** A match or a target: its options and its structure, in both directions. */
export interface ExtensionRow {
  /** The kernel's name. */
  readonly name: string;
  readonly revision: number;
  /** The families that have it. Default: both. */
  readonly families?: readonly IptablesFamily[];
  /** The name that messages have for it. */
  readonly title?: string;
  /** Other words for it after -m or -j. */
  readonly aliases?: readonly string[];
  /** The protocols with which `-p` loads it for an option that is not known yet. */
  readonly protocols?: readonly number[];
  /** The structure before the options. */
  initial?(at: Surroundings, word: string): Info;
  /** In the order in which they are saved. */
  readonly options: readonly OptionRow[];
  /** The order in which iptables asks whether required options are there. Default: that of `options`. */
  readonly order?: readonly string[];
  /** Looks at all options together, after the last one. */
  check?(info: Info, given: ReadonlySet<string>, at: Surroundings): void;
  /** What is saved after the options, with a blank in front: of structures whose parts are no options one by one. */
  tail?(info: Info, at: Surroundings): string;
  /** The word that is saved after -m or -j, if it is not always the name. */
  word?(info: Info): string;
  /** Which of its options stand for the structure under that word. Default: all. */
  shows?(option: OptionRow, info: Info): boolean;
  /** The expressions that iptables writes in the place of a match or target; undefined where it writes none for this structure. */
  native?(info: Info, at: Surroundings): Expression[] | undefined;
}

/** The rule about an option's value that iptables' own option parser states. */
export function guided(place: OptionPlace, text: string): IptablesError {
  return new IptablesError(`${place.extension}: ${text}`, { argument: `--${place.option}`, guided: true });
}

/** A refusal in an extension's own words. */
export function refused(place: OptionPlace, text: string): IptablesError {
  return new IptablesError(text, { argument: `--${place.option}` });
}

/** A refusal that stands in no single option. */
export const incomplete = (text: string): IptablesError => new IptablesError(text);
