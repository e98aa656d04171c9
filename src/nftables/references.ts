import { type ArgumentError, inNftsWords, type Path, rangeError } from '../errors.ts';
import type { Chain } from '../nf_tables/chain.ts';
import type { NftSet } from '../nf_tables/set.ts';
import type { Table } from '../nf_tables/table.ts';
import { nearest } from '../nft/script/edit-distance.ts';
import type { JsonCommand } from './commands.ts';

/* What a text refers to, and what nft suggests if it is not there. */

/** What a namespace has that a text may refer to. */
export interface State {
  readonly generation: number;
  readonly tables: readonly Table[];
  readonly sets: readonly NftSet[];
}

type Fields = Record<string, unknown>;
type SetKind = 'set' | 'map';

const MAKING = new Set(['add', 'create']);
const IN_TABLES = new Set(['chain', 'set', 'map', 'flowtable', 'element']);

/** Returns the verb, the kind of object and the object of a command of nft's JSON. */
export function partsOf(command: JsonCommand): { verb: string; kind: string; object: Fields } {
  const [verb = '', subject = {}] = Object.entries(command)[0] ?? [];
  const [kind = '', object] = Object.entries(subject as Record<string, Fields | null>)[0] ?? [];
  return { verb, kind, object: object ?? {} };
}

/** The tables and sets that are there at each command. nft looks for these before the kernel does. */
export class References {
  readonly #tables: { family: unknown; name: string }[] = [];
  readonly #sets = new Map<string, Map<string, SetKind>>();

  constructor({ tables, sets }: State) {
    for (const { family, name } of tables) this.#tables.push({ family, name });
    for (const { family, table, name, flags = [] } of sets) {
      if (flags.includes('anonymous')) continue;
      this.#setsOf(family, table).set(name, flags.includes('map') || flags.includes('object') ? 'map' : 'set');
    }
  }

  #has(family: unknown, name: unknown): boolean {
    return this.#tables.some(table => table.family === family && table.name === name);
  }

  #setsOf(family: unknown, table: unknown): Map<string, SetKind> {
    const key = `${family} ${table}`;
    const found = this.#sets.get(key) ?? new Map<string, SetKind>();
    this.#sets.set(key, found);
    return found;
  }

  /** Looks at a command. @throws RangeError ERR_UNKNOWN_SET it is about something in a table or set that is not there */
  readonly check = (command: JsonCommand, path: Path): void => {
    const { verb, kind, object } = partsOf(command);
    const { family, table, name } = object;
    const at = [...path, verb, kind];
    if (kind === 'table') {
      if (MAKING.has(verb) && !this.#has(family, name)) this.#tables.push({ family, name: String(name) });
      return;
    }
    const isChange = verb === 'rename' || (kind === 'element' && verb === 'delete');
    if (!IN_TABLES.has(kind) || !(MAKING.has(verb) || isChange)) return;
    if (!this.#has(family, table)) throw this.#noTable(at, String(table));
    const sets = this.#setsOf(family, table);
    if (kind === 'set' || kind === 'map') sets.set(String(name), kind);
    if (kind === 'element' && !sets.has(String(name))) throw noSet([...at, 'name'], object, String(name), sets);
  };

  #noTable(at: Path, name: string): ArgumentError {
    const near = nearest(name, new Set(this.#tables.map(table => table.name)));
    const found = this.#tables.find(table => table.name === near);
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

function noSet(path: Path, { family, table }: Fields, name: string, sets: ReadonlyMap<string, SetKind>): ArgumentError {
  const near = nearest(name, sets.keys());
  return notThere(path, name, near && `${sets.get(near)} ‘${near}’ in table ${family} ‘${table}’`);
}

function notThere(path: Path, name: string, suggestion: string | undefined): ArgumentError {
  const error = rangeError(path, 'the name of something that is there', name, 'ERR_UNKNOWN_SET');
  return inNftsWords(
    error,
    `No such file or directory${suggestion === undefined ? '' : `; did you mean ${suggestion}?`}`,
  );
}

/** What nft says if the kernel does not find something that a rule names: it suggests another chain, or its table. */
export function ruleSuggestion({ family, table, chain }: Fields, chains: readonly Chain[]): string | undefined {
  const others = chains.filter(each => each.table !== table || each.name !== chain || each.family !== family);
  const near = nearest(String(chain), new Set(others.map(({ name }) => name)));
  const found = others.find(({ name }) => name === near);
  if (found === undefined) return undefined;
  const where = `in table ${found.family} ‘${found.table}’`;
  const what =
    found.table === table ? `chain ‘${found.name}’ ${where}` : `table ‘${found.table}’ in family ${found.family}`;
  return `No such file or directory; did you mean ${what}?`;
}
