import type { Info } from '../nf_tables/xt/layout.ts';
import type { Names } from '../nft/names.ts';
import { parseAddresses } from './addresses.ts';
import { IptablesError } from './error.ts';
import { type ExtensionRow, guided, type OptionPlace, type OptionRow, type Surroundings } from './extension.ts';
import type { IptablesAddress, IptablesCounters, IptablesFamily, IptablesRule } from './model.ts';
import { parseProtocol } from './protocols.ts';
import { findMatch, findTarget, impliedMatch } from './registry.ts';

/* The arguments of iptables: one command, and the rule that it is about. */

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
  /** One for each pair of a source and a destination. */
  rules: IptablesRule[];
  counters?: IptablesCounters;
  verbose: number;
  numeric: boolean;
  exact: boolean;
  lineNumbers: boolean;
  /** -4 or -6 says that the line is for the other family: it is passed over. */
  skipped?: true;
}

/** How a command line is read. */
export interface ArgumentOptions {
  family: IptablesFamily;
  names: Names;
  /** Within a text, in this table: `-t` is refused. */
  restoring?: string;
}

interface General {
  readonly name: string;
  readonly short: string;
  /** attached: the argument may be a part of the word. next: it is the word itself otherwise. */
  readonly argument: 'none' | 'attached' | 'next' | 'optional';
}

const GENERAL: readonly General[] = [
  { name: 'append', short: 'A', argument: 'attached' },
  { name: 'delete', short: 'D', argument: 'attached' },
  { name: 'check', short: 'C', argument: 'attached' },
  { name: 'insert', short: 'I', argument: 'attached' },
  { name: 'replace', short: 'R', argument: 'attached' },
  { name: 'list', short: 'L', argument: 'optional' },
  { name: 'list-rules', short: 'S', argument: 'optional' },
  { name: 'flush', short: 'F', argument: 'optional' },
  { name: 'zero', short: 'Z', argument: 'optional' },
  { name: 'new-chain', short: 'N', argument: 'attached' },
  { name: 'delete-chain', short: 'X', argument: 'optional' },
  { name: 'rename-chain', short: 'E', argument: 'attached' },
  { name: 'policy', short: 'P', argument: 'attached' },
  { name: 'source', short: 's', argument: 'next' },
  { name: 'destination', short: 'd', argument: 'next' },
  { name: 'src', short: 's', argument: 'next' },
  { name: 'dst', short: 'd', argument: 'next' },
  { name: 'protocol', short: 'p', argument: 'next' },
  { name: 'in-interface', short: 'i', argument: 'next' },
  { name: 'jump', short: 'j', argument: 'next' },
  { name: 'table', short: 't', argument: 'attached' },
  { name: 'match', short: 'm', argument: 'attached' },
  { name: 'numeric', short: 'n', argument: 'none' },
  { name: 'out-interface', short: 'o', argument: 'next' },
  { name: 'verbose', short: 'v', argument: 'none' },
  { name: 'wait', short: 'w', argument: 'optional' },
  { name: 'exact', short: 'x', argument: 'none' },
  { name: 'fragments', short: 'f', argument: 'none' },
  { name: 'version', short: 'V', argument: 'none' },
  { name: 'help', short: 'h', argument: 'optional' },
  { name: 'line-numbers', short: '0', argument: 'none' },
  { name: 'modprobe', short: 'M', argument: 'attached' },
  { name: 'set-counters', short: 'c', argument: 'attached' },
  { name: 'goto', short: 'g', argument: 'attached' },
  { name: 'ipv4', short: '4', argument: 'none' },
  { name: 'ipv6', short: '6', argument: 'none' },
];
const BY_LONG: ReadonlyMap<string, General> = new Map(GENERAL.map(row => [row.name, row]));
/** The first of those with the same letter. */
const BY_SHORT: ReadonlyMap<string, General> = new Map([...GENERAL].reverse().map(row => [row.short, row]));
const VERDICTS: ReadonlySet<string> = new Set(['ACCEPT', 'DROP', 'RETURN']);
const LONGEST_INTERFACE = 15;
const LONGEST_CHAIN = 28;

