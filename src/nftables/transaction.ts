import { sourceOf, Writer } from '../codec/index.ts';
import { type Path, typeError, within } from '../errors.ts';
import {
  NFNL_BATCH_GENID,
  NFNL_SUBSYS_NFTABLES,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
} from '../transport/constants.ts';
import {
  beginMessage,
  clearFlags,
  endMessage,
  NLMSG_HDRLEN,
  nfgenmsg,
  setFlags,
  writeBatchBegin,
  writeBatchEnd,
  writeHeader,
} from '../transport/index.ts';
import type { Chain, ChainKey } from './chain.ts';
import { withCompat } from './expressions/xt-compat.ts';
import { familyNumber } from './family.ts';
import type { StatementContext } from './language/compile.ts';
import type { Origin } from './language/statement.ts';
import { MESSAGES, type MessageName } from './message.ts';
import { type Rule, type RuleKey, statementsRuleTable } from './rule.ts';
import type { Table, TableKey } from './table.ts';

export type Verb = 'add' | 'create' | 'insert' | 'replace' | 'delete' | 'destroy' | 'flush';
export type ObjectKind = 'table' | 'chain' | 'rule';

/** One object under the name of its kind. */
export type NewObject = { table: Table } | { chain: Chain } | { rule: Rule };
export type ObjectReference = { table: TableKey } | { chain: ChainKey } | { rule: RuleKey };
export type FlushReference = { table: TableKey } | { chain: ChainKey };

/** What one verb does to one kind of object: a message, its flags, and which fields of the object it carries (all where undefined). */
interface Action {
  readonly message: MessageName;
  readonly flags: number;
  readonly fields?: Readonly<Record<string, string>>;
}

const KEY_FIELDS: Record<ObjectKind, Readonly<Record<string, string>>> = {
  table: { name: 'name' },
  chain: { table: 'table', name: 'name' },
  rule: { table: 'table', chain: 'chain', handle: 'handle' },
};

const ACTIONS: Record<Verb, Partial<Record<ObjectKind, readonly Action[]>>> = {
  add: {
    table: [{ message: 'newtable', flags: NLM_F_CREATE }],
    chain: [{ message: 'newchain', flags: NLM_F_CREATE }],
    rule: [{ message: 'newrule', flags: NLM_F_CREATE | NLM_F_APPEND }],
  },
  create: {
    table: [{ message: 'newtable', flags: NLM_F_CREATE | NLM_F_EXCL }],
    chain: [{ message: 'newchain', flags: NLM_F_CREATE | NLM_F_EXCL }],
  },
  insert: { rule: [{ message: 'newrule', flags: NLM_F_CREATE }] },
  replace: { rule: [{ message: 'newrule', flags: NLM_F_REPLACE }] },
  delete: {
    table: [{ message: 'deltable', flags: 0, fields: KEY_FIELDS.table }],
    chain: [{ message: 'delchain', flags: 0, fields: KEY_FIELDS.chain }],
    rule: [{ message: 'delrule', flags: 0, fields: KEY_FIELDS.rule }],
  },
  destroy: {
    // NFT_MSG_DESTROYTABLE came with Linux 6.3. Making sure that it is there and deleting it is the same, on every kernel.
    table: [
      { message: 'newtable', flags: NLM_F_CREATE, fields: KEY_FIELDS.table },
      { message: 'deltable', flags: 0, fields: KEY_FIELDS.table },
    ],
  },
  flush: {
    table: [{ message: 'delrule', flags: 0, fields: { name: 'table' } }],
    chain: [{ message: 'delrule', flags: 0, fields: { table: 'table', name: 'chain' } }],
  },
};

/** One operation of a transaction, as the caller gave it. */
export interface TransactionOperation {
  readonly verb: Verb;
  readonly kind: ObjectKind;
  /** `{ rule: { ... } }` */
  readonly subject: object;
}

/** Where one message of the encoded transaction stands, and which operation it belongs to. */
interface EncodedMessage {
  readonly start: number;
  readonly end: number;
  readonly operation: number;
  readonly message: MessageName;
  readonly family: number;
}

/** A transaction as bytes. Its messages have the sequence numbers 1 (the batch's begin), 2 and so on. */
export interface EncodedTransaction {
  readonly bytes: Uint8Array;
  /** Where the batch's end stands. */
  readonly end: number;
  readonly messages: readonly EncodedMessage[];
  readonly origins: readonly (Origin | undefined)[];
}

