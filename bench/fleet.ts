import { writeFileSync } from 'node:fs';
import { type Container, Fleet, NetNs, Nftables } from 'netsteer';
import { NETLINK_NETFILTER } from 'netsteer/netlink';
import { ip, log, redirect, Transaction, tcp } from 'netsteer/nftables';
import { fleetOfServers, hasIpvs } from './fleet-ipvs.ts';
import { Namespaces, shellLoop, socketsFor, timedFleetFloor, WARM_UP } from './fleet-namespaces.ts';
import { compare, type Program, type Result, timed } from './harness.ts';
import { compiled, missing, scratch, versionOf, writeDatagrams } from './programs.ts';

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

/**
 * Many containers that have nothing yet, beside the tools that a host would run in each, and beside the kernel alone: packet rules where the
 * kernel has nf_tables, virtual servers where it has IPVS, and both where it has both.
 */
export async function fleet(quick: boolean): Promise<{ results: Result[]; versions: Record<string, string> }> {
  const [rules, servers] = [await hasTables(), await hasIpvs()];
  const peers = {
    ...(rules && {
      nft: versionOf('nft', '--version'),
      'iptables-nft': versionOf('iptables-nft-restore', '--version'),
    }),
    ...(servers && { ipvsadm: versionOf('ipvsadm', '--version') }),
  };
  const versions = Object.fromEntries(
    Object.entries(peers).flatMap(([name, version]) => (version === undefined ? [] : [[name, version]])),
  );
  if (!rules) missing('nf_tables', 'this kernel has no family ip');
  if (!servers) missing('IPVS', 'this kernel has none (--guest uml, or for behaviour --guest qemu)');
  const results: Result[] = [];
  for (const count of quick ? [10, 100, 1_000] : [10, 100, 1_000, 5_000, 10_000]) {
    const namespaces = new Namespaces(count);
    try {
      if (rules) results.push(...(await programming(count, namespaces, versions, quick)));
      if (servers && count <= MOST_WITH_A_PROCESS_EACH)
        results.push(
          ...(await fleetOfServers(count, namespaces, { versions, quick, rules: rules ? desired() : undefined })),
        );
    } finally {
      await namespaces.close();
    }
  }
  return { results, versions };
}

async function hasTables(): Promise<boolean> {
  const netns = NetNs.create();
  const nft = Nftables.open({ netns });
  try {
    nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: TABLE } }));
    return true;
  } catch {
    return false;
  } finally {
    await nft[Symbol.asyncDispose]();
    netns.close();
  }
}

async function programming(
  count: number,
  namespaces: Namespaces,
  versions: Record<string, string>,
  quick: boolean,
): Promise<Result[]> {
  const options = { operations: count, rounds: quick ? 5 : 9, warmUp: WARM_UP, rest: 200 };
  const results = await compare(`containers/${count}`, [...ours(namespaces), ...floors(namespaces)], options);
  if (count > MOST_WITH_A_PROCESS_EACH) return results;
  // A minute for each round: these are compared with what was measured just before.
  const slow = await namespaces.named(() =>
    compare(`containers/${count}`, loops(namespaces, versions), { ...options, rounds: 1, warmUp: 0 }),
  );
  return [...results, ...slow];
}

function ours(namespaces: Namespaces): Program[] {
  const transaction = desired();
  const redirects = REDIRECTED.map(port => ({ protocol: 'tcp', address: ADDRESS, port, toPort: port + 1 }) as const);
  const state = { redirects, logging: [{ group: GROUP, prefix: 'fleet ' }] };
  const run = (work: (fleet: Fleet, containers: Container[]) => Promise<{ programmed: unknown[] }>) => () =>
    namespaces.emptied(async containers => {
      const fleet = Fleet.open({ maxSockets: socketsFor(containers.length) });
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
  const run = () => namespaces.emptied(() => timedFleetFloor(program, NETLINK_NETFILTER, file, namespaces.paths));
  return [{ name: 'floor', run }];
}

/** What a shell script does: a process for each container, that enters its namespace and reads the same file. */
function loops(namespaces: Namespaces, versions: Record<string, string>): Program[] {
  const nft = scratch('fleet.nft');
  const iptables = scratch('fleet.iptables');
  writeFileSync(nft, NFT);
  writeFileSync(iptables, IPTABLES);
  const loop = (name: string, lines: readonly string[], one: string): Program => ({
    name,
    run: () => namespaces.emptied(() => shellLoop(`while read -r it; do ${one} || exit 1; done`, lines)),
  });
  const programs: Program[] = [];
  if (versions.nft !== undefined)
    programs.push(loop('nsenter nft -f', namespaces.paths, `nsenter --net="$it" nft -f ${nft}`));
  if (versions['iptables-nft'] === undefined) missing('iptables-nft-restore', 'apt-get install iptables');
  else {
    const restore = `ip netns exec "$it" iptables-nft-restore ${iptables}`;
    programs.push(loop('ip netns exec iptables-restore (nft)', namespaces.names, restore));
  }
  return programs;
}
