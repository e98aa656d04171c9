import { IFNAMSIZ } from '../../linux/if.ts';
import { NLM_F_EXCL, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { hasModule, isSince } from '../machine/state.ts';
import { E2BIG, EEXIST, EFBIG, EINVAL, ENOENT, EOPNOTSUPP, Refusal, refuse } from '../refusal.ts';
import { type Attribute, type Attributes, textOf, type Writer, wholeTextOf } from '../wire/attributes.ts';
import type { Work } from './context.ts';
import { COUNTERS, HOOK } from './policies.ts';
import { parsed } from './policy.ts';
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
  readonly onDevices: boolean;
}

const STRICT = [6, 2] as const;

/** nft_chain_parse_hook. What an existing chain has need not be given. */
function readHook(work: Work, table: Table, attributes: Attributes, existing: Base | undefined): Hook {
  const inside = parsed(attributes, Nft.NFTA_CHAIN_HOOK, HOOK)!;
  const typeAttribute = attributes.get(Nft.NFTA_CHAIN_TYPE);
  const type = typeAttribute === undefined ? (existing?.type ?? 'filter') : wholeTextOf(typeAttribute.bytes);
  const isStrict = isSince(work.engine.release, STRICT);
  const givenHook = inside.u32be(Nft.NFTA_HOOK_HOOKNUM);
  const givenPriority = inside.u32be(Nft.NFTA_HOOK_PRIORITY);
  if ((givenHook === undefined || givenPriority === undefined) && (existing === undefined || !isStrict)) {
    if (!isStrict) refuse(EINVAL);
    return refuse(ENOENT, attributes.get(Nft.NFTA_CHAIN_NAME));
  }
  // The kernel takes 0 for one that an existing chain is not given: only a wrong one that is given is refused here.
  const hook = givenHook ?? 0;
  const priority = (givenPriority ?? 0) | 0;
  if (existing !== undefined && isStrict) {
    if (givenHook !== undefined && hook !== existing.hook) refuse(EOPNOTSUPP);
    if (givenPriority !== undefined && priority !== existing.priority) refuse(EOPNOTSUPP);
  }
  const hooks = hooksOf(type, table.family);
  const isMissing = type === 'nat' && !hasModule(work.engine.release, 'nft_chain_nat');
  if (hooks === undefined || isMissing) return refuse(ENOENT, typeAttribute);
  if (existing === undefined || !isStrict) {
    if (!hooks.includes(hook)) refuse(EOPNOTSUPP);
    if (type === 'nat' && priority <= CONNTRACK_PRIORITY) refuse(EOPNOTSUPP);
  }
  const onDevices = table.family === NETDEV || (table.family === INET && hook === INGRESS);
  let devices: string[] = [];
  if (onDevices) devices = readDevices(work, inside);
  else if (inside.has(Nft.NFTA_HOOK_DEV) || inside.has(Nft.NFTA_HOOK_DEVS)) refuse(EOPNOTSUPP);
  return { type, hook, priority, devices, onDevices };
}

function readDevices(work: Work, inside: Attributes): string[] {
  const one = inside.get(Nft.NFTA_HOOK_DEV);
  if (one !== undefined) return [knownDevice(work, one)];
  const several = inside.get(Nft.NFTA_HOOK_DEVS);
  return several === undefined ? [] : knownDevices(work, inside.inside(several).list());
}

/** Chains may wait for devices that are still to come (Linux 6.16). */
const AWAITED = [6, 16] as const;
/** NFT_NETDEVICE_MAX */
const MAX_DEVICES = 256;

/** All devices whose names begin alike. */
const PREFIXES = [6, 18] as const;

/** The names of devices, and 'eth*' for what they begin with (nf_tables_parse_netdev_hooks). */
export function knownDevices(work: Work, given: readonly Attribute[]): string[] {
  const names: string[] = [];
  for (const each of given) {
    const isPrefix = each.type === Nft.NFTA_DEVICE_PREFIX && isSince(work.engine.release, PREFIXES);
    if (each.type !== Nft.NFTA_DEVICE_NAME && !isPrefix) refuse(EINVAL);
    const name = isPrefix ? `${textOf(each.bytes)}*` : knownDevice(work, each);
    if (names.includes(name)) refuse(EEXIST, each);
    names.push(name);
    if (names.length === MAX_DEVICES) refuse(EFBIG);
  }
  return names;
}

