import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { NetNs } from 'netsteer';
import { Conntrack } from 'netsteer/conntrack';
import { NETLINK_NETFILTER } from 'netsteer/netlink';
import { makeFlows, recordedCreations, recordedFlush, recordedList } from '../test/support/many-flows.ts';
import { compare, type Program, type Result, type Sample, timed } from './harness.ts';
import { compiled, timedCommand, timedFloor, versionOf, writeDatagrams } from './programs.ts';

const RECEIVE_BUFFER = 8 * 2 ** 20;
const NFNLGRP_CONNTRACK_NEW = 1;
/** Nothing more comes when this long nothing has come, behind the last event that was caused. */
const QUIET_MILLISECONDS = 300;

/** The table of connections: listing it, ending flows by a filter, and events while flows begin as fast as they can. */
export async function conntrack(quick: boolean): Promise<{ results: Result[]; versions: Record<string, string> }> {
  const count = quick ? 20_000 : 100_000;
  const rounds = quick ? 3 : 7;
  const versions: Record<string, string> = {};
  const version = versionOf('conntrack', '--version');
  if (version !== undefined) versions['conntrack-tools'] = version;
  const hasPeer = version !== undefined;
  return {
    results: [
      ...(await listing(count, rounds, hasPeer)),
      ...(await flushing(count, rounds, hasPeer)),
      ...(await events(count, rounds, hasPeer)),
    ],
    versions,
  };
}

async function listing(count: number, rounds: number, hasPeer: boolean): Promise<Result[]> {
  return inNew(async (netns, ct) => {
    makeFlows(netns, count);
    const programs: Program[] = [
      { name: 'netsteer', run: () => timed(() => ct.list()) },
      { name: 'netsteer, sync', run: () => timed(() => ct.sync.list()) },
    ];
    if (hasPeer)
      programs.push({
        name: 'conntrack',
        run: () => timedCommand({ program: 'conntrack', parameters: ['-L'], netns }),
      });
    const floor = compiled('floor-netlink');
    if (floor !== undefined) {
      const file = writeDatagrams('flows-list', [recordedList()]);
      const warm = { rounds: 2, where: 'here' } as const;
      programs.push({ name: 'floor', run: () => timedFloor(floor, NETLINK_NETFILTER, file, netns, warm) });
    }
    return compare(`list/${count}`, programs, { operations: count, rounds, warmUp: 2 });
  });
}

/** All flows, by a filter that the kernel is not asked about: each is listed, and ended by its tuple and id. */
async function flushing(count: number, rounds: number, hasPeer: boolean): Promise<Result[]> {
  const filled = (run: (netns: NetNs, ct: Conntrack) => Promise<Sample>) => () =>
    inNew(async (netns, ct) => {
      makeFlows(netns, count);
      const sample = await run(netns, ct);
      const left = ct.sync.count();
      if (left > 0) throw new Error(`${left} flows are left`);
      return sample;
    });
  const programs: Program[] = [
    { name: 'netsteer', run: filled((_, ct) => timed(() => ct.flush({ protocol: 'udp' }))) },
    { name: 'netsteer, sync', run: filled((_, ct) => timed(() => ct.sync.flush({ protocol: 'udp' }))) },
  ];
  if (hasPeer) {
    const parameters = ['-D', '-p', 'udp'];
    programs.push({
      name: 'conntrack',
      run: filled(netns => timedCommand({ program: 'conntrack', parameters, netns })),
    });
  }
  const floor = compiled('floor-netlink');
  if (floor !== undefined) {
    // The list as netsteer asks for it, and the deletions that follow from it: those of tuples, for the ids are others in each run.
    const file = writeDatagrams('flows-flush', [recordedList(), ...recordedFlush(count)]);
    programs.push({ name: 'floor', run: filled(netns => timedFloor(floor, NETLINK_NETFILTER, file, netns)) });
  }
  return compare(`flush/${count}`, programs, { operations: count, rounds, warmUp: 1 });
}

