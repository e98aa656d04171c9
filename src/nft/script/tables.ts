import { T } from '../parse/tokens.ts';
import { type BlockRule, chainBlock } from './chains.ts';
import { comment, named } from './names.ts';
import { flowtableBlock, objectBlock, objectKind } from './objects.ts';
import type { Fields, Placed, Reader } from './reader.ts';
import { type BlockElements, setBlock } from './sets.ts';

/* The block of a table. nft makes commands of it, in another order: what rules refer to comes first. */

/** The parts of a table's block, in the order in which nft adds them. */
class TableParts {
  readonly chains: Placed[] = [];
  readonly objects: Placed[] = [];
  /** Each set with its elements behind it. */
  readonly sets: Placed[] = [];
  readonly flowtables: Placed[] = [];
  readonly rules: Placed[] = [];

  *[Symbol.iterator](): Generator<Placed> {
    for (const list of [this.chains, this.objects, this.sets, this.flowtables, this.rules]) yield* list;
  }
}

const TABLE_FLAGS: readonly string[] = ['dormant', 'owner'];

/** Reads `{ ... }` behind the name of a table. Returns the commands for all that is in it. */
export function tableBlock(reader: Reader, table: Fields): Iterable<Placed> {
  const { parser } = reader;
  const parts = new TableParts();
  const { family } = parser;
  reader.scoped(() => {
    parser.family = family;
    const { start } = parser;
    if (parser.isWord('comment')) {
      comment(reader, table);
      parser.separator();
    } else if (parser.acceptWord('flags')) {
      tableFlags(reader, table);
      parser.separator();
    } else if (!part(reader, parts, { family, table: table.name }, start)) parser.unexpected();
  });
  return parts;
}

function tableFlags({ parser }: Reader, table: Fields): void {
  const known = parser.dialect.hasNewerCommands ? [...TABLE_FLAGS, 'persist'] : TABLE_FLAGS;
  const flags: string[] = [];
  const from = parser.start;
  do {
    const { start } = parser;
    const flag = parser.name();
    if (!known.includes(flag)) parser.fail(`unknown table option ${flag}`, start);
    flags.push(flag);
  } while (parser.dialect.hasNewerCommands && parser.accept(T.COMMA));
  const all = [...new Set([...[table.flags ?? []].flat(), ...flags])];
  table.flags = all.length === 1 && !parser.dialect.listsSingleFlags ? all[0] : all;
  parser.note(table, 'flags', from);
}

/** Reads one object of a table; false if none begins here. */
function part(reader: Reader, parts: TableParts, place: Fields, start: number): boolean {
  const { parser } = reader;
  const add = (list: Placed[], kind: string, object: Fields): void => {
    list.push({ entry: { add: { [kind]: object } }, span: reader.spanFrom(start) });
  };
  if (parser.acceptWord('chain')) {
    const chain: Fields = { ...place };
    named(reader, chain, 'name');
    const rules = chainBlock(reader, chain, true);
    add(parts.chains, 'chain', chain);
    parts.rules.push(...rules.map(ruleEntry));
  } else if (parser.isWord('set') || parser.isWord('map')) {
    const kind = parser.text;
    parser.next();
    const set: Fields = { family: place.family };
    named(reader, set, 'name');
    set.table = place.table;
    const elements = setBlock(reader, set, kind === 'map', true);
    add(parts.sets, kind, set);
    if (elements !== undefined) parts.sets.push(elementsEntry(reader, set, elements));
  } else if (parser.acceptWord('flowtable')) {
    const flowtable: Fields = { family: place.family };
    named(reader, flowtable, 'name');
    flowtable.table = place.table;
    flowtableBlock(reader, flowtable, true);
    add(parts.flowtables, 'flowtable', flowtable);
  } else {
    const kind = objectKind(reader);
    if (kind === undefined) return false;
    const object: Fields = { family: place.family };
    named(reader, object, 'name');
    object.table = place.table;
    objectBlock(reader, kind, object, true);
    add(parts.objects, kind, object);
  }
  return true;
}

/** The command that adds a rule of a block. */
export const ruleEntry = ({ json, span }: BlockRule): Placed => ({ entry: { add: { rule: json } }, span });

/** The command that adds the elements of a set's block. */
export function elementsEntry({ parser }: Reader, { family, table, name }: Fields, elements: BlockElements): Placed {
  const elem = { set: elements.set };
  const json: Fields = { family, table, name, elem };
  parser.places?.set(json, 'elem', elements.span);
  return { entry: { add: { element: json } }, span: elements.span };
}