/** A name that ends with a star is kept with a backslash before it. */
function knownDevice({ namespace, engine }: Work, attribute: Attribute): string {
  const isAwaited = isSince(engine.release, AWAITED);
  const given = textOf(attribute.bytes);
  if (isAwaited && given.length >= IFNAMSIZ) refuse(E2BIG, attribute);
  const name = given.slice(0, IFNAMSIZ - 1).replace(/\*$/, '\\*');
  if (!isAwaited && !namespace.links.some(link => link.name === name)) refuse(ENOENT, attribute);
  return name;
}

/** What a message makes of a chain. */
export interface ChainChange {
  readonly chain: Chain;
  /** The devices that it gets. */
  readonly only?: readonly string[] | undefined;
  /** Takes effect with the batch. */
  readonly apply?: () => void;
}

export function newChain(work: Work): ChainChange {
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
    return update(work, table, chain, policy, flags | (chain.flags & Nft.NFT_CHAIN_BASE), at);
  }
  return { chain: add(work, table, policy, flags) };
}

function add(work: Work, owner: Table, wanted: number | undefined, given: number): Chain {
  const { attributes, batch } = work;
  const name = attributes.get(Nft.NFTA_CHAIN_NAME);
  let base: Base | undefined;
  const isBinding = (given & Nft.NFT_CHAIN_BINDING) !== 0;
  if (attributes.has(Nft.NFTA_CHAIN_HOOK)) {
    if (batch.dormant.has(owner)) refuse(EINVAL);
    if (isBinding) refuse(EOPNOTSUPP);
    const hook = readHook(work, owner, attributes, undefined);
    if ((given & Nft.NFT_CHAIN_HW_OFFLOAD) !== 0) checkOffload(hook);
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
  const number = ++owner.lastHandle;
  if (name === undefined && !isBinding) refuse(EINVAL);
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
  if (id !== undefined) batch.chains.push({ id, chain: made });
  if (isBinding) batch.bindings.add(made);
  return made;
}

function readCounters(attributes: Attributes): { packets: bigint; bytes: bigint } | undefined {
  const inside = parsed(attributes, Nft.NFTA_CHAIN_COUNTERS, COUNTERS);
  if (inside === undefined) return undefined;
  const packets = inside.u64be(Nft.NFTA_COUNTER_PACKETS);
  const bytes = inside.u64be(Nft.NFTA_COUNTER_BYTES);
  return packets === undefined || bytes === undefined ? refuse(EINVAL) : { packets, bytes };
}

const MAX_OFFLOADED_PRIORITY = 65_535;

/** No device here carries out rules itself. Chains without devices may say that theirs do (nft_chain_offload_support). */
function checkOffload({ onDevices, devices, priority }: Hook): void {
  if (onDevices && devices.length === 0) refuse(EINVAL);
  if (devices.length > 0 || priority <= 0 || priority > MAX_OFFLOADED_PRIORITY) refuse(EOPNOTSUPP);
}

/** nf_tables_updchain: all of it takes effect with the batch. */
function update(
  work: Work,
  table: Table,
  chain: Chain,
  policy: number | undefined,
  flags: number,
  at: Attribute | undefined,
): ChainChange {
  const { attributes, batch } = work;
  const { base } = chain;
  if (flags !== chain.flags) refuse(EOPNOTSUPP);
  let added: string[] = [];
  if (attributes.has(Nft.NFTA_CHAIN_HOOK)) {
    if (base === undefined) throw new Refusal(EEXIST, at?.offset);
    const hook = readHook(work, table, attributes, base);
    const isSamePlace = hook.hook === base.hook && hook.priority === base.priority;
    if (hook.type !== base.type || !(base.onDevices || isSamePlace)) refuse(EEXIST, at);
    added = hook.devices.filter(each => !base.devices.includes(each));
    const isPromised = (device: string) =>
      batch.promised.some(each => each.table === table && each.what === `device ${device}`);
    if (added.some(isPromised)) refuse(EEXIST);
  }
  const name = attributes.get(Nft.NFTA_CHAIN_NAME);
  const renamed = attributes.has(Nft.NFTA_CHAIN_HANDLE) && name !== undefined ? nameOf(name) : undefined;
  if (renamed !== undefined && table.chains.some(each => each.name === renamed)) refuse(EEXIST, name);
  if (batch.dormant.has(table) && added.length > 0) refuse(EOPNOTSUPP, at);
  if (attributes.has(Nft.NFTA_CHAIN_COUNTERS) && base === undefined) refuse(EOPNOTSUPP);
  const counters = readCounters(attributes);
  if (renamed !== undefined) {
    const what = `chain ${renamed}`;
    if (batch.promised.some(each => each.table === table && each.what === what)) refuse(EEXIST, name);
    batch.promised.push({ table, what });
  }
  for (const device of added) batch.promised.push({ table, what: `device ${device}` });
  batch.withChains.add(table);
  const apply = () => {
    if (renamed !== undefined) chain.name = renamed;
    if (base === undefined) return;
    if (counters !== undefined) base.counters = counters;
    if (policy !== undefined) base.policy = policy;
    base.devices = [...base.devices, ...added];
  };
  return { chain, only: base?.onDevices === true ? added : undefined, apply };
}

/** Takes single devices from a chain (nft_delchain_hook). @returns them */
export function deleteDevices(work: Work, chain: Chain): readonly string[] {
  const { attributes, batch } = work;
  const { table, base } = chain;
  if (batch.dormant.has(table)) refuse(EOPNOTSUPP);
  const { devices } = readHook(work, table, attributes, base);
  const { devices: before } = base!;
  if (devices.some(each => !before.includes(each))) refuse(ENOENT);
  base!.devices = before.filter(each => !devices.includes(each));
  batch.undo.push(() => {
    base!.devices = before;
  });
  batch.withChains.add(table);
  return devices;
}

/** The chain that a message names. */
export function chainOf(work: Work, table: Table, type: number): Chain {
  const attribute = work.attributes.get(type) ?? refuse(EINVAL);
  const name = nameOf(attribute);
  return table.chains.find(each => each.name === name) ?? refuse(ENOENT, attribute);
}

const isPrefix = (device: string): boolean => device.endsWith('*') && !device.endsWith('\\*');
const nameOfDevice = (device: string): string => device.replace(/\\\*$/, '*');

export function writeDevice(writer: Writer, device: string): void {
  if (isPrefix(device)) writer.text(Nft.NFTA_DEVICE_PREFIX, device.slice(0, -1));
  else writer.text(Nft.NFTA_DEVICE_NAME, nameOfDevice(device));
}

export function writeHook(writer: Writer, base: Base, devices: readonly string[]): void {
  writer.nest(Nft.NFTA_CHAIN_HOOK, () => {
    writer.u32be(Nft.NFTA_HOOK_HOOKNUM, base.hook);
    writer.u32be(Nft.NFTA_HOOK_PRIORITY, base.priority);
    if (!base.onDevices) return;
    writer.nest(Nft.NFTA_HOOK_DEVS, () => {
      for (const device of devices) writeDevice(writer, device);
    });
    if (devices.length === 1 && !isPrefix(devices[0]!)) writer.text(Nft.NFTA_HOOK_DEV, nameOfDevice(devices[0]!));
  });
}

/** @param only the devices that an event is about */
export function writeChain(writer: Writer, chain: Chain, isOld: boolean, only?: readonly string[]): void {
  writer.text(Nft.NFTA_CHAIN_TABLE, chain.table.name);
  if (isOld) writer.u64be(Nft.NFTA_CHAIN_HANDLE, BigInt(chain.handle));
  writer.text(Nft.NFTA_CHAIN_NAME, chain.name);
  if (!isOld) writer.u64be(Nft.NFTA_CHAIN_HANDLE, BigInt(chain.handle));
  const { base } = chain;
  if (base !== undefined) {
    writeHook(writer, base, only ?? base.devices);
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
    writer.u64be(Nft.NFTA_COUNTER_PACKETS, packets);
    writer.u64be(Nft.NFTA_COUNTER_BYTES, bytes);
  });
}
