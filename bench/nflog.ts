import { setTimeout as delay } from 'node:timers/promises';
import { Links, NetNs } from 'netsteer';
import { log, Nftables, Transaction } from 'netsteer/nftables';
import { type Flood, flood } from '../test/support/flood.ts';
import { compare, type Program, type Result, resultOf, type Sample } from './harness.ts';
import {
  counted,
  eachPacket,
  floor,
  type Reader,
  tcpdump,
  toJson,
  toPcap,
  toPcapng,
  ulogdJson,
  ulogdPcap,
} from './nflog-readers.ts';
import { compiled } from './programs.ts';

const GROUP = 5;
const SIZES = [64, 128, 1500];
/** What is asked of every reader without batches. */
const UNBATCHED_RATE = 150_000;
const JSON_RATE = 50_000;
const LATENCY_RATE = 20_000;
/** A run holds its rate when the generator has reached so much of it. */
const REACHED = 0.95;

interface Case {
  readonly name: string;
  readonly unbatched: boolean;
  /** Bytes of each packet, all of them copied. */
  readonly size: number;
  readonly count: number;
  /** Packets a second; the generator's best where left out. */
  readonly rate?: number;
  readonly latencies?: boolean;
}

/** One flood, read by one reader after the other: packets lost, processor time, latency, and the highest rate without loss. */
export async function nflog(quick: boolean): Promise<{ results: Result[]; versions: Record<string, string> }> {
  if (compiled('flood') === undefined) throw new Error('the flood needs a C compiler');
  const [dump, daemon, json, bottom] = [tcpdump(), ulogdPcap(), ulogdJson(), floor()];
  const peers = [dump?.reader, daemon?.reader, bottom].filter(each => each !== undefined);
  const counting = [counted, ...peers];
  const jsonWriters = [toJson, json].filter(each => each !== undefined);
  const versions: Record<string, string> = {};
  if (dump) versions.tcpdump = dump.version;
  if (daemon) versions.ulogd2 = daemon.version;

  const rounds = quick ? 3 : 7;
  const results: Result[] = [];
  const measure = async (readers: readonly Reader[], each: Case) =>
    results.push(
      ...(await inPlace(each, netns =>
        compare(each.name, programsOf(readers, each, netns), { rounds, operations: each.count }),
      )),
    );
  const sizes = quick ? [64] : SIZES;
  for (const size of sizes) {
    const count = quick ? 100_000 : 300_000;
    await measure([counted, eachPacket, toPcap, toPcapng, ...peers], {
      name: `batched/${size}`,
      unbatched: false,
      size,
      count,
    });
    const rate = UNBATCHED_RATE;
    await measure(counting, { name: `unbatched/${size}`, unbatched: true, size, rate, count: quick ? rate / 2 : rate });
  }
  const jsonCount = quick ? JSON_RATE / 2 : JSON_RATE;
  await measure(jsonWriters, { name: 'json/128', unbatched: false, size: 128, rate: JSON_RATE, count: jsonCount });
  for (const unbatched of [false, true]) {
    const name = `latency/${unbatched ? 'unbatched' : 'batched'}`;
    const count = quick ? LATENCY_RATE / 4 : LATENCY_RATE;
    await measure(counting, { name, unbatched, size: 128, rate: LATENCY_RATE, count, latencies: true });
  }
  for (const size of sizes) {
    for (const unbatched of [false, true]) {
      const name = `lossless/${unbatched ? 'unbatched' : 'batched'}/${size}`;
      results.push(...(await highestRates(counting, { name, unbatched, size, count: 0 }, quick)));
    }
  }
  return { results, versions };
}

/** A namespace whose packets are logged when they are sent, and dropped when they come back. */
async function inPlace<T>({ unbatched, size }: Case, work: (netns: NetNs) => Promise<T>): Promise<T> {
  const netns = NetNs.create();
  const links = Links.open({ netns });
  const nft = Nftables.open({ netns });
  try {
    links.sync.set('lo', { up: true });
    const chain = { family: 'ip', table: 'bench', type: 'filter' } as const;
    const statement = log({ group: GROUP, snaplen: size, ...(unbatched && { queueThreshold: 1 }) });
    nft.sync.commit(
      new Transaction()
        .add({ table: { family: 'ip', name: 'bench' } })
        .add({ chain: { ...chain, name: 'sent', hook: 'output', priority: 0 } })
        .add({ rule: { family: 'ip', table: 'bench', chain: 'sent', statements: [statement] } })
        .add({ chain: { ...chain, name: 'returned', hook: 'prerouting', priority: -300, policy: 'drop' } }),
    );
    return await work(netns);
  } finally {
    links.close();
    nft.close();
    netns.close();
  }
}

