import { ETH_P_IP, ETH_P_IPV6 } from '../../linux/if_ether.ts';
import { NF_ACCEPT, NF_DROP } from '../../linux/netfilter.ts';
import { NFT_TABLE_F_DORMANT } from '../../linux/nf_tables.ts';
import { ofThread } from '../../thread.ts';
import type { Kernel } from '../conntrack/kernel.ts';
import type { Context } from '../ipvs/transmit.ts';
import type { Link, Namespace } from '../machine/state.ts';
import type { Chain, NfTables } from '../nf_tables/state.ts';
import { type ChainPath, runChain } from './chain.ts';
import { isWhole, type Packet, parse } from './packet.ts';

export const PREROUTING = 0;
export const INPUT = 1;
export const FORWARD = 2;
export const OUTPUT = 3;
export const POSTROUTING = 4;
/** NF_INET_INGRESS: the number of the hook at a device, in the family inet. */
const INET_INGRESS = 5;
/** The hooks of the family netdev. */
export const INGRESS = 0;
export const EGRESS = 1;
const INET = 1;
export const NETDEV = 5;

/** A hook list as a packet meets it. */
export interface HookPath extends ChainPath {
  /** What connection tracking needs of the kernel. */
  readonly kernel: Kernel;
  /** What IPVS needs of the host. */
  readonly balancing: Context;
}

/** Something of the kernel's own in a hook, among the chains: connection tracking, NAT, IPVS. */
export interface BuiltIn {
  readonly hook: number;
  readonly priority: number;
  run(path: HookPath, packet: Packet): number;
}

/** The kernel's own hooks of a family, in a namespace. */
export type BuiltIns = (namespace: Namespace, family: number) => readonly BuiltIn[];

interface Entry {
  readonly priority: number;
  readonly registered: number;
  run(path: HookPath, packet: Packet): number;
}

/** What is registered, as long as the generation of the rules stays the same. */
interface Registered {
  readonly generation: number;
  readonly lists: Map<string, readonly Entry[]>;
  readonly nat: Map<string, readonly Chain[]>;
}
const thread = ofThread('testing.hooks', { registered: new WeakMap<NfTables, Registered>() });

function registeredOf({ nfTables }: Namespace): Registered {
  const known = thread.registered.get(nfTables);
  if (known?.generation === nfTables.generation) return known;
  const made = { generation: nfTables.generation, lists: new Map(), nat: new Map() };
  thread.registered.set(nfTables, made);
  return made;
}

/** Runs all that is registered at a hook of IPv4, IPv6 or ARP, in the order of priorities; of equal ones the newest first (nf_hook_slow). */
export function runHook(path: HookPath, builtIns: BuiltIns, family: number, hook: number, packet: Packet): number {
  const { namespace } = path;
  return runList(path, packet, `${family} ${hook}`, () => {
    // They come with the first rule that wants them, which is younger than its chain.
    const entries: Entry[] = builtIns(namespace, family)
      .filter(each => each.hook === hook)
      .map(each => ({
        priority: each.priority,
        registered: Number.POSITIVE_INFINITY,
        run(on, about) {
          parse(about);
          return each.run(on, about);
        },
      }));
    const point = { family, hook };
    for (const chain of baseChains(namespace, [family, ...(isInternet(family) ? [INET] : [])], hook))
      if (chain.base!.type !== 'nat') entries.push(entryOf(chain, point));
    return entries;
  });
}

/** Runs the chains at a device: those of netdev, and at its ingress those of inet (nf_hook_ingress). */
export function runDeviceHook(path: HookPath, hook: number, device: Link, packet: Packet): number {
  const { namespace } = path;
  return runList(path, packet, `device ${hook} ${device.name}`, () => {
    const chains = [
      ...baseChains(namespace, [NETDEV], hook),
      ...(hook === INGRESS ? baseChains(namespace, [INET], INET_INGRESS) : []),
    ].filter(each => each.base!.devices.some(name => isCalled(device.name, name)));
    return chains.map(chain =>
      chain.table.family === INET ? inetEntry(chain) : entryOf(chain, { family: NETDEV, hook }),
    );
  });
}

/** A chain of inet at a device: other protocols go past it, malformed packets end at it (nft_do_chain_inet). */
function inetEntry(chain: Chain): Entry {
  const four = entryOf(chain, { family: 2, hook: INET_INGRESS });
  const six = entryOf(chain, { family: 10, hook: INET_INGRESS });
  return {
    ...four,
    run(path, packet) {
      if (packet.protocol !== ETH_P_IP && packet.protocol !== ETH_P_IPV6) return NF_ACCEPT;
      if (!isWhole(packet)) return NF_DROP;
      return (packet.protocol === ETH_P_IP ? four : six).run(path, packet);
    },
  };
}

/** A name of a device, or the beginning of its name. */
const isCalled = (name: string, wanted: string): boolean =>
  wanted.endsWith('*') ? name.startsWith(wanted.slice(0, -1)) : name === wanted;

const isInternet = (family: number): boolean => family === 2 || family === 10;

const entryOf = (chain: Chain, point: { readonly family: number; readonly hook: number }): Entry => ({
  priority: chain.base!.priority,
  registered: chain.base!.registered,
  run: (path, packet) => runChain(path, chain, packet, point),
});

function runList(path: HookPath, packet: Packet, name: string, list: () => Entry[]): number {
  const { lists } = registeredOf(path.namespace);
  let entries = lists.get(name);
  if (entries === undefined) {
    entries = list().sort(inOrder);
    lists.set(name, entries);
  }
  for (const entry of entries) {
    const verdict = entry.run(path, packet);
    if (verdict !== NF_ACCEPT) return verdict;
  }
  return NF_ACCEPT;
}

const inOrder = (a: { priority: number; registered: number }, b: { priority: number; registered: number }): number =>
  a.priority - b.priority || b.registered - a.registered;

/** The chains of type nat of a hook, in the order in which they are asked. */
export function natChains(namespace: Namespace, family: number, hook: number): readonly Chain[] {
  const { nat } = registeredOf(namespace);
  const name = `${family} ${hook}`;
  let chains = nat.get(name);
  if (chains === undefined) {
    chains = baseChains(namespace, [family, INET], hook)
      .filter(each => each.base!.type === 'nat')
      .sort((a, b) => inOrder(a.base!, b.base!));
    nat.set(name, chains);
  }
  return chains;
}

function baseChains({ nfTables }: Namespace, families: readonly number[], hook: number): Chain[] {
  const found: Chain[] = [];
  for (const table of nfTables.tables) {
    if (!families.includes(table.family) || (table.flags & NFT_TABLE_F_DORMANT) !== 0) continue;
    for (const chain of table.chains) if (chain.base !== undefined && chain.base.hook === hook) found.push(chain);
  }
  return found;
}
