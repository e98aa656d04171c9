import {
  accept,
  type CompileContext,
  compileRule,
  concat,
  ct,
  ip,
  meta,
  redirect,
  type Statement,
  tcp,
} from 'netsteer/nftables';
import { describe, expect, it } from 'vitest';

const compile = (statements: Statement[], context?: CompileContext, family: 'ip' | 'inet' = 'ip') =>
  compileRule({ family, statements }, context);
const L4_TCP = [{ meta: { key: 'l4proto', register: 1 } }, { cmp: { register: 1, op: 'eq', data: '06' } }];

describe('the compiler of rules', () => {
  it('rejects a map update whose key leaves no register for its value, and takes one that does', () => {
    const update = (count: number) => {
      const fields = Array.from({ length: count }, (_, i) => (i % 2 === 0 ? 'saddr' : 'daddr'));
      const elem = { concat: fields.map(field => ({ payload: { protocol: 'ip6', field } })) };
      const statement = { map: { op: 'update', elem, data: { meta: { key: 'mark' } }, map: '@m' } };
      // nft's number of an IPv6 address, once for each part.
      const keyType = fields.reduce(type => type * 64 + 8, 0);
      const map = { family: 'ip6', table: 't', name: 'm', keyType, keyLength: 16 * count, dataType: 19, dataLength: 4 };
      return compileRule(
        { family: 'ip6', statements: [statement as Statement] },
        { sets: [{ ...map, flags: ['map'] } as never] },
      );
    };
    expect(update(3).expressions.at(-1)).toMatchObject({ dynset: { keyRegister: 1, dataRegister: 4 } });
    // The kernel has four registers of 16 bytes.
    expect(() => update(4)).toThrow('the registers are full');
  });

  it('adds the matches that a field depends on, once, and knows the source of each expression', () => {
    const { expressions, origin, sets } = compile([tcp.dport.eq(80), tcp.sport.ne(1024), accept()]);
    expect(expressions).toMatchObject([
      ...L4_TCP,
      { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
      { cmp: { op: 'eq', data: '0050' } },
      { payload: { base: 'transport', offset: 0, length: 2, register: 1 } },
      { cmp: { op: 'neq', data: '0400' } },
      { immediate: { register: 0, data: { verdict: 'accept' } } },
    ]);
    expect(origin.map(path => path.at(-1))).toEqual([0, 0, 0, 0, 1, 1, 2]);
    expect(sets).toBeUndefined();
  });

  it('leaves out what an earlier match implies', () => {
    const { expressions } = compile([meta.l4proto.eq('tcp'), tcp.dport.eq(80)]);
    expect(expressions).toHaveLength(4);
  });

  it('loads neighbouring fields at once', () => {
    const { expressions } = compile([tcp.sport.eq(1), tcp.dport.eq(2)]);
    expect(expressions).toMatchObject([
      ...L4_TCP,
      { payload: { offset: 0, length: 4 } },
      { cmp: { data: '00010002' } },
    ]);
  });

  it('shortens prefixes that end at a byte, and masks others', () => {
    expect(compile([ip.saddr.prefix('10.0.0.0', 8)]).expressions).toMatchObject([
      { payload: { offset: 12, length: 1 } },
      { cmp: { data: '0a' } },
    ]);
    expect(compile([ip.saddr.prefix('10.0.0.0', 9)]).expressions).toMatchObject([
      { payload: { offset: 12, length: 4 } },
      { bitwise: { mask: 'ff800000' } },
      { cmp: { data: '0a000000' } },
    ]);
  });

  it('adds the anonymous sets', () => {
    const { expressions, sets } = compile([concat(ip.saddr, tcp.dport).in([['10.0.0.1', 80]])], { table: 't' });
    expect(expressions.at(-1)).toMatchObject({ lookup: { set: '__set%d', setId: 1 } });
    expect(sets).toMatchObject([
      {
        set: { family: 'ip', table: 't', id: 1, flags: ['anonymous', 'constant'], keyLength: 8 },
        elements: [{ key: '0a00000100500000' }],
      },
    ]);
  });

  it('finds named sets in its context, and rejects a missing one with ERR_UNKNOWN_SET', () => {
    const set = { family: 'ip', table: 't', name: 's', keyType: 7, keyLength: 4, flags: [] } as const;
    const { expressions } = compile([ip.saddr.in('@s')], { sets: [{ ...set, flags: [] }] });
    expect(expressions.at(-1)).toMatchObject({ lookup: { set: 's' } });
    expect(() => compile([ip.saddr.in('@s')])).toThrow(expect.objectContaining({ code: 'ERR_UNKNOWN_SET' }));
  });

  it('orders the bytes of an extension before it shifts them only where no match had to precede', () => {
    const set = { family: 'ip6', table: 't', name: 's', keyType: 4, keyLength: 2, flags: [] } as const;
    const left = { exthdr: { name: 'frag', field: 'frag-off' } } as const;
    const shifted = (family: 'ip6' | 'inet') =>
      compileRule(
        { family, statements: [{ match: { op: '==', left, right: '@s' } }] },
        { sets: [{ ...set, family, flags: [] }] },
      ).expressions.map(each => Object.keys(each)[0]);
    expect(shifted('ip6')).toEqual(['exthdr', 'bitwise', 'byteorder', 'bitwise', 'lookup']);
    expect(shifted('inet')).toEqual(['meta', 'cmp', 'exthdr', 'bitwise', 'bitwise', 'lookup']);
  });

  it('reports the place of an error', () => {
    const wrong = (statements: unknown[], path: (string | number)[]) =>
      expect(() => compile(statements as Statement[])).toThrow(
        expect.objectContaining({ path: ['statements', ...path] }),
      );
    wrong([accept(), tcp.dport.eq(70_000)], [1, 'match', 'right']);
    wrong(
      [{ match: { op: '==', left: { payload: { protocol: 'tcp', field: 'x' } }, right: 1 } }],
      [0, 'match', 'left', 'payload', 'field'],
    );
    wrong([ct.state.in('nonsense' as 'new')], [0, 'match', 'right']);
    wrong([{ nothing: null }], [0]);
  });

  it.each([
    ['a statement that nft does not have', { nothing: null }, [], /a statement \(raw, match, /],
    ['the name of an object in the place of the state of last', { last: 'name' }, ['last'], /an object/],
    ['a list in the place of the fields of a counter', { counter: [] }, ['counter'], /an object/],
    [
      'a state that no element can have',
      { set: { op: 'add', elem: ip.saddr.expression, set: '@s', stmt: [{ log: null }] } },
      ['set', 'stmt', 0],
      /one of counter, quota, limit, last, ct count/,
    ],
  ])('refuses %s, at its place', (_, statement, path, message) => {
    const sets = [{ family: 'ip', table: 't', name: 's', keyType: 7, keyLength: 4, flags: [] } as never];
    const run = () => compile([statement as Statement], { sets });
    expect(run).toThrow(expect.objectContaining({ path: ['statements', 0, ...path] }));
    expect(run).toThrow(message);
  });

  it('writes redirect as nft does', () => {
    expect(compile([tcp.dport.eq(80), redirect({ to: 8080 })]).expressions.slice(-2)).toMatchObject([
      { immediate: { register: 1, data: '1f90' } },
      { redir: { portRegister: 1, flags: ['ports-specified'] } },
    ]);
  });
});
