import { Container, Fleet, NetNs } from 'netsteer';
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
});
