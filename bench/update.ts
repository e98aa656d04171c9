import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Container, Fleet, NetNs, type Redirect } from 'netsteer';
import { NETLINK_NETFILTER } from 'netsteer/netlink';
import { prepare, type Transaction } from 'netsteer/nftables';
import { collectGarbage, compare, type Program, type Result, timed, timedEach } from './harness.ts';
import { compiled, timedFloor, writeDatagrams } from './programs.ts';

const CONTAINERS = 1_000;
const MAX_PAUSE_MILLISECONDS = 10;
const PORTS = 60_000;
const KEY = { key: 'ipv4_addr . inet_proto . inet_service', data: 'inet_service' } as const;

/** The redirect that a container gets in a round: another one in each. */
const redirectOf = (round: number): Redirect => ({
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
    const pause = await longestPause(containers, fleet, () => round++);
    console.log(`longest pause of the event loop in the promise form: ${pause.toFixed(1)} ms`);
    console.log(`memory of our own for each container: ${await bytesEach(namespaces)} bytes, in heap and buffers`);
    return results;
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
  const list: Program[] = [
    {
      name: 'netsteer',
      run: () => {
        const redirects = [redirectOf(next())];
        return timedEach(count, i => containers[i]!.redirects.sync.add(redirects));
      },
    },
    {
      name: 'netsteer, promises',
      run: () => {
        const redirects = [redirectOf(next())];
        return timedEach(count, i => containers[i]!.redirects.add(redirects));
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

async function longestPause(containers: readonly Container[], fleet: Fleet, next: () => number): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  for (let i = 0; i < 5; i++) {
    const state = { redirects: [redirectOf(next())] };
    await fleet.apply(containers, state);
  }
  delay.disable();
  return delay.max / 1e6;
}

/** What open containers hold, after ones that were closed again have shown what is shared. */
async function bytesEach(namespaces: readonly NetNs[]): Promise<number> {
  const held = () => {
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const settle = async () => {
    for (let i = 0; i < 3; i++) {
      collectGarbage({ type: 'major' });
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  };
  await settle();
  const before = held();
  const open = namespaces.map(netns => Container.open({ netns }));
  for (const { redirects } of open) redirects.sync.list();
  await settle();
  const each = Math.round((held() - before) / namespaces.length);
  await Promise.all(open.map(container => container[Symbol.asyncDispose]()));
  return each;
}
