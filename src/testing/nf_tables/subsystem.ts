import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_MIN_TYPE } from '../../linux/netlink.ts';
import * as Nft from '../../linux/nf_tables.ts';
import {
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
} from '../../linux/nfnetlink.ts';
import type { Machine } from '../machine/machine.ts';
import { acknowledgement, type Request, requestsOf } from '../machine/netlink.ts';
import type { MemorySocket } from '../machine/socket.ts';
import { hasModule, isSince, type Namespace } from '../machine/state.ts';
import { EBUSY, EINVAL, ENOMEM, EOPNOTSUPP, ERESTART, Refusal, refuse } from '../refusal.ts';
import { Attributes } from '../wire/attributes.ts';
import { type Batch, newBatch, type Work } from './context.ts';
import { engineOf } from './engine.ts';
import { removeOwned, tell } from './events.ts';
import { answerGet, dump, isRead } from './get.ts';
import { carryOut } from './operations.ts';
import { policyOf } from './policies.ts';
import { check as checkPolicy, silently } from './policy.ts';
import { validate } from './validate.ts';

/** nlmsghdr and nfgenmsg. */
const HEADERS = 20;
/** An acknowledgement of the beginning and the end of a batch. */
const ACKED_END = [6, 10] as const;
/** An extended acknowledgement where attributes of a batch break their policy. */
const EXPLAINED = [6, 13] as const;
/** Messages that delete what may be missing. */
const DESTROYS = [6, 3] as const;
/** What one of them has done before it fails stays for those behind it. */
const PARTIAL = new Set<number>([Nft.NFT_MSG_NEWSETELEM, Nft.NFT_MSG_DELSETELEM, Nft.NFT_MSG_DESTROYSETELEM]);

export const familyOf = ({ bytes }: Request): number => bytes[16]!;
export const attributesOf = ({ bytes }: Request): Attributes => new Attributes(bytes, HEADERS, bytes.length);
const kindOf = ({ type }: Request): number => type & 0xff;
const subsystemOf = ({ type }: Request): number => type >> 8;

/** Requests outside of a batch: everything that reads. */
export function answer(machine: Machine, socket: MemorySocket, request: Request): void {
  if (request.bytes.length < HEADERS) refuse(EINVAL);
  const namespace = machine.namespace(socket.namespace);
  const engine = engineOf(machine);
  const kind = kindOf(request);
  if (!isRead(kind, machine.release)) refuse(EINVAL);
  const policy = policyOf(kind, machine.release);
  if (policy !== undefined) checkPolicy(attributesOf(request), policy);
  if ((request.flags & NLM_F_DUMP) === NLM_F_DUMP && kind !== Nft.NFT_MSG_GETGEN) {
    const started = dump(kind, request, namespace, engine);
    if (!socket.start(started)) refuse(EBUSY);
    return;
  }
  for (const message of answerGet(kind, request, namespace, engine)) socket.deliver(message);
}

/** A batch: all of it, or nothing (nfnetlink_rcv_batch, nf_tables_commit). */
export function answerBatch(machine: Machine, socket: MemorySocket, datagram: Uint8Array): void {
  const namespace = machine.namespace(socket.namespace);
  const [begin, ...requests] = [...requestsOf(datagram, socket.port)];
  if (begin === undefined || begin.bytes.length < HEADERS) return;
  const refuseWhole = (errno: number) => socket.deliver(acknowledgement(socket, begin, new Refusal(errno)));
  const subsystem = (begin.bytes[18]! << 8) | begin.bytes[19]!;
  if (subsystem !== NFNL_SUBSYS_NFTABLES || !hasModule(machine.release, 'nf_tables')) {
    refuseWhole(EOPNOTSUPP);
    return;
  }
  try {
    machine.checkFaults(socket, begin);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    refuseWhole(error.errno);
    return;
  }
  const generation = attributesOf(begin).u32be(NFNL_BATCH_GENID) ?? 0;
  if (generation !== 0 && generation !== namespace.nfTables.generation) {
    refuseWhole(ERESTART);
    return;
  }

  const first = attempt(machine, socket, namespace, begin, requests, false);
  // What cannot be reached is found at the end. The messages are tried once more, each with a look at what it leads to.
  const result = first === 'invalid' ? attempt(machine, socket, namespace, begin, requests, true) : first;
  if (result === 'invalid' || result === undefined) return;
  if (result.batch !== undefined && requests.length > 0) tell(machine, namespace, socket, requests[0]!, result.batch);
  for (const each of result.answers) socket.deliver(each);
}

interface Result {
  readonly answers: Uint8Array[];
  /** What has been done; undefined where nothing has. */
  readonly batch: Batch | undefined;
}

