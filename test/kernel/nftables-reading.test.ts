import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type JsonSet, type NftDocument, type RulesetJson, Transaction } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { longestTurn, TurnMeter } from '../support/pauses.ts';
import { kernelSuite, where } from '../support/where.ts';

freshNamespaces();

const AT = { family: 'ip', table: 't', chain: 'c' } as const;

async function rules(count: number): Promise<void> {
  const transaction = new Transaction()
    .add({ table: { family: 'ip', name: 't' } })
    .add({ chain: { family: 'ip', table: 't', name: 'c' } });
  for (let i = 0; i < count; i++)
    transaction.add({
      rule: {
        ...AT,
        statements: [
          {
            match: {
              op: '==',
              left: { payload: { protocol: 'ip', field: 'saddr' } },
              right: `10.0.${i >> 8}.${i & 255}`,
            },
          },
          { counter: null },
          { accept: null },
        ],
      },
    });
  await nft.commit(transaction);
}

/** Another process commits in the namespace as fast as it can. */
function committer(): ChildProcess {
  const command = 'yes "add table ip other; delete table ip other" | exec nft -i';
  return netns.run(() => spawn('sh', ['-c', command], { stdio: 'ignore', detached: true }));
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  process.kill(-child.pid!, 'SIGKILL');
  await ended;
}

/** The error of the first reading that does not come through. */
async function refusal(read: () => Promise<unknown>): Promise<Error & { code?: string }> {
  // Now and then the other process has no processor, and a reading is not disturbed.
  for (;;) {
    try {
      await read();
    } catch (error) {
      return error as Error;
    }
  }
}

