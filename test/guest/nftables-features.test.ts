import { afterEach, beforeEach, expect, test } from 'vitest';
import { UnsupportedError } from '../../src/errors.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Nftables, Transaction } from '../../src/nftables/index.ts';
import { kernelSuite, where } from '../support/where.ts';

const T = { family: 'ip', table: 't' } as const;

let netns: NetNs;
let nft: Nftables;

beforeEach(() => {
  netns = NetNs.create();
  nft = Nftables.open({ netns });
  nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: 't' } }).add({ chain: { ...T, name: 'c' } }));
});
afterEach(async () => {
  await nft[Symbol.asyncDispose]();
  netns.close();
});

kernelSuite('differences between kernels', () => {
  const knowsDestroy = where !== '6.1';

  test('are hidden for destroy, or its error names the first kernel that has it', () => {
    nft.sync.commit(
      new Transaction()
        .destroy({ table: { family: 'ip', name: 'none' } })
        .destroy({ chain: { ...T, name: 'none' } })
        .destroy({ counter: { ...T, name: 'none' } }),
    );
    expect(nft.sync.objects()).toEqual([]);
    expect(nft.sync.chains().map(({ name }) => name)).toEqual(['c']);
    const destroy = () => nft.sync.commit(new Transaction().destroy({ set: { ...T, name: 'none' } }));
    const generation = nft.sync.generation();
    if (knowsDestroy) {
      destroy();
    } else {
      expect(destroy).toThrow(UnsupportedError);
      expect(destroy).toThrow('this kernel does not support destroy set (Linux 6.3 has it)');
      expect(nft.sync.generation(), 'nothing was sent').toBe(generation);
    }
  });

  test('do not hide the end of a commit, whichever acknowledgement the kernel sends', () => {
    for (let i = 0; i < 3; i++) nft.sync.commit(new Transaction().add({ chain: { ...T, name: `c${i}` } }));
    const result = nft.sync.commit(new Transaction().add({ chain: { ...T, name: 'd' } }), { echo: true });
    expect(result.generation).toBe(nft.sync.generation());
    expect(result.handles[0]).toBeTypeOf('bigint');
    nft.sync.commit(new Transaction().add({ chain: { ...T, name: 'e' } }), { dryRun: true });
    expect(nft.sync.chains()).toHaveLength(5);
  });

  test('are reported for bitwise with a second register', () => {
    const add = () =>
      nft.sync.commit(
        new Transaction().add({
          rule: {
            ...T,
            chain: 'c',
            expressions: [
              { immediate: { register: 1, data: '00000001' } },
              { immediate: { register: 2, data: '00000003' } },
              { bitwise: { sourceRegister: 1, secondSourceRegister: 2, register: 1, length: 4, op: 'and' } },
            ],
          },
        }),
      );
    if (where === 'host') add();
    else expect(add).toThrow('this kernel does not support bitwise with a second register (Linux 6.13 has it)');
  });
});
