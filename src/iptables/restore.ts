import { parseArguments } from './arguments.ts';
import { isTable } from './built-in.ts';
import { applyCommand } from './change.ts';
import { IptablesError } from './error.ts';
import type { IptablesCounters } from './model.ts';
import { counter } from './rule-checks.ts';
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

/** What the lines of a text mean. */
export interface TextHandler {
  /** `*filter` */
  table(name: string): void;
  /** `:INPUT ACCEPT [0:0]` */
  chain(table: string, name: string, policy: string, counters: IptablesCounters | undefined): void;
  /** `-A INPUT ...` */
  command(words: readonly string[], table: string, counters: IptablesCounters | undefined): void;
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
      if (table === '') throw failed(number);
      handler.table(table);
    } else if (table === undefined) throw failed(number);
    else if (first === ':') readChain(line, table, handler, number);
    else readCommand(line, table, handler, number);
  }
  if (table !== undefined)
    throw new IptablesError(`COMMIT expected at line ${number + 1}`, { exitCode: 1, brief: true });
}

const failed = (line: number): IptablesError => new IptablesError(`line ${line} failed`, { exitCode: 1, brief: true });

function readChain(line: string, table: string, handler: TextHandler, number: number): void {
  const [name = '', policy, counters] = line
    .slice(1)
    .split(/[ \t]+/)
    .filter((word, i) => i === 0 || word !== '');
  if (name === '') throw new IptablesError(`chain name invalid`, { argument: line });
  if (policy === undefined) throw new IptablesError(`line ${number} policy invalid`, { argument: name });
  handler.chain(table, name, policy, counters === undefined ? undefined : readCounters(counters));
}

/** `[1:2]`; undefined if it is not that. */
function readCounters(text: string): IptablesCounters | undefined {
  const found = /^\[(\d+):(\d+)\]/.exec(text);
  return found === null ? undefined : { packets: BigInt(found[1]!), bytes: BigInt(found[2]!) };
}

function readCommand(line: string, table: string, handler: TextHandler, number: number): void {
  if (line[0] !== '[') {
    handler.command(splitWords(`${line}\n`), table, undefined);
    return;
  }
  const close = line.indexOf(']');
  const colon = line.indexOf(':');
  if (close < 0) throw new IptablesError(`Bad line ${number}: need ]\n`, { argument: line });
  if (colon < 0 || colon > close) throw new IptablesError(`Bad line ${number}: need :\n`, { argument: line });
  const packets = line.slice(1, colon);
  const bytes = line.slice(colon + 1, close);
  if (packets === '') throw new IptablesError(`Bad line ${number}`, { argument: line });
  if (bytes === '') throw new IptablesError(`Bad line ${number}`, { argument: line });
  // Words that are no numbers are refused as the arguments of -c are, where counters are asked for.
  const counters =
    /^\d+$/.test(packets) && /^\d+$/.test(bytes)
      ? { packets: counter(packets, 'packet'), bytes: counter(bytes, 'byte') }
      : undefined;
  handler.command(splitWords(`${line.slice(close + 1)}\n`), table, counters);
}

/** Applies a text to the state of a namespace. */
export function restoreText(text: string, state: RulesetState, options: RestoreTextOptions = {}): void {
  const { flush = true, counters: keep = false, table: only } = options;
  const { family, names } = state;
  let lines: RuleLines | undefined;
  const handler: TextHandler = {
    table(name) {
      if (!isTable(name)) throw new IptablesError(`table '${name}' does not exist`, { exitCode: 3, argument: name });
      // Rules that other commands look at are kept as they are read. Other revisions are written by few kernels.
      const isPlain = !state.keepsRules && state.revisions.size === 0 && (only === undefined || only === name);
      lines = isPlain ? new RuleLines(state, name, text, keep) : undefined;
      if (flush && (only === undefined || only === name)) state.resetTable(name);
    },
    chain(table, name, policy, counters) {
      if (only !== undefined && only !== table) return;
      lines?.forgetChains();
      const chain = state.chain(table, name);
      if (chain?.builtIn === undefined) {
        state.declareChain(table, name);
        return;
      }
      if (policy === '-') {
        state.ensureChain(table, chain);
        return;
      }
      if (policy !== 'ACCEPT' && policy !== 'DROP')
        throw new IptablesError(`Bad policy name. Run \`dmesg' for more information.`, {
          exitCode: 1,
          argument: policy,
          brief: true,
        });
      state.ensureChain(table, chain);
      if (keep && counters === undefined)
        throw new IptablesError(`invalid policy counters for chain '${name}'`, { argument: name });
      state.setPolicy(table, chain, policy, keep ? counters! : NO_COUNTERS);
    },
    command(words, table, counters) {
      const command = parseArguments(words, { family, names, restoring: table });
      if (command.skipped || (only !== undefined && only !== table)) return;
      for (const rule of command.rules) if (keep && counters !== undefined) rule.counters ??= counters;
      applyCommand(state, command);
      if (command.command === 'append') lines?.note(words);
      else lines?.forgetChains();
    },
    commit() {},
    rule: (start, end) => lines?.append(start, end) === true,
  };
  readText(text, handler, line => {
    state.line = line;
  });
}

const NO_COUNTERS: IptablesCounters = { packets: 0n, bytes: 0n };
