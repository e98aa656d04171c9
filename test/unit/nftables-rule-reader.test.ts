import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Source, sourceOf, Writer } from '../../src/codec/index.ts';
import { DecodeError } from '../../src/errors.ts';
import { type Message, messagesIn } from '../../src/netlink/index.ts';
import { beginMessage, endMessage } from '../../src/netlink/message.ts';
import { EXPRESSIONS, tableOf } from '../../src/nf_tables/expression.ts';
import { LITERALS } from '../../src/nf_tables/expression-literals.ts';
import { MESSAGES, readObject } from '../../src/nf_tables/message.ts';
import { type RuleEntry, ruleEntryTable } from '../../src/nf_tables/rule.ts';
import { RuleReader } from '../../src/nf_tables/rule-reader.ts';
import { Random } from '../support/fuzz/random.ts';
import { Encoder } from '../support/tables.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

/** An expression as the kernel lists it: its name, and its fields in their order. */
type Listed = readonly [name: string, ...fields: string[]];

const LISTED = [...LITERALS.keys()].map(key => key.split(' ') as unknown as Listed);
/** Expressions that no literal makes, by all rows of their tables. */
const OTHERS = Object.keys(EXPRESSIONS).filter(name => !['dynset', 'inner', 'match', 'target'].includes(name));

/** Writes rules in the order of the kernel's messages, which is not always that of the tables. */
class Rules {
  readonly random: Random;
  #handle = 0n;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  /** The values of its fields are random. */
  bytes(expressions: readonly Listed[], comment: string | undefined, isFirst = false): Uint8Array {
    const writer = new Writer();
    const start = beginMessage(writer, MESSAGES.newrule.number, 0, 1);
    writer.raw(Uint8Array.of(2, 0, 0, 7));
    this.#text(writer, 1, 'filter');
    this.#text(writer, 2, 'input');
    this.#handle++;
    this.#number(writer, 3, this.#handle);
    if (!isFirst) this.#number(writer, 6, this.#handle - 1n);
    const list = writer.beginNest(4);
    for (const expression of expressions) this.#expression(writer, expression);
    writer.endAttribute(list);
    if (comment !== undefined) {
      const userdata = writer.beginAttribute(7);
      writer.raw(Uint8Array.of(0, comment.length + 1));
      writer.string(comment);
      writer.endAttribute(userdata);
    }
    endMessage(writer, start);
    return writer.copy();
  }

  #text(writer: Writer, number: number, text: string): void {
    const start = writer.beginAttribute(number);
    writer.string(text);
    writer.endAttribute(start);
  }

  #number(writer: Writer, number: number, value: bigint): void {
    const start = writer.beginAttribute(number);
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value);
    writer.raw(bytes);
    writer.endAttribute(start);
  }

  #expression(writer: Writer, [name, ...keys]: Listed): void {
    const item = writer.beginNest(1);
    this.#text(writer, 1, name);
    const data = writer.beginNest(2);
    const { fields } = tableOf(name)!;
    for (const key of keys) {
      const { wireType, type } = fields.find(field => field.key === key)!;
      const start = writer.beginAttribute(wireType);
      writer.raw(new Encoder(this.random, 0).bytesOf(type));
      writer.endAttribute(start);
    }
    writer.endAttribute(data);
    writer.endAttribute(item);
  }
}

const messageOf = (bytes: Uint8Array): Message => [...messagesIn(sourceOf(bytes))][0]!;

/** With other bytes around it: nobody may read beyond his own. */
function shifted(bytes: Uint8Array): Message {
  const around = new Uint8Array(bytes.length + 64).fill(0xaa);
  around.set(bytes, 32);
  const source: Source = sourceOf(around);
  const { type, flags, sequence, payload, end } = messageOf(bytes);
  return { type, flags, sequence, source, start: 32, payload: payload + 32, end: end + 32, next: end + 32 };
}

/** The object, or the error, as text with all keys in their order. */
function told(read: () => RuleEntry): string {
  try {
    return JSON.stringify(read(), (_, value) => (typeof value === 'bigint' ? `${value}n` : value));
  } catch (error) {
    if (error instanceof DecodeError) return `DecodeError ${error.message}`;
    throw error;
  }
}

const byTables = (bytes: Uint8Array): string => told(() => readObject('newrule', shifted(bytes), undefined));

/** How many rules were read by the tables. */
function countWhole(): () => number {
  const spy = vi.spyOn(ruleEntryTable, 'readTolerant');
  return () => spy.mock.calls.length;
}

