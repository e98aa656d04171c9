import { NLM_F_APPEND, NLM_F_DUMP_INTR, NLM_F_MULTI } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { packed, type Request } from '../machine/netlink.ts';
import { isSince, type Namespace } from '../machine/state.ts';
import { EINVAL, ENOENT, EOPNOTSUPP, refuse } from '../refusal.ts';
import { Attributes, type Writer } from '../wire/attributes.ts';
import { chainOf, writeChain } from './chains.ts';
import { type Codec, newBatch, type Work } from './context.ts';
import { readData } from './data.ts';
import { found, writeElement } from './elements.ts';
import { generationMessage, NEW_ORDER } from './events.ts';
import { flowtableOf, writeFlowtable } from './flowtables.ts';
import { nftMessage } from './message.ts';
import { objectOf, resetObject, writeObject } from './objects.ts';
import { pointingAt, writeRule } from './rules.ts';
import { isExpired, lookup } from './set-lookup.ts';
import { setOfMessage, writeSet } from './sets.ts';
import type { Element, NftSet, Rule, Table } from './state.ts';
import { tableOf, writeTable } from './tables.ts';

const HEADERS = 20;
/** What a dump writes of one object, besides the headers. */
type Body = (writer: Writer) => void;
interface Entry {
  readonly family: number;
  readonly body: Body;
}

function workOf(request: Request, namespace: Namespace, engine: Codec): Work {
  const attributes = new Attributes(request.bytes, HEADERS, request.bytes.length);
  return { engine, namespace, request, family: request.bytes[16]!, attributes, batch: newBatch() };
}

/** The rules, without their counts where they are reset. */
function resetRule(rule: Rule): void {
  for (const { name, state } of rule.expressions) {
    if (state === undefined) continue;
    if (name === 'counter') Object.assign(state, { packets: 0n, bytes: 0n });
    else if (name === 'quota') Object.assign(state, { consumed: 0n, depleted: 0n });
  }
}

function* tables(work: Work): Generator<Entry> {
  const old = !isSince(work.engine.release, NEW_ORDER);
  for (const table of inFamily(work)) yield { family: table.family, body: writer => writeTable(writer, table, old) };
}

function* inFamily({ namespace, family }: Work): Generator<Table> {
  for (const table of namespace.nfTables.tables) if (family === 0 || table.family === family) yield table;
}

function* chains(work: Work): Generator<Entry> {
  const old = !isSince(work.engine.release, NEW_ORDER);
  for (const table of inFamily(work))
    for (const chain of table.chains) yield { family: table.family, body: writer => writeChain(writer, chain, old) };
}

function* rules(work: Work, resets: boolean): Generator<Entry> {
  const { attributes, engine } = work;
  const tableName = attributes.text(Nft.NFTA_RULE_TABLE);
  const chainName = attributes.text(Nft.NFTA_RULE_CHAIN);
  for (const table of inFamily(work)) {
    if (tableName !== undefined && table.name !== tableName) continue;
    for (const chain of table.chains) {
      if (chainName !== undefined && chain.name !== chainName) continue;
      let before: Rule | undefined;
      for (const rule of chain.rules) {
        const previous = before;
        yield {
          family: table.family,
          body(writer) {
            writeRule(writer, chain, rule, engine, previous);
            if (resets) resetRule(rule);
          },
        };
        before = rule;
      }
    }
  }
}

function* sets(work: Work): Generator<Entry> {
  const { attributes, engine } = work;
  const only = attributes.has(Nft.NFTA_SET_TABLE) ? tableOf(work, Nft.NFTA_SET_TABLE) : undefined;
  for (const table of inFamily(work)) {
    if (only !== undefined && table !== only) continue;
    for (const set of table.sets) yield { family: table.family, body: writer => writeSet(writer, set, engine) };
  }
}

function* objects(work: Work, resets: boolean): Generator<Entry> {
  const { attributes, engine } = work;
  const tableName = attributes.text(Nft.NFTA_OBJ_TABLE);
  const type = attributes.u32be(Nft.NFTA_OBJ_TYPE) ?? 0;
  const old = !isSince(engine.release, NEW_ORDER);
  for (const table of inFamily(work)) {
    if (tableName !== undefined && table.name !== tableName) continue;
    for (const object of table.objects) {
      if (type !== 0 && object.type !== type) continue;
      yield {
        family: table.family,
        body(writer) {
          writeObject(writer, object, engine, old);
          if (resets) resetObject(object);
        },
      };
    }
  }
}

function* flowtables(work: Work): Generator<Entry> {
  const name = work.attributes.text(Nft.NFTA_FLOWTABLE_TABLE);
  for (const table of inFamily(work)) {
    if (name !== undefined && table.name !== name) continue;
    for (const flowtable of table.flowtables)
      yield { family: table.family, body: writer => writeFlowtable(writer, flowtable) };
  }
}

