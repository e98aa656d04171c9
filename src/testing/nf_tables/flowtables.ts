import { NLM_F_EXCL } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { hasModule } from '../machine/state.ts';
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, refuse } from '../refusal.ts';
import type { Writer } from '../wire/attributes.ts';
import { knownDevices, writeDevice } from './chains.ts';
import { needed, type Work } from './context.ts';
import { FLOWTABLE_HOOK } from './policies.ts';
import { parsed } from './policy.ts';
import type { Flowtable, Table } from './state.ts';
import { nameOf, soughtName, tableOf } from './tables.ts';

const INGRESS = 0;
const FLAGS = Nft.NFT_FLOWTABLE_HW_OFFLOAD | Nft.NFT_FLOWTABLE_COUNTER;

/** What a message makes of a flowtable. */
interface FlowtableChange {
  readonly flowtable: Flowtable;
  /** The devices that it gets. */
  readonly only?: readonly string[];
  /** Takes effect with the batch. */
  readonly apply?: () => void;
}

export function newFlowtable(work: Work): FlowtableChange {
  const { attributes, request, batch } = work;
  for (const type of [Nft.NFTA_FLOWTABLE_TABLE, Nft.NFTA_FLOWTABLE_NAME, Nft.NFTA_FLOWTABLE_HOOK])
    needed(attributes, type);
  const table = tableOf(work, Nft.NFTA_FLOWTABLE_TABLE);
  const nameAttribute = attributes.get(Nft.NFTA_FLOWTABLE_NAME)!;
  const name = nameOf(nameAttribute);
  const sought = soughtName(nameAttribute);
  const existing = table.flowtables.find(each => each.name === sought);
  if (existing !== undefined) {
    if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST, nameAttribute);
    return update(work, table, existing);
  }
  const handle = ++table.lastHandle;
  if (!hasType(work, table)) refuse(ENOENT);
  const flags = attributes.u32be(Nft.NFTA_FLOWTABLE_FLAGS) ?? 0;
  if ((flags & ~FLAGS) !== 0) refuse(EOPNOTSUPP);
  const hook = readHook(work, undefined);
  register(table, hook.devices);
  if ((flags & Nft.NFT_FLOWTABLE_HW_OFFLOAD) !== 0 && hook.devices.length > 0) refuse(EOPNOTSUPP);
  const flowtable: Flowtable = { table, name, handle, ...hook, flags, users: 0 };
  table.flowtables.push(flowtable);
  batch.undo.push(() => void table.flowtables.splice(table.flowtables.indexOf(flowtable), 1));
  return { flowtable };
}

/** The modules that know flows of a family. */
const TYPES: Readonly<Record<number, string>> = { 1: 'nf_flow_table_inet', 2: 'nf_flow_table', 10: 'nf_flow_table' };
const hasType = ({ engine }: Work, { family }: Table): boolean =>
  TYPES[family] !== undefined && hasModule(engine.release, TYPES[family]);

/** A device has one flowtable of a table. */
function register({ flowtables }: Table, devices: readonly string[]): void {
  if (flowtables.some(each => each.devices.some(device => devices.includes(device)))) refuse(EEXIST);
}

/** nft_flowtable_update */
function update(work: Work, table: Table, flowtable: Flowtable): FlowtableChange {
  const { attributes, batch } = work;
  const { devices } = readHook(work, flowtable);
  const added = devices.filter(each => !flowtable.devices.includes(each));
  const what = (device: string) => `flows of ${device}`;
  if (batch.promised.some(each => each.table === table && added.some(device => what(device) === each.what)))
    refuse(EEXIST);
  const given = attributes.u32be(Nft.NFTA_FLOWTABLE_FLAGS);
  if (given !== undefined) {
    if ((given & ~FLAGS) !== 0) refuse(EOPNOTSUPP);
    if (((given ^ flowtable.flags) & Nft.NFT_FLOWTABLE_HW_OFFLOAD) !== 0) refuse(EOPNOTSUPP);
  }
  register(table, added);
  for (const device of added) batch.promised.push({ table, what: what(device) });
  const apply = () => {
    if (given !== undefined) flowtable.flags = given;
    flowtable.devices = [...flowtable.devices, ...added];
  };
  return { flowtable, only: added, apply };
}

