import { typeError } from '../errors.ts';
import { inspected, PRINTED } from '../inspect.ts';
import { checkSignal } from '../signal.ts';
import type { Exchange } from './exchange.ts';
import type { Operation } from './operation.ts';

// biome-ignore lint/suspicious/noExplicitAny: operations have parameters of every type
type AnyOperation = (...parameters: any[]) => Operation<unknown>;

/** The operations of a class, as promises. */
export type Promised<O> = {
  [K in keyof O as O[K] extends AnyOperation ? K : never]: O[K] extends (...parameters: infer P) => Operation<infer T>
    ? (...parameters: P) => Promise<T>
    : never;
};

/** The operations of a class, done when they return. */
export type Synchronous<O> = {
  [K in keyof O as O[K] extends AnyOperation ? K : never]: O[K] extends (...parameters: infer P) => Operation<infer T>
    ? (...parameters: P) => T
    : never;
};

/** The members that every handle has besides its operations. */
export interface Handle<O> {
  /** The same operations, done when they return. They throw `ERR_BUSY` while promise forms are under way on this namespace. */
  readonly sync: Synchronous<O>;
  /** True from the moment when it is closed, or one that shares its socket. */
  readonly closed: boolean;
  /**
   * An operation by its name, without a promise where it is done when this returns: for those that do very many. What it throws then is thrown.
   * @internal
   */
  runInline<K extends keyof Promised<O>>(
    operation: K,
    ...parameters: Parameters<Promised<O>[K]>
  ): Awaited<ReturnType<Promised<O>[K]>> | ReturnType<Promised<O>[K]>;
  /**
   * Closes the socket: `closed` is true, and every later call fails with `ERR_CLOSED`, from this moment on. Calls in flight still learn
   * what became of them; where there are none, the descriptor is free again, or on its way to be, when this returns. Closing twice is
   * harmless.
   * @example
   * nft.close();
   */
  close(): void;
  [Symbol.dispose](): void;
  /** Closes, and resolves when the kernel has let go. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The common part of all handles: one exchange, and the two forms of each operation. Handles that share an exchange are closed together. */
class BaseHandle {
  readonly sync: Record<string, unknown>;
  protected readonly exchange: Exchange;

  constructor(exchange: Exchange, operations: object, Forms: FormsConstructor) {
    this.exchange = exchange;
    this.sync = new Forms(operations, exchange);
  }

  protected start(operations: Operations, method: string, parameters: unknown[]): unknown {
    const { exchange } = this;
    const { lifetime } = exchange;
    lifetime.checkOpen();
    let begun = false;
    const begin = () => {
      // It may have been closed while this waited.
      lifetime.begin();
      begun = true;
      return start(operations, exchange, method, parameters);
    };
    const end = () => {
      if (begun) lifetime.end();
    };
    let outcome: unknown;
    try {
      outcome = lifetime.queue.runInline(begin, signalOf(parameters));
    } catch (error) {
      end();
      throw error;
    }
    if (outcome instanceof Promise) return outcome.finally(end);
    end();
    return outcome;
  }

  get closed(): boolean {
    return this.exchange.lifetime.closed;
  }

  close(): void {
    void this[Symbol.asyncDispose]();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.exchange.lifetime.close();
  }

  [PRINTED](_depth: number, options: object): string {
    return inspected(this, { netns: this.exchange.transport.netnsInode, closed: this.closed }, options);
  }
}

const notByNew = ({ name }: { name: string }, given: unknown): Error =>
  typeError([], `an Exchange: a handle is opened by ${name.replace(/^_+/, '')}.open(), not by new`, given);

type Operations = Record<string, AnyOperation>;
type FormsConstructor = new (operations: object, exchange: Exchange) => Record<string, unknown>;

function start(operations: Operations, exchange: Exchange, method: string, parameters: unknown[]): Operation<unknown> {
  exchange.operation = `${exchange.subsystem}.${method}`;
  return operations[method]!(...parameters);
}

/** The signal in the options of a call, which are its last parameter. @throws TypeError it is none. */
function signalOf(parameters: unknown[]): AbortSignal | undefined {
  const options = parameters.at(-1);
  if (typeof options !== 'object' || options === null || !('signal' in options)) return undefined;
  return checkSignal(options.signal, ['options', 'signal']);
}

/** The names of a class's methods, those of the classes that it extends among them. */
function methodsOf(prototype: object): string[] {
  const names = new Set<string>();
  for (let at: object = prototype; at !== Object.prototype; at = Object.getPrototypeOf(at))
    for (const name of Object.getOwnPropertyNames(at)) names.add(name);
  names.delete('constructor');
  return [...names];
}

/**
 * Makes the base class of a handle from the class of its operations, which are generators written once. The methods are put on prototypes,
 * once for each class: opening a handle costs two small objects.
 * @param Operations the class of the generators; its constructor takes the exchange
 * @example
 * class LinkOperations {
 *   *count(): Operation<number> {
 *     return 0;
 *   }
 * }
 * class LinkCounter extends syncAndAsync(LinkOperations) {}
 * const count = await new LinkCounter(exchange).count();
 */
export function syncAndAsync<O extends object>(
  Operations: new (exchange: Exchange) => O,
): new (
  exchange: Exchange,
  operations?: O,
) => Promised<O> & Handle<O> {
  const methods = methodsOf(Operations.prototype);

  class Forms {
    readonly #operations: Operations;
    readonly #exchange: Exchange;
    constructor(operations: object, exchange: Exchange) {
      this.#operations = operations as Operations;
      this.#exchange = exchange;
    }
    call(method: string, parameters: unknown[]): unknown {
      const { lifetime } = this.#exchange;
      lifetime.begin();
      try {
        const signal = signalOf(parameters);
        return lifetime.queue.runNow(() => start(this.#operations, this.#exchange, method, parameters), signal);
      } finally {
        lifetime.end();
      }
    }
  }

  class FormsHandle extends BaseHandle {
    readonly #operations: Operations;
    constructor(exchange: Exchange, given?: O) {
      // Before the operations, which use it.
      if (exchange?.lifetime === undefined) throw notByNew(new.target, exchange);
      const operations = given ?? new Operations(exchange);
      super(exchange, operations, Forms as unknown as FormsConstructor);
      this.#operations = operations as unknown as Operations;
    }
    async call(method: string, parameters: unknown[]): Promise<unknown> {
      return this.start(this.#operations, method, parameters);
    }
    runInline(method: string, ...parameters: unknown[]): unknown {
      return this.start(this.#operations, method, parameters);
    }
  }

  for (const name of methods) {
    const method = {
      value(this: { call(method: string, parameters: unknown[]): unknown } | undefined, ...parameters: unknown[]) {
        if (this === undefined) throw typeError([name], `a call as a method: handle.${name}(...)`, this);
        return this.call(name, parameters);
      },
      writable: true,
      configurable: true,
    };
    Object.defineProperty(Forms.prototype, name, method);
    Object.defineProperty(FormsHandle.prototype, name, method);
  }
  return FormsHandle as unknown as new (
    exchange: Exchange,
    operations?: O,
  ) => Promised<O> & Handle<O>;
}
