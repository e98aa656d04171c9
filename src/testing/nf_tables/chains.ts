import { NLM_F_EXCL, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { isSince } from '../machine/state.ts';
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, Refusal, refuse } from '../refusal.ts';
import { type Attribute, type Attributes, textOf, type Writer } from '../wire/attributes.ts';
import type { Work } from './context.ts';
import type { Base, Chain, Table } from './state.ts';
import { nameOf, tableOf } from './tables.ts';

const INET = 1;
const ARP = 3;
const NETDEV = 5;
const ACCEPT = 1;
const CHAIN_FLAGS = Nft.NFT_CHAIN_BASE | Nft.NFT_CHAIN_HW_OFFLOAD | Nft.NFT_CHAIN_BINDING;
/** NF_IP_PRI_CONNTRACK: chains of type nat come after it. */
const CONNTRACK_PRIORITY = -200;
const INGRESS = 5;
/** The hooks of a type of chain, by family (nft_chain_filter.c, nft_chain_nat.c, nft_chain_route.c). */
function hooksOf(type: string, family: number): readonly number[] | undefined {
  switch (type) {
    case 'filter':
      if (family === ARP) return [0, 1];
      if (family === NETDEV) return [0, 1];
      return family === INET ? [0, 1, 2, 3, 4, INGRESS] : [0, 1, 2, 3, 4];
    case 'nat':
      return [INET, 2, 10].includes(family) ? [0, 1, 3, 4] : undefined;
    case 'route':
      return [INET, 2, 10].includes(family) ? [3] : undefined;
    default:
      return undefined;
  }
}

interface Hook {
  readonly type: string;
  readonly hook: number;
  readonly priority: number;
  readonly devices: string[];
}

const STRICT = [6, 2] as const;

/** nft_chain_parse_hook. What an existing chain has need not be given. */
function readHook(work: Work, table: Table, attributes: Attributes, existing: Base | undefined): Hook {
  const inside = attributes.nested(Nft.NFTA_CHAIN_HOOK)!;
  const name = attributes.get(Nft.NFTA_CHAIN_NAME);
  const hasBoth = inside.has(Nft.NFTA_HOOK_HOOKNUM) && inside.has(Nft.NFTA_HOOK_PRIORITY);
  if (!hasBoth && existing === undefined) {
    if (isSince(work.engine.release, STRICT)) refuse(ENOENT, name);
    refuse(EINVAL);
  }
  const hook = inside.u32be(Nft.NFTA_HOOK_HOOKNUM) ?? existing!.hook;
  const priority = (inside.u32be(Nft.NFTA_HOOK_PRIORITY) ?? existing!.priority) | 0;
  const typeAttribute = attributes.get(Nft.NFTA_CHAIN_TYPE);
  const type = typeAttribute === undefined ? (existing?.type ?? 'filter') : textOf(typeAttribute.bytes);
  const hooks = hooksOf(type, table.family);
  if (hooks === undefined) return refuse(ENOENT, typeAttribute);
  if (!hooks.includes(hook)) refuse(EOPNOTSUPP);
  if (type === 'nat' && priority <= CONNTRACK_PRIORITY) refuse(EOPNOTSUPP);
  const wantsDevices = table.family === NETDEV || (table.family === INET && hook === INGRESS);
  const devices = readDevices(work, inside);
  if (wantsDevices) {
    if (devices.length === 0 && existing === undefined) refuse(EINVAL);
  } else if (inside.has(Nft.NFTA_HOOK_DEV) || inside.has(Nft.NFTA_HOOK_DEVS)) refuse(EOPNOTSUPP);
  return { type, hook, priority, devices };
}

function readDevices(work: Work, inside: Attributes): string[] {
  const one = inside.get(Nft.NFTA_HOOK_DEV);
  const several = inside.get(Nft.NFTA_HOOK_DEVS);
  return knownDevices(work, one === undefined ? (several === undefined ? [] : inside.inside(several).list()) : [one]);
}

/** Chains may wait for devices that are still to come (Linux 6.16). */
const AWAITED = [6, 16] as const;

/** The names of devices. */
export function knownDevices({ namespace, engine }: Work, given: readonly Attribute[]): string[] {
  const { links } = namespace;
  const mustBeThere = !isSince(engine.release, AWAITED);
  return given.map(each => {
    const name = textOf(each.bytes);
    if (mustBeThere && !links.some(link => link.name === name)) refuse(ENOENT, each);
    return name;
  });
}

