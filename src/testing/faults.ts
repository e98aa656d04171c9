import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { checkObject } from '../codec/index.ts';
import { describeErrno, rangeError, typeError } from '../errors.ts';
import { REQUEST_CHANNEL, type RequestTrace } from '../observe.ts';
import type { Fault, Faults, RequestKind } from './machine/faults.ts';
import { MemoryContainer } from './memory-container.ts';
import { requestNamed } from './request-names.ts';

/** Where and how often something goes wrong. */
interface FaultScope {
  /** An operation of this library, as its errors name it: 'ipvs.addService', 'nftables.commit'. */
  readonly operation?: string;
  /** The only container that it meets; every container by default. */
  readonly container?: MemoryContainer;
  /** How often; once by default. */
  readonly times?: number;
}

/** What the kernel in memory refuses. */
export interface FailOptions extends FaultScope {
  /**
   * A system call ('socket', 'sendto', 'recvmsg'), or a request by the kernel's name, as errors have it in `syscall`: 'NFT_MSG_NEWRULE',
   * 'IPVS_CMD_NEW_DEST', 'RTM_NEWLINK', 'IPCTNL_MSG_CT_DELETE', or of a socket option of IPVS: 'IP_VS_SO_SET_ADD'. Every request by default.
   */
  readonly syscall?: string;
  /** The name of the errno, such as 'ENOBUFS', or its number. */
  readonly errno: string | number;
}

/** What the kernel in memory loses. */
export interface LoseOptions extends FaultScope {
  /**
   * 'answer': a request is carried out, and its answer finds no room in the receive buffer. 'event': a datagram to those that monitor. 'log': a
   * datagram of packets to a reader of NFLOG. 'dump': a change comes in between the parts of a list, which the kernel marks (NLM_F_DUMP_INTR).
   */
  readonly what: 'answer' | 'event' | 'log' | 'dump';
  /** The request whose answer or dump is lost, by the kernel's name: 'NFT_MSG_GETRULE'. Any by default. */
  readonly syscall?: string;
}

const CALLS = ['socket', 'sendto', 'recvmsg'] as const;
const EFFECTS = { answer: 'lose answer', event: 'lose event', log: 'lose log', dump: 'interrupt dump' } as const;
const LAST_ERRNO = 133;

function requestOf(name: string): RequestKind {
  const request = requestNamed(name);
  if (request !== undefined) return request;
  throw rangeError(
    ['syscall'],
    `${CALLS.join(', ')}, or the kernel's name of a request, such as NFT_MSG_NEWRULE`,
    name,
  );
}

function errnoOf(errno: unknown): number {
  if (typeof errno === 'number' && Number.isInteger(errno) && errno !== 0 && Math.abs(errno) <= LAST_ERRNO)
    return -Math.abs(errno);
  if (typeof errno === 'string')
    for (let number = -1; number >= -LAST_ERRNO; number--) if (describeErrno(number).code === errno) return number;
  throw typeError(['errno'], "the name or number of an errno, such as 'ENOBUFS'", errno);
}

function timesOf(times: unknown = 1): number {
  if (typeof times === 'number' && (times === Infinity || (Number.isInteger(times) && times > 0))) return times;
  throw rangeError(['times'], 'an integer from 1', times);
}

const callOf = (syscall: string | undefined): Fault['syscall'] => CALLS.find(each => each === syscall);

function scopeOf({ operation, container, times }: FaultScope, syscall: string | undefined) {
  if (container !== undefined && !(container instanceof MemoryContainer))
    throw typeError(['container'], 'a container of a kernel in memory', container);
  if (operation !== undefined && (typeof operation !== 'string' || !operation.includes('.')))
    throw typeError(['operation'], "an operation of this library, such as 'ipvs.addService'", operation);
  const call = callOf(syscall);
  return {
    operation,
    namespace: container?.netns.inode,
    left: timesOf(times),
    syscall: call,
    request: syscall === undefined || call !== undefined ? undefined : requestOf(syscall),
  };
}

const SCOPE = ['operation', 'container', 'times', 'syscall'];

export function failureOf(options: FailOptions): Fault {
  checkObject(options, [], [...SCOPE, 'errno']);
  const { errno, syscall, ...scope } = options;
  return { effect: 'refuse', errno: errnoOf(errno), ...scopeOf(scope, syscall) };
}

export function lossOf(options: LoseOptions): Fault {
  checkObject(options, [], [...SCOPE, 'what']);
  const { what, syscall, ...scope } = options;
  const effect = Object.hasOwn(EFFECTS, what) ? EFFECTS[what] : undefined;
  if (effect === undefined) throw rangeError(['what'], `one of ${Object.keys(EFFECTS).join(', ')}`, what);
  const rest = scopeOf(scope, syscall);
  if (rest.syscall !== undefined) throw rangeError(['syscall'], "the kernel's name of a request", syscall);
  return { effect, errno: 0, ...rest };
}

/** Follows the operations of this library for as long as a fault names one, by the channel that tells of its requests. */
export function followOperations(faults: Faults): void {
  const underWay = new Map<number, Set<string>>();
  const start = (message: unknown) => {
    const { netns, operation } = message as RequestTrace;
    underWay.set(netns, (underWay.get(netns) ?? new Set()).add(operation));
  };
  const end = (message: unknown) => {
    const { netns, operation } = message as RequestTrace;
    underWay.get(netns)?.delete(operation);
  };
  const channels = { start, end };
  for (const [name, heard] of Object.entries(channels)) subscribe(`tracing:${REQUEST_CHANNEL}:${name}`, heard);
  faults.follow(
    namespace => underWay.get(namespace),
    () => {
      for (const [name, heard] of Object.entries(channels)) unsubscribe(`tracing:${REQUEST_CHANNEL}:${name}`, heard);
      faults.follow(
        () => undefined,
        () => {},
      );
    },
  );
}
