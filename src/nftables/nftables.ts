import { checkInteger, checkObject, NO_CONTEXT } from '../codec/index.ts';
import { atIndex, BatchError, type BatchFailure, NetlinkError, type Path, StateError, typeError } from '../errors.ts';
import { type NetNs, netnsOf } from '../netns/netns.ts';
import { type Logger, Observer } from '../observe.ts';
import { NETLINK_NETFILTER, NLMSG_ERROR } from '../transport/constants.ts';
import {
  Exchange,
  NetlinkSocket,
  nfgenmsg,
  type Operation,
  refusal,
  twoForms,
  type Verdict,
  verdictOf,
  writeHeader,
} from '../transport/index.ts';
import type { Chain } from './chain.ts';
import { type Family, familyNumber } from './family.ts';
import { generationTable } from './generation.ts';
import { MESSAGES, type MessageName, readMessage } from './message.ts';
import type { RuleEntry } from './rule.ts';
import type { Table } from './table.ts';
import { bytesOf, type EncodedTransaction, messageOf, pathOf, Transaction } from './transaction.ts';

export interface NftablesOptions {
  /** The namespace to program; home where left out. */
  netns?: NetNs;
  logger?: Logger;
}

export interface CommitOptions {
  /** Commit only if the ruleset is still at this generation; else NetlinkError ERESTART. */
  generation?: number;
  /** Have the kernel check everything and change nothing. Costs some 8 ms: the kernel waits for all CPUs (synchronize_rcu). */
  dryRun?: boolean;
  /** Acts before the send; once the kernel has the bytes, the promise says what became of them. */
  signal?: AbortSignal;
}

export interface RulesetFilter {
  family?: Family;
  /** With `family`: only what is in this table. */
  table?: string;
  signal?: AbortSignal;
}

/** The objects of a namespace, all of one generation. */
export interface Ruleset {
  generation: number;
  tables: Table[];
  chains: Chain[];
  rules: RuleEntry[];
}

/** A ruleset that others change faster than it can be read this many times in a row will not be read. */
const READ_ATTEMPTS = 20;

const HINTS: Record<string, string> = {
  EPERM:
    "this needs CAP_NET_ADMIN in the user namespace that owns the network namespace, or the table belongs to another process's socket",
  ENOENT: 'there is no such object, or the kernel lacks this expression or chain type',
  EEXIST: 'it is there already',
  EBUSY: 'it is in use: other objects refer to it',
  EOPNOTSUPP: 'this kernel does not do this here (chain type, hook and family must fit)',
  EINVAL: 'the kernel does not take this value, or not in this place',
  ERESTART: 'the ruleset has changed since that generation',
  EMLINK: 'chains jump too deep, or in a circle',
};

const LISTS = {
  table: { get: 'gettable', new: 'newtable' },
  chain: { get: 'getchain', new: 'newchain' },
  rule: { get: 'getrule', new: 'newrule' },
} as const satisfies Record<string, { get: MessageName; new: MessageName }>;

