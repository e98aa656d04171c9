import { readFileSync } from 'node:fs';
import { NetNs, Nftables } from 'netsteer';
import { configureOffThread, NETLINK_NETFILTER, NetlinkSocket } from 'netsteer/netlink';
import { ip, redirect, Transaction, tcp } from 'netsteer/nftables';
import { compare, type Program, type Result, type Sample, timed } from './harness.ts';

const TABLE = { family: 'ip', table: 'away' } as const;
/** From 2 KiB to 1 MiB. */
const RULES = [8, 32, 128, 512, 4_096];
const NEVER = 0x7fffffff;
const SOCKETS = 500;
/** Namespaces that get a large commit at once, with so many threads. */
const AT_ONCE = 8;
const AT_ONCE_RULES = 2_048;
const THREADS = [1, 2, 3];

/**
 * Where the threshold of `configureOffThread` comes from: transactions of several sizes, on the spot and away from the thread. `commit/BYTES` is
 * the time to the kernel's answer, `held/BYTES` what the calling thread itself ran for it. And sockets that are closed away from the thread, one
 * by one and many at once. `commits-at-once/N` is what more threads bring.
 */
export async function leaving(quick: boolean): Promise<Result[]> {
  const rounds = quick ? 3 : 7;
  const results: Result[] = [];
  const before = configureOffThread();
  try {
    for (const rules of RULES) {
      const transaction = rulesetOf(rules);
      const size = `${Math.round(transaction.encode().bytes.length / 1024)}KiB`;
      const times = rules > 1_000 ? 5 : 50;
      const commits = (measure: Measure): Program[] => [
        { name: 'on the spot', run: () => committing(transaction, NEVER, times, measure) },
        { name: 'away', run: () => committing(transaction, 0, times, measure) },
      ];
      results.push(
        ...(await compare(`commit/${size}`, commits(timed), { operations: times, rounds })),
        ...(await compare(`held/${size}`, commits(running), { operations: times, rounds })),
      );
    }
    results.push(...(await compare(`commits-at-once/${AT_ONCE}`, byThreads(), { operations: AT_ONCE, rounds })));
  } finally {
    configureOffThread(before);
  }
  return [...results, ...(await compare('close', closing(), { operations: SOCKETS, rounds, rest: 100 }))];
}

type Measure = (work: () => Promise<void>) => Promise<Sample>;

function rulesetOf(count: number): Transaction {
  const chain = { ...TABLE, name: 'c', type: 'nat', hook: 'prerouting', priority: -100 } as const;
  // The same each time: it replaces what the one before has made.
  const transaction = new Transaction()
    .add({ table: { family: 'ip', name: TABLE.table } })
    .add({ chain })
    .flush({ chain: { ...TABLE, name: 'c' } });
  for (let i = 0; i < count; i++) {
    const statements = [ip.daddr.eq('10.0.0.1'), tcp.dport.eq(1 + i), redirect({ to: 8080 })];
    transaction.add({ rule: { ...TABLE, chain: 'c', statements } });
  }
  return transaction;
}

async function committing(transaction: Transaction, bytes: number, times: number, measure: Measure): Promise<Sample> {
  const netns = NetNs.create();
  const nft = Nftables.open({ netns });
  configureOffThread({ bytes });
  try {
    await nft.commit(transaction);
    return await measure(async () => {
      for (let i = 0; i < times; i++) await nft.commit(transaction);
    });
  } finally {
    await nft[Symbol.asyncDispose]();
    netns.close();
  }
}

/** Large commits to several namespaces at once, which libuv's pool and the kernel share out. */
function byThreads(): Program[] {
  const transaction = rulesetOf(AT_ONCE_RULES);
  const run = (threads: number) => async (): Promise<Sample> => {
    const namespaces = Array.from({ length: AT_ONCE }, () => NetNs.create());
    const handles = namespaces.map(netns => Nftables.open({ netns }));
    configureOffThread({ threads, bytes: 0 });
    try {
      return await timed(() => Promise.all(handles.map(handle => handle.commit(transaction))));
    } finally {
      await Promise.all(handles.map(handle => handle[Symbol.asyncDispose]()));
      for (const netns of namespaces) netns.close();
    }
  };
  return THREADS.map(threads => ({ name: `${threads} ${threads === 1 ? 'thread' : 'threads'}`, run: run(threads) }));
}

/** The time for which this thread had a processor meanwhile, in the kernel too. */
async function running(work: () => Promise<void>): Promise<Sample> {
  const before = ranSeconds();
  await work();
  return { seconds: ranSeconds() - before };
}

const ranSeconds = (): number => Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ', 1)[0]) / 1e9;

function closing(): Program[] {
  const opened = (close: (sockets: NetlinkSocket[]) => Promise<void>) => async (): Promise<Sample> => {
    const netns = NetNs.create();
    const sockets = Array.from({ length: SOCKETS }, () => new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER }));
    const sample = await timed(() => close(sockets));
    netns.close();
    return sample;
  };
  return [
    {
      name: 'away, one by one',
      run: opened(async sockets => {
        for (const socket of sockets) await socket.close();
      }),
    },
    {
      name: 'away, 50 at a time',
      run: opened(async sockets => {
        while (sockets.length > 0) await Promise.all(sockets.splice(0, 50).map(socket => socket.close()));
      }),
    },
  ];
}