/** The batch's begin has the number before it. */
const FIRST_SEQUENCE = 2;
/** A begin or end without attributes: nlmsghdr and nfgenmsg. */
const BATCH_MARKER = 20;
const FAMILY: Path = ['family'];

/**
 * A list of operations that the kernel carries out together or not at all. It is a value without a socket: made once, it can be committed to
 * any number of namespaces, and is encoded once. Each verb checks and encodes its object on the spot: what is wrong with it is thrown there,
 * as a TypeError or RangeError with its path, and changing the object afterwards changes nothing here.
 */
export class Transaction {
  readonly #operations: TransactionOperation[] = [];
  readonly #messages: EncodedMessage[] = [];
  /** By operation. */
  readonly #origins: (Origin | undefined)[] = [];
  #writer = new Writer(1024);
  #lastOrigin: Origin | undefined;
  #encoded: EncodedTransaction | undefined;

  constructor() {
    writeBatchBegin(this.#writer, NFNL_SUBSYS_NFTABLES, FIRST_SEQUENCE - 1);
  }

  get operations(): readonly TransactionOperation[] {
    return this.#operations;
  }

  get length(): number {
    return this.#operations.length;
  }

  /** Makes sure that the object is there (a rule is appended to its chain, or put after `position`). */
  add(object: NewObject): this {
    return this.#push('add', object);
  }
  /** Makes a table or chain that must not be there yet. */
  create(object: { table: Table } | { chain: Chain }): this {
    return this.#push('create', object);
  }
  /** Puts a rule at the beginning of its chain, or before `position`. */
  insert(object: { rule: Rule }): this {
    return this.#push('insert', object);
  }
  /** Puts a rule in the place of the one with its `handle`. */
  replace(object: { rule: Rule & { handle: bigint } }): this {
    return this.#push('replace', object);
  }
  /** Removes what must be there. A table goes with all that is in it. */
  delete(object: ObjectReference): this {
    return this.#push('delete', object);
  }
  /** Makes sure that a table is not there. */
  destroy(object: { table: TableKey }): this {
    return this.#push('destroy', object);
  }
  /** Removes all rules of a table or chain. */
  flush(object: FlushReference): this {
    return this.#push('flush', object);
  }

  #push(verb: Verb, subject: object): this {
    const kinds = typeof subject === 'object' && subject !== null ? Object.keys(subject) : [];
    const kind = kinds[0] as ObjectKind | undefined;
    if (kinds.length !== 1 || kind === undefined || !Object.hasOwn(ACTIONS[verb], kind)) {
      throw typeError([], `an object with one key, ${Object.keys(ACTIONS[verb]).join(' or ')}, for ${verb}`, subject);
    }
    const operation: TransactionOperation = { verb, kind, subject };
    if (this.#encoded !== undefined) this.#reopen();
    const { length } = this.#writer;
    try {
      this.#write(operation, ACTIONS[verb][kind]!);
    } catch (error) {
      this.#writer.length = length;
      this.#messages.length = this.#messages.findLastIndex(message => message.operation < this.#operations.length) + 1;
      throw within(error, [kind]);
    }
    this.#operations.push(operation);
    return this;
  }

  /** What has been encoded may be on its way to the kernel: it stays as it is, and we go on in a copy. */
  #reopen(): void {
    const { bytes } = this.#encoded!;
    this.#encoded = undefined;
    const writer = new Writer(bytes.length * 2);
    writer.raw(bytes.subarray(0, this.#writer.length));
    this.#writer = writer;
    const last = this.#messages.at(-1);
    if (last !== undefined) clearFlags(writer, last.start, NLM_F_ACK);
  }

  #write(operation: TransactionOperation, actions: readonly Action[]): void {
    const writer = this.#writer;
    const index = this.#operations.length;
    const object = objectOf(operation);
    const context: StatementContext = { family: familyNumber(object.family, FAMILY) };
    const { family } = context;
    const inStatements = operation.kind === 'rule' && object.statements !== undefined;
    for (const { message, flags, fields } of actions) {
      const sequence = FIRST_SEQUENCE + this.#messages.length;
      const start = beginMessage(writer, MESSAGES[message].number, NLM_F_REQUEST | flags, sequence);
      writeHeader(writer, family, 0);
      if (fields !== undefined) MESSAGES[message].table.write(writer, pick(object, fields) as never, context);
      else if (inStatements) statementsRuleTable.write(writer, object as never, context);
      else if (operation.kind === 'rule')
        MESSAGES[message].table.write(writer, withCompat(object, family) as never, context);
      else MESSAGES[message].table.write(writer, object as never, context);
      endMessage(writer, start);
      this.#messages.push({ start, end: writer.length, operation: index, message, family });
    }
    this.#origins[index] = this.#sharedOrigin(context.origin);
  }

  /** Rules made in a loop have the same origin, and there may be many: they share one. */
  #sharedOrigin(origin: Origin | undefined): Origin | undefined {
    if (origin === undefined) return undefined;
    const last = this.#lastOrigin;
    if (last?.length === origin.length) {
      let i = 0;
      while (i < last.length && last[i] === origin[i]) i++;
      if (i === last.length) return last;
    }
    this.#lastOrigin = origin;
    return origin;
  }

