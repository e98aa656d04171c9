import { describe, expect, test } from 'vitest';
import {
  attribute,
  attributes,
  byteString,
  bytes,
  inline,
  list,
  listOf,
  MET,
  NO_CONTEXT,
  named,
  nested,
  opt,
  sourceOf,
  string,
  struct,
  template,
  toHex,
  U16_BE,
  U32_NE,
  u8,
  u16be,
  u32be,
  u32ne,
  view,
  Writer,
} from '../../src/codec/index.ts';
import { DecodeError } from '../../src/errors.ts';

const server = attributes('SERVER', {
  address: attribute(1, byteString({ min: 4, max: 16 })),
  port: u16be(2),
  weight: opt(u32ne(3)),
  mode: opt(attribute(4, named(U16_BE, { direct: 1, tunnel: 2 }))),
  limits: opt(attribute(5, struct('limits', { low: [4, U32_NE], high: [4, U32_NE] }))),
  name: opt(string(6, 15)),
});
const service = attributes('SERVICE', {
  id: u32be(1),
  server: opt(nested(2, server)),
  servers: opt(list(3, 1, server)),
  extra: inline(4, attributes('EXTRA', { color: opt(u8(1)) })),
});

describe('a template', () => {
  const sample = {
    id: 1,
    server: { address: '0a000001', port: 80, mode: 1, limits: { low: 1, high: 2 } },
    servers: [{ address: '00'.repeat(16), port: 81 }],
  };

  test('writes copies with other values in nests, lists and structures', () => {
    const made = template(service, sample, {
      id: ['id'],
      port: ['server', 'port'],
      mode: ['server', 'mode'],
      high: ['server', 'limits', 'high'],
      address: ['servers', 0, 'address'],
    });
    const writer = new Writer();
    const start = made.write(writer);
    expect(made.holes.id.putNumber(writer.view, start, 7)).toBe(true);
    expect(made.holes.port.putNumber(writer.view, start, 443)).toBe(true);
    expect(made.holes.mode.putNumber(writer.view, start, 'tunnel')).toBe(true);
    expect(made.holes.high.putNumber(writer.view, start, 9)).toBe(true);
    expect(made.holes.address.putBytes(writer.bytes, start, 'fd'.repeat(16))).toBe(true);
    expect(service.read(sourceOf(writer.copy()), 0, writer.length, NO_CONTEXT)).toEqual({
      id: 7,
      server: { address: '0a000001', port: 443, mode: 'tunnel', limits: { low: 1, high: 9 } },
      servers: [{ address: 'fd'.repeat(16), port: 81 }],
    });
  });

  test('rejects values that do not fit, and keeps the earlier bytes', () => {
    const made = template(server, { address: '0a000001', port: 80 }, { address: ['address'], port: ['port'] });
    const writer = new Writer();
    const start = made.write(writer);
    for (const bad of [-1, 65536, 1.5, Number.NaN, '80', undefined, null, 80n])
      expect(made.holes.port.putNumber(writer.view, start, bad)).toBe(false);
    expect(made.holes.address.putNumber(writer.view, start, 1)).toBe(false);
    for (const bad of ['', '0a0000', '0a00000100', '0a00000g', new Uint8Array(16)])
      expect(made.holes.address.putBytes(writer.bytes, start, bad), String(bad)).toBe(false);
    expect(made.holes.port.putBytes(writer.bytes, start, new Uint8Array(3))).toBe(false);
    expect(toHex(writer.bytes, 4 + start, 7 + start)).toBe('0a0000');
    expect(writer.length).toBe(made.bytes.length);
  });

  test('cannot be made of fields without a fixed place', () => {
    const make = (fields: Record<string, readonly (string | number)[]>) => () =>
      template(service, { ...sample, server: { ...sample.server, name: 'web' } }, fields);
    expect(make({ name: ['server', 'name'] })).toThrow("a template cannot vary 'server.name'");
    expect(make({ gone: ['server', 'weight'] })).toThrow("a template cannot vary 'server.weight'");
    expect(make({ typo: ['server', 'prot'] })).toThrow("there is no 'server.prot' in table SERVICE");
    expect(make({ nest: ['server'] })).toThrow("a template cannot vary 'server'");
    expect(make({ color: ['color'] })).toThrow("a template cannot vary 'color'");
  });

  test('cannot be made where one field changes another', () => {
    const sum = attributes(
      'SUM',
      { a: u32be(1), sum: u32be(2) },
      { before: value => ({ ...value, sum: (value.a as number) >>> 1 }) },
    );
    expect(() => template(sum, { a: 1, sum: 0 }, { a: ['a'] })).toThrow("a template cannot vary 'a'");
    expect(() => template(sum, { a: 1, sum: 0 }, { sum: ['sum'] })).toThrow("a template cannot vary 'sum'");
  });

  test('fills many messages from columns', () => {
    const made = template(listOf(1, server), [{ address: '00000000', port: 0 }], {
      address: [0, 'address'],
      port: [0, 'port'],
    });
    const address = Uint8Array.from({ length: 20 }, (_, i) => i);
    const port = Uint8Array.from({ length: 10 }, (_, i) => 0x80 + i);
    const into = new Uint8Array(made.bytes.length * 3);
    made.writeMany(into, 0, { address, port }, 2, 3);
    const read = listOf(1, server).read(sourceOf(into), 0, into.length, NO_CONTEXT);
    expect(read).toEqual([
      { address: '08090a0b', port: 0x8485 },
      { address: '0c0d0e0f', port: 0x8687 },
      { address: '10111213', port: 0x8889 },
    ]);
  });

  test('returns a copy whose bytes may change', () => {
    const made = template(server, { address: '0a000001', port: 80 }, { port: ['port'] });
    const copy = made.copy();
    copy.holes.port.putNumber(copy.view, 0, 1);
    expect(toHex(copy.bytes)).not.toBe(toHex(made.bytes));
  });
});

