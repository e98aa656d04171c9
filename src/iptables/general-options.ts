import { IptablesError } from './error.ts';

/* The options of iptables itself: those of no extension. */

/** What a command does. */
export type CommandName =
  | 'append'
  | 'check'
  | 'delete'
  | 'insert'
  | 'replace'
  | 'list'
  | 'list-rules'
  | 'flush'
  | 'zero'
  | 'new-chain'
  | 'delete-chain'
  | 'rename-chain'
  | 'policy'
  | 'help'
  | 'version';

/** One option. */
export interface GeneralOption {
  readonly name: string;
  readonly short: string;
  /** attached: the argument may be a part of the word. next: it is the whole word in that case. */
  readonly argument: 'none' | 'attached' | 'next' | 'optional';
}

const row = (name: string, short: string, argument: GeneralOption['argument']): GeneralOption => ({
  name,
  short,
  argument,
});

/** Some have two names. */
export const GENERAL: readonly GeneralOption[] = [
  row('append', 'A', 'attached'),
  row('delete', 'D', 'attached'),
  row('check', 'C', 'attached'),
  row('insert', 'I', 'attached'),
  row('replace', 'R', 'attached'),
  row('list', 'L', 'optional'),
  row('list-rules', 'S', 'optional'),
  row('flush', 'F', 'optional'),
  row('zero', 'Z', 'optional'),
  row('new-chain', 'N', 'attached'),
  row('delete-chain', 'X', 'optional'),
  row('rename-chain', 'E', 'attached'),
  row('policy', 'P', 'attached'),
  row('source', 's', 'next'),
  row('destination', 'd', 'next'),
  row('src', 's', 'next'),
  row('dst', 'd', 'next'),
  row('protocol', 'p', 'next'),
  row('in-interface', 'i', 'next'),
  row('jump', 'j', 'next'),
  row('table', 't', 'attached'),
  row('match', 'm', 'attached'),
  row('numeric', 'n', 'none'),
  row('out-interface', 'o', 'next'),
  row('verbose', 'v', 'none'),
  row('wait', 'w', 'optional'),
  row('wait-interval', 'W', 'attached'),
  row('exact', 'x', 'none'),
  row('fragments', 'f', 'none'),
  row('version', 'V', 'none'),
  row('help', 'h', 'optional'),
  row('line-numbers', '0', 'none'),
  row('modprobe', 'M', 'attached'),
  row('set-counters', 'c', 'attached'),
  row('goto', 'g', 'attached'),
  row('ipv4', '4', 'none'),
  row('ipv6', '6', 'none'),
];

const BY_LONG: ReadonlyMap<string, GeneralOption> = new Map(GENERAL.map(option => [option.name, option]));
/** The first of those with the same letter. */
const BY_SHORT: ReadonlyMap<string, GeneralOption> = new Map(
  [...GENERAL].reverse().map(option => [option.short, option]),
);

export const optionByName = (name: string): GeneralOption | undefined => BY_LONG.get(name);

/** -0 is no option of its own: the letter stands for --line-numbers in messages. */
export const optionByLetter = (letter: string): GeneralOption | undefined =>
  letter === '0' ? undefined : BY_SHORT.get(letter);

export const letterOf = (command: CommandName): string => BY_LONG.get(command)!.short;

/** The options that say something about a rule or a listing, in the order in which iptables looks at them. */
const CHECKED = 'nsdpjvxio0cf';
const IN_A_RULE = 'sdpjviof';

/** Which of those options each command takes. */
const ALLOWED: Readonly<Partial<Record<CommandName, string>>> = {
  append: `${IN_A_RULE}c`,
  insert: `${IN_A_RULE}c`,
  replace: `${IN_A_RULE}c`,
  delete: IN_A_RULE,
  check: IN_A_RULE,
  list: 'nvx0',
  'list-rules': 'v',
  policy: 'vc',
};
/** Those of the other commands, and of -D with a number. */
const VERBOSE = 'v';

/** @throws IptablesError an option was given that none of the commands takes */
export function refuseIllegal(given: ReadonlySet<string>, commands: readonly CommandName[], byNumber: boolean): void {
  const allowed = commands
    .map(command => (command === 'delete' && byNumber ? VERBOSE : (ALLOWED[command] ?? VERBOSE)))
    .join('');
  const illegal = [...CHECKED].find(letter => given.has(letter) && !allowed.includes(letter));
  if (illegal !== undefined)
    throw new IptablesError(`Illegal option \`-${illegal}' with this command`, { argument: `-${illegal}` });
}

/** The commands about one rule. */
export const RULE_COMMANDS: ReadonlySet<CommandName> = new Set(['append', 'insert', 'replace', 'delete', 'check']);
