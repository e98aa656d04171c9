import { parseArguments } from './arguments.ts';
import { isTable } from './built-in.ts';
import { applyCommand } from './change.ts';
import { IptablesError, PROGRAM } from './error.ts';
import type { IptablesCounters } from './model.ts';
import { counter, refuseChainName } from './rule-checks.ts';
import { RuleLines } from './rule-lines.ts';
import type { RulesetState } from './state.ts';
import { splitWords } from './words.ts';

/* The text of iptables-save, line by line. */

/** How a text is restored. */
export interface RestoreTextOptions {
  /** Tables that the text names lose all that they have. Default true. */
  flush?: boolean;
  /** Chains and rules get the counters of the text. Default false. */
  counters?: boolean;
  /** Only this table; the others' lines are read, and change nothing. */
  table?: string;
}

/** The words before and behind the colon in the brackets before a command. */
export type GivenCounters = readonly [packets: string, bytes: string];

/** The counters that the words are. */
export const countersOf = ([packets, bytes]: GivenCounters): IptablesCounters => ({
  packets: counter(packets, 'packet'),
  bytes: counter(bytes, 'byte'),
});

/** What the lines of a text mean. */
export interface TextHandler {
  /** `*filter` */
  table(name: string): void;
  /** `:INPUT ACCEPT [0:0]` */
  chain(table: string, name: string, policy: string, counters: IptablesCounters | undefined): void;
  /** `-A INPUT ...` */
  command(words: readonly string[], table: string, counters: GivenCounters | undefined): void;
  commit(table: string): void;
  /** Appends the rule of a line that is like others before it. Returns false where the line must be read. */
  rule?(start: number, end: number): boolean;
}

/** The lines of a text, one by one. Each error has the number of its line. */
export function readText(text: string, handler: TextHandler, onLine: (line: number) => void): void {
  let table: string | undefined;
  let number = 0;
  const { length } = text;
  for (let start = 0; start < length; ) {
    let end = text.indexOf('\n', start);
    if (end < 0) end = length;
    const begin = start;
    start = end + 1;
    number++;
    onLine(number);
    if (table !== undefined && handler.rule?.(begin, end)) continue;
    const line = text.slice(begin, end);
    const first = line[0];
    if (first === undefined || first === '#') continue;
    if (line === 'COMMIT' && table !== undefined) {
      handler.commit(table);
      table = undefined;
    } else if (first === '*' && table === undefined) {
      table = line.slice(1).trim().split(/[ \t]/, 1)[0]!;
      if (!isTable(table))
        throw new IptablesError(`${PROGRAM}: line ${number} table name ${table === '' ? '' : `'${table}' `}invalid`, {
          argument: table,
        });
      handler.table(table);
    } else if (table === undefined) throw failed(number);
    else if (first === ':') readChain(line, table, handler, number);
    else readCommand(line, table, handler, number);
  }
  if (table !== undefined)
    throw new IptablesError(`COMMIT expected at line ${number + 1}`, { exitCode: 1, brief: true, whole: true });
}

const failed = (line: number): IptablesError =>
  new IptablesError(`line ${line} failed`, { exitCode: 1, brief: true, whole: true });

function readChain(line: string, table: string, handler: TextHandler, number: number): void {
  const [name = '', policy, counters] = line
    .slice(1)
    .split(/[ \t]+/)
    .filter((word, i) => i === 0 || word !== '');
  if (name === '') throw new IptablesError(`${PROGRAM}: line ${number} chain name invalid`, { argument: line });
  if (policy === undefined) throw new IptablesError(`${PROGRAM}: line ${number} policy invalid`, { argument: name });
  handler.chain(table, name, policy, counters === undefined ? undefined : readCounters(counters));
}