/** @returns the chain, and whether it is new */
export function newChain(work: Work): { chain: Chain; isNew: boolean } {
  const { attributes, request } = work;
  const table = tableOf(work, Nft.NFTA_CHAIN_TABLE);
  const handle = attributes.get(Nft.NFTA_CHAIN_HANDLE);
  const name = attributes.get(Nft.NFTA_CHAIN_NAME);
  let chain: Chain | undefined;
  let at: Attribute | undefined = name;
  if (handle !== undefined) {
    const wanted = attributes.u64be(Nft.NFTA_CHAIN_HANDLE);
    chain = table.chains.find(each => BigInt(each.handle) === wanted) ?? refuse(ENOENT, handle);
    at = handle;
  } else if (name !== undefined) {
    const wanted = nameOf(name);
    chain = table.chains.find(each => each.name === wanted);
  } else if (!attributes.has(Nft.NFTA_CHAIN_ID)) refuse(EINVAL);
  const policyAttribute = attributes.get(Nft.NFTA_CHAIN_POLICY);
  let policy: number | undefined;
  if (policyAttribute !== undefined) {
    if (chain === undefined ? !attributes.has(Nft.NFTA_CHAIN_HOOK) : chain.base === undefined)
      refuse(EOPNOTSUPP, policyAttribute);
    policy = attributes.u32be(Nft.NFTA_CHAIN_POLICY)!;
    if (policy > ACCEPT) refuse(EINVAL);
  }
  const flags = attributes.u32be(Nft.NFTA_CHAIN_FLAGS) ?? chain?.flags ?? 0;
  if ((flags & ~CHAIN_FLAGS) !== 0) refuse(EOPNOTSUPP);
  if (chain !== undefined) {
    if (chain.binding) refuse(EINVAL);
    if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST, at);
    if ((request.flags & NLM_F_REPLACE) !== 0) refuse(EOPNOTSUPP);
    update(work, table, chain, policy, at);
    return { chain, isNew: false };
  }
  return { chain: add(work, table, policy, flags), isNew: true };
}

function add(work: Work, owner: Table, wanted: number | undefined, given: number): Chain {
  const { attributes, batch } = work;
  const name = attributes.get(Nft.NFTA_CHAIN_NAME);
  let base: Base | undefined;
  const isBinding = (given & Nft.NFT_CHAIN_BINDING) !== 0;
  if (attributes.has(Nft.NFTA_CHAIN_HOOK)) {
    if (isBinding) refuse(EOPNOTSUPP);
    const hook = readHook(work, owner, attributes, undefined);
    if ((given & Nft.NFT_CHAIN_HW_OFFLOAD) !== 0) refuse(EOPNOTSUPP);
    base = {
      ...hook,
      policy: wanted ?? ACCEPT,
      counters: readCounters(attributes),
      registered: ++work.namespace.nfTables.registrations,
    };
  } else {
    if ((given & Nft.NFT_CHAIN_BASE) !== 0) refuse(EINVAL);
    if ((given & Nft.NFT_CHAIN_HW_OFFLOAD) !== 0) refuse(EOPNOTSUPP);
  }
  if (name === undefined && !isBinding) refuse(EINVAL);
  const number = ++owner.lastHandle;
  const made: Chain = {
    table: owner,
    name: name === undefined ? `__chain${number}` : nameOf(name),
    handle: number,
    base,
    flags: (given & ~Nft.NFT_CHAIN_BASE) | (base === undefined ? 0 : Nft.NFT_CHAIN_BASE),
    rules: [],
    jumps: 0,
    binding: isBinding,
    bound: false,
    userdata: attributes.get(Nft.NFTA_CHAIN_USERDATA)?.bytes.slice(),
  };
  owner.chains.push(made);
  batch.undo.push(() => void owner.chains.splice(owner.chains.indexOf(made), 1));
  const id = attributes.u32be(Nft.NFTA_CHAIN_ID);
  if (id !== undefined) batch.chains.set(id, made);
  if (isBinding) batch.bindings.add(made);
  return made;
}

function readCounters(attributes: Attributes): { packets: bigint; bytes: bigint } | undefined {
  const inside = attributes.nested(Nft.NFTA_CHAIN_COUNTERS);
  if (inside === undefined) return undefined;
  const packets = inside.u64be(Nft.NFTA_COUNTER_PACKETS);
  const bytes = inside.u64be(Nft.NFTA_COUNTER_BYTES);
  return packets === undefined || bytes === undefined ? refuse(EINVAL) : { packets, bytes };
}

