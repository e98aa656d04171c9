import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { type BacklogPolicy, type Loss, Nflog } from '../../src/nflog/index.ts';
import { flood, floodNow } from '../support/flood.ts';
import { flushed } from '../support/wait.ts';
import { isLong, kernelSuite, where } from '../support/where.ts';

/** Packets are logged on their way out, to one group a port, and dropped when they come back. */
const RULES = `table ip test {
  chain output {
    type filter hook output priority 0
    udp dport 9999 log group 5
    udp dport 10000 log group 6
  }
  chain prerouting { type filter hook prerouting priority -300; policy drop; }
}`;
const GROUPS = [5, 6];
const PORT = 9999;
const RUNS = isLong && where === 'host' ? 100 : 6;
const PACKETS = where === 'host' ? 20_000 : 4_000;

/** Until nothing comes any more: in a process whose loop turns, what there is gets read. */
async function drained(log: Nflog): Promise<void> {
  for (let last = -1, quiet = 0; quiet < 5; await flushed(20)) {
    const { received } = log.stats;
    quiet = received === last ? quiet + 1 : 0;
    last = received;
  }
}

/** The ways in which a consumer can be away, each with what it takes meanwhile: all that is sent is sent while it is. */
const WAYS: Record<string, (ns: NetNs, log: Nflog, send: SendFlood) => Promise<() => void>> = {
  'the process stands still': async (_, log, send) => {
    const stop = log.onBatch(() => {});
    send.now();
    return stop;
  },
  'nobody takes packets': async (_, log, send) => {
    await send.meanwhile();
    return log.onBatch(() => {});
  },
  'it takes long for each batch': async (_, log, send) => {
    let slow = true;
    const stop = log.onBatch(() => {
      for (const until = performance.now() + 20; slow && performance.now() < until; );
    });
    await send.meanwhile();
    slow = false;
    return stop;
  },
  'its loop waits for something else': async (_, log, send) => {
    const iterator = log[Symbol.asyncIterator]();
    await send.meanwhile();
    const loop = (async () => {
      while (!(await iterator.next()).done);
    })();
    return () => void loop;
  },
};

interface SendFlood {
  now(): void;
  meanwhile(): Promise<unknown>;
}

kernelSuite('the losses of a log', () => {
  let ns: NetNs;
  beforeAll(() => {
    ns = NetNs.create();
    ns.run(() => {
      execFileSync('ip', ['link', 'set', 'lo', 'up']);
      execFileSync('nft', ['-f', '-'], { input: RULES });
    });
  });
  afterAll(() => ns?.close());

  const way = (run: number) => Object.keys(WAYS)[run % Object.keys(WAYS).length]!;
  const runs = Array.from({ length: RUNS }, (_, run) => [run, way(run)] as const);

  it.each(runs)('add up with the packets to what was sent, run %i: %s', async (run, name) => {
    const when = (['leave-to-kernel', 'drop-oldest', 'drop-newest'] as const satisfies BacklogPolicy[])[run % 3]!;
    const log = Nflog.open({
      netns: ns,
      groups: GROUPS,
      copy: { bytes: 64 + (run % 5) * 100 },
      receiveBufferBytes: 16_384 << (run % 4),
      queue: { packets: run % 2 === 0 ? 1 : 1 + ((run * 7) % 50), bufferBytes: 8192 },
      backlog: { packets: 100, when },
    });
    const told = new Map(GROUPS.map(group => [group, 0]));
    log.onLoss((loss: Loss) => {
      if (loss.kind === 'packets') told.set(loss.group!, told.get(loss.group!)! + loss.count);
    });
    const read = new Map(GROUPS.map(group => [group, 0]));
    const packets = { port: PORT, ports: GROUPS.length, size: 60 + run * 13, batch: 1 + ((run * 31) % 200) };
    try {
      const end = await WAYS[name]!(ns, log, {
        now: () => floodNow(ns, { ...packets, count: PACKETS }),
        meanwhile: () => flood(ns, { ...packets, count: PACKETS }),
      });
      await drained(log);
      // The loop has them in its hands only when it asks: here they are counted as they come.
      const before = log.stats;
      const count = log.onBatch(batch => {
        for (const { group } of batch) read.set(group, read.get(group)! + 1);
      });
      floodNow(ns, { ...packets, count: GROUPS.length });
      await expect.poll(() => log.stats.received).toBe(before.received + GROUPS.length);
      count();
      end();
      const { received, lostPackets, lostDatagrams, droppedByBacklog } = log.stats;
      expect(received + lostPackets).toBe(PACKETS + GROUPS.length);
      expect([...read.values()]).toEqual([1, 1]);
      expect([...told.values()].reduce((sum, each) => sum + each)).toBe(lostPackets);
      expect(droppedByBacklog).toBeLessThanOrEqual(received);
      // It was a test of losses.
      if (when === 'leave-to-kernel' || name !== 'its loop waits for something else') {
        expect(lostPackets).toBeGreaterThan(0);
        expect(lostDatagrams).toBeGreaterThan(0);
      }
    } finally {
      await log[Symbol.asyncDispose]();
    }
  });
});
