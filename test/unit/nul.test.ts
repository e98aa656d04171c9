import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { NetNs } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { expect, test } from 'vitest';
import { AttributeTable, NO_CONTEXT, Struct, type Type, Writer } from '../../src/codec/index.ts';
import { bindAll, FUNCTIONS } from '../../src/ffi/functions.ts';
import { sourceModules } from '../support/compiled.ts';

const SOURCES = fileURLToPath(new URL('../../src', import.meta.url));

/* C and the kernel end a text at its first NUL: what a caller meant as one name would be another one's. */

/** Kinds of payload that are text. */
const TEXTUAL = /string|text|name/i;

/** Every kind of text that any module exports or has in one of its tables. */
async function textTypes(): Promise<Map<Type<unknown>, string>> {
  const found = new Map<Type<unknown>, string>();
  const seen = new Set<object>();
  const visit = (value: unknown, path: string, depth: number): void => {
    if ((typeof value !== 'object' || value === null) && typeof value !== 'function') return;
    if (seen.has(value) || depth > 8 || ArrayBuffer.isView(value)) return;
    seen.add(value);
    const { kind, write } = value as Partial<Type<unknown>>;
    if (typeof kind === 'string' && typeof write === 'function' && TEXTUAL.test(kind))
      found.set(value as Type<unknown>, path);
    const entries = value instanceof Map ? [...value] : Object.entries(value);
    for (const [key, each] of entries) visit(each, `${path}.${String(key)}`, depth + 1);
    // They are laid out when they are asked for, so they are no properties of the object.
    if (value instanceof AttributeTable) visit(value.fields, `${path}.fields`, depth + 1);
    if (value instanceof Struct) visit(value.members, `${path}.members`, depth + 1);
  };
  for (const file of sourceModules()) visit(await import(/* @vite-ignore */ join(SOURCES, file)), file, 0);
  return found;
}

test('every text of every table and structure rejects a NUL with ERR_OUT_OF_RANGE at any place', async () => {
  const types = await textTypes();
  expect(types.size).toBeGreaterThan(20);
  for (const [type, path] of types)
    for (const value of ['\0', 'a\0', '\0a', 'a\0b', 'ä\0b'])
      expect(() => type.write(new Writer(64), value, NO_CONTEXT), `${path}: ${type.kind}`).toThrow(
        expect.objectContaining({
          name: expect.stringMatching(/^(Range|Type)Error$/),
          code: expect.stringMatching(/^ERR_/),
        }),
      );
});

test('the writer rejects a text that has a NUL with ERR_OUT_OF_RANGE', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (before, after) => {
      expect(() => new Writer(16).string(`${before}\0${after}`)).toThrow(
        expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
      );
    }),
  );
});

test('every function of C that takes a text rejects a NUL with ERR_OUT_OF_RANGE, and is not called', () => {
  let called = 0;
  const bound = bindAll(() => () => ++called) as unknown as Record<string, (...values: unknown[]) => number>;
  const texts = Object.entries(FUNCTIONS).filter(([, { parameters }]) =>
    (parameters as readonly string[]).includes('text'),
  );
  expect(texts.map(([name]) => name)).toEqual(['open', 'mount', 'umount2']);
  for (const [name, { parameters }] of texts) {
    for (const [at, type] of (parameters as readonly string[]).entries()) {
      if (type !== 'text') continue;
      const values = (parameters as readonly string[]).map((each, i) =>
        each !== 'text' ? 0 : i === at ? 'a\0b' : 'a',
      );
      expect(() => bound[name]!(...values)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
    }
    expect(called).toBe(0);
    bound[name]!(...(parameters as readonly string[]).map(each => (each === 'text' ? 'a' : 0)));
    expect(called--).toBe(1);
  }
});

test('a path or a name of a namespace rejects a NUL with ERR_OUT_OF_RANGE, and opens nothing', () => {
  for (const reference of [{ path: '/proc/self/ns/net\0-of-web1' }, { path: '\0' }, { name: 'web1\0' }])
    expect(() => NetNs.open(reference)).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', attribute: Object.keys(reference)[0] }),
    );
  expect(() => NetNs.home().readFile('/proc/net/dev\0')).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
  expect(() => NetNs.home().sysctl.get('net.ipv4.ip_forward\0')).toThrow(
    expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
  );
});

test.each([
  [{ table: { family: 'ip', name: 't\0' } }],
  [{ chain: { family: 'ip', table: 't', name: 'c\0x' } }],
  [{ chain: { family: 'ip', table: 't\0', name: 'c' } }],
  [{ set: { family: 'ip', table: 't', name: 's\0', key: 'ipv4_addr' } }],
  [{ rule: { family: 'ip', table: 't', chain: 'c\0', statements: [{ accept: null }] } }],
  [{ rule: { family: 'ip', table: 't', chain: 'c', statements: [{ log: { prefix: 'a\0b' } }] } }],
  [{ rule: { family: 'ip', table: 't', chain: 'c', comment: 'a\0b', statements: [{ accept: null }] } }],
  [{ rule: { family: 'ip', table: 't', chain: 'c', statements: [{ jump: { target: 'a\0b' } }] } }],
])('a transaction rejects the NUL in %j with ERR_OUT_OF_RANGE', object => {
  expect(() => new Transaction().add(object as never)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
});
