import { checkObject } from '../codec/index.ts';
import {
  type ArgumentError,
  BatchError,
  describeErrno,
  isArgumentError,
  isNotFound,
  type Path,
  within,
} from '../errors.ts';
import type { Exchange, Operation } from '../netlink/index.ts';
import { isMoved, retry } from '../netlink/retry.ts';
import type { Family } from '../nf_tables/family.ts';
import type { SetKey } from '../nf_tables/set.ts';
import type { SetMember } from '../nft/json.ts';
import type { JsonCommand, NftDocument } from '../nft/json-commands.ts';
import { MOST_PROBLEMS, NftSyntaxError, type Problem, textPlace } from '../nft/parse/source.ts';
import type { RulesetJson } from '../nft/ruleset-json.ts';
import { nearest } from '../nft/script/edit-distance.ts';
import { Script, type ScriptOptions } from '../nft/script/script.ts';
import { asRefusalOf, type Compiled, compileDocument } from './commands.ts';
import type { Features } from './features.ts';
import { listedCommands } from './listed-commands.ts';
import { queriesIn } from './queries.ts';
import { byName } from './read/by-name.ts';
import { getElements } from './read/get-elements.ts';
import { list } from './read/listing.ts';
import { queryReply } from './read/query-reply.ts';
import type { Knowledge } from './read/set-reader.ts';
import { addsRule, partsOf, References, ruleSuggestion, type State } from './references.ts';
import { readGeneration } from './request.ts';
import { type CommitOptions, type CommitResult, commit } from './write/commit.ts';

/* Texts of nft's language: parsed, judged as nft judges them, and carried out. */

/** How a text is read. */
export type RulesetTextOptions = ScriptOptions;
/** How a text is read and carried out. */
export interface TextOptions extends ScriptOptions, CommitOptions {}

/**
 * Reads a text of nft's language, as `nft -f` does: a file, or commands. It gives nft's JSON, one command after the other: the blocks of tables are taken
 * apart, and rules are as nft lists them: `tcp dport { https }` is a match on 443. Nothing is asked of the kernel, so sets that are not made in the text are
 * not looked for. What only nft's text can say has words of our own, which `apply` takes; docs/language.md lists them.
 * @param text the text
 * @param options `source`, its name in errors; `include`, which returns the files for the pattern of an `include`; `variables`, defined before the text begins;
 * `version` of the language
 * @throws NftSyntaxError with all errors of the text, up to ten: what nft says, and where
 * @example
 * const document = parseRuleset('table ip web { chain input { type filter hook input priority 0; tcp dport 22 accept; }; }');
 * await nft.apply(document);
 */
export function parseRuleset(text: string, options: RulesetTextOptions = {}): NftDocument {
  const script = new Script(text, options);
  const compiled = compileScript(script, options, undefined);
  return { nftables: listedCommands(documentOf(script).nftables, compiled, options.version) };
}

const documentOf = ({ entries }: Script): NftDocument => ({ nftables: entries as NftDocument['nftables'] });

/** Translates the commands of a text. @throws NftSyntaxError if the text, or what it says, is wrong */
function compileScript(script: Script, { version }: RulesetTextOptions, state: State | undefined): Compiled {
  const wrong: (ArgumentError & Error)[] = [];
  const room = MOST_PROBLEMS - script.problems.length;
  const known = state && new Map(state.sets.map(set => [`${set.family} ${set.table} ${set.name}`, set]));
  const set = known && ((...key: [unknown, unknown, string]) => known.get(key.join(' ')));
  const references = new References(state);
  const compiled = compileDocument(documentOf(script), {
    surroundings: { version, set },
    isText: true,
    skips: isQuestion,
    check: references.check,
    refused(index, error) {
      // What is lacking stood in a line that is wrong.
      if (script.problems.length > 0 && error.value === undefined && error.nftMessage === undefined) return true;
      if (wrong.length < room) wrong.push(references.named(error, script.entries[index]!) ?? error);
      return true;
    },
  });
  const problems = [...script.problems, ...wrong.map(error => problemOf(script, error))];
  if (problems.length > 0) throw new NftSyntaxError(problems, { cause: wrong[0] });
  return compiled;
}

/** The error of a command in nft's words, at the place of its part in the text. */
function problemOf(script: Script, error: ArgumentError & Error): Problem {
  const message = error.nftMessage ?? error.message.slice(error.message.indexOf(': expected ') + 2);
  const others = error.nftBeside?.map(path => script.place(path.slice(1))).filter(span => span !== undefined);
  return { message, span: script.place(error.path.slice(1)), ...(others !== undefined && { others }) };
}

