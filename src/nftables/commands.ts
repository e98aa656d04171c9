import {
  type ArgumentError,
  atIndex,
  BatchError,
  beside,
  elsewhere,
  inNftsWords,
  isArgumentError,
  NetlinkError,
  type Path,
  rangeError,
  type TextPlace,
  typeError,
} from '../errors.ts';
import type { Family } from '../nf_tables/family.ts';
import type { NftSet } from '../nf_tables/set.ts';
import { declaredSet } from '../nft/compile/named-set.ts';
import { dialectOf } from '../nft/data/dialects.ts';
import { OBJECTS, type ObjectName } from '../nft/data/objects.ts';
import type { JsonCommand, NftDocument } from '../nft/json-commands.ts';
import { LineRule } from '../nft/parse/lines.ts';
import { deadStatement } from '../nft/parse/rule.ts';
import { withReadableTypeof } from '../nft/typeof.ts';
import {
  addContent,
  asJson,
  type Fields,
  keyOf,
  MAKING,
  objectOf,
  ruleOf,
  VERBS,
  type Verb,
} from './document-objects.ts';
import type { Surroundings } from './write/encode-context.ts';
import { Transaction } from './write/transaction.ts';

/* Whole rulesets in nft's JSON: what `nft -j list ruleset` prints, and what `nft -j -f` takes. */

const SUBJECTS = ['table', 'chain', 'rule', 'set', 'map', 'element', 'flowtable', 'ruleset', ...Object.keys(OBJECTS)];

/** The transaction that carries out a document's commands, and where in the document each of its operations comes from. */
export interface Compiled {
  transaction: Transaction;
  /** By operation: the path of the subject in the document. Of an added rule it may be the index of its command alone. */
  places: (Path | number)[];
  /** The sets and maps that the document makes, by `setNameOf`. */
  sets: ReadonlyMap<string, NftSet>;
}

/**
 * Translates a document into a transaction.
 * @throws TypeError, RangeError with the path of what is wrong
 */
export function compileDocument(document: NftDocument, options: DocumentOptions = {}): Compiled {
  const commands = document?.nftables;
  if (!Array.isArray(commands)) throw typeError(['nftables'], 'an array of commands', commands);
  const { refused, check, skips, isText = false, surroundings = {} } = options;
  const writer = new DocumentWriter(surroundings);
  // nft's text says of a map whether it is dynamic; its JSON does not.
  const kinds = isText ? ['set'] : ['set', 'map'];
  for (const command of commands) {
    findDynamic(command, kinds, writer.dynamic);
    if (isText) findSize(command, writer.sizes);
  }
  for (const [index, command] of commands.entries()) {
    const line = isText ? lineIn(command) : undefined;
    if (line !== undefined && writer.line(line, index)) continue;
    if (skips?.(command)) continue;
    const path = ['nftables', index];
    try {
      const error = refusalBy(() => check?.(command, path));
      if (error !== undefined)
        throw isInElement(error)
          ? earlier(
              error,
              refusalBy(() => writer.command(command, path)),
            )
          : error;
      writer.command(command, path);
      if (isText) refuseUnreached(command, path);
    } catch (error) {
      const first = isText ? firstOf(command, path, error) : error;
      if (refused === undefined || !isArgumentError(first) || !refused(index, first)) throw first;
    }
  }
  writer.fillSets();
  return writer;
}