/** The operations of nf_tables, each written once. */
export class NftablesOperations {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * Carries out a transaction: all of it or nothing. A large one leaves the main thread.
   * @throws BatchError every operation that was refused, with its index and the path to what the kernel points at (nothing is applied then)
   * @throws NetlinkError the transaction as a whole was refused: EPERM, ERESTART (the generation)
   * @throws StateError ERR_TRANSACTION_TOO_LARGE without CAP_NET_ADMIN in the initial user namespace: above twice net.core.wmem_max
   */
  *commit(transaction: Transaction, options: CommitOptions = {}): Operation<void> {
    if (!(transaction instanceof Transaction)) throw typeError([], 'a Transaction', transaction);
    checkObject(options, [], ['generation', 'dryRun', 'signal']);
    if (options.generation !== undefined) checkInteger(options.generation, ['generation'], 0, 0xffffffff);
    if (transaction.length === 0) return;
    const encoded = transaction.encode();
    const bytes = bytesOf(encoded, options);
    const refused: { sequence: number; verdict: Verdict }[] = [];
    let acknowledged = false;
    const committed = encoded.messages.length + 2;
    const answers = yield* this.#exchange.transact(bytes, bytes.length, encoded.messages.length + 2, message => {
      if (message.type !== NLMSG_ERROR) return false;
      const verdict = verdictOf(message);
      if (verdict.errno !== 0) refused.push({ sequence: message.sequence, verdict });
      else acknowledged = true;
      return message.sequence === committed && verdict.errno === 0;
    });
    if (refused.length > 0) throw this.#refused(transaction, encoded, refused);
    // Errors come first: where answers are missing and none of them is an error, none is known to have failed.
    if (answers === 'lost')
      throw new StateError(
        'ERR_REPLIES_LOST',
        'the answers of the kernel were lost: read the ruleset to know its state',
      );
    if (!acknowledged) throw new StateError('ERR_NO_REPLY', 'the kernel did not acknowledge the transaction');
  }

  #refused(
    transaction: Transaction,
    encoded: EncodedTransaction,
    refused: { sequence: number; verdict: Verdict }[],
  ): Error {
    const failures: BatchFailure[] = [];
    for (const { sequence, verdict } of refused) {
      const message = messageOf(encoded, sequence);
      const operation = message && transaction.operations[message.operation];
      if (message === undefined || operation === undefined) {
        return refusal({ syscall: 'NFNL_MSG_BATCH_BEGIN', hint: code => HINTS[code] }, verdict, 'nftables.commit');
      }
      const path: Path =
        verdict.offset === undefined ? [operation.kind] : pathOf(encoded, operation, message, verdict.offset);
      const error = new NetlinkError({
        errno: verdict.errno,
        syscall: MESSAGES[message.message].kernelName,
        operation: 'nftables.commit',
        subject: operation.subject,
        path,
        kernelMessage: verdict.text,
        hint: hintFor(verdict, path),
        request: encoded.bytes.slice(message.start, message.end),
      });
      failures.push(atIndex(error, message.operation));
    }
    return new BatchError({ failures, outcome: 'none', applied: [] });
  }

  /** The generation of the ruleset: it grows by one with each commit, whoever makes it. */
  *generation(): Operation<number> {
    const call = this.#call('getgen', 0, {});
    return yield* this.#exchange.get(call, ({ source, payload, end }) => {
      return generationTable.read(source, payload + nfgenmsg.size, end, NO_CONTEXT)?.id;
    });
  }

  /** Tables, chains and rules, consistent: read again, some times, while others commit in between. */
  *ruleset(filter: RulesetFilter = {}): Operation<Ruleset> {
    checkObject(filter, [], ['family', 'table', 'signal']);
    return yield* this.#consistent(generation => this.#read(generation, filter));
  }

  *#read(generation: number, filter: RulesetFilter): Operation<Ruleset> {
    const tables = (yield* this.#list('table', filter)) as unknown as Table[];
    const chains = (yield* this.#list('chain', filter)) as unknown as Chain[];
    const rules = (yield* this.#list('rule', filter)) as unknown as RuleEntry[];
    return { generation, tables, chains, rules };
  }

  /** The tables of the namespace. */
  *tables(filter: RulesetFilter = {}): Operation<Table[]> {
    checkObject(filter, [], ['family', 'table', 'signal']);
    return (yield* this.#list('table', filter)) as unknown as Table[];
  }

  /** The chains of the namespace, base chains and others. */
  *chains(filter: RulesetFilter = {}): Operation<Chain[]> {
    checkObject(filter, [], ['family', 'table', 'signal']);
    return (yield* this.#list('chain', filter)) as unknown as Chain[];
  }

  /** The rules, in their order within each chain; `chain` needs `table`, and that `family`. */
  *rules(filter: RulesetFilter & { chain?: string } = {}): Operation<RuleEntry[]> {
    checkObject(filter, [], ['family', 'table', 'chain', 'signal']);
    return (yield* this.#list('rule', filter)) as unknown as RuleEntry[];
  }

  *#list(kind: keyof typeof LISTS, filter: RulesetFilter & { chain?: string }): Operation<Record<string, unknown>[]> {
    const family = filter.family === undefined ? 0 : familyNumber(filter.family, ['family']);
    if (filter.table !== undefined && family === 0)
      throw typeError(['family'], 'a family with a table', undefined, 'ERR_MISSING');
    if (filter.chain !== undefined && filter.table === undefined)
      throw typeError(['table'], 'a table with a chain', undefined, 'ERR_MISSING');
    // The kernel filters rules itself; tables and chains are few, and are filtered here.
    const object: Record<string, unknown> = {};
    if (kind === 'rule' && filter.table !== undefined) object.table = filter.table;
    if (kind === 'rule' && filter.chain !== undefined) object.chain = filter.chain;
    const call = this.#call(LISTS[kind].get, family, object);
    return yield* this.#exchange.dump(call, message => {
      if (message.type !== MESSAGES[LISTS[kind].new].number) return undefined;
      const { object: found } = readMessage(message, true);
      const inTable = filter.table === undefined || found[kind === 'table' ? 'name' : 'table'] === filter.table;
      return inTable ? found : undefined;
    });
  }

  /** Several dumps make one state only if no commit came between the first and the last. */
  *#consistent<T>(read: (generation: number) => Operation<T>): Operation<T> {
    for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
      const before = yield* this.generation();
      const value = yield* read(before);
      if ((yield* this.generation()) === before) return value;
    }
    throw new StateError(
      'ERR_DUMP_INTERRUPTED',
      `the ruleset changed ${READ_ATTEMPTS} times in a row while it was read`,
    );
  }

  #call(name: MessageName, family: number, object: Record<string, unknown>) {
    const { number, kernelName, table } = MESSAGES[name];
    return {
      type: number,
      syscall: kernelName,
      subject: object,
      hint: (code: string) => HINTS[code],
      write: (writer: Parameters<typeof writeHeader>[0]) => {
        writeHeader(writer, family, 0);
        table.write(writer, object as never, { family });
      },
    };
  }
}

/** The nf_tables of one network namespace. Needs CAP_NET_ADMIN in the user namespace that owns it; a container's own root has that. */
export class Nftables extends twoForms(NftablesOperations) {
  /** Opens a socket in the namespace and asks nothing yet. */
  static open(options: NftablesOptions = {}): Nftables {
    checkObject(options, [], ['netns', 'logger']);
    const socket = new NetlinkSocket({ netns: netnsOf(options), protocol: NETLINK_NETFILTER });
    return new Nftables(new Exchange(socket, 'nftables', new Observer(options.logger)));
  }
}

function hintFor({ errno }: Verdict, path: Path): string | undefined {
  const { code } = new NetlinkError({ errno, syscall: '' });
  const field = path.at(-1);
  if (code === 'ENOENT' && field === 'table') return 'there is no such table';
  if (code === 'ENOENT' && (field === 'chain' || field === 'name')) return 'there is no such chain';
  if (code === 'ENOENT' && field === 'handle') return 'there is no rule with this handle';
  if (code === 'ENOENT' && path.includes('expressions'))
    return 'this kernel lacks the expression (its module is not there)';
  return HINTS[code];
}