/** Flows are made as fast as one process can, and each program reads that they have begun. */
async function events(count: number, rounds: number, hasPeer: boolean): Promise<Result[]> {
  const generator = compiled('floor-netlink');
  if (generator === undefined) return [];
  const file = writeDatagrams('flows-new', recordedCreations(count));
  const flood = (netns: NetNs): ChildProcess =>
    netns.run(() => spawn(generator, [String(NETLINK_NETFILTER), file], { stdio: 'ignore' }));
  const programs: Program[] = [
    {
      name: 'netsteer',
      run: () =>
        inNew(async (netns, ct) => {
          const monitor = ct.monitor({ kinds: ['new'], receiveBufferBytes: RECEIVE_BUFFER });
          let seen = 0;
          let last = performance.now();
          const sample = await timed(async () => {
            const source = flood(netns);
            const read = (async () => {
              for await (const item of monitor) {
                if (item.type === 'new') seen++;
                last = performance.now();
                if (seen === count) break;
              }
            })();
            await once(source, 'exit');
            while (seen < count && performance.now() - last < QUIET_MILLISECONDS) await rest();
            await monitor.close();
            await read;
          });
          // Where events were lost, it waited for more.
          if (seen < count) sample.seconds -= QUIET_MILLISECONDS / 1000;
          return { ...sample, lost: count - seen };
        }),
    },
  ];
  if (hasPeer)
    programs.push({
      name: 'conntrack',
      run: () => counting(count, flood, 'conntrack', ['-E', '-e', 'NEW', '-b', String(RECEIVE_BUFFER)], undefined),
    });
  const bottom = compiled('floor-events');
  if (bottom !== undefined) {
    const parameters = [String(NFNLGRP_CONNTRACK_NEW), String(RECEIVE_BUFFER), String(count)];
    programs.push({ name: 'floor', run: () => counting(count, flood, bottom, parameters, 'ready') });
  }
  return compare(`events/${count}`, programs, { operations: count, rounds, warmUp: 1 });
}

/** A program that prints a line for each event, or how many there were at its end. */
async function counting(
  count: number,
  flood: (netns: NetNs) => ChildProcess,
  program: string,
  parameters: readonly string[],
  ready: string | undefined,
): Promise<Sample> {
  return inNew(async (netns, ct) => {
    const reader = netns.run(() => spawn(program, parameters, { stdio: ['ignore', 'pipe', 'ignore'] }));
    let lines = 0;
    let last = performance.now();
    let text = '';
    reader.stdout!.on('data', (data: Buffer) => {
      last = performance.now();
      if (ready !== undefined) text += data;
      else for (const byte of data) if (byte === 10) lines++;
    });
    const ended = once(reader, 'exit');
    // It listens when it tells of a flow, which is made again and again.
    const probe = {
      protocol: 'udp',
      source: '192.0.2.1',
      sourcePort: 1,
      destination: '192.0.2.2',
      destinationPort: 2,
    } as const;
    const { protocol, ...original } = probe;
    while (ready === undefined ? lines === 0 : !text.includes(ready)) {
      if (ready === undefined) {
        await ct.create({ protocol, original, timeoutSeconds: 1000 });
        await ct.delete(probe);
      }
      await rest();
    }
    lines = 0;
    const begin = performance.now();
    const source = flood(netns);
    if (ready === undefined) {
      await once(source, 'exit');
      while (lines < count && performance.now() - last < QUIET_MILLISECONDS) await rest();
    } else {
      await Promise.race([ended, once(source, 'exit').then(() => delay(QUIET_MILLISECONDS))]);
    }
    const seconds = ((ready === undefined ? last : performance.now()) - begin) / 1000;
    reader.kill('SIGTERM');
    await ended;
    if (ready === undefined) return { seconds, lost: Math.max(0, count - lines) };
    const result = JSON.parse(text.slice(text.indexOf('{'))) as Record<
      'events' | 'nanoseconds' | 'cpuMicroseconds',
      number
    >;
    const { events, nanoseconds, cpuMicroseconds } = result;
    return { seconds: nanoseconds / 1e9, cpuMicroseconds, lost: count - events };
  });
}

const rest = (): Promise<void> => delay(10);

async function inNew<T>(work: (netns: NetNs, ct: Conntrack) => Promise<T>): Promise<T> {
  const netns = NetNs.create();
  try {
    await using ct = Conntrack.open({ netns });
    return await work(netns, ct);
  } finally {
    netns.close();
  }
}