/** What a piece of work throws. */
function refusalBy(work: () => void): unknown {
  try {
    work();
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Where a path has the index of an element of a set, behind `nftables`, the command's index, its verb, `element`, `elem` and `set`. */
const ELEMENT = 6;
const elementIn = (error: unknown): number | undefined => {
  const index = isArgumentError(error) && error.path[ELEMENT - 1] === 'set' ? error.path[ELEMENT] : undefined;
  return typeof index === 'number' ? index : undefined;
};
const isInElement = (error: unknown): boolean => elementIn(error) !== undefined;

/** The error that nft finds first: it looks at one element after the other, and at its states before its key. */
function earlier(error: unknown, other: unknown): unknown {
  const [index, before] = [elementIn(error), elementIn(other)];
  return index !== undefined && before !== undefined && before < index ? other : error;
}

/** The rule of a line that was not parsed. There may be very many. */
function lineIn(command: JsonCommand): LineRule | undefined {
  const rule: unknown = 'add' in command && 'rule' in command.add ? command.add.rule : undefined;
  return rule instanceof LineRule ? rule : undefined;
}

/** In a text, nothing may stand behind a statement that ends the rule. */
function refuseUnreached(command: JsonCommand, place: Path): void {
  const [path, expr] = statementsOf(command, place);
  const index = expr === undefined ? undefined : deadStatement(expr);
  if (index === undefined) return;
  const error = rangeError([...path, index], 'no statement behind one that ends the rule', expr![index]);
  beside(error, [...path, index - 1]);
  throw inNftsWords(error, 'Statement after terminal statement has no effect');
}

/** The error that nft finds first: it looks at one statement after the other. */
function firstOf(command: JsonCommand, place: Path, error: unknown): unknown {
  const [{ length }] = statementsOf(command, place);
  try {
    refuseUnreached(command, place);
  } catch (unreached) {
    if (!isArgumentError(unreached) || !isArgumentError(error)) return error;
    const [at, dead] = [error.path[length], unreached.path[length]];
    return typeof at === 'number' && at < Number(dead) ? error : unreached;
  }
  return error;
}

/** The statements of a command's rule, and their path. */
function statementsOf(command: JsonCommand, place: Path): [path: Path, expr: readonly object[] | undefined] {
  for (const [verb, subject] of Object.entries(command as Fields)) {
    const { rule } = subject as Fields;
    const { expr } = (verb === 'rule' ? subject : (rule ?? {})) as Fields;
    if (!Array.isArray(expr)) continue;
    return [[...place, ...(verb === 'rule' ? [verb] : [verb, 'rule']), 'expr'], expr as object[]];
  }
  return [place, undefined];
}

/** How a document is translated. */
export interface DocumentOptions {
  /** Called for a command that is wrong. If it returns true, the others are translated, too. */
  refused?: (index: number, error: ArgumentError & Error) => boolean;
  /** Commands that change nothing. */
  skips?: (command: JsonCommand) => boolean;
  /** Looks at a command before it is translated, and throws if it is wrong. */
  check?: (command: JsonCommand, path: Path) => void;
  surroundings?: Surroundings;
  /** The document was made of a text. */
  isText?: boolean;
}

/** What rules do with a set that they add elements to. */
interface Dynamic {
  /** Each element gets several statements. */
  several: boolean;
}

/** Sets that rules of the document add elements to: nft makes them dynamic, whether they say so or not. */
function findDynamic(command: unknown, kinds: readonly string[], found: Map<string, Dynamic>): void {
  const rule = ruleIn(command);
  if (rule !== undefined && !(rule instanceof LineRule)) findInRule(rule, rule.expr, kinds, found);
}

/** How many elements a set is made with: nft 1.0.6 gives constant sets this size. */
function findSize(command: unknown, found: Map<string, number>): void {
  const { add } = command as { add?: { element?: Fields } };
  const { family, table, name, elem } = add?.element ?? {};
  const { set } = (elem ?? {}) as { set?: unknown };
  const key = setNameOf(family, table, name);
  if (Array.isArray(set) && !found.has(key)) found.set(key, set.length);
}

/** The rule that a command is about: there may be very many. */
function ruleIn(command: unknown): Fields | undefined {
  for (const verb in command as Fields) {
    const subject = (command as Record<string, Fields | null>)[verb];
    const rule = verb === 'rule' ? subject : subject?.rule;
    return typeof rule === 'object' && rule !== null ? (rule as Fields) : undefined;
  }
  return undefined;
}

function findInRule(place: Fields, expr: unknown, kinds: readonly string[], found: Map<string, Dynamic>): void {
  if (!Array.isArray(expr)) return;
  for (const statement of expr as Fields[]) {
    for (const kind in statement) {
      if (kind === 'jump' || kind === 'goto') {
        for (const { expr: inner } of ownChainOf(statement)?.rules ?? []) findInRule(place, inner, kinds, found);
      } else if (kinds.includes(kind)) {
        const fields = statement[kind] as Fields | undefined;
        const name = fields?.[kind];
        if (typeof name !== 'string') continue;
        const key = setNameOf(place.family, place.table, name.replace(/^@/, ''));
        const several = kinds.includes('map') && Array.isArray(fields!.stmt) && fields!.stmt.length > 1;
        found.set(key, { several: several || found.get(key)?.several === true });
      }
    }
  }
}

/** The rules that a statement brings with it: those of the chain without a name that it jumps to. */
function ownChainOf(statement: unknown): { verdict: 'jump' | 'goto'; rules: Fields[] } | undefined {
  if (typeof statement !== 'object' || statement === null) return undefined;
  for (const verdict of ['jump', 'goto'] as const) {
    const rules = (statement as Record<string, { rules?: unknown } | null | undefined>)[verdict]?.rules;
    if (Array.isArray(rules)) return { verdict, rules: rules as Fields[] };
  }
  return undefined;
}

function onlyKey(object: unknown, path: Path, names: readonly string[]): string {
  const keys = typeof object === 'object' && object !== null ? Object.keys(object) : [];
  if (keys.length !== 1 || !names.includes(keys[0]!))
    throw typeError(path, `an object with one key of ${names.join(', ')}`, object);
  return keys[0]!;
}

class DocumentWriter implements Compiled {
  readonly transaction = new Transaction();
  readonly places: (Path | number)[] = [];
  readonly sets = new Map<string, NftSet>();
  readonly dynamic = new Map<string, Dynamic>();
  readonly sizes = new Map<string, number>();
  /** Sets of ranges that are made here and have no elements yet. */
  readonly #empty = new Set<string>();
  /** First elements of sets: they wait for the chains and objects that they refer to. */
  #waiting: (() => void)[] = [];

  readonly #version: Surroundings['version'];

  constructor(surroundings: Surroundings) {
    this.transaction.surround(surroundings);
    this.#version = surroundings.version;
  }

  /** Writes the elements that have waited. */
  fillSets(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const write of waiting) write();
  }

  command(command: unknown, path: Path): void {
    const name = onlyKey(command, path, ['metainfo', ...VERBS, ...SUBJECTS]);
    if (name === 'metainfo') return;
    const isVerb = (VERBS as readonly string[]).includes(name);
    const verb = isVerb ? (name as Verb) : 'add';
    const subject = isVerb ? (command as Fields)[name] : command;
    const at = isVerb ? [...path, name] : path;
    const kind = onlyKey(subject, at, SUBJECTS);
    const json = (subject as Fields)[kind] ?? {};
    const place = [...at, kind];
    if (!MAKING.includes(verb) || kind === 'rule' || kind === 'element') this.fillSets();
    if (typeof json !== 'object') throw typeError(place, 'an object', json);
    this.#within(kind, place, () => this.#subject(verb, kind, json as Fields, place));
  }

  /** Writes a rule by the template of its shape. Returns false if that has none. */
  line(line: LineRule, index: number): boolean {
    this.fillSets();
    if (!this.transaction.addLine(line)) return false;
    this.places.push(index);
    return true;
  }

  #within(kind: string, place: Path, work: () => void): void {
    try {
      work();
    } catch (error) {
      throw elsewhere(error, inner => [...place, ...asJson(kind, inner)]);
    }
  }

  #push(verb: Verb, kind: string, object: object, place: Path): void {
    const method = this.transaction[verb] as (subject: object) => Transaction;
    try {
      method.call(this.transaction, { [kind]: object });
    } catch (error) {
      // The transaction's path begins with its own name of the kind.
      throw elsewhere(error, path => (path[0] === kind ? path.slice(1) : path));
    }
    this.places.push(place);
  }

  #subject(verb: Verb, kind: string, json: Fields, place: Path): void {
    switch (kind) {
      case 'rule':
        this.#rule(verb, ruleOf(verb, json), place);
        return;
      case 'set':
      case 'map':
        this.#set(verb, kind, json, place);
        return;
      case 'element':
        this.#elements(verb, json, json.elem, place);
        return;
      default: {
        const name = Object.hasOwn(OBJECTS, kind) ? OBJECTS[kind as ObjectName].command : kind;
        this.#push(verb, name, objectOf(verb, kind, json), place);
      }
    }
  }

  /** The chains without a name that the rule jumps to come before it, with their rules. */
  #rule(verb: Verb, rule: Fields, place: Path): void {
    const { family, table, statements } = rule;
    let own: Fields[] | undefined;
    const { length } = (statements as unknown[] | undefined) ?? [];
    for (let i = 0; i < length; i++) {
      const chain = ownChainOf((statements as unknown[])[i]);
      if (chain === undefined) continue;
      const reference = this.transaction.anonymousChain({ family: family as Family, table: table as string });
      this.places.push(place);
      for (const [j, inner] of chain.rules.entries()) {
        const path = [i, chain.verdict, 'rules', j];
        try {
          this.#rule('add', addContent({ family, table, ...reference }, inner), [...place, 'expr', ...path]);
        } catch (error) {
          throw elsewhere(error, ([first, ...rest]) => ['statements', ...path, ...asJson('rule', [first!, ...rest])]);
        }
      }
      own ??= [...(statements as Fields[])];
      own[i] = { [chain.verdict]: reference };
    }
    this.#push(verb, 'rule', own === undefined ? rule : { ...rule, statements: own }, place);
  }

  #set(verb: Verb, kind: string, json: Fields, place: Path): void {
    if (!MAKING.includes(verb)) {
      this.#push(verb, kind, keyOf(json), place);
      return;
    }
    const set = withReadableTypeof(declaredSet(json, this.#version));
    const dynamic = this.dynamic.get(setNameOf(json.family, json.table, json.name));
    if (dynamic !== undefined) {
      const flags = [...(set.flags ?? []), 'dynamic' as const, ...(dynamic.several ? (['expressions'] as const) : [])];
      set.flags = [...new Set(flags)];
    }
    const size = this.sizes.get(setNameOf(json.family, json.table, json.name));
    const isCounted = dialectOf(this.#version).countsElementsOfSets && set.flags?.includes('constant') === true;
    if (isCounted && size !== undefined && !set.flags?.includes('interval'))
      set.description = { ...set.description, size };
    this.#push(verb, kind, set, place);
    this.sets.set(setNameOf(json.family, json.table, json.name), set);
    if (set.flags?.includes('interval')) this.#empty.add(setNameOf(json.family, json.table, json.name));
    if (json.elem === undefined) return;
    this.#waiting.push(() => this.#within(kind, place, () => this.#elements(verb, json, json.elem, place)));
  }

  #elements(verb: Verb, { family, table, name }: Fields, elem: unknown, place: Path): void {
    if (elem === undefined) throw typeError(['elem'], 'elements', elem, 'ERR_MISSING');
    const leadingEnd = MAKING.includes(verb) && this.#empty.delete(setNameOf(family, table, name));
    const elements = { family, table, set: name, json: elem, ...(leadingEnd && { leadingEnd }) };
    this.#push(verb, 'element', elements, place);
  }
}

