import { isNotFound, isPermission } from '../errors.ts';
import { Ipvs } from '../ipvs/index.ts';
import type { NetNs } from '../netns/index.ts';
import { Nftables } from '../nftables/index.ts';
import { KernelModules, type ModuleState } from './modules.ts';

export type AbilityName = 'ipvs' | 'nftables' | 'redirect' | 'log' | 'nflog';

/** One thing that a caller may want to do in a container. */
export interface Ability {
  name: AbilityName;
  works: boolean;
  /** Why it does not, or that a module will be loaded by the first use. */
  why?: string;
  /** One line to run on the host. */
  remedy?: string;
}

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

const NEEDS: Record<AbilityName, readonly Needed[]> = {
  ipvs: [{ module: 'ip_vs', symbol: 'ip_vs_in_hook', option: 'CONFIG_IP_VS' }],
  nftables: [{ module: 'nf_tables', symbol: 'nft_do_chain', option: 'CONFIG_NF_TABLES' }],
  redirect: [
    { module: 'nft_chain_nat', symbol: 'nft_nat_do_chain', option: 'CONFIG_NFT_NAT' },
    { module: 'nft_redir', symbol: 'nft_redir_init', option: 'CONFIG_NFT_REDIR' },
  ],
  log: [{ module: 'nft_log', symbol: 'nft_log_eval', option: 'CONFIG_NFT_LOG' }],
  nflog: [{ module: 'nfnetlink_log', symbol: 'nfulnl_log_packet', option: 'CONFIG_NETFILTER_NETLINK_LOG' }],
};

/** What each ability stands on besides its own modules. */
const BASE: Partial<Record<AbilityName, AbilityName>> = { redirect: 'nftables', log: 'nftables' };

/**
 * Finds out what works in a namespace without changing or loading anything; with `load`, the kernel is made to load IPVS, which it does when
 * asked for its family, and nf_tables.
 */
export async function preflight(netns: NetNs, options: { load?: boolean } = {}): Promise<Preflight> {
  const modules = new KernelModules();
  const abilities: Ability[] = [];
  for (const name of Object.keys(NEEDS) as AbilityName[]) {
    const base = abilities.find(ability => ability.name === BASE[name]);
    abilities.push(
      base?.works === false
        ? { name, works: false, why: `needs ${base.name}` }
        : await check(name, netns, modules, options),
    );
  }
  return { ok: abilities.every(ability => ability.works), abilities };
}

async function check(
  name: AbilityName,
  netns: NetNs,
  modules: KernelModules,
  { load = false }: { load?: boolean },
): Promise<Ability> {
  const states = NEEDS[name].map(need => ({ ...need, state: modules.state(need.module, need.symbol) }));
  const absent = states.find(({ state }) => state === 'absent');
  if (absent !== undefined) {
    return {
      name,
      works: false,
      why: `this kernel has no ${absent.module} (${absent.option})`,
      remedy: "boot a kernel that has it, such as Debian's linux-image-amd64",
    };
  }
  const pending = states.filter(({ state }) => state === 'loadable').map(({ module }) => module);
  const asks = name === 'ipvs' || name === 'nftables';
  if (asks && (load || pending.length === 0)) return ask(name, netns, states[0]!.state);
  // IPVS is not loaded by what a container does with it before Linux 5.16; everything else is, by its first use.
  const remedy =
    pending.length > 0
      ? { why: `${pending.join(', ')} will be loaded by the first use`, remedy: `modprobe -a ${pending.join(' ')}` }
      : {};
  return { name, works: true, ...remedy };
}

/** A question that changes nothing: it tells whether the caller may. */
async function ask(name: 'ipvs' | 'nftables', netns: NetNs, state: ModuleState): Promise<Ability> {
  const handle = name === 'ipvs' ? Ipvs.open({ netns }) : Nftables.open({ netns });
  try {
    await (handle instanceof Ipvs ? handle.info() : handle.generation());
    return { name, works: true };
  } catch (error) {
    const { hint, message } = error as { hint?: string; message: string };
    const why = hint ?? message;
    if (isPermission(error)) return { name, works: false, why, remedy: 'run as root on the host (CAP_NET_ADMIN)' };
    const missing = isNotFound(error) || state === 'absent';
    return { name, works: false, why, ...(missing && { remedy: `modprobe ${NEEDS[name][0]!.module}` }) };
  } finally {
    await handle[Symbol.asyncDispose]();
  }
}
