import { setTimeout as delay } from 'node:timers/promises';
import { Container, Ipvs, type NetNs, Nftables, type Redirect } from 'netsteer';
import { counter, drop, ip, log, redirect, type Statement, Transaction, udp } from 'netsteer/nftables';
import { flood } from '../test/support/flood.ts';
import { forwarding } from './dataplane-ipvs.ts';
import { Lab } from './dataplane-lab.ts';
import { compare, type Result, type Sample, Unavailable } from './harness.ts';
import { compiled, missing } from './programs.ts';

const CLIENT = '10.1.0.1';
const CONTAINER = '10.1.0.2';
/** What clients connect to; the container has it on its loopback device, so that packets arrive without any rule, too. */
const ADDRESS = '10.9.0.100';
const SERVED = 8080;
const FIRST_PORT = 20_000;
const PORTS = 512;
/** Of 64 packets each, sent by turns from sockets of this number: a flow of its own for each of 32,256 packets (8 groups of ports, 63 sockets). */
const SOCKETS = 63;
const PACKETS = 32_000;
const GROUP = 5;
/** Many times the queue's own. */
const SETTLE_MILLISECONDS = 200;
const PLACE = { family: 'inet', table: 'bench' } as const;

interface Setting {
  readonly name: string;
  /** The port that the latency is asked at; what is redirected is served elsewhere. */
  readonly port: number;
  /** Programs the container; what it returns tells how many packets its reader has had. */
  set(container: Container): Promise<(() => Promise<number>) | undefined>;
}

const SETTINGS: readonly Setting[] = [
  { name: 'no rule', port: SERVED, set: async () => undefined },
  { name: 'nat chain without a rule', port: SERVED, set: container => chained(container, []) },
  { name: '1 REDIRECT rule', port: FIRST_PORT, set: container => chained(container, redirectRules(1)) },
  { name: '1,000 REDIRECT rules', port: FIRST_PORT, set: container => chained(container, redirectRules(1_000)) },
  { name: 'map of 1,000', port: FIRST_PORT, set: container => mapped(container, 1_000) },
  { name: 'map of 100,000', port: FIRST_PORT, set: container => mapped(container, 100_000) },
  { name: 'log rule, no reader', port: SERVED, set: container => logged(container, false) },
  { name: 'log rule, read', port: SERVED, set: container => logged(container, true) },
];

/** What the kernel does with packets once it is programmed, and with connections through IPVS where there is one. */
export async function dataplane(quick: boolean): Promise<Result[]> {
  if (compiled('visit') === undefined || compiled('flood') === undefined)
    throw new Unavailable('dataplane: its traffic needs a C compiler (apt-get install gcc libc6-dev)');
  const rounds = quick ? 3 : 7;
  const visits = quick ? 1_000 : 5_000;
  const results: Result[] = [];
  if (await hasNat()) {
    results.push(
      ...(await compare(
        'packets',
        SETTINGS.map(setting => ({ name: setting.name, run: () => packets(setting) })),
        {
          operations: PACKETS,
          rounds,
          rest: 200,
        },
      )),
      ...(await compare(
        'latency',
        SETTINGS.map(setting => ({ name: setting.name, run: () => latency(setting, visits) })),
        {
          operations: visits,
          rounds,
          rest: 200,
        },
      )),
    );
  } else {
    missing('nf_tables', 'this kernel has no inet family (--guest qemu has)');
  }
  if (await hasIpvs()) {
    // Kernels with IPVS are those of guests, where a connection takes up to 20 ms.
    const connections = quick ? 100 : 500;
    const programs = await forwarding(connections);
    results.push(...(await compare('ipvs-connections', programs, { operations: connections, rounds, rest: 200 })));
  } else {
    missing('IPVS', 'this kernel has none (--guest qemu or --guest uml)');
  }
  return results;
}

async function hasNat(): Promise<boolean> {
  return tried(netns => {
    using nft = Nftables.open({ netns });
    nft.sync.commit(natChain(), { dryRun: true });
  });
}

const hasIpvs = () =>
  tried(netns => {
    using ipvs = Ipvs.open({ netns });
    ipvs.sync.info();
  });

async function tried(ask: (netns: NetNs) => void): Promise<boolean> {
  const lab = new Lab();
  try {
    ask(lab.namespace());
    return true;
  } catch {
    return false;
  } finally {
    await lab.close();
  }
}

const natChain = (): Transaction =>
  new Transaction()
    .add({ table: { family: PLACE.family, name: PLACE.table } })
    .add({ chain: { ...PLACE, name: 'c', type: 'nat', hook: 'prerouting', priority: -100 } });

