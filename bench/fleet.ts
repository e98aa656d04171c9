import { writeFileSync } from 'node:fs';
import { Container, Fleet, NetNs } from 'netsteer';
import { NETLINK_NETFILTER } from 'netsteer/netlink';
import { ip, log, redirect, Transaction, tcp } from 'netsteer/nftables';
import { compare, type Program, type Result, type Sample, timed } from './harness.ts';
import { compiled, finished, missing, scratch, timedCommand, versionOf, writeDatagrams } from './programs.ts';

const TABLE = 'fleet';
const REDIRECTED = [80, 443, 8000];
const ADDRESS = '10.10.0.100';
const GROUP = 5;
/** Programs that are started for each container take minutes for more. */
const MOST_WITH_A_PROCESS_EACH = 1_000;

/** What each container gets: a table, a nat chain, three redirects and a log rule. */
function desired(): Transaction {
  const place = { family: 'ip', table: TABLE } as const;
  const chain = { ...place, name: 'c', type: 'nat', hook: 'prerouting', priority: -100 } as const;
  const transaction = new Transaction().add({ table: { family: 'ip', name: TABLE } }).add({ chain });
  for (const port of REDIRECTED) {
    const statements = [ip.daddr.eq(ADDRESS), tcp.dport.eq(port), redirect({ to: port + 1 })];
    transaction.add({ rule: { ...place, chain: 'c', statements } });
  }
  return transaction.add({ rule: { ...place, chain: 'c', statements: [log({ group: GROUP, prefix: 'fleet ' })] } });
}

const NFT = `table ip ${TABLE} {
chain c {
type nat hook prerouting priority -100;
${REDIRECTED.map(port => `ip daddr ${ADDRESS} tcp dport ${port} redirect to :${port + 1}`).join('\n')}
log group ${GROUP} prefix "fleet "
}
}
`;
const IPTABLES = `*nat
${REDIRECTED.map(port => `-A PREROUTING -d ${ADDRESS} -p tcp --dport ${port} -j REDIRECT --to-ports ${port + 1}`).join('\n')}
-A PREROUTING -j NFLOG --nflog-group ${GROUP} --nflog-prefix "fleet "
COMMIT
`;

/** Many containers that have nothing yet, beside the tools that a host would run in each, and beside the kernel alone. */
export async function fleet(quick: boolean): Promise<{ results: Result[]; versions: Record<string, string> }> {
  const versions = Object.fromEntries(
    Object.entries({
      nft: versionOf('nft', '--version'),
      'iptables-nft': versionOf('iptables-nft-restore', '--version'),
    }).flatMap(([name, version]) => (version === undefined ? [] : [[name, version]])),
  );
  const results: Result[] = [];
  for (const count of quick ? [100, 1_000] : [100, 1_000, 5_000])
    results.push(...(await programming(count, versions, quick)));
  return { results, versions };
}

async function programming(count: number, versions: Record<string, string>, quick: boolean): Promise<Result[]> {
  const namespaces = new Namespaces(count);
  try {
    const options = { operations: count, rounds: quick ? 3 : 7, rest: 200 };
    const results = await compare(`containers/${count}`, [...ours(namespaces), ...floors(namespaces)], options);
    if (count > MOST_WITH_A_PROCESS_EACH) return results;
    // A minute for each round: these are compared with what was measured just before.
    const slow = await compare(`containers/${count}`, loops(namespaces, versions), {
      ...options,
      rounds: 1,
      warmUp: 0,
    });
    return [...results, ...slow];
  } finally {
    await namespaces.close();
  }
}

