import {
  NETLINK_NETFILTER,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_ECHO,
  NLM_F_EXCL,
  NLM_F_REPLACE,
} from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { NFNLGRP_NFTABLES } from '../../linux/nfnetlink.ts';
import type { Machine } from '../machine/machine.ts';
import type { Request } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import { isSince, type Namespace } from '../machine/state.ts';
import type { Writer } from '../wire/attributes.ts';
import { writeChain, writeHook } from './chains.ts';
import type { Batch, Codec, ElementRun, Work } from './context.ts';
import { writeElement } from './elements.ts';
import { writeFlowtable } from './flowtables.ts';
import { nftMessage } from './message.ts';
import { writeObject } from './objects.ts';
import { writeRule } from './rules.ts';
import { collectAtCommit } from './set-lookup.ts';
import { writeSet } from './sets.ts';
import type { Chain, Element, Flowtable, NftObject, NftSet, Rule, Table } from './state.ts';
import { useOf, writeTable } from './tables.ts';

/** Events fill datagrams of at most so many bytes (NLMSG_GOODSIZE). */
const DATAGRAM = 3776;
/** Up to 6.12 objects are told whole when they go. */
const SHORT_DELETIONS = [6, 13] as const;
/** Up to 6.1 the order of attributes was another one. */
export const NEW_ORDER = [6, 3] as const;

interface Told {
  /** What takes effect when the batch is carried out. */
  readonly apply?: (() => void) | undefined;
  readonly sequence?: number;
  /** Whether there is something to tell, when it has been carried out. */
  readonly isTold?: (() => boolean) | undefined;
  readonly run?: ElementRun;
}

/** Records what a message has done: an event, and what takes effect at the end only. */
function record(
  work: Work,
  type: number,
  flags: number,
  family: number,
  body: (writer: Writer) => void,
  { apply, sequence = work.request.sequence, isTold, run }: Told = {},
): void {
  const { batch, namespace, request } = work;
  const header = { type, flags, sequence, port: request.port, family };
  batch.events.push({
    report: run?.report ?? isEchoed(work),
    run,
    apply,
    build: () => (isTold?.() === false ? undefined : nftMessage(namespace.nfTables, header, body)),
  });
}

const isEchoed = ({ request }: Work): boolean => (request.flags & NLM_F_ECHO) !== 0;
const created = ({ request }: Work): number => request.flags & (NLM_F_CREATE | NLM_F_EXCL);
const isOld = ({ release }: Codec): boolean => !isSince(release, NEW_ORDER);
const isShort = ({ release }: Codec): boolean => isSince(release, SHORT_DELETIONS);

export function tableEvent(work: Work, type: number, table: Table, isTold?: () => boolean): void {
  const { engine } = work;
  record(
    work,
    type,
    created(work),
    table.family,
    writer => {
      if (type === Nft.NFT_MSG_NEWTABLE || !isShort(engine)) writeTable(writer, table, isOld(engine));
      else {
        writer.text(Nft.NFTA_TABLE_NAME, table.name);
        writer.u32be(Nft.NFTA_TABLE_USE, useOf(table));
        writer.u64be(Nft.NFTA_TABLE_HANDLE, BigInt(table.handle));
      }
    },
    { isTold },
  );
}

/** @param only the devices that it gets or loses */
export function chainEvent(work: Work, type: number, chain: Chain, only?: readonly string[], apply?: () => void): void {
  const { engine } = work;
  record(
    work,
    type,
    created(work),
    chain.table.family,
    writer => {
      if (type === Nft.NFT_MSG_NEWCHAIN || !isShort(engine)) writeChain(writer, chain, isOld(engine), only);
      else {
        writer.text(Nft.NFTA_CHAIN_TABLE, chain.table.name);
        writer.text(Nft.NFTA_CHAIN_NAME, chain.name);
        writer.u64be(Nft.NFTA_CHAIN_HANDLE, BigInt(chain.handle));
        if (only !== undefined) writeHook(writer, chain.base!, only);
      }
    },
    { apply },
  );
}

export function ruleEvent(work: Work, type: number, chain: Chain, rule: Rule): void {
  const isNew = type === Nft.NFT_MSG_NEWRULE;
  const appended = (work.request.flags & (NLM_F_APPEND | NLM_F_REPLACE)) !== 0 ? NLM_F_APPEND : 0;
  record(work, type, created(work) | appended, chain.table.family, writer => {
    const at = chain.rules.indexOf(rule);
    // Only a rule between two others has the one before it told.
    const before = isNew && at > 0 && at < chain.rules.length - 1 ? chain.rules[at - 1] : undefined;
    writeRule(writer, chain, rule, work.engine, before);
  });
}

export function setEvent(work: Work, type: number, set: NftSet, apply?: () => void): void {
  const { engine } = work;
  record(
    work,
    type,
    created(work),
    set.table.family,
    writer => {
      if (type === Nft.NFT_MSG_NEWSET || !isShort(engine)) writeSet(writer, set, engine);
      else {
        writer.text(Nft.NFTA_SET_TABLE, set.table.name);
        writer.text(Nft.NFTA_SET_NAME, set.name);
        writer.u64be(Nft.NFTA_SET_HANDLE, BigInt(set.handle));
      }
    },
    { apply },
  );
}