describe('a view', () => {
  const encoded = (value: object) => {
    const writer = new Writer();
    service.write(writer, value as never, NO_CONTEXT);
    return sourceOf(writer.copy());
  };

  test('reports unknown attributes beside its fields', () => {
    const fields = view(service, { id: ['id'], port: ['server', 'port'] });
    const met = (value: object) => {
      const source = encoded(value);
      return fields.read(source, 0, source.bytes.length);
    };
    const server = { address: '0a000001', port: 80 };
    expect(met({ id: 1 })).toBe(0);
    expect(met({ id: 1, server })).toBe(0);
    expect(met({ id: 1, servers: [] })).toBe(MET.other);
    expect(met({ id: 1, server: { ...server, weight: 1 } })).toBe(MET.other);
    expect(met({ id: 1, unknown: [{ type: 99, bytes: '' }] })).toBe(MET.unknown);
    expect(met({ unknown: [{ type: 1, bytes: '00' }] })).toBe(MET.malformed | MET.lacking);
    expect(met({ id: 1, unknown: [{ type: 1, bytes: '00000002' }] })).toBe(MET.malformed);
    expect(fields.number(fields.slots.id, 0)).toBe(1);
    expect(fields.number(fields.slots.port, -1)).toBe(-1);
    expect(fields.value(fields.slots.port)).toBeUndefined();
  });

  test('finds one field without reading the rest', () => {
    const source = encoded({ id: 7, server: { address: '0a000001', port: 80 } });
    const fields = view(service, { id: ['id'], server: ['server'] });
    expect(source.view.getUint32(fields.find(source, 0, source.bytes.length))).toBe(7);
    expect(fields.find(source, 8, source.bytes.length)).toBe(0);
    const deep = view(service, { port: ['server', 'port'] });
    expect(() => deep.find(source, 0, source.bytes.length)).toThrow(TypeError);
  });

  test('keeps what precedes a wrong length, or throws as the table does', () => {
    const source = encoded({ id: 7, server: { address: '0a000001', port: 80 } });
    source.view.setUint16(8, 200, true);
    const fields = view(service, { id: ['id'], port: ['server', 'port'] });
    expect(fields.walk(source, 0, source.bytes.length)).toBe(MET.broken);
    expect(fields.number(fields.slots.id, 0)).toBe(7);
    expect(() => fields.read(source, 0, source.bytes.length)).toThrow(DecodeError);
    expect(() => service.read(source, 0, source.bytes.length, NO_CONTEXT)).toThrow(DecodeError);
  });

  test('cannot be made of unknown fields or of fields that are not attributes', () => {
    expect(() => view(service, { typo: ['sever'] })).toThrow("there is no 'sever' in table SERVICE");
    expect(() => view(service, { typo: ['server', 'prot'] })).toThrow("there is no 'server.prot'");
    expect(() => view(service, { member: ['server', 'limits', 'low'] })).toThrow('a view cannot have');
    expect(() => view(service, { item: ['servers', 0] })).toThrow('a view cannot have');
    expect(() => view(service, { nothing: [] })).toThrow('a view cannot have');
    const data = attributes('BYTES', { data: opt(bytes(1)) });
    expect(() => view(data, { deeper: ['data', 'x'] })).toThrow("there is no 'data.x'");
  });
});
