import { NLM_F_ROOT as NLM_F_NONREC } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { EAFNOSUPPORT, EBUSY, EINVAL, ENOENT, EOPNOTSUPP, Refusal, refuse } from '../refusal.ts';
import { chainOf, deleteDevices, newChain } from './chains.ts';
import { needed, type Work } from './context.ts';
import { deleteElements, newElements } from './elements.ts';
import { chainEvent, elementEvent, flowtableEvent, objectEvent, ruleEvent, setEvent, tableEvent } from './events.ts';
import { deleteHooks, flowtableOf, newFlowtable } from './flowtables.ts';
import { newObject, objectOf } from './objects.ts';
import { deleteRule, newRule, removeSet, rulesToDelete, takeOut } from './rules.ts';
import { newSet } from './sets.ts';
import type { Chain, NftSet, Rule, Table } from './state.ts';
import { newTable, soughtName, tableOf, tablesToDelete, useOf } from './tables.ts';

/** Carries out one message of a batch. */
export function carryOut(kind: number, work: Work): void {
  const operation = OPERATIONS[kind];
  if (operation === undefined) throw new Refusal(EINVAL);
  operation(work, kind);
}

type Operation = (work: Work, kind: number) => void;

const addTable: Operation = work => {
  const change = newTable(work);
  if (change !== undefined) tableEvent(work, Nft.NFT_MSG_NEWTABLE, change.table);
};

const deleteTable: Operation = (work, kind) => {
  const { attributes, family } = work;
  const tables = tablesToDelete(work, kind === Nft.NFT_MSG_DESTROYTABLE);
  const isNamed = family !== 0 && (attributes.has(Nft.NFTA_TABLE_NAME) || attributes.has(Nft.NFTA_TABLE_HANDLE));
  for (const table of [...tables]) {
    if (isNamed && useOf(table) > 0 && (work.request.flags & NLM_F_NONREC) !== 0) refuse(EBUSY);
    removeTable(work, table);
  }
};

/** Rules of all chains, sets, flowtables, objects, chains, and the table: in this order they are told. */
function removeTable(work: Work, table: Table): void {
  for (const chain of [...table.chains])
    if (!chain.binding)
      for (const rule of [...chain.rules]) {
        removeRule(work, chain, rule);
      }
  for (const set of [...table.sets]) {
    if ((set.flags & Nft.NFT_SET_ANONYMOUS) !== 0) continue;
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
    if (chain.binding) continue;
    chainEvent(work, Nft.NFT_MSG_DELCHAIN, chain);
    takeOut(work, table.chains, chain);
  }
  tableEvent(work, Nft.NFT_MSG_DELTABLE, table);
  takeOut(work, work.namespace.nfTables.tables, table);
}

const addChain: Operation = work => {
  const { chain, only, apply } = newChain(work);
  chainEvent(work, Nft.NFT_MSG_NEWCHAIN, chain, only, apply);
};

const deleteChain: Operation = (work, kind) => {
  const { attributes } = work;
  const isDestroy = kind === Nft.NFT_MSG_DESTROYCHAIN;
  const table = tableOf(work, Nft.NFTA_CHAIN_TABLE);
  const handle = attributes.get(Nft.NFTA_CHAIN_HANDLE);
  const chain = destroyable(work, isDestroy, () => {
    if (handle === undefined) return chainOf(work, table, Nft.NFTA_CHAIN_NAME);
    const wanted = attributes.u64be(Nft.NFTA_CHAIN_HANDLE);
    return table.chains.find(each => BigInt(each.handle) === wanted) ?? refuse(ENOENT, handle);
  });
  if (chain === undefined) return;
  if (chain.binding) refuse(EOPNOTSUPP);
  if (attributes.has(Nft.NFTA_CHAIN_HOOK)) {
    if (isDestroy) refuse(EOPNOTSUPP);
    if (chain.base?.onDevices === true) {
      chainEvent(work, Nft.NFT_MSG_DELCHAIN, chain, deleteDevices(work, chain));
      return;
    }
  }
  if ((work.request.flags & NLM_F_NONREC) !== 0 && chain.rules.length + chain.jumps > 0) refuse(EBUSY);
  const { jumps } = chain;
  for (const rule of [...chain.rules]) {
    removeRule(work, chain, rule);
  }
  // Jumps stay, its own to itself, too.
  if (jumps > 0) refuse(EBUSY, handle ?? attributes.get(Nft.NFTA_CHAIN_NAME));
  if (chain.base !== undefined) work.batch.withChains.add(table);
  chainEvent(work, Nft.NFT_MSG_DELCHAIN, chain);
  takeOut(work, table.chains, chain);
};

/** What a DESTROY does not find is no error. */
function destroyable<T>(_: Work, isDestroy: boolean, find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (isDestroy && error instanceof Refusal && error.errno === ENOENT) return undefined;
    throw error;
  }
}

/** A rule goes, and then the sets that were its own. */
function removeRule(work: Work, chain: Chain, rule: Rule): void {
  ruleEvent(work, Nft.NFT_MSG_DELRULE, chain, rule);
  for (const set of deleteRule(work, chain, rule)) setEvent(work, Nft.NFT_MSG_DELSET, set);
}

