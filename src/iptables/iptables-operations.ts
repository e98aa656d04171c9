import { checkObject, checkOneOf } from '../codec/index.ts';
import { BatchError, isArgumentError, typeError } from '../errors.ts';
import type { Exchange, Operation } from '../netlink/index.ts';
import { retry } from '../netlink/retry.ts';
import { Names } from '../nft/names.ts';
import { interfacesOf } from '../nftables/interfaces.ts';
import { NftablesOperations } from '../nftables/nftables-operations.ts';
import * as listing from '../nftables/read/listing.ts';
import { Reading } from '../nftables/read/reading.ts';
import { checkSignal } from '../signal.ts';
import { parseArguments } from './arguments.ts';
import { BUILT_IN, FAMILIES } from './built-in.ts';
import { applyCommand } from './change.ts';
import type { Command, LoadedExtension } from './command.ts';
import { splitCommandLine } from './command-line.ts';
import { IptablesError } from './error.ts';
import { errorText } from './error-texts.ts';
import { IpSets } from './ip-sets.ts';
import type { IptablesFamily } from './model.ts';
import { restoreText } from './restore.ts';
import { type MissingExtension, missingError, missingWarning, Revisions } from './revisions.ts';
import { saveText } from './save.ts';
import { SavedRules } from './saved-rules.ts';
import { RulesetState } from './state.ts';

/** How a namespace is saved. */
export interface SaveOptions {
  /** Only this table. Default: all that are there. */
  table?: 'filter' | 'nat' | 'mangle' | 'raw' | 'security';
  /** Writes the counters of rules: `[12:3456] -A INPUT ...`. Default false. */
  counters?: boolean;
  /** Ends the call, which then throws the signal's reason. */
  signal?: AbortSignal;
}

/** How a text is restored. */
export interface RestoreOptions {
  /** Removes all that the tables of the text have, their chains too. With false the text is added. Default true. */
  flush?: boolean;
  /** Chains and rules get the counters of the text. Default false. */
  counters?: boolean;
  /** Only this table; other tables' lines are read, and change nothing. */
  table?: 'filter' | 'nat' | 'mangle' | 'raw' | 'security';
  /** Reads the text and compares it with the namespace, and changes nothing. Default false. */
  test?: boolean;
  /** Acts before the rules are sent; after that the promise settles with what happened. */
  signal?: AbortSignal;
}

const TABLES = Object.keys(BUILT_IN) as NonNullable<SaveOptions['table']>[];

/** What a command prints. */
export interface IptablesOutput {
  /** What iptables prints for -L, -S, -V and -v; '' for other commands. */
  stdout: string;
  /** The warnings of a command that was carried out; '' if there are none. */
  stderr: string;
}

/**
 * The operations of `Iptables`. Each is written once and runs both synchronously and asynchronously.
 * @example
 * const text = await ipt.save();
 */
export class IptablesOperations {
  readonly #exchange: Exchange;
  readonly #nft: NftablesOperations;
  readonly #family: IptablesFamily;
  readonly #revisions: Revisions;

  constructor(exchange: Exchange, family: IptablesFamily = 'ipv4') {
    this.#exchange = exchange;
    this.#family = family;
    this.#nft = new NftablesOperations(exchange);
    this.#revisions = new Revisions(exchange, family);
  }

  /**
   * Returns the rules as iptables-nft-save 1.8.9 writes them, without its comments with the time.
   *
   * Tables that are not there are left out. For a table with rules that iptables has no words for there is one comment instead, as iptables
   * writes it; `Nftables.ruleset` can read them.
   *
   * @param options `table`, `counters`, `signal`
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace
   * @example
   * fs.writeFileSync('/etc/iptables/rules.v4', await ipt.save());
   */
  *save(options: SaveOptions = {}): Operation<string> {
    checkObject(options, [], ['table', 'counters', 'signal']);
    const { table, counters = false, signal } = options;
    if (table !== undefined) checkOneOf(table, ['table'], TABLES);
    checkSignal(signal, ['signal']);
    const { state, rules } = yield* this.#saved(counters, signal);
    return saveText(state, rules, table);
  }

