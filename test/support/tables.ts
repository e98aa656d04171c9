import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { AttributeTable, NLA_F_NESTED, Struct, type Type, Writer } from '../../src/codec/index.ts';
import { sourceModules } from './compiled.ts';
import type { Random } from './fuzz/random.ts';

const SOURCES = fileURLToPath(new URL('../../src', import.meta.url));
type Table = AttributeTable<unknown>;

/** All attribute tables of the library: those that a module of src/ exports, and those in their rows. */
export async function allTables(): Promise<Table[]> {
  const tables = new Set<Table>();
  const seen = new Set<unknown>();
  const visit = (value: unknown, depth: number): void => {
    if (typeof value !== 'object' || value === null || seen.has(value) || depth > 4) return;
    seen.add(value);
    if (value instanceof AttributeTable) {
      tables.add(value);
      for (const { type } of value.fields) visit(type, 0);
    } else if (value instanceof Map) {
      for (const item of value.values()) visit(item, depth + 1);
    } else {
      for (const item of Object.values(value)) visit(item, depth + 1);
    }
  };
  for (const file of sourceModules()) {
    const module = (await import(/* @vite-ignore */ path.join(SOURCES, file))) as Record<string, unknown>;
    for (const item of Object.values(module)) visit(item, 0);
  }
  return [...tables];
}

/** Bytes about as the kernel would send them for a type, with what an enemy would change, one time in `odds`. */
export class Encoder {
  readonly writer = new Writer();
  readonly #random: Random;
  readonly #odds: number;

  constructor(random: Random, odds: number) {
    this.#random = random;
    this.#odds = odds;
  }

  bytesOf(type: Type<unknown>): Uint8Array {
    this.writer.reset();
    this.#payload(type, 0);
    return this.writer.copy();
  }

  #isOdd(): boolean {
    return this.#odds > 0 && this.#random.chance(this.#odds);
  }

  #noise(length: number): void {
    for (let i = 0; i < length; i++) this.writer.u8(this.#random.chance(4) ? 0 : this.#random.u32() & 0xff);
  }

  #payload(type: Type<unknown>, depth: number): void {
    const random = this.#random;
    if (this.#isOdd()) this.#noise(random.below(24));
    else if (type instanceof AttributeTable && type.kind === 'nest') this.#nest(type, depth);
    else if (type instanceof Struct) this.#struct(type);
    else if (type.inside !== undefined) this.#payload(type.inside, depth);
    else if (type.items !== undefined) this.#list(type.items, depth);
    else if (type.lengths !== undefined) {
      const { min, max } = type.lengths;
      this.#noise(min + random.below(Math.min(max - min, 20) + 1));
    } else if (type.kind.startsWith('string')) this.#text();
    else if (type.kind === 'address') this.#noise(random.pick([4, 16]));
    else if (type.kind === 'nest') this.#expression();
    else this.#noise(random.pick([0, 1, 2, 4, 4, 8, 20]));
  }

  /** The only nests whose rows are not to be seen are those of an expression of nf_tables, by its name. */
  #expression(): void {
    const start = this.writer.beginAttribute(1);
    this.writer.string('notrack');
    this.writer.endAttribute(start);
  }

  #text(): void {
    const random = this.#random;
    this.writer.string(Array.from({ length: random.below(9) }, () => random.pick(['a', 'é', '-', '7'])).join(''));
  }

  #struct({ members, size }: Struct<unknown>): void {
    const start = this.writer.length;
    for (const member of members) {
      this.#payload(member.type, 9);
      const end = start + member.offset + member.size;
      if (this.writer.length < end) this.writer.zeros(end - this.writer.length);
      this.writer.length = end;
    }
    if (this.writer.length - start !== size) throw new Error('a member is larger than its structure');
  }

  #list({ number, type }: NonNullable<Type<unknown>['items']>, depth: number): void {
    if (depth > 3) return;
    for (let left = this.#random.below(3); left > 0; left--) this.#attribute(number, type, depth);
  }

  #nest({ fields }: Table, depth: number): void {
    const random = this.#random;
    for (const { number, type, need } of fields) {
      const isThere = need === 'required' ? !this.#isOdd() : random.chance(depth > 2 ? 6 : 2);
      if (isThere) this.#attribute(number, type, depth);
      if (this.#isOdd()) this.#attribute(random.pick(fields).number, type, depth);
      if (this.#isOdd()) this.#attribute(random.below(200), type, depth);
    }
  }

  #attribute(number: number, type: Type<unknown>, depth: number): void {
    const random = this.#random;
    const flag = random.pick([0, NLA_F_NESTED, 0x4000]);
    const start = this.writer.beginAttribute(number | flag);
    this.#payload(type, depth + 1);
    this.writer.endAttribute(start);
    if (this.#isOdd() && random.chance(4))
      this.writer.view.setUint16(start, random.pick([0, 3, 0xffff, random.below(64)]), true);
  }
}
