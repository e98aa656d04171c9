import { runInNewContext } from 'node:vm';
import { Container, Fleet, NetNs, type Redirect } from 'netsteer';
import { NETLINK_NETFILTER } from 'netsteer/netlink';
import { prepare, type Transaction } from 'netsteer/nftables';
import { compare, type Program, type Result, resultOf, type Sample, timed, timedEach } from './harness.ts';
import { LoopProbe } from './loop-probe.ts';
import { compiled, timedFloor, writeDatagrams } from './programs.ts';
import { manyRedirects } from './redirects.ts';

const CONTAINERS = 1_000;
const MAX_PAUSE_MILLISECONDS = 10;
const PORTS = 60_000;
const PAUSE_ROUNDS = 5;
const WARM_UP_ROUNDS = 2;
const RUNS_TOGETHER = 3;
const GROWTH_ROUNDS = 100;
/** The collector, which the harness has exposed. Without an argument it takes all garbage; with one, Node 20 takes only the young. */
const collectAll = runInNewContext('gc') as () => void;
const KEY = { key: 'ipv4_addr . inet_proto . inet_service', data: 'inet_service' } as const;

/** The redirect that a container gets in a round: another one in each. */
const redirectOf = (round: number): Redirect & { address: string; port: number } => ({
  protocol: 'tcp',
  address: '10.10.0.100',
  port: 1 + (round % PORTS),
  toPort: 8080,
});

/** A running fleet: one change for each container, round after round. */
export async function update(quick: boolean): Promise<Result[]> {
  const count = quick ? CONTAINERS / 4 : CONTAINERS;
  const namespaces = Array.from({ length: count }, () => NetNs.create());
  const containers = namespaces.map(netns => Container.open({ netns }));
  const fleet = Fleet.open({ maxSockets: 2 * count, maxPauseMs: MAX_PAUSE_MILLISECONDS });
  let round = 0;
  try {
    await fleet.apply(containers, { redirects: [] });
    for (const { redirects } of containers) await redirects.list();
    const results = await compare(
      `containers/${count}`,
      programs(containers, fleet, () => round++),
      {
        operations: count,
        rounds: quick ? 5 : 15,
      },
    );
    results.push(...(await pauses(containers, fleet, () => round++)));
    await growth(containers, fleet, () => round++, quick ? 20 : GROWTH_ROUNDS);
    console.log(`memory of our own for each container: ${await bytesEach(namespaces)} bytes, in heap and buffers`);
    return [...results, ...(await manyRedirects(quick))];
  } finally {
    await fleet[Symbol.asyncDispose]();
    await Promise.all(containers.map(container => container[Symbol.asyncDispose]()));
    await Promise.all(namespaces.map(netns => netns[Symbol.asyncDispose]()));
  }
}

function programs(containers: readonly Container[], fleet: Fleet, next: () => number): Program[] {
  const count = containers.length;
  const element = prepare(
    ({ address, port, toPort }) => ({
      element: {
        family: 'inet' as const,
        table: 'netsteer-redirects',
        set: 'ipv4',
        type: KEY,
        elements: [{ key: [address, 'tcp', port], data: toPort }],
      },
    }),
    { address: 'ipv4', port: 'port', toPort: 'port' },
  );
  const stamped = (round: number): Transaction => {
    const { address, port, toPort = port } = redirectOf(round);
    return element.transaction({ address, port, toPort });
  };
  // The programs below commit to the same containers. A handle that has read the table since adds a redirect with one send.
  const read = () => {
    for (const { redirects } of containers) redirects.sync.adopt();
  };
  const list: Program[] = [
    {
      name: 'netsteer',
      run: () => {
        read();
        const redirects = [redirectOf(next())];
        return timedEach(count, i => containers[i]!.redirects.sync.add(redirects));
      },
    },
    {
      name: 'netsteer, promises',
      run: () => {
        read();
        const redirects = [redirectOf(next())];
        return timedEach(count, i => containers[i]!.redirects.add(redirects));
      },
    },
    {
      name: 'netsteer, others have committed',
      run: () => {
        for (const { nftables } of containers) nftables.sync.commit(stamped(0));
        const redirects = [redirectOf(next())];
        return timedEach(count, i => containers[i]!.redirects.sync.add(redirects));
      },
    },
    {
      name: 'netsteer, a prepared element',
      run: () => {
        const round = next();
        return timedEach(count, i => containers[i]!.nftables.sync.commit(stamped(round)));
      },
    },
    {
      name: 'netsteer, the whole fleet',
      run: () => {
        const transaction = stamped(next());
        return timed(() => fleet.apply(containers, { transaction }));
      },
    },
  ];
  const floor = compiled('floor-netlink');
  if (floor !== undefined) {
    // One namespace takes all of them: what it costs to go from one to the next is not in the floor.
    const { netns } = containers[0]!;
    list.push({
      name: 'floor',
      run: () => {
        const datagrams = Array.from({ length: count }, () => stamped(next()).encode().bytes);
        return timedFloor(floor, NETLINK_NETFILTER, writeDatagrams('update', datagrams), netns);
      },
    });
  }
  return list;
}

/** Changes of redirects by the promise form, run behind run: the longest pause of the event loop in each, and how much of it the thread ran. */
async function pauses(containers: readonly Container[], fleet: Fleet, next: () => number): Promise<Result[]> {
  const wall: Sample[] = [];
  const own: Sample[] = [];
  for (let i = -WARM_UP_ROUNDS; i < PAUSE_ROUNDS; i++) {
    const probe = new LoopProbe();
    // Nothing in between lets the event loop go.
    for (let run = 0; run < RUNS_TOGETHER; run++) await fleet.apply(containers, { redirects: [redirectOf(next())] });
    const longest = probe.stop();
    if (i < 0) continue;
    wall.push({ seconds: longest.wall / 1000 });
    own.push({ seconds: longest.own / 1000 });
  }
  const name = `longest-pause/${MAX_PAUSE_MILLISECONDS}ms`;
  return [
    resultOf(name, 'netsteer', wall),
    // On a machine that does other things too, only this is ours.
    resultOf(name, 'netsteer, running', own),
  ];
}

/** What is held after so many rounds, beside what was held after a tenth of them. */
async function growth(
  containers: readonly Container[],
  fleet: Fleet,
  next: () => number,
  rounds: number,
): Promise<void> {
  let early = 0;
  for (let i = 1; i <= rounds; i++) {
    await fleet.apply(containers, { redirects: [redirectOf(next())] });
    if (i === rounds / 10) early = await settledBytes();
  }
  const each = ((await settledBytes()) - early) / containers.length;
  console.log(`growth over ${rounds} rounds: ${each.toFixed(0)} bytes for each container`);
}

/** Heap and buffers that are reachable: asked until they do not shrink any more, since buffers are given back in the background. */
async function settledBytes(): Promise<number> {
  for (let last = Number.POSITIVE_INFINITY; ; ) {
    collectAll();
    await new Promise(resolve => setTimeout(resolve, 100));
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    if (heapUsed + arrayBuffers >= last) return last;
    last = heapUsed + arrayBuffers;
  }
}

/** What open containers hold, after ones that were closed again have shown what is shared. */
async function bytesEach(namespaces: readonly NetNs[]): Promise<number> {
  const before = await settledBytes();
  const open = namespaces.map(netns => Container.open({ netns }));
  for (const { redirects } of open) redirects.sync.list();
  const each = Math.round(((await settledBytes()) - before) / namespaces.length);
  await Promise.all(open.map(container => container[Symbol.asyncDispose]()));
  return each;
}
