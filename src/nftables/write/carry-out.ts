import { StateError } from '../../errors.ts';
import { NLMSG_ERROR } from '../../linux/netlink.ts';
import { type Exchange, type Message, type Operation, readAck } from '../../netlink/index.ts';
import type { Features } from '../features.ts';
import { boundBytes, type EncodedMessage, type EncodedTransaction, FIRST_SEQUENCE, partsOf } from './encoded.ts';
import type { Refused } from './failure.ts';

/** Takes the objects that the kernel sends back after a commit. */
export interface Echoes {
  /** Something has come: the kernel has committed. */
  readonly begun: boolean;
  /** Whether the object of a message is to be sent back. */
  wants(message: EncodedMessage): boolean;
  read(message: Message): void;
}

interface CarryOutOptions {
  readonly generation: number | undefined;
  readonly dryRun: boolean | undefined;
  readonly echo?: Echoes | undefined;
  /** It was sent already: see `carryOutNow`. */
  readonly isSent?: boolean;
}

/** A reply has the length of its message and of the fields that the kernel adds. The kernel charges it by pages. */
const ECHO_CHARGE = 3;
const KIBIBYTE = 1024;

/** What becomes of a transaction that was sent by `carryOutNow`. */
export type SentNow = 'done' | 'answered' | 'unsent';

/**
 * Sends a transaction whose end the kernel acknowledges, without an operation. `done`: it is committed. `answered`: it was sent, and
 * `carryOut` reads the answers. `unsent`: it is too long for this thread.
 */
export function carryOutNow(
  exchange: Exchange,
  features: Features,
  encoded: EncodedTransaction,
  generation: number | undefined,
): SentNow {
  const { messages } = encoded;
  if (features.acknowledgesEnd !== true || messages.length === 0 || !exchange.staysHere(encoded.length))
    return 'unsent';
  const bytes = boundBytes(encoded, generation);
  const end = FIRST_SEQUENCE + messages.length;
  return exchange.transactNow(bytes, messages.length + 2, end) ? 'done' : 'answered';
}

/**
 * Sends a transaction and reads what the kernel says of it: the messages that it has refused, and whether answers were lost.
 * @throws StateError ERR_REPLIES_LOST, ERR_NO_REPLY
 */
export function* carryOut(
  exchange: Exchange,
  features: Features,
  encoded: EncodedTransaction,
  { generation, dryRun, echo, isSent = false }: CarryOutOptions,
): Operation<{ refused: Refused[]; lost: boolean }> {
  const { messages } = encoded;
  const end = FIRST_SEQUENCE + messages.length;
  const refused: Refused[] = [];
  let acknowledged = false;
  let ended = false;
  const visit = (message: Message): boolean => {
    if (message.type !== NLMSG_ERROR) {
      echo?.read(message);
      return false;
    }
    const ack = readAck(message);
    if (ack.errno !== 0) refused.push({ sequence: message.sequence, ack });
    else acknowledged = true;
    ended = message.sequence === end && ack.errno === 0;
    return ended;
  };
  let result: 'done' | 'drained' | 'lost';
  if (isSent) {
    result = yield* exchange.answers(visit);
  } else {
    const first = messages.at(0)?.start;
    const parts = partsOf(encoded, {
      generation,
      dryRun,
      // The kernel tells the generation where the first message of the batch asks for its echo.
      echo: echo && (message => message.start === first || echo.wants(message)),
      acknowledgeLast: dryRun === true || features.acknowledgesEnd !== true || messages.length === 0,
    });
    let replies = messages.length + 2;
    if (echo) replies += Math.ceil((ECHO_CHARGE * encoded.length) / KIBIBYTE);
    result = yield* exchange.transact(parts, messages.length + 2, visit, replies);
  }
  const lost = result === 'lost';
  if (refused.length > 0) return { refused, lost };
  // Errors come before all other replies: where replies are missing and none of the others is an error, nothing has failed.
  if (lost && echo?.begun !== true)
    throw new StateError('ERR_REPLIES_LOST', 'the answers of the kernel were lost: read the ruleset to know its state');
  if (!lost) {
    if (!acknowledged) throw new StateError('ERR_NO_REPLY', 'the kernel did not acknowledge the transaction');
    if (dryRun !== true) features.acknowledgesEnd ??= ended;
  }
  return { refused, lost };
}
