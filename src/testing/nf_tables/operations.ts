import { NLM_F_ROOT as NLM_F_NONREC } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { EBUSY, EINVAL, ENOENT, Refusal, refuse } from '../refusal.ts';
import { chainOf, newChain } from './chains.ts';
import type { Work } from './context.ts';
import { deleteElements, newElements } from './elements.ts';
import { chainEvent, elementEvents, flowtableEvent, objectEvent, ruleEvent, setEvent, tableEvent } from './events.ts';
import { flowtableOf, newFlowtable } from './flowtables.ts';
import { newObject, objectOf } from './objects.ts';
import { deleteRule, newRule, removeSet, rulesToDelete, takeOut } from './rules.ts';
import { newSet } from './sets.ts';
import type { Chain, NftSet, Table } from './state.ts';
import { nameOf, newTable, tableOf, tablesToDelete } from './tables.ts';

/** Carries out one message of a batch. */
export function carryOut(kind: number, work: Work): void {
  const operation = OPERATIONS[kind];
  if (operation === undefined) throw new Refusal(EINVAL);
  operation(work, kind);
}

type Operation = (work: Work, kind: number) => void;

const addTable: Operation = work => {
  const table = newTable(work);
  if (table !== undefined) tableEvent(work, Nft.NFT_MSG_NEWTABLE, table);
};

const deleteTable: Operation = (work, kind) => {
  const tables = tablesToDelete(work, kind === Nft.NFT_MSG_DESTROYTABLE);
  for (const table of [...tables]) {
    const isUsed = table.chains.length + table.sets.length + table.objects.length + table.flowtables.length > 0;
    if (isUsed && (work.request.flags & NLM_F_NONREC) !== 0) refuse(EBUSY);
    removeTable(work, table);
  }
};

/** Rules of all chains, sets, flowtables, objects, chains, and the table: in this order they are told. */
function removeTable(work: Work, table: Table): void {
  for (const chain of [...table.chains])
    if (!chain.binding)
      for (const rule of [...chain.rules]) {
        ruleEvent(work, Nft.NFT_MSG_DELRULE, chain, rule);
        deleteRule(work, chain, rule);
      }
  for (const set of [...table.sets]) {
    setEvent(work, Nft.NFT_MSG_DELSET, set);
    removeSet(work, table, set);
  }
  for (const flowtable of [...table.flowtables]) {
    flowtableEvent(work, Nft.NFT_MSG_DELFLOWTABLE, flowtable);
    takeOut(work, table.flowtables, flowtable);
  }
  for (const object of [...table.objects]) {
    objectEvent(work, Nft.NFT_MSG_DELOBJ, object);
    takeOut(work, table.objects, object);
  }
  for (const chain of [...table.chains]) {
    chainEvent(work, Nft.NFT_MSG_DELCHAIN, chain);
    takeOut(work, table.chains, chain);
  }
  tableEvent(work, Nft.NFT_MSG_DELTABLE, table);
  takeOut(work, work.namespace.nfTables.tables, table);
}

const addChain: Operation = work => {
  const { chain } = newChain(work);
  chainEvent(work, Nft.NFT_MSG_NEWCHAIN, chain);
};

const deleteChain: Operation = (work, kind) => {
  const { attributes } = work;
  const table = tableOf(work, Nft.NFTA_CHAIN_TABLE);
  const chain = destroyable(work, kind === Nft.NFT_MSG_DESTROYCHAIN, () => {
    const handle = attributes.get(Nft.NFTA_CHAIN_HANDLE);
    if (handle === undefined) return chainOf(work, table, Nft.NFTA_CHAIN_NAME);
    const wanted = attributes.u64be(Nft.NFTA_CHAIN_HANDLE);
    return table.chains.find(each => BigInt(each.handle) === wanted) ?? refuse(ENOENT, handle);
  });
  if (chain === undefined) return;
  if (chain.binding) refuse(EINVAL);
  if (attributes.has(Nft.NFTA_CHAIN_HOOK)) return deleteDevices(work, chain);
  if ((work.request.flags & NLM_F_NONREC) !== 0 && chain.rules.length + chain.jumps > 0) refuse(EBUSY);
  for (const rule of [...chain.rules]) {
    ruleEvent(work, Nft.NFT_MSG_DELRULE, chain, rule);
    deleteRule(work, chain, rule);
  }
  // Jumps from elsewhere stay.
  if (chain.jumps > 0) refuse(EBUSY);
  chainEvent(work, Nft.NFT_MSG_DELCHAIN, chain);
  takeOut(work, table.chains, chain);
};

function deleteDevices(work: Work, chain: Chain): void {
  work.engine.notModelled('the deletion of single devices of a chain');
  void chain;
}

/** What a DESTROY does not find is no error. */
function destroyable<T>(_: Work, isDestroy: boolean, find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (isDestroy && error instanceof Refusal && error.errno === ENOENT) return undefined;
    throw error;
  }
}

const addRule: Operation = work => {
  const { chain, rule, replaced } = newRule(work);
  if (replaced !== undefined) ruleEvent(work, Nft.NFT_MSG_DELRULE, chain, replaced);
  ruleEvent(work, Nft.NFT_MSG_NEWRULE, chain, rule);
};