const SPLIT_ERRORS = [6, 2] as const;

function update(work: Work, table: Table, chain: Chain, policy: number | undefined, at: Attribute | undefined): void {
  const { attributes, batch } = work;
  const { base } = chain;
  const before = { name: chain.name, policy: base?.policy, devices: base?.devices, counters: base?.counters };
  if (attributes.has(Nft.NFTA_CHAIN_HOOK)) {
    if (base === undefined) throw new Refusal(EEXIST, at?.offset);
    const hook = readHook(work, table, attributes, base);
    if (hook.type !== base.type) refuse(EEXIST, at);
    if (hook.hook !== base.hook || hook.priority !== base.priority) {
      if (isSince(work.engine.release, SPLIT_ERRORS)) refuse(EOPNOTSUPP);
      refuse(EEXIST, at);
    }
    const added = hook.devices.filter(each => !base.devices.includes(each));
    if (added.length > 0) {
      base.devices = [...base.devices, ...added];
    }
  }
  const name = attributes.get(Nft.NFTA_CHAIN_NAME);
  if (attributes.has(Nft.NFTA_CHAIN_HANDLE) && name !== undefined) {
    const wanted = nameOf(name);
    if (wanted !== chain.name) {
      if (table.chains.some(each => each.name === wanted)) refuse(EEXIST, name);
      chain.name = wanted;
    }
  }
  const counters = readCounters(attributes);
  if (counters !== undefined) {
    if (base === undefined) throw new Refusal(EOPNOTSUPP);
    base.counters = counters;
  }
  if (policy !== undefined && base !== undefined) {
    base.policy = policy;
  }
  batch.undo.push(() => {
    chain.name = before.name;
    if (base === undefined) return;
    base.policy = before.policy!;
    base.devices = before.devices!;
    base.counters = before.counters;
  });
}

/** The chain that a message names. */
export function chainOf(work: Work, table: Table, type: number): Chain {
  const attribute = work.attributes.get(type) ?? refuse(EINVAL);
  const name = nameOf(attribute);
  return table.chains.find(each => each.name === name) ?? refuse(ENOENT, attribute);
}

export function writeChain(writer: Writer, chain: Chain, isOld: boolean): void {
  writer.text(Nft.NFTA_CHAIN_TABLE, chain.table.name);
  if (isOld) writer.u64be(Nft.NFTA_CHAIN_HANDLE, BigInt(chain.handle));
  writer.text(Nft.NFTA_CHAIN_NAME, chain.name);
  if (!isOld) writer.u64be(Nft.NFTA_CHAIN_HANDLE, BigInt(chain.handle));
  const { base } = chain;
  if (base !== undefined) {
    writer.nest(Nft.NFTA_CHAIN_HOOK, () => {
      writer.u32be(Nft.NFTA_HOOK_HOOKNUM, base.hook);
      writer.u32be(Nft.NFTA_HOOK_PRIORITY, base.priority);
      if (base.devices.length === 0) return;
      writer.nest(Nft.NFTA_HOOK_DEVS, () => {
        for (const device of base.devices) writer.text(Nft.NFTA_DEVICE_NAME, device);
      });
      if (base.devices.length === 1) writer.text(Nft.NFTA_HOOK_DEV, base.devices[0]!);
    });
    writer.u32be(Nft.NFTA_CHAIN_POLICY, base.policy);
    writer.text(Nft.NFTA_CHAIN_TYPE, base.type);
    if (base.counters !== undefined) writeCounters(writer, Nft.NFTA_CHAIN_COUNTERS, base.counters);
  }
  if (chain.flags !== 0) writer.u32be(Nft.NFTA_CHAIN_FLAGS, chain.flags);
  writer.u32be(Nft.NFTA_CHAIN_USE, chain.rules.length + chain.jumps);
  if (chain.userdata !== undefined) writer.attribute(Nft.NFTA_CHAIN_USERDATA, chain.userdata);
}

function writeCounters(writer: Writer, type: number, { packets, bytes }: { packets: bigint; bytes: bigint }): void {
  writer.nest(type, () => {
    writer.u64be(Nft.NFTA_COUNTER_BYTES, bytes);
    writer.u64be(Nft.NFTA_COUNTER_PACKETS, packets);
  });
}
