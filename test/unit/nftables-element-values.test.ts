import fc from 'fast-check';
import { type NewElements, Transaction } from 'netsteer/nftables';
import { describe, expect, test } from 'vitest';
import type { WireElement } from '../../src/nf_tables/element.ts';
import type { Expression } from '../../src/nf_tables/expression.ts';
import { type ElementValue, elementValues, wireElements } from '../../src/nft/element-values.ts';
import { type DatatypeName, type ElementShape, shapeOf, typeAttributes } from '../../src/nft/set-types.ts';

type Flag = 'interval' | 'concatenation' | 'map' | 'object';

function shape(key: string, flags: Flag[] = [], data?: { type: string; ranges?: boolean } | 'verdict'): ElementShape {
  const { type, length, lengths, order } = typeAttributes(key, undefined, ['key']);
  const set: Parameters<typeof shapeOf>[0] = { flags, keyType: type, keyLength: length };
  if (order !== undefined) set.keyByteOrder = order;
  if (lengths !== undefined && flags.includes('interval')) {
    set.flags = [...flags, 'concatenation'];
    set.description = { fields: lengths.map(bytes => ({ length: bytes })) };
  }
  if (data === 'verdict') set.dataType = 0xffffff00;
  else if (data !== undefined) {
    const attributes = typeAttributes(data.type, undefined, ['data']);
    set.dataType = attributes.type;
    set.dataLength = attributes.length * (data.ranges ? 2 : 1);
    if (data.ranges) set.dataInterval = 1;
  }
  return shapeOf(set);
}

const wired = (values: ElementValue[], of: ElementShape) => wireElements(values, of).elements;