/** How many bytes of elements go into a message: it must fit its datagram. */
const ELEMENTS = 32_000;

function* elements(work: Work): Generator<Entry> {
  const { engine } = work;
  const table = tableOf(work, Nft.NFTA_SET_ELEM_LIST_TABLE);
  const set = setOfMessage(work, table, Nft.NFTA_SET_ELEM_LIST_SET, Nft.NFTA_SET_ELEM_LIST_SET_ID);
  const all = [...set.elements.values(), ...(set.catchAll ? [set.catchAll] : [])].filter(
    each => !isExpired(each, engine.now),
  );
  let at = 0;
  // One with an empty list is always the last.
  for (let isLast = false; !isLast; ) {
    isLast = at >= all.length;
    yield {
      family: table.family,
      body(writer) {
        writer.text(Nft.NFTA_SET_ELEM_LIST_TABLE, table.name);
        writer.text(Nft.NFTA_SET_ELEM_LIST_SET, set.name);
        writer.nest(Nft.NFTA_SET_ELEM_LIST_ELEMENTS, () => {
          const { length } = writer;
          for (; at < all.length && writer.length - length < ELEMENTS; at++) {
            const element = all[at]!;
            writer.nest(Nft.NFTA_LIST_ELEM, () => writeElement(writer, set, element, engine));
          }
        });
      },
    };
  }
}

interface Kind {
  readonly answer: number;
  readonly flags: number;
  /** Whether a change of the generation meanwhile interrupts it. */
  readonly interrupted: boolean;
  entries(work: Work): Generator<Entry>;
}

const KINDS: Record<number, Kind> = {
  [Nft.NFT_MSG_GETTABLE]: { answer: Nft.NFT_MSG_NEWTABLE, flags: 0, interrupted: true, entries: tables },
  [Nft.NFT_MSG_GETCHAIN]: { answer: Nft.NFT_MSG_NEWCHAIN, flags: 0, interrupted: true, entries: chains },
  [Nft.NFT_MSG_GETRULE]: {
    answer: Nft.NFT_MSG_NEWRULE,
    flags: NLM_F_APPEND,
    interrupted: true,
    entries: work => rules(work, false),
  },
  [Nft.NFT_MSG_GETRULE_RESET]: {
    answer: Nft.NFT_MSG_NEWRULE,
    flags: NLM_F_APPEND,
    interrupted: true,
    entries: work => rules(work, true),
  },
  [Nft.NFT_MSG_GETSET]: { answer: Nft.NFT_MSG_NEWSET, flags: 0, interrupted: true, entries: sets },
  [Nft.NFT_MSG_GETSETELEM]: { answer: Nft.NFT_MSG_NEWSETELEM, flags: 0, interrupted: false, entries: elements },
  [Nft.NFT_MSG_GETOBJ]: {
    answer: Nft.NFT_MSG_NEWOBJ,
    flags: NLM_F_APPEND,
    interrupted: true,
    entries: work => objects(work, false),
  },
  [Nft.NFT_MSG_GETOBJ_RESET]: {
    answer: Nft.NFT_MSG_NEWOBJ,
    flags: NLM_F_APPEND,
    interrupted: true,
    entries: work => objects(work, true),
  },
  [Nft.NFT_MSG_GETFLOWTABLE]: { answer: Nft.NFT_MSG_NEWFLOWTABLE, flags: 0, interrupted: true, entries: flowtables },
};

/** A dump, whose datagrams are made as they are read. */
export function dump(kind: number, request: Request, namespace: Namespace, engine: Codec): Generator<Uint8Array> {
  const found = KINDS[kind];
  if (found === undefined) return refuse(EOPNOTSUPP);
  const work = workOf(request, namespace, engine);
  const { generation } = namespace.nfTables;
  const entries = found.entries(work);
  // Refused now, not at the first read: a set that is missing.
  const first = entries.next();
  function* messages(): Generator<Uint8Array> {
    for (let next = first; next.done !== true; next = entries.next()) {
      const { family, body } = next.value;
      const isInterrupted = found!.interrupted && namespace.nfTables.generation !== generation;
      const flags = NLM_F_MULTI | found!.flags | (isInterrupted ? NLM_F_DUMP_INTR : 0);
      const header = { type: found!.answer, flags, sequence: request.sequence, port: request.port, family };
      yield nftMessage(namespace.nfTables, header, body);
    }
  }
  return packed(messages(), request);
}

/** One object by its name. */
export function answerGet(kind: number, request: Request, namespace: Namespace, engine: Codec): Uint8Array {
  const work = workOf(request, namespace, engine);
  if (kind === Nft.NFT_MSG_GETGEN) return generationMessage(namespace, request);
  const single = SINGLE[kind];
  if (single === undefined) return refuse(EINVAL);
  const { family, body } = single(work);
  const header = { type: KINDS[kind]!.answer, flags: 0, sequence: request.sequence, port: request.port, family };
  return nftMessage(namespace.nfTables, header, body);
}

