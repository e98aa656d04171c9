import { Container, NetNs, type Redirect } from 'netsteer';
import { NETLINK_NETFILTER } from 'netsteer/netlink';
import { Transaction } from 'netsteer/nftables';
import { compare, type Program, type Result, timed, timedEach } from './harness.ts';
import { compiled, timedFloor, writeDatagrams } from './programs.ts';

/** Rounds until V8 has compiled what a service that has run for a while would have compiled. */
const WARM_UP = 4;
const KEY = 'ipv4_addr . inet_proto . inet_service';
const DATA = 'inet_service';
const FEWER = 20_000;

/** One with an address and a port. */
type Exact = Redirect & { address: string; port: number };

const redirectOf = (index: number): Exact => ({
  protocol: 'tcp',
  address: `10.${20 + (index >> 16)}.${(index >> 8) & 0xff}.${index & 0xff}`,
  port: 80,
  toPort: 8080,
});

/**
 * Many redirects of one container by `container.redirects`, and one more beside 20,000 of them. The floor is the kernel's time for the
 * elements.
 */
export async function manyRedirects(quick: boolean): Promise<Result[]> {
  const rounds = quick ? 3 : 7;
  const results: Result[] = [];
  for (const count of quick ? [FEWER] : [FEWER, 100_000]) results.push(...(await atOnce(count, rounds)));
  return [...results, ...(await oneMore(redirectsOf(FEWER), quick ? 200 : 1_000, rounds))];
}

const redirectsOf = (count: number): Exact[] => Array.from({ length: count }, (_, i) => redirectOf(i));

async function atOnce(count: number, rounds: number): Promise<Result[]> {
  const redirects = redirectsOf(count);
  const floor = compiled('floor-netlink');
  const setting: Program[] = [
    { name: 'netsteer', run: () => inNew(container => timed(() => container.redirects.set(redirects))) },
    { name: 'netsteer, sync', run: () => inNew(container => timed(() => container.redirects.sync.set(redirects))) },
  ];
  if (floor !== undefined) {
    const file = writeDatagrams('redirects', [elementsOf(redirects).encode().bytes]);
    setting.push({
      name: 'floor',
      run: () =>
        inNew(async container => {
          await container.redirects.set([]);
          return timedFloor(floor, NETLINK_NETFILTER, file, container.netns);
        }),
    });
  }
  return compare(`redirects/${count}`, setting, { operations: count, rounds, warmUp: WARM_UP, rest: 500 });
}

async function oneMore(redirects: readonly Exact[], more: number, rounds: number): Promise<Result[]> {
  const { length } = redirects;
  let next = length;
  return inNew(async ({ redirects: handle, netns }) => {
    await handle.set(redirects);
    const programs: Program[] = [
      { name: 'netsteer, sync', run: () => timedEach(more, () => handle.sync.add([redirectOf(next++)])) },
      { name: 'netsteer', run: () => timedEach(more, () => handle.add([redirectOf(next++)])) },
    ];
    const floor = compiled('floor-netlink');
    if (floor !== undefined)
      programs.push({
        name: 'floor',
        run: () => {
          const datagrams = Array.from({ length: more }, () => elementsOf([redirectOf(next++)]).encode().bytes);
          return timedFloor(floor, NETLINK_NETFILTER, writeDatagrams('one-redirect', datagrams), netns);
        },
      });
    return compare(`one-redirect-beside/${length}`, programs, { operations: more, rounds });
  });
}

/** The elements alone, as they go into the map that `container.redirects` has made. */
function elementsOf(redirects: readonly Exact[]): Transaction {
  const elements = redirects.map(({ protocol, address, port, toPort = port }) => ({
    key: [address, protocol, port],
    data: toPort,
  }));
  const place = { family: 'inet', table: 'netsteer-redirects', set: 'ipv4', type: { key: KEY, data: DATA } } as const;
  return new Transaction().add({ element: { ...place, elements } });
}

async function inNew<T>(work: (container: Container) => Promise<T>): Promise<T> {
  const netns = NetNs.create();
  try {
    await using container = Container.open({ netns });
    return await work(container);
  } finally {
    netns.close();
  }
}
