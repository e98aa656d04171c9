import { NLM_F_EXCL, NLM_F_REPLACE } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP, refuse } from '../refusal.ts';
import type { Attributes, Writer } from '../wire/attributes.ts';
import { knownDevices } from './chains.ts';
import { needed, type Work } from './context.ts';
import type { Flowtable, Table } from './state.ts';
import { nameOf, tableOf } from './tables.ts';

const INGRESS = 0;
const FLAGS = Nft.NFT_FLOWTABLE_HW_OFFLOAD | Nft.NFT_FLOWTABLE_COUNTER;

/** @returns the flowtable, and whether it is new */
export function newFlowtable(work: Work): { flowtable: Flowtable; isNew: boolean } {
  const { attributes, request, batch } = work;
  for (const type of [Nft.NFTA_FLOWTABLE_TABLE, Nft.NFTA_FLOWTABLE_NAME, Nft.NFTA_FLOWTABLE_HOOK])
    needed(attributes, type);
  const table = tableOf(work, Nft.NFTA_FLOWTABLE_TABLE);
  if (![1, 2, 10].includes(table.family)) refuse(EOPNOTSUPP);
  const nameAttribute = attributes.get(Nft.NFTA_FLOWTABLE_NAME)!;
  const name = nameOf(nameAttribute);
  const flags = attributes.u32be(Nft.NFTA_FLOWTABLE_FLAGS) ?? 0;
  const existing = table.flowtables.find(each => each.name === name);
  const hook = readHook(work, attributes, existing);
  if ((flags & ~FLAGS) !== 0) refuse(EOPNOTSUPP);
  if (existing !== undefined) {
    if ((request.flags & NLM_F_EXCL) !== 0) refuse(EEXIST, nameAttribute);
    if ((request.flags & NLM_F_REPLACE) !== 0) refuse(EOPNOTSUPP);
    const before = existing.devices;
    existing.devices = [...before, ...hook.devices.filter(each => !before.includes(each))];
    batch.undo.push(() => {
      existing.devices = before;
    });
    return { flowtable: existing, isNew: false };
  }
  if ((flags & Nft.NFT_FLOWTABLE_HW_OFFLOAD) !== 0) refuse(EOPNOTSUPP);
  const flowtable: Flowtable = { table, name, handle: ++table.lastHandle, ...hook, flags, users: 0 };
  table.flowtables.push(flowtable);
  batch.undo.push(() => void table.flowtables.splice(table.flowtables.indexOf(flowtable), 1));
  return { flowtable, isNew: true };
}

function readHook(
  work: Work,
  attributes: Attributes,
  existing: Flowtable | undefined,
): Pick<Flowtable, 'hook' | 'priority' | 'devices'> {
  const inside = attributes.nested(Nft.NFTA_FLOWTABLE_HOOK)!;
  const hook = inside.u32be(Nft.NFTA_FLOWTABLE_HOOK_NUM) ?? existing?.hook;
  const priority = inside.u32be(Nft.NFTA_FLOWTABLE_HOOK_PRIORITY) ?? existing?.priority;
  if (hook === undefined || priority === undefined) return refuse(EINVAL);
  if (hook !== INGRESS) refuse(EOPNOTSUPP);
  const devices = inside.get(Nft.NFTA_FLOWTABLE_HOOK_DEVS);
  const names = devices === undefined ? [] : knownDevices(work, inside.inside(devices).list());
  return { hook, priority: priority | 0, devices: names };
}

export function flowtableOf({ attributes }: Work, table: Table): Flowtable {
  const handle = attributes.get(Nft.NFTA_FLOWTABLE_HANDLE);
  const name = attributes.get(Nft.NFTA_FLOWTABLE_NAME);
  if (handle === undefined && name === undefined) return refuse(EINVAL);
  const wanted = handle && attributes.u64be(Nft.NFTA_FLOWTABLE_HANDLE);
  const called = name && nameOf(name);
  const found = table.flowtables.find(each =>
    wanted === undefined ? each.name === called : BigInt(each.handle) === wanted,
  );
  return found ?? refuse(ENOENT, handle ?? name);
}

export function writeFlowtable(writer: Writer, flowtable: Flowtable): void {
  writer.text(Nft.NFTA_FLOWTABLE_TABLE, flowtable.table.name);
  writer.text(Nft.NFTA_FLOWTABLE_NAME, flowtable.name);
  writer.u64be(Nft.NFTA_FLOWTABLE_HANDLE, BigInt(flowtable.handle));
  writer.u32be(Nft.NFTA_FLOWTABLE_USE, flowtable.users);
  writer.u32be(Nft.NFTA_FLOWTABLE_FLAGS, flowtable.flags);
  writer.nest(Nft.NFTA_FLOWTABLE_HOOK, () => {
    writer.u32be(Nft.NFTA_FLOWTABLE_HOOK_NUM, flowtable.hook);
    writer.u32be(Nft.NFTA_FLOWTABLE_HOOK_PRIORITY, flowtable.priority);
    writer.nest(Nft.NFTA_FLOWTABLE_HOOK_DEVS, () => {
      for (const device of flowtable.devices) writer.text(Nft.NFTA_DEVICE_NAME, device);
    });
  });
}
