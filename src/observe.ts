import { type Channel, channel, type TracingChannel, tracingChannel } from 'node:diagnostics_channel';
import { type DebugLogger, debuglog } from 'node:util';
import { typeError } from './errors.ts';
import { ofThread } from './thread.ts';

/** The methods of pino that this library calls, with the fields first and then a sentence. */
export interface Logger {
  /** Takes the facts and a sentence about a request. */
  debug(fields: object, message?: string): void;
  /** Takes the facts and a sentence. */
  info(fields: object, message?: string): void;
  /** Takes the facts and a sentence about what an operator should know. */
  warn(fields: object, message?: string): void;
  /** Takes the facts and a sentence about a failure. */
  error(fields: object, message?: string): void;
}

/** The message on the tracing channel `netsteer:request` about every request to the kernel. */
export interface RequestTrace {
  /** The subsystem of the kernel: 'ipvs', 'nftables', 'nflog', 'rtnetlink'. */
  readonly family: string;
  /** The operation of this library: 'ipvs.addService'. */
  readonly operation: string;
  /** The inode of the network namespace. */
  readonly netns: number;
  /** Bytes sent. */
  readonly bytes: number;
  /** Netlink messages sent. */
  readonly messages: number;
}

const METHODS = ['debug', 'info', 'warn', 'error'] as const;

export const REQUEST_CHANNEL = 'netsteer:request';

/** The tracing channel and the debug log. They are made once for each thread, and all handles share them. */
interface Instruments {
  readonly trace: TracingChannel<string, RequestTrace>;
  readonly start: Channel;
  readonly debug: DebugLogger;
}

const thread = ofThread<{ instruments?: Instruments }>('observe.instruments', {});

function theInstruments(): Instruments {
  thread.instruments ??= {
    trace: tracingChannel<string, RequestTrace>(REQUEST_CHANNEL),
    start: channel(`tracing:${REQUEST_CHANNEL}:start`),
    debug: debuglog('netsteer'),
  };
  return thread.instruments;
}

/**
 * Reports the requests of one handle: to a logger, to the debug log (`NODE_DEBUG=netsteer`), and to the tracing channel.
 * @example
 * const observer = new Observer(console);
 */
export class Observer {
  readonly #logger: Logger | undefined;
  readonly #instruments = theInstruments();

  constructor(logger?: Logger) {
    if (logger !== undefined && METHODS.some(name => typeof logger?.[name] !== 'function'))
      throw typeError(['logger'], `an object with the methods ${METHODS.join(', ')}, as a logger of pino has`, logger);
    this.#logger = logger;
  }

  /** Whether nobody listens. Then the caller need not make a record. */
  get idle(): boolean {
    const { start, debug } = this.#instruments;
    return this.#logger === undefined && !start.hasSubscribers && !debug.enabled;
  }

  /**
   * Reports that a request is sent. Returns a function to call with the answer.
   * @param trace the request and its operation
   * @example
   * const answered = observer.begin({ family: 'mine', operation: 'mine.list', netns: netns.inode, bytes: 20, messages: 1 });
   * answered();
   */
  begin(trace: RequestTrace): (error?: unknown) => void {
    const context: RequestTrace & { error?: unknown } = { ...trace };
    const started = performance.now();
    const { trace: channels, debug } = this.#instruments;
    channels.start.publish(context);
    return error => {
      const microseconds = Math.round((performance.now() - started) * 1000);
      const record = { ...trace, microseconds };
      if (error !== undefined) {
        context.error = error;
        channels.error.publish(context as RequestTrace & { error: unknown });
        const code = (error as { code?: string }).code;
        this.#logger?.debug({ ...record, code }, 'netlink request refused');
        debug('%s refused %s %o', trace.operation, code, record);
      } else {
        this.#logger?.debug(record, 'netlink request');
        debug('%s %o', trace.operation, record);
      }
      channels.end.publish(context);
    };
  }

  /**
   * Warns the operator, for example of a lost reply or a forged message.
   * @param fields the facts, for programs
   * @param message a sentence, for people
   * @example
   * observer.warn({ netns: netns.inode }, 'a reply was lost');
   */
  warn(fields: object, message: string): void {
    this.#logger?.warn(fields, message);
    this.#instruments.debug('%s %o', message, fields);
  }
}
