import { isPermission } from '../errors.ts';
import { Ipvs } from '../ipvs/index.ts';
import { NetNs } from '../netns/index.ts';
import { hasCapability, isInitialUser, reachOf } from '../netns/user.ts';
import { Nftables } from '../nftables/index.ts';
import type { Places } from './find/records.ts';
import { KernelModules, type ModuleState } from './modules.ts';

/** What a container may be able to do, as `preflight` names it. */
export type AbilityName = 'enter' | 'ipvs' | 'nftables' | 'redirect' | 'log' | 'nflog';

/** What stands in the way. */
export type Obstacle = 'module' | 'capability' | 'user-namespace' | 'sysctl' | 'kernel' | 'base' | 'refused';

/** One thing that a caller may want to do in a container. */
export interface Ability {
  name: AbilityName;
  works: boolean;
  /** Of what kind the reason is; left out where all is well. */
  reason?: Obstacle;
  /** Why it does not work, or only in part, or that a module will be loaded by the first use. */
  why?: string;
  /** One line to run on the host. */
  remedy?: string;
}

/** What works in a container, ability by ability. */
export interface Preflight {
  /** Everything works. */
  ok: boolean;
  abilities: Ability[];
}

interface Needed {
  readonly module: string;
  /** A function of the module, by which a kernel that has it built in can be told. */
  readonly symbol: string;
  /** The kernel's own name of the option, for people who build kernels. */
  readonly option: string;
}

interface Needs {
  readonly modules: readonly Needed[];
  /** What it stands on besides. */
  readonly base: AbilityName;
  /** The first Linux that has it. */
  readonly since?: string;
}

const NEEDS: Record<Exclude<AbilityName, 'enter'>, Needs> = {
  ipvs: { base: 'enter', modules: [{ module: 'ip_vs', symbol: 'ip_vs_in_hook', option: 'CONFIG_IP_VS' }] },
  nftables: { base: 'enter', modules: [{ module: 'nf_tables', symbol: 'nft_do_chain', option: 'CONFIG_NF_TABLES' }] },
  // A chain that translates for both IP versions came with 5.2.
  redirect: {
    base: 'nftables',
    since: '5.2',
    modules: [
      { module: 'nft_chain_nat', symbol: 'nft_nat_do_chain', option: 'CONFIG_NFT_NAT' },
      { module: 'nft_redir', symbol: 'nft_redir_init', option: 'CONFIG_NFT_REDIR' },
    ],
  },
  log: { base: 'nftables', modules: [{ module: 'nft_log', symbol: 'nft_log_eval', option: 'CONFIG_NFT_LOG' }] },
  nflog: {
    base: 'enter',
    modules: [{ module: 'nfnetlink_log', symbol: 'nfulnl_log_packet', option: 'CONFIG_NETFILTER_NETLINK_LOG' }],
  },
};

/** IPVS is loaded by a question for its family from then on (commit 2199f562730d). */
const IPVS_LOADS_SINCE = '5.16';
const AS_ROOT = 'run as root on the host (CAP_NET_ADMIN and CAP_SYS_ADMIN)';

type Finding = Omit<Ability, 'name'>;
const WORKS: Finding = { works: true };

/**
 * Finds out what works in a namespace without changing or loading anything; with `load`, the kernel is made to load IPVS, which it does when
 * asked for its family, and nf_tables.
 */
export async function preflight(
  netns: NetNs,
  options: { load?: boolean } = {},
  at: Places = { root: '/' },
): Promise<Preflight> {
  const modules = new KernelModules(at);
  const abilities: Ability[] = [{ name: 'enter', ...enter(netns) }];
  for (const name of Object.keys(NEEDS) as Exclude<AbilityName, 'enter'>[]) {
    const { base } = NEEDS[name];
    const works = abilities.some(ability => ability.name === base && ability.works);
    const finding: Finding = works
      ? await check(name, netns, modules, options.load ?? false)
      : { works: false, reason: 'base', why: `needs ${base}` };
    abilities.push({ name, ...finding });
  }
  return { ok: abilities.every(ability => ability.works), abilities };
}

/** Opening a socket inside needs an entry; it is the one thing that is tried. */
function enter(netns: NetNs): Finding {
  if (netns.equals(NetNs.home())) return WORKS;
  try {
    netns.run(() => {});
    return WORKS;
  } catch (error) {
    if (!isPermission(error)) throw error;
    return { works: false, ...refusal(netns, 'CAP_SYS_ADMIN') };
  }
}