/** Carries out a text: see NftablesOperations.apply. */
export function* applyText(
  exchange: Exchange,
  features: Features,
  knowledge: Knowledge,
  text: string,
  options: TextOptions = {},
): Operation<CommitResult | RulesetJson | undefined> {
  checkObject(options, [], ['source', 'include', 'variables', 'version', 'generation', 'dryRun', 'echo', 'signal']);
  const { source, include, variables, version, ...others } = options;
  const script = new Script(text, { source, include, variables, version }, true);
  const unanswered = script.entries.findIndex(isUnanswered);
  if (unanswered >= 0 && script.problems.length === 0) throw unansweredAt(script, unanswered);
  // As nft does it: questions are answered with what there is before anything changes.
  const asks = script.problems.length === 0 && script.entries.some(isQuery);
  const reply = asks ? yield* answered(exchange, script, version) : undefined;
  if (asks && script.entries.every(isQuery)) return reply;
  const isOpen = refersOutside(script, text);
  return yield* retry(
    'the text',
    function* () {
      const state = isOpen ? yield* readState(exchange) : NOTHING;
      const compiled = compileScript(script, options, state);
      const bound = isOpen ? { generation: state.generation, ...others } : others;
      try {
        const result = yield* commit(exchange, features, compiled.transaction, bound, knowledge);
        return reply ?? result;
      } catch (error) {
        if (isMoved(error)) throw error;
        throw yield* refusalOf(exchange, script, compiled, error);
      }
    },
    { again: error => isOpen && isMoved(error) && options.generation === undefined },
  );
}

const isQuery = (entry: object): boolean => 'list' in entry || 'reset' in entry || 'get' in entry;
/** Commands of nft's text that nft's JSON has no words for. */
const UNANSWERED = ['describe', 'import', 'export', 'monitor'];
const isUnanswered = (entry: object): boolean => UNANSWERED.some(verb => verb in entry);
const isQuestion = (entry: object): boolean => isQuery(entry) || isUnanswered(entry);

/** The error for a question that nft's JSON has no reply to: `describe ...`, `list meters`. */
function unansweredAt(script: Script, index: number, cause?: unknown): NftSyntaxError {
  const [[verb = '', asked] = []] = Object.entries(script.entries[index]!);
  const [kind = ''] = Object.keys(asked ?? {});
  const message = `apply does not answer ${verb} ${kind}`.trimEnd();
  return new NftSyntaxError([{ message, span: script.place([index]) }], { cause });
}

/** The replies to all that a text asks for, in one document. */
function* answered(exchange: Exchange, script: Script, version: RulesetTextOptions['version']): Operation<RulesetJson> {
  const nftables: RulesetJson['nftables'] = [];
  for (const [index, entry] of script.entries.entries()) {
    if (!isQuery(entry)) continue;
    if ('get' in entry) {
      nftables.push(...(yield* gotten(exchange, script, index)));
      continue;
    }
    try {
      const reply = yield* queryReply(exchange, queriesIn({ nftables: [entry] }) ?? [], version);
      nftables.push(...(nftables.length === 0 ? reply.nftables : reply.nftables.slice(1)));
    } catch (error) {
      if (isNotFound(error)) throw yield* notFound(exchange, script, index, error);
      throw isArgumentError(error) ? unansweredAt(script, index, error) : error;
    }
  }
  const [first] = nftables;
  return { nftables: first !== undefined && 'metainfo' in first ? nftables : [METAINFO, ...nftables] };
}

/** What a listing of nft begins with. */
const METAINFO = { metainfo: { json_schema_version: 1 } } as const;

/** The reply to `get element`. */
function* gotten(exchange: Exchange, script: Script, index: number): Operation<RulesetJson['nftables']> {
  const { verb, kind, object } = partsOf(script.entries[index] as unknown as JsonCommand);
  const { elem, ...set } = object as unknown as SetKey & { elem: SetMember };
  try {
    return yield* getElements(exchange, set, elem);
  } catch (error) {
    if (isArgumentError(error)) {
      const own = within(error, ['nftables', index, verb, kind, 'elem']);
      if (isArgumentError(own)) throw new NftSyntaxError([problemOf(script, own)], { cause: error });
    }
    if (!isNotFound(error)) throw error;
    if ((yield* byName(exchange, 'set', set)) === undefined) throw yield* notFound(exchange, script, index, error);
    const message = 'Could not process rule: No such file or directory';
    throw new NftSyntaxError([{ message, span: script.place([index]) }], { cause: error });
  }
}

/** The error for a question about something that is not there. */
function* notFound(exchange: Exchange, script: Script, index: number, cause: unknown): Operation<Error> {
  const { verb, kind, object } = partsOf(script.entries[index] as unknown as JsonCommand);
  const { family, table = object.name, name } = object;
  const tables = yield* list(exchange, 'table');
  const hasTable = tables.some(each => each.family === family && each.name === table);
  const chains =
    hasTable && kind === 'chain'
      ? yield* list(exchange, 'chain', { family: family as Family, table: String(table) })
      : [];
  const near = hasTable
    ? nearest(
        String(name),
        chains.map(chain => chain.name),
      )
    : undefined;
  const hint = near === undefined ? '' : `; did you mean chain ‘${near}’ in table ${family} ‘${table}’?`;
  const field = hasTable || kind === 'table' ? 'name' : 'table';
  const span = script.place([index, verb, kind, field]);
  return new NftSyntaxError([{ message: `No such file or directory${hint}`, span }], { cause });
}

