import { BatchError, type BatchFailure, describeErrno, UnsupportedError } from '../../errors.ts';
import { NLMSG_ERROR } from '../../linux/netlink.ts';
import { type Ack, ackError, type Exchange, type Operation, readAck } from '../../netlink/index.ts';
import type { Family } from '../../nf_tables/family.ts';
import { decodeMessage } from '../../nf_tables/whole-message.ts';
import { XT_LAYOUTS } from '../../nf_tables/xt/layouts.ts';
import { VERDICT_DATA_TYPE } from '../../nft/data/datatypes.ts';
import { dumpElements, list } from '../read/listing.ts';
import { type EncodedMessage, type EncodedTransaction, FIRST_SEQUENCE, messageOf, partsOf } from './encoded.ts';
import { type Blamed, failureOf as failure, type Refused } from './failure.ts';
import { hintFor } from './hints.ts';
import { Jumps } from './jumps.ts';
import type { Fields } from './new-objects.ts';
import type { Transaction } from './transaction.ts';

/** Errors that may be about the complete transaction, and not about one of its messages: see `isOfCommit`. */
const OF_COMMIT: ReadonlySet<string> = new Set(['EINVAL', 'ENOMEM', 'EOPNOTSUPP', 'ENOSPC']);
/** Whole tables are judged, again with each further rule or element: EMLINK for their jumps, EOPNOTSUPP for what does not work in a hook. */
const OF_TABLE: ReadonlySet<string> = new Set(['EMLINK', 'EOPNOTSUPP']);
const JUDGED: ReadonlySet<string> = new Set(['newrule', 'newsetelem']);

/** The error that says which operations of the transaction the kernel has refused, and why. */
export function* refusedError(
  exchange: Exchange,
  transaction: Transaction,
  encoded: EncodedTransaction,
  refused: readonly Refused[],
  { dryRun = false }: { dryRun?: boolean | undefined },
): Operation<Error> {
  const blamed: Blamed[] = [];
  for (const each of refused) {
    const message = messageOf(encoded, each.sequence);
    if (message === undefined || transaction.operations[message.operation] === undefined) {
      const begin = { syscall: 'NFNL_MSG_BATCH_BEGIN', hint: (code: string) => hintFor({ code, path: [] }) };
      return ackError(begin, each.ack, 'nftables.commit');
    }
    blamed.push({ ...each, message });
  }
  const [first] = blamed;
  if (blamed.length === 1 && !dryRun && (yield* isOfCommit(exchange, encoded, first!)))
    return commitError(transaction, encoded, first!.ack);
  const failures: BatchFailure[] = [];
  for (const each of withoutRepeats(transaction, blamed)) {
    const jumps =
      describeErrno(each.ack.errno).code === 'EMLINK'
        ? yield* jumpsHint(exchange, transaction, encoded, each.message)
        : undefined;
    failures.push(failureOf(transaction, encoded, each, jumps));
  }
  const error = new BatchError({ failures, outcome: 'none', applied: [] });
  const [only, ...others] = failures;
  const lacking = only !== undefined && others.length === 0 ? lacked(only, transaction) : undefined;
  return lacking === undefined ? error : Object.assign(lacking, { cause: error });
}

function failureOf(
  transaction: Transaction,
  encoded: EncodedTransaction,
  blamed: Pick<Blamed, 'message' | 'ack'>,
  hint: string | undefined,
): BatchFailure {
  return failure(transaction.operations, encoded, blamed, refused => hint ?? hintFor(refused));
}

/**
 * Whether the only error is one of the whole transaction: the kernel gives that the number of the first message, whatever that is. Carried out without
 * the commit, a transaction whose first message is wrong fails again, and one that is wrong as a whole does not.
 */
function* isOfCommit(exchange: Exchange, encoded: EncodedTransaction, { sequence, ack }: Blamed): Operation<boolean> {
  const { errno, offset, text } = ack;
  if (sequence !== FIRST_SEQUENCE || offset !== undefined || text !== undefined) return false;
  if (!OF_COMMIT.has(describeErrno(errno).code)) return false;
  const last = FIRST_SEQUENCE + encoded.messages.length - 1;
  let failed = false;
  let tried = false;
  const parts = partsOf(encoded, { dryRun: true, acknowledgeLast: true });
  try {
    yield* exchange.transact(parts, encoded.messages.length, message => {
      if (message.type !== NLMSG_ERROR) return false;
      if (readAck(message).errno !== 0) failed = true;
      tried ||= message.sequence === last;
      return message.sequence === last;
    });
  } catch {
    // The kernel's first word is the error, whatever becomes of the second question.
    return false;
  }
  return tried && !failed;
}

/** An error of the transaction as a whole. Of EINVAL the cause is known: sets and chains without a name that no rule uses. */
function commitError(transaction: Transaction, encoded: EncodedTransaction, ack: Ack): Error {
  const { code } = describeErrno(ack.errno);
  const unused = code === 'EINVAL' ? unusedObjects(encoded) : [];
  if (unused.length > 0) {
    const failures = unused.map(message => {
      const what = message.name === 'newset' ? 'set or map' : 'chain';
      const hint = `no rule of the transaction uses this ${what} without a name`;
      return failureOf(transaction, encoded, { message, ack }, hint);
    });
    return new BatchError({ failures, outcome: 'none', applied: [] });
  }
  const hints: Readonly<Record<string, string>> = {
    ENOMEM: 'the kernel has no memory for the transaction as a whole',
    EOPNOTSUPP: 'the device of a chain or flowtable with the flag offload cannot do what its rules say',
  };
  const end = {
    syscall: 'NFNL_MSG_BATCH_END',
    hint: () => hints[code] ?? 'the kernel refused the transaction when it was complete, and none of its operations',
  };
  return ackError(end, ack, 'nftables.commit');
}

