import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import { clearTimeout, setTimeout } from 'node:timers';
import { setTimeout as delay } from 'node:timers/promises';
import { printable } from '../errors.ts';
import { onAbort, throwIfAborted } from '../signal.ts';
import type { EtcdOptions } from './etcd-options.ts';

/*
 * etcd by its JSON gateway (etcd 3.4 and newer, /v3/...). Keys and values are base64 there, 64-bit numbers are strings, and fields with their default
 * are left out: an absent `succeeded` is false, an absent TTL 0.
 */

/** What an answer may have at most: a page of a range is bounded by the request, but a daemon's answer is not to be trusted. */
const MOST_ANSWER_BYTES = 8 * 1024 * 1024;
/** One object of a watch is one line. etcd splits what would be larger (`fragment`). */
const MOST_LINE_BYTES = 4 * 1024 * 1024;
/** Keys of one page. A page that is too large is read again in smaller ones: one value has at most 1.5 MiB. */
const PAGE = 500;
/** Keys of one range: those of 10,000 hosts and as many services are fewer. */
const MOST_KEYS = 100_000;
const WATCH_PAUSES_MS = [100, 200, 400, 800, 1600, 2000];

/** An error that etcd has answered with, or that the way to it had. */
export class EtcdError extends Error {
  /** The name of the class. */
  override readonly name = 'EtcdError';
  /** gRPC's code of the answer; undefined if there was none. */
  readonly grpcCode: number | undefined;
  /** The HTTP status; undefined if there was no answer. */
  readonly status: number | undefined;

  constructor(message: string, status?: number, grpcCode?: number, cause?: unknown) {
    super(printable(message.slice(0, 500)), cause === undefined ? undefined : { cause });
    this.status = status;
    this.grpcCode = grpcCode;
  }
}

const UNAUTHENTICATED = 16;
const INVALID_ARGUMENT = 3;
/** How etcd says that a call has no token, or an old one, beside UNAUTHENTICATED. */
const OLD_TOKEN = /user name is empty|auth store is old/;
/** Errors of a connection that was not made: nothing was sent. */
const NOT_SENT = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT']);

/** A key with its value. */
export interface KeyValue {
  readonly key: string;
  readonly value: string;
  /** The revision at which it was last put. */
  readonly modRevision: bigint;
  readonly createRevision: bigint;
  /** The lease that it ends with; 0n if none. */
  readonly lease: bigint;
}

/** A change that a watch tells. */
export type WatchEvent =
  | { readonly type: 'put'; readonly entry: KeyValue }
  | { readonly type: 'delete'; readonly key: string };

/** A condition of a transaction: the key was last put, or made, at that revision; 0n: it is not there. */
export interface Compare {
  readonly key: string;
  readonly target: 'mod' | 'create';
  readonly revision: bigint;
}

/** A step of a transaction. */
export type Step =
  | { readonly put: string; readonly value: string; readonly lease?: bigint }
  | { readonly delete: string };

type Json = Record<string, unknown>;

/** A client of one cluster of etcd. It holds connections, and nothing else. */
export class Etcd {
  readonly #options: Required<Pick<EtcdOptions, 'timeoutMs'>> & EtcdOptions;
  readonly #agents: { http: Agent; https: Agent };
  /** The streams that are open. A member that does not answer calls may have gone without a word: they are made anew. */
  readonly #streams = new Set<AbortController>();
  #next = 0;
  #token: string | undefined;