/** An extension while its options are read. */
interface Instance {
  readonly row: ExtensionRow;
  readonly info: Info;
  readonly given: Set<string>;
}

/**
 * Reads the arguments of one command.
 * @throws IptablesError they are none that iptables takes
 */
export function parseArguments(words: readonly string[], options: ArgumentOptions): Command {
  return new ArgumentParser(words, options).parse();
}

class ArgumentParser {
  readonly #words: readonly string[];
  readonly #options: ArgumentOptions;
  readonly #command: Command;
  #commandGiven = false;
  #at = 0;
  #inverted = false;
  #sources: IptablesAddress[] | undefined;
  #destinations: IptablesAddress[] | undefined;
  readonly #rule: IptablesRule;
  readonly #matches: Instance[] = [];
  #target: Instance | undefined;
  #impliedLoaded = false;
  readonly #seen = new Set<string>();

  constructor(words: readonly string[], options: ArgumentOptions) {
    this.#words = words;
    this.#options = options;
    const table = options.restoring ?? 'filter';
    this.#command = {
      command: 'append',
      table,
      rules: [],
      verbose: 0,
      numeric: false,
      exact: false,
      lineNumbers: false,
    };
    this.#rule = { table, chain: '', matches: [] };
  }

  parse(): Command {
    const words = this.#words;
    while (this.#at < words.length) {
      const word = words[this.#at]!;
      if (word === '!') {
        if (this.#inverted) throw new IptablesError('multiple consecutive ! not allowed', { argument: word });
        this.#inverted = true;
        this.#at++;
        continue;
      }
      if (word === '--') {
        this.#at++;
        continue;
      }
      if (word.startsWith('--')) this.#long(word);
      else if (word.length > 1 && word.startsWith('-')) this.#short(word);
      else throw new IptablesError(`Bad argument \`${word}'`, { argument: word });
      this.#inverted = false;
    }
    return this.#finish();
  }

  get surroundings(): Surroundings {
    const { protocol } = this.#rule;
    return {
      family: this.#options.family,
      protocol: protocol?.number ?? 0,
      protocolInverted: protocol?.invert === true,
      table: this.#command.table,
      chain: this.#command.chain ?? '',
      names: this.#options.names,
    };
  }

  #long(word: string): void {
    const equals = word.indexOf('=');
    const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
    const attached = equals < 0 ? undefined : word.slice(equals + 1);
    const general = BY_LONG.get(name);
    if (general !== undefined) {
      this.#at++;
      this.#general(general, word, attached);
      return;
    }
    const found = this.#findOption(name);
    if (found !== undefined) {
      this.#at++;
      this.#extensionOption(found.instance, found.option, word, attached);
      return;
    }
    const candidates = GENERAL.filter(row => row.name.startsWith(name));
    const options = this.#optionsLike(name);
    const [one] = candidates;
    if (one !== undefined && options.length === 0 && candidates.every(({ short }) => short === one.short)) {
      this.#at++;
      this.#general(one, word, attached);
      return;
    }
    if (candidates.length === 0 && options.length === 1) {
      this.#at++;
      this.#extensionOption(options[0]!.instance, options[0]!.option, word, attached);
      return;
    }
    this.#loadImplied(word);
  }

  /** An option that is not known may be one of the protocol's match. */
  #loadImplied(word: string): void {
    const { protocol } = this.#rule;
    const row =
      protocol === undefined || this.#impliedLoaded ? undefined : impliedMatch(protocol.number, this.#options.family);
    if (row === undefined) throw new IptablesError(`unknown option "${word}"`, { argument: word });
    this.#impliedLoaded = true;
    this.#matches.push(this.#instance(row, row.name));
  }

  #instance(row: ExtensionRow, word: string): Instance {
    return { row, info: row.initial?.(this.surroundings, word) ?? {}, given: new Set() };
  }

  /** The newest extension that has it. */
  #findOption(name: string): { instance: Instance; option: OptionRow } | undefined {
    for (const instance of this.#instances()) {
      const option = instance.row.options.find(row => row.name === name || row.aliases?.includes(name));
      if (option !== undefined) return { instance, option };
    }
    return undefined;
  }

  #optionsLike(prefix: string): { instance: Instance; option: OptionRow }[] {
    const found = new Map<OptionRow, { instance: Instance; option: OptionRow }>();
    for (const instance of this.#instances())
      for (const option of instance.row.options)
        if ([option.name, ...(option.aliases ?? [])].some(name => name.startsWith(prefix)) && !found.has(option))
          found.set(option, { instance, option });
    return [...found.values()];
  }

  #instances(): Instance[] {
    const list = [...this.#matches].reverse();
    if (this.#target !== undefined) list.unshift(this.#target);
    return list;
  }

  #extensionOption(
    { row, info, given }: Instance,
    option: OptionRow,
    word: string,
    attached: string | undefined,
  ): void {
    const count = option.value.words;
    const values: string[] = [];
    if (attached !== undefined && count > 0) values.push(attached);
    while (values.length < count) {
      const next = this.#words[this.#at];
      if (next === undefined) throw new IptablesError(`option "${word}" requires an argument`, { argument: word });
      values.push(next);
      this.#at++;
    }
    const place: OptionPlace = {
      ...this.surroundings,
      extension: row.name,
      option: option.name,
      inverted: this.#inverted,
      given,
    };
    if (given.has(option.name) && !option.repeats)
      throw guided(place, `option "--${option.name}" can only be used once.`);
    const other = option.excludes?.find(name => given.has(name));
    if (other !== undefined)
      throw guided(place, `option "--${option.name}" cannot be used together with "--${other}".`);
    if (this.#inverted && option.invert === undefined)
      throw guided(place, `option "--${option.name}" cannot be inverted.`);
    option.value.parse(info, values, place);
    if (this.#inverted) option.invert!.set(info);
    given.add(option.name);
  }

  #short(word: string): void {
    const letter = word[1]!;
    const row = BY_SHORT.get(letter);
    this.#at++;
    if (row === undefined || letter === '0') throw new IptablesError(`unknown option "${word}"`, { argument: word });
    const rest = word.slice(2);
    if (row.argument === 'none' && rest !== '') {
      // Letters behind each other: -nvL.
      this.#general(row, word, undefined);
      this.#inverted = false;
      this.#at--;
      this.#short(`-${rest}`);
      return;
    }
    this.#general(row, word, rest === '' ? undefined : rest);
  }

  /** The argument of an option. */
  #argument(row: General, word: string, attached: string | undefined): string {
    // iptables reads these from the word before the one that is next: an attached value is the whole word.
    if (row.argument === 'next' && attached !== undefined) return word;
    if (attached !== undefined) return attached;
    const next = this.#words[this.#at];
    if (next === undefined) throw new IptablesError(`option "${word}" requires an argument`, { argument: word });
    this.#at++;
    return next;
  }

  /** The next word, if it is no option. */
  #operand(): string | undefined {
    const next = this.#words[this.#at];
    if (next === undefined || next.startsWith('-') || next.startsWith('!')) return undefined;
    this.#at++;
    return next;
  }

  #general(row: General, word: string, attached: string | undefined): void {
    const command = this.#command;
    const rule = this.#rule;
    const argument = () => this.#argument(row, word, attached);
    switch (row.short) {
      case 'A':
      case 'C':
        this.#begin(row, word, argument());
        break;
      case 'D':
      case 'I':
      case 'R': {
        this.#begin(row, word, argument());
        const number = this.#operand();
        if (number !== undefined) command.number = ruleNumber(number);
        else if (row.short === 'R') throw new IptablesError(`-R requires a rule number`, { argument: word });
        break;
      }
      case 'L':
      case 'S':
      case 'Z':
      case 'F':
      case 'X': {
        const chain = attached ?? this.#operand();
        this.#begin(row, word, chain);
        const number = row.short === 'F' || row.short === 'X' || chain === undefined ? undefined : this.#operand();
        if (number !== undefined) command.number = ruleNumber(number);
        break;
      }
      case 'N':
        this.#begin(row, word, argument());
        break;
      case 'E': {
        this.#begin(row, word, argument());
        const name = this.#operand();
        if (name === undefined)
          throw new IptablesError('-E requires old-chain-name and new-chain-name', { argument: word });
        command.newName = name;
        break;
      }
      case 'P': {
        this.#begin(row, word, argument());
        const policy = this.#operand();
        if (policy === undefined) throw new IptablesError('-P requires a chain and a policy', { argument: word });
        command.policy = policy;
        break;
      }
      case 's':
        this.#once('s', word);
        this.#sources = this.#addresses(argument());
        break;
      case 'd':
        this.#once('d', word);
        this.#destinations = this.#addresses(argument());
        break;
      case 'p': {
        this.#once('p', word);
        const name = argument();
        const number = parseProtocol(name, this.#options.names);
        if (number === undefined)
          throw new IptablesError(`unknown protocol "${name.toLowerCase()}" specified`, { argument: name });
        if (number === 0 && this.#inverted)
          throw new IptablesError('rule would never match protocol', { argument: name });
        if (number !== 0) rule.protocol = this.#inverted ? { number, invert: true } : { number };
        break;
      }
      case 'i':
        this.#once('i', word);
        rule.inInterface = this.#interface(argument());
        break;
      case 'o':
        this.#once('o', word);
        rule.outInterface = this.#interface(argument());
        break;
      case 'f':
        this.#once('f', word);
        rule.fragment = this.#inverted ? { invert: true } : {};
        break;
      case 'j':
        this.#refuseInversion('-j');
        this.#once('j', word);
        this.#jump(argument());
        break;
      case 'g':
        this.#refuseInversion('-g');
        this.#once('j', word);
        rule.target = { goto: argument() };
        break;
      case 'm':
        this.#refuseInversion('-m');
        this.#match(argument());
        break;
      case 'c': {
        this.#once('c', word);
        command.counters = this.#counters(argument(), word);
        break;
      }
      case 't': {
        if (this.#options.restoring !== undefined)
          throw new IptablesError(`The -t option (seen in line %d) cannot be used in %s.`, { argument: word });
        command.table = argument();
        rule.table = command.table;
        break;
      }
      case 'v':
        command.verbose++;
        break;
      case 'n':
        command.numeric = true;
        break;
      case 'x':
        command.exact = true;
        break;
      case '0':
        command.lineNumbers = true;
        break;
      case '4':
      case '6':
        if ((row.short === '4') !== (this.#options.family === 'ipv4')) command.skipped = true;
        break;
      case 'w':
        if (attached === undefined && this.#words[this.#at]?.match(/^\d/)) this.#at++;
        break;
      case 'M':
        argument();
        break;
      case 'h':
        this.#begin(row, word, attached);
        break;
      default:
        this.#begin(row, word, undefined);
    }
  }

  #begin(row: General, word: string, chain: string | undefined): void {
    const command = this.#command;
    if (this.#inverted) throw new IptablesError(`unexpected ! flag before -${row.short}`, { argument: word });
    if (this.#commandGiven)
      throw new IptablesError(`Cannot use -${row.short} with -${letterOf(command.command)}`, { argument: word });
    this.#commandGiven = true;
    command.command = row.name as CommandName;
    if (chain !== undefined) {
      if (chain.length > LONGEST_CHAIN)
        throw new IptablesError(`chain name \`${chain}' too long (must be under ${LONGEST_CHAIN + 1} chars)`, {
          argument: chain,
        });
      command.chain = chain;
      this.#rule.chain = chain;
    }
  }

  #once(letter: string, word: string): void {
    if (this.#seen.has(letter)) throw new IptablesError(`multiple -${letter} flags not allowed`, { argument: word });
    this.#seen.add(letter);
  }

  #refuseInversion(option: string): void {
    if (this.#inverted) throw new IptablesError(`unexpected ! flag before ${option}`, { argument: option });
  }

  #addresses(text: string): IptablesAddress[] {
    const list = parseAddresses(text, this.#options.family, this.#inverted);
    if (this.#inverted && text.includes(','))
      throw new IptablesError('! not allowed with multiple source or destination IP addresses', { argument: text });
    return list;
  }

  #interface(name: string): { name: string; invert?: true } {
    if (name === '') throw new IptablesError('Empty interface is likely to be undesired', { argument: name });
    if (Buffer.byteLength(name) > LONGEST_INTERFACE)
      throw new IptablesError(`interface name \`${name}' must be shorter than IFNAMSIZ (${LONGEST_INTERFACE})`, {
        argument: name,
      });
    return this.#inverted ? { name, invert: true } : { name };
  }

  #counters(first: string, word: string): IptablesCounters {
    const comma = first.indexOf(',');
    const [packets, bytes] = comma < 0 ? [first, this.#operand()] : [first.slice(0, comma), first.slice(comma + 1)];
    if (bytes === undefined) throw new IptablesError('-c requires packet and byte counter', { argument: word });
    if (!/^\d+$/.test(packets)) throw new IptablesError(`-c packet counter not numeric`, { argument: packets });
    if (!/^\d+$/.test(bytes)) throw new IptablesError(`-c byte counter not numeric`, { argument: bytes });
    return { packets: BigInt.asUintN(64, BigInt(packets)), bytes: BigInt.asUintN(64, BigInt(bytes)) };
  }

  #match(name: string): void {
    const row = findMatch(name, this.#options.family);
    if (row === undefined)
      throw new IptablesError(`Couldn't load match \`${name}':No such file or directory\n`, { argument: name });
    this.#matches.push(this.#instance(row, name));
  }

  #jump(name: string): void {
    if (name.length < 1) throw new IptablesError('Invalid target name (too short)', { argument: name });
    const rule = this.#rule;
    if (VERDICTS.has(name)) {
      rule.target = { verdict: name as 'ACCEPT' };
      return;
    }
    const row = findTarget(name, this.#options.family);
    if (row === undefined) {
      if (name.length > LONGEST_CHAIN)
        throw new IptablesError(`Invalid target name \`${name}' (${LONGEST_CHAIN} chars max)`, { argument: name });
      rule.target = { jump: name };
      return;
    }
    this.#target = this.#instance(row, name);
  }

  #finish(): Command {
    const command = this.#command;
    const rule = this.#rule;
    if (this.#inverted) throw new IptablesError('nothing appropriate following !');
    if (!this.#commandGiven) throw new IptablesError('no command specified');
    const at = this.surroundings;
    rule.matches = this.#matches.map(instance => finished(instance, at));
    if (this.#target !== undefined) rule.target = finished(this.#target, at);
    if (command.counters !== undefined) rule.counters = command.counters;
    const sources = this.#sources ?? [undefined];
    const destinations = this.#destinations ?? [undefined];
    for (const source of sources)
      for (const destination of destinations) command.rules.push(withAddresses(rule, source, destination));
    return command;
  }
}

function finished({ row, info, given }: Instance, at: Surroundings): { name: string; revision: number; info: Info } {
  const lacking = row.options.find(({ name, required }) => required && !given.has(name));
  if (lacking !== undefined)
    throw new IptablesError(`${row.name}: option "--${lacking.name}" must be specified`, {
      argument: `--${lacking.name}`,
      guided: true,
    });
  row.check?.(info, given, at);
  return { name: row.name, revision: row.revision, info };
}

function withAddresses(
  rule: IptablesRule,
  source: IptablesAddress | undefined,
  destination: IptablesAddress | undefined,
): IptablesRule {
  const { table, chain, ...rest } = rule;
  return {
    table,
    chain,
    ...(source !== undefined && !matchesAll(source) && { source }),
    ...(destination !== undefined && !matchesAll(destination) && { destination }),
    ...rest,
  };
}

const matchesAll = ({ mask, invert }: IptablesAddress): boolean => !invert && (mask === '0.0.0.0' || mask === '::');

function ruleNumber(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) < 1 || Number(text) > 0x7fffffff)
    throw new IptablesError(`Invalid rule number \`${text}'`, { argument: text });
  return Number(text);
}

const letterOf = (command: CommandName): string => BY_LONG.get(command)!.short;