function unusedObjects(encoded: EncodedTransaction): EncodedMessage[] {
  const made = new Map<string, EncodedMessage>();
  const used = new Set<string>();
  for (let i = 0; i < encoded.messages.length; i++) {
    const message = encoded.messages.at(i)!;
    const nameless = { newset: 'anonymous', newchain: 'binding' }[message.name as 'newset'];
    if (nameless === undefined && message.name !== 'newrule') continue;
    const { object } = decodeMessage(encoded.bytesOf(message));
    if (nameless === undefined) useIn(object.expressions, used);
    else if ((object.flags as unknown[] | undefined)?.includes(nameless))
      made.set(`${message.name} ${object.id}`, message);
  }
  return [...made].filter(([key]) => !used.has(key)).map(([, message]) => message);
}

/** The numbers of sets and chains anywhere in there. */
function useIn(value: unknown, used: Set<string>): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (key === 'setId') used.add(`newset ${inner}`);
    else if (key === 'chainId') used.add(`newchain ${inner}`);
    else useIn(inner, used);
  }
}

/** One error for each table that is wrong as a whole: at the first message with which it is. */
function withoutRepeats(transaction: Transaction, blamed: readonly Blamed[]): Blamed[] {
  const told = new Set<string>();
  return blamed.filter(({ message, ack }) => {
    const { code } = describeErrno(ack.errno);
    if (!OF_TABLE.has(code) || !JUDGED.has(message.name)) return true;
    // An expression of its own that this kernel does not do, which the kernel points at.
    if (code === 'EOPNOTSUPP' && ack.offset !== undefined) return true;
    const key = `${code} ${message.family} ${tableOf(transaction, message)}`;
    const repeated = told.has(key);
    told.add(key);
    return !repeated;
  });
}

function tableOf({ operations }: Transaction, { operation }: EncodedMessage): string {
  const { kind, subject } = operations[operation]!;
  const object = (subject as Record<string, Fields>)[kind]!;
  return String(kind === 'table' ? object.name : object.table);
}

/** Which chains make the loop, or the row that is too long: of the transaction, and of what the kernel had before it. */
function* jumpsHint(
  exchange: Exchange,
  transaction: Transaction,
  encoded: EncodedTransaction,
  refused: EncodedMessage,
): Operation<string | undefined> {
  const table = tableOf(transaction, refused);
  const own = explained(new Jumps(), encoded, table, refused);
  if (own !== undefined) return own;
  const jumps = new Jumps();
  try {
    const { operation } = refused;
    const { kind, subject } = transaction.operations[operation]!;
    const { family } = (subject as Record<string, { family: Family }>)[kind]!;
    for (const object of yield* list(exchange, 'rule', { family, table }, XT_LAYOUTS))
      jumps.apply({ name: 'newrule', object: { ...object } });
    for (const set of yield* list(exchange, 'set', { family, table })) {
      if (set.dataType !== VERDICT_DATA_TYPE || typeof set.name !== 'string') continue;
      const found = yield* dumpElements(exchange, { family, table, name: set.name });
      jumps.apply({ name: 'newsetelem', object: { set: set.name, elements: found } });
    }
  } catch {
    // The hint is not worth an error of its own.
  }
  return explained(jumps, encoded, table, refused);
}

/** With the transaction's own messages up to the one that was refused. */
function explained(
  jumps: Jumps,
  encoded: EncodedTransaction,
  table: string,
  refused: EncodedMessage,
): string | undefined {
  let last: { name: string; object: Fields } | undefined;
  for (let i = 0; i < encoded.messages.length && last === undefined; i++) {
    const message = encoded.messages.at(i)!;
    if (message.family !== refused.family) continue;
    const { object } = decodeMessage(encoded.bytesOf(message));
    if (object.table !== table) continue;
    jumps.apply({ name: message.name, object });
    if (message.start === refused.start) last = { name: message.name, object };
  }
  return last && jumps.explain(last);
}

/** and, or and xor came with the second register of bitwise; older kernels do not know the number of the operation. */
const TWO_REGISTERS: readonly unknown[] = ['and', 'or', 'xor'];

/** The error for a refusal that has one cause only: the kernel is older than the expression. */
function lacked({ code, path, index }: BatchFailure, { operations }: Transaction): UnsupportedError | undefined {
  const [kind, place, at] = path;
  if (code !== 'EOPNOTSUPP' || kind !== 'rule' || place !== 'expressions' || typeof at !== 'number') return undefined;
  const { expressions } = (operations[index]!.subject as { rule: { expressions: { bitwise?: { op?: unknown } }[] } })
    .rule;
  if (!TWO_REGISTERS.includes(expressions?.[at]?.bitwise?.op)) return undefined;
  return new UnsupportedError('bitwise with a second register', '6.13');
}
