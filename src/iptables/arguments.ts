import { checkInterface } from './addresses.ts';
import type { ArgumentOptions, Command } from './command.ts';
import { IptablesError, PROGRAM } from './error.ts';
import { type ExtensionRow, guided, type OptionPlace, refused, type Surroundings } from './extension.ts';
import {
  type CommandName,
  GENERAL,
  type GeneralOption,
  letterOf,
  optionByLetter,
  optionByName,
  RULE_COMMANDS,
  refuseIllegal,
} from './general-options.ts';
import { type Found, finished, type Instance, LoadedExtensions } from './loaded-extensions.ts';
import type { IptablesCounters, IptablesRule } from './model.ts';
import { parseProtocol } from './protocols.ts';
import { findMatch, findTarget, impliedMatch } from './registry.ts';
import {
  addressed,
  chainName,
  counter,
  type GivenAddresses,
  plainTarget,
  refuseDrop,
  refuseInterfaces,
  refuseLongName,
  refuseNewName,
  ruleNumber,
} from './rule-checks.ts';
import { isOption } from './words.ts';

/* The arguments of iptables: one command, and the rule that it is about. */

const NONE: ReadonlySet<string> = new Set();

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
  #source: GivenAddresses | undefined;
  #destination: GivenAddresses | undefined;
  readonly #rule: IptablesRule;
  readonly #matches: Instance[] = [];
  #target: Instance | undefined;
  readonly #loaded = new LoadedExtensions();
  #impliedLoaded = false;
  #waits = false;
  readonly #seen = new Set<string>();
  readonly #place: { -readonly [K in keyof OptionPlace]: OptionPlace[K] };

  constructor(words: readonly string[], options: ArgumentOptions) {
    this.#words = words;
    this.#options = options;
    this.#place = {
      family: options.family,
      names: options.names,
      sets: options.sets,
      protocol: 0,
      protocolInverted: false,
      table: '',
      chain: '',
      extension: '',
      option: '',
      inverted: false,
      given: NONE,
      warnings: [],
    };
    const table = options.restoring ?? 'filter';
    this.#command = {
      command: 'append',
      table,
      rules: [],
      verbose: 0,
      numeric: false,
      exact: false,
      lineNumbers: false,
      warnings: this.#place.warnings,
    };
    this.#rule = { table, chain: '', matches: [] };
  }

  parse(): Command {
    try {
      return this.#parse();
    } catch (error) {
      if (error instanceof IptablesError) error.warnings = this.#place.warnings;
      throw error;
    }
  }

  #parse(): Command {
    const words = this.#words;
    while (this.#at < words.length) {
      const word = words[this.#at]!;
      if (word === '--') {
        this.#at++;
        break;
      }
      if (word === '!') {
        if (this.#inverted) throw new IptablesError('multiple consecutive ! not allowed', { argument: word });
        this.#inverted = true;
        this.#at++;
        continue;
      }
      if (word.startsWith('--')) this.#long(word);
      else if (word.length > 1 && word.startsWith('-')) this.#short(word);
      else throw new IptablesError(`Bad argument \`${word}'`, { argument: word, bare: true });
      if (this.#command.command === 'version') return this.#command;
      this.#inverted = false;
    }
    return this.#finish();
  }

  get #surroundings(): Surroundings {
    const { protocol } = this.#rule;
    return {
      family: this.#options.family,
      protocol: protocol?.number ?? 0,
      protocolInverted: protocol?.invert === true,
      table: this.#command.table,
      chain: this.#command.chain ?? '',
      names: this.#options.names,
      sets: this.#options.sets,
    };
  }

  #long(word: string): void {
    const equals = word.indexOf('=');
    const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
    const attached = equals < 0 ? undefined : word.slice(equals + 1);
    const general = optionByName(name);
    const exact = general === undefined ? this.#loaded.find(name) : undefined;
    // The beginning of a name is enough where no other begins like it.
    const options = general === undefined && exact === undefined ? this.#loaded.like(name) : [];
    const candidates =
      general === undefined && exact === undefined ? GENERAL.filter(row => row.name.startsWith(name)) : [];
    const one = candidates.every(({ short }) => short === candidates[0]!.short) ? candidates[0] : undefined;
    const chosen = general ?? (options.length === 0 ? one : undefined);
    const found = exact ?? (candidates.length === 0 && options.length === 1 ? options[0] : undefined);
    if (chosen === undefined && found === undefined) {
      this.#loadImplied(word);
      return;
    }
    this.#at++;
    if (chosen !== undefined) this.#general(chosen, word, attached);
    else this.#extensionOption(found!, word, attached);
  }

  /** An option that is not known may be one of the protocol's match: the word is looked at again. */
  #loadImplied(word: string): void {
    const { protocol } = this.#rule;
    const row =
      protocol === undefined || this.#impliedLoaded ? undefined : impliedMatch(protocol.number, this.#options.family);
    if (row === undefined) throw new IptablesError(`unknown option "${word}"`, { argument: word });
    this.#impliedLoaded = true;
    this.#matches.push(this.#load(row, row.name, 'match'));
    this.#long(word);
  }

  #extensionOption({ instance, option }: Found, word: string, attached: string | undefined): void {
    const { row, info, given } = instance;
    const count = option.value.words;
    const values: string[] = [];
    if (attached !== undefined && count > 0) values.push(attached);
    while (values.length < count) {
      const next = this.#words[this.#at];
      if (next === undefined || (values.length > 0 && isOption(next))) {
        if (values.length === 0) throw new IptablesError(`option "${word}" requires an argument`, { argument: word });
        throw new IptablesError(option.lacking ?? `--${option.name} requires two args.`, { argument: word });
      }
      values.push(next);
      this.#at++;
    }
    const { name, twice, title = name } = option;
    const place = this.#placeOf(row.title ?? row.name, title, given);
    this.#options.trace?.extensions
      .find(each => each.instance === instance)
      ?.options.push({ option, place: { ...place }, first: this.#at - values.length, values });
    if (twice !== undefined) {
      if (row.options.some(each => each.twice === twice && given.has(each.name))) throw refused(place, twice);
    } else if (given.has(name) && !option.repeats) throw guided(place, `option "--${title}" can only be used once.`);
    if (this.#inverted && option.invert === undefined) throw guided(place, `option "--${title}" cannot be inverted.`);
    option.value.parse(info, values, place);
    if (this.#inverted) option.invert!.set(info);
    given.add(name);
  }

  /** One object for all options of a rule: no value keeps it. */
  #placeOf(extension: string, option: string, given: ReadonlySet<string>): OptionPlace {
    const place = this.#place;
    const { protocol } = this.#rule;
    place.protocol = protocol === undefined ? 0 : protocol.number;
    place.protocolInverted = protocol?.invert === true;
    place.table = this.#command.table;
    place.chain = this.#command.chain ?? '';
    place.extension = extension;
    place.option = option;
    place.inverted = this.#inverted;
    place.given = given;
    return place;
  }

  #short(word: string): void {
    const row = optionByLetter(word[1]!);
    if (row === undefined) throw new IptablesError(`unknown option "${word}"`, { argument: word });
    this.#at++;
    const rest = word.slice(2);
    if (row.argument !== 'none' || rest === '') {
      this.#general(row, word, rest === '' ? undefined : rest);
      return;
    }
    // Letters behind each other: -nvL.
    this.#general(row, word, undefined);
    this.#inverted = false;
    this.#at--;
    this.#short(`-${rest}`);
  }

  /** The argument of an option. */
  #argument(row: GeneralOption, word: string, attached: string | undefined): string {
    // iptables reads these from the word before the one that is next: an attached value is the whole word.
    if (row.argument === 'next' && attached !== undefined) return word;
    if (attached !== undefined) return attached;
    const next = this.#words[this.#at];
    if (next === undefined) throw new IptablesError(`option "${word}" requires an argument`, { argument: word });
    this.#options.trace?.general.set(row.short, this.#at);
    this.#at++;
    return next;
  }

  /** The next word, if it is no option. */
  #operand(): string | undefined {
    const next = this.#words[this.#at];
    if (next === undefined || isOption(next)) return undefined;
    this.#at++;
    return next;
  }

  #general(row: GeneralOption, word: string, attached: string | undefined): void {
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
        else if (row.short === 'R') throw new IptablesError('-R requires a rule number', { argument: word });
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
      case 'N': {
        const chain = argument();
        refuseNewName(chain, this.#options.family);
        this.#begin(row, word, chain);
        break;
      }
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
        this.#once('s', word, true);
        this.#source = { text: argument(), inverted: this.#inverted };
        break;
      case 'd':
        this.#once('d', word, true);
        this.#destination = { text: argument(), inverted: this.#inverted };
        break;
      case 'p': {
        this.#once('p', word, true);
        this.#protocol(argument());
        break;
      }
      case 'i':
      case 'o': {
        const name = argument();
        if (name === '') throw new IptablesError('Empty interface is likely to be undesired', { argument: name });
        this.#once(row.short, word, true);
        checkInterface(name, command.warnings);
        rule[row.short === 'i' ? 'inInterface' : 'outInterface'] = this.#inverted ? { name, invert: true } : { name };
        break;
      }
      case 'f':
        if (this.#options.family === 'ipv6')
          throw new IptablesError("`-f' is not supported in IPv6, use -m frag instead", { argument: word });
        this.#once('f', word, true);
        rule.fragment = this.#inverted ? { invert: true } : {};
        break;
      case 'j': {
        const name = argument();
        this.#once('j', word);
        this.#jump(name);
        break;
      }
      case 'g': {
        const name = argument();
        this.#once('j', word);
        rule.target = { goto: chainName(name) };
        break;
      }
      case 'm': {
        const name = argument();
        if (this.#inverted) throw new IptablesError('unexpected ! flag before --match', { argument: word });
        this.#match(name);
        break;
      }
      case 'c': {
        const first = argument();
        this.#once('c', word);
        command.counters = this.#counters(first, word);
        break;
      }
      case 't': {
        const name = argument();
        if (this.#inverted) throw new IptablesError('unexpected ! flag before --table', { argument: word });
        if (this.#options.restoring !== undefined)
          throw new IptablesError(`The -t option cannot be used in ${PROGRAM}.\n`, { argument: word });
        command.table = name;
        rule.table = name;
        break;
      }
      case 'v':
        if (command.verbose === 0) this.#once('v', word);
        command.verbose++;
        break;
      case 'n':
        this.#once('n', word);
        command.numeric = true;
        break;
      case 'x':
        this.#once('x', word);
        command.exact = true;
        break;
      case '0':
        this.#once('0', word);
        command.lineNumbers = true;
        break;
      case '4':
      case '6':
        if ((row.short === '4') === (this.#options.family === 'ipv4')) break;
        if (this.#options.restoring === undefined) throw new IptablesError('', { argument: word, bare: true });
        command.skipped = true;
        break;
      case 'w':
      case 'W':
        this.#wait(row, word, attached);
        break;
      case 'M':
        argument();
        break;
      default:
        command.command = 'version';
    }
  }

  #begin(row: GeneralOption, word: string, chain: string | undefined): void {
    const command = this.#command;
    const { name } = row;
    if (this.#inverted) throw new IptablesError("unexpected '!' flag", { argument: word });
    if (this.#commandGiven) {
      const listing = command.command === 'list' || command.command === 'list-rules';
      const lists = name === 'list' || name === 'list-rules';
      const zeroing = command.command === 'zero' || command.zero === true;
      if (!(listing && name === 'zero' && !command.zero) && !(lists && command.command === 'zero'))
        throw new IptablesError(`Cannot use -${row.short} with -${letterOf(command.command)}`, { argument: word });
      if (zeroing || name === 'zero') command.zero = true;
    }
    this.#commandGiven = true;
    if (name !== 'zero' || command.zero === undefined) command.command = name as CommandName;
    if (chain === undefined) return;
    command.chain = chain;
    this.#rule.chain = chain;
  }

  /** Notes an option that may be given once. */
  #once(letter: string, word: string, invertible = false): void {
    if (this.#seen.has(letter)) throw new IptablesError(`multiple -${letter} flags not allowed`, { argument: word });
    if (this.#inverted && !invertible) throw new IptablesError(`cannot have ! before -${letter}`, { argument: word });
    this.#seen.add(letter);
  }

  #protocol(name: string): void {
    const number = parseProtocol(name, this.#options.names);
    if (number === undefined)
      throw new IptablesError(`unknown protocol "${name.toLowerCase()}" specified`, { argument: name });
    if (number === 0 && this.#inverted) throw new IptablesError('rule would never match protocol', { argument: name });
    if (number !== 0) this.#rule.protocol = this.#inverted ? { number, invert: true } : { number };
  }

  #counters(first: string, word: string): IptablesCounters {
    const comma = first.indexOf(',', 1);
    const [packets, bytes] = comma < 0 ? [first, this.#operand()] : [first.slice(0, comma), first.slice(comma + 1)];
    if (bytes === undefined) throw new IptablesError('-c requires packet and byte counter', { argument: word });
    return { packets: counter(packets, 'packet'), bytes: counter(bytes, 'byte') };
  }

  #match(name: string): void {
    const row = findMatch(name, this.#options.family);
    if (row === undefined)
      throw new IptablesError(`Couldn't load match \`${name}':No such file or directory\n`, { argument: name });
    this.#matches.push(this.#load(row, name, 'match'));
  }

  #load(row: ExtensionRow, word: string, kind: 'match' | 'target'): Instance {
    this.#options.loaded?.push({ kind, name: row.name, revision: row.revision });
    const at = this.#surroundings;
    const instance = this.#loaded.load(row, word, at);
    this.#options.trace?.extensions.push({ instance, word, at, options: [] });
    return instance;
  }

  #jump(word: string): void {
    const name = chainName(word);
    const row = findTarget(name, this.#options.family);
    if (row !== undefined) this.#target = this.#load(row, name, 'target');
    else this.#rule.target = plainTarget(name);
  }

  #wait(row: GeneralOption, word: string, attached: string | undefined): void {
    if (this.#options.restoring !== undefined)
      throw new IptablesError(`You cannot use \`-${row.short}' from iptables-restore`, { argument: word });
    const seconds = row.short === 'w' ? (attached ?? this.#operand()) : this.#argument(row, word, attached);
    if (row.short === 'W') this.#command.warnings.push('Ignoring deprecated --wait-interval option.');
    if (seconds !== undefined && !/^\d/.test(seconds))
      throw new IptablesError(`wait ${row.short === 'w' ? 'seconds' : 'interval'} not numeric`, { argument: seconds });
    if (row.short === 'w') this.#waits = true;
    else this.#seen.add('W');
  }

  #finish(): Command {
    const command = this.#command;
    const rule = this.#rule;
    const { chain } = command;
    if (this.#seen.has('W') && !this.#waits) throw new IptablesError('--wait-interval only makes sense with --wait\n');
    refuseDrop(command.table, command.policy, rule);
    const at = this.#surroundings;
    rule.matches = this.#matches.map(instance => finished(instance, at));
    if (this.#target !== undefined) rule.target = finished(this.#target, at);
    const surplus = this.#words[this.#at];
    if (surplus !== undefined) throw new IptablesError('unknown arguments found on commandline', { argument: surplus });
    if (!this.#commandGiven) throw new IptablesError('no command specified');
    if (this.#inverted) throw new IptablesError('nothing appropriate following !', { argument: '!' });
    if (command.counters !== undefined) rule.counters = command.counters;
    if (RULE_COMMANDS.has(command.command)) {
      const isReplacement = command.command === 'replace';
      command.rules = addressed(rule, {
        family: this.#options.family,
        source: this.#source,
        destination: this.#destination,
        isReplacement,
      });
    }
    const commands: CommandName[] = command.zero ? [command.command, 'zero'] : [command.command];
    refuseIllegal(this.#seen, commands, command.number !== undefined);
    if (chain !== undefined) refuseLongName(chain);
    if (RULE_COMMANDS.has(command.command)) refuseInterfaces(rule);
    return command;
  }
}