  /** The transaction's bytes, made by the first call and shared by all commits. @internal */
  encode(): EncodedTransaction {
    if (this.#encoded !== undefined) return this.#encoded;
    const writer = this.#writer;
    // The kernels that do not acknowledge the batch's end (before 6.10 or so) answer here that they have read it all.
    const last = this.#messages.at(-1);
    if (last !== undefined) setFlags(writer, last.start, NLM_F_ACK);
    const end = writer.length;
    writeBatchEnd(writer, NFNL_SUBSYS_NFTABLES, FIRST_SEQUENCE + this.#messages.length);
    const bytes = writer.bytes.subarray(0, writer.length);
    writer.length = end;
    this.#encoded = { bytes, end, messages: [...this.#messages], origins: [...this.#origins] };
    return this.#encoded;
  }
}

function objectOf({ kind, subject }: TransactionOperation): Record<string, unknown> {
  const object = (subject as Record<string, unknown>)[kind];
  if (typeof object !== 'object' || object === null) throw typeError([], 'an object', object);
  const fields = object as Record<string, unknown>;
  if (kind === 'rule' && fields.statements !== undefined && fields.expressions !== undefined)
    throw typeError(['expressions'], 'either statements or expressions', fields.expressions);
  return fields;
}

function pick(object: Record<string, unknown>, fields: Readonly<Record<string, string>>): Record<string, unknown> {
  const picked: Record<string, unknown> = {};
  for (const [from, to] of Object.entries(fields)) {
    if (object[from] === undefined) throw typeError([from], 'a value', undefined, 'ERR_MISSING');
    picked[to] = object[from];
  }
  return picked;
}

/** The operation and the message that a sequence number of the kernel's answers means; undefined is the batch itself. */
export function messageOf(encoded: EncodedTransaction, sequence: number): EncodedMessage | undefined {
  return encoded.messages[sequence - FIRST_SEQUENCE];
}

/** The place in the caller's operation that a byte of its message was written from. */
export function pathOf(
  encoded: EncodedTransaction,
  operation: TransactionOperation,
  message: EncodedMessage,
  offset: number,
): Path {
  const bytes = encoded.bytes.subarray(message.start, message.end);
  const { table } = MESSAGES[message.message];
  const inner = table.locate(sourceOf(bytes), NLMSG_HDRLEN + nfgenmsg.size, bytes.length, offset, {
    family: message.family,
  });
  if (inner.length === 0) return [operation.kind];
  const origin = inner[0] === 'expressions' ? encoded.origins[message.operation]?.[inner[1] as number] : undefined;
  return [operation.kind, ...(origin ?? inner)];
}

/** The bytes to send: with the condition that the ruleset is still at a generation, and without the end that makes the kernel commit. */
export function bytesOf(encoded: EncodedTransaction, options: { generation?: number; dryRun?: boolean }): Uint8Array {
  const end = options.dryRun ? encoded.end : encoded.bytes.length;
  const { generation } = options;
  if (generation === undefined) return encoded.bytes.subarray(0, end);
  const writer = new Writer(encoded.bytes.length + 8);
  writeBatchBegin(writer, NFNL_SUBSYS_NFTABLES, FIRST_SEQUENCE - 1, () => {
    const start = writer.beginAttribute(NFNL_BATCH_GENID);
    writer.u32(generation, false);
    writer.endAttribute(start);
  });
  writer.raw(encoded.bytes.subarray(BATCH_MARKER, end));
  return writer.bytes.subarray(0, writer.length);
}
