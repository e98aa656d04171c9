import { setTimeout } from 'node:timers/promises';
import { NetNs } from 'netsteer';
import { Exchange, NETLINK_NETFILTER, NetlinkSocket } from 'netsteer/netlink';
import {
  concat,
  type DesiredRuleset,
  dnat,
  goto,
  ip,
  meta,
  Nftables,
  numgen,
  type PlanScope,
  type ReconcileOptions,
  type Rule,
  RulesetMirror,
  Transaction,
  table,
  th,
} from 'netsteer/nftables';
import { compare, type Program, type Result, resultOf, type Sample, timed } from './harness.ts';
import { LoopProbe } from './loop-probe.ts';
import { compiled, timedFloor, writeDatagrams } from './programs.ts';
import { Recorder } from './record.ts';

const ENDPOINTS = 4;
/** Rounds until V8 has compiled what a service that has run for a while would have compiled. */
const WARM_UP = 5;
const OWNER = { comment: 'services' };
const balancer = table('ip', 'services');
const prerouting = balancer.chain('prerouting', { type: 'nat', hook: 'prerouting', priority: 'dstnat' });
const ways = balancer.map('ways', { key: 'ipv4_addr . inet_proto . inet_service', data: 'verdict' });
const endpointOf = (service: number, endpoint: number) => balancer.chain(`endpoint-${service}-${endpoint}`);
const addressOf = (service: number, last: number) => `10.${service >> 8}.${service & 0xff}.${last}`;
const wayTo = (service: number, endpoint: number, last = endpoint): Rule =>
  endpointOf(service, endpoint).rule([meta.l4proto.eq('tcp'), dnat({ to: addressOf(service, last), port: 8080 })]).rule;

/** What a balancer of Kubernetes' kind wants: a map of services, and for each a chain that chooses one of the chains of its endpoints. */
function services(count: number): Required<Pick<DesiredRuleset, 'tables' | 'chains' | 'sets' | 'rules'>> {
  const chains = [prerouting.chain];
  const key = concat(ip.daddr, meta.l4proto, th.dport);
  const rules: Rule[] = [prerouting.rule([key.vmap(ways.reference)]).rule];
  const elements = [];
  for (let i = 0; i < count; i++) {
    const service = balancer.chain(`service-${i}`);
    const choices = Array.from({ length: ENDPOINTS }, (_, k) => [k, goto(`endpoint-${i}-${k}`)] as const);
    for (const [k] of choices) {
      chains.push(endpointOf(i, k).chain);
      rules.push(wayTo(i, k));
    }
    chains.push(service.chain);
    rules.push(service.rule([numgen('random', ENDPOINTS).vmap(choices)]).rule);
    const data = { verdict: 'goto', chain: `service-${i}` } as const;
    elements.push({ key: [`10.96.${i >> 8}.${i & 0xff}`, 'tcp', 80], data });
  }
  return { tables: [balancer.table], chains, sets: [{ ...ways.map, elements }], rules };
}

/** A ruleset that is as it is wanted, and one that differs in a rule. */
export async function reconcile(quick: boolean): Promise<Result[]> {
  return [...(await nothingToDo(500, quick ? 5 : 15)), ...(await oneEndpoint(quick ? 500 : 2_000, quick ? 5 : 15))];
}

