import { isDeepStrictEqual } from 'node:util';
import { describe, expect, test } from 'vitest';
import {
  AttributeTable,
  MET,
  NO_CONTEXT,
  sourceOf,
  type Template,
  type Type,
  template,
  toHex,
  type View,
  view,
  Writer,
} from '../../src/codec/index.ts';
import { DecodeError, type Path } from '../../src/errors.ts';
import { Random } from '../support/fuzz/random.ts';
import { allTables, Encoder } from '../support/tables.ts';

/* Templates and views are other ways to do what a table does. Each table of the library is held against them here, whatever its rows are. */

const RUNS = 60;
type Table = AttributeTable<unknown>;
const tables = (await allTables()).filter(({ kind }) => kind === 'nest');
const names = tables.map((table, i) => [`${table.name} ${i}`, table] as const);

/** The paths of all fields that a view can have, those in nests with them. */
function fieldsOf(table: Table, depth = 0): Path[] {
  return table.fields.flatMap(({ key, type, need }): Path[] => {
    if (type.contextual) return [];
    const inner = type instanceof AttributeTable && type.kind === 'nest' && depth < 3 ? fieldsOf(type, depth + 1) : [];
    if (need === 'inline') return inner;
    return inner.length > 0 ? inner.map(path => [key, ...path]) : [[key]];
  });
}

function viewOf(table: Table): { all: View; paths: readonly (readonly [name: string, path: Path])[] } {
  const paths = fieldsOf(table).map(path => [path.join('.'), path] as const);
  return { all: view(table, Object.fromEntries(paths)), paths };
}

const at = (value: unknown, path: Path): unknown =>
  path.reduce<unknown>((inner, key) => (inner as Record<string | number, unknown> | undefined)?.[key], value);

/** The type that a path leads to. */
function typeAt(table: Type<unknown>, path: Path): Type<unknown> | undefined {
  const [key, ...rest] = path;
  if (key === undefined) return table;
  for (const field of (table as Table).fields ?? []) {
    if (field.need === 'inline') {
      const found = typeAt(field.type, path);
      if (found !== undefined) return found;
    } else if (field.key === key) return typeAt(field.type, rest);
  }
  return undefined;
}

const isNest = (type: Type<unknown> | undefined): boolean => type?.kind === 'nest' || type?.kind === 'list';

/** The bytes among foreign ones. */
function around(raw: Uint8Array, foreign: number) {
  const bytes = new Uint8Array(raw.length + 24).fill(foreign);
  bytes.set(raw, 8);
  return { source: sourceOf(bytes), start: 8, end: 8 + raw.length };
}

function outcomeOf<T>(read: () => T): T | 'DecodeError' {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    return 'DecodeError';
  }
}

test('the test finds the tables of the library', () => {
  const found = new Set(tables.map(({ name }) => name));
  for (const name of ['NFULA', 'CTA', 'CTA_TUPLE', 'IPVS_CMD_ATTR', 'IPVS_DEST_ATTR', 'NFTA_RULE', 'NFTA_SET_ELEM'])
    expect(found).toContain(name);
  expect(tables.length).toBeGreaterThan(100);
});

describe('a view of all fields', () => {
  test.each(names)('finds what the table reads: %s', (_name, table) => {
    const { all, paths } = viewOf(table);
    const hasNests = paths.some(([, path]) => isNest(typeAt(table, path)));
    let values = 0;
    for (let seed = 0; seed < RUNS; seed++) {
      const raw = new Encoder(new Random(seed), seed % 3 === 0 ? 0 : 12).bytesOf(table);
      const { source, start, end } = around(raw, 0);
      const value = outcomeOf(() => table.read(source, start, end, { family: 2 }));
      const met = outcomeOf(() => all.read(source, start, end, { family: 2 }));
      const what = `seed ${seed}: ${toHex(raw)}`;
      expect(met === 'DecodeError', what).toBe(value === 'DecodeError');
      if (typeof met !== 'number') continue;
      expect((met & MET.lacking) !== 0, what).toBe(value === undefined);
      if (value === undefined) continue;
      values++;
      if (met === 0 && !hasNests) expect((value as { unknown?: unknown }).unknown, what).toBeUndefined();
      for (const [name, path] of paths) {
        const slot = all.slots[name]!;
        const wanted = at(value, path);
        // A view does not look into a nest: of two it may be the first, which the table cannot read.
        if (isNest(typeAt(table, path)) && (met & MET.malformed) !== 0) {
          if (wanted !== undefined) expect(all.starts[slot], `${name}, ${what}`).toBeGreaterThan(0);
          continue;
        }
        const read = outcomeOf(() => all.value(slot));
        const found = read === 'DecodeError' ? undefined : read;
        if (!isDeepStrictEqual(found, wanted)) expect(found, `${name}, ${what}`).toEqual(wanted);
        const form = typeAt(table, path)?.number;
        if (form !== undefined && typeof wanted === 'number') expect(all.number(slot, -1), name).toBe(wanted);
      }
    }
    expect(values).toBeGreaterThan(2);
  });
});

