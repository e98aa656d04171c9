import { Container, Fleet, NetNs, type Redirect } from 'netsteer';
import { afterEach, expect, it } from 'vitest';
import { RedirectSet } from '../../src/container/redirects/set.ts';
import { Transaction } from '../../src/nftables/index.ts';
import { type LongestTurns, longestTurns } from '../support/pauses.ts';
import { kernelSuite, where } from '../support/where.ts';

const MANY = where === 'host' ? 300_000 : 30_000;
const MAX_PAUSE_MILLISECONDS = 10;
/** The collector copies what `adopt` returns, 300,000 objects, and a busy machine takes its caches away. */
const WITH_COLLECTOR_MILLISECONDS = 20;
const COUNTED_WITH_COLLECTOR = ['verify', 'adopt', 'apply'];
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const redirectOf = (i: number): Redirect => ({
  protocol: 'tcp',
  address: `10.${20 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`,
  port: 80,
  toPort: 8080,
});
const WANTED: Redirect[] = [{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }];

kernelSuite(`${MANY} elements that a container has put into our map`, () => {
  it('hold nobody up who compares, lists, adopts or programs it', async () => {
    const netns = NetNs.create();
    const container = Container.open({ netns });
    const fleet = Fleet.open({ maxPauseMs: MAX_PAUSE_MILLISECONDS });
    cleanUps.push(async () => {
      await fleet[Symbol.asyncDispose]();
      await container[Symbol.asyncDispose]();
      netns.close();
    });
    await fleet.apply([container], { redirects: WANTED });
    const theirs = new RedirectSet(Array.from({ length: MANY }, (_, i) => redirectOf(i)));
    await container.nftables.commit(theirs.addAll(new Transaction()));
    // The kernel's hash table grows in the background, and a dump that meets it growing may miss an element.
    const map = { family: 'inet', table: 'netsteer-redirects', name: 'ipv4' } as const;
    await expect.poll(async () => (await container.nftables.elements(map)).length).toBe(MANY + 1);

    let drift: Awaited<ReturnType<Fleet['verify']>>['drift'] | undefined;
    const { redirects } = container;
    const other = (name: string) => container.nftables.commit(new Transaction().add({ table: { family: 'ip', name } }));
    const [mine] = WANTED as [Redirect];
    const turns: Record<string, LongestTurns> = {
      verify: await longestTurns(async () => {
        ({ drift } = await fleet.verify([container], { redirects: WANTED }));
      }),
      list: await longestTurns(async () => expect(await redirects.list()).toHaveLength(MANY + 1)),
      adopt: await longestTurns(async () => expect(await redirects.adopt()).toHaveLength(MANY + 1)),
    };
    // Somebody else has committed: all is read again.
    await other('one');
    turns.add = await longestTurns(() => redirects.add([{ ...mine, port: 81 }]));
    await other('two');
    turns.remove = await longestTurns(() => redirects.remove([{ ...mine, port: 81 }]));
    turns.apply = await longestTurns(() => fleet.apply([container], { redirects: WANTED }));
    const { missing, unexpected, differences } = drift!.get(container)!.redirects!;
    expect([missing, unexpected.length]).toEqual([[], 16_384]);
    const place = { family: 'inet', table: 'netsteer-redirects' };
    expect(differences).toEqual([
      { ...place, kind: 'more', problem: 'foreign', what: 'elements', count: MANY - 16_384 },
    ]);
    expect(await redirects.list()).toEqual(WANTED);
    for (const [name, { code }] of Object.entries(turns)) expect(code, name).toBeLessThan(MAX_PAUSE_MILLISECONDS);
    for (const name of COUNTED_WITH_COLLECTOR)
      expect(turns[name]!.whole, name).toBeLessThan(WITH_COLLECTOR_MILLISECONDS);
  });
});
