import http from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import { StateError } from '../errors.ts';

/** What Docker's Engine API says of a container; podman's is the same. */
export interface EngineContainer {
  id: string;
  name: string;
  /** 0 where it does not run. */
  pid: number;
  /** 'host', 'container:ID', 'none', or the name of a network. */
  networkMode: string;
}

/** Ids and names of all runtimes: a path out of the folder of a state cannot be one. */
export const ID = /^[A-Za-z0-9][A-Za-z0-9_.@:-]{0,254}$/;

/** An answer is some kilobytes; more is no answer to us. */
const MAX_ANSWER = 4 << 20;
const TIMEOUT_MILLISECONDS = 10_000;

/**
 * The Engine API of docker or podman, over its unix socket.
 *
 * What it answers comes from a daemon that the host trusts, but the names in it are the containers': nothing in it is used as a path.
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
    const response = await this.#get(`/containers/${encodeURIComponent(id)}/json`, signal, this.#timeoutMilliseconds);
    const text = await this.#read(response, signal);
    if (response.statusCode === 404) return undefined;
    if (response.statusCode !== 200) throw this.#failure(`it answers ${response.statusCode}: ${text.slice(0, 200)}`);
    return this.#containerOf(text);
  }

  /** The ids of containers as they start, until the signal is aborted or the daemon ends. */
  async *starts(signal: AbortSignal): AsyncGenerator<string> {
    const filters = JSON.stringify({ type: ['container'], event: ['start'] });
    const response = await this.#get(`/events?filters=${encodeURIComponent(filters)}`, signal);
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

  #get(path: string, signal?: AbortSignal, timeout?: number): Promise<http.IncomingMessage> {
    return new Promise((resolve, reject) => {
      // The API knows clients of any age by a path without a version.
      const options = { socketPath: this.socketPath, path, ...(signal && { signal }), headers: { host: 'd' } };
      const request = http.get(options, resolve);
      const silent = new Error('it does not answer');
      const timer = timeout === undefined ? undefined : setTimeout(() => request.destroy(silent), timeout);
      const fail = (error: Error) => reject(this.#failed(error, signal));
      request.on('error', fail);
      // Where a daemon wants to talk something else than HTTP there is neither a response nor an error.
      request.once('close', () => {
        clearTimeout(timer);
        fail(silent);
      });
    });
  }

  async #read(response: http.IncomingMessage, signal?: AbortSignal): Promise<string> {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of this.#chunks(response, signal)) {
      length += chunk.length;
      if (length > MAX_ANSWER) throw this.#failure(`it answers more than ${MAX_ANSWER} bytes`);
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
    if (typeof Id !== 'string' || !ID.test(Id) || typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid < 0)
      throw this.#failure('its answer has no id or pid');
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