describe('the value of an element', () => {
  test('is a single key', () => {
    expect(wired(['10.0.0.1', '0a000002', new Uint8Array([10, 0, 0, 3])], shape('ipv4_addr'))).toEqual([
      { key: '0a000001' },
      { key: '0a000002' },
      { key: '0a000003' },
    ]);
    expect(wired(['fe80::1'], shape('ipv6_addr'))).toEqual([{ key: 'fe800000000000000000000000000001' }]);
    expect(wired([80, '1f90'], shape('inet_service'))).toEqual([{ key: '0050' }, { key: '1f90' }]);
    expect(wired(['02:00:00:00:00:01'], shape('ether_addr'))).toEqual([{ key: '020000000001' }]);
    expect(wired(['tcp', 17], shape('inet_proto'))).toEqual([{ key: '06' }, { key: '11' }]);
    expect(wired(['eth0'], shape('ifname'))).toEqual([{ key: `65746830${'00'.repeat(12)}` }]);
    expect(wired([1], shape('mark'))).toEqual([{ key: '01000000' }]);
    expect(wired([1n], shape('cgroupsv2'))).toEqual([{ key: '0100000000000000' }]);
  });

  test('is a concatenation, filled up to four bytes for each part', () => {
    expect(wired([['10.0.0.1', 'tcp', 80]], shape('ipv4_addr . inet_proto . inet_service'))).toEqual([
      { key: '0a0000010600000000500000' },
    ]);
    expect(wired([['10.0.0.0/24', { from: 80, to: 90 }]], shape('ipv4_addr . inet_service', ['interval']))).toEqual([
      { key: '0a00000000500000', keyEnd: '0a0000ff005a0000' },
    ]);
  });

  test('is a beginning and an end for ranges and prefixes', () => {
    const of = shape('ipv4_addr', ['interval']);
    expect(wired(['10.0.0.0/8', { from: '11.0.0.1', to: '11.0.0.9' }, '12.0.0.1'], of)).toEqual([
      { key: '0a000000' },
      { key: '0b000000', flags: ['interval-end'] },
      { key: '0b000001' },
      { key: '0b00000a', flags: ['interval-end'] },
      { key: '0c000001' },
      { key: '0c000002', flags: ['interval-end'] },
    ]);
    expect(wired(['224.0.0.0/3'], of), 'up to the last one').toEqual([
      { key: 'e0000000', userdataFlags: ['open-interval'] },
    ]);
    expect(wired(['eth*'], shape('ifname', ['interval']))[1]).toEqual({
      key: `657469${'00'.repeat(13)}`,
      flags: ['interval-end'],
    });
    expect(wired([1], shape('mark', ['interval'])), 'the kernel compares bytes').toEqual([
      { key: '00000001' },
      { key: '00000002', flags: ['interval-end'] },
    ]);
  });

  test('has a mark before the first range once, as nft writes it', () => {
    const of = shape('ipv4_addr', ['interval']);
    const end = { key: '00000000', flags: ['interval-end'] };
    expect(wireElements(['10.0.0.1'], of, { leadingEnd: true }).elements[0]).toEqual(end);
    expect(wireElements(['0.0.0.0/8'], of, { leadingEnd: true }).elements).not.toContainEqual(end);
    expect(wireElements([], of, { leadingEnd: true }).elements).toEqual([]);
    expect(wireElements(['10.0.0.1'], of, { leadingEnd: true }).origin, 'which value each came from').toEqual([
      -1, 0, 0,
    ]);
  });

  test('maps to bytes, addresses, verdicts, ranges or names of objects', () => {
    const key = '10.0.0.1';
    expect(wired([{ key, data: 8080 }], shape('ipv4_addr', ['map'], { type: 'inet_service' }))).toEqual([
      { key: '0a000001', data: '1f90' },
    ]);
    expect(
      wired([{ key, data: ['10.0.0.2', 8080] }], shape('ipv4_addr', ['map'], { type: 'ipv4_addr . inet_service' })),
    ).toEqual([{ key: '0a000001', data: '0a0000021f900000' }]);
    expect(
      wired([{ key, data: '10.2.0.0/24' }], shape('ipv4_addr', ['map'], { type: 'ipv4_addr', ranges: true })),
    ).toEqual([{ key: '0a000001', data: '0a0200000a0200ff' }]);
    const verdicts = shape('ipv4_addr', ['map'], 'verdict');
    expect(
      wired(
        [
          { key, data: 'drop' },
          { key: '*', data: { verdict: 'jump', chain: 'c' } },
        ],
        verdicts,
      ),
    ).toEqual([
      { key: '0a000001', data: { verdict: 'drop' } },
      { flags: ['catch-all'], data: { verdict: 'jump', chain: 'c' } },
    ]);
    expect(wired([{ key, data: 'counter1' }], shape('ipv4_addr', ['object']))).toEqual([
      { key: '0a000001', object: 'counter1' },
    ]);
  });

  test('has its timeout, comment and expressions at the beginning of a range', () => {
    const counter = { counter: {} };
    expect(
      wired(
        [{ key: '10.0.0.0/8', timeoutMilliseconds: 1000n, comment: 'x', expressions: [counter] }],
        shape('ipv4_addr', ['interval']),
      ),
    ).toEqual([
      { key: '0a000000', timeoutMilliseconds: 1000n, comment: 'x', expression: counter },
      { key: '0b000000', flags: ['interval-end'] },
    ]);
  });

  test.each<[string, ElementValue, ElementShape, string]>([
    ['an address of the other kind', '::1', shape('ipv4_addr'), '[0]: expected an IPv4 address, or 4 bytes as hex'],
    ['a port that is none', 65536, shape('inet_service'), '[0]: expected an integer 0 to 65535'],
    ['a range in a set without ranges', '10.0.0.0/8', shape('ipv4_addr'), "only sets with the flag 'interval'"],
    [
      'a range the wrong way round',
      { from: 9, to: 1 },
      shape('inet_service', ['interval']),
      '[0]: expected a range whose end',
    ],
    ['a prefix with host bits', '10.0.0.1/8', shape('ipv4_addr', ['interval']), '[0]: expected a prefix whose bits'],
    ['too few parts', ['10.0.0.1'], shape('ipv4_addr . inet_service'), '[0]: expected an array of 2'],
    ['a part that is wrong', ['10.0.0.1', 'x'], shape('ipv4_addr . inet_service'), '[0][1]: expected an integer'],
    ['a map without a value', '10.0.0.1', shape('ipv4_addr', ['map'], 'verdict'), '[0].data: expected a value'],
    ['a set with one', { key: 1, data: 2 }, shape('mark'), '[0].data: expected nothing'],
    [
      'a verdict that is none',
      { key: 1, data: 'allow' },
      shape('mark', ['map'], 'verdict'),
      '[0].data: expected a verdict',
    ],
    ['a name that is too long', 'a-device-of-16-b', shape('ifname'), '[0]: expected text of at most 15 bytes'],
    [
      'a field that does not exist',
      { key: 1, timeout: 3 } as never,
      shape('mark'),
      '[0].timeout: expected no such field',
    ],
  ])('is rejected at its place: %s', (_title, value, of, message) => {
    expect(() => wireElements([value], of)).toThrow(message);
  });
});