function programsOf(readers: readonly Reader[], each: Case, netns: NetNs): Program[] {
  return readers.map(reader => ({ name: reader.name, run: () => floodRead(reader, each, netns) }));
}

async function floodRead(reader: Reader, each: Case, netns: NetNs): Promise<Sample & { rate: number }> {
  const { unbatched, latencies = false, size, count, rate } = each;
  const running = await reader.start({ netns, group: GROUP, unbatched, latencies });
  const options: Flood = {
    count,
    size,
    ...(rate !== undefined && { rate, batch: latencies ? 1 : Math.max(1, Math.round(rate / 10_000)) }),
  };
  const { nanoseconds } = await flood(netns, options, () => running.mark());
  // What was lost at the end shows in the number of one more packet, for which there must be room.
  await delay(100);
  // Starting the generator is no work of a reader that shares this process.
  const before = process.cpuUsage();
  let starting = 0;
  await flood(netns, { count: 1, size }, () => {
    const { user, system } = process.cpuUsage(before);
    starting = user + system;
  });
  const reading = await running.finish(count + 1, starting);
  const { received, cpuMicroseconds, latencies: seen, latencyMicroseconds } = reading;
  return {
    seconds: nanoseconds / 1e9,
    rate: count / (nanoseconds / 1e9),
    cpuMicroseconds: cpuMicroseconds / Math.max(1, received),
    lost: count + 1 - received,
    ...(latencies && seen && { latencies: seen.map(microseconds => microseconds / 1e6) }),
    ...(latencies && latencyMicroseconds && { latencyMicroseconds }),
  };
}

/** The highest rate at which each reader lost nothing: all of them take each step before the next one. */
async function highestRates(readers: readonly Reader[], each: Case, quick: boolean): Promise<Result[]> {
  const seconds = quick ? 0.3 : 1;
  return inPlace(each, async netns => {
    const searches = readers.map(reader => new Search(reader));
    const best = (await flood(netns, { count: 200_000, size: each.size })).nanoseconds;
    const most = Math.round((200_000 / best) * 1e9 * seconds);
    for (let step = 0; step < (quick ? 4 : 7); step++) {
      for (const search of searches) {
        if (search.done) continue;
        const { rate } = search;
        const count = rate === undefined ? most : Math.round(rate * seconds);
        search.learn(await floodRead(search.reader, { ...each, count, ...(rate !== undefined && { rate }) }, netns));
      }
    }
    return searches.map(search => search.result(each.name));
  });
}

class Search {
  readonly reader: Reader;
  /** The next one to try; the generator's best at first. */
  rate: number | undefined;
  done = false;
  #runs = 0;
  #low = 0;
  #high = Number.POSITIVE_INFINITY;
  #best: (Sample & { rate: number }) | undefined;

  constructor(reader: Reader) {
    this.reader = reader;
  }

  learn(sample: Sample & { rate: number }): void {
    this.#runs++;
    if (sample.lost === 0) {
      if (this.#best === undefined || sample.rate > this.#best.rate) this.#best = sample;
      this.#low = Math.max(this.#low, sample.rate);
      // The generator can do no more, or not so much more that it would be worth another step.
      this.done = this.rate === undefined || sample.rate < this.rate * REACHED;
    } else {
      this.#high = Math.min(this.#high, sample.rate);
    }
    this.rate = Math.round((this.#low + this.#high) / 2);
    if (this.#high - this.#low < this.#high * (1 - REACHED)) this.done = true;
  }

  result(name: string): Result {
    const best = this.#best ?? { seconds: 0, rate: 0 };
    const result = resultOf(name, this.reader.name, [best], best.rate * best.seconds);
    return { ...result, runs: this.#runs, operationsPerSecond: best.rate };
  }
}
