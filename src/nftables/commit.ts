import { checkInteger, checkObject } from '../codec/index.ts';
import { atIndex, BatchError, type BatchFailure, NetlinkError, type Path, StateError, typeError } from '../errors.ts';
import { NLMSG_ERROR } from '../transport/constants.ts';
import { type Exchange, type Operation, refusal, type Verdict, verdictOf } from '../transport/index.ts';
import { HINTS, hintFor } from './hints.ts';
import { MESSAGES } from './message.ts';
import { bytesOf, type EncodedTransaction, messageOf, pathOf, Transaction } from './transaction.ts';

export interface CommitOptions {
  /** Commit only if the ruleset is still at this generation; else NetlinkError ERESTART. */
  generation?: number;
  /** Have the kernel check everything and change nothing. Costs some 8 ms: the kernel waits for all CPUs (synchronize_rcu). */
  dryRun?: boolean;
  /** Acts before the send; once the kernel has the bytes, the promise says what became of them. */
  signal?: AbortSignal;
}

/** Carries out a transaction: see NftablesOperations.commit. */
export function* commit(exchange: Exchange, transaction: Transaction, options: CommitOptions = {}): Operation<void> {
  if (!(transaction instanceof Transaction)) throw typeError([], 'a Transaction', transaction);
  checkObject(options, [], ['generation', 'dryRun', 'signal']);
  if (options.generation !== undefined) checkInteger(options.generation, ['generation'], 0, 0xffffffff);
  if (transaction.length === 0) return;
  const encoded = transaction.encode();
  const bytes = bytesOf(encoded, options);
  const refused: { sequence: number; verdict: Verdict }[] = [];
  let acknowledged = false;
  const committed = encoded.messages.length + 2;
  const answers = yield* exchange.transact(bytes, bytes.length, encoded.messages.length + 2, message => {
    if (message.type !== NLMSG_ERROR) return false;
    const verdict = verdictOf(message);
    if (verdict.errno !== 0) refused.push({ sequence: message.sequence, verdict });
    else acknowledged = true;
    return message.sequence === committed && verdict.errno === 0;
  });
  if (refused.length > 0) throw refusedError(transaction, encoded, refused);
  // Errors come first: where answers are missing and none of them is an error, none is known to have failed.
  if (answers === 'lost')
    throw new StateError('ERR_REPLIES_LOST', 'the answers of the kernel were lost: read the ruleset to know its state');
  if (!acknowledged) throw new StateError('ERR_NO_REPLY', 'the kernel did not acknowledge the transaction');
}

function refusedError(
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