/** `[1:2]`; undefined if it is not that. */
function readCounters(text: string): IptablesCounters | undefined {
  const found = /^\[(\d+):(\d+)/.exec(text);
  return found === null ? undefined : { packets: BigInt(found[1]!), bytes: BigInt(found[2]!) };
}

/** iptables has room for so many bytes in a word, and for so many words in a line. */
const LONGEST_WORD = 1023;
const MOST_WORDS = 251;

/** The words of a command. */
function wordsOf(line: string): string[] {
  const words = splitWords(`${line}\n`);
  for (const [i, word] of words.entries()) {
    if (i >= MOST_WORDS) throw new IptablesError('Parser cannot handle more arguments', { argument: word });
    if (word.length * 3 > LONGEST_WORD && Buffer.byteLength(word) > LONGEST_WORD)
      throw new IptablesError('Parameter too long!', { argument: word });
  }
  return words;
}

function readCommand(line: string, table: string, handler: TextHandler, number: number): void {
  if (line[0] !== '[') {
    handler.command(wordsOf(line), table, undefined);
    return;
  }
  const close = line.indexOf(']');
  // iptables looks for the first colon, and for the next bracket behind it.
  const [, packets, bytes] = /^\[:*([^:]+):\]*([^\]]+)/.exec(`${line}\n`) ?? [];
  if (close < 0 || packets === undefined || bytes === undefined)
    throw new IptablesError(`Bad line ${number}: need ]`, { argument: line });
  handler.command(wordsOf(line.slice(close + 1)), table, [packets, bytes]);
}

/** Applies a text to the state of a namespace. */
export function restoreText(text: string, state: RulesetState, options: RestoreTextOptions = {}): void {
  const { flush = true, counters: keep = false, table: only } = options;
  const { family, names, sets } = state;
  let lines: RuleLines | undefined;
  // iptables reads a table to its end before it looks at what is there: mistakes in the words of later lines come first.
  let refused: IptablesError | undefined;
  const later = (act: () => void): void => {
    if (refused !== undefined) return;
    try {
      act();
    } catch (error) {
      if (!(error instanceof IptablesError)) throw error;
      // Only of words that are wrong iptables names the line where it has noticed it.
      if (error.exitCode !== 2) error.line ??= state.line;
      refused = error;
    }
  };
  const handler: TextHandler = {
    table(name) {
      // Rules that other commands look at are kept as they are read. Other revisions are written by few kernels.
      const isPlain = !state.keepsRules && state.revisions.size === 0 && (only === undefined || only === name);
      lines = isPlain ? new RuleLines(state, name, text, keep) : undefined;
      if (flush && (only === undefined || only === name)) state.resetTable(name);
    },
    chain(table, name, policy, counters) {
      if (only !== undefined && only !== table) return;
      lines?.forgetChains();
      if (state.chain(table, name)?.builtIn === undefined) {
        refuseChainName(name);
        later(() => state.declareChain(table, name));
      } else {
        if (keep && counters === undefined)
          throw new IptablesError(`invalid policy counters for chain '${name}'`, { argument: name });
        later(() => setPolicy(table, name, policy, counters));
      }
    },
    command(words, table, counters) {
      const command = parseArguments(words, { family, names, sets, restoring: table });
      if (command.skipped || (only !== undefined && only !== table)) return;
      if (keep && counters !== undefined) for (const rule of command.rules) rule.counters ??= countersOf(counters);
      later(() => applyCommand(state, command));
      if (command.command === 'append') lines?.note(words);
      else lines?.forgetChains();
    },
    commit() {
      if (refused !== undefined) throw refused;
    },
    rule: (start, end) => refused === undefined && lines?.append(start, end) === true,
  };
  const setPolicy = (table: string, name: string, policy: string, counters: IptablesCounters | undefined): void => {
    const chain = state.chain(table, name)!;
    if (policy !== '-' && policy !== 'ACCEPT' && policy !== 'DROP')
      throw new IptablesError(`Bad policy name. Run \`dmesg' for more information.`, {
        exitCode: 1,
        argument: policy,
        brief: true,
      });
    state.ensureChain(table, chain);
    if (policy === '-') return;
    state.setPolicy(table, chain, policy, keep ? counters! : NO_COUNTERS);
  };
  readText(text, handler, line => {
    state.line = line;
  });
}

const NO_COUNTERS: IptablesCounters = { packets: 0n, bytes: 0n };
