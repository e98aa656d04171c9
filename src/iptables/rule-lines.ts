import type { TransactionOperation } from '../nftables/write/transaction.ts';
import { parseArguments } from './arguments.ts';
import type { ArgumentTrace, Command } from './command.ts';
import { Learner, type LineForm } from './line-form.ts';
import type { RulesetState } from './state.ts';
import { splitWords } from './words.ts';

/*
 * Large texts have thousands of lines of the same form: the same options in the same order, with other values. Such a line is not read as a command.
 * The message of its form is copied, with the bytes of the words that are others than in the line before. The result is the same.
 */

/** A rule of a line: what it was is read again where the kernel has refused it. */
class RuleLine implements TransactionOperation {
  readonly line: number;
  readonly chain: string;
  readonly #lines: RuleLines;
  readonly #start: number;
  readonly #end: number;

  constructor(lines: RuleLines, line: number, chain: string, start: number, end: number) {
    this.#lines = lines;
    this.line = line;
    this.chain = chain;
    this.#start = start;
    this.#end = end;
  }

  get verb(): 'add' {
    return 'add';
  }
  get kind(): 'rule' {
    return 'rule';
  }
  get operation(): string {
    return 'RULE_APPEND';
  }
  get table(): string {
    return this.#lines.table;
  }
  get subject(): object {
    return { rule: this.#lines.ruleOf(this.#start, this.#end) };
  }
}

/** '[' */
const BRACKET = 0x5b;
/** Lines of the same options that are read as a whole before their form is learnt. */
const LEARN_AT = 3;
/** Forms of the same options: other devices, protocols, or native matches. */
const FORMS_OF_OPTIONS = 8;
const MOST_FORMS = 64;
/** Different options that are counted. */
const MOST_COUNTED = 1024;

/** The rules of one table of a text. */
export class RuleLines {
  readonly table: string;
  readonly #state: RulesetState;
  readonly #text: string;
  readonly #forms: LineForm[] = [];
  /** How often lines were read as a whole, by their options. */
  readonly #counts = new Map<string, number>();
  /** The form of the line before. */
  #last = 0;
  /** Rules get the counters of their lines. */
  readonly #keepsCounters: boolean;
  readonly #counters = /\[(\d{1,19}):(\d{1,19})\][ \t]*/y;
  /** Where the command of the last line begins and ends. */
  #start = 0;
  #end = 0;

  constructor(state: RulesetState, table: string, text: string, keepsCounters: boolean) {
    this.#state = state;
    this.table = table;
    this.#text = text;
    this.#keepsCounters = keepsCounters;
  }

  /** Appends the rule of a line. Returns false, and has done nothing, where the line must be read as a command. */
  append(begin: number, end: number): boolean {
    const counters = this.#countersAt(begin);
    const start = counters?.end ?? begin;
    this.#start = start;
    this.#end = end;
    const forms = this.#forms;
    const { length } = forms;
    for (let i = 0; i < length; i++) {
      // Lines often come in turns.
      const index = (this.#last + i) % length;
      const form = forms[index]!;
      const message = this.#read(form, start, end);
      if (message === undefined) continue;
      this.#last = index;
      if (this.#keepsCounters) form.putCounters(counters?.packets ?? 0n, counters?.bytes ?? 0n);
      const { chain } = form;
      const rule = new RuleLine(this, this.#state.line!, chain.name, begin, end);
      this.#state.appendWritten(rule, chain, form.message, message);
      return true;
    }
    return false;
  }

  /** What is wrong with a line is told where it is read as a command. */
  #read(form: LineForm, start: number, end: number): Uint8Array | undefined {
    try {
      return form.read(this.#text, start, end);
    } catch {
      return undefined;
    }
  }

  /** `[1:2] ` in front of a rule. Larger numbers are left to the command. */
  #countersAt(begin: number): { packets: bigint; bytes: bigint; end: number } | undefined {
    if (this.#text.charCodeAt(begin) !== BRACKET) return undefined;
    this.#counters.lastIndex = begin;
    const found = this.#counters.exec(this.#text);
    if (found === null) return undefined;
    return { packets: BigInt(found[1]!), bytes: BigInt(found[2]!), end: this.#counters.lastIndex };
  }

  /** The rule of a line that was read before. */
  ruleOf(begin: number, end: number): object {
    const counters = this.#countersAt(begin);
    const words = splitWords(this.#text.slice(counters?.end ?? begin, end));
    const { family, names, sets } = this.#state;
    const { rules } = parseArguments(words, { family, names, sets, restoring: this.table });
    const rule = rules[0]!;
    if (this.#keepsCounters && counters !== undefined)
      rule.counters = { packets: counters.packets, bytes: counters.bytes };
    return this.#state.written(rule);
  }

  /** Another command than -A may have changed the chains. */
  forgetChains(): void {
    for (const form of this.#forms) form.forgetChains();
  }

  /** Takes notice of a line that was read as a command, and learns the form of those that come often. */
  note(words: readonly string[]): void {
    if (this.#forms.length >= MOST_FORMS) return;
    const key = words.filter(word => word.startsWith('-') || word === '!').join(' ');
    const count = (this.#counts.get(key) ?? 0) + 1;
    if (count === 1 && this.#counts.size >= MOST_COUNTED) return;
    this.#counts.set(key, count);
    if (count < LEARN_AT || count >= LEARN_AT + FORMS_OF_OPTIONS) return;
    const form = this.#learn(words, this.#start, this.#end);
    if (form !== undefined) this.#forms.push(form);
  }

  #learn(words: readonly string[], start: number, end: number): LineForm | undefined {
    const { family, names, sets } = this.#state;
    const trace: ArgumentTrace = { general: new Map(), extensions: [] };
    const command = parseArguments(words, { family, names, sets, restoring: this.table, trace });
    const [rule] = command.rules;
    if (!isPlainAppend(command) || rule === undefined) return undefined;
    return new Learner(this.#state, this.#text, trace, rule).form(words, start, end);
  }
}

const isPlainAppend = ({ command, rules, counters, warnings, verbose, skipped }: Command): boolean =>
  command === 'append' &&
  rules.length === 1 &&
  counters === undefined &&
  warnings.length === 0 &&
  verbose === 0 &&
  skipped !== true;
