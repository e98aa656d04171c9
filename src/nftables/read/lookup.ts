import { type View, view } from '../../codec/index.ts';
import { atIndex, BatchError, inNftsWords, NetlinkError, type Path, rangeError, within } from '../../errors.ts';
import { type Exchange, type Message, nfgenmsg, type Operation } from '../../netlink/index.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import { MESSAGES, type MessageName } from '../../nf_tables/message.ts';
import type { NftSet } from '../../nf_tables/set.ts';
import { readMessage } from '../../nf_tables/whole-message.ts';
import { ofThread } from '../../thread.ts';
import { interfacesOf } from '../interfaces.ts';
import { type RangeSet, RefusedRange } from '../ranges/range-set.ts';
import { setKey } from '../ranges/ranged-sets.ts';
import { readGeneration, requestFor } from '../request.ts';
import type { Resolved } from '../write/encode-context.ts';
import { type EncodedTransaction, splice } from '../write/encoded.ts';
import { hintFor } from '../write/hints.ts';
import type { Fields } from '../write/new-objects.ts';
import { ChainModel } from '../write/rule-places.ts';
import type { Transaction, TransactionOperation } from '../write/transaction.ts';
import { type Knowledge, SetReader } from './set-reader.ts';

/** The replies that have such a number. */
const NUMBERED: readonly MessageName[] = ['newtable', 'newchain', 'newrule', 'newset', 'newobj', 'newflowtable'];
/** Where the objects that the kernel numbers have their numbers: made when the first one is read. */
const handles = ofThread('nftables.handles', new Map<MessageName, View<'handle'>>());

/** The handle of the object in a reply of this name, without decoding the rest. */
export function handleIn({ source, payload, end }: Message, name: MessageName): bigint | undefined {
  let handle = handles.get(name);
  if (handle === undefined) {
    if (!NUMBERED.includes(name)) return undefined;
    handle = view(MESSAGES[name].table, { handle: ['handle'] });
    handles.set(name, handle);
  }
  const at = handle.find(source, payload + nfgenmsg.size, end) ?? 0;
  return at === 0 ? undefined : source.view.getBigUint64(at, false);
}

/** A transaction that is ready to be sent. */
export interface Completed {
  encoded: EncodedTransaction;
  /** To which the commit must be bound. */
  generation: number;
  /** Sets with ranges as they are after it. */
  ranges: ReadonlyMap<string, RangeSet>;
}

/**
 * Resolves the operations that could not be encoded without the namespace, and splices their messages in. It reads the types of sets whose elements
 * are given as values, the ranges that they have, the rules of a chain, the handle of a chain. All of it holds for one generation.
 * @throws Disturbed another program has committed meanwhile
 */