async function check(
  name: Exclude<AbilityName, 'enter'>,
  netns: NetNs,
  modules: KernelModules,
  load: boolean,
): Promise<Finding> {
  const { modules: needed, since } = NEEDS[name];
  if (since !== undefined && !isAtLeast(modules.release, since)) {
    const why = `Linux ${since} has it, this is ${modules.release}`;
    return { works: false, reason: 'kernel', why, remedy: `boot Linux ${since} or newer` };
  }
  const states = needed.map(need => ({ ...need, state: modules.state(need.module, need.symbol) }));
  const absent = states.find(({ state }) => state === 'absent');
  if (absent !== undefined) {
    const why = `this kernel has no ${absent.module} (${absent.option})`;
    const remedy = "boot a kernel that has it, such as Debian's linux-image-amd64";
    return { works: false, reason: 'module', why, remedy };
  }
  const present = states.every(({ state }) => state === 'present');
  if ((name === 'ipvs' || name === 'nftables') && (load || present)) return ask(name, netns, states[0]!.state);
  const refused = maySay(name, netns);
  if (refused !== undefined) return refused;
  return present ? WORKS : pending(name, states, modules);
}

/** What is not loaded yet: whether the first use will. */
function pending(
  name: AbilityName,
  states: readonly { module: string; state: ModuleState }[],
  modules: KernelModules,
): Finding {
  const missing = states.filter(({ state }) => state !== 'present').map(({ module }) => module);
  const names = missing.join(', ');
  const remedy = `modprobe -a ${missing.join(' ')}`;
  const { obstacle } = modules;
  if (obstacle !== undefined) {
    const why = `${names} is not loaded: ${obstacle.why}`;
    return { works: false, reason: 'sysctl', why, remedy: obstacle.remedy ?? remedy };
  }
  if (states.some(({ state }) => state === 'elsewhere')) {
    const why = `${names} is not loaded, and /lib/modules of this kernel is not here to tell whether it can be`;
    return { works: false, reason: 'module', why, remedy };
  }
  if (name === 'ipvs' && !isAtLeast(modules.release, IPVS_LOADS_SINCE)) {
    const why = `${names} is not loaded, and Linux loads it by itself from ${IPVS_LOADS_SINCE} on`;
    return { works: false, reason: 'module', why, remedy };
  }
  return { works: true, reason: 'module', why: `${names} will be loaded by the first use`, remedy };
}

/** A question that changes nothing: it tells whether the caller may. */
async function ask(name: 'ipvs' | 'nftables', netns: NetNs, state: ModuleState): Promise<Finding> {
  const handle = name === 'ipvs' ? Ipvs.open({ netns }) : Nftables.open({ netns });
  try {
    await (handle instanceof Ipvs ? handle.info() : handle.generation());
    if (!(handle instanceof Ipvs) || handle.via === 'netlink') return WORKS;
    const why = 'by its socket options, since netlink wants CAP_NET_ADMIN in the initial user namespace: IPv4 only';
    return { works: true, reason: 'user-namespace', why };
  } catch (error) {
    const { hint, message } = error as { hint?: string; message: string };
    const why = hint ?? message;
    if (isPermission(error)) return { works: false, ...refusal(netns, 'CAP_NET_ADMIN'), why };
    if (state === 'present') return { works: false, reason: 'refused', why };
    return { works: false, reason: 'module', why, remedy: `modprobe ${NEEDS[name].modules[0]!.module}` };
  } finally {
    await handle[Symbol.asyncDispose]();
  }
}

/** Whether the kernel would refuse, where it cannot be asked: a question would load a module, or change something. */
function maySay(name: AbilityName, netns: NetNs): Finding | undefined {
  if (hasCapability('CAP_NET_ADMIN') && reachOf(netns) !== 'outside') {
    if (name !== 'ipvs' || isInitialUser()) return undefined;
    const why = 'ip_vs is not loaded; by its socket options, IPv4 will work here once it is';
    return { works: false, reason: 'module', why, remedy: 'modprobe ip_vs' };
  }
  return { works: false, ...refusal(netns, 'CAP_NET_ADMIN') };
}

/** Why a permission is missing: not held at all, or held in a user namespace that does not count here. */
function refusal(netns: NetNs, capability: 'CAP_NET_ADMIN' | 'CAP_SYS_ADMIN'): Omit<Finding, 'works'> {
  if (!hasCapability(capability))
    return { reason: 'capability', why: `this process has no ${capability}`, remedy: AS_ROOT };
  const own = reachOf(netns) === 'outside' ? 'the namespace belongs to another user namespace' : 'it counts elsewhere';
  const why = `this process has ${capability} in a user namespace of its own: ${own}`;
  return { reason: 'user-namespace', why, remedy: AS_ROOT };
}

/** Is a kernel as new as that? */
function isAtLeast(release: string, version: string): boolean {
  const [major = 0, minor = 0] = release.split('.').map(Number.parseFloat);
  const [wantedMajor = 0, wantedMinor = 0] = version.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
