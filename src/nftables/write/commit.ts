import { checkInteger, checkObject, NO_CONTEXT } from '../../codec/index.ts';
import { NetlinkError, rangeError, StateError, typeError, UnsupportedError } from '../../errors.ts';
import { type Exchange, type Message, nfgenmsg, type Operation, OVER } from '../../netlink/index.ts';
import { Disturbed, isMoved, retry } from '../../netlink/retry.ts';
import { familyNumber } from '../../nf_tables/family.ts';
import { generationTable } from '../../nf_tables/generation.ts';
import { MESSAGES, type MessageName } from '../../nf_tables/message.ts';
import type { Features } from '../features.ts';
import { completed, handleIn } from '../read/lookup.ts';
import type { Knowledge } from '../read/set-reader.ts';
import { readGeneration, requestFor } from '../request.ts';
import { carryOut, carryOutNow, type Echoes } from './carry-out.ts';
import { type EncodedMessage, type EncodedTransaction, messageOf, without } from './encoded.ts';
import { type Fields, OBJECT_KINDS, type ObjectKind } from './new-objects.ts';
import { refusedError } from './refused.ts';
import { Transaction } from './transaction.ts';

/** Operations that have nothing to do. */
export interface Idle {
  readonly operations: ReadonlySet<number>;
  /** The ruleset's generation for which that holds; undefined where the transaction itself has removed the tables. */
  readonly generation: number | undefined;
}

/**
 * The `destroy` operations on objects of tables that are not there. The kernel refuses them with ENOENT for the table. But the object is not there
 * afterwards, as the caller wants, so they have nothing to do. The transaction's own changes of tables are followed; others are asked for, one request a
 * table.
 */
export function* idleDestroys(exchange: Exchange, transaction: Transaction): Operation<Idle> {
  const operations = new Set<number>();
  const tables = new Tables(exchange);
  for (const [index, { verb, kind, subject }] of transaction.operations.entries()) {
    const object = ((subject as Record<string, Fields>)[kind] ?? {}) as Fields;
    if (kind === 'ruleset') tables.flush(object.family);
    else if (kind !== 'table') {
      if (verb === 'destroy' && !(yield* tables.has(object.family, object.table))) operations.add(index);
    } else if (typeof object.name === 'string' && verb !== 'flush') {
      tables.set(object.family, object.name, verb === 'add' || verb === 'create');
    }
  }
  return { operations, generation: tables.generation };
}

/** Which tables are there, at some place of a transaction. */
class Tables {
  readonly #exchange: Exchange;
  #known = new Map<string, boolean>();
  /** Families that the transaction has emptied; undefined is all. */
  readonly #flushed = new Set<unknown>();
  /** From before the first question. */
  generation: number | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  set(family: unknown, name: string, isThere: boolean): void {
    this.#known.set(`${family} ${name}`, isThere);
  }