function attempt(
  machine: Machine,
  socket: MemorySocket,
  namespace: Namespace,
  begin: Request,
  requests: readonly Request[],
  validatesEach: boolean,
): Result | 'invalid' | undefined {
  const batch = newBatch();
  const engine = engineOf(machine);
  const answers: Uint8Array[] = [];
  if ((begin.flags & NLM_F_ACK) !== 0 && isSince(machine.release, ACKED_END))
    answers.push(acknowledgement(socket, begin, undefined));
  let failed = false;
  let ended: Request | undefined;
  let isCut = true;
  for (const request of requests) {
    if (request.type === NFNL_MSG_BATCH_END) {
      ended = request;
      isCut = false;
      break;
    }
    if (request.bytes.length < HEADERS || request.type === NFNL_MSG_BATCH_BEGIN) {
      // The rest and all errors so far are dropped.
      takeBack(batch);
      return undefined;
    }
    let refusal: Refusal | undefined;
    let warning: string | undefined;
    try {
      if ((request.flags & NLM_F_REQUEST) === 0 || request.type < NLMSG_MIN_TYPE) refuse(EINVAL);
      if (subsystemOf(request) !== NFNL_SUBSYS_NFTABLES) refuse(EINVAL);
      machine.checkFaults(socket, request);
      const kind = kindOf(request);
      if (kind >= Nft.NFT_MSG_DESTROYTABLE && !isSince(machine.release, DESTROYS)) refuse(EINVAL);
      const work: Work = {
        engine,
        namespace,
        request,
        family: familyOf(request),
        attributes: attributesOf(request),
        batch,
      };
      const policy = policyOf(kind, machine.release);
      if (policy !== undefined) {
        if (isSince(machine.release, EXPLAINED))
          checkPolicy(work.attributes, policy, text => {
            warning = text;
          });
        else silently(() => checkPolicy(work.attributes, policy));
      }
      step(batch, kind, () => carryOut(kind, work));
      if (validatesEach && (kind === Nft.NFT_MSG_NEWRULE || kind === Nft.NFT_MSG_NEWSETELEM)) validateOf(work);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refusal = error.text === undefined ? new Refusal(error.errno, error.offset, warning) : error;
      failed = true;
    }
    if (refusal?.errno === ENOMEM) {
      // The kernel keeps no list of errors then. It stops, and points at the whole batch.
      takeBack(batch);
      return { answers: [acknowledgement(socket, requests[0]!, new Refusal(ENOMEM))], batch: undefined };
    }
    if (refusal === undefined && warning !== undefined) refusal = new Refusal(0, undefined, warning);
    if ((refusal !== undefined && refusal.errno !== 0) || (request.flags & NLM_F_ACK) !== 0)
      answers.push(acknowledgement(socket, request, refusal));
  }
  if (isCut || failed) {
    if (isCut && !failed) check(batch);
    takeBack(batch);
    return { answers, batch: undefined };
  }
  const [beginning] = requests;
  try {
    check(batch);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    takeBack(batch);
    if (error.text === INVALID && !validatesEach) return 'invalid';
    // Told before what has been found on the way.
    answers.unshift(acknowledgement(socket, beginning!, new Refusal(error.errno)));
    return { answers, batch: undefined };
  }
  if (batch.events.length > 0) {
    const { nfTables } = namespace;
    nfTables.generation = nfTables.generation === 0xffff_ffff ? 1 : nfTables.generation + 1;
  }
  if ((ended!.flags & NLM_F_ACK) !== 0 && isSince(machine.release, ACKED_END))
    answers.push(acknowledgement(socket, ended!, undefined));
  return { answers, batch };
}

/** Carries out one message. What a message that fails has begun is taken back at once: later ones do not see it. */
function step(batch: Batch, kind: number, work: () => void): void {
  const { length } = batch.undo;
  const events = batch.events.length;
  try {
    work();
  } catch (error) {
    if (!PARTIAL.has(kind)) {
      for (const undo of batch.undo.splice(length).reverse()) undo();
      batch.events.splice(events);
    }
    throw error;
  }
}

function takeBack(batch: Batch): void {
  for (const undo of batch.undo.splice(0).reverse()) undo();
}

const INVALID = 'invalid';

/** What is looked at when all messages have been carried out. */
function check(batch: Batch): void {
  for (const set of batch.anonymous) if (!set.bound) refuse(EINVAL);
  for (const chain of batch.bindings) if (!chain.bound) refuse(EINVAL);
  for (const table of batch.toValidate) {
    try {
      validate(table);
    } catch (error) {
      if (error instanceof Refusal) throw new Refusal(error.errno, undefined, INVALID);
      throw error;
    }
  }
}

/** The table of a message, where it needs to be looked at. */
function validateOf({ attributes, family, namespace, batch }: Work): void {
  const name = attributes.text(Nft.NFTA_RULE_TABLE);
  const table = namespace.nfTables.tables.find(each => each.name === name && each.family === family);
  if (table !== undefined && batch.toValidate.has(table)) validate(table);
}

/** A socket has been closed: its tables go with it, unless they persist. */
export function closed(machine: Machine, socket: MemorySocket): void {
  const namespace = machine.state.namespaces.get(socket.namespace);
  if (namespace !== undefined) removeOwned(namespace, socket.port);
}