/** The key of a set in a document. */
export const setNameOf = (family: unknown, table: unknown, name: unknown): string => `${family} ${table} ${name}`;

/** The path of an operation's subject in the document. */
function pathAt(places: Compiled['places'], operation: number): Path | undefined {
  const place = places[operation];
  return typeof place === 'number' ? ['nftables', place, 'add', 'rule'] : place;
}

/**
 * The kernel's refusal of a transaction, seen from the document that it was made from.
 * @param placeOf finds the place in a text that a part of the document was made from
 */
export function asRefusalOf(
  { places }: Compiled,
  error: unknown,
  document: NftDocument,
  placeOf?: (path: Path, errno: number) => TextPlace | undefined,
): unknown {
  if (!(error instanceof BatchError)) {
    // What only the namespace could tell: the path begins with the operation and its kind.
    return elsewhere(error, ([operation, kind, ...rest]) => {
      const place = typeof operation === 'number' ? pathAt(places, operation) : undefined;
      return place === undefined ? [] : [...place, ...asJson(String(kind), rest)];
    });
  }
  const failures = error.failures.map(failure => {
    const { errno, syscall, path, kernelMessage, hint, request, index } = failure;
    const place = pathAt(places, index)!;
    const moved = [...place, ...asJson(String(path[0]), path.slice(1))];
    const options = {
      errno,
      syscall,
      operation: 'nftables.apply',
      subject: document,
      path: moved,
      kernelMessage,
      hint,
      request,
      place: placeOf?.(moved, errno),
    };
    return atIndex(new NetlinkError(options), place[1] as number);
  });
  return new BatchError({ failures, outcome: error.outcome, applied: error.applied });
}