function ours(namespaces: Namespaces): Program[] {
  const transaction = desired();
  const redirects = REDIRECTED.map(port => ({ protocol: 'tcp', address: ADDRESS, port, toPort: port + 1 }) as const);
  const state = { redirects, logging: [{ group: GROUP, prefix: 'fleet ' }] };
  const run = (work: (fleet: Fleet, containers: Container[]) => Promise<{ programmed: unknown[] }>) => () =>
    namespaces.emptied(async containers => {
      const fleet = Fleet.open({ maxSockets: 2 * containers.length });
      let programmed = 0;
      const sample = await timed(async () => {
        programmed = (await work(fleet, containers)).programmed.length;
      });
      if (programmed !== containers.length)
        throw new Error(`only ${programmed} of ${containers.length} were programmed`);
      await fleet[Symbol.asyncDispose]();
      return sample;
    });
  return [
    { name: 'netsteer', run: run((fleet, containers) => fleet.apply(containers, { transaction })) },
    {
      name: 'netsteer, a transaction each',
      run: run((fleet, containers) => fleet.apply(containers, () => ({ transaction: desired() }))),
    },
    { name: 'netsteer, redirects and logging', run: run((fleet, containers) => fleet.apply(containers, state)) },
  ];
}

function floors(namespaces: Namespaces): Program[] {
  const program = compiled('floor-fleet');
  if (program === undefined) return [];
  const file = writeDatagrams('fleet', [desired().encode().bytes]);
  const paths = scratch('fleet-paths');
  const run = () =>
    namespaces.emptied(async () => {
      writeFileSync(paths, `${namespaces.paths.join('\n')}\n`);
      const command = { program, parameters: [String(NETLINK_NETFILTER), file], netns: NetNs.home(), input: paths };
      const { stdout } = await finished(command.program, command.parameters, command, true);
      const { nanoseconds, ...rest } = JSON.parse(stdout) as {
        nanoseconds: number;
        cpuMicroseconds: number;
        p50: number;
        p99: number;
      };
      return {
        seconds: nanoseconds / 1e9,
        cpuMicroseconds: rest.cpuMicroseconds,
        latencyMicroseconds: { p50: rest.p50, p99: rest.p99 },
      };
    });
  return [{ name: 'floor', run }];
}

/** What a shell script does: a process for each container, that enters its namespace and reads the same file. */
function loops(namespaces: Namespaces, versions: Record<string, string>): Program[] {
  const nft = scratch('fleet.nft');
  const iptables = scratch('fleet.iptables');
  writeFileSync(nft, NFT);
  writeFileSync(iptables, IPTABLES);
  const loop = (name: string, one: string): Program => ({
    name,
    run: () => namespaces.emptied(() => shellLoop(`while read -r path; do ${one} || exit 1; done`, namespaces.paths)),
  });
  const programs: Program[] = [];
  if (versions.nft !== undefined) programs.push(loop('nsenter nft -f', `nsenter --net="$path" nft -f ${nft}`));
  if (versions['iptables-nft'] !== undefined)
    programs.push(loop('nsenter iptables-nft-restore', `nsenter --net="$path" iptables-nft-restore ${iptables}`));
  else missing('iptables-nft-restore', 'apt-get install iptables');
  return programs;
}

async function shellLoop(script: string, paths: readonly string[]): Promise<Sample> {
  const input = scratch('fleet-paths');
  writeFileSync(input, `${paths.join('\n')}\n`);
  return timedCommand({ program: 'sh', parameters: ['-c', script], netns: NetNs.home(), input });
}

/** Namespaces that stand for containers; each run finds them empty. */
class Namespaces {
  readonly #namespaces: NetNs[];
  readonly paths: readonly string[];

  constructor(count: number) {
    this.#namespaces = Array.from({ length: count }, () => NetNs.create());
    this.paths = this.#namespaces.map(netns => `/proc/${process.pid}/fd/${netns.descriptor}`);
  }

  async emptied<T>(run: (containers: Container[]) => Promise<T>): Promise<T> {
    const containers = this.#namespaces.map(netns => Container.open({ netns }));
    const cleaner = Fleet.open({ maxSockets: 2 * containers.length });
    try {
      const result = await cleaner.apply(containers, { transaction: new Transaction().flush({ ruleset: {} }) });
      if (result.failed.size > 0) throw [...result.failed.values()][0];
      await cleaner[Symbol.asyncDispose]();
      return await run(containers);
    } finally {
      await cleaner[Symbol.asyncDispose]();
      for (const container of containers) container.close();
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#namespaces.map(netns => netns[Symbol.asyncDispose]()));
  }
}
