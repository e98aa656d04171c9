import { attributeLength, attributeType, NLA_HDRLEN, nextAttribute } from '../codec/index.ts';
import { atIndex, BatchError, NetlinkError, type Path, rangeError, within } from '../errors.ts';
import { type Exchange, type Message, nfgenmsg, type Operation } from '../transport/index.ts';
import * as C from './constants.ts';
import { type EncodedTransaction, filled } from './encoded.ts';
import { familyNumber } from './family.ts';
import { hintFor } from './hints.ts';
import { interfacesOf } from './interfaces.ts';
import { MESSAGES, readMessage } from './message.ts';
import { type Fields, type Found, setKey } from './operations.ts';
import { readGeneration, readSet, requestFor } from './request.ts';
import { ChainModel } from './rule-places.ts';
import type { NftSet } from './set.ts';
import { shapeOf } from './set-types.ts';
import type { Transaction, TransactionOperation } from './transaction.ts';

/** The 64-bit attribute of an answer: its object's handle, without decoding the rest. */
export function handleIn({ source, payload, end }: Message, attribute: number): bigint | undefined {
  const { view } = source;
  for (let at = payload + nfgenmsg.size; end - at >= NLA_HDRLEN; ) {
    const length = attributeLength(view, at, end);
    if (attributeType(view, at) === attribute && length === NLA_HDRLEN + 8)
      return view.getBigUint64(at + NLA_HDRLEN, false);
    at = nextAttribute(view, at);
  }
  return undefined;
}

/**
 * The transaction with what could not be written without asking: what the sets are like whose elements are given as values, which rule has an index,
 * which handle a chain of that name. All of it holds for the generation that is returned, to which the commit must be bound.
 */
export function* completed(
  exchange: Exchange,
  transaction: Transaction,
  encoded: EncodedTransaction,
): Operation<{ encoded: EncodedTransaction; generation: number }> {
  const generation = yield* readGeneration(exchange);
  const known = new Map<string, unknown>();
  const found = new Map<number, Found>();
  const ruleIds = new Map<number, number>();
  const { interfaces } = interfacesOf(exchange.wire);
  for (const { operation: index } of encoded.holes) {
    const operation = transaction.operations[index]!;
    const object = (operation.subject as Record<string, Fields>)[operation.kind]!;
    try {
      if (operation.kind === 'element' && object.json !== undefined)
        found.set(index, {
          sets: yield* setsOf(exchange, transaction, object, [object.set as string], known),
          interfaces,
        });
      else if (operation.kind === 'element') found.set(index, yield* elementsOf(exchange, object, known));
      else if (operation.kind === 'chain') found.set(index, yield* chainOf(exchange, object));
      else {
        const place =
          object.index === undefined ? {} : yield* placeOf(exchange, transaction, index, object, { known, ruleIds });
        const sets = yield* setsOf(exchange, transaction, object, setNamesIn(object.statements), known);
        found.set(index, { ...place, sets, interfaces });
      }
    } catch (error) {
      throw asFailure(error, operation, index);
    }
  }
  for (const [operation, id] of ruleIds) {
    const own = found.get(operation);
    if (own !== undefined) own.id = id;
  }
  const filledIn = filled(
    encoded,
    ({ operation }, list) => transaction.fill(operation, found.get(operation)!, list),
    ruleIds,
  );
  return { encoded: filledIn, generation };
}

function* elementsOf(exchange: Exchange, object: Fields, known: Map<string, unknown>): Operation<Found> {
  const { table, set } = object;
  const family = familyNumber(object.family, ['family']);
  const key = `set ${family} ${table} ${set}`;
  let shape = known.get(key) as Found['shape'];
  if (shape === undefined) {
    shape = shapeOf(yield* readSet(exchange, family, String(table), String(set)));
    known.set(key, shape);
  }
  return { shape };
}