const ipv4 = fc.integer({ min: 0, max: 0xffffffff });
const dotted = (n: number) => [24, 16, 8, 0].map(shift => (n >>> shift) & 0xff).join('.');
const FIELDS: Partial<Record<DatatypeName, fc.Arbitrary<string | number | bigint>>> = {
  ipv4_addr: ipv4.map(dotted),
  ipv6_addr: fc.constantFrom('::', '::1', 'fe80::1', '2001:db8::1', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'),
  inet_service: fc.integer({ min: 0, max: 65535 }),
  inet_proto: fc.constantFrom<string | number>('tcp', 'udp', 'icmp', 3, 255),
  mark: fc.integer({ min: 0, max: 0xffffffff }),
  ifname: fc.constantFrom('lo', 'eth0', 'br-1234567890ab'),
  ether_addr: fc.constantFrom('02:00:00:00:00:01', 'ff:ff:ff:ff:ff:ff'),
  cgroupsv2: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
};
const names = Object.keys(FIELDS) as (keyof typeof FIELDS)[];
const attached = fc.record(
  {
    timeoutMilliseconds: fc.bigInt({ min: 0n, max: 1n << 40n }),
    comment: fc.constantFrom('a', 'zwölf'),
    expressions: fc.constantFrom<Expression[]>([{ counter: {} }], [{ counter: {} }, { last: {} }]),
  },
  { requiredKeys: [] },
);
const unique = (values: ElementValue[]) => {
  const seen = new Set<string>();
  return values.filter(value => {
    const text = JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? `${item}n` : item));
    return !seen.has(text) && seen.add(text);
  });
};

describe('values that are written and read', () => {
  const parts = fc.array(fc.constantFrom(...names), { minLength: 1, maxLength: 3 });

  test('are equal for hash sets and concatenations of every type', () => {
    const cases = parts.chain(types =>
      fc.record({
        types: fc.constant(types),
        keys: fc.array(fc.tuple(...types.map(name => FIELDS[name]!)), { minLength: 1, maxLength: 5 }),
        with: attached,
      }),
    );
    fc.assert(
      fc.property(cases, ({ types, keys, with: more }) => {
        const of = shape(types.join(' . '));
        const values = keys.map(key => (types.length === 1 ? key[0]! : key)) as ElementValue[];
        const described = values.map(key => ({ key, ...more })) as ElementValue[];
        const given = Object.keys(more).length === 0 ? values : described;
        expect(elementValues(wired(given, of), of).elements).toEqual(given);
      }),
    );
  });

  test('are equal for concatenations of ranges', () => {
    const range = fc
      .tuple(fc.integer({ min: 0, max: 65535 }), fc.integer({ min: 0, max: 65535 }))
      .map(([a, b]) => (a === b ? a : { from: Math.min(a, b), to: Math.max(a, b) }));
    const prefix = fc.tuple(ipv4, fc.integer({ min: 0, max: 31 })).map(([address, length]) => {
      const mask = length === 0 ? 0 : (-1 << (32 - length)) >>> 0;
      return `${dotted((address & mask) >>> 0)}/${length}`;
    });
    const of = shape('ipv4_addr . inet_service', ['interval', 'map'], { type: 'inet_service' });
    fc.assert(
      fc.property(fc.array(fc.tuple(prefix, range)), keys => {
        const values: ElementValue[] = keys.map(key => ({ key, data: 1 }));
        expect(elementValues(wired(values, of), of).elements).toEqual(values);
      }),
    );
  });

  test('are equal for separate ranges, with and without a mark before the first', () => {
    const ports = fc.uniqueArray(fc.integer({ min: 0, max: 65535 }), { minLength: 2, maxLength: 20 });
    const of = shape('inet_service', ['interval']);
    fc.assert(
      fc.property(ports, fc.boolean(), (bounds, leadingEnd) => {
        bounds.sort((a, b) => a - b);
        const values: ElementValue[] = [];
        for (let i = 0; i + 1 < bounds.length; i += 2) values.push({ from: bounds[i]!, to: bounds[i + 1]! });
        const wire = wireElements(values, of, { leadingEnd }).elements;
        expect(elementValues(wire.toReversed(), of), 'in any order').toEqual({
          elements: values,
          leadingEnd: leadingEnd && bounds[0] !== 0,
        });
      }),
    );
  });
});