  /**
   * Restores a text of iptables-save: all of it or nothing, in one transaction of the kernel. (iptables-nft-restore has one for each table,
   * so that a mistake in the second table leaves the first one changed.)
   *
   * @param text the text; each table ends with a line COMMIT
   * @param options `flush`, `counters`, `table`, `test`, `signal`
   * @throws IptablesError iptables would refuse a line, or the kernel has refused one: it has `line`, the word, and the kernel's error as
   * `cause`: an UnsupportedError if the kernel lacks a match or target of the text
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace
   * @example
   * await ipt.restore(fs.readFileSync('/etc/iptables/rules.v4', 'utf8'));
   */
  *restore(text: string, options: RestoreOptions = {}): Operation<void> {
    if (typeof text !== 'string') throw typeError(['text'], 'a string', text);
    checkObject(options, [], ['flush', 'counters', 'table', 'test', 'signal']);
    const { test = false, signal, ...rest } = options;
    if (rest.table !== undefined) checkOneOf(rest.table, ['table'], TABLES);
    checkSignal(signal, ['signal']);
    yield* this.#change(needsRules(text), test, signal, state => {
      try {
        restoreText(text, state, rest);
      } catch (error) {
        if (error instanceof IptablesError) error.line ??= state.line;
        throw error;
      }
    });
  }

  /**
   * Carries out one command of iptables 1.8.9, in one transaction: -A -I -R -D -C -N -X -E -F -Z -P -L -S -V, with all options.
   *
   * Names of hosts, services, protocols, users and groups come from the files of this machine; no name server is asked.
   *
   * @param command what stands behind `iptables` on a command line: a text with quotes and backslashes as in a shell, or a list of words
   * @param options `signal`
   * @throws IptablesError iptables would refuse it: `exitCode` is 1 to 4, `argument` the word that is wrong, `message` in the words of
   * iptables; `text()` is all that it would print
   * @throws NetlinkError EPERM without CAP_NET_ADMIN over the namespace
   * @example
   * await ipt.run('-t nat -A PREROUTING -p tcp --dport 80 -d 10.10.0.100 -j REDIRECT --to-ports 8080');
   * const { stdout } = await ipt.run(['-t', 'nat', '-S']);
   */
  *run(
    command: string | readonly string[],
    options: {
      /** Ends the call: before the send, and between reads. */
      signal?: AbortSignal;
    } = {},
  ): Operation<IptablesOutput> {
    const words = typeof command === 'string' ? splitCommandLine(command) : command;
    if (!Array.isArray(words) || words.some(word => typeof word !== 'string'))
      throw typeError(['command'], 'a string or an array of strings', command);
    checkObject(options, ['options'], ['signal']);
    checkSignal(options.signal, ['signal']);
    const parsed = yield* this.#parsed(words);
    const stderr = (): string => parsed.warnings.map(warning => `${warning}\n`).join('');
    if (parsed.command === 'version') return { stdout: 'iptables v1.8.9 (nf_tables)\n', stderr: stderr() };
    let stdout = '';
    yield* this.#change(looksAtRules(parsed), false, options.signal, state => {
      stdout = applyCommand(state, parsed);
    });
    return { stdout, stderr: stderr() };
  }

  /** The command that the words are. As iptables does, a refusal also names what the kernel does not have. */
  *#parsed(words: readonly string[]): Operation<Command> {
    const loaded: LoadedExtension[] = [];
    try {
      return parseArguments(words, { family: this.#family, names: new Names(), sets: this.#sets, loaded });
    } catch (error) {
      if (!(error instanceof IptablesError)) throw error;
      const missing = yield* this.#revisions.missing(loaded);
      error.warnings = [...missing.map(({ name }) => missingWarning(name)), ...error.warnings];
      throw error;
    }
  }

  /** The sets of ipset as they are now. */
  get #sets(): IpSets | undefined {
    const { transport } = this.#exchange;
    return transport.namespace === undefined ? undefined : new IpSets(transport.namespace.bind(transport));
  }

  /** Makes a change from what the namespace has now; again if somebody else was faster. */
  *#change(
    withRules: boolean,
    test: boolean,
    signal: AbortSignal | undefined,
    make: (state: RulesetState) => void,
  ): Operation<RulesetState> {
    const self = this;
    return yield* retry(
      'the change of the rules',
      function* () {
        for (;;) {
          const state = yield* self.#state(withRules, signal);
          state.revisions = new Map(self.#revisions.older);
          try {
            make(state);
          } catch (error) {
            throw isArgumentError(error) ? newerNeeded(error, self.#revisions) : error;
          }
          if (test || state.transaction.length === 0) return state;
          try {
            yield* self.#nft.commit(state.transaction, { generation: state.generation, ...(signal && { signal }) });
            return state;
          } catch (error) {
            const answer = yield* self.#revisions.ask(error, state.transaction);
            if (answer !== 'older') throw explained(error, state, answer === 'all' ? undefined : answer);
          }
        }
      },
      { rest: this.#exchange.budget },
    );
  }

  /** What is to be saved, of one generation. */
  *#saved(counters: boolean, signal: AbortSignal | undefined): Operation<{ state: RulesetState; rules: SavedRules }> {
    const exchange = this.#exchange;
    const family = FAMILIES[this.#family];
    const names = new Names();
    const reading = new Reading(exchange, signal === undefined ? {} : { signal });
    const { interfaceName } = interfacesOf(exchange.transport);
    const self = this;
    return yield* reading.consistent(exchange, function* (generation) {
      const tables = yield* listing.list(exchange, 'table', { family });
      const chains = yield* listing.list(exchange, 'chain', { family });
      const state = new RulesetState(self.#family, names, { generation, tables, chains }, undefined, self.#sets);
      const rules = new SavedRules(state, counters, interfaceName);
      yield* listing.eachRule(exchange, { family }, reading.budget, generation, message => rules.read(message));
      return { state, rules };
    });
  }

  /** What the namespace has. */
  *#state(withRules: boolean, signal: AbortSignal | undefined): Operation<RulesetState> {
    const family = FAMILIES[this.#family];
    const interfaceName = interfacesOf(this.#exchange.transport).interfaceName;
    const names = new Names();
    const options = signal === undefined ? {} : { signal };
    if (withRules) {
      const found = yield* this.#nft.ruleset({ family, ...options });
      return new RulesetState(this.#family, names, found as never, interfaceName, this.#sets);
    }
    const generation = yield* this.#nft.generation();
    const tables = yield* this.#nft.tables({ family, ...options });
    const chains = yield* this.#nft.chains({ family, ...options });
    return new RulesetState(this.#family, names, { generation, tables, chains }, undefined, this.#sets);
  }
}

/** Does a command look at the rules that are there? */
const looksAtRules = ({ command, number }: Command): boolean =>
  !['append', 'new-chain', 'rename-chain', 'flush', 'policy'].includes(command) &&
  // At the beginning of a chain there is always room.
  !(command === 'insert' && (number ?? 1) === 1);

/** Does a line look at the rules that are there? */
const needsRules = (text: string): boolean =>
  /^(\[[^\]]*\])?\s*(-[IDRCLSZEX]|--(insert|delete|replace|check|list|zero|rename))/m.test(text);

/** An older revision has not all fields of the newest one. */
function newerNeeded(error: Error, { older }: Revisions): Error {
  if (older.size === 0) return error;
  const names = [...older].map(([name, revision]) => `${name} revision ${revision}`).join(', ');
  return new IptablesError(`the kernel has ${names}: an option needs a newer one`, { exitCode: 4, cause: error });
}

/** The kernel's refusals as iptables tells them. */
function explained(error: unknown, state: RulesetState, missing?: MissingExtension): unknown {
  if (!(error instanceof BatchError)) return error;
  const codes = new Map(error.failures.map(({ index, code }) => [index, code]));
  // Chains that lead to each other are refused anew with each further rule of the table, which BatchError leaves out.
  const [loop] = error.failures.filter(({ code }) => code === 'EMLINK');
  if (loop !== undefined)
    for (const [index, { operation, table }] of state.origins.entries())
      if (index > loop.index && operation.startsWith('RULE') && table === state.origins[loop.index]!.table)
        codes.set(index, codes.get(index) ?? loop.code);
  const lines: string[] = [];
  let first: number | undefined;
  for (const [index, code] of [...codes].sort(([a], [b]) => a - b)) {
    const origin = state.origins[index];
    const what = origin?.chain === undefined ? `table ${origin?.table}` : `chain ${origin.chain}`;
    const subject = origin?.operation.startsWith('RULE') ? `rule in ${what}` : what;
    first ??= origin?.line;
    const at = origin?.line === undefined ? ' ' : `\nline ${origin.line}: `;
    lines.push(`${at}${origin?.operation} failed (${errorText(code)}): ${subject}`);
  }
  const refused = new IptablesError(lines.join(''), {
    exitCode: 4,
    cause: missing === undefined ? error : missingError(missing, error),
    ...(missing !== undefined && {
      argument: missing.name,
      warning: missingWarning(missing.name),
    }),
  });
  refused.line = first;
  return refused;
}