/** Takes single devices from a flowtable (nft_delflowtable_hook). @returns them */
export function deleteHooks(work: Work, flowtable: Flowtable): readonly string[] {
  const { devices } = readHook(work, flowtable);
  const { devices: before } = flowtable;
  if (devices.some(each => !before.includes(each))) refuse(ENOENT);
  flowtable.devices = before.filter(each => !devices.includes(each));
  work.batch.undo.push(() => {
    flowtable.devices = before;
  });
  return devices;
}

/** nft_flowtable_parse_hook */
function readHook(work: Work, existing: Flowtable | undefined): Pick<Flowtable, 'hook' | 'priority' | 'devices'> {
  const { attributes } = work;
  const inside = parsed(attributes, Nft.NFTA_FLOWTABLE_HOOK, FLOWTABLE_HOOK)!;
  const hook = inside.u32be(Nft.NFTA_FLOWTABLE_HOOK_NUM) ?? existing?.hook;
  const given = inside.u32be(Nft.NFTA_FLOWTABLE_HOOK_PRIORITY);
  const priority = given === undefined ? existing?.priority : given | 0;
  if (hook === undefined || priority === undefined) return refuse(ENOENT, attributes.get(Nft.NFTA_FLOWTABLE_NAME));
  if (hook !== (existing?.hook ?? INGRESS)) refuse(EOPNOTSUPP);
  if (existing !== undefined && priority !== existing.priority) refuse(EOPNOTSUPP);
  const devices = inside.get(Nft.NFTA_FLOWTABLE_HOOK_DEVS);
  const names = devices === undefined ? [] : knownDevices(work, inside.inside(devices).list());
  return { hook, priority, devices: names };
}

export function flowtableOf({ attributes }: Work, table: Table, byHandle = true): Flowtable {
  const handle = byHandle ? attributes.get(Nft.NFTA_FLOWTABLE_HANDLE) : undefined;
  const name = attributes.get(Nft.NFTA_FLOWTABLE_NAME);
  if (handle === undefined && name === undefined) return refuse(EINVAL);
  const wanted = handle && attributes.u64be(Nft.NFTA_FLOWTABLE_HANDLE);
  const called = name && soughtName(name);
  const found = table.flowtables.find(each =>
    wanted === undefined ? each.name === called : BigInt(each.handle) === wanted,
  );
  return found ?? refuse(ENOENT, handle ?? name);
}

/** @param only the devices that an event is about */
export function writeFlowtable(writer: Writer, flowtable: Flowtable, only?: readonly string[]): void {
  writer.text(Nft.NFTA_FLOWTABLE_TABLE, flowtable.table.name);
  writer.text(Nft.NFTA_FLOWTABLE_NAME, flowtable.name);
  writer.u64be(Nft.NFTA_FLOWTABLE_HANDLE, BigInt(flowtable.handle));
  writer.u32be(Nft.NFTA_FLOWTABLE_USE, flowtable.users);
  writer.u32be(Nft.NFTA_FLOWTABLE_FLAGS, flowtable.flags);
  writer.nest(Nft.NFTA_FLOWTABLE_HOOK, () => {
    writer.u32be(Nft.NFTA_FLOWTABLE_HOOK_NUM, flowtable.hook);
    writer.u32be(Nft.NFTA_FLOWTABLE_HOOK_PRIORITY, flowtable.priority);
    writer.nest(Nft.NFTA_FLOWTABLE_HOOK_DEVS, () => {
      for (const device of only ?? flowtable.devices) writeDevice(writer, device);
    });
  });
}
