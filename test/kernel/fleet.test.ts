import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Container, type ContainerState, Fleet, type FleetProgress, NetNs, Nftables } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { kernelSuite, where } from '../support/where.ts';

const MANY = where === 'host' ? 100 : 10;

const cleanUps = cleanUpsOfEach();

function open(options: Parameters<typeof Fleet.open>[0] = {}): Fleet {
  const fleet = Fleet.open(options);
  cleanUps.add(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

function containers(count: number): Container[] {
  return Array.from({ length: count }, () => {
    const netns = NetNs.create();
    const container = Container.open({ netns });
    cleanUps.add(async () => {
      await container[Symbol.asyncDispose]();
      netns.close();
    });
    return container;
  });
}

/** One that lives as long as its process. */
function started(): { container: Container; child: ChildProcess } {
  const netns = NetNs.create();
  const child = netns.run(() => spawn('sleep', ['infinity'], { stdio: 'ignore' })) as ChildProcess;
  const container = Container.open({ pid: child.pid! });
  netns.close();
  cleanUps.add(async () => {
    child.kill('SIGKILL');
    await container[Symbol.asyncDispose]();
  });
  return { container, child };
}

const state = (port: number): ContainerState => ({
  redirects: [{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: port }],
  logging: [{ group: 5, prefix: `log ${port} ` }],
});
const table = (name: string) => new Transaction().add({ table: { family: 'ip', name } });

const socketsOpen = () =>
  fs.readdirSync('/proc/self/fd').filter(fd => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;

kernelSuite('a fleet', () => {
  it('brings every container to its state, and returns those that it has changed', async () => {
    const fleet = open();
    const all = containers(MANY);
    const progress: FleetProgress[] = [];
    const result = await fleet.apply(all, state(8080), { onProgress: each => progress.push(each) });
    expect(result).toEqual({ programmed: all, failed: new Map(), gone: [], untouched: [] });
    expect(progress.at(-1)).toEqual({ done: MANY, total: MANY, failed: 0, gone: 0 });
    for (const container of [all[0]!, all.at(-1)!]) {
      expect(await container.redirects.list()).toEqual(state(8080).redirects);
      expect(await container.logging.list()).toEqual(state(8080).logging);
    }
  });

  it('gives each container its own state where a function returns it, and changes only differences', async () => {
    const fleet = open();
    const all = containers(5);
    await fleet.apply(all, container => state(8000 + all.indexOf(container)));
    await fleet.apply(all, container => state(9000 + all.indexOf(container)));
    for (const [i, container] of all.entries())
      expect(await container.redirects.list()).toEqual(state(9000 + i).redirects);
  });

  it('commits a transaction to each container', async () => {
    const fleet = open();
    const all = containers(5);
    await fleet.apply(all, { transaction: table('t') });
    for (const container of all) expect((await container.nftables.tables()).map(({ name }) => name)).toEqual(['t']);
  });

  it('rejects a foreign table in one container with ERR_FOREIGN_TABLE, and programs the others', async () => {
    const fleet = open();
    const all = containers(3);
    await all[1]!.nftables.commit(
      table('netsteer-redirects').add({ table: { family: 'inet', name: 'netsteer-redirects' } }),
    );
    const { programmed, failed } = await fleet.apply(all, state(8080));
    expect(programmed).toEqual([all[0], all[2]]);
    expect([...failed]).toEqual([[all[1], expect.objectContaining({ code: 'ERR_FOREIGN_TABLE' })]]);
  });

  it('compares without changes, and returns the differences', async () => {
    const fleet = open();
    const all = containers(4);
    const transaction = table('t').add({ chain: { family: 'ip', table: 't', name: 'c' } });
    const wanted = { ...state(8080), transaction };
    await fleet.apply(all, wanted);
    expect((await fleet.verify(all, wanted)).drift).toEqual(new Map());
    await all[1]!.redirects.set([]);
    await all[2]!.logging.add([{ group: 9 }]);
    await all[3]!.nftables.commit(new Transaction().delete({ chain: { family: 'ip', table: 't', name: 'c' } }));
    const { verified, drift } = await fleet.verify(all, wanted);
    expect(verified).toEqual(all);
    expect([...drift]).toEqual([
      [all[1], { redirects: { missing: wanted.redirects, different: [], unexpected: [] } }],
      [all[2], { logging: { missing: [], unexpected: [{ group: 9 }] } }],
      [all[3], { missing: [{ chain: { family: 'ip', table: 't', name: 'c' } }] }],
    ]);
  });

  it('removes what it has made, and nothing else', async () => {
    const fleet = open();
    const all = containers(3);
    const wanted = { ...state(8080), transaction: table('t') };
    await all[0]!.nftables.commit(table('theirs'));
    await fleet.apply(all, wanted);
    const { programmed } = await fleet.remove(all, wanted);
    expect(programmed).toEqual(all);
    expect((await all[0]!.nftables.tables()).map(({ name }) => name)).toEqual(['theirs']);
    expect(await all[1]!.nftables.tables()).toEqual([]);
    // Once more: what is not there is no failure.
    expect((await fleet.remove(all, wanted)).failed.size).toBe(0);
  });

  it('returns containers whose process has ended, and keeps no socket in them', async () => {
    const fleet = open();
    const living = started();
    const dying = started();
    await fleet.apply([living.container, dying.container], state(8080));
    expect(fleet.openSockets).toBe(2);
    dying.child.kill('SIGKILL');
    await dying.container.closed;
    await expect.poll(() => fleet.openSockets).toBe(1);
    const { programmed, gone } = await fleet.apply([living.container, dying.container], state(8081));
    expect(programmed).toEqual([living.container]);
    expect(gone).toEqual([dying.container]);
    expect(fleet.openSockets).toBe(1);
  });

  it('returns containers that end while they are programmed', async () => {
    const fleet = open();
    const all = Array.from({ length: 5 }, started);
    const { programmed, gone } = await fleet.apply(
      all.map(({ container }) => container),
      container => {
        // The state of the third is asked for just before it is programmed.
        if (container === all[2]!.container) {
          process.kill(all[2]!.child.pid!, 'SIGKILL');
          while (!container.ended);
        }
        return state(8080);
      },
    );
    expect(gone).toEqual([all[2]!.container]);
    expect(programmed).toHaveLength(4);
  });

  it('keeps at most maxSockets sockets, the ones used last', async () => {
    const fleet = open({ maxSockets: 3 });
    const all = containers(10);
    const before = socketsOpen();
    await fleet.apply(all, { transaction: table('t') });
    expect(fleet.openSockets).toBe(3);
    await expect.poll(() => socketsOpen() - before).toBe(3);
    await fleet.apply(all.slice(0, 2), { transaction: table('u') });
    expect(fleet.openSockets).toBe(3);
  });

  it('closes all sockets with itself, and the rules stay in the containers', async () => {
    const fleet = open();
    const all = containers(10);
    const before = socketsOpen();
    await fleet.apply(all, { transaction: table('t') });
    await fleet[Symbol.asyncDispose]();
    expect(fleet.openSockets).toBe(0);
    await expect.poll(socketsOpen).toBe(before);
    expect((await all[9]!.nftables.tables()).map(({ name }) => name)).toEqual(['t']);
  });

  it('makes at once what a container lacks, wholly or in part', async () => {
    const fleet = open();
    const all = containers(3);
    await all[1]!.redirects.set([]);
    await all[2]!.logging.set([{ group: 9 }]);
    const generation = await all[0]!.nftables.generation();
    const { failed } = await fleet.apply(all, state(8080));
    expect(failed).toEqual(new Map());
    expect(await all[0]!.nftables.generation()).toBe(generation + 1);
    for (const container of all) {
      expect(await container.redirects.list()).toEqual(state(8080).redirects);
      expect(await container.logging.list()).toEqual(state(8080).logging);
    }
  });

  it('never closes the socket that owns a table', async () => {
    const fleet = open({ maxSockets: 1 });
    const all = containers(6);
    const owned = new Transaction().add({ table: { family: 'ip', name: 'owned', flags: ['owner'] } });
    await fleet.apply(all.slice(0, 2), { transaction: owned });
    await fleet.apply(all.slice(2), { transaction: table('t') });
    for (const container of all.slice(0, 2))
      expect((await container.nftables.tables()).map(({ name }) => name)).toEqual(['owned']);
  });

  it('closes its sockets in a container that is closed', async () => {
    const fleet = open();
    const all = containers(2);
    await fleet.apply(all, { transaction: table('t') });
    await all[0]!.close();
    expect(fleet.openSockets).toBe(1);
  });

  it('leaves the rest untouched once it is aborted', async () => {
    const fleet = open();
    const all = containers(20);
    const controller = new AbortController();
    let asked = 0;
    const result = await fleet.apply(
      all,
      () => {
        if (++asked === 5) controller.abort();
        return { transaction: table('t') };
      },
      { signal: controller.signal, concurrency: 1 },
    );
    expect(result.programmed).toEqual(all.slice(0, 5));
    expect(result.untouched).toEqual(all.slice(5));
    const inside = Nftables.open({ netns: all[5]!.netns });
    expect(await inside.tables()).toEqual([]);
    inside.close();
  });

  it('lets the event loop run between containers', async () => {
    const fleet = open({ maxPauseMs: 1 });
    const all = containers(MANY);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    let breaths = 0;
    await fleet.apply(all, container => state(1000 + all.indexOf(container)), { onProgress: () => breaths++ });
    clearInterval(timer);
    delay.disable();
    expect(breaths).toBeGreaterThan(1);
    expect(turns).toBeGreaterThan(1);
  });

  it.each([
    [() => Fleet.open({ maxPauseMs: 0 }), 'maxPauseMs'],
    [() => Fleet.open({ maxSockets: 0 }), 'maxSockets'],
    [() => open().apply([], { redirects: [{ port: 1 }] } as never), 'redirects[0].protocol'],
    [() => open().apply([], { logging: [{ group: -1 }] } as never), 'logging[0].group'],
    [() => open().apply([], { transactions: [] } as never), 'transactions'],
    [() => open().apply([1] as never, {}), 'containers[0]'],
    [() => open().apply([], {}, { concurrency: 0 }), 'concurrency'],
  ])('rejects wrong input before it begins: %#', async (wrong, attribute) => {
    await expect((async () => wrong())()).rejects.toMatchObject({ attribute, code: expect.stringMatching(/^ERR_/) });
  });
});
