import { readFileSync, writeFileSync } from 'node:fs';
import { Container, Fleet, NetNs } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import type { Sample } from './harness.ts';
import { finished, scratch, timedCommand } from './programs.ts';

/** Rounds until V8 has compiled what a service that has run for a while would have compiled. */
export const WARM_UP = 6;

/** Namespaces that stand for containers; each run finds them empty. */
export class Namespaces {
  readonly all: readonly NetNs[];
  readonly paths: readonly string[];
  /** What `ip netns` calls them while `named` runs. */
  readonly names: readonly string[];

  constructor(count: number) {
    this.all = Array.from({ length: count }, () => NetNs.create());
    this.paths = this.all.map(netns => `/proc/${process.pid}/fd/${netns.descriptor}`);
    this.names = this.all.map((_, i) => `netsteer-bench-${process.pid}-${i}`);
  }

  /** `clear` takes away what the run before has left: packet rules, unless it says otherwise. */
  async emptied<T>(run: (containers: Container[]) => Promise<T>, clear = flushRules): Promise<T> {
    const containers = this.all.map(netns => Container.open({ netns }));
    try {
      await clear(containers);
      return await run(containers);
    } finally {
      for (const container of containers) container.close();
    }
  }

  /** Gives them names under /run/netns meanwhile. */
  async named<T>(run: () => Promise<T>): Promise<T> {
    const pinned: string[] = [];
    try {
      for (const [i, netns] of this.all.entries()) {
        netns.pin(this.names[i]!);
        pinned.push(this.names[i]!);
      }
      return await run();
    } finally {
      for (const [i, name] of pinned.entries()) this.all[i]!.unpin(name);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map(netns => netns[Symbol.asyncDispose]()));
  }
}

/** Descriptors of this process for other things than namespaces and sockets. */
const SPARE = 256;

/** Two sockets for each container, or as many as there are descriptors for beside the namespaces. */
export function socketsFor(containers: number): number {
  const limit = Number(/^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? 1024);
  return Math.max(1, Math.min(2 * containers, limit - containers - SPARE));
}

/** All containers by one fleet; every one must have come to its end. */
export async function byFleet(
  containers: readonly Container[],
  work: (fleet: Fleet) => Promise<{ programmed: readonly unknown[]; failed: ReadonlyMap<unknown, Error> }>,
): Promise<void> {
  await using fleet = Fleet.open({ maxSockets: socketsFor(containers.length) });
  const { programmed, failed } = await work(fleet);
  for (const error of failed.values()) throw error;
  if (programmed.length !== containers.length) throw new Error(`only ${programmed.length} were programmed`);
}

const flushRules = (containers: readonly Container[]): Promise<void> =>
  byFleet(containers, fleet => fleet.apply(containers, { transaction: new Transaction().flush({ ruleset: {} }) }));

/** A shell that reads one line for each container. */
export async function shellLoop(script: string, lines: readonly string[]): Promise<Sample> {
  const input = scratch('fleet-lines');
  writeFileSync(input, `${lines.join('\n')}\n`);
  return timedCommand({ program: 'sh', parameters: ['-c', script], netns: NetNs.home(), input });
}

/** Namespaces of its own that the floor begins with; as many as there are, at most. */
const WARM_NAMESPACES = 100;

/** native/floor-fleet sends the same datagram in each. */
export async function timedFleetFloor(
  program: string,
  protocol: number,
  file: string,
  paths: readonly string[],
): Promise<Sample> {
  const input = scratch('fleet-paths');
  writeFileSync(input, `${paths.join('\n')}\n`);
  const parameters = [String(protocol), file, String(Math.min(WARM_NAMESPACES, WARM_UP * paths.length))];
  const { stdout } = await finished(program, parameters, { program, parameters, netns: NetNs.home(), input }, true);
  const { nanoseconds, cpuMicroseconds, p50, p99 } = JSON.parse(stdout) as {
    nanoseconds: number;
    cpuMicroseconds: number;
    p50: number;
    p99: number;
  };
  return { seconds: nanoseconds / 1e9, cpuMicroseconds, latencyMicroseconds: { p50, p99 } };
}
