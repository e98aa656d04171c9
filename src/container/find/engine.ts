import http from 'node:http';
import type { Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { StateError } from '../../errors.ts';
import { connect } from './peer.ts';

/** What Docker's Engine API says of a container; podman's is the same. */
export interface EngineContainer {
  id: string;
  name: string;
  /** 0 where it does not run. */
  pid: number;
  /** 'host', 'container:ID', 'none', or the name of a network. */
  networkMode: string;
  /** The user whose daemon says so; undefined is root's, or that of who runs this process. */
  owner?: number;
}

/** linux/threads.h has a smaller limit; a pid is a positive int. */
export const MAX_PID = 0x7fffffff;

/** Ids and names of all runtimes: a path out of the folder of a state cannot be one. */
export const ID = /^[A-Za-z0-9][A-Za-z0-9_.@:-]{0,254}$/;

/** An answer is some kilobytes; more is no answer to us. */
const MAX_ANSWER = 4 << 20;
/** Of a user's daemon, who may have put into it what takes long to read. */
const MAX_ANSWER_OF_USER = 256 << 10;
const TIMEOUT_MILLISECONDS = 10_000;

interface Response {
  readonly message: http.IncomingMessage;
  readonly owner: number | undefined;
}

/**
 * The Engine API of docker or podman, over its unix socket.
 *
 * What it answers is the word of whose daemon it is, and the names in it are the containers': nothing in it is used as a path. Each question has a
 * connection of its own, and whose daemon it is, is asked of each.
 */
export class Engine {
  readonly socketPath: string;
  readonly #timeoutMilliseconds: number;

  /** What has not been answered whole within the timeout counts as no answer: a byte now and then holds nobody up. */
  constructor(socketPath: string, timeoutMilliseconds = TIMEOUT_MILLISECONDS) {
    this.socketPath = socketPath;
    this.#timeoutMilliseconds = timeoutMilliseconds;
  }

  /** @throws StateError ERR_RUNTIME the daemon cannot be asked; `undefined` where it has no such container */
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
    // Whoever listens to events may end all the same.
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
      // What hangs is a file system of the user's, for one.
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
      // The API knows clients of any age by a path without a version. Without an agent a connection is used once.
      const request = http.get({ createConnection: () => socket, path, signal, headers: { host: 'd' } }, resolve);
      request.on('error', reject);
      // Where a daemon wants to talk something else than HTTP there is neither a response nor an error.
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

  /** The body, part by part: a daemon that ends in the middle of it is one that cannot be asked. */
  async *#chunks(response: http.IncomingMessage, signal?: AbortSignal): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of response) yield chunk as Buffer;
    } catch (error) {
      throw this.#failed(error as Error, signal);
    }
  }

  /** Whoever has aborted the question gets the reason. */
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

const record = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

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
    // It may come late.
    work.then(
      ({ socket }) => socket.destroy(),
      () => {},
    );
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
