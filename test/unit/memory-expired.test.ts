import { afterEach, describe, expect, test } from 'vitest';
import { MemoryKernel } from '../../src/testing/index.ts';

/* Elements of sets that have expired are gone at once, and keep their place until the kernel collects them (kernel-model.md, 3). */

let kernel: MemoryKernel;
afterEach(() => kernel.close());

async function withSet(text: string) {
  kernel = MemoryKernel.create();
  const { nftables } = kernel.container('web');
  await nftables.apply(`table ip t {\n set s {\n ${text}\n }\n chain c {\n }\n}\n`);
  return nftables;
}
const SET = { family: 'ip', table: 't', name: 's' } as const;

describe('an element that has expired', () => {
  test('fills a set with a size until the worker comes, after the interval: ENFILE before', async () => {
    const nftables = await withSet('type ipv4_addr\n size 1\n timeout 1s\n gc-interval 3s');
    await nftables.apply('add element ip t s { 10.0.0.1 }');
    kernel.advance(1200);
    expect(await nftables.elements(SET)).toEqual([]);
    await expect(nftables.apply('add element ip t s { 10.0.0.2 }')).rejects.toMatchObject({ code: 'ENFILE' });
    kernel.advance(1799);
    await expect(nftables.apply('add element ip t s { 10.0.0.2 }')).rejects.toMatchObject({ code: 'ENFILE' });
    kernel.advance(1);
    await nftables.apply('add element ip t s { 10.0.0.2 }');
    expect(await nftables.elements(SET)).toHaveLength(1);
  });

  test('is collected each second where the set does not say', async () => {
    const nftables = await withSet('type ipv4_addr\n size 1\n timeout 100ms');
    kernel.advance(950);
    await nftables.apply('add element ip t s { 10.0.0.1 }');
    kernel.advance(900);
    // The worker came at 1,000 ms, when it was alive, and comes at 2,000 ms.
    await expect(nftables.apply('add element ip t s { 10.0.0.2 }')).rejects.toMatchObject({ code: 'ENFILE' });
    kernel.advance(150);
    await nftables.apply('add element ip t s { 10.0.0.2 }');
  });

  test('leaves the end of its interval listed until a batch has changed the set after the interval of collection', async () => {
    const nftables = await withSet('type ipv4_addr\n flags interval, timeout\n timeout 1s');
    await nftables.apply('add element ip t s { 10.0.0.1-10.0.0.9 }');
    const ends = async () => (await nftables.elements(SET)).filter(each => each.flags?.includes('interval-end')).length;
    const before = await ends();
    kernel.advance(1500);
    expect(await ends()).toBe(before);
    // Collected once this has been carried out: the end of the other interval takes its place.
    await nftables.apply('add element ip t s { 10.0.1.1-10.0.1.9 }');
    expect(await nftables.elements(SET)).toHaveLength(1 + before);
    kernel.advance(1500);
    await nftables.apply('add element ip t s { 10.0.2.1-10.0.2.9 }');
    expect(await nftables.elements(SET)).toHaveLength(1 + before);
  });

  test('lets go of the chain that it jumps to when it is collected: EBUSY before', async () => {
    kernel = MemoryKernel.create();
    const { nftables } = kernel.container('web');
    await nftables.apply(
      'table ip t {\n chain c {\n }\n map s {\n type ipv4_addr : verdict\n size 9\n timeout 1s\n gc-interval 3s\n }\n}\n',
    );
    await nftables.apply('add element ip t s { 10.0.0.1 : jump c }');
    kernel.advance(2000);
    await expect(nftables.apply('delete chain ip t c')).rejects.toMatchObject({ code: 'EBUSY' });
    kernel.advance(1000);
    await nftables.apply('add element ip t s { 10.0.0.2 : accept }');
    await nftables.apply('delete chain ip t c');
  });
});
