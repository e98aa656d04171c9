import { writeFileSync } from 'node:fs';
import { NetNs } from 'netsteer';
import { Exchange, NETLINK_NETFILTER, NetlinkSocket } from 'netsteer/netlink';
import { type ElementValue, Nftables, prepare, type Rule, Transaction } from 'netsteer/nftables';
import { compare, type Program, type Result, timed, timedEach } from './harness.ts';
import {
  compiled,
  missing,
  scratch,
  timedCommand,
  timedFloor,
  versionOf,
  type Warm,
  writeDatagrams,
} from './programs.ts';
import { Recorder } from './record.ts';
import {
  CHAIN,
  iptablesText,
  mapText,
  plainRule,
  redirectElement,
  redirectRule,
  redirectText,
  redirectValues,
  TABLE,
} from './rules.ts';

/** Milliseconds for the kernel to free what a namespace held, for each rule in it. */
const REST_PER_RULE = 0.01;
const CHAIN_OBJECT = {
  family: 'ip',
  table: TABLE,
  name: CHAIN,
  type: 'nat',
  hook: 'prerouting',
  priority: -100,
} as const;

/** nf_tables beside nft and beside the kernel alone, each run in a namespace of its own. */
export async function nftables(quick: boolean): Promise<{ results: Result[]; versions: Record<string, string> }> {
  const nft = versionOf('nft', '--version');
  const iptables = versionOf('iptables-nft-restore', '--version');
  const floor = compiled('floor-netlink');
  const context: Context = { nft: nft !== undefined, iptables: iptables !== undefined, floor, quick };
  const results: Result[] = [];
  for (const count of quick ? [1_000, 10_000] : [1_000, 10_000, 50_000])
    results.push(...(await loading(count, context)));
  for (const count of quick ? [10_000] : [10_000, 100_000]) results.push(...(await mapping(count, context)));
  results.push(...(await oneRule(context)));
  for (const count of quick ? [1_000] : [1_000, 10_000, 50_000]) results.push(...(await oneMoreRule(count, context)));
  results.push(...(await oneMoreElement(quick ? 10_000 : 100_000, context)));
  results.push(...(await listing(quick ? 10_000 : 50_000, context)));
  const versions: Record<string, string> = {};
  if (nft !== undefined) versions.nft = nft;
  if (iptables !== undefined) versions.iptables = iptables;
  return { results, versions };
}

interface Context {
  readonly nft: boolean;
  readonly iptables: boolean;
  readonly floor: string | undefined;
  readonly quick: boolean;
}

/** Has V8 compile what a service that has run for a while would have compiled: by transactions of this many objects. */
const WARM_OBJECTS = 1_000;
const WARM_RUNS = 100;
/** Rounds of the whole, in which what surrounds the encoding is compiled. */
const WARM_UP = 3;
/** The floor's, as many as have been run here when the first round counts. */
const WARM: Warm = { rounds: WARM_UP, where: 'new' };

function warm(work: () => unknown): void {
  for (let i = 0; i < WARM_RUNS; i++) work();
}

