import { getSystemErrorMap } from 'node:util';
import { printable, show } from './expected.ts';
import { ofThread } from './thread.ts';

export { isInstance, noField, objectOf, oneOf, printable, printableOutput, show } from './expected.ts';

/** The place of something inside a value of the caller: `['expressions', 1, 'cmp', 'register']`. */
export type Path = readonly (string | number)[];

/** The printed form of a path: `expressions[1].cmp.register`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text;
}

/**
 * Errnos that Node's map lacks, or that it names otherwise than the kernel (include/linux/errno.h, asm-generic/errno.h): 95 is EOPNOTSUPP
 * in the kernel, and ENOTSUP in Node.
 */
const KERNEL_ERRNOS: Record<number, readonly [string, string]> = {
  35: ['EDEADLK', 'resource deadlock would occur'],
  42: ['ENOMSG', 'no message of desired type'],
  76: ['ENOTUNIQ', 'name not unique on network'],
  85: ['ERESTART', 'interrupted: the state changed meanwhile'],
  93: ['EPROTONOSUPPORT', 'protocol not supported'],
  94: ['ESOCKTNOSUPPORT', 'socket type not supported'],
  95: ['EOPNOTSUPP', 'operation not supported'],
  96: ['EPFNOSUPPORT', 'protocol family not supported'],
  524: ['ENOTSUPP', 'operation is not supported'],
};

/** Kept, because Node makes a new map in each call. */
const thread = ofThread<{ errnos?: ReadonlyMap<number, readonly [string, string]> }>('errors.errnos', {});

/** The name and the text of an errno, which is negative as in the kernel. */
export function describeErrno(errno: number): { code: string; text: string } {
  thread.errnos ??= getSystemErrorMap();
  const [code, text] = KERNEL_ERRNOS[-errno] ?? thread.errnos.get(errno) ?? [`E${-errno}`, 'unknown error'];
  return { code, text };
}

/*
 * Two copies of the package in one process (a monorepo, a bundle beside node_modules) have two sets of classes.
 * A brand in the global symbol registry makes `instanceof` hold across them.
 */
function isBranded(value: unknown, brand: symbol): boolean {
  return typeof value === 'object' && value !== null && brand in value;
}

const NETLINK_ERROR = Symbol.for('netsteer.NetlinkError');
const NETNS_ERROR = Symbol.for('netsteer.NetNsError');
const BATCH_ERROR = Symbol.for('netsteer.BatchError');
const UNSUPPORTED_ERROR = Symbol.for('netsteer.UnsupportedError');
const DECODE_ERROR = Symbol.for('netsteer.DecodeError');
const STATE_ERROR = Symbol.for('netsteer.StateError');
const ARGUMENT_ERROR = Symbol.for('netsteer.ArgumentError');

/** A place in a text that the caller gave, and the lines that show it. */
export interface TextPlace {
  source: string;
  line: number;
  column: number;
  endColumn: number;
  /** The line of the text, and a line with carets under it. */
  excerpt: string;
}

export interface NetlinkErrorOptions {
  /** Negative, as in Node. */
  errno: number;
  /** The message or system call that was refused: 'IPVS_CMD_NEW_SERVICE', 'sendto'. */
  syscall: string;
  operation?: string | undefined;
  subject?: unknown;
  path?: Path | undefined;
  kernelMessage?: string | undefined;
  hint?: string | undefined;
  request?: Uint8Array | undefined;
  /** The place in the caller's text that the refused part was made from. */
  place?: TextPlace | undefined;
  cause?: unknown;
}

