import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { Container, NetNs, UnsupportedError } from 'netsteer';
import { Conntrack } from 'netsteer/conntrack';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const LOADER = '/proc/sys/kernel/modprobe';
const MODULE = 'nf_conntrack_netlink';
/** What the redirects need, and netlink itself. */
const OTHERS = ['nfnetlink', 'nf_tables', 'nf_conntrack', 'nft_chain_nat', 'nft_redir'];
const FLOW = {
  protocol: 'udp',
  original: { source: '10.0.0.1', sourcePort: 1, destination: '10.0.0.2', destinationPort: 2 },
} as const;

const isLoaded = (): boolean => fs.existsSync(`/sys/module/${MODULE}`);

/** Namespaces of earlier tests end in their own time; until then they hold the module. */
async function unloaded(): Promise<void> {
  await until(() => {
    try {
      if (isLoaded()) execFileSync('rmmod', [MODULE], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  }, `the unloading of ${MODULE}`);
}

kernelSuite('a kernel without ctnetlink', () => {
  const loader = fs.readFileSync(LOADER, 'utf8').trim();
  let netns: NetNs;

  beforeEach(async () => {
    netns = NetNs.create();
    execFileSync('modprobe', ['-a', ...OTHERS]);
    await unloaded();
    fs.writeFileSync(LOADER, '/bin/false');
  });
  afterEach(() => {
    fs.writeFileSync(LOADER, loader);
    netns.close();
  });

  it('rejects each operation with UnsupportedError, and works once the module can be loaded', async () => {
    await using ct = Conntrack.open({ netns });
    const master = { protocol: 'tcp', ...FLOW.original } as const;
    const operations: (() => unknown)[] = [
      () => ct.list(),
      () => ct.list({ protocol: 'udp', destination: '10.0.0.2' }),
      () => ct.listAndZero(),
      () => ct.get(FLOW),
      () => ct.count(),
      () => ct.create({ ...FLOW, timeoutSeconds: 60 }),
      () => ct.update(FLOW, { mark: 1 }),
      () => ct.delete(FLOW),
      () => ct.flush(),
      () => ct.flush({ protocol: 'udp' }),
      () => ct.expectations(),
      () => ct.createExpectation({ master, tuple: master }),
      () => ct.deleteExpectation({ tuple: master }),
      () => ct.statistics(),
      () => ct.expectationStatistics(),
      () => ct.monitor()[Symbol.asyncIterator]().next(),
      () => ct.monitor({ initial: true })[Symbol.asyncIterator]().next(),
    ];
    for (const operation of operations)
      await expect(operation(), String(operation)).rejects.toMatchObject({
        name: 'UnsupportedError',
        feature: 'ctnetlink',
        message: expect.stringContaining(MODULE),
      });
    expect(() => ct.sync.count()).toThrow(UnsupportedError);
    expect(isLoaded()).toBe(false);
    fs.writeFileSync(LOADER, loader);
    await ct.create({ ...FLOW, timeoutSeconds: 60 });
    expect(await ct.count()).toBe(1);
  });

  it('is reported by preflight and doctor, with what to do', async () => {
    await using container = Container.open({ netns });
    const { abilities } = await container.preflight();
    const lacking = { name: 'conntrack', works: false, remedy: expect.stringContaining(MODULE) };
    expect(abilities).toContainEqual(expect.objectContaining(lacking));
    const doctor = spawnSync(process.execPath, ['bin/netsteer.js', 'doctor', '--json'], { encoding: 'utf8' });
    expect(JSON.parse(doctor.stdout).abilities).toContainEqual(expect.objectContaining(lacking));
    expect(isLoaded()).toBe(false);
    fs.writeFileSync(LOADER, loader);
    const { abilities: after } = await container.preflight();
    expect(after).toContainEqual({
      ...lacking,
      works: true,
      reason: 'module',
      why: expect.stringContaining('first use'),
    });
    await using ct = Conntrack.open({ netns });
    expect(await ct.count()).toBe(0);
    expect(isLoaded()).toBe(true);
    expect((await container.preflight()).abilities).toContainEqual({ name: 'conntrack', works: true });
  });

  it('lets redirects be made, and rejects a removal that was to end their connections with UnsupportedError', async () => {
    await using container = Container.open({ netns });
    const redirect = { protocol: 'tcp', address: '10.0.0.2', port: 80, toPort: 8080 } as const;
    await container.redirects.set([redirect]);
    await expect(container.redirects.set([], { connections: 'end' })).rejects.toMatchObject({
      name: 'UnsupportedError',
      message: expect.stringContaining(MODULE),
    });
    expect(await container.redirects.list()).toEqual([]);
  });
});
