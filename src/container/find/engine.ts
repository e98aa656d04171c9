import type http from 'node:http';
import type { Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { StateError } from '../../errors.ts';
import { record } from './files.ts';
import { connect } from './peer.ts';

/** A container as Docker's Engine API describes it. podman's API is the same. */
export interface EngineContainer {
  id: string;
  name: string;
  /** 0 if it does not run. */
  pid: number;
  /** 'host', 'container:ID', 'none', or the name of a network. */
  networkMode: string;
  /** The user whose daemon it is; undefined for root and for the user of this process. */
  owner?: number;
}

/** The largest int, as a pid is an int. linux/threads.h has a smaller limit. */
export const MAX_PID = 0x7fffffff;

/** The ids and names of all runtimes. No path that leads out of a folder matches. */
export const ID = /^[A-Za-z0-9][A-Za-z0-9_.@:-]{0,254}$/;

/** Answers have some kilobytes. Larger ones are refused. */
const MAX_ANSWER = 4 << 20;
/** The same for a user's daemon, which could send a text that takes long to parse. */
const MAX_ANSWER_OF_USER = 256 << 10;
const TIMEOUT_MILLISECONDS = 10_000;

interface Response {
  readonly message: http.IncomingMessage;
  readonly owner: number | undefined;
}

/**
 * The Engine API of docker or podman, over its unix socket.
 *
 * Each request has its own connection, and the owner of the daemon is determined for each. Answers contain names that containers have
 * chosen, so no part of an answer is used as a path.
 */
export class Engine {
  readonly socketPath: string;
  readonly #timeoutMilliseconds: number;

  /** The timeout is for the whole answer: a daemon that sends a byte now and then cannot delay the search. */
  constructor(socketPath: string, timeoutMilliseconds = TIMEOUT_MILLISECONDS) {
    this.socketPath = socketPath;
    this.#timeoutMilliseconds = timeoutMilliseconds;
  }

  /** Describes a container; undefined if the daemon has no such container. @throws StateError ERR_RUNTIME the daemon cannot be asked */
  async inspect(id: string, signal?: AbortSignal): Promise<EngineContainer | undefined> {
    const path = `/containers/${encodeURIComponent(id)}/json`;
    const { message, owner } = await this.#get(path, signal, this.#timeoutMilliseconds);
    const text = await this.#read(message, owner === undefined ? MAX_ANSWER : MAX_ANSWER_OF_USER, signal);
    if (message.statusCode === 404) return undefined;
    if (message.statusCode !== 200) throw this.#failure(`it answers ${message.statusCode}: ${text.slice(0, 200)}`);
    return { ...this.#containerOf(text), ...(owner !== undefined && { owner }) };
  }

  /** The ids of containers as they start, until the signal is aborted or the daemon ends. */
  async *starts(signal: AbortSignal): AsyncGenerator<string> {
    const filters = JSON.stringify({ type: ['container'], event: ['start'] });
    const { message: response } = await this.#get(`/events?filters=${encodeURIComponent(filters)}`, signal);
    if (response.statusCode !== 200) {
      response.destroy();
      throw this.#failure(`it answers ${response.statusCode}`);
    }
    // The connection does not keep the process alive.
    response.socket.unref();
    const decoder = new StringDecoder('utf8');
    let rest = '';
    for await (const chunk of this.#chunks(response, signal)) {
      const lines = (rest + decoder.write(chunk)).split('\n');
      rest = lines.pop()!;
      if (rest.length > MAX_ANSWER) throw this.#failure('it sends an event without an end');
      for (const line of lines) {
        const id = idOf(line);
        if (id !== undefined) yield id;
      }
    }
  }

  async #get(path: string, signal?: AbortSignal, timeout?: number): Promise<Response> {
    const ending = new AbortController();
    const silent = new Error('it does not answer');
    const timer = timeout === undefined ? undefined : setTimeout(() => ending.abort(silent), timeout);
    const end = () => ending.abort(signal?.reason);
    if (signal?.aborted) end();
    signal?.addEventListener('abort', end, { once: true });
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
    };
    try {
      // `connect` may hang, for example in a file system of the user's.
      const { socket, owner } = await unlessAborted(connect(this.socketPath, ending.signal), ending.signal);
      const message = await this.#request(path, socket, ending.signal, silent, done);
      return { message, owner };
    } catch (error) {
      done();
      throw this.#failed(ending.signal.aborted ? (ending.signal.reason as Error) : (error as Error), signal);
    }
  }

  #request(
    path: string,
    socket: Socket,
    signal: AbortSignal,
    silent: Error,
    closed: () => void,
  ): Promise<http.IncomingMessage> {
    return new Promise((resolve, reject) => {
      // A path without a version works with every daemon. Without an agent the connection is used once.
      // Loaded here: of all that this library imports, it would take longest.
      const request = process
        .getBuiltinModule('node:http')
        .get({ createConnection: () => socket, path, signal, headers: { host: 'd' } }, resolve);
      request.on('error', reject);
      // If the daemon does not speak HTTP, there is neither a response nor an error.
      request.once('close', () => {
        socket.destroy();
        closed();
        reject(silent);
      });
    });
  }

  async #read(response: http.IncomingMessage, most: number, signal?: AbortSignal): Promise<string> {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of this.#chunks(response, signal)) {
      length += chunk.length;
      if (length > most) throw this.#failure(`it answers more than ${most} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  /** The body, part by part. @throws StateError ERR_RUNTIME the daemon ends in the middle */
  async *#chunks(response: http.IncomingMessage, signal?: AbortSignal): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of response) yield chunk as Buffer;
    } catch (error) {
      throw this.#failed(error as Error, signal);
    }
  }

  /** The error for the caller: the signal's reason if it was aborted. */
  #failed(error: Error, signal?: AbortSignal): unknown {
    return signal?.aborted ? signal.reason : this.#failure(error.message, error);
  }

  #containerOf(text: string): EngineContainer {
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch (error) {
      throw this.#failure('its answer is no JSON', error);
    }
    const { Id, Name, State, HostConfig } = record(answer);
    const pid = record(State).Pid;
    const mode = record(HostConfig).NetworkMode;
    if (
      typeof Id !== 'string' ||
      !ID.test(Id) ||
      typeof pid !== 'number' ||
      !Number.isInteger(pid) ||
      pid < 0 ||
      pid > MAX_PID
    )
      throw this.#failure('its answer has no id, or no pid from 0 to 2^31 - 1');
    const name = typeof Name === 'string' ? Name.replace(/^\//, '') : '';
    return { id: Id, name, pid, networkMode: typeof mode === 'string' ? mode : '' };
  }

  #failure(why: string, cause?: unknown): StateError {
    return new StateError('ERR_RUNTIME', `${this.socketPath}: ${why}`, cause);
  }
}

function idOf(line: string): string | undefined {
  try {
    const event = record(JSON.parse(line));
    const id = record(event.Actor).ID ?? event.id;
    return typeof id === 'string' && ID.test(id) ? id : undefined;
  } catch {
    return undefined;
  }
}

async function unlessAborted<T extends { socket: Socket }>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw signal.reason;
  let abort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } catch (error) {
    // A connection that comes later is closed.
    work.then(
      ({ socket }) => socket.destroy(),
      () => {},
    );
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
