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
import { declaredSet, listOf } from '../nft/compile/named-set.ts';
import { OBJECTS, type ObjectName } from '../nft/data/objects.ts';
import { parsePriority } from '../nft/data/priorities.ts';
import type { JsonCommand, NftDocument } from '../nft/json-commands.ts';
import { objectData } from '../nft/objects.ts';
import { LineRule } from '../nft/parse/lines.ts';
import { deadStatement } from '../nft/parse/rule.ts';
import { withReadableTypeof } from '../nft/typeof.ts';
import type { Surroundings } from './write/encode-context.ts';
import { Transaction } from './write/transaction.ts';

/* Whole rulesets in nft's JSON: what `nft -j list ruleset` prints, and what `nft -j -f` takes. */

type Fields = Record<string, unknown>;
const VERBS = ['add', 'create', 'insert', 'replace', 'delete', 'destroy', 'flush', 'rename'] as const;
type Verb = (typeof VERBS)[number];
const SUBJECTS = ['table', 'chain', 'rule', 'set', 'map', 'element', 'flowtable', 'ruleset', ...Object.keys(OBJECTS)];
const MAKING: readonly Verb[] = ['add', 'create'];

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
  for (const command of commands) findDynamic(command, kinds, writer.dynamic);
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

/** Where the document has what a transaction's path points at. */
function asJson(kind: string, path: Path): Path {
  const [first, ...rest] = path;
  const name = first === undefined ? undefined : JSON_NAMES[kind]?.[first];
  return name === undefined ? path : [name, ...rest];
}

const JSON_NAMES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  rule: { statements: 'expr', position: 'handle' },
  set: { json: 'elem' },
  map: { json: 'elem' },
  element: { json: 'elem', set: 'name' },
  chain: { priority: 'prio', device: 'dev', devices: 'dev', newName: 'newname' },
  flowtable: { priority: 'prio', devices: 'dev' },
};

function numberIn(json: Fields, name: 'handle' | 'position'): bigint | undefined {
  const number = json[name];
  if (number === undefined) return undefined;
  if (typeof number === 'bigint') return number;
  if (!Number.isSafeInteger(number)) throw typeError([name], 'a whole number', number);
  return BigInt(number as number);
}

/** What identifies an object: its name, or its handle. */
function keyOf(json: Fields): Fields {
  const { family, table, name } = json;
  const handle = numberIn(json, 'handle');
  return {
    family,
    ...(table !== undefined && { table }),
    ...(name !== undefined ? { name } : handle !== undefined && { handle }),
  };
}

function ruleOf(verb: Verb, json: Fields): Fields {
  const { family, table, chain, index } = json;
  const handle = numberIn(json, 'handle');
  const rule: Fields = { family, table, chain };
  if (index !== undefined) rule.index = index;
  if (verb === 'delete' || verb === 'destroy') {
    if (handle !== undefined) rule.handle = handle;
    return rule;
  }
  addContent(rule, json);
  if (verb === 'replace') {
    if (handle !== undefined) rule.handle = handle;
    return rule;
  }
  // nft's JSON lists a rule with its handle, which means nothing for a new one.
  const position = numberIn(json, 'position') ?? (verb === 'insert' ? handle : undefined);
  if (position !== undefined) rule.position = position;
  return rule;
}

function addContent(rule: Fields, { expr, comment }: Fields): Fields {
  if (!Array.isArray(expr)) throw typeError(['statements'], 'an array of statements', expr);
  rule.statements = expr;
  if (comment !== undefined) rule.comment = comment;
  return rule;
}

function objectOf(verb: Verb, kind: string, json: Fields): Fields {
  if (kind === 'ruleset') return json;
  if (verb === 'rename') return { ...keyOf(json), newName: json.newname };
  const { family, table, name, comment } = json;
  if (!MAKING.includes(verb))
    return { ...keyOf(json), ...(json.dev !== undefined && { devices: listOf(json.dev, 'dev') }) };
  const place = {
    family,
    ...(table !== undefined && { table }),
    name,
    ...(comment !== undefined && { comment }),
  };
  const flags = json.flags === undefined ? undefined : listOf(json.flags, 'flags');
  switch (kind) {
    case 'table':
      // A table that is there, and dormant, is not from then on.
      return { ...place, flags: flags ?? [] };
    case 'chain':
      return {
        ...place,
        ...(json.hook !== undefined ? hooking(json) : json.policy !== undefined && { policy: json.policy }),
        ...(flags !== undefined && { flags }),
      };
    case 'flowtable':
      return {
        ...place,
        ...(json.hook !== undefined && { hook: json.hook, priority: priorityOf(json, 'ingress') }),
        ...(json.dev !== undefined && { devices: listOf(json.dev, 'dev') }),
        // Without this attribute the kernel would take devices for a flowtable of the hardware, too.
        flags: flags ?? [],
      };
    default:
      return { ...place, ...objectData(kind as ObjectName, json) };
  }
}

/** What makes a chain a base chain. */
function hooking(json: Fields): Fields {
  const { type, hook, dev, policy } = json;
  const devices = dev === undefined ? [] : listOf(dev, 'dev');
  return {
    type,
    hook,
    priority: priorityOf(json, hook as string),
    ...(devices.length === 1 ? { device: devices[0] } : devices.length > 1 && { devices }),
    ...(policy !== undefined && { policy }),
  };
}

function priorityOf({ prio, family }: Fields, hook: string): number {
  const number = typeof prio === 'string' ? parsePriority(prio, family as string, hook) : prio;
  if (typeof number !== 'number')
    throw inNftsWords(
      rangeError(['prio'], "a number, or nft's text of a priority of this family and hook", prio),
      'invalid priority expression value in this context.',
    );
  return number;
}

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
