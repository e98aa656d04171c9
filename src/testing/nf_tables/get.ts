import { NLM_F_APPEND, NLM_F_DUMP_INTR, NLM_F_MULTI } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import { done, packed, type Request } from '../machine/netlink.ts';
import { isSince, type Namespace, type Release } from '../machine/state.ts';
import { EAFNOSUPPORT, EINVAL, ENOENT, EOPNOTSUPP, Refusal, refuse } from '../refusal.ts';
import { Attributes, type Writer } from '../wire/attributes.ts';
import { chainOf, writeChain } from './chains.ts';
import { type Codec, newBatch, type Work } from './context.ts';
import { inOrder, wanted, writeElement } from './elements.ts';
import { generationMessage, NEW_ORDER } from './events.ts';
import { flowtableOf, writeFlowtable } from './flowtables.ts';
import { nftMessage } from './message.ts';
import { objectOf, resetObject, writeObject } from './objects.ts';
import { ELEMENT } from './policies.ts';
import { parsedInside, silently } from './policy.ts';
import { pointingAt, writeRule } from './rules.ts';
import { isExpired } from './set-lookup.ts';
import { setOfMessage, writeSet } from './sets.ts';
import type { Element, Expression, Rule, Table } from './state.ts';
import { tableOf, writeTable } from './tables.ts';

const HEADERS = 20;
/** Of the first message in a datagram. */
const FLAGS = 6;
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

const resetRule = ({ expressions }: Rule): void => resetExpressions(expressions);

