import { type ArgumentError, inNftsWords, type Path, rangeError, within } from '../errors.ts';
import type { Chain } from '../nf_tables/chain.ts';
import type { Expression } from '../nf_tables/expression.ts';
import type { NftSet } from '../nf_tables/set.ts';
import type { Table } from '../nf_tables/table.ts';
import { OBJECTS } from '../nft/data/objects.ts';
import type { JsonCommand } from '../nft/json-commands.ts';
import { nearest } from '../nft/script/edit-distance.ts';
import { checkDeclaration, checkElements, checkNoValues, type SetStates } from '../nft/script/set-declarations.ts';
import { STATES } from '../nft/statements/stateful.ts';

/* What a text refers to, and what nft suggests if it is not there. */

/** What a namespace has that a text may refer to. */
export interface State {
  readonly generation: number;
  readonly tables: readonly Table[];
  readonly sets: readonly NftSet[];
}

type Fields = Record<string, unknown>;
interface KnownSet extends SetStates {
  /** What errors call it. */
  readonly word: 'set' | 'map';
  /** Where the text makes it. */
  readonly made?: Path;
  /** The declaration is wrong: nft does not look at its elements. */
  readonly isWrong?: boolean;
}

const MAKING = new Set(['add', 'create']);
const IN_TABLES = new Set(['chain', 'set', 'map', 'flowtable', 'element', ...Object.keys(OBJECTS)]);

/** Returns the verb, the kind of object and the object of a command of nft's JSON. */
export function partsOf(command: JsonCommand): { verb: string; kind: string; object: Fields } {
  for (const verb in command) {
    const subject = (command as Record<string, Record<string, Fields | null>>)[verb]!;
    for (const kind in subject) return { verb, kind, object: subject[kind] ?? NOTHING };
  }
  return { verb: '', kind: '', object: NOTHING };
}

const NOTHING: Fields = {};

/** Is it a command that adds a rule? There may be very many. */
export const addsRule = (command: object): boolean =>
  'add' in command && typeof command.add === 'object' && command.add !== null && 'rule' in command.add;

/** The tables and sets that are there at each command. nft looks for these before the kernel does. */
export class References {
  #tables: { family: unknown; name: string }[] = [];
  readonly #sets = new Map<string, Map<string, KnownSet>>();

  /** Only what the text itself makes is known. */
  readonly #isOpen: boolean;

  /** @param state undefined if nobody has asked the namespace */
  constructor(state: State | undefined) {
    this.#isOpen = state === undefined;
    const { tables = [], sets = [] } = state ?? {};
    for (const { family, name } of tables) this.#tables.push({ family, name });
    for (const { family, table, name, flags = [], expression, expressions } of sets) {
      if (flags.includes('anonymous')) continue;
      const kind = flags.includes('map') || flags.includes('object') ? 'map' : 'set';
      const states = (expressions ?? (expression === undefined ? [] : [expression])).map(stateName);
      this.#setsOf(family, table).set(name, { kind, states, isDynamic: flags.includes('dynamic'), word: kind });
    }
  }