async function chained(container: Container, rules: readonly Statement[][]): Promise<undefined> {
  const transaction = natChain();
  for (const statements of rules) transaction.add({ rule: { ...PLACE, chain: 'c', statements } });
  await container.nftables.commit(transaction);
}

/** The last one takes the packets; the others are for ports that nobody asks. */
function redirectRules(count: number): Statement[][] {
  return [
    ...Array.from({ length: count - 1 }, (_, i) => [
      ip.daddr.eq(ADDRESS),
      udp.dport.eq(1 + i),
      redirect({ to: SERVED }),
    ]),
    [ip.daddr.eq(ADDRESS), udp.dport.between(FIRST_PORT, FIRST_PORT + PORTS - 1), redirect({ to: SERVED })],
  ];
}

async function mapped(container: Container, count: number): Promise<undefined> {
  const redirects: Redirect[] = Array.from({ length: count }, (_, i) => ({
    protocol: 'udp',
    address: i < PORTS ? ADDRESS : `10.8.${(i >> 8) & 0xff}.${i & 0xff}`,
    port: i < PORTS ? FIRST_PORT + i : 1 + (i >> 16),
    toPort: SERVED,
  }));
  await container.redirects.set(redirects);
}

async function logged(container: Container, read: boolean): Promise<(() => Promise<number>) | undefined> {
  const statements = [log({ group: GROUP, prefix: 'bench ' })];
  await container.nftables.commit(
    new Transaction()
      .add({ table: { family: PLACE.family, name: PLACE.table } })
      .add({ chain: { ...PLACE, name: 'c', type: 'filter', hook: 'input', priority: -10 } })
      .add({ rule: { ...PLACE, chain: 'c', statements } }),
  );
  if (!read) return undefined;
  let count = 0;
  const nflog = container.nflog({ groups: [GROUP], copy: 'meta', queue: { packets: 1000, milliseconds: 10 } });
  nflog.onBatch(batch => {
    count += batch.length;
  });
  return async () => {
    // What is on its way comes in batches, the last of them by the timer.
    for (let before = -1; before < count; await delay(SETTLE_MILLISECONDS)) before = count;
    await nflog[Symbol.asyncDispose]();
    return count;
  };
}

/** A client and a container that has nothing yet. */
async function inLab(work: (lab: Lab, client: NetNs, container: Container) => Promise<Sample>): Promise<Sample> {
  const lab = new Lab();
  try {
    const [client, inside] = [lab.namespace(), lab.namespace()];
    lab.connect('eth0', [client, `${CLIENT}/24`], [inside, `${CONTAINER}/24`]);
    lab.addAddress(inside, 'lo', `${ADDRESS}/32`);
    lab.route(client, `${ADDRESS}/32`, CONTAINER);
    await using container = Container.open({ netns: inside });
    return await work(lab, client, container);
  } finally {
    await lab.close();
  }
}

/** Packets of as many connections: counted and dropped behind the rules, so that nothing answers. */
function packets({ set }: Setting): Promise<Sample> {
  return inLab(async (_, client, container) => {
    const place = { family: 'inet', table: 'sink' } as const;
    const { nftables } = container;
    await nftables.commit(
      new Transaction()
        .add({ table: { family: 'inet', name: 'sink' } })
        .add({ chain: { ...place, name: 'c', type: 'filter', hook: 'input', priority: 10 } })
        .add({ rule: { ...place, chain: 'c', statements: [udp.dport.ne(1), counter(), drop()] } }),
    );
    const read = await set(container);
    const target = { address: ADDRESS, port: FIRST_PORT, ports: PORTS, sockets: SOCKETS, count: PACKETS };
    const { nanoseconds, cpuMicroseconds } = await flood(client, target);
    const arrived = read === undefined ? await countedBy(container) : await read();
    return { seconds: nanoseconds / 1e9, cpuMicroseconds, lost: PACKETS - arrived };
  });
}

async function countedBy({ nftables }: Container): Promise<number> {
  const rules = await nftables.rules({ family: 'inet', table: 'sink', chain: 'c' });
  const counters = rules.flatMap(({ expressions = [] }) =>
    expressions.flatMap(each => ('counter' in each ? [Number(each.counter.packets ?? 0n)] : [])),
  );
  return counters[0] ?? 0;
}

/** A datagram and its answer, each of a connection of its own. */
function latency({ port, set }: Setting, visits: number): Promise<Sample> {
  return inLab(async (lab, client, container) => {
    await lab.serve(container.netns, SERVED);
    const read = await set(container);
    const sample = await lab.visit(client, ['udp', ADDRESS, String(port), String(visits)]);
    await read?.();
    return sample;
  });
}