const REDIRECT: readonly Listed[] = [
  ['payload', 'register', 'base', 'offset', 'length'],
  ['cmp', 'register', 'op', 'data'],
  ['counter', 'bytes', 'packets'],
  ['redir', 'portRegister', 'lastPortRegister', 'flags'],
];

describe('the reader of rules', () => {
  it('reads rules that differ in any values as the tables do', () => {
    for (const [i, listed] of LISTED.entries()) {
      const rules = new Rules(i);
      const texts = Array.from({ length: 400 }, (_, each) => rules.bytes([listed, ['cmp', 'register']], `${each % 7}`));
      const expected = texts.map(byTables);
      const reader = new RuleReader(undefined);
      const found = texts.map(bytes => told(() => reader.read(shifted(bytes))));
      expect(found).toEqual(expected);
    }
  });

  it('reads a chain of rules of one kind by its first rules: each literal is of use', () => {
    for (const [i, listed] of LISTED.entries()) {
      const first = new Rules(i).bytes([listed], undefined);
      const texts = Array.from({ length: 100 }, (_, each) => {
        const bytes = first.slice();
        // The handle's last byte.
        bytes[20 + 12 + 12 + 4 + 7] = each;
        return bytes;
      });
      const whole = countWhole();
      const reader = new RuleReader(undefined);
      const found = texts.map(bytes => told(() => reader.read(messageOf(bytes))));
      expect(whole(), listed.join(' ')).toBe(9);
      vi.restoreAllMocks();
      expect(found).toEqual(texts.map(byTables));
    }
  });

  it('reads any messages as the tables do, also those that are broken, whatever came before them', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rules = new Rules(seed);
      const { random } = rules;
      const kinds = Array.from({ length: 3 }, () =>
        Array.from({ length: 1 + random.below(5) }, (): Listed => {
          if (!random.chance(5)) return random.pick(LISTED);
          const name = random.pick(OTHERS);
          return [
            name,
            ...tableOf(name)!
              .fields.filter(() => random.chance(2))
              .map(({ key }) => key),
          ];
        }),
      );
      const reader = new RuleReader(undefined);
      let last = rules.bytes(kinds[0]!, undefined);
      for (let i = 0; i < 150; i++) {
        const bytes = random.chance(3)
          ? rules.bytes(random.pick(kinds), random.pick([undefined, 'a', 'b', 'other']), random.chance(4))
          : last.slice();
        if (random.chance(3))
          for (let flips = 1 + random.below(3); flips > 0; flips--) {
            const at = random.chance(4) ? 16 + random.below(bytes.length - 16) : bytes.length - 1 - random.below(40);
            bytes[at] = random.chance(2) ? bytes[at]! ^ (1 << random.below(8)) : random.below(256);
          }
        const expected = byTables(bytes);
        expect(
          told(() => reader.read(shifted(bytes))),
          `seed ${seed}, message ${i}`,
        ).toBe(expected);
        last = bytes;
      }
    }
  });

  it('gives each rule objects of its own', () => {
    const rules = new Rules(1);
    const first = rules.bytes(REDIRECT, 'one');
    const reader = new RuleReader(undefined);
    const expected = byTables(first);
    for (let i = 0; i < 30; i++) {
      const rule = reader.read(messageOf(first));
      expect(told(() => rule)).toBe(expected);
      spoil(rule);
    }
  });

  it('stops making patterns of rules that have nothing in common', () => {
    const rules = new Rules(3);
    const texts = Array.from({ length: 300 }, (_, i) => rules.bytes(REDIRECT, 'x'.repeat(1 + (i % 100))));
    const patterns = vi.spyOn(LITERALS, 'get');
    const reader = new RuleReader(undefined);
    for (const bytes of texts.slice(0, 100)) reader.read(messageOf(bytes));
    expect(patterns.mock.calls.length).toBeLessThanOrEqual(16 * REDIRECT.length);
    vi.restoreAllMocks();
    expect(texts.map(bytes => told(() => reader.read(messageOf(bytes))))).toEqual(texts.map(byTables));
  });
});

/** Changes all that can be changed in an object. */
function spoil(value: object): void {
  for (const [key, inner] of Object.entries(value)) {
    if (typeof inner === 'object' && inner !== null) spoil(inner);
    Reflect.set(value, key, 'spoilt');
  }
}