  #has(family: unknown, name: unknown): boolean {
    return this.#tables.some(table => table.family === family && table.name === name);
  }

  /** A table goes, or all of a family, or all. */
  #forget(family: unknown, name: unknown): void {
    const goes = (table: { family: unknown; name: string }) =>
      (family === undefined || table.family === family) && (name === undefined || table.name === name);
    for (const table of this.#tables.filter(goes)) this.#sets.delete(`${table.family} ${table.name}`);
    this.#tables = this.#tables.filter(table => !goes(table));
  }

  #setsOf(family: unknown, table: unknown): Map<string, KnownSet> {
    const key = `${family} ${table}`;
    const found = this.#sets.get(key) ?? new Map<string, KnownSet>();
    this.#sets.set(key, found);
    return found;
  }

  /** Looks at a command. @throws RangeError ERR_UNKNOWN_SET it is about something in a table or set that is not there */
  readonly check = (command: JsonCommand, path: Path): void => {
    if (addsRule(command)) return;
    const { verb, kind, object } = partsOf(command);
    const { family, table, name } = object;
    const own = [...path, verb, kind];
    let at: Path = own;
    if (kind === 'ruleset' && verb === 'flush') this.#forget(family, undefined);
    if (kind === 'table') {
      if (verb === 'delete' || verb === 'destroy') this.#forget(family, name);
      if (MAKING.has(verb) && !this.#has(family, name)) this.#tables.push({ family, name: String(name) });
      return;
    }
    const isFlush = verb === 'flush' && (kind === 'set' || kind === 'map');
    const isChange = verb === 'rename' || isFlush || (kind === 'element' && verb === 'delete');
    if (!IN_TABLES.has(kind) || !(MAKING.has(verb) || isChange)) return;
    if (!this.#isOpen && !this.#has(family, table)) throw this.#noTable(at, String(table));
    const sets = this.#setsOf(family, table);
    try {
      if (isFlush) {
        if (!this.#isOpen && !sets.has(String(name))) throw noSet(['name'], object, String(name), sets);
      } else if (kind === 'set' || kind === 'map') {
        const isDynamic = Array.isArray(object.flags) && object.flags.includes('dynamic');
        const states = ((object.stmt ?? []) as object[]).flatMap(state => Object.keys(state));
        const known: KnownSet = { kind, states, isDynamic, made: at, word: object.map === undefined ? 'set' : kind };
        sets.set(String(name), { ...known, isWrong: true });
        checkDeclaration(kind, object);
        sets.set(String(name), known);
      } else if (kind === 'element') {
        const set = sets.get(String(name));
        if (set === undefined && !this.#isOpen) throw noSet(['name'], object, String(name), sets);
        if (set === undefined || set.isWrong) return;
        if (set.kind === 'set' && set.made !== undefined) {
          at = set.made;
          checkNoValues(object);
          at = own;
        }
        checkElements(set, object);
      }
    } catch (error) {
      throw within(error, at);
    }
  };

  #noTable(at: Path, name: string): ArgumentError {
    const found = nearestOf(name, this.#tables);
    return notThere([...at, 'table'], name, found && `table ‘${found.name}’ in family ${found.family}`);
  }

  /** The error for a set that a rule refers to and that is not there, in nft's words; undefined for any other error. */
  named(error: ArgumentError, command: object): ArgumentError | undefined {
    if (error.code !== 'ERR_UNKNOWN_SET') return undefined;
    const { object } = partsOf(command as JsonCommand);
    const { family, table } = object;
    const name = String(error.value).replace(/^@/, '');
    if (!this.#has(family, table)) return this.#noTable(error.path.slice(0, 4), String(table));
    return noSet(error.path, object, name, this.#setsOf(family, table));
  }
}

/** nft's word for the state that elements of a set have. */
const stateName = (expression: Expression): string => {
  const [name = ''] = Object.keys(expression);
  return STATE_NAMES.get(name) ?? name;
};

const STATE_NAMES: ReadonlyMap<string, string> = /* @__PURE__ */ new Map(
  /* @__PURE__ */ Object.entries(STATES).map(([name, { expression }]): [string, string] => [expression, name]),
);

function noSet(
  path: Path,
  { family, table }: Fields,
  name: string,
  sets: ReadonlyMap<string, KnownSet>,
): ArgumentError {
  const near = nearest(name, sets.keys());
  return notThere(path, name, near && `${sets.get(near)!.word} ‘${near}’ in table ${family} ‘${table}’`);
}

function notThere(path: Path, name: string, suggestion: string | undefined): ArgumentError {
  const error = rangeError(path, 'the name of something that is there', name, 'ERR_UNKNOWN_SET');
  return inNftsWords(
    error,
    `No such file or directory${suggestion === undefined ? '' : `; did you mean ${suggestion}?`}`,
  );
}

/** The first of those whose name is most like this one. */
function nearestOf<T extends { readonly name: string }>(name: string, all: readonly T[]): T | undefined {
  const near = nearest(name, new Set(all.map(each => each.name)));
  return all.find(each => each.name === near);
}

/** What nft says if the kernel does not find something that a rule names: it suggests another chain, or its table. */
export function ruleSuggestion({ family, table, chain }: Fields, chains: readonly Chain[]): string | undefined {
  const found = nearestOf(String(chain), chains);
  if (found === undefined) return undefined;
  const isThere = found.table === table && found.family === family;
  // The chain is there: something that the rule refers to is not.
  if (isThere && found.name === chain) return undefined;
  const where = `in table ${found.family} ‘${found.table}’`;
  const what = isThere ? `chain ‘${found.name}’ ${where}` : `table ‘${found.table}’ in family ${found.family}`;
  return `No such file or directory; did you mean ${what}?`;
}