const SINGLE: Record<number, (work: Work) => Entry> = {
  [Nft.NFT_MSG_GETTABLE](work) {
    const table = tableOf(work, Nft.NFTA_TABLE_NAME);
    return { family: work.family, body: writer => writeTable(writer, table, !isSince(work.engine.release, NEW_ORDER)) };
  },
  [Nft.NFT_MSG_GETCHAIN](work) {
    const table = tableOf(work, Nft.NFTA_CHAIN_TABLE);
    const chain = chainOf(work, table, Nft.NFTA_CHAIN_NAME);
    return { family: work.family, body: writer => writeChain(writer, chain, !isSince(work.engine.release, NEW_ORDER)) };
  },
  [Nft.NFT_MSG_GETRULE]: work => singleRule(work, false),
  [Nft.NFT_MSG_GETRULE_RESET]: work => singleRule(work, true),
  [Nft.NFT_MSG_GETSET](work) {
    const table = tableOf(work, Nft.NFTA_SET_TABLE);
    const set = setOfMessage(work, table, Nft.NFTA_SET_NAME, 0);
    return { family: work.family, body: writer => writeSet(writer, set, work.engine) };
  },
  [Nft.NFT_MSG_GETSETELEM]: singleElements,
  [Nft.NFT_MSG_GETOBJ]: work => singleObject(work, false),
  [Nft.NFT_MSG_GETOBJ_RESET]: work => singleObject(work, true),
  [Nft.NFT_MSG_GETFLOWTABLE](work) {
    const flowtable = flowtableOf(work, tableOf(work, Nft.NFTA_FLOWTABLE_TABLE));
    return { family: work.family, body: writer => writeFlowtable(writer, flowtable) };
  },
};

function singleRule(work: Work, resets: boolean): Entry {
  const { attributes, engine } = work;
  const chain = chainOf(work, tableOf(work, Nft.NFTA_RULE_TABLE), Nft.NFTA_RULE_CHAIN);
  const wanted = attributes.u64be(Nft.NFTA_RULE_HANDLE);
  if (wanted === undefined) return refuse(EINVAL);
  const rule =
    chain.rules.find(each => BigInt(each.handle) === wanted) ?? refuse(ENOENT, attributes.get(Nft.NFTA_RULE_HANDLE));
  return {
    family: work.family,
    body(writer) {
      writeRule(writer, chain, rule, engine, undefined);
      if (resets) resetRule(rule);
    },
  };
}

function singleObject(work: Work, resets: boolean): Entry {
  const object = objectOf(work, tableOf(work, Nft.NFTA_OBJ_TABLE));
  return {
    family: work.family,
    body(writer) {
      writeObject(writer, object, work.engine, !isSince(work.engine.release, NEW_ORDER));
      if (resets) resetObject(object);
    },
  };
}

function singleElements(work: Work): Entry {
  const { attributes, engine } = work;
  const table = tableOf(work, Nft.NFTA_SET_ELEM_LIST_TABLE);
  const set = setOfMessage(work, table, Nft.NFTA_SET_ELEM_LIST_SET, Nft.NFTA_SET_ELEM_LIST_SET_ID);
  const list = attributes.nested(Nft.NFTA_SET_ELEM_LIST_ELEMENTS);
  if (list === undefined) return refuse(EINVAL);
  const answers = list.list().map(each => pointingAt(each, () => elementAt(work, set, list.inside(each))));
  return {
    family: work.family,
    body(writer) {
      writer.text(Nft.NFTA_SET_ELEM_LIST_TABLE, table.name);
      writer.text(Nft.NFTA_SET_ELEM_LIST_SET, set.name);
      writer.nest(Nft.NFTA_SET_ELEM_LIST_ELEMENTS, () => {
        for (const each of answers) writer.nest(Nft.NFTA_LIST_ELEM, () => writeElement(writer, set, each, engine));
      });
    },
  };
}

function elementAt(work: Work, set: NftSet, inside: Attributes): Element {
  const flags = inside.u32be(Nft.NFTA_SET_ELEM_FLAGS) ?? 0;
  if ((flags & Nft.NFT_SET_ELEM_CATCHALL) !== 0) return set.catchAll ?? refuse(ENOENT);
  const attribute = inside.get(Nft.NFTA_SET_ELEM_KEY) ?? refuse(EINVAL);
  const key = readData({ work, table: set.table }, inside, attribute, 64, true);
  if (!(key instanceof Uint8Array) || key.length !== set.keyLength) return refuse(EINVAL);
  const element =
    found(set, { key, keyEnd: undefined, flags }) ?? lookup({ ...set, catchAll: undefined }, key, work.engine.now);
  return element === undefined || isExpired(element, work.engine.now) ? refuse(ENOENT) : element;
}