const deleteRules: Operation = (work, kind) => {
  for (const { chain, rule } of [...rulesToDelete(work, kind === Nft.NFT_MSG_DESTROYRULE)]) {
    ruleEvent(work, Nft.NFT_MSG_DELRULE, chain, rule);
    deleteRule(work, chain, rule);
  }
};

const addSet: Operation = work => {
  const { set } = newSet(work);
  setEvent(work, Nft.NFT_MSG_NEWSET, set);
};

const deleteSet: Operation = (work, kind) => {
  const { attributes } = work;
  if (work.family === 0) refuse(-97);
  const table = tableOf(work, Nft.NFTA_SET_TABLE);
  const set = destroyable(work, kind === Nft.NFT_MSG_DESTROYSET, (): NftSet => {
    const handle = attributes.get(Nft.NFTA_SET_HANDLE);
    const name = attributes.get(Nft.NFTA_SET_NAME);
    const wanted = handle && attributes.u64be(Nft.NFTA_SET_HANDLE);
    const called = name && nameOf(name);
    const found = table.sets.find(each =>
      wanted === undefined ? each.name === called : BigInt(each.handle) === wanted,
    );
    return found ?? refuse(ENOENT, handle ?? name);
  });
  if (set === undefined) return;
  const isFilled = set.elements.size > 0 || set.catchAll !== undefined;
  if (set.users > 0 || ((work.request.flags & NLM_F_NONREC) !== 0 && isFilled))
    refuse(EBUSY, attributes.get(Nft.NFTA_SET_HANDLE) ?? attributes.get(Nft.NFTA_SET_NAME));
  setEvent(work, Nft.NFT_MSG_DELSET, set);
  removeSet(work, table, set);
};

const addElements: Operation = work => elementEvents(work, Nft.NFT_MSG_NEWSETELEM, newElements(work));

const removeElements: Operation = (work, kind) =>
  elementEvents(work, Nft.NFT_MSG_DELSETELEM, deleteElements(work, kind === Nft.NFT_MSG_DESTROYSETELEM));

const addObject: Operation = work => {
  const changed = newObject(work);
  if (changed !== undefined) objectEvent(work, Nft.NFT_MSG_NEWOBJ, changed.object);
};

const deleteObject: Operation = (work, kind) => {
  const { attributes } = work;
  const table = tableOf(work, Nft.NFTA_OBJ_TABLE);
  const object = destroyable(work, kind === Nft.NFT_MSG_DESTROYOBJ, () => objectOf(work, table));
  if (object === undefined) return;
  if (object.users > 0) refuse(EBUSY, attributes.get(Nft.NFTA_OBJ_HANDLE) ?? attributes.get(Nft.NFTA_OBJ_NAME));
  objectEvent(work, Nft.NFT_MSG_DELOBJ, object);
  takeOut(work, table.objects, object);
};

const addFlowtable: Operation = work => {
  const { flowtable } = newFlowtable(work);
  flowtableEvent(work, Nft.NFT_MSG_NEWFLOWTABLE, flowtable);
};

const deleteFlowtable: Operation = (work, kind) => {
  const table = tableOf(work, Nft.NFTA_FLOWTABLE_TABLE);
  const flowtable = destroyable(work, kind === Nft.NFT_MSG_DESTROYFLOWTABLE, () => flowtableOf(work, table));
  if (flowtable === undefined) return;
  if (flowtable.users > 0) refuse(EBUSY);
  flowtableEvent(work, Nft.NFT_MSG_DELFLOWTABLE, flowtable);
  takeOut(work, table.flowtables, flowtable);
};

const OPERATIONS: Record<number, Operation> = {
  [Nft.NFT_MSG_NEWTABLE]: addTable,
  [Nft.NFT_MSG_DELTABLE]: deleteTable,
  [Nft.NFT_MSG_DESTROYTABLE]: deleteTable,
  [Nft.NFT_MSG_NEWCHAIN]: addChain,
  [Nft.NFT_MSG_DELCHAIN]: deleteChain,
  [Nft.NFT_MSG_DESTROYCHAIN]: deleteChain,
  [Nft.NFT_MSG_NEWRULE]: addRule,
  [Nft.NFT_MSG_DELRULE]: deleteRules,
  [Nft.NFT_MSG_DESTROYRULE]: deleteRules,
  [Nft.NFT_MSG_NEWSET]: addSet,
  [Nft.NFT_MSG_DELSET]: deleteSet,
  [Nft.NFT_MSG_DESTROYSET]: deleteSet,
  [Nft.NFT_MSG_NEWSETELEM]: addElements,
  [Nft.NFT_MSG_DELSETELEM]: removeElements,
  [Nft.NFT_MSG_DESTROYSETELEM]: removeElements,
  [Nft.NFT_MSG_NEWOBJ]: addObject,
  [Nft.NFT_MSG_DELOBJ]: deleteObject,
  [Nft.NFT_MSG_DESTROYOBJ]: deleteObject,
  [Nft.NFT_MSG_NEWFLOWTABLE]: addFlowtable,
  [Nft.NFT_MSG_DELFLOWTABLE]: deleteFlowtable,
  [Nft.NFT_MSG_DESTROYFLOWTABLE]: deleteFlowtable,
};
