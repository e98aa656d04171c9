import { clearTimeout, setTimeout } from 'node:timers';
import { printable } from '../../errors.ts';
import type { NetNs } from '../../netns/index.ts';
import type { Check, CheckedServer } from './declaration.ts';
import { CheckFailure, checkTcp, checkUdp, Deadline } from './dial.ts';
import { checkHttp } from './http.ts';

/** The result of one check. */
export interface CheckResult {
  readonly good: boolean;
  /** Why it failed. */
  readonly reason: string | undefined;
  readonly seconds: number;
}

/** Bounds the checks that run at once: each holds a descriptor. */
export class CheckSlots {
  readonly #most: number;
  #taken = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  async take(): Promise<void> {
    if (this.#taken < this.#most) {
      this.#taken++;
      return;
    }
    await new Promise<void>(resolve => this.#waiting.push(resolve));
  }

  release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#taken--;
    else next();
  }
}

/** Checks one server again and again. */
export class Checker {
  readonly #netns: NetNs;
  readonly #check: Check;
  readonly #server: CheckedServer;
  readonly #slots: CheckSlots;
  readonly #told: (result: CheckResult) => void;
  #stopped = false;
  #running: Deadline | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    netns: NetNs,
    check: Check,
    server: CheckedServer,
    slots: CheckSlots,
    told: (result: CheckResult) => void,
  ) {
    this.#netns = netns;
    this.#check = check;
    this.#server = server;
    this.#slots = slots;
    this.#told = told;
    // The first checks of many servers are spread over the interval.
    this.#plan(Math.random() * check.intervalMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#stopped = true;
    this.#running?.end();
  }

  #plan(milliseconds: number): void {
    // Keeps the process alive, as a server does that listens.
    this.#timer = setTimeout(() => void this.#round(), milliseconds);
  }

  async #round(): Promise<void> {
    const due = performance.now();
    await this.#slots.take();
    let result: CheckResult | undefined;
    try {
      if (this.#stopped) return;
      result = await this.#once();
    } finally {
      this.#slots.release();
    }
    if (this.#stopped) return;
    if (result !== undefined) this.#told(result);
    if (this.#stopped) return;
    const { intervalMs, jitter } = this.#check;
    const varied = intervalMs * (1 + jitter * (2 * Math.random() - 1));
    this.#plan(Math.max(0, due + varied - performance.now()));
  }

  /** Undefined: this process was held up itself, so that nothing is known. */
  async #once(): Promise<CheckResult | undefined> {
    const { timeoutMs } = this.#check;
    const begun = performance.now();
    const deadline = new Deadline();
    this.#running = deadline;
    const late = setTimeout(() => deadline.end(), timeoutMs);
    let reason: string | undefined;
    try {
      await this.#run(deadline);
    } catch (error) {
      reason = printable(String((error as Error)?.message ?? error).slice(0, 200));
    } finally {
      clearTimeout(late);
      this.#running = undefined;
    }
    const seconds = (performance.now() - begun) / 1000;
    if (reason !== undefined && seconds * 1000 > 2 * timeoutMs) return undefined;
    return { good: reason === undefined, reason, seconds };
  }

  async #run(deadline: Deadline): Promise<void> {
    const { kind, tcp, http, udp, exec } = this.#check;
    const { address, port } = this.#server;
    switch (kind) {
      case 'tcp':
        return checkTcp(this.#netns, address, port, deadline, tcp.closeByFin === true);
      case 'http':
      case 'https':
        return checkHttp(this.#netns, address, port, deadline, http, kind === 'https');
      case 'udp': {
        const { payload, answer } = udp!;
        return checkUdp(this.#netns, address, port, deadline, bytesOf(payload), bytes => isAnswer(bytes, answer));
      }
      case 'exec': {
        const { signal } = deadline;
        const aborted = new Promise<never>((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
        );
        const verdict = await Promise.race([exec!({ ...this.#server }, signal), aborted]);
        if (verdict !== true) throw new CheckFailure('the function says no');
      }
    }
  }
}

const bytesOf = (payload: string | Uint8Array): Uint8Array =>
  typeof payload === 'string' ? Buffer.from(payload) : payload;

function isAnswer(bytes: Uint8Array, answer: string | Uint8Array | RegExp | undefined): boolean {
  if (answer === undefined) return true;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (answer instanceof RegExp)
    return new RegExp(answer.source, answer.flags.replace(/[gy]/g, '')).test(buffer.toString('latin1'));
  return buffer.includes(Buffer.from(answer as string));
}