describe('a view of hostile bytes', () => {
  test.each(names)('reads nothing outside of them: %s', (_name, table) => {
    const { all } = viewOf(table);
    const look = (raw: Uint8Array, foreign: number) => {
      const { source, start, end } = around(raw, foreign);
      const met = all.walk(source, start, end, { family: 2 });
      const found = Object.values<number>(all.slots).map(slot => {
        if (all.starts[slot] !== 0) {
          expect(all.starts[slot]).toBeGreaterThanOrEqual(start + 4);
          expect(all.end(slot)).toBeLessThanOrEqual(end);
        }
        return [all.starts[slot], all.starts[slot] === 0 ? 0 : all.end(slot)];
      });
      return [met, found];
    };
    for (let seed = 0; seed < RUNS; seed++) {
      const random = new Random(seed);
      const raw = new Encoder(random, 6).bytesOf(table);
      for (let left = random.below(4); left > 0 && raw.length > 0; left--) raw[random.below(raw.length)] = random.u32();
      const cut = random.chance(2) ? raw : raw.slice(0, random.below(raw.length + 1));
      expect(look(cut, 0xff)).toEqual(look(cut, 0));
    }
  });
});

describe('a template', () => {
  /** The fields of a value that a template can vary, with another value for each. */
  function* variable(table: Table, value: unknown, random: Random): Generator<[path: Path, other: unknown]> {
    for (const path of fieldsOf(table)) {
      const now = at(value, path);
      const type = typeAt(table, path);
      const form = type?.number;
      if (typeof now === 'number' && form !== undefined)
        yield [path, form.min + (random.u32() % (form.max - form.min + 1))];
      else if ((type?.kind === 'bytes' || type?.inside) && typeof now === 'string' && now !== '')
        yield [path, toHex(Uint8Array.from({ length: now.length / 2 }, () => random.u32()))];
    }
  }

  function replaced(value: unknown, path: Path, other: unknown): unknown {
    const [key, ...rest] = path;
    if (key === undefined) return other;
    return { ...(value as object), [key]: replaced(at(value, [key]), rest, other) };
  }

  const encode = (table: Table, value: unknown): Uint8Array => {
    const writer = new Writer();
    table.write(writer, value, NO_CONTEXT);
    return writer.copy();
  };

  test('can be made of every table that has integers or bytes', () => {
    const without: string[] = [];
    for (const [name, table] of names) {
      let made = 0;
      let possible = 0;
      for (let seed = 0; seed < 40; seed++) {
        const random = new Random(seed);
        const raw = new Encoder(random, 0).bytesOf(table);
        const value = outcomeOf(() => table.read(sourceOf(raw), 0, raw.length, NO_CONTEXT));
        if (value === undefined || value === 'DecodeError') continue;
        const fields = [...variable(table, value, random)];
        if (fields.length === 0) continue;
        possible++;
        const paths = Object.fromEntries(fields.map(([path]) => [path.join('.'), path]));
        let variant: Template;
        try {
          variant = template(table, value, paths);
        } catch (error) {
          // Only where the table itself refuses the other value.
          if (error instanceof TypeError && /^(no template|a template cannot)/.test(error.message)) throw error;
          continue;
        }
        made++;
        const writer = new Writer(1);
        writer.u32(0, true);
        const start = variant.write(writer);
        let all: unknown = value;
        for (const [path, other] of fields) {
          const hole = variant.holes[path.join('.')]!;
          const put =
            typeof other === 'number'
              ? hole.putNumber(writer.view, start, other)
              : hole.putBytes(writer.bytes, start, other as string);
          expect(put, `${name} ${path.join('.')}`).toBe(true);
          all = replaced(all, path, other);
        }
        expect(toHex(writer.bytes, start, writer.length), name).toBe(toHex(encode(table, all)));
      }
      if (made === 0 && possible > 0) without.push(name);
    }
    expect(without).toEqual([]);
  });
});
