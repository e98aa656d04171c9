import { describe, expect, it } from 'vitest';
import { attributes, list, NO_CONTEXT, opt, sourceOf, string, u32be, u64be, Writer } from '../../src/codec/index.ts';
import { acceptedExpression, withoutTold } from '../../src/nf_tables/accepted.ts';
import { contentOf, expressionContent } from '../../src/nf_tables/content.ts';
import { EXPRESSION, EXPRESSIONS, type Expression, tableOf } from '../../src/nf_tables/expression.ts';
import { byDefault, local, state, type TableFacets, told } from '../../src/nf_tables/facets.ts';
import { MESSAGES } from '../../src/nf_tables/message.ts';
import { textOf } from '../../src/nftables/plan/content.ts';

const rows = { name: string(1, 15), level: byDefault(opt(u32be(2)), 0), packets: state(opt(u64be(3))) };
const canonical: TableFacets['canonical'] = fields => {
  if (fields.level === undefined) delete fields.depth;
};

describe('a row that is added to a table', () => {
  const added = { ...rows, depth: opt(u32be(4)), handle: told(opt(u64be(5))), inner: opt(list(6, 1, EXPRESSION)) };
  const table = attributes('TEST', added, { facets: { canonical } });
  const object = { name: 'a', level: 3, depth: 7, handle: 9n, packets: 5n, inner: [{ counter: { packets: 1n } }] };

  it('is written and read', () => {
    const writer = new Writer();
    table.write(writer, object, NO_CONTEXT);
    const bytes = writer.copy();
    expect(table.read(sourceOf(bytes), 0, bytes.length, NO_CONTEXT)).toEqual(object);
  });

  it('is compared as its facets say', () => {
    expect(contentOf(table, object)).toEqual({ name: 'a', level: 3, depth: 7, inner: [{ counter: {} }] });
    // A row without facets makes a difference.
    expect(contentOf(table, { ...object, depth: 8 })).not.toEqual(contentOf(table, object));
    expect(contentOf(table, { name: 'a', level: 0, depth: 7 })).toEqual({ name: 'a' });
    expect(contentOf(table.partial(), object)).toEqual(contentOf(table, object));
  });

  it('is not written where only the kernel sets it', () => {
    expect(withoutTold(table, object)).not.toHaveProperty('handle');
    const written = { name: 'a' };
    expect(withoutTold(table, written)).toBe(written);
  });
});

describe('the facets of the tables of nf_tables', () => {
  it('exclude the handle, the use count and transaction numbers from the content', () => {
    for (const name of ['newtable', 'newchain', 'newrule', 'newset', 'newobj', 'newflowtable'] as const) {
      const { table } = MESSAGES[name];
      const object = { table: 't', name: 'n', handle: 1n, use: 2, id: 3 };
      const { handle, use, id, ...rest } = contentOf(table, object) as Record<string, unknown>;
      const known = (key: string) => table.fields.some(field => field.key === key);
      expect([handle, known('use') ? use : undefined, known('id') ? id : undefined], name).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
      expect(rest).toMatchObject({ table: 't', name: 'n' });
    }
  });

  it('have values that their rows accept', () => {
    for (const name of Object.keys(EXPRESSIONS)) {
      for (const { key, type, facets } of tableOf(name)!.fields) {
        const { defaults = [], derived } = (facets ?? {}) as { defaults?: unknown[]; derived?: string[] };
        const values = derived === undefined ? defaults : [...defaults, derived];
        for (const value of values)
          expect(() => type.write(new Writer(), value, NO_CONTEXT), `${name}.${key}`).not.toThrow();
      }
    }
  });

  it('make a default of the kernel equal to a missing field', () => {
    const same: [Expression, Expression][] = [
      [{ log: { group: 1, snaplen: 0, queueThreshold: 0 } }, { log: { group: 1 } }],
      [{ quota: { bytes: 5n, consumed: 3n, flags: ['depleted'] } }, { quota: { bytes: 5n } }],
      [{ limit: { rate: 1n, unitSeconds: 1n, burst: 5, type: 'packets' } }, { limit: { rate: 1n, unitSeconds: 1n } }],
      [{ redir: { portRegister: 1, lastPortRegister: 1, flags: ['ports-specified'] } }, { redir: { portRegister: 1 } }],
      [
        { dynset: { set: 's', op: 'add', keyRegister: 1, expression: { counter: { packets: 7n } } } },
        { dynset: { set: 's', op: 'add', keyRegister: 1, expressions: [{ counter: {} }], flags: ['expressions'] } },
      ],
    ];
    for (const [one, other] of same) expect(textOf(expressionContent(one))).toBe(textOf(expressionContent(other)));
    const differs: Expression = { limit: { rate: 1n, unitSeconds: 1n, burst: 5, type: 'bytes' } };
    expect(textOf(expressionContent(differs))).not.toBe(textOf(expressionContent(same[2]![0])));
  });

  it('keep an expression unchanged that the kernel accepts as it stands', () => {
    const plain: Expression = { masq: { flags: ['random'] } };
    expect(acceptedExpression(plain)).toBe(plain);
    expect(acceptedExpression({ osf: { register: 1, flags: [] } })).toEqual({ osf: { register: 1 } });
    expect(
      acceptedExpression({ dynset: { set: 's', op: 'add', keyRegister: 1, expressions: [{ counter: {} }] } }),
    ).toEqual({
      dynset: { set: 's', op: 'add', keyRegister: 1, expressions: [{ counter: {} }], flags: ['expressions'] },
    });
  });
});

it('a number within a transaction is not content', () => {
  expect(contentOf(attributes('TEST', { id: local(opt(u32be(1))) }), { id: 3 })).toEqual({});
});
