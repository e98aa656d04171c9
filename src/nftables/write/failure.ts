import { atIndex, type BatchFailure, describeErrno, NetlinkError, type Path } from '../../errors.ts';
import type { Ack } from '../../netlink/index.ts';
import { MESSAGES } from '../../nf_tables/message.ts';
import { type EncodedMessage, type EncodedTransaction, pathOf } from './encoded.ts';
import type { Refused as Refusal } from './hints.ts';
import type { Fields } from './new-objects.ts';
import type { TransactionOperation } from './operation-list.ts';

/** The kernel's word on one message of a transaction. */
export interface Refused {
  readonly sequence: number;
  readonly ack: Ack;
}

/** A refused message with the operation that it belongs to. */
export interface Blamed extends Refused {
  readonly message: EncodedMessage;
}

/** The error of one message, with its path in the operation that it belongs to. `hint` says what usually causes it. */
export function failureOf(
  operations: readonly TransactionOperation[],
  encoded: EncodedTransaction,
  { message, ack }: Pick<Blamed, 'message' | 'ack'>,
  hint?: (refusal: Refusal) => string | undefined,
): BatchFailure {
  const { verb, kind, subject } = operations[message.operation]!;
  const inner = ack.offset === undefined ? [] : pathOf(encoded, message, ack.offset);
  const path: Path = [kind, ...inner];
  const { code } = describeErrno(ack.errno);
  const object = (subject as Record<string, Fields>)[kind]!;
  const error = new NetlinkError({
    errno: ack.errno,
    syscall: MESSAGES[message.name].kernelName,
    operation: 'nftables.commit',
    subject,
    path,
    kernelMessage: ack.text,
    hint: hint?.({ code, path, kind, verb, object }),
    request: encoded.bytesOf(message).slice(),
  });
  return atIndex(error, message.operation);
}