/** A request that the kernel has refused. */
export class NetlinkError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return isBranded(value, NETLINK_ERROR);
  }
  /** The name of the class. */
  override readonly name = 'NetlinkError';
  /** The errno's name: 'EEXIST'. */
  readonly code: string;
  /** The kernel's number, negative as in Node: -17. */
  readonly errno: number;
  /** The message or system call that was refused. */
  readonly syscall: string;
  /** The operation of this library that sent it: 'ipvs.addService'. */
  declare readonly operation: string | undefined;
  /** The object as the caller gave it. */
  declare readonly subject: unknown;
  /** The place in `subject` that the kernel has pointed at; empty if it has not. */
  readonly path: Path;
  /** The printed form of `path`: 'expressions[1].cmp.register'. */
  declare readonly attribute: string | undefined;
  /** The kernel's own text, if it sent one (extended acknowledgement). */
  declare readonly kernelMessage: string | undefined;
  /** The usual cause, and what to do. */
  declare readonly hint: string | undefined;
  /** The name of the text that the request was made from. Only of errors from a text, with `line`, `column` and `endColumn`. */
  declare readonly source: string | undefined;
  /** The line of the text that was refused, from 1. */
  declare readonly line: number | undefined;
  /** The first byte of the part that was refused, from 1. */
  declare readonly column: number | undefined;
  /** The last byte of that part. */
  declare readonly endColumn: number | undefined;
  /** The bytes that were sent. Not enumerable, so that they do not get into logs. */
  declare readonly request: Uint8Array | undefined;

  constructor(options: NetlinkErrorOptions) {
    const { code, text } = describeErrno(checkErrno(options));
    const path = options.path ?? [];
    const attribute = path.length > 0 ? formatPath(path) : undefined;
    let message = `${code}: ${text}, ${options.operation || options.syscall}`;
    if (attribute !== undefined) message += ` (${attribute})`;
    if (options.kernelMessage) message += `: ${options.kernelMessage}`;
    if (options.hint) message += `: ${options.hint}`;
    message = printable(message);
    if (options.place !== undefined) message += `\n${options.place.excerpt}`;
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.errno = options.errno;
    this.syscall = options.syscall;
    this.path = path;
    const { operation, subject, kernelMessage, hint } = options;
    const { source, line, column, endColumn } = options.place ?? {};
    tell(this, { operation, subject, attribute, kernelMessage, hint, source, line, column, endColumn });
    hide(this, 'request', options.request);
    hide(this, NETLINK_ERROR, true);
  }
}

/** Errors are made by tests, too. @throws TypeError, RangeError */
function checkErrno(options: NetlinkErrorOptions): number {
  if (typeof options !== 'object' || options === null)
    throw typeError([], 'an object { errno, syscall, ... } with a negative errno, such as -2 (ENOENT)', options);
  const { errno } = options;
  if (typeof errno !== 'number') throw typeError(['errno'], 'a negative number, such as -2 (ENOENT)', errno);
  if (!Number.isInteger(errno) || errno >= 0)
    throw rangeError(['errno'], 'a negative number, such as -2 (ENOENT)', errno);
  return errno;
}

/** One failed operation of a batch. `index` is its place in the caller's list. */
export type BatchFailure = NetlinkError & {
  /** The place of the operation in the caller's list. */
  readonly index: number;
};

/** Which operations of a batch the kernel has carried out, after a failure. */
export type BatchOutcome = 'none' | 'partial' | 'all' | 'unknown';

/** A batch of operations of which one or more failed. */
export class BatchError extends AggregateError {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return isBranded(value, BATCH_ERROR);
  }
  /** The name of the class. */
  override readonly name = 'BatchError';
  /** The code of the only failure, or 'ERR_BATCH'. */
  readonly code: string;
  /** How much of the batch the kernel has carried out. */
  readonly outcome: BatchOutcome;
  /** The indexes of the operations that the kernel has carried out. */
  readonly applied: readonly number[];
  /** The operations that were carried out have been undone. IPVS only: nf_tables carries out a whole batch or nothing. */
  readonly rolledBack: boolean;

  constructor(options: {
    failures: readonly BatchFailure[];
    outcome: BatchOutcome;
    applied: readonly number[];
    rolledBack?: boolean;
  }) {
    if (!Array.isArray(options?.failures) || options.failures.length === 0)
      throw typeError(['failures'], 'an array of NetlinkErrors with an index', options?.failures);
    const { failures, outcome, rolledBack = false } = options;
    const first = failures[0];
    const more = failures.length > 1 ? ` (and ${failures.length - 1} more)` : '';
    super(failures, `${failures.length} failed, applied: ${outcome}. [${first?.index}] ${first?.message}${more}`);
    this.code = failures.length === 1 && first !== undefined ? first.code : 'ERR_BATCH';
    this.outcome = outcome;
    this.applied = options.applied;
    this.rolledBack = rolledBack;
    hide(this, BATCH_ERROR, true);
  }

  /** The failed operations; the same as `errors` of an AggregateError. */
  get failures(): readonly BatchFailure[] {
    return this.errors;
  }
}

/** Marks an error as the failure of one operation of a batch. */
export function atIndex(error: NetlinkError, index: number): BatchFailure {
  return Object.assign(error, { index });
}

/** Either one of our codes, or the kernel's errno. */
type NetNsErrorOptions = ({ code: string; errno?: number } | { errno: number; code?: undefined }) & {
  syscall?: string;
  hint?: string;
};