  constructor(options: Required<Pick<EtcdOptions, 'timeoutMs'>> & EtcdOptions) {
    this.#options = options;
    const http = process.getBuiltinModule('node:http');
    const https = process.getBuiltinModule('node:https');
    const { tls = {} } = options;
    const { ca, cert, key, serverName } = tls;
    this.#agents = {
      http: new http.Agent({ keepAlive: true }),
      https: new https.Agent({
        keepAlive: true,
        ...(ca !== undefined && { ca }),
        ...(cert !== undefined && { cert, key: key! }),
        ...(serverName !== undefined && { servername: serverName }),
      }),
    };
  }

  close(): void {
    this.#agents.http.destroy();
    this.#agents.https.destroy();
  }

  /** All keys with a prefix, and the revision that they are of. */
  async range(prefix: string, signal?: AbortSignal): Promise<{ entries: KeyValue[]; revision: bigint }> {
    const entries: KeyValue[] = [];
    let from = prefix;
    let limit = PAGE;
    let revision: bigint | undefined;
    for (;;) {
      let answer: Json;
      try {
        answer = await this.call(
          '/v3/kv/range',
          {
            key: base64(from),
            range_end: rangeEnd(prefix),
            limit: String(limit),
            ...(revision !== undefined && { revision: String(revision) }),
          },
          signal,
        );
      } catch (error) {
        if (!(error instanceof TooLarge) || limit === 1) throw error;
        limit = Math.ceil(limit / 8);
        continue;
      }
      revision ??= revisionOf(answer);
      const page = listOf(answer['kvs']).map(entryOf);
      entries.push(...page);
      if (entries.length > MOST_KEYS) throw new EtcdError(`there are more than ${MOST_KEYS} keys below ${prefix}`);
      if (answer['more'] !== true || page.length === 0) return { entries, revision };
      from = `${page.at(-1)!.key}\0`;
    }
  }

  async get(key: string, signal?: AbortSignal): Promise<KeyValue | undefined> {
    const answer = await this.call('/v3/kv/range', { key: base64(key) }, signal);
    return listOf(answer['kvs']).map(entryOf)[0];
  }

  /**
   * Carries the steps out if all conditions hold.
   * @param once whether the call must not be sent a second time: its conditions would say that it failed, because it was carried out
   * @returns whether they did, and the revision
   */
  async transaction(
    compare: readonly Compare[],
    steps: readonly Step[],
    { once = false, signal }: { once?: boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<{ succeeded: boolean; revision: bigint }> {
    const answer = await this.call(
      '/v3/kv/txn',
      {
        compare: compare.map(({ key, target, revision }) => ({
          key: base64(key),
          result: 'EQUAL',
          target: target === 'mod' ? 'MOD' : 'CREATE',
          [target === 'mod' ? 'mod_revision' : 'create_revision']: String(revision),
        })),
        success: steps.map(step =>
          'put' in step
            ? {
                requestPut: {
                  key: base64(step.put),
                  value: base64(step.value),
                  ...(step.lease !== undefined && { lease: String(step.lease) }),
                },
              }
            : { requestDeleteRange: { key: base64(step.delete) } },
        ),
      },
      signal,
      once,
    );
    return { succeeded: answer['succeeded'] === true, revision: revisionOf(answer) };
  }

  /** @returns the lease, and how long etcd grants it: it may be longer than asked */
  async grant(ttlSeconds: number, signal?: AbortSignal): Promise<{ lease: bigint; ttlSeconds: number }> {
    const answer = await this.call('/v3/lease/grant', { TTL: String(ttlSeconds) }, signal);
    const lease = numberOf(answer['ID']);
    // With lease 0, keys would stay for ever.
    if (lease === 0n) throw new EtcdError('etcd has granted a lease without an ID');
    return { lease, ttlSeconds: Number(numberOf(answer['TTL'])) };
  }

  /** @returns the seconds that it has from now; 0: the lease is gone */
  async keepAlive(lease: bigint, signal?: AbortSignal): Promise<number> {
    const answer = await this.call('/v3/lease/keepalive', { ID: String(lease) }, signal);
    const { result } = answer as { result?: Json };
    return Number(numberOf(result?.['TTL']));
  }

  async revoke(lease: bigint, signal?: AbortSignal): Promise<void> {
    await this.call('/v3/lease/revoke', { ID: String(lease) }, signal);
  }

  /**
   * Changes of the keys with a prefix, from a revision on. It goes on over lost connections.
   * @throws EtcdError with `compactedAt`, where etcd has forgotten that revision: read all again, and watch from there
   */
  async *watch(
    prefix: string,
    from: bigint,
    signal: AbortSignal,
  ): AsyncGenerator<{ events: WatchEvent[]; revision: bigint }> {
    let next = from;
    let failures = 0;
    for (;;) {
      throwIfAborted(signal);
      const member = this.#next;
      try {
        for await (const message of this.#stream(
          '/v3/watch',
          {
            create_request: {
              key: base64(prefix),
              range_end: rangeEnd(prefix),
              start_revision: String(next),
              fragment: true,
              progress_notify: true,
            },
          },
          signal,
        )) {
          const { result, error } = message as { result?: Json; error?: Json };
          if (error !== undefined || result === undefined)
            throw new EtcdError(`the watch ended: ${textOf(error?.['message'] ?? 'no result')}`);
          const compacted = numberOf(result['compact_revision']);
          if (compacted !== 0n) throw new Compacted(compacted);
          if (result['canceled'] === true) {
            this.#token = undefined;
            throw new EtcdError(`the watch was refused: ${textOf(result['cancel_reason'] ?? '')}`);
          }
          failures = 0;
          const told = listOf(result['events']);
          const revision = revisionOf(result);
          // Data that was lost, or restored from a copy: the next changes have revisions that were told already.
          if (result['created'] === true && revision + 1n < next) throw new Compacted(revision);
          if (told.length > 0 || result['created'] === true) yield { events: told.map(eventOf), revision };
          const last = told.reduce<bigint>((most, each) => {
            const at = numberOf(((each as Json)['kv'] as Json | undefined)?.['mod_revision']);
            return at > most ? at : most;
          }, 0n);
          // A part of a revision that was split is told again if the connection is lost between its parts: puts and deletions bear that.
          if (last >= next) next = result['fragment'] === true ? last : last + 1n;
        }
      } catch (error) {
        if (error instanceof Compacted || signal.aborted) throw error;
      }
      this.#leaveMember(member);
      await delay(
        WATCH_PAUSES_MS[Math.min(failures++, WATCH_PAUSES_MS.length - 1)]! * (0.75 + Math.random() / 2),
        undefined,
        { signal },
      );
    }
  }

  /** The next call takes another member, unless somebody else has seen to that. */
  #leaveMember(member: number): void {
    if (this.#next === member) this.#next++;
  }

  /**
   * One call, over another member if one does not answer, within the time of one.
   * @param once whether it goes to another member only if it was certainly not sent
   */
  async call(path: string, body: Json, signal?: AbortSignal, once = false): Promise<Json> {
    const { timeoutMs, endpoints } = this.#options;
    const deadline = performance.now() + timeoutMs;
    let hasAuthenticated = false;
    for (let left = endpoints.length + 1; ; ) {
      throwIfAborted(signal);
      const member = this.#next;
      const now = performance.now();
      try {
        // A member that hangs leaves time for the others. A connection that was kept open may turn out to be gone: hence one more attempt.
        const share = left > 2 ? (deadline - now) / 2 : deadline - now;
        return await this.#post(path, body, now + share, signal);
      } catch (error) {
        throwIfAborted(signal);
        const { grpcCode, status, message, cause } = error as EtcdError;
        const expired =
          this.#options.auth !== undefined &&
          (grpcCode === UNAUTHENTICATED ||
            status === 401 ||
            (grpcCode === INVALID_ARGUMENT && OLD_TOKEN.test(message)));
        if (expired && !hasAuthenticated) {
          this.#token = undefined;
          hasAuthenticated = true;
          continue;
        }
        // An answer is an answer; without one, another member may have one.
        if (status !== undefined && status !== 503) throw error;
        this.#leaveMember(member);
        if (status === undefined) for (const stream of this.#streams) stream.abort();
        const mayBeDone = once && !NOT_SENT.has((cause as { code?: string } | undefined)?.code ?? '');
        if (mayBeDone || --left <= 0 || performance.now() >= deadline) throw error;
      }
    }
  }

  async #post(path: string, body: Json, deadline: number, signal?: AbortSignal): Promise<Json> {
    const token = await this.#authenticate(path, deadline, signal);
    const left = deadline - performance.now();
    if (left <= 0) throw new EtcdError('etcd does not answer in time');
    // Not by AbortSignal.any: Node forgets a timeout that only such a signal knows of, when garbage is collected, and the call never ends.
    const ended = new AbortController();
    const timer = setTimeout(() => ended.abort(), Math.ceil(left));
    const unlisten = onAbort(signal, () => ended.abort());
    const parts: Buffer[] = [];
    let status: number;
    try {
      const response = await this.#request(path, body, token, ended.signal);
      status = response.statusCode ?? 0;
      let length = 0;
      for await (const part of response as AsyncIterable<Buffer>) {
        length += part.length;
        if (length > MOST_ANSWER_BYTES) throw new TooLarge(status);
        parts.push(part);
      }
    } catch (error) {
      throw this.#failure(error, signal);
    } finally {
      clearTimeout(timer);
      unlisten();
    }
    return objectOf(Buffer.concat(parts), status);
  }

  async #authenticate(path: string, deadline: number, signal?: AbortSignal): Promise<string | undefined> {
    const { auth } = this.#options;
    if (auth === undefined || path === '/v3/auth/authenticate') return undefined;
    if (this.#token === undefined) {
      const answer = await this.#post(
        '/v3/auth/authenticate',
        { name: auth.username, password: auth.password },
        deadline,
        signal,
      );
      this.#token = textOf(answer['token']);
    }
    return this.#token;
  }

  #request(path: string, body: Json, token: string | undefined, signal: AbortSignal): Promise<IncomingMessage> {
    const { endpoints } = this.#options;
    const url = new URL(path, endpoints[this.#next % endpoints.length]!);
    const isSecure = url.protocol === 'https:';
    const { request } = isSecure ? process.getBuiltinModule('node:https') : process.getBuiltinModule('node:http');
    const text = Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const outgoing: ClientRequest = request(url, {
        method: 'POST',
        agent: isSecure ? this.#agents.https : this.#agents.http,
        headers: {
          'content-type': 'application/json',
          'content-length': text.length,
          // Without a leader, etcd then ends the call, and does not just say nothing.
          'grpc-metadata-hasleader': 'true',
          ...(token !== undefined && { authorization: token }),
        },
      });
      const unlisten = onAbort(signal, () => outgoing.destroy(new EtcdError('etcd does not answer in time')));
      outgoing.once('response', response => {
        response.once('close', unlisten);
        resolve(response);
      });
      outgoing.once('error', error => {
        unlisten();
        reject(this.#failure(error, undefined));
      });
      outgoing.end(text);
    });
  }

  async *#stream(path: string, body: Json, signal: AbortSignal): AsyncGenerator<Json> {
    const token = await this.#authenticate(path, performance.now() + this.#options.timeoutMs, signal);
    const gone = new AbortController();
    this.#streams.add(gone);
    const unlisten = onAbort(signal, () => gone.abort());
    let response: IncomingMessage | undefined;
    try {
      response = await this.#request(path, body, token, gone.signal);
      let rest = Buffer.alloc(0);
      for await (const part of response as AsyncIterable<Buffer<ArrayBuffer>>) {
        rest = rest.length === 0 ? part : Buffer.concat([rest, part]);
        for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
          yield objectOf(rest.subarray(0, end), response.statusCode ?? 0);
          rest = rest.subarray(end + 1);
        }
        if (rest.length > MOST_LINE_BYTES)
          throw new EtcdError(`an object of the watch is larger than ${MOST_LINE_BYTES} bytes`);
      }
    } finally {
      this.#streams.delete(gone);
      unlisten();
      response?.destroy();
    }
  }

  #failure(error: unknown, signal: AbortSignal | undefined): Error {
    if (error instanceof EtcdError) return error;
    if (signal?.aborted === true) return signal.reason as Error;
    const { message, code } = error as { message?: string; code?: string };
    return new EtcdError(`etcd cannot be reached: ${code ?? ''} ${message ?? ''}`, undefined, undefined, error);
  }
}

