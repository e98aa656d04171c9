import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { NetNs } from 'netsteer';
import { Conntrack } from 'netsteer/conntrack';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { makeFlows } from '../support/many-flows.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

const MANY = where !== 'host' ? 20_000 : isLong ? 1_000_000 : 100_000;
/** Each tenth flow goes to port 53. */
const TENTH = MANY / 10;
const SETTING = 'net.netfilter.nf_conntrack_max';
/** The parts of the table that are read, and the deletions of one part. It does not depend on the number of flows. */
const MAX_BUFFERS = 8 * 2 ** 20;

let netns: NetNs;
let ct: Conntrack;
let limit: string | undefined;

beforeEach(() => {
  netns = NetNs.create();
  ct = Conntrack.open({ netns });
  // The limit is the machine's. It is raised for the million of `npm run test:long` only, and lowered again.
  const present = NetNs.home().sysctl.get(SETTING);
  if (Number(present) >= MANY) return;
  limit = present;
  NetNs.home().sysctl.set(SETTING, MANY + 1000);
});
afterEach(async () => {
  await ct[Symbol.asyncDispose]();
  netns.close();
  if (limit !== undefined) NetNs.home().sysctl.set(SETTING, limit);
  limit = undefined;
});

/** What happens on this thread while work is under way: turns of the event loop, and the most memory outside of V8's heap. */
async function watched<T>(work: () => Promise<T>): Promise<{ result: T; turns: number; buffers: number }> {
  const held = () => {
    const { external, arrayBuffers } = process.memoryUsage();
    return Math.max(external, arrayBuffers);
  };
  const before = held();
  let [turns, buffers, going] = [0, 0, true];
  const turn = () => {
    turns++;
    buffers = Math.max(buffers, held() - before);
    if (going) setImmediate(turn);
  };
  setImmediate(turn);
  const result = await work();
  going = false;
  return { result, turns, buffers };
}

kernelSuite(`a table of ${MANY} flows`, () => {
  it('is flushed by a filter: exactly the matching flows, in bounded memory, while the event loop runs', async () => {
    makeFlows(netns, MANY);
    expect(await ct.count()).toBe(MANY);
    const first = await watched(() => ct.flush({ protocol: 'udp', destinationPort: 53 }));
    expect(first.result).toBe(TENTH);
    expect(await ct.count()).toBe(MANY - TENTH);
    expect(await ct.list({ destinationPort: 53 })).toEqual([]);
    expect(await ct.flush({ destinationPort: 53 })).toBe(0);

    // Each of them is of another address.
    const rest = await watched(() => ct.flush({ source: '10.0.0.0/8' }));
    expect(rest.result).toBe(MANY - TENTH);
    expect(await ct.count()).toBe(0);
    for (const { turns, buffers } of [first, rest]) {
      expect(turns).toBeGreaterThan(10);
      expect(buffers).toBeLessThan(MAX_BUFFERS);
    }
  });

  it('is flushed by the synchronous form, and as a whole by the kernel', () => {
    makeFlows(netns, MANY);
    expect(ct.sync.flush({ destination: '10.200.0.1', destinationPort: 53 })).toBe(TENTH);
    expect(ct.sync.count()).toBe(MANY - TENTH);
    expect(ct.sync.flush()).toBe(MANY - TENTH);
    expect(ct.sync.count()).toBe(0);
  });

  it('is flushed while conntrack deletes the same flows: a missing flow is no error', async () => {
    makeFlows(netns, TENTH);
    const other = netns.run(() => spawn('conntrack', ['-D', '-p', 'udp', '--dport', '54'], { stdio: 'ignore' }));
    const ended = await ct.flush({ destinationPort: { from: 53, to: 54 } });
    if (other.exitCode === null) await once(other, 'exit');
    expect(ended).toBeGreaterThan(0);
    expect(ended).toBeLessThanOrEqual(TENTH);
    expect(await ct.count()).toBe(0);
  });

  it.each([0, 1, 2, 4, 8])(
    'is flushed as a whole or not at all, when its signal is aborted after %i turns',
    async turns => {
      const number = 5000;
      makeFlows(netns, number);
      const controller = new AbortController();
      const ending = ct.flush({ destinationPort: { from: 53, to: 54 } }, { signal: controller.signal });
      for (let i = 0; i < turns; i++) await new Promise(resolve => setImmediate(resolve));
      controller.abort();
      const ended = await ending.catch((error: { name?: unknown }) => error.name);
      expect([number, 'AbortError']).toContain(ended);
      expect(await ct.count()).toBe(ended === number ? 0 : number);
    },
  );

  it('is listed up to the limit, and rejected above it with ERR_TOO_MANY', async () => {
    makeFlows(netns, TENTH);
    await expect(ct.list({}, { limit: TENTH - 1 })).rejects.toMatchObject({ code: 'ERR_TOO_MANY' });
    const { result, turns } = await watched(() => ct.list({}, { limit: TENTH }));
    expect(result).toHaveLength(TENTH);
    expect(new Set(result.map(({ original }) => original.source)).size).toBe(TENTH);
    expect(turns).toBeGreaterThan(2);
  });
});