/** What the text does not care about. */
const NOTHING: State = { generation: 0, tables: [], sets: [] };

function* readState(exchange: Exchange): Operation<State> {
  const generation = yield* readGeneration(exchange);
  return { generation, tables: yield* list(exchange, 'table'), sets: yield* list(exchange, 'set') };
}

const SET_NAME = /@\s*([A-Za-z_.][\w./-]*)/g;

/** Does the text refer to tables or sets that it does not make? */
function refersOutside({ entries }: Script, text: string): boolean {
  const tables = new Set<string>();
  const sets = new Set<string>();
  for (const entry of entries) {
    if (addsRule(entry)) continue;
    const { verb, kind, object } = partsOf(entry as unknown as JsonCommand);
    const { family, table, name } = object;
    const isNew = verb === 'add' || verb === 'create';
    if (kind === 'table' && isNew) tables.add(`${family} ${name}`);
    else if (kind === 'element' && !sets.has(String(name))) return true;
    else if (
      verb === 'rename' ||
      (verb === 'flush' && kind !== 'ruleset') ||
      (isNew && kind !== 'rule' && !tables.has(`${family} ${table}`))
    )
      return true;
    else if (isNew && (kind === 'set' || kind === 'map')) sets.add(String(name));
  }
  for (const [, name = ''] of text.matchAll(SET_NAME)) if (!sets.has(name)) return true;
  return false;
}

/** The C library's texts of errnos, where Node has others. */
const SYSTEM_TEXTS: Readonly<Record<string, string>> = {
  E2BIG: 'Argument list too long',
  EAFNOSUPPORT: 'Address family not supported by protocol',
  EAGAIN: 'Resource temporarily unavailable',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  EINVAL: 'Invalid argument',
  ELOOP: 'Too many levels of symbolic links',
  ENAMETOOLONG: 'File name too long',
  ENFILE: 'Too many open files in system',
  ENOMEM: 'Cannot allocate memory',
  EOPNOTSUPP: 'Operation not supported',
  EOVERFLOW: 'Value too large for defined data type',
  EPERM: 'Operation not permitted',
  EPROTONOSUPPORT: 'Protocol not supported',
  ERANGE: 'Numerical result out of range',
  ERESTART: 'Interrupted system call should be restarted',
};

/** What nft says for an errno. */
function systemText(errno: number): string {
  const { code, text } = describeErrno(errno);
  return SYSTEM_TEXTS[code] ?? `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

/** The part of a statement or element that nft shows if the kernel refuses the whole: what it names, or its key. */
function named(entries: readonly unknown[], path: Path): Path {
  const part = path.slice(1).reduce<unknown>((at, key) => (at as Readonly<Record<string, unknown>>)?.[key], entries);
  if (path.at(-1) === 'rule')
    return typeof part === 'object' && part !== null && 'position' in part ? [...path, 'position'] : path;
  if (Array.isArray(part) && part.length === 2 && path.at(-2) === 'set') return [...path, 0];
  if (path.at(-2) !== 'expr' || typeof part !== 'object' || part === null) return path;
  const [[name = '', content] = []] = Object.entries(part);
  if (name === 'jump' || name === 'goto') return [...path, name, 'target'];
  return typeof content === 'string' ? [...path, name] : path;
}

/** The error for what the kernel, or the state of the namespace, has against a command. */
function* refusalOf(exchange: Exchange, script: Script, compiled: Compiled, error: unknown): Operation<unknown> {
  const place = (path: Path, errno: number) => {
    // Of an object as a whole, nft shows the name.
    const inner = path.length === 4 && path[3] !== 'rule' ? [...path, 'name'] : named(script.entries, path);
    const span = script.place(inner.slice(1));
    return span && textPlace(span, `Could not process rule: ${systemText(errno)}`);
  };
  const moved = asRefusalOf(compiled, error, { nftables: script.json as NftDocument['nftables'] }, place);
  if (isArgumentError(moved)) return new NftSyntaxError([problemOf(script, moved)], { cause: moved });
  if (!(moved instanceof BatchError)) return moved;
  const problems: Problem[] = [];
  for (const { code, path, index } of moved.failures) {
    const { kind, object } = partsOf(script.entries[index] as unknown as JsonCommand);
    if (code !== 'ENOENT' || kind !== 'rule') continue;
    const message = ruleSuggestion(object, yield* list(exchange, 'chain'));
    if (message !== undefined) problems.push({ message, span: script.place(named(script.entries, path).slice(1)) });
  }
  return problems.length === 0 ? moved : new NftSyntaxError(problems, { cause: moved });
}