/** An answer that is beyond what is read. */
class TooLarge extends EtcdError {
  constructor(status: number) {
    super(`etcd's answer is larger than ${MOST_ANSWER_BYTES} bytes`, status);
  }
}

/** etcd has compacted the revision that a watch was to begin at, or has not come as far: all is to be read again. */
export class Compacted extends EtcdError {
  readonly compactedAt: bigint;

  constructor(compactedAt: bigint) {
    super(`etcd's history does not have the revision; it ends or begins at ${compactedAt}`);
    this.compactedAt = compactedAt;
  }
}

function objectOf(bytes: Uint8Array, status: number): Json {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString());
  } catch (error) {
    throw new EtcdError(`etcd's answer is no JSON (status ${status})`, status, undefined, error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new EtcdError(`etcd's answer is no object (status ${status})`, status);
  const { code, message, error } = value as { code?: unknown; message?: unknown; error?: unknown };
  if (status !== 200)
    throw new EtcdError(
      `etcd: ${textOf(message ?? error ?? `status ${status}`)}`,
      status,
      typeof code === 'number' ? code : undefined,
    );
  return value as Json;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const fromBase64 = (value: unknown): string => Buffer.from(textOf(value ?? ''), 'base64').toString();
const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
/** Numbers come as strings, and a hostile daemon sends what it likes. */
const textOf = (value: unknown): string =>
  typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '';

function numberOf(value: unknown): bigint {
  const text = textOf(value ?? '0');
  return /^\d{1,19}$/.test(text) ? BigInt(text) : 0n;
}

const revisionOf = (answer: Json): bigint => numberOf((answer['header'] as Json | undefined)?.['revision']);

function entryOf(value: unknown): KeyValue {
  const { key, value: content, mod_revision, create_revision, lease } = (value ?? {}) as Json;
  return {
    key: fromBase64(key),
    value: fromBase64(content),
    modRevision: numberOf(mod_revision),
    createRevision: numberOf(create_revision),
    lease: numberOf(lease),
  };
}

function eventOf(value: unknown): WatchEvent {
  const { type, kv } = (value ?? {}) as Json;
  const entry = entryOf(kv);
  return type === 'DELETE' ? { type: 'delete', key: entry.key } : { type: 'put', entry };
}

/** The first key behind all with this prefix. */
function rangeEnd(prefix: string): string {
  const bytes = Buffer.from(prefix);
  bytes[bytes.length - 1]!++;
  return bytes.toString('base64');
}

/** Whether trying again does not help: a wrong password, no permission, a certificate that is not trusted. */
export function isRefusal(error: Error): boolean {
  const { status, cause } = error as EtcdError;
  const { code = '' } = (cause ?? {}) as { code?: string };
  return (status !== undefined && status >= 400 && status < 500) || /CERT|SSL|TLS|SELF_SIGNED|UNABLE_TO/.test(code);
}
