import { type Path, typeError, within } from '../../errors.ts';
import { inspected, PRINTED } from '../../inspect.ts';
import { NLM_F_ACK } from '../../linux/netlink.ts';
import { NFNL_SUBSYS_NFTABLES } from '../../linux/nfnetlink.ts';
import { clearFlags, writeBatchBegin, writeBatchEnd } from '../../netlink/index.ts';
import type { SourceMap } from '../../nft/compile/compile.ts';
import { type EncodedMessage, EncodedTransaction, FIRST_SEQUENCE, MessageList, type Unresolved } from './encoded.ts';
import type { Fields, ObjectKind, Verb } from './new-objects.ts';
import { DESTROYS, type Kind } from './object-operations.ts';

/** One operation of a transaction, as the caller gave it. */
export interface TransactionOperation {
  /** What is done: 'add', 'delete' and others. */
  readonly verb: Verb;
  /** What it is done to: 'table', 'rule' and others. */
  readonly kind: ObjectKind;
  /** `{ rule: { ... } }` */
  readonly subject: object;
}

/** What the operations of one transaction have in common. */
interface ListContext {
  /** Takes the messages. */
  list: MessageList;
  /** The operation has written nothing: `commit` must read something from the namespace first. */
  needsMore: boolean;
  /** Begins with the next operation. */
  begin(operation: number): void;
  /** Undoes the notes of an operation that failed. */
  rollBack(): void;
}

/** Rules that are written in statements have the statement of each of their expressions. */
interface RuleKind<C> extends Omit<Kind<C>, 'write'> {
  readonly write: (verb: Verb, object: Fields, to: C) => SourceMap | undefined;
}

/** By the names of objects. */
export type Kinds<C> = Readonly<Record<string, Kind<C> | RuleKind<C>>>;

const NONE: never[] = [];

/** The operations of a transaction, encoded one behind the other. */
export abstract class OperationList<C extends ListContext> {
  readonly #subjects: object[] = [];
  /** Undefined where the subject is an operation already. */
  readonly #verbs: (Verb | undefined)[] = [];
  /** Made of those two, when they are first asked for. */
  #operations: TransactionOperation[] | undefined;
  #list: MessageList;
  /** By operation. */
  readonly #origins: (SourceMap | undefined)[] = [];
  #unresolved: Unresolved[] | undefined;
  #destroys = false;
  #lastOrigin: SourceMap | undefined;
  #encoded: EncodedTransaction | undefined;
  readonly #kinds: Kinds<C>;
  /** @internal */
  protected readonly context: C;