  flush(family: unknown): void {
    this.#flushed.add(family);
    for (const key of this.#known.keys())
      if (family === undefined || key.startsWith(`${family} `)) this.#known.set(key, false);
  }

  *has(family: unknown, name: unknown): Operation<boolean> {
    const key = `${family} ${name}`;
    let isThere = this.#known.get(key);
    if (isThere === undefined) {
      isThere = !this.#flushed.has(undefined) && !this.#flushed.has(family) && (yield* this.#ask(family, name));
      this.#known.set(key, isThere);
    }
    return isThere;
  }

  *#ask(family: unknown, name: unknown): Operation<boolean> {
    this.generation ??= yield* readGeneration(this.#exchange);
    try {
      const request = requestFor('gettable', familyNumber(family, ['family']), { name });
      return yield* this.#exchange.get(request, ({ type }) => (type === MESSAGES.newtable.number ? true : undefined));
    } catch (error) {
      if (error instanceof NetlinkError && error.code === 'ENOENT') return false;
      throw error;
    }
  }
}

/** How a transaction is carried out. */
export interface CommitOptions {
  /** Commit only if the ruleset is still at this generation; else NetlinkError ERESTART. */
  generation?: number;
  /** Have the kernel check everything and change nothing. Costs some 8 ms: the kernel waits for all CPUs (synchronize_rcu). */
  dryRun?: boolean;
  /** Resolve to what became of it: see CommitResult. */
  echo?: boolean;
  /** Acts before the send; once the kernel has the bytes, the promise says what became of them. */
  signal?: AbortSignal;
}

/** What `echo` asks for. */
export interface CommitResult {
  /** The ruleset's generation after the commit. */
  generation: number;
  /**
   * The kernel's number for the object of each operation, at the operation's index; undefined for elements, and for what was flushed or
   * removed.
   */
  handles: (bigint | undefined)[];
}

/**
 * Carries out a transaction: see NftablesOperations.commit. A short one that needs nothing to be read, as nearly all are, is carried out before this
 * returns: thousands of containers get one each, and an operation of generators costs as much as encoding it.
 */
export function commit(
  exchange: Exchange,
  features: Features,
  transaction: Transaction,
  options: CommitOptions = {},
  knowledge: Knowledge = {},
): Operation<CommitResult | undefined> {
  check(transaction, options);
  const { generation, dryRun, echo } = options;
  const encoded = transaction.encode();
  const { unresolved, destroys } = encoded;
  if (dryRun || echo || transaction.destroys || unresolved.length > 0 || destroys.length > 0)
    return commitWhole(exchange, features, transaction, options, knowledge);
  switch (carryOutNow(exchange, features, encoded, generation)) {
    case 'done':
      return OVER;
    case 'answered':
      return send(exchange, features, transaction, encoded, options, true);
    default:
      return send(exchange, features, transaction, encoded, options);
  }
}

function check(transaction: Transaction, options: CommitOptions): void {
  if (!(transaction instanceof Transaction))
    throw typeError(
      [],
      'a Transaction: new Transaction().add({ table: { family, name } }), or for what nft reads, nft.apply()',
      transaction,
    );
  checkObject(options, [], ['generation', 'dryRun', 'echo', 'signal']);
  const { generation, dryRun, echo } = options;
  if (generation !== undefined) checkInteger(generation, ['generation'], 0, 0xffffffff);
  if (echo && dryRun) throw rangeError(['echo'], 'false with dryRun: nothing is made that could have a handle', echo);
}

function* commitWhole(
  exchange: Exchange,
  features: Features,
  transaction: Transaction,
  options: CommitOptions,
  knowledge: Knowledge,
): Operation<CommitResult | undefined> {
  const { generation } = options;
  const whole = transaction.encode();
  if (!transaction.destroys) return yield* commitEncoded(exchange, features, transaction, whole, options, knowledge);
  return yield* retry(
    'the commit',
    function* () {
      const idle = yield* idleDestroys(exchange, transaction);
      const isIdle = idle.operations.size > 0;
      const encoded = isIdle ? without(whole, idle.operations) : whole;
      const bound = generation ?? (isIdle ? idle.generation : undefined);
      const bounded = { ...options, generation: bound };
      return yield* commitEncoded(exchange, features, transaction, encoded, bounded, knowledge);
    },
    // Another program has committed since we looked whether the tables are there.
    { again: error => isMoved(error) && generation === undefined },
  );
}

type Options = { [K in keyof CommitOptions]: CommitOptions[K] | undefined };

function* commitEncoded(
  exchange: Exchange,
  features: Features,
  transaction: Transaction,
  encoded: EncodedTransaction,
  options: Options,
  knowledge: Knowledge,
): Operation<CommitResult | undefined> {
  const { generation, dryRun } = options;
  const { destroys } = encoded;
  if (destroys.length > 0 && !(yield* features.destroys(exchange))) {
    const { verb, kind } = transaction.operations[destroys[0]!.operation]!;
    throw new UnsupportedError(`${verb} ${kind}`, '6.3');
  }
  if (encoded.unresolved.length === 0) return yield* send(exchange, features, transaction, encoded, options);
  return yield* retry(
    'the commit',
    function* () {
      const { encoded: ready, generation: read, ranges } = yield* completed(exchange, transaction, encoded, knowledge);
      const bound = generation ?? read;
      const result = yield* send(exchange, features, transaction, ready, { ...options, generation: bound });
      if (dryRun !== true && bound === read) knowledge.memory?.keep(read, ranges);
      return result;
    },
    // Another program has committed since we looked.
    { again: error => error instanceof Disturbed || (isMoved(error) && generation === undefined) },
  );
}

function* send(
  exchange: Exchange,
  features: Features,
  transaction: Transaction,
  encoded: EncodedTransaction,
  { generation, dryRun, echo }: Options,
  isSent = false,
): Operation<CommitResult | undefined> {
  const echoed = echo ? new Echo(transaction, encoded) : undefined;
  const how = { generation, dryRun, echo: echoed, isSent };
  const { refused, lost } = yield* carryOut(exchange, features, encoded, how);
  if (refused.length > 0) throw yield* refusedError(exchange, transaction, encoded, refused, { dryRun });
  return echoed === undefined ? undefined : yield* echoed.result(exchange, lost);
}

const MADE: Partial<Record<ObjectKind, MessageName>> = {
  table: 'newtable',
  chain: 'newchain',
  rule: 'newrule',
  set: 'newset',
  map: 'newset',
  flowtable: 'newflowtable',
  object: 'newobj',
  ...Object.fromEntries(Object.keys(OBJECT_KINDS).map(kind => [kind, 'newobj'])),
};
const MAKING = new Set(['add', 'create', 'insert', 'replace', 'rename']);

/** Is this the message that makes what the operation is about? */
function hasHandle({ operations }: Transaction, { operation, name }: EncodedMessage): boolean {
  const { verb, kind } = operations[operation]!;
  return MAKING.has(verb) && MADE[kind] === name;
}

/** Collects the objects that the kernel sends back after a commit. */
class Echo implements Echoes {
  readonly #transaction: Transaction;
  readonly #encoded: EncodedTransaction;
  readonly #handles: (bigint | undefined)[];
  #generation: number | undefined;
  /** Something has come: the kernel has committed. */
  begun = false;

