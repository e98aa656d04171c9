import { writeFileSync } from 'node:fs';
import { type Container, type Fleet, formatRules, Ipvs, Links, NetNs } from 'netsteer';
import { Exchange, NETLINK_GENERIC, NetlinkSocket } from 'netsteer/netlink';
import type { Transaction } from 'netsteer/nftables';
import { byFleet, type Namespaces, shellLoop, timedFleetFloor } from './fleet-namespaces.ts';
import { compare, type Program, type Result, timed } from './harness.ts';
import { operationsFor, virtualServers } from './ipvs-servers.ts';
import { compiled, scratch, writeDatagrams } from './programs.ts';
import { Recorder } from './record.ts';

/** In a guest, of which the loop over processes takes minutes for more. */
const MOST_IF_QUICK = 100;
/** What each container gets: one service with four servers. */
const SERVERS = virtualServers(1);

interface Options {
  readonly versions: Record<string, string>;
  readonly quick: boolean;
  /** Packet rules that each gets besides, where the kernel has nf_tables. */
  readonly rules: Transaction | undefined;
}

export async function hasIpvs(): Promise<boolean> {
  const netns = NetNs.create();
  const ipvs = Ipvs.open({ netns });
  try {
    await ipvs.info();
    return true;
  } catch {
    return false;
  } finally {
    await ipvs[Symbol.asyncDispose]();
    netns.close();
  }
}

/** The IPVS half of the fleet, and both halves together. */
export async function fleetOfServers(count: number, namespaces: Namespaces, options: Options): Promise<Result[]> {
  const { versions, quick, rules } = options;
  if (quick && count > MOST_IF_QUICK) return [];
  for (const netns of namespaces.all) await loopbackUp(netns);
  // Twice, as bench/ipvs.ts does it, and for the same reason: the floor is a child.
  const run = (work: (containers: Container[]) => Promise<void>) => async () => {
    const once = () => namespaces.emptied(containers => timed(() => work(containers)), flushed);
    await once();
    return once();
  };
  const apply = (state: Parameters<Fleet['apply']>[1]) => (containers: Container[]) =>
    byFleet(containers, fleet => fleet.apply(containers, state));
  const loop: Program[] = [];
  const programs: Program[] = [{ name: 'netsteer', run: run(apply({ virtualServers: SERVERS })) }];
  if (rules !== undefined)
    programs.push({
      name: 'netsteer, with packet rules',
      run: () =>
        namespaces.emptied(async containers => {
          await flushed(containers);
          return timed(() => apply({ virtualServers: SERVERS, transaction: rules })(containers));
        }),
    });
  const floor = compiled('floor-fleet');
  if (floor !== undefined) {
    const file = writeDatagrams('fleet-ipvs', await datagrams());
    programs.push({
      name: 'floor',
      run: () => namespaces.emptied(() => timedFleetFloor(floor, NETLINK_GENERIC, file, namespaces.paths), flushed),
    });
  }
  if (versions.ipvsadm !== undefined) {
    const file = scratch('fleet.ipvsadm');
    writeFileSync(file, formatRules(SERVERS));
    const script = `while read -r it; do nsenter --net="$it" ipvsadm -R <${file} || exit 1; done`;
    loop.push({
      name: 'nsenter ipvsadm -R',
      run: () => namespaces.emptied(() => shellLoop(script, namespaces.paths), flushed),
    });
  }
  const compared = { operations: count, rounds: quick ? 2 : 5, rest: 200 };
  return [
    ...(await compare(`virtual-servers/${count}`, programs, compared)),
    // A process each, of a quarter of a second in User-mode Linux: once, compared with what was measured just before.
    ...(await compare(`virtual-servers/${count}`, loop, { ...compared, rounds: 1, warmUp: 0 })),
  ];
}

/** In a namespace whose loopback device is down, and that has no address, IPVS takes no server. */
async function loopbackUp(netns: NetNs): Promise<void> {
  await using links = Links.open({ netns });
  await links.set('lo', { up: true });
}

/** Empties the tables of IPVS. */
async function flushed(containers: readonly Container[]): Promise<void> {
  for (const { netns } of containers) {
    const ipvs = Ipvs.open({ netns });
    await ipvs.flush();
    await ipvs[Symbol.asyncDispose]();
  }
}

/** What the library sends to an empty container. */
async function datagrams(): Promise<Uint8Array[]> {
  const netns = NetNs.create();
  await loopbackUp(netns);
  const recorder = new Recorder(new NetlinkSocket({ netns, protocol: NETLINK_GENERIC }));
  const ipvs = new Ipvs(new Exchange(recorder, 'ipvs'));
  await ipvs.info();
  recorder.datagrams.length = 0;
  await ipvs.apply(operationsFor(SERVERS));
  await ipvs[Symbol.asyncDispose]();
  netns.close();
  return recorder.datagrams.slice(0, 1);
}
