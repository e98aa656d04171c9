import { Container, Fleet, NetNs } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { expect, it } from 'vitest';
import { useFaultyFfi } from '../support/faulty-ffi.ts';
import { kernelSuite } from '../support/where.ts';

/** Before anything is opened. */
const calls = useFaultyFfi();

kernelSuite('the sockets of a fleet', () => {
  it('are opened in one pass: each namespace is entered once, and the thread returns home once', async () => {
    const namespaces = Array.from({ length: 10 }, () => NetNs.create());
    const containers = namespaces.map(netns => Container.open({ netns }));
    const fleet = Fleet.open({ maxSockets: 100 });
    const state = { redirects: [{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }] } as const;
    calls.arm();
    const { programmed } = await fleet.apply(containers, state);
    expect(calls.disarm().filter(name => name === 'setns')).toHaveLength(11);
    expect(programmed).toEqual(containers);
    // They are kept.
    calls.arm();
    await fleet.apply(containers, state);
    expect(calls.disarm()).not.toContain('setns');
    expect(fleet.openSockets).toBe(10);
    await fleet[Symbol.asyncDispose]();
    await Promise.all(containers.map(each => each[Symbol.asyncDispose]()));
    for (const netns of namespaces) netns.close();
  });

  it('are opened in one pass for a state of each, too, from the second container on', async () => {
    const namespaces = Array.from({ length: 10 }, () => NetNs.create());
    const containers = namespaces.map(netns => Container.open({ netns }));
    const fleet = Fleet.open({ maxSockets: 100 });
    const table = () => ({ transaction: new Transaction().add({ table: { family: 'ip', name: 'web' } }) });
    calls.arm();
    await fleet.apply(containers, table, { concurrency: 1 });
    // Into the first and home, then into the others and home.
    expect(calls.disarm().filter(name => name === 'setns')).toHaveLength(2 + 9 + 1);
    await fleet[Symbol.asyncDispose]();
    await Promise.all(containers.map(each => each[Symbol.asyncDispose]()));
    for (const netns of namespaces) netns.close();
  });
});

kernelSuite('containers without tables of ours', () => {
  const STATE = {
    redirects: [{ protocol: 'tcp', address: '10.10.0.100', port: 80, toPort: 8080 }],
    logging: [{ group: 5, prefix: 'web ' }],
  } as const;

  it('cost one datagram each, as soon as two had the same generation', async () => {
    const [fleet, containers, close] = many(6);
    calls.arm();
    const { programmed } = await fleet.apply(containers, STATE, { concurrency: 1 });
    const sent = calls.disarm().filter(name => name === 'send');
    expect(programmed).toEqual(containers);
    // Two are asked, and the first commit shows whether the kernel acknowledges the end of a batch.
    expect(sent).toHaveLength(2 * 2 + 4);
    for (const each of containers) expect(await each.redirects.list()).toEqual(STATE.redirects);
    // Whatever was guessed, the generation is known: a second run asks for it, and finds everything as it was.
    calls.arm();
    await fleet.apply(containers, STATE);
    expect(calls.disarm().filter(name => name === 'send')).toHaveLength(6);
    await close();
  });

  it('are told from those that have some, or another generation, by the kernel, and a foreign table is rejected with ERR_FOREIGN_TABLE', async () => {
    const [fleet, containers, close] = many(8);
    const [, , moved, foreign, programmed, redirected, fresh] = containers;
    const place = { family: 'inet', name: 'netsteer-redirects' } as const;
    moved!.nftables.sync.commit(new Transaction().add({ table: { family: 'ip', name: 'other' } }));
    await programmed!.redirects.set(STATE.redirects);
    await programmed!.logging.set(STATE.logging);
    const before = await programmed!.nftables.generation();
    await redirected!.redirects.set([{ ...STATE.redirects[0], toPort: 9090 }]);
    // All of these have the generation of a new namespace that was committed to: the kernel sees the table in the one of somebody else.
    for (const each of containers.slice(0, 2))
      each.nftables.sync.commit(new Transaction().add({ table: { family: 'ip', name: 'a' } }));
    foreign!.nftables.sync.commit(new Transaction().add({ table: place }));
    const { failed, programmed: done } = await fleet.apply(containers, STATE, { concurrency: 1 });
    expect([...failed].map(([which, error]) => [which, (error as { code?: string }).code])).toEqual([
      [foreign, 'ERR_FOREIGN_TABLE'],
    ]);
    expect(done).toEqual(containers.filter(each => each !== foreign));
    for (const each of done) {
      expect(await each.redirects.list()).toEqual(STATE.redirects);
      expect(await each.logging.list()).toEqual(STATE.logging);
    }
    expect(await programmed!.nftables.generation()).toBe(before);
    expect((await moved!.nftables.tables()).map(({ name }) => name)).toContain('other');
    expect(await fresh!.nftables.tables()).toHaveLength(2);
    await close();
  });
});

function many(count: number): [fleet: Fleet, containers: Container[], close: () => Promise<void>] {
  const namespaces = Array.from({ length: count }, () => NetNs.create());
  const containers = namespaces.map(netns => Container.open({ netns }));
  const fleet = Fleet.open({ maxSockets: 100 });
  const close = async () => {
    await fleet[Symbol.asyncDispose]();
    await Promise.all(containers.map(each => each[Symbol.asyncDispose]()));
    for (const netns of namespaces) netns.close();
  };
  return [fleet, containers, close];
}