  constructor(transaction: Transaction, encoded: EncodedTransaction) {
    this.#transaction = transaction;
    this.#encoded = encoded;
    this.#handles = new Array<bigint | undefined>(transaction.length).fill(undefined);
  }

  wants(message: EncodedMessage): boolean {
    return hasHandle(this.#transaction, message);
  }

  read(message: Message): void {
    this.begun = true;
    if (message.type === MESSAGES.newgen.number) {
      const { source, payload, end } = message;
      this.#generation = generationTable.read(source, payload + nfgenmsg.size, end, NO_CONTEXT)?.id;
      return;
    }
    const of = messageOf(this.#encoded, message.sequence);
    if (of === undefined || message.type !== MESSAGES[of.name].number) return;
    // The first message is sent back whatever it is: also one that only makes sure that there is something to destroy.
    if (!MAKING.has(this.#transaction.operations[of.operation]!.verb)) return;
    this.#handles[of.operation] ??= handleIn(message, of.name);
  }

  *result(exchange: Exchange, lost: boolean): Operation<CommitResult> {
    if (lost) {
      throw new StateError(
        'ERR_REPLIES_LOST',
        'the transaction is committed, but its handles did not fit the receive buffer (net.core.rmem_max): list the ruleset to know them',
      );
    }
    // Of what was there already the kernel says nothing.
    for (const [i, { verb, kind, subject }] of this.#transaction.operations.entries()) {
      if (this.#handles[i] === undefined && MAKING.has(verb) && MADE[kind] !== undefined && kind !== 'rule')
        this.#handles[i] = yield* handleOf(exchange, kind, (subject as Record<string, Fields>)[kind]!);
    }
    // Where everything was there already, nothing was committed.
    return { generation: this.#generation ?? (yield* readGeneration(exchange)), handles: this.#handles };
  }
}

/** The handle of an object by its name; undefined where it has been removed meanwhile. */
function* handleOf(exchange: Exchange, kind: ObjectKind, object: Fields): Operation<bigint | undefined> {
  const name = MADE[kind]!;
  const key: Fields = { name: object.newName ?? object.name };
  if (kind !== 'table') key.table = object.table;
  if (name === 'newobj') key.type = kind === 'object' ? object.type : OBJECT_KINDS[kind as keyof typeof OBJECT_KINDS];
  const call = requestFor(name.replace('new', 'get') as MessageName, familyNumber(object.family, ['family']), key);
  try {
    return yield* exchange.get(call, message => handleIn(message, name));
  } catch (error) {
    if (error instanceof NetlinkError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