/** The sets that a rule's statements or elements refer to, and that are not made by the transaction itself. */
function* setsOf(
  exchange: Exchange,
  transaction: Transaction,
  object: Fields,
  names: Iterable<string>,
  known: Map<string, unknown>,
): Operation<Map<string, NftSet>> {
  const sets = new Map<string, NftSet>();
  for (const name of names) {
    if (transaction.makesSet(setKey(object.family, object.table, name))) continue;
    const family = familyNumber(object.family, ['family']);
    const key = `whole set ${family} ${object.table} ${name}`;
    if (!known.has(key)) {
      const call = requestFor('getset', family, { table: object.table, name });
      try {
        const answer = yield* exchange.get(call, message =>
          message.type === MESSAGES.newset.number ? readMessage(message).object : undefined,
        );
        known.set(key, answer);
      } catch (error) {
        // The rule's own error says where the name stands.
        if (!(error instanceof NetlinkError) || error.code !== 'ENOENT') throw error;
        known.set(key, undefined);
      }
    }
    const set = known.get(key) as NftSet | undefined;
    if (set !== undefined) sets.set(name, { ...set, family: object.family as NftSet['family'] });
  }
  return sets;
}

/** Words that begin with '@': names of sets. */
function* setNamesIn(json: unknown): Generator<string> {
  if (typeof json === 'string') {
    if (json.startsWith('@')) yield json.slice(1);
  } else if (typeof json === 'object' && json !== null) {
    for (const each of Object.values(json)) yield* setNamesIn(each);
  }
}

function* chainOf(exchange: Exchange, { family, table, name }: Fields): Operation<Found> {
  const call = requestFor('getchain', familyNumber(family, ['family']), { table, name });
  return { handle: yield* exchange.get(call, message => handleIn(message, C.NFTA_CHAIN_HANDLE)) };
}

interface Places {
  known: Map<string, unknown>;
  /** The numbers that rules of this transaction get because others refer to them, by operation. */
  ruleIds: Map<number, number>;
}

function* placeOf(
  exchange: Exchange,
  transaction: Transaction,
  operation: number,
  object: Fields,
  { known, ruleIds }: Places,
): Operation<Found> {
  const { table, chain } = object;
  const family = familyNumber(object.family, ['family']);
  const key = `rules ${family} ${table} ${chain}`;
  let handles = known.get(key) as bigint[] | undefined;
  if (handles === undefined) {
    const call = requestFor('getrule', family, { table, chain });
    handles = yield* exchange.dump(call, message =>
      message.type === MESSAGES.newrule.number ? handleIn(message, C.NFTA_RULE_HANDLE) : undefined,
    );
    known.set(key, handles);
  }
  const model = new ChainModel(object, handles);
  for (let i = 0; i < operation; i++) model.apply(transaction.operations[i]!, i);
  const index = object.index as number;
  const entry = model.rules[index];
  if (entry === undefined)
    throw rangeError(['index'], `the place of a rule in its chain, which has ${model.rules.length} then`, index);
  if (entry.handle !== undefined) return { handle: entry.handle };
  const { verb } = transaction.operations[operation]!;
  if (entry.operation === undefined || (verb !== 'add' && verb !== 'insert'))
    throw rangeError(['index'], 'a rule that was there before this transaction', index);
  const own = ruleIds.get(entry.operation) ?? (entry.id as number | undefined) ?? FIRST_RULE_ID + entry.operation;
  if (entry.id === undefined) ruleIds.set(entry.operation, own);
  return { ruleId: own };
}

const FIRST_RULE_ID = 0x1000000;

/** The refusal of a question is that of the operation it was asked for. */
function asFailure(error: unknown, { kind, subject }: TransactionOperation, index: number): unknown {
  if (!(error instanceof NetlinkError)) return within(error, [index, kind]);
  const { errno, syscall, kernelMessage, request } = error;
  const names: Record<string, string> = kind === 'element' ? { name: 'set' } : kind === 'rule' ? {} : { name: 'name' };
  const first = error.path[0] as string | undefined;
  const path: Path = first === undefined ? [kind] : [kind, names[first] ?? first];
  const hint = hintFor({ code: error.code, path, kind });
  const options = { errno, syscall, operation: 'nftables.commit', subject, path, kernelMessage, hint, request };
  return new BatchError({ failures: [atIndex(new NetlinkError(options), index)], outcome: 'none', applied: [] });
}