describe('elements that are read and written', () => {
  const sorted = (elements: WireElement[]) =>
    elements
      .map(element => JSON.stringify(element, (_, item) => (typeof item === 'bigint' ? `${item}n` : item)))
      .sort();

  test('are kept as they are where no value describes them', () => {
    const of = shape('inet_service', ['interval']);
    const end = (key: string): WireElement => ({ key, flags: ['interval-end'] });
    const element = fc.oneof(
      fc.constantFrom('0000', '0001', '0002', '0003', '00ff', 'ffff').map((key): WireElement => ({ key })),
      fc.constantFrom('0000', '0001', '0002', '0003', '00ff', 'ffff').map(end),
      fc.constantFrom<WireElement>(
        { key: '00' },
        { flags: ['catch-all'] },
        { key: '0001', flags: ['catch-all'] },
        { key: '0009', flags: ['interval-end'], comment: 'odd' },
        { key: '0010', userdataFlags: ['open-interval'] },
        { key: '0011', keyEnd: '0012' },
        { key: '0013', data: '00' },
        { key: '0014', object: 'x' },
        { key: '0015', unknown: [{ type: 99, bytes: '00' }] },
        { key: '0016', expressions: [{ counter: {} }] },
      ),
    );
    fc.assert(
      fc.property(fc.array(element, { maxLength: 12 }), wire => {
        const { elements, leadingEnd } = elementValues(wire, of);
        const again = wireElements(elements, of, { leadingEnd }).elements;
        expect(sorted(again)).toEqual(sorted(wire));
      }),
      { numRuns: 2000 },
    );
  });

  test('are kept where no text stands for their bytes', () => {
    const keys = fc.array(fc.uint8Array({ minLength: 16, maxLength: 16 }), { maxLength: 4 });
    for (const flags of [[], ['interval']] as Flag[][]) {
      const of = shape('ifname', flags);
      fc.assert(
        fc.property(keys, bytes => {
          const wire = unique(bytes.map(key => ({ wire: { key: Buffer.from(key).toString('hex') } }))).map(
            item => (item as { wire: WireElement }).wire,
          );
          const { elements } = elementValues(wire, of);
          expect(sorted(wireElements(elements, of).elements)).toEqual(sorted(wire));
        }),
      );
    }
  });

  test('are kept with bytes in the padding of a concatenation', () => {
    const of = shape('inet_service . inet_service');
    const wire = [{ key: '0001000000020000' }, { key: '00010001ffff0000' }];
    const { elements } = elementValues(wire, of);
    expect(elements).toEqual([[1, 2], '00010001ffff0000']);
    expect(wired(elements, of)).toEqual(wire);
  });
});

describe('the type of elements that is given with them', () => {
  type Type = NonNullable<NewElements['type']>;
  const bytes = (type: Type, element: ElementValue, set = 's') => {
    const place = { family: 'ip', table: 't', set } as const;
    return Buffer.from(new Transaction().add({ element: { ...place, type, elements: [element] } }).encode().bytes);
  };

  test('is the same whether or not other elements of its names were written before', () => {
    const names = ['ipv4_addr', 'inet_service', 'ipv4_addr . inet_service'] as const;
    const element = (key: string, data: string | undefined): ElementValue => {
      const one = (name: string) => (name === 'ipv4_addr' ? '10.0.0.1' : 80);
      const of = (name: string) => (name.includes(' ') ? name.split(' . ').map(one) : one(name)) as never;
      return data === undefined ? of(key) : { key: of(key), data: of(data) };
    };
    for (let round = 0; round < 2; round++)
      for (const key of names)
        for (const data of [undefined, ...names]) {
          const type: Type = { key, ...(data !== undefined && { data }) };
          // A field that says nothing new has the whole type looked at.
          const whole: Type = { ...type, flags: [] };
          expect(bytes(type, element(key, data))).toEqual(bytes(whole, element(key, data)));
        }
  });

  test('is refused by its own words, with ERR_OUT_OF_RANGE and ERR_INVALID_ARG_TYPE', () => {
    bytes({ key: 'ipv4_addr', data: 'inet_service' }, { key: '10.0.0.1', data: 80 });
    const wrong = (type: object) => () => bytes(type as Type, '10.0.0.1');
    expect(wrong({ key: 'ipv4_addrinet_service' })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }));
    expect(wrong({ key: 'map 9 ipv4_addrinet_service' })).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
    );
    expect(wrong({ key: 80 })).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }));
  });
});

test('many elements are written into a buffer that is hardly larger than they are, and is not copied for what stands behind them', () => {
  const elements = Array.from({ length: 10_000 }, (_, i) => ({ key: [`10.0.${i >> 8}.${i & 255}`, 80], data: 8080 }));
  const transaction = new Transaction()
    .add({ table: { family: 'ip', name: 't' } })
    .add({
      map: { family: 'ip', table: 't', name: 'm', key: 'ipv4_addr . inet_service', data: 'inet_service', elements },
    })
    .add({ chain: { family: 'ip', table: 't', name: 'c' } });
  const { bytes } = transaction.encode();
  expect(bytes.length).toBeGreaterThan(300_000);
  expect(bytes.buffer.byteLength - bytes.length).toBeLessThan(32 * 1024);
});
