import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { Container, Fleet, NetNs, type Redirect } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { sends } from '../support/sends.ts';
import { rewrite } from '../support/tampering.ts';
import { kernelSuite } from '../support/where.ts';

const cleanUps = cleanUpsOfEach();

function one(): { netns: NetNs; container: Container } {
  const netns = NetNs.create();
  const container = Container.open({ netns });
  cleanUps.add(async () => {
    await container[Symbol.asyncDispose]();
    netns.close();
  });
  return { netns, container };
}

function newFleet(): Fleet {
  const fleet = Fleet.open();
  cleanUps.add(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

const nft = (netns: NetNs, ...parameters: string[]): string =>
  netns.run(() => execFileSync('nft', parameters, { encoding: 'utf8' }));

const WEB: Redirect = { protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 };
const SIX: Redirect = { protocol: 'tcp', address: '2001:db8::1', port: 80, toPort: 8080 };
const WIDE: Redirect = { protocol: 'tcp', address: '10.20.0.0/16', port: { from: 1, to: 9 }, toPort: 8081 };
const PLACE = { family: 'inet', table: 'netsteer-redirects' } as const;
const LOGS = [{ group: 5, prefix: 'in ' }];
const state = { redirects: [WEB, SIX], logging: LOGS };
const other = (name: string) => new Transaction().add({ table: { family: 'ip', name } });

kernelSuite('the cost of the verbs of our tables', () => {
  it('is two sends for an empty container, one while nothing changes, and a read otherwise', async () => {
    const { container } = one();
    const fleet = newFleet();
    expect(await sends(() => fleet.apply([container], state))).toBe(2);
    const generation = await container.nftables.generation();
    expect(await sends(() => fleet.apply([container], state))).toBe(1);
    // Another process, that knows nothing: a look, then both tables and both maps.
    expect(await sends(() => newFleet().apply([container], state))).toBe(5);
    expect(await container.nftables.generation()).toBe(generation);
    await container.nftables.commit(other('theirs'));
    expect(await sends(() => fleet.apply([container], state))).toBe(5);
    expect(await sends(() => fleet.apply([container], state))).toBe(1);
    expect(await container.nftables.generation()).toBe(generation + 1);
  });

  it('is a check and a commit for the first redirects, a read where there are some, and one send for one more', async () => {
    const { container } = one();
    const { redirects } = container;
    expect(await sends(() => redirects.set([WEB]))).toBe(2);
    expect(await sends(() => redirects.add([SIX]))).toBe(1);
    expect(await sends(() => redirects.remove([SIX]))).toBe(1);
    // A map that is known to be empty is not read: the kernel counts since Linux 6.18.
    const { count } = (await container.nftables.map({ ...PLACE, name: 'ipv6' }))!;
    expect(await sends(() => redirects.set([WEB]))).toBe(count === 0 ? 2 : 3);
    expect(await sends(() => redirects.add([SIX]))).toBe(1);
    expect(await redirects.list()).toEqual([WEB, SIX]);
    // One that is there already is refused as a new one, then taken as it is; the generation is asked for.
    expect(await sends(() => redirects.add([SIX]))).toBe(3);
    expect(await sends(() => redirects.add([{ ...WEB, port: 82 }]))).toBe(1);
    expect(await sends(() => redirects.remove([{ ...WEB, port: 82 }]))).toBe(1);
    // Somebody else has committed: it is read again.
    await container.nftables.commit(other('theirs'));
    nft(container.netns, 'flush', 'chain', 'inet', 'netsteer-redirects', 'prerouting');
    await redirects.add([{ ...WEB, port: 81 }]);
    expect(await redirects.differences([WEB, SIX, { ...WEB, port: 81 }])).toEqual({
      missing: [],
      different: [],
      unexpected: [],
    });
  });

  it('is known to be no change where an element exists already', async () => {
    const { container } = one();
    await container.redirects.set([WEB]);
    await container.redirects.add([WEB]);
    nft(container.netns, 'flush', 'chain', 'inet', 'netsteer-redirects', 'prerouting');
    await container.redirects.add([SIX]);
    expect(await container.redirects.differences([WEB, SIX])).not.toHaveProperty('differences');
  });
});

kernelSuite('settings of redirects', () => {
  const settings = { priority: -50, output: true };
  const shape = async ({ nftables }: Container) =>
    (await nftables.chains({ family: 'inet', table: 'netsteer-redirects' })).map(({ hook, priority }) => [
      hook,
      priority,
    ]);
  const asSet = [
    ['prerouting', -50],
    ['output', -50],
  ];

  it('stay where a verb leaves them out, in another process too', async () => {
    const { netns, container } = one();
    await container.redirects.set([WEB], settings);
    const later = Container.open({ netns });
    cleanUps.add(() => later[Symbol.asyncDispose]());
    await later.redirects.add([SIX]);
    expect(await shape(container)).toEqual(asSet);
    await later.redirects.add([WIDE]);
    await later.redirects.remove([WIDE, SIX]);
    nft(netns, 'flush', 'chain', 'inet', 'netsteer-redirects', 'output');
    expect(await later.redirects.adopt()).toEqual([WEB]);
    expect(await shape(container)).toEqual(asSet);
    expect(await container.redirects.differences([WEB], settings)).not.toHaveProperty('differences');
    await later.redirects.add([SIX], { output: false });
    expect(await shape(container)).toEqual([['prerouting', -50]]);
    await later.redirects.set([WEB]);
    expect(await shape(container)).toEqual([['prerouting', -199]]);
  });

  it.each(['set', 'add', 'adopt', 'remove'] as const)(
    'return to the default in a table of an older version by %s',
    async verb => {
      const { container } = one();
      await container.redirects.set([WEB], { priority: -100 });
      // As it was made before there were settings.
      rewrite(container.nftables, 'netsteer-redirects', ({ tables }) => {
        tables[0]!.comment = 'managed by netsteer';
      });
      expect(await shape(container)).toEqual([['prerouting', -100]]);
      const { redirects } = container;
      await {
        set: () => redirects.set([WEB]),
        add: () => redirects.add([WEB]),
        adopt: () => redirects.adopt(),
        remove: () => redirects.remove([SIX]),
      }[verb]();
      expect(await shape(container)).toEqual([['prerouting', -199]]);
      expect(await redirects.list()).toEqual([WEB]);
      expect(await redirects.differences([WEB])).not.toHaveProperty('differences');
    },
  );

  it.each([
    [{ priority: -200 }, 'priority'],
    [{ priority: 1.5 }, 'priority'],
    [{ priority: '0' }, 'priority'],
    [{ output: 1 }, 'output'],
    [{ force: 'yes' }, 'force'],
    [{ outputs: true }, 'outputs'],
  ])('reject %j at its place', async (options, attribute) => {
    const { container } = one();
    const refused = expect.objectContaining({ attribute, code: expect.stringMatching(/^ERR_/) });
    await expect(container.redirects.set([WEB], options as never)).rejects.toEqual(refused);
    await expect(container.redirects.add([WEB], options as never)).rejects.toEqual(refused);
    const { force: _, ...rest } = options as Record<string, unknown>;
    if (Object.keys(rest).length > 0)
      await expect(
        (async () => newFleet().apply([container], { redirects: [WEB], redirectOptions: rest as never }))(),
      ).rejects.toMatchObject({
        attribute: `redirectOptions.${attribute}`,
      });
    expect(await container.nftables.tables()).toEqual([]);
  });
});

kernelSuite('a table of our name without our comment', () => {
  const foreign = (name: string) =>
    new Transaction()
      .add({ table: { family: 'inet', name } })
      .add({ chain: { family: 'inet', table: name, name: 'theirs' } });

  type Verb = (container: Container, options: { force?: boolean }) => Promise<unknown>;
  const fleetOf =
    (verb: 'apply' | 'remove' | 'verify'): Verb =>
    async (container, options) => {
      const result = await newFleet()[verb]([container], state, options);
      for (const error of result.failed.values()) throw error;
      return result;
    };
  const redirects: Record<string, Verb> = {
    set: ({ redirects }, options) => redirects.set([WEB, SIX], options),
    add: ({ redirects }, options) => redirects.add([WEB], options),
    remove: ({ redirects }, options) => redirects.remove([WEB], options),
    list: ({ redirects }, options) => redirects.list(options),
    differences: ({ redirects }, options) => redirects.differences([WEB], options),
    adopt: ({ redirects }, options) => redirects.adopt(options),
    release: ({ redirects }, options) => redirects.release(options),
    'fleet.apply': fleetOf('apply'),
    'fleet.remove': fleetOf('remove'),
    'fleet.verify': fleetOf('verify'),
  };
  const logging: Record<string, Verb> = {
    set: ({ logging }, options) => logging.set(LOGS, options),
    add: ({ logging }, options) => logging.add(LOGS, options),
    remove: ({ logging }, options) => logging.remove(LOGS, options),
    list: ({ logging }, options) => logging.list(options),
    differences: ({ logging }, options) => logging.differences(LOGS, options),
    adopt: ({ logging }, options) => logging.adopt(options),
    release: ({ logging }, options) => logging.release(options),
    'fleet.apply': fleetOf('apply'),
    'fleet.remove': fleetOf('remove'),
    'fleet.verify': fleetOf('verify'),
  };
  const all = [
    ...Object.entries(redirects).map(([name, verb]) => ['netsteer-redirects', name, verb] as const),
    ...Object.entries(logging).map(([name, verb]) => ['netsteer-logging', name, verb] as const),
  ];

  it.each(all)(
    '(%s) is rejected by %s with ERR_FOREIGN_TABLE, and the advice of its message works',
    async (table, name, verb) => {
      const { netns, container } = one();
      await container.nftables.commit(foreign(table));
      const before = nft(netns, 'list', 'ruleset');
      const error = await verb(container, {}).then(
        () => undefined,
        (reason: Error & { code: string }) => reason,
      );
      expect(error?.code).toBe('ERR_FOREIGN_TABLE');
      expect(nft(netns, 'list', 'ruleset')).toBe(before);
      // Each piece of advice is a call with force: of this verb, or of one that it names.
      const { message } = error!;
      expect(message).toContain('force: true');
      for (const [, advised] of message.matchAll(
        /\b(list|adopt|release|differences)\((?:\w+, )?\{ force: true \}\)/g,
      )) {
        const again = one();
        await again.container.nftables.commit(foreign(table));
        const verbs = table === 'netsteer-redirects' ? redirects : logging;
        await verbs[advised!]!(again.container, { force: true });
      }
      const found = await verb(container, { force: true });
      const text = nft(netns, 'list', 'ruleset');
      const reads = ['list', 'differences', 'fleet.verify'].includes(name);
      expect(text.includes('chain theirs')).toBe(reads);
      if (name === 'list' || name === 'adopt') expect(found).toEqual([]);
      if (name === 'differences')
        expect(found).toMatchObject({ differences: [{ kind: 'table', problem: 'foreign', table }] });
      if (name === 'fleet.apply') expect((await newFleet().verify([container], state)).drift).toEqual(new Map());
      if (!reads && name !== 'release' && !name.startsWith('fleet')) await verb(container, {});
    },
  );
});

kernelSuite('port ranges in the kernel', () => {
  const address = fc.constantFrom(undefined, '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3', '2001:db8::/32');
  const redirect = fc
    .record({
      address,
      from: fc.integer({ min: 1, max: 8 }),
      length: fc.integer({ min: 0, max: 3 }),
      toPort: fc.constantFrom(undefined, 90, 91),
    })
    .map(
      ({ address, from, length, toPort }): Redirect => ({
        protocol: 'tcp',
        ...(address !== undefined && { address }),
        port: length === 0 ? from : { from, to: from + length },
        ...(toPort !== undefined && { toPort }),
      }),
    );
  const step = fc.record({
    verb: fc.constantFrom('set' as const, 'add' as const, 'remove' as const),
    list: fc.array(redirect, { maxLength: 3 }),
  });

  it('are what the list of differences says after any sequence of verbs', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 6 }), async steps => {
        const { netns, container } = one();
        const { redirects } = container;
        for (const { verb, list } of steps) {
          const before = await redirects.list();
          const keys = list.map(({ toPort: _, ...key }) => key);
          try {
            if (verb === 'remove') await redirects.remove(keys);
            else await redirects[verb](list);
          } catch (error) {
            expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_(OVERLAP|DUPLICATE)$/) });
            // Nothing is half done.
            expect(await redirects.list()).toEqual(before);
            continue;
          }
          const now = await redirects.list();
          if (verb === 'set')
            expect(await redirects.differences(list)).toEqual({ missing: [], different: [], unexpected: [] });
          // What is there is as `set` would make it.
          if (verb !== 'remove' || before.length > 0)
            expect(await redirects.differences(now)).toEqual({ missing: [], different: [], unexpected: [] });
        }
        nft(netns, 'list', 'ruleset');
      }),
      { numRuns: 40 },
    );
  });
});