/** From plain objects, or from nft's file, to the kernel's answer. */
async function loading(count: number, { nft, iptables, floor, quick }: Context): Promise<Result[]> {
  const rules = Array.from({ length: count }, (_, i) => plainRule(i));
  const built = Array.from({ length: count }, (_, i) => redirectRule(i));
  const encoded = transactionOf(rules);
  for (const some of [rules, built]) warm(() => transactionOf(some.slice(0, WARM_OBJECTS)).encode());
  const programs: Program[] = [
    { name: 'netsteer', run: () => inNew(handle => timed(() => handle.commit(transactionOf(rules)))) },
    { name: 'netsteer, builders', run: () => inNew(handle => timed(() => handle.commit(transactionOf(built)))) },
    { name: 'netsteer, encoded before', run: () => inNew(handle => timed(() => handle.commit(encoded))) },
  ];
  if (nft) {
    const file = scratch(`rules-${count}.nft`);
    writeFileSync(file, redirectText(count));
    const parameters = ['-f', file];
    programs.push({ name: 'nft', run: () => inNew((_, netns) => timedCommand({ program: 'nft', parameters, netns })) });
  }
  if (iptables) {
    const input = scratch(`rules-${count}.iptables`);
    writeFileSync(input, iptablesText(count));
    const command = { program: 'iptables-nft-restore', parameters: [], input };
    programs.push({
      name: 'iptables-nft-restore',
      run: () => inNew((_, netns) => timedCommand({ ...command, netns })),
    });
  }
  if (floor !== undefined) {
    const file = writeDatagrams(`rules-${count}`, await recorded(handle => handle.commit(encoded)));
    programs.push({
      name: 'floor',
      run: () => inNew((_, netns) => timedFloor(floor, NETLINK_NETFILTER, file, netns, WARM)),
    });
  }
  const rounds = quick ? 3 : count > 10_000 ? 7 : 11;
  return compare(`rules/${count}`, programs, {
    operations: count,
    rounds,
    warmUp: WARM_UP,
    rest: count * REST_PER_RULE,
  });
}

function transactionOf(rules: readonly Rule[]): Transaction {
  const transaction = new Transaction().add({ table: { family: 'ip', name: TABLE } }).add({ chain: CHAIN_OBJECT });
  for (const rule of rules) transaction.add({ rule });
  return transaction;
}

const MAP = { family: 'ip', table: TABLE, name: 'm', key: 'ipv4_addr . inet_service', data: 'inet_service' } as const;

function mapOf(elements: ElementValue[]): Transaction {
  return new Transaction().add({ table: { family: 'ip', name: TABLE } }).add({ map: { ...MAP, elements } });
}

/** A map of redirects, from values to the kernel's answer. */
async function mapping(count: number, { nft, floor, quick }: Context): Promise<Result[]> {
  const elements = Array.from({ length: count }, (_, i) => redirectElement(i));
  const encoded = mapOf(elements);
  warm(() => mapOf(elements.slice(0, WARM_OBJECTS)).encode());
  const programs: Program[] = [
    { name: 'netsteer', run: () => inNew(handle => timed(() => handle.commit(mapOf(elements)))) },
    { name: 'netsteer, encoded before', run: () => inNew(handle => timed(() => handle.commit(encoded))) },
  ];
  if (nft) {
    const file = scratch(`elements-${count}.nft`);
    writeFileSync(file, mapText(count));
    const parameters = ['-f', file];
    programs.push({ name: 'nft', run: () => inNew((_, netns) => timedCommand({ program: 'nft', parameters, netns })) });
  }
  if (floor !== undefined) {
    const file = writeDatagrams(`elements-${count}`, await recorded(handle => handle.commit(encoded)));
    programs.push({
      name: 'floor',
      run: () => inNew((_, netns) => timedFloor(floor, NETLINK_NETFILTER, file, netns, WARM)),
    });
  }
  return compare(`elements/${count}`, programs, { operations: count, rounds: quick ? 3 : 9, warmUp: WARM_UP });
}

/** Few, or the chain would be another one at the end. */
const MORE_RULES = 20;

/** One rule after the other at the end of a chain that has many. */
async function oneMoreRule(count: number, { floor, quick }: Context): Promise<Result[]> {
  const before = transactionOf(Array.from({ length: count }, (_, i) => plainRule(i)));
  const more = (i: number) => new Transaction().add({ rule: plainRule(count + i) });
  return changing(`one-more-rule/${count}`, before, more, { operations: MORE_RULES, rounds: quick ? 3 : 5, floor });
}

