import { isPermission } from '../errors.ts';
import { Ipvs } from '../ipvs/index.ts';
import type { KernelDescription } from '../netns/access.ts';
import { NetNs } from '../netns/index.ts';
import { hasCapability, isInitialUser, reachOf } from '../netns/user.ts';
import { Nftables } from '../nftables/index.ts';
import type { Places } from './find/records.ts';
import { KernelModules, type ModuleState } from './modules.ts';

/** The abilities that `preflight` looks at. */
export type AbilityName = 'enter' | 'ipvs' | 'nftables' | 'redirect' | 'log' | 'nflog' | 'conntrack';

/** The kind of a reason why an ability does not work. */
export type Obstacle = 'module' | 'capability' | 'user-namespace' | 'sysctl' | 'kernel' | 'base' | 'refused';

/** One thing that a caller may want to do in a container. */
export interface Ability {
  /** The ability. */
  name: AbilityName;
  /** Whether it works. */
  works: boolean;
  /** The kind of the reason; undefined where the ability works fully. */
  reason?: Obstacle;
  /** Why it does not work or works only in part, or that the first use will load a module. */
  why?: string;
  /** One line to run on the host; for a kernel in memory, the call that makes one which has what is missing. */
  remedy?: string;
}

/** What works in a container, ability by ability. */
export interface Preflight {
  /** Everything works. */
  ok: boolean;
  /** Each ability, and why it does not work. */
  abilities: Ability[];
}

interface Needed {
  readonly module: string;
  /** A function of the module: a kernel that has the module built in has this symbol. */
  readonly symbol: string;
  /** The option of the kernel's configuration. */
  readonly option: string;
}

interface Needs {
  readonly modules: readonly Needed[];
  /** The ability that it needs. */
  readonly base: AbilityName;
  /** The first Linux that has it. */
  readonly since?: string;
}

const NEEDS: Record<Exclude<AbilityName, 'enter'>, Needs> = {
  ipvs: { base: 'enter', modules: [{ module: 'ip_vs', symbol: 'ip_vs_in_hook', option: 'CONFIG_IP_VS' }] },
  nftables: { base: 'enter', modules: [{ module: 'nf_tables', symbol: 'nft_do_chain', option: 'CONFIG_NF_TABLES' }] },
  // nat chains of the family inet came with Linux 5.2.
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
  // Also ends the connections of redirects that change.
  conntrack: {
    base: 'enter',
    modules: [{ module: 'nf_conntrack_netlink', symbol: 'ctnetlink_get_conntrack', option: 'CONFIG_NF_CT_NETLINK' }],
  },
};

/** Since then the kernel loads ip_vs when somebody asks for its generic netlink family (commit 2199f562730d). */
const IPVS_LOADS_SINCE = '5.16';
const AS_ROOT = 'run as root on the host (CAP_NET_ADMIN and CAP_SYS_ADMIN)';

type Finding = Omit<Ability, 'name'>;
const WORKS: Finding = { works: true };

/**
 * Finds out what works in a namespace. It changes nothing. With `load` it makes the kernel load IPVS and nf_tables, by a request to each.
 */
export async function preflight(
  netns: NetNs,
  options: { load?: boolean } = {},
  at: Places = { root: '/' },
): Promise<Preflight> {
  const modules = netns.access.described ?? new KernelModules(at);
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

/** Whether this thread may enter the namespace, which every socket there needs. This is tried. */
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
  modules: KernelModules | KernelDescription,
  load: boolean,
): Promise<Finding> {
  const { modules: needed, since } = NEEDS[name];
  if (since !== undefined && !isAtLeast(modules.release, since)) {
    const why = `Linux ${since} has it, this is ${modules.release}`;
    return { works: false, reason: 'kernel', why, remedy: `boot Linux ${since} or newer` };
  }
  if (!(modules instanceof KernelModules)) return checkDescribed(name, netns, modules);
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

/** For a kernel in memory: its modules are there or not, and the caller has every right that the user namespace gives. */
async function checkDescribed(
  name: Exclude<AbilityName, 'enter'>,
  netns: NetNs,
  kernel: KernelDescription,
): Promise<Finding> {
  const missing = NEEDS[name].modules.filter(({ module }) => !kernel.hasModule(module)).map(({ module }) => module);
  if (missing.length > 0) {
    const why = `this kernel has no ${missing.join(' and no ')}`;
    return { works: false, reason: 'module', why, remedy: kernel.remedy(missing) };
  }
  return name === 'ipvs' || name === 'nftables' ? ask(name, netns, 'present') : WORKS;
}

/** For modules that are not loaded yet: whether the first use will load them. */
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
    const why = `${names} is not loaded, and this kernel has no /lib/modules here that would tell whether it can be`;
    return { works: false, reason: 'module', why, remedy };
  }
  if (name === 'ipvs' && !isAtLeast(modules.release, IPVS_LOADS_SINCE)) {
    const why = `${names} is not loaded, and Linux loads it by itself from ${IPVS_LOADS_SINCE} on`;
    return { works: false, reason: 'module', why, remedy };
  }
  return { works: true, reason: 'module', why: `${names} will be loaded by the first use`, remedy };
}

/** Sends a request that changes nothing, to learn whether the caller may use the subsystem. */
async function ask(name: 'ipvs' | 'nftables', netns: NetNs, state: ModuleState): Promise<Finding> {
  const handle = name === 'ipvs' ? Ipvs.open({ netns }) : Nftables.open({ netns });
  try {
    await (handle instanceof Ipvs ? handle.info() : handle.generation());
    if (!(handle instanceof Ipvs) || handle.via === 'netlink') return WORKS;
    const why = 'IPv4 only, by socket options: netlink needs CAP_NET_ADMIN in the initial user namespace';
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

/** Whether the kernel would refuse, by this process's capabilities: a request would load a module or change something. */
function maySay(name: AbilityName, netns: NetNs): Finding | undefined {
  if (hasCapability('CAP_NET_ADMIN') && reachOf(netns) !== 'outside') {
    if (name !== 'ipvs' || isInitialUser()) return undefined;
    const why = 'ip_vs is not loaded; once it is, IPv4 works here by socket options';
    return { works: false, reason: 'module', why, remedy: 'modprobe ip_vs' };
  }
  return { works: false, ...refusal(netns, 'CAP_NET_ADMIN') };
}

/** Why a permission is missing: the process does not have the capability, or has it in a user namespace that does not count here. */
function refusal(netns: NetNs, capability: 'CAP_NET_ADMIN' | 'CAP_SYS_ADMIN'): Omit<Finding, 'works'> {
  const { described } = netns.access;
  if (described !== undefined) return { reason: described.userNamespace ? 'user-namespace' : 'capability' };
  if (!hasCapability(capability))
    return { reason: 'capability', why: `this process has no ${capability}`, remedy: AS_ROOT };
  const isOutside = reachOf(netns) === 'outside';
  const counts = isOutside
    ? ', and the network namespace belongs to another one'
    : ', where it does not count for this';
  const why = `this process has ${capability} only in its own user namespace${counts}`;
  return { reason: 'user-namespace', why, remedy: AS_ROOT };
}

/** Whether a kernel's release is at least `version`. */
function isAtLeast(release: string, version: string): boolean {
  const [major = 0, minor = 0] = release.split('.').map(Number.parseFloat);
  const [wantedMajor = 0, wantedMinor = 0] = version.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
