import { BatchError, isNotFound } from 'netsteer';
import { type DesiredRuleset, Nftables, Transaction } from 'netsteer/nftables';
import { expect, test } from 'vitest';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { kernelSuite } from '../support/where.ts';

/* Ranges: what is said of them, and what the comparison with the kernel's costs. */

freshNamespaces();

const T = { family: 'ip', table: 't' } as const;
const S = { ...T, set: 's' } as const;
const made = (options: object = {}, elements: string[] = []) =>
  new Transaction()
    .add({ table: { family: 'ip', name: 't' } })
    .add({ set: { ...T, name: 's', key: 'ipv4_addr', flags: ['interval'], ...options, elements } });
const values = () => nft.sync.elements({ ...T, name: 's' }, { as: 'values' });
const WIDE = { from: '9.0.0.0', to: '10.255.255.255' };
const thrown = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
};

kernelSuite('ranges', () => {
  test('rejects a range that ends where 10.0.0.0/8 ends with ERR_OVERLAP', () => {
    nft.sync.commit(made({}, ['10.0.0.0/8']));
    const overlap = thrown(() =>
      nft.sync.commit(new Transaction().add({ element: { ...S, elements: ['1.1.1.1', WIDE] } })),
    );
    expect(overlap).toBeInstanceOf(RangeError);
    expect(overlap).toMatchObject({ code: 'ERR_OVERLAP', path: [0, 'element', 'elements', 1] });
    expect((overlap as Error).message).toContain('10.0.0.0/8, which the set has');
    expect((overlap as Error).message).toContain('9.0.0.0-10.255.255.255');
    expect(values()).toEqual(['10.0.0.0/8']);
    const partly = thrown(() =>
      nft.sync.commit(new Transaction().delete({ element: { ...S, elements: ['10.0.0.0/9'] } })),
    );
    expect(partly).toBeInstanceOf(BatchError);
    expect(isNotFound(partly)).toBe(true);
    expect((partly as BatchError).failures[0]?.path).toEqual(['element', 'elements', 0]);
  });

  test('rejects overlaps within one list with ERR_OVERLAP, before sending where the transaction creates the set', () => {
    expect(() => made({}, ['10.0.0.0/8', '10.1.0.0/16'])).toThrow(
      expect.objectContaining({ code: 'ERR_OVERLAP', path: ['set', 'elements', 1] }),
    );
    const later = made().create({
      set: { ...T, name: 'new', key: 'inet_service', flags: ['interval'], elements: [{ from: 5, to: 9 }] },
    });
    const add = () => later.add({ element: { ...T, set: 'new', elements: [{ from: 1, to: 5 }] } });
    expect(add).toThrow(expect.objectContaining({ code: 'ERR_OVERLAP', path: ['element', 'elements', 0] }));
    expect(() => later.delete({ element: { ...T, set: 'new', elements: [{ from: 5, to: 6 }] } })).toThrow(
      expect.objectContaining({ code: 'ERR_UNKNOWN_ELEMENT' }),
    );
    // What was refused left nothing behind.
    later.delete({ element: { ...T, set: 'new', elements: [{ from: 5, to: 9 }] } });
    add();
    nft.sync.commit(later);
    expect(nft.sync.elements({ ...T, name: 'new' }, { as: 'values' })).toEqual([{ from: 1, to: 5 }]);
  });

  test('compares ranges with the new set where the transaction deletes the old one', () => {
    nft.sync.commit(made({}, ['10.0.0.0/8']));
    nft.sync.commit(
      new Transaction()
        .delete({ element: { ...S, elements: ['10.0.0.0/8'] } })
        .add({ element: { ...S, elements: [WIDE] } })
        .delete({ set: { ...T, name: 's' } })
        .add({ set: { ...T, name: 's', key: 'ipv4_addr', flags: ['interval'], elements: ['10.0.0.0/9'] } }),
    );
    expect(values()).toEqual(['10.0.0.0/9']);
    nft.sync.commit(new Transaction().add({ element: { ...S, elements: ['10.128.0.0/9'] } }));
    expect(values()).toEqual(['10.0.0.0/9', '10.128.0.0/9']);
  });

  test('merges neighbours with autoMerge, and splits ranges of which a part is deleted', () => {
    nft.sync.commit(made({ autoMerge: true }, ['10.0.0.0/9', '10.128.0.0/9']));
    expect(values()).toEqual(['10.0.0.0/8']);
    nft.sync.commit(new Transaction().delete({ element: { ...S, elements: ['10.0.0.5'] } }));
    expect(values()).toEqual([
      { from: '10.0.0.0', to: '10.0.0.4' },
      { from: '10.0.0.6', to: '10.255.255.255' },
    ]);
    nft.sync.apply({ nftables: [{ add: { element: { ...T, name: 's', elem: ['10.0.0.5'] } } }] });
    expect(values()).toEqual(['10.0.0.0/8']);
  });

  test('leaves nothing to do after reconcile where desired ranges merge', () => {
    const elements = ['10.0.0.0/9', '10.128.0.0/9', '1.1.1.1'];
    const desired: DesiredRuleset = {
      tables: [{ family: 'ip', name: 't' }],
      sets: [{ ...T, name: 's', key: 'ipv4_addr', flags: ['interval'], autoMerge: true, elements }],
    };
    nft.sync.reconcile(desired, { prefix: '' });
    expect(values()).toEqual(['1.1.1.1', '10.0.0.0/8']);
    expect(nft.sync.plan(desired, { prefix: '' }).operations).toEqual([]);
  });

  test('rejects a concatenated range that contains another with ERR_OVERLAP, and the deletion of a part', () => {
    const pair = (from: string, to: string) => [{ from, to }, 80];
    nft.sync.commit(
      made({ key: 'ipv4_addr . inet_service' }).add({ element: { ...S, elements: [pair('10.0.0.5', '10.0.0.9')] } }),
    );
    expect(() =>
      nft.sync.commit(new Transaction().add({ element: { ...S, elements: [pair('10.0.0.0', '10.0.0.99')] } })),
    ).toThrow(expect.objectContaining({ code: 'ERR_OVERLAP' }));
    expect(
      isNotFound(
        thrown(() =>
          nft.sync.commit(new Transaction().delete({ element: { ...S, elements: [pair('10.0.0.5', '10.0.0.5')] } })),
        ),
      ),
    ).toBe(true);
    expect(values()).toHaveLength(1);
  });

  test('rejects an overlap with what others committed meanwhile with ERR_OVERLAP: remembered elements are of one generation', async () => {
    nft.sync.commit(made({}, ['10.0.0.0/8']));
    nft.sync.commit(new Transaction().add({ element: { ...S, elements: ['11.0.0.0/8'] } }));
    await using other = Nftables.open({ netns });
    other.sync.commit(
      new Transaction()
        .delete({ element: { ...S, elements: ['11.0.0.0/8'] } })
        .add({ element: { ...S, elements: ['12.0.0.0/8'] } }),
    );
    expect(() =>
      nft.sync.commit(new Transaction().add({ element: { ...S, elements: [{ from: '11.0.0.0', to: '12.0.0.0' }] } })),
    ).toThrow(expect.objectContaining({ code: 'ERR_OVERLAP' }));
    nft.sync.commit(new Transaction().add({ element: { ...S, elements: ['11.0.0.0/8'] } }));
    expect(values()).toEqual(['10.0.0.0/8', '11.0.0.0/8', '12.0.0.0/8']);
    // Nothing was changed, so that nothing was committed: the next one is another's.
    nft.sync.commit(new Transaction().add({ element: { ...S, elements: ['11.0.0.0/8'] } }));
    other.sync.commit(new Transaction().add({ element: { ...S, elements: ['13.0.0.0/8'] } }));
    expect(() =>
      nft.sync.commit(new Transaction().add({ element: { ...S, elements: [{ from: '13.0.0.0', to: '13.0.0.5' }] } })),
    ).toThrow(expect.objectContaining({ code: 'ERR_OVERLAP' }));
  });
});