export function* completed(
  exchange: Exchange,
  transaction: Transaction,
  encoded: EncodedTransaction,
  knowledge: Knowledge = {},
): Operation<Completed> {
  const generation = yield* readGeneration(exchange);
  const known = new Map<string, unknown>();
  const resolved = new Map<number, Resolved>();
  const ruleIds = new Map<number, number>();
  const sets = new SetReader(exchange, transaction, generation, knowledge);
  const { interfaces } = interfacesOf(exchange.transport);
  for (const { operation: index } of encoded.unresolved) {
    const operation = transaction.operations[index]!;
    const object = (operation.subject as Record<string, Fields>)[operation.kind]!;
    try {
      if (operation.kind === 'chain') resolved.set(index, yield* chainOf(exchange, object));
      else if (operation.kind === 'rule') {
        const place =
          object.index === undefined ? {} : yield* placeOf(exchange, transaction, index, object, { known, ruleIds });
        const sets = yield* setsOf(exchange, transaction, object, setNamesIn(object.statements), known);
        resolved.set(index, { ...place, sets, interfaces });
      } else if (object.json === undefined) {
        resolved.set(index, yield* sets.elementsOf(index));
      } else {
        const named = yield* setsOf(exchange, transaction, object, [object.set as string], known);
        // Of a set that is made here and has no ranges, nothing has to be known.
        const made = transaction.ranged.find(object.family, object.table, object.set) !== undefined;
        const json: Resolved = { sets: named, interfaces };
        resolved.set(index, named.size > 0 || made ? yield* sets.elementsOf(index, json) : json);
      }
    } catch (error) {
      throw asFailure(error, operation, index);
    }
  }
  sets.finish();
  for (const [operation, id] of ruleIds) {
    const own = resolved.get(operation);
    if (own !== undefined) own.id = id;
  }
  const spliced = splice(
    encoded,
    ({ operation }, list) => transaction.encodeResolved(operation, resolved.get(operation)!, list),
    ruleIds,
  );
  return { encoded: spliced, generation, ranges: sets.ranges };
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
        const reply = yield* exchange.get(call, message =>
          message.type === MESSAGES.newset.number ? readMessage(message).object : undefined,
        );
        known.set(key, reply);
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

function* chainOf(exchange: Exchange, { family, table, name }: Fields): Operation<Resolved> {
  const call = requestFor('getchain', familyNumber(family, ['family']), { table, name });
  return { handle: yield* exchange.get(call, message => handleIn(message, 'newchain')) };
}

interface RuleLookup {
  known: Map<string, unknown>;
  /** The numbers that rules of this transaction get because others refer to them, by operation. */
  ruleIds: Map<number, number>;
}

function* placeOf(
  exchange: Exchange,
  transaction: Transaction,
  operation: number,
  object: Fields,
  { known, ruleIds }: RuleLookup,
): Operation<Resolved> {
  const { table, chain } = object;
  const family = familyNumber(object.family, ['family']);
  const key = `rules ${family} ${table} ${chain}`;
  let handles = known.get(key) as bigint[] | undefined;
  if (handles === undefined) {
    const call = requestFor('getrule', family, { table, chain });
    handles = yield* exchange.dump(call, message =>
      message.type === MESSAGES.newrule.number ? handleIn(message, 'newrule') : undefined,
    );
    known.set(key, handles);
  }
  const model = new ChainModel(object, handles);
  for (let i = 0; i < operation; i++) model.apply(transaction.operations[i]!, i);
  const index = object.index as number;
  const entry = model.rules[index];
  if (entry === undefined)
    throw inNftsWords(
      rangeError(['index'], `the place of a rule in its chain, which has ${model.rules.length} then`, index),
      'Could not process rule: No such file or directory',
    );
  if (entry.handle !== undefined) return { handle: entry.handle };
  const { verb } = transaction.operations[operation]!;
  if (entry.operation === undefined || (verb !== 'add' && verb !== 'insert'))
    throw rangeError(['index'], 'a rule that was there before this transaction', index);
  const own = ruleIds.get(entry.operation) ?? (entry.id as number | undefined) ?? FIRST_RULE_ID + entry.operation;
  if (entry.id === undefined) ruleIds.set(entry.operation, own);
  return { ruleId: own };
}

const FIRST_RULE_ID = 0x1000000;
const ERRNO = { ENOENT: -2, EEXIST: -17 } as const;

/** The refusal of a question is that of the operation it was asked for. */
function asFailure(error: unknown, operation: TransactionOperation, index: number): unknown {
  const { kind, verb, subject } = operation;
  if (error instanceof RefusedRange) {
    const { code, index: at } = error;
    const json = (subject as Record<string, Fields>)[kind]!.json !== undefined;
    const path: Path = json ? [kind, 'json'] : [kind, 'elements', at];
    const hint = hintFor({ code, path: [kind, 'elements', at], kind, verb });
    const { kernelName: syscall } = MESSAGES[code === 'ENOENT' ? 'delsetelem' : 'newsetelem'];
    const options = { errno: ERRNO[code], syscall, operation: 'nftables.commit', subject, path, hint };
    return new BatchError({ failures: [atIndex(new NetlinkError(options), index)], outcome: 'none', applied: [] });
  }
  if (!(error instanceof NetlinkError)) return within(error, [index, kind]);
  const { errno, syscall, kernelMessage, request } = error;
  const names: Record<string, string> = kind === 'element' ? { name: 'set' } : kind === 'rule' ? {} : { name: 'name' };
  const first = error.path[0] as string | undefined;
  const path: Path = first === undefined ? [kind] : [kind, names[first] ?? first];
  const hint = hintFor({ code: error.code, path, kind });
  const options = { errno, syscall, operation: 'nftables.commit', subject, path, kernelMessage, hint, request };
  return new BatchError({ failures: [atIndex(new NetlinkError(options), index)], outcome: 'none', applied: [] });
}