/** One element after the other in a map that has many. */
async function oneMoreElement(count: number, { floor, quick }: Context): Promise<Result[]> {
  const before = mapOf(Array.from({ length: count }, (_, i) => redirectElement(i)));
  const more = (i: number) =>
    new Transaction().add({
      element: { family: 'ip', table: TABLE, set: 'm', type: MAP, elements: [redirectElement(count + i)] },
    });
  const element = prepare(
    ({ address, port, toPort }) => ({
      element: { family: 'ip', table: TABLE, set: 'm', type: MAP, elements: [{ key: [address, port], data: toPort }] },
    }),
    { address: 'ipv4', port: 'port', toPort: 'port' },
  );
  const prepared = (i: number) => element.transaction(redirectValues(count + i));
  return changing(`one-more-element/${count}`, before, more, {
    operations: quick ? 200 : 1000,
    rounds: quick ? 3 : 5,
    floor,
    prepared,
  });
}

async function changing(
  name: string,
  before: Transaction,
  change: (i: number) => Transaction,
  {
    operations,
    rounds,
    floor,
    prepared,
  }: { operations: number; rounds: number; floor: string | undefined; prepared?: (i: number) => Transaction },
): Promise<Result[]> {
  const loaded = <T>(work: (handle: Nftables, netns: NetNs) => T | Promise<T>) =>
    inNew(async (handle, netns) => {
      await handle.commit(before);
      return work(handle, netns);
    });
  const programs: Program[] = [
    { name: 'netsteer', run: () => loaded(handle => timedEach(operations, i => handle.commit(change(i)))) },
    { name: 'netsteer, sync', run: () => loaded(handle => timedEach(operations, i => handle.sync.commit(change(i)))) },
  ];
  if (prepared !== undefined)
    programs.push({
      name: 'netsteer, prepared',
      run: () => loaded(handle => timedEach(operations, i => handle.sync.commit(prepared(i)))),
    });
  if (floor !== undefined) {
    const work = async (handle: Nftables) => {
      for (let i = 0; i < operations; i++) await handle.commit(change(i));
    };
    const file = writeDatagrams(name.replace('/', '-'), (await recorded(work, before)).slice(1));
    programs.push({
      name: 'floor',
      run: () => loaded((_, netns) => timedFloor(floor, NETLINK_NETFILTER, file, netns)),
    });
  }
  return compare(name, programs, { operations, rounds });
}

/** One rule takes the place of another: the chain does not grow, which would make each commit slower than the one before. */
async function oneRule({ nft, floor, quick }: Context): Promise<Result[]> {
  const count = quick ? 200 : 1_000;
  const change = (i: number) =>
    new Transaction().flush({ chain: { family: 'ip', table: TABLE, name: CHAIN } }).add({ rule: redirectRule(i) });
  const loaded = <T>(work: (handle: Nftables, netns: NetNs) => T | Promise<T>) =>
    inNew(async (handle, netns) => {
      await handle.commit(transactionOf([redirectRule(0)]));
      return work(handle, netns);
    });
  const programs: Program[] = [
    { name: 'netsteer', run: () => loaded(handle => timedEach(count, i => handle.commit(change(i)))) },
    { name: 'netsteer, sync', run: () => loaded(handle => timedEach(count, i => handle.sync.commit(change(i)))) },
  ];
  if (floor !== undefined) {
    const datagrams = await recorded(
      async handle => {
        for (let i = 0; i < count; i++) await handle.commit(change(i));
      },
      transactionOf([redirectRule(0)]),
    );
    const file = writeDatagrams('one-rule', datagrams.slice(1));
    programs.push({
      name: 'floor',
      run: () => loaded((_, netns) => timedFloor(floor, NETLINK_NETFILTER, file, netns)),
    });
  }
  const results = await compare('one-rule', programs, { operations: count, rounds: quick ? 3 : 9 });
  return nft ? [...results, ...(await oneRuleByNft(quick ? 10 : 50))] : results;
}