/** Their counts begin anew. */
function resetExpressions(expressions: readonly Expression[]): void {
  for (const { name, state } of expressions) {
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
  const only = attributes.has(Nft.NFTA_SET_TABLE) ? tableOf(work, Nft.NFTA_SET_TABLE, true) : undefined;
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

function* elements(work: Work, resets: boolean): Generator<Entry> {
  const { engine } = work;
  const table = tableOf(work, Nft.NFTA_SET_ELEM_LIST_TABLE, true);
  const set = setOfMessage(work, table, Nft.NFTA_SET_ELEM_LIST_SET, undefined);
  const all = inOrder(set).filter(each => each !== set.catchAll && !isExpired(each, engine.now));
  // The catch-all element comes with the last message, which has no other.
  const last = set.catchAll === undefined || isExpired(set.catchAll, engine.now) ? [] : [set.catchAll];
  let at = 0;
  for (let isLast = false; !isLast; ) {
    isLast = at >= all.length;
    yield {
      family: table.family,
      body(writer) {
        writer.text(Nft.NFTA_SET_ELEM_LIST_TABLE, table.name);
        writer.text(Nft.NFTA_SET_ELEM_LIST_SET, set.name);
        writer.nest(Nft.NFTA_SET_ELEM_LIST_ELEMENTS, () => {
          const { length } = writer;
          const write = (element: Element) => {
            writer.nest(Nft.NFTA_LIST_ELEM, () => writeElement(writer, set, element, engine));
            if (resets) resetExpressions(element.expressions);
          };
          if (isLast) last.forEach(write);
          for (; at < all.length && writer.length - length < ELEMENTS; at++) write(all[at]!);
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
  /** Each message fills a datagram. */
  readonly each?: boolean;
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
  [Nft.NFT_MSG_GETSETELEM]: {
    answer: Nft.NFT_MSG_NEWSETELEM,
    flags: 0,
    interrupted: false,
    each: true,
    entries: work => elements(work, false),
  },
  [Nft.NFT_MSG_GETSETELEM_RESET]: {
    answer: Nft.NFT_MSG_NEWSETELEM,
    flags: 0,
    interrupted: false,
    each: true,
    entries: work => elements(work, true),
  },
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
  const entries = found.entries(work);
  // Refused now, not at the first read: a set that is missing.
  const first = entries.next();
  function* messages(): Generator<Uint8Array> {
    for (let next = first; next.done !== true; next = entries.next()) {
      const { family, body } = next.value;
      const flags = NLM_F_MULTI | found!.flags;
      const header = { type: found!.answer, flags, sequence: request.sequence, port: request.port, family };
      yield nftMessage(namespace.nfTables, header, body);
    }
  }
  const datagrams = found.each ? apart(messages(), request) : packed(messages(), request);
  return found.interrupted ? marked(datagrams, namespace) : datagrams;
}

/** The first message behind a commit says that there was one: it is looked for with each datagram (nl_dump_check_consistent). */
function* marked(datagrams: Iterable<Uint8Array>, { nfTables }: Namespace): Generator<Uint8Array> {
  let { generation } = nfTables;
  for (const datagram of datagrams) {
    if (nfTables.generation !== generation) {
      ({ generation } = nfTables);
      datagram[FLAGS]! |= NLM_F_DUMP_INTR;
    }
    yield datagram;
  }
}

/** Each message in a datagram of its own, and the end with the last. */
function* apart(messages: Iterable<Uint8Array>, request: Request): Generator<Uint8Array> {
  let last: Uint8Array | undefined;
  for (const message of messages) {
    if (last !== undefined) yield last;
    last = message;
  }
  yield last === undefined ? done(request) : Buffer.concat([last, done(request)]);
}

/** Messages that came later. */
const SINCE: Readonly<Record<number, readonly [number, number]>> = {
  [Nft.NFT_MSG_GETRULE_RESET]: [6, 2],
  [Nft.NFT_MSG_GETSETELEM_RESET]: [6, 5],
};

/** Whether messages of a kind ask. */
export function isRead(kind: number, release: Release): boolean {
  const since = SINCE[kind];
  if (since !== undefined && !isSince(release, since)) return false;
  return kind === Nft.NFT_MSG_GETGEN || KINDS[kind] !== undefined;
}

/** One object by its name; of elements a message for each, up to the first that is missing. */
export function* answerGet(kind: number, request: Request, namespace: Namespace, engine: Codec): Generator<Uint8Array> {
  const work = workOf(request, namespace, engine);
  if (kind === Nft.NFT_MSG_GETGEN) {
    yield generationMessage(namespace, request);
    return;
  }
  const single = SINGLE[kind];
  if (single === undefined) throw new Refusal(EINVAL);
  for (const { family, body } of single(work)) {
    const header = { type: KINDS[kind]!.answer, flags: 0, sequence: request.sequence, port: request.port, family };
    yield nftMessage(namespace.nfTables, header, body);
  }
}

const SINGLE: Record<number, (work: Work) => Iterable<Entry>> = {
  [Nft.NFT_MSG_GETTABLE](work) {
    const table = tableOf(work, Nft.NFTA_TABLE_NAME, true);
    return one(work, writer => writeTable(writer, table, !isSince(work.engine.release, NEW_ORDER)));
  },
  [Nft.NFT_MSG_GETCHAIN](work) {
    const table = tableOf(work, Nft.NFTA_CHAIN_TABLE, true);
    const chain = chainOf(work, table, Nft.NFTA_CHAIN_NAME);
    return one(work, writer => writeChain(writer, chain, !isSince(work.engine.release, NEW_ORDER)));
  },
  [Nft.NFT_MSG_GETRULE]: work => singleRule(work, false),
  [Nft.NFT_MSG_GETRULE_RESET]: work => singleRule(work, true),
  [Nft.NFT_MSG_GETSET](work) {
    const named = work.attributes.has(Nft.NFTA_SET_TABLE);
    const table = named ? tableOf(work, Nft.NFTA_SET_TABLE, true) : undefined;
    if (work.family === 0) refuse(EAFNOSUPPORT);
    if (table === undefined) return refuse(EINVAL);
    if (!work.attributes.has(Nft.NFTA_SET_NAME)) refuse(EINVAL);
    const set = setOfMessage(work, table, Nft.NFTA_SET_NAME, undefined);
    return one(work, writer => writeSet(writer, set, work.engine));
  },
  [Nft.NFT_MSG_GETSETELEM]: work => singleElements(work, false),
  [Nft.NFT_MSG_GETSETELEM_RESET]: work => singleElements(work, true),
  [Nft.NFT_MSG_GETOBJ]: work => singleObject(work, false),
  [Nft.NFT_MSG_GETOBJ_RESET]: work => singleObject(work, true),
  [Nft.NFT_MSG_GETFLOWTABLE](work) {
    if (!work.attributes.has(Nft.NFTA_FLOWTABLE_NAME)) refuse(EINVAL);
    // Linux 6.1 points nowhere.
    const find = () => flowtableOf(work, tableOf(work, Nft.NFTA_FLOWTABLE_TABLE, true), false);
    const flowtable = isSince(work.engine.release, NEW_ORDER) ? find() : silently(find);
    return one(work, writer => writeFlowtable(writer, flowtable));
  },
};

const one = ({ family }: Work, body: Body): Entry[] => [{ family, body }];

function singleRule(work: Work, resets: boolean): Entry[] {
  const { attributes, engine } = work;
  const chain = chainOf(work, tableOf(work, Nft.NFTA_RULE_TABLE, true), Nft.NFTA_RULE_CHAIN);
  const wanted = attributes.u64be(Nft.NFTA_RULE_HANDLE);
  if (wanted === undefined) return refuse(EINVAL);
  const rule =
    chain.rules.find(each => BigInt(each.handle) === wanted) ?? refuse(ENOENT, attributes.get(Nft.NFTA_RULE_HANDLE));
  return one(work, writer => {
    writeRule(writer, chain, rule, engine, undefined);
    if (resets) resetRule(rule);
  });
}

function singleObject(work: Work, resets: boolean): Entry[] {
  const { attributes } = work;
  if (!attributes.has(Nft.NFTA_OBJ_NAME) || !attributes.has(Nft.NFTA_OBJ_TYPE)) refuse(EINVAL);
  const object = objectOf(work, tableOf(work, Nft.NFTA_OBJ_TABLE, true), false);
  return one(work, writer => {
    writeObject(writer, object, work.engine, !isSince(work.engine.release, NEW_ORDER));
    if (resets) resetObject(object);
  });
}

function* singleElements(work: Work, resets: boolean): Generator<Entry> {
  const { attributes, engine } = work;
  const list = attributes.nested(Nft.NFTA_SET_ELEM_LIST_ELEMENTS);
  if (list === undefined) throw new Refusal(EINVAL);
  const table = tableOf(work, Nft.NFTA_SET_ELEM_LIST_TABLE, true);
  const set = setOfMessage(work, table, Nft.NFTA_SET_ELEM_LIST_SET, undefined);
  for (const attribute of list.list()) {
    const element = pointingAt(attribute, () => wanted(work, set, parsedInside(list, attribute, ELEMENT)));
    yield {
      family: work.family,
      body(writer) {
        writer.text(Nft.NFTA_SET_ELEM_LIST_TABLE, table.name);
        writer.text(Nft.NFTA_SET_ELEM_LIST_SET, set.name);
        writer.nest(Nft.NFTA_SET_ELEM_LIST_ELEMENTS, () =>
          writer.nest(Nft.NFTA_LIST_ELEM, () => writeElement(writer, set, element, engine)),
        );
        if (resets) resetExpressions(element.expressions);
      },
    };
  }
}