/** One message an element, without a sequence number. */
export function elementEvent(work: Work, type: number, set: NftSet, element: Element, apply?: () => void): void {
  const run = runOf(work, type, set);
  record(
    work,
    type,
    run.flags,
    set.table.family,
    writer => {
      writer.text(Nft.NFTA_SET_ELEM_LIST_TABLE, set.table.name);
      writer.text(Nft.NFTA_SET_ELEM_LIST_SET, set.name);
      writer.nest(Nft.NFTA_SET_ELEM_LIST_ELEMENTS, () =>
        writer.nest(Nft.NFTA_LIST_ELEM, () => writeElement(writer, set, element, work.engine)),
      );
    },
    { apply, sequence: 0, run },
  );
}

/** Changes of elements in a row are kept together (nft_trans_collapse_set_elem). */
const COLLAPSED = [6, 13] as const;
/** NFT_MAX_SET_NELEMS: what fits 2,048 bytes. */
const LONGEST_RUN = 124;

function runOf(work: Work, type: number, set: NftSet): ElementRun {
  const last = work.batch.events.at(-1)?.run;
  const isCollapsed = isSince(work.engine.release, COLLAPSED) && last?.set === set && last.type === type;
  if (isCollapsed && last.count < LONGEST_RUN) {
    last.count++;
    return last;
  }
  return { set, type, flags: created(work), report: isEchoed(work), count: 1 };
}

export function objectEvent(work: Work, type: number, object: NftObject, apply?: () => void): void {
  const { engine } = work;
  record(
    work,
    type,
    created(work),
    object.table.family,
    writer => {
      if (type === Nft.NFT_MSG_NEWOBJ || !isShort(engine)) writeObject(writer, object, engine, isOld(engine));
      else {
        writer.text(Nft.NFTA_OBJ_TABLE, object.table.name);
        writer.text(Nft.NFTA_OBJ_NAME, object.name);
        writer.u32be(Nft.NFTA_OBJ_TYPE, object.type);
        writer.u64be(Nft.NFTA_OBJ_HANDLE, BigInt(object.handle));
      }
    },
    { apply },
  );
}

/** @param only the devices that it gets or loses */
export function flowtableEvent(
  work: Work,
  type: number,
  flowtable: Flowtable,
  only?: readonly string[],
  apply?: () => void,
): void {
  record(work, type, created(work), flowtable.table.family, writer => writeFlowtable(writer, flowtable, only), {
    apply,
  });
}

/** Tells a batch that has been carried out: its events in few datagrams, then the generation alone. */
export function tell(machine: Machine, namespace: Namespace, socket: MemorySocket, first: Request, batch: Batch): void {
  if (batch.events.length === 0) return;
  const send = (datagram: Uint8Array, report: boolean) => {
    machine.multicast(namespace, NETLINK_NETFILTER, NFNLGRP_NFTABLES, datagram, socket);
    if (report) socket.deliver(datagram);
    else if (socket.groups.has(NFNLGRP_NFTABLES)) socket.deliver(datagram);
  };
  const listens = machine.listens(namespace, NETLINK_NETFILTER, NFNLGRP_NFTABLES);
  let parts: Uint8Array[] = [];
  let length = 0;
  let report = false;
  const flush = () => {
    if (parts.length > 0) send(Buffer.concat(parts), report);
    parts = [];
    length = 0;
  };
  const changed = new Set<NftSet>();
  for (const event of batch.events) {
    event.apply?.();
    if (event.run !== undefined) changed.add(event.run.set);
    if (!listens && !event.report) continue;
    const message = event.build();
    if (message === undefined) continue;
    if (length + message.length > DATAGRAM || event.report !== report) flush();
    ({ report } = event);
    parts.push(message);
    length += message.length;
  }
  flush();
  for (const set of changed) collectAtCommit(set, machine.state.now);
  const reportsGeneration = (first.flags & NLM_F_ECHO) !== 0;
  if (listens || reportsGeneration) send(generationMessage(namespace, first), reportsGeneration);
}

export function generationMessage(namespace: Namespace, { sequence, port }: Request): Uint8Array {
  const header = { type: Nft.NFT_MSG_NEWGEN, flags: 0, sequence, port, family: 0 };
  return nftMessage(namespace.nfTables, header, writer => {
    writer.u32be(Nft.NFTA_GEN_ID, namespace.nfTables.generation);
    writer.u32be(Nft.NFTA_GEN_PROC_PID, process.pid);
    writer.text(Nft.NFTA_GEN_PROC_NAME, 'node');
  });
}

/** A socket has been closed: its tables go, or lose their owner. Nobody is told, and the generation stays (nft_rcv_nl_event). */
export function removeOwned({ nfTables }: Namespace, port: number): void {
  const persists = ({ flags }: Table) => (flags & Nft.NFT_TABLE_F_PERSIST) !== 0;
  nfTables.tables = nfTables.tables.filter(each => each.owner !== port || persists(each));
  for (const table of nfTables.tables)
    if (table.owner === port) {
      table.owner = undefined;
      table.flags &= ~Nft.NFT_TABLE_F_OWNER;
    }
}