/** A process for each change: as those do that have nothing but the program. */
async function oneRuleByNft(count: number): Promise<Result[]> {
  const file = scratch('one-rule.nft');
  writeFileSync(
    file,
    `flush chain ip ${TABLE} ${CHAIN}\nadd rule ip ${TABLE} ${CHAIN} ip daddr 10.0.0.1 tcp dport 80 redirect to :8080\n`,
  );
  const run = () =>
    inNew(async (handle, netns) => {
      await handle.commit(transactionOf([redirectRule(0)]));
      const latencies: number[] = [];
      let cpuMicroseconds = 0;
      for (let i = 0; i < count; i++) {
        const sample = await timedCommand({ program: 'nft', parameters: ['-f', file], netns });
        latencies.push(sample.seconds);
        cpuMicroseconds += sample.cpuMicroseconds ?? 0;
      }
      return { seconds: latencies.reduce((sum, each) => sum + each, 0), cpuMicroseconds, latencies };
    });
  return compare('one-rule', [{ name: 'nft', run }], { operations: count, rounds: 3, warmUp: 0 });
}

/** Everything that one namespace holds, as objects and as the program's text. */
async function listing(count: number, { nft, floor, quick }: Context): Promise<Result[]> {
  return inNew(async (handle, netns) => {
    await handle.commit(transactionOf(Array.from({ length: count }, (_, i) => redirectRule(i))));
    const list = async () => {
      const { rules } = await handle.ruleset();
      if (rules.length !== count) throw new Error(`${rules.length} rules were listed instead of ${count}`);
    };
    const each = async () => {
      let seen = 0;
      for await (const _ of handle.eachRule()) seen++;
      if (seen !== count) throw new Error(`${seen} rules were listed instead of ${count}`);
    };
    const programs: Program[] = [
      { name: 'netsteer', run: () => timed(list) },
      { name: 'netsteer, sync', run: () => timed(() => handle.sync.ruleset()) },
      { name: 'netsteer, eachRule', run: () => timed(each) },
    ];
    if (nft) {
      for (const parameters of [
        ['list', 'ruleset'],
        ['-j', 'list', 'ruleset'],
      ]) {
        const json = parameters.length > 2;
        if (json && !(await nftHasJson(netns))) continue;
        programs.push({
          name: json ? 'nft -j' : 'nft',
          run: () => timedCommand({ program: 'nft', parameters, netns }),
        });
      }
    }
    if (floor !== undefined) {
      const file = writeDatagrams('list', await recorded(other => other.ruleset(), undefined, netns));
      const warm: Warm = { rounds: 1, where: 'here' };
      programs.push({ name: 'floor', run: () => timedFloor(floor, NETLINK_NETFILTER, file, netns, warm) });
    }
    return compare(`list/${count}`, programs, { operations: count, rounds: quick ? 3 : 7 });
  });
}

async function nftHasJson(netns: NetNs): Promise<boolean> {
  try {
    await timedCommand({ program: 'nft', parameters: ['-j', 'list', 'tables'], netns });
    return true;
  } catch {
    missing('nft -j', 'this nft is built without JSON');
    return false;
  }
}

/** The datagrams that an operation sends, in a namespace of its own unless told otherwise. */
async function recorded(
  work: (handle: Nftables) => Promise<unknown>,
  before?: Transaction,
  inside?: NetNs,
): Promise<Uint8Array[]> {
  const netns = inside ?? NetNs.create();
  const recorder = new Recorder(new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER }));
  const handle = new Nftables(new Exchange(recorder, 'nftables'));
  if (before !== undefined) await handle.commit(before);
  await work(handle);
  await handle[Symbol.asyncDispose]();
  if (inside === undefined) netns.close();
  return recorder.datagrams;
}

async function inNew<T>(work: (handle: Nftables, netns: NetNs) => T | Promise<T>): Promise<T> {
  const netns = NetNs.create();
  const handle = Nftables.open({ netns });
  try {
    return await work(handle, netns);
  } finally {
    await handle[Symbol.asyncDispose]();
    await netns[Symbol.asyncDispose]();
  }
}