  /** @internal */
  constructor(kinds: Kinds<C>, context: (list: MessageList) => C) {
    this.#kinds = kinds;
    this.#list = new MessageList();
    this.context = context(this.#list);
    writeBatchBegin(this.#list.writer, NFNL_SUBSYS_NFTABLES, FIRST_SEQUENCE - 1);
  }

  /** What was added, in order. */
  get operations(): readonly TransactionOperation[] {
    this.#operations ??= [];
    const made = this.#operations;
    for (let i = made.length; i < this.length; i++) {
      const subject = this.#subjects[i]!;
      const verb = this.#verbs[i];
      if (verb === undefined) made.push(subject as TransactionOperation);
      else made.push({ verb, kind: Object.keys(subject)[0] as ObjectKind, subject });
    }
    return made;
  }

  /** The number of operations. */
  get length(): number {
    return this.#subjects.length;
  }

  /** Whether an operation is on a table of which `is` holds. @internal */
  hasTable(is: (table: Fields) => boolean): boolean {
    for (let i = 0; i < this.length; i++) {
      // Objects that the caller gave, without the operations that are made of them.
      let subject = this.#subjects[i]!;
      if (this.#verbs[i] === undefined) {
        const { kind } = subject as TransactionOperation;
        if (kind !== 'table') continue;
        subject = (subject as TransactionOperation).subject;
      }
      if ('table' in subject && is(subject.table as Fields)) return true;
    }
    return false;
  }

  /** Something is to be destroyed, which may be in a table that is not there. @internal */
  get destroys(): boolean {
    return this.#destroys;
  }

  /** As it was written: `Transaction [ { add: { table: ... } }, ... ]`. */
  [PRINTED](_depth: number, options: { depth?: number | null }): string {
    const written = this.operations.map(({ verb, subject }) => ({ [verb]: subject }));
    // Two levels are the verb's and the kind's.
    return inspected(this, written, { ...options, depth: (options.depth ?? 2) + 2 });
  }

  /** @internal */
  protected push(verb: Verb, subject: object): this {
    let kind: string | undefined;
    let kinds = 0;
    for (const key in subject) {
      kind = key;
      kinds++;
    }
    if (kinds !== 1 || kind === undefined || !this.#takes(verb, kind)) throw this.#noKind(verb, subject);
    const list = this.open();
    const { length } = list.writer;
    const { length: written } = list;
    const { context } = this;
    context.begin(this.length);
    let origin: SourceMap | undefined;
    try {
      origin = this.#write(verb, kind, subject, context);
    } catch (error) {
      list.truncate(written, length);
      context.rollBack();
      throw within(error, [kind]);
    }
    if (context.needsMore) {
      this.#unresolved ??= [];
      this.#unresolved.push({ at: list.size, operation: this.length });
    }
    if (origin !== undefined) this.#origins[this.length] = this.#sharedOrigin(origin);
    if (verb === 'destroy') this.#destroys = true;
    this.#subjects.push(subject);
    this.#verbs.push(verb);
    return this;
  }

  /** The list, ready for the next operation. @internal */
  protected open(): MessageList {
    if (this.#encoded !== undefined) this.#reopen();
    this.#list.nextChunk();
    return this.#list;
  }

  /** Notes an operation whose message was appended to the list. @internal */
  protected appended(operation: TransactionOperation, origin?: SourceMap): this {
    if (origin !== undefined) this.#origins[this.length] = origin;
    this.#subjects.push(operation);
    this.#verbs.push(undefined);
    return this;
  }

  /** Encodes an operation once more, with what was read for it; `context` says where to. @internal */
  protected rewrite(operation: number, context: C): void {
    const { verb, kind, subject } = this.operations[operation]!;
    try {
      this.#write(verb, kind, subject, context);
    } catch (error) {
      throw within(error, [operation, kind]);
    }
  }

  #write(verb: Verb, kind: string, subject: object, to: C): SourceMap | undefined {
    const object = (subject as Record<string, unknown>)[kind];
    if (typeof object !== 'object' || object === null) throw typeError([], 'an object', object);
    return this.#kinds[kind]!.write(verb, object as Fields, to) ?? undefined;
  }

  #takes(verb: Verb, kind: string): boolean {
    return Object.hasOwn(this.#kinds, kind) && this.#kinds[kind]!.verbs.includes(verb);
  }

  #noKind(verb: Verb, subject: object): Error {
    const kinds = Object.keys(this.#kinds).filter(kind => this.#takes(verb, kind));
    return typeError([] as Path, `an object with one key, ${kinds.join(' or ')}, for ${verb}`, subject);
  }

  /** The encoded bytes may be on their way to the kernel: they stay as they are, and the transaction goes on in a copy. */
  #reopen(): void {
    const { bytes, end, last } = this.#encoded!;
    this.#encoded = undefined;
    this.#list = this.#list.copy(bytes, end);
    this.context.list = this.#list;
    if (last !== undefined) clearFlags(this.#list.writer, last.start, NLM_F_ACK);
  }

  /** Rules made in a loop have the same origin, and there may be many: they share one. */
  #sharedOrigin(origin: SourceMap): SourceMap {
    const last = this.#lastOrigin;
    if (last === origin) return origin;
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
    const list = this.#list;
    const { writer, size: end } = list;
    const { length } = writer;
    writeBatchEnd(writer, NFNL_SUBSYS_NFTABLES, FIRST_SEQUENCE + list.length);
    const { chunks } = list;
    list.close();
    writer.length = length;
    let destroys: EncodedMessage[] = NONE;
    if (this.#destroys) {
      destroys = [];
      for (let i = 0; i < list.length; i++) {
        const message = list.at(i)!;
        if (DESTROYS.has(message.name)) destroys.push(message);
      }
    }
    const last = list.at(list.length - 1);
    const unresolved = this.#unresolved?.slice() ?? NONE;
    const contents = { end, messages: list, origins: this.#origins, unresolved, last, destroys };
    this.#encoded = new EncodedTransaction(chunks, contents);
    return this.#encoded;
  }
}
