import { channel, tracingChannel } from 'node:diagnostics_channel';
import { debuglog } from 'node:util';

/** The part of pino's interface that this library uses: object first, then a sentence. */
export interface Logger {
  debug(fields: object, message?: string): void;
  info(fields: object, message?: string): void;
  warn(fields: object, message?: string): void;
  error(fields: object, message?: string): void;
}

/** What is published on the tracing channel `netsteer:request` for every send to the kernel. */
export interface RequestTrace {
  /** The kernel subsystem: 'ipvs', 'nftables', 'nflog', 'rtnetlink'. */
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

export const REQUEST_CHANNEL = 'netsteer:request';

/** Watches the requests of one handle: a pino-shaped logger, `NODE_DEBUG=netsteer`, and the tracing channel. */
export class Observer {
  readonly #logger: Logger | undefined;
  readonly #trace = tracingChannel<string, RequestTrace>(REQUEST_CHANNEL);
  readonly #start = channel(`tracing:${REQUEST_CHANNEL}:start`);
  readonly #debug = debuglog('netsteer');

  constructor(logger?: Logger) {
    this.#logger = logger;
  }

  /** Nobody listens: the caller need not even make the record. */
  get idle(): boolean {
    return this.#logger === undefined && !this.#start.hasSubscribers && !this.#debug.enabled;
  }

  /** A request leaves. Returns what is to be called when it has been answered. */
  begin(trace: RequestTrace): (error?: unknown) => void {
    const context: RequestTrace & { error?: unknown } = { ...trace };
    const started = performance.now();
    this.#trace.start.publish(context);
    return error => {
      const microseconds = Math.round((performance.now() - started) * 1000);
      const record = { ...trace, microseconds };
      if (error !== undefined) {
        context.error = error;
        this.#trace.error.publish(context as RequestTrace & { error: unknown });
        const code = (error as { code?: string }).code;
        this.#logger?.debug({ ...record, code }, 'netlink request refused');
        this.#debug('%s refused %s %o', trace.operation, code, record);
      } else {
        this.#logger?.debug(record, 'netlink request');
        this.#debug('%s %o', trace.operation, record);
      }
      this.#trace.end.publish(context);
    };
  }

  /** Something the operator should know: a lost reply, a forged message. */
  warn(fields: object, message: string): void {
    this.#logger?.warn(fields, message);
    this.#debug('%s %o', message, fields);
  }
}