/** Reads and compares. The floor asks the kernel the same questions. */
async function nothingToDo(count: number, rounds: number): Promise<Result[]> {
  const desired = services(count);
  return inNew(async (nft, netns) => {
    await nft.reconcile(desired, OWNER);
    const pauses: Sample[] = [];
    let settled = 0;
    const check = ({ operations }: { operations: readonly unknown[] }) => {
      if (operations.length > 0) throw new Error(`${operations.length} operations where nothing was to be done`);
    };
    const programs: Program[] = [
      {
        name: 'netsteer',
        run: async () => {
          const probe = new LoopProbe();
          const sample = await timed(async () => check(await nft.reconcile(desired, OWNER)));
          const { own } = probe.stop();
          if (settled++ >= WARM_UP) pauses.push({ seconds: own / 1000 });
          return sample;
        },
      },
      {
        name: 'netsteer, made anew',
        run: () => {
          const again = services(count);
          return timed(async () => check(await nft.reconcile(again, OWNER)));
        },
      },
      {
        name: 'netsteer, sync',
        run: () => timed(() => check(nft.sync.reconcile(desired, OWNER))),
      },
    ];
    const floor = compiled('floor-netlink');
    if (floor !== undefined) {
      const file = writeDatagrams('reconcile', await recorded(netns, other => other.reconcile(desired, OWNER)));
      programs.push({ name: 'floor', run: () => timedFloor(floor, NETLINK_NETFILTER, file, netns) });
    }
    const name = `nothing-to-do/${count}x${ENDPOINTS}`;
    const results = await compare(name, programs, { rounds, warmUp: WARM_UP });
    return [...results, resultOf(`${name}/longest-pause`, 'netsteer', pauses)];
  });
}

/** The address of one endpoint changes. The floor empties its chain, and adds the rule. */
async function oneEndpoint(count: number, rounds: number): Promise<Result[]> {
  const desired = services(count);
  const [service, endpoint] = [count >> 1, 2];
  const { chain } = endpointOf(service, endpoint);
  const place = desired.rules.findIndex(rule => rule.chain === chain.name);
  let last = 10;
  /** The address is another one each time. */
  const next = (): DesiredRuleset => {
    last = last === 10 ? 11 : 10;
    const changed = wayTo(service, endpoint, last);
    return { ...desired, rules: desired.rules.map((rule, i) => (i === place ? changed : rule)) };
  };
  const only: PlanScope[] = [{ chain }];
  return inNew(async (nft, netns) => {
    await nft.reconcile(desired, OWNER);
    // As a program has one: kept by a monitor, which is not part of what is measured.
    const mirror = new RulesetMirror();
    const monitor = nft.monitor({ initial: true });
    const following = (async () => {
      for await (const item of monitor) mirror.apply(item);
    })();
    const run = (
      name: string,
      options: (mirror: RulesetMirror) => Pick<ReconcileOptions, 'only' | 'mirror'>,
    ): Program => ({
      name,
      run: async () => {
        await told(nft, mirror);
        const parts = options(mirror);
        const wanted = next();
        return timed(() => nft.reconcile(wanted, { ...OWNER, ...parts }));
      },
    });
    const programs: Program[] = [
      run('netsteer, only the chain', () => ({ only })),
      run('netsteer, only the chain, a mirror', mirror => ({ only, mirror })),
      run('netsteer, a mirror', mirror => ({ mirror })),
      run('netsteer', () => ({})),
    ];
    const floor = compiled('floor-netlink');
    if (floor !== undefined) {
      const transaction = new Transaction().flush({ chain }).add({ rule: wayTo(service, endpoint) });
      const file = writeDatagrams('one-endpoint', [transaction.encode().bytes]);
      programs.push({ name: 'floor', run: () => timedFloor(floor, NETLINK_NETFILTER, file, netns) });
    }
    try {
      return await compare(`one-endpoint/${count}x${ENDPOINTS}`, programs, { rounds, warmUp: WARM_UP });
    } finally {
      monitor.close();
      await following;
    }
  });
}

/** Waits until the mirror has been told of the last commit. */
async function told(nft: Nftables, mirror: RulesetMirror): Promise<void> {
  const generation = await nft.generation();
  while (mirror.generation !== generation) await setTimeout(5);
}

/** The datagrams that an operation sends. */
async function recorded(netns: NetNs, work: (handle: Nftables) => Promise<unknown>): Promise<Uint8Array[]> {
  const recorder = new Recorder(new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER }));
  await using handle = new Nftables(new Exchange(recorder, 'nftables'));
  await work(handle);
  return recorder.datagrams;
}

async function inNew<T>(work: (handle: Nftables, netns: NetNs) => Promise<T>): Promise<T> {
  const netns = NetNs.create();
  try {
    await using handle = Nftables.open({ netns });
    return await work(handle, netns);
  } finally {
    netns.close();
  }
}