/** A namespace that cannot be opened, entered or left. */
export class NetNsError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return isBranded(value, NETNS_ERROR);
  }
  /** The name of the class. */
  override readonly name = 'NetNsError';
  /** The code of the error, for programs. */
  readonly code: string;
  /** The kernel's number, negative as in Node. */
  declare readonly errno: number | undefined;
  /** The system call that failed. */
  declare readonly syscall: string | undefined;
  /** The usual cause, and what to do. */
  declare readonly hint: string | undefined;

  constructor(message: string, options: NetNsErrorOptions) {
    const known = options.errno === undefined ? undefined : describeErrno(options.errno);
    const code = options.code ?? describeErrno(options.errno).code;
    super(printable(`${code}: ${message}${known ? ` (${known.text})` : ''}${options.hint ? `: ${options.hint}` : ''}`));
    this.code = code;
    const { errno, syscall, hint } = options;
    tell(this, { errno, syscall, hint });
    hide(this, NETNS_ERROR, true);
  }
}

/** This kernel lacks a feature that cannot be emulated exactly. */
export class UnsupportedError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return isBranded(value, UNSUPPORTED_ERROR);
  }
  /** The name of the class. */
  override readonly name = 'UnsupportedError';
  /** The code of the error, for programs. */
  readonly code = 'ERR_UNSUPPORTED';
  /** The missing feature. */
  readonly feature: string;
  /** The first kernel that has it, if that is known: '6.3'. */
  readonly minimumKernel: string | undefined;

  constructor(feature: string, minimumKernel?: string, hint?: string) {
    const since = minimumKernel === undefined ? '' : ` (Linux ${minimumKernel} has it)`;
    super(printable(`this kernel does not support ${feature}${since}${hint ? `: ${hint}` : ''}`));
    this.feature = feature;
    this.minimumKernel = minimumKernel;
    hide(this, UNSUPPORTED_ERROR, true);
  }
}

/** Bytes that are not well-formed netlink: truncated, or with wrong lengths. */
export class DecodeError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return isBranded(value, DECODE_ERROR);
  }
  /** The name of the class. */
  override readonly name = 'DecodeError';
  /** The code of the error, for programs. */
  readonly code = 'ERR_MALFORMED';

  constructor(message: string) {
    super(printable(`ERR_MALFORMED: ${message}`));
    hide(this, DECODE_ERROR, true);
  }
}

/** The codes of a `StateError`. docs/errors.md explains each. */
export type StateCode =
  | 'ERR_CLOSED'
  | 'ERR_BUSY'
  | 'ERR_NO_REPLY'
  | 'ERR_REPLIES_LOST'
  | 'ERR_TRUNCATED'
  | 'ERR_DUMP_INTERRUPTED'
  | 'ERR_TRANSACTION_TOO_LARGE'
  | 'ERR_TOO_MANY'
  | 'ERR_FOREIGN'
  | 'ERR_FOREIGN_TABLE'
  | 'ERR_TOO_MANY'
  | 'ERR_CONNECTIONS_KEPT'
  | 'ERR_RUNTIME'
  | 'ERR_FFI';

/** A handle or socket whose state does not allow the call. */
export class StateError extends Error {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return isBranded(value, STATE_ERROR);
  }
  /** The name of the class. */
  override readonly name = 'StateError';
  /** The code of the error, for programs. */
  readonly code: StateCode;

  constructor(code: StateCode, message: string, cause?: unknown) {
    super(printable(`${code}: ${message}`), cause === undefined ? undefined : { cause });
    this.code = code;
    hide(this, STATE_ERROR, true);
  }
}

/** A TypeError or RangeError of this library, with its additional fields. */
export interface ArgumentError extends Error {
  /** The code of the error, for programs. */
  readonly code: string;
  /** The place of the value in what the caller gave. */
  readonly path: Path;
  /** The printed form of `path`: 'expressions[1].cmp.register'. */
  readonly attribute: string;
  /** The value that was refused; not enumerable. */
  readonly value: unknown;
  /** What nft says of it, if the argument is a part of nft's language. Not enumerable. */
  nftMessage?: string;
  /** The other parts that nft marks: those that do not go together with this one. Not enumerable. */
  nftBeside?: readonly Path[];
}

function badArgument<E extends Error>(error: E, code: string, path: Path, value: unknown): E & ArgumentError {
  hide(error, 'value', value);
  hide(error, ARGUMENT_ERROR, true);
  return Object.assign(error, { code, path, attribute: formatPath(path) }) as E & ArgumentError;
}