const addRule: Operation = work => {
  const { chain, rule, replaced, gone } = newRule(work);
  if (replaced !== undefined) ruleEvent(work, Nft.NFT_MSG_DELRULE, chain, replaced);
  for (const set of gone) setEvent(work, Nft.NFT_MSG_DELSET, set);
  ruleEvent(work, Nft.NFT_MSG_NEWRULE, chain, rule);
};

const deleteRules: Operation = (work, kind) => {
  for (const { chain, rule } of [...rulesToDelete(work, kind === Nft.NFT_MSG_DESTROYRULE)]) {
    removeRule(work, chain, rule);
  }
};

const addSet: Operation = work => {
  const { set, apply } = newSet(work);
  setEvent(work, Nft.NFT_MSG_NEWSET, set, apply);
};

const deleteSet: Operation = (work, kind) => {
  const { attributes } = work;
  if (work.family === 0) refuse(EAFNOSUPPORT);
  const table = tableOf(work, Nft.NFTA_SET_TABLE);
  const set = destroyable(work, kind === Nft.NFT_MSG_DESTROYSET, (): NftSet => {
    const handle = attributes.get(Nft.NFTA_SET_HANDLE);
    const name = attributes.get(Nft.NFTA_SET_NAME);
    if (handle === undefined && name === undefined) refuse(EINVAL);
    const wanted = handle && attributes.u64be(Nft.NFTA_SET_HANDLE);
    const called = name && soughtName(name);
    const found = table.sets.find(each =>
      wanted === undefined ? each.name === called : BigInt(each.handle) === wanted,
    );
    return found ?? refuse(ENOENT, handle ?? name);
  });
  if (set === undefined) return;
  const isFilled = set.elements.size + (work.batch.deactivated.get(set) ?? 0) > 0;
  if (set.users > 0 || ((work.request.flags & NLM_F_NONREC) !== 0 && isFilled))
    refuse(EBUSY, attributes.get(Nft.NFTA_SET_HANDLE) ?? attributes.get(Nft.NFTA_SET_NAME));
  setEvent(work, Nft.NFT_MSG_DELSET, set);
  removeSet(work, table, set);
};

const addElements: Operation = work =>
  newElements(work, (set, element, apply) => elementEvent(work, Nft.NFT_MSG_NEWSETELEM, set, element, apply));

const removeElements: Operation = (work, kind) =>
  deleteElements(work, kind === Nft.NFT_MSG_DESTROYSETELEM, (set, element) =>
    elementEvent(work, Nft.NFT_MSG_DELSETELEM, set, element),
  );

const addObject: Operation = work => {
  const changed = newObject(work);
  if (changed !== undefined) objectEvent(work, Nft.NFT_MSG_NEWOBJ, changed.object, changed.apply);
};

const deleteObject: Operation = (work, kind) => {
  const { attributes } = work;
  if (!attributes.has(Nft.NFTA_OBJ_TYPE) || !(attributes.has(Nft.NFTA_OBJ_NAME) || attributes.has(Nft.NFTA_OBJ_HANDLE)))
    refuse(EINVAL);
  const table = tableOf(work, Nft.NFTA_OBJ_TABLE);
  const object = destroyable(work, kind === Nft.NFT_MSG_DESTROYOBJ, () => objectOf(work, table));
  if (object === undefined) return;
  if (object.users > 0) refuse(EBUSY, attributes.get(Nft.NFTA_OBJ_HANDLE) ?? attributes.get(Nft.NFTA_OBJ_NAME));
  objectEvent(work, Nft.NFT_MSG_DELOBJ, object);
  takeOut(work, table.objects, object);
};

const addFlowtable: Operation = work => {
  const { flowtable, only, apply } = newFlowtable(work);
  flowtableEvent(work, Nft.NFT_MSG_NEWFLOWTABLE, flowtable, only, apply);
};

const deleteFlowtable: Operation = (work, kind) => {
  const { attributes } = work;
  needed(attributes, Nft.NFTA_FLOWTABLE_TABLE);
  if (!attributes.has(Nft.NFTA_FLOWTABLE_NAME) && !attributes.has(Nft.NFTA_FLOWTABLE_HANDLE)) refuse(EINVAL);
  const table = tableOf(work, Nft.NFTA_FLOWTABLE_TABLE);
  const flowtable = destroyable(work, kind === Nft.NFT_MSG_DESTROYFLOWTABLE, () => flowtableOf(work, table));
  if (flowtable === undefined) return;
  if (attributes.has(Nft.NFTA_FLOWTABLE_HOOK)) {
    const gone = deleteHooks(work, flowtable);
    flowtableEvent(work, kind, flowtable, gone);
    return;
  }
  if (flowtable.users > 0)
    refuse(EBUSY, attributes.get(Nft.NFTA_FLOWTABLE_HANDLE) ?? attributes.get(Nft.NFTA_FLOWTABLE_NAME));
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