kernelSuite('reading a ruleset that another process changes without pause', () => {
  it('is rejected with ERR_DUMP_INTERRUPTED after the configured attempts', async () => {
    await rules(5_000);
    const other = committer();
    try {
      const error = await refusal(() => nft.ruleset({ attempts: 3 }));
      expect(error).toMatchObject({ name: 'StateError', code: 'ERR_DUMP_INTERRUPTED' });
      expect(error.message).toContain('3 times in a row');
      for (const read of [
        () => nft.ruleset({ attempts: 1, as: 'text' }),
        () => nft.ruleset({ attempts: 1, as: 'json' }),
        () => nft.rules({ ...AT, attempts: 1 }),
        async () => nft.sync.ruleset({ attempts: 1 }),
      ])
        expect((await refusal(read)).code).toBe('ERR_DUMP_INTERRUPTED');
    } finally {
      await end(other);
    }
    // What was given up in the middle is in nobody's way.
    expect((await nft.rules(AT)).length).toBe(5_000);
  });

  it('is rejected with ERR_DUMP_INTERRUPTED after the configured time', async () => {
    await rules(5_000);
    const other = committer();
    try {
      const begun = performance.now();
      const error = await refusal(() => nft.ruleset({ attempts: 1_000_000, timeoutMs: 200 }));
      expect(error.code).toBe('ERR_DUMP_INTERRUPTED');
      const [, within] = /within (\d+) ms/.exec(error.message)!;
      expect(Number(within)).toBeGreaterThanOrEqual(199);
      expect(Number(within)).toBeLessThanOrEqual(performance.now() - begun + 1);
    } finally {
      await end(other);
    }
  });

  it.each([{ attempts: 0 }, { attempts: 1.5 }, { timeoutMs: -1 }, { maxPauseMs: 0 }, { maxPauseMs: 5_000 }])(
    'rejects the limits %o with ERR_OUT_OF_RANGE',
    async options => {
      const [key] = Object.keys(options);
      await expect(nft.ruleset(options)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', path: [key] });
      await expect(nft.chains(options)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', path: [key] });
    },
  );
});

kernelSuite('a large ruleset', () => {
  /** Where every instruction is emulated, it takes some twenty times as long. */
  const MAX_PAUSE_MILLISECONDS = where === 'host' ? 60 : 1200;

  it.each(['objects', 'text', 'json'] as const)('lets the event loop run while it is read as %s', async as => {
    await rules(20_000);
    const meter = new TurnMeter();
    await nft.ruleset({ as });
    await meter.stop();
    expect(meter.count).toBeGreaterThan(10);
    // All of it takes ten times as long. Collections of garbage are in it.
    const longest = await longestTurn(
      async () => expect(await nft.ruleset({ as })).toBeDefined(),
      MAX_PAUSE_MILLISECONDS,
    );
    expect(longest).toBeLessThan(MAX_PAUSE_MILLISECONDS);
  });

  const MANY = where === 'host' ? 100_000 : 5_000;
  it(`lets the event loop run while one map of ${MANY} elements becomes text and JSON`, async () => {
    const elements = Array.from({ length: MANY }, (_, i) => ({
      key: [`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 80],
      data: 8080,
    }));
    const map = { family: 'ip', table: 't', name: 'm', key: 'ipv4_addr . inet_service', data: 'inet_service' } as const;
    await nft.commit(new Transaction().add({ table: { family: 'ip', name: 't' } }).add({ map: { ...map, elements } }));
    for (const as of ['text', 'json'] as const) {
      let shown: unknown;
      const longest = await longestTurn(async () => {
        shown = await nft.ruleset({ as, elements: true } as { as: 'text' });
      }, MAX_PAUSE_MILLISECONDS);
      expect(JSON.stringify(shown).length).toBeGreaterThan(10 * MANY);
      // All of it takes a second. Collections of garbage are in it.
      expect(longest, as).toBeLessThan(MAX_PAUSE_MILLISECONDS);
    }
  });

  it('is printed as text and JSON of the requested version', async () => {
    await nft.commit(
      new Transaction().add({ table: { family: 'ip', name: 'nat' } }).add({
        chain: { family: 'ip', table: 'nat', name: 'out', type: 'nat', hook: 'output', priority: -100 },
      }),
    );
    const old: string = await nft.ruleset({ as: 'text', version: '1.0.6' });
    expect(old).toContain('type nat hook output priority -100; policy accept;');
    const young: string = nft.sync.ruleset({ as: 'text', version: '1.1.6' });
    expect(young).toContain('type nat hook output priority dstnat; policy accept;');
    expect(await nft.ruleset({ as: 'text' })).toBe(young);
    const json: RulesetJson = await nft.ruleset({ as: 'json', version: '1.0.6' });
    expect(json.nftables.some(each => 'chain' in each)).toBe(true);
    await expect(nft.ruleset({ as: 'text', version: '1.0.5' as never })).rejects.toMatchObject({ path: ['version'] });
    await expect(nft.ruleset({ as: 'yaml' as never })).rejects.toMatchObject({ path: ['as'] });
  });
});

kernelSuite('destroy in a missing table', () => {
  it('succeeds', async () => {
    const at = { family: 'ip', table: 'none' } as const;
    const transaction = new Transaction()
      .destroy({ chain: { ...at, name: 'c' } })
      .destroy({ rule: { ...at, chain: 'c', handle: 4n } })
      .destroy({ set: { ...at, name: 's' } })
      .destroy({ map: { ...at, name: 'm' } })
      .destroy({ element: { ...at, set: 's', elements: ['192.0.2.1'] } })
      .destroy({ element: { ...at, set: 's', elements: [{ key: 'c0000201' }] } })
      .destroy({ counter: { ...at, name: 'k' } })
      .destroy({ quota: { ...at, name: 'k' } })
      .destroy({ flowtable: { ...at, name: 'f' } })
      .destroy({ table: { family: 'ip', name: 'none' } });
    expect(await nft.commit(transaction)).toBeUndefined();
    transaction
      .add({ table: { family: 'ip', name: 't' } })
      .add({ chain: { family: 'ip', table: 't', name: 'd' } })
      .destroy({ chain: { family: 'ip', table: 't', name: 'd' } })
      .delete({ table: { family: 'ip', name: 't' } })
      .destroy({ chain: { family: 'ip', table: 't', name: 'e' } })
      .add({ table: { family: 'ip', name: 'last' } });
    const { handles } = await nft.commit(transaction, { echo: true });
    expect(handles.filter(handle => handle !== undefined)).toHaveLength(3);
    expect((await nft.tables()).map(({ name }) => name)).toEqual(['last']);
    expect(await nft.chains()).toEqual([]);
  });

  it('succeeds in JSON', async () => {
    const at = { family: 'ip', table: 'none' } as const;
    const nftables: NftDocument['nftables'] = [
      { destroy: { chain: { ...at, name: 'c' } } },
      { destroy: { rule: { ...at, chain: 'c', handle: 4 } } },
      { destroy: { set: { ...at, name: 's' } } },
      { destroy: { element: { ...at, name: 's', elem: ['192.0.2.1'] } } },
      { destroy: { counter: { ...at, name: 'k' } } },
      { add: { table: { family: 'ip', name: 'made' } } },
    ];
    expect(await nft.apply({ nftables })).toBeUndefined();
    expect((await nft.tables()).map(({ name }) => name)).toEqual(['made']);
  });

  it('reports other refusals with their place', async () => {
    const transaction = new Transaction()
      .destroy({ chain: { family: 'ip', table: 'none', name: 'c' } })
      .add({ table: { family: 'ip', name: 't' } })
      .delete({ chain: { family: 'ip', table: 't', name: 'missing' } });
    await expect(nft.commit(transaction)).rejects.toMatchObject({ failures: [{ index: 2, code: 'ENOENT' }] });
    expect(await nft.tables()).toEqual([]);
  });
});

kernelSuite('sets', () => {
  it('without a name hold what packets add', async () => {
    const at = { family: 'ip', table: 't' } as const;
    const transaction = new Transaction()
      .add({ table: { family: 'ip', name: 't' } })
      .add({ chain: { ...at, name: 'c' } });
    const seen = transaction.anonymousSet({ ...at, key: 'ipv4_addr', flags: ['dynamic'], size: 1000 });
    const load = { payload: { base: 'network', offset: 12, length: 4, register: 1 } } as const;
    transaction.add({ rule: { ...AT, expressions: [load, { dynset: { ...seen, op: 'add', keyRegister: 1 } }] } });
    await nft.commit(transaction);
    const [set] = await nft.sets();
    expect(set?.flags).toEqual(expect.arrayContaining(['anonymous', 'dynamic']));
    expect(set?.flags).not.toContain('constant');
    // nft has no words for it.
    expect(await nft.ruleset({ as: 'text' })).toContain('\t\t# add @__set0 { ip saddr }\n');
  });

  it('whose ranges overlap are rejected with the words of apply', async () => {
    const at = { family: 'ip', table: 't' } as const;
    const set: JsonSet = { ...at, name: 's', type: 'ipv4_addr', flags: ['interval'] };
    const ten = { prefix: { addr: '10.0.0.0', len: 8 } };
    await nft.apply({ nftables: [{ table: { family: 'ip', name: 't' } }, { set: { ...set, elem: [ten] } }] });
    const within = { element: { ...at, name: 's', elem: [{ prefix: { addr: '10.1.0.0', len: 16 } }] } };
    const refused = await nft.apply({ nftables: [{ add: within }] }).catch((error: unknown) => error as Error);
    expect(String(refused)).toContain('nftables[0].add.element.elem');
    expect(String(refused)).toContain('overlap');
    expect(String(refused)).not.toContain('of this name');
  });
});