/** The message of an argument error. Both the expectation and the value may contain text from a container. */
const expectation = (path: Path, expected: string, value: unknown): string =>
  printable(`${formatPath(path) || 'argument'}: expected ${expected}, got ${show(value)}`);

/** An error about a value of the wrong type. `path` leads to it from the caller's object. */
export function typeError(
  path: Path,
  expected: string,
  value: unknown,
  code = 'ERR_INVALID_ARG_TYPE',
): TypeError & ArgumentError {
  return badArgument(new TypeError(expectation(path, expected, value)), code, path, value);
}

/** An error about a value of the right type that the kernel would not take. */
export function rangeError(
  path: Path,
  expected: string,
  value: unknown,
  code = 'ERR_OUT_OF_RANGE',
): RangeError & ArgumentError {
  return badArgument(new RangeError(expectation(path, expected, value)), code, path, value);
}

/** Whether it is an argument error of this library. The layers above can extend its path. */
export function isArgumentError(error: unknown): error is ArgumentError {
  return error instanceof Error && ARGUMENT_ERROR in error;
}

/** The same error with a longer path, from an object that contains the one that was checked. */
export function within(error: unknown, prefix: Path): unknown {
  return elsewhere(error, path => [...prefix, ...path]);
}

/** The same error with another path. */
export function elsewhere(error: unknown, translate: (path: Path) => Path): unknown {
  if (!isArgumentError(error)) return error;
  const path = translate(error.path);
  const tail = error.message.slice(error.message.indexOf(': expected '));
  const Class = error instanceof RangeError ? RangeError : TypeError;
  const moved = badArgument(new Class(`${printable(formatPath(path))}${tail}`), error.code, path, error.value);
  if (error.nftBeside !== undefined) beside(moved, ...error.nftBeside.map(translate));
  return error.nftMessage === undefined ? moved : inNftsWords(moved, error.nftMessage);
}

/** Gives an error the words in which nft says the same. */
export function inNftsWords<E extends ArgumentError>(error: E, message: string): E {
  hide(error, 'nftMessage', message);
  return error;
}

/** Names the other parts that take part in an error of nft's language: an error of a text marks them. */
export function beside<E extends ArgumentError>(error: E, ...parts: readonly (Path | undefined)[]): E {
  hide(
    error,
    'nftBeside',
    parts.filter(part => part !== undefined),
  );
  return error;
}

/** The same error with a shorter path: without its first part, if that is `outer`. */
export function inside(error: unknown, outer: string): unknown {
  if (!isArgumentError(error) || error.path[0] !== outer) return error;
  return within(Object.assign(error, { path: error.path.slice(1) }), []);
}

/** Sets the fields that are defined, because a printed error lists undefined fields, too. */
function tell(target: object, fields: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) Object.assign(target, { [name]: value });
}

function hide(target: object, key: PropertyKey, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: false, configurable: true });
}

function single(error: unknown): unknown {
  return error instanceof BatchError && error.failures.length === 1 ? error.failures[0] : error;
}

function hasCode(error: unknown, codes: readonly string[]): boolean {
  const one = single(error);
  return typeof one === 'object' && one !== null && 'code' in one && codes.some(code => code === one.code);
}

/**
 * Whether an error says that an object does not exist: ENOENT, ESRCH (IPVS, routes), ENODEV (links, NFLOG groups), EADDRNOTAVAIL
 * (addresses).
 * @param error anything that was thrown
 * @example
 * await ipvs.removeService({ protocol: 'tcp', address: '10.0.0.1', port: 80 }).catch(error => {
 *   if (!isNotFound(error)) throw error;
 * });
 */
export function isNotFound(error: unknown): boolean {
  return hasCode(error, ['ENOENT', 'ESRCH', 'ENODEV', 'EADDRNOTAVAIL']);
}

/**
 * Whether an error says that the object exists already (EEXIST).
 * @param error anything that was thrown
 * @example
 * await nft.commit(new Transaction().create({ table: { family: 'ip', name: 'web' } })).catch(error => {
 *   if (!isExists(error)) throw error;
 * });
 */
export function isExists(error: unknown): boolean {
  return hasCode(error, ['EEXIST']);
}

/**
 * Whether an error says that the caller lacks a permission (EPERM, EACCES).
 * @param error anything that was thrown
 * @example
 * try {
 *   netns.run(() => {});
 * } catch (error) {
 *   if (isPermission(error)) console.log('run this as root');
 * }
 */
export function isPermission(error: unknown): boolean {
  return hasCode(error, ['EPERM', 'EACCES']);
}
