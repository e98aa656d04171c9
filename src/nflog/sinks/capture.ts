import { finished, type Writable } from 'node:stream';
import { checkInteger, checkObject } from '../../codec/index.ts';
import { type Path, StateError, typeError } from '../../errors.ts';
import { PacketBatch } from '../batch.ts';
import type { BacklogOptions } from '../config.ts';
import { Backlog, type Consumer } from './delivery.ts';
import { CHUNK, isFile, Output } from './output.ts';
import type { CaptureFormat } from './pcap.ts';

/** A writable stream, as Node has them: a file, a pipe, `process.stdout`. */
export interface WritableTarget {
  /** Takes bytes; false asks to wait for 'drain'. */
  write(chunk: Uint8Array): boolean;
  /** Ends the stream. */
  end(): unknown;
  /** Listens to 'drain', 'error' and 'close'. */
  on(event: string, listener: (...values: unknown[]) => void): unknown;
}

/** When a file is full, and which file comes next. Give `bytes`, `seconds` or both. */
export interface Rotation {
  /**
   * A file ends before the packet that would make it larger, 1,024 to 2^53-1. A single packet that is larger gets a
   * file of its own.
   */
  bytes?: number;
  /**
   * A file ends so many seconds after it was begun, if it has a packet, 1 to 2,147,483. The next packet begins the
   * next file.
   */
  seconds?: number;
  /**
   * Returns the Writable of file number `index` (the one given to `toPcap` is number 0). The log's `backlog` applies
   * until it has.
   */
  next(index: number): WritableTarget | Promise<WritableTarget>;
}

/** Writes a log's packets until it or the log is ended. */
export interface Sink extends AsyncDisposable {
  /** Packets handed to the Writable or logger. */
  readonly packets: number;
  /**
   * Resolves when the sink has ended and all is written. Rejects with the error of the Writable, or of `rotate.next`;
   * nothing more is written then. If nobody awaits it, that is an unhandled rejection: a capture does not stop in
   * silence.
   */
  readonly finished: Promise<void>;
  /** Takes no more packets, writes what it has, ends the Writable, and resolves or rejects as `finished` does. */
  end(): Promise<void>;
}

/** A sink as its log sees it. */
export interface LogSink extends Sink {
  /** Resolves when `finished` is settled, either way. It never rejects. */
  readonly settled: Promise<void>;
  /** Ends it; `failure` is the error that ended the log. */
  endWith(failure?: unknown): void;
}

/** A log that is being written to files. */
export interface Capture extends Sink {
  /** Bytes handed to the Writables, all files together. */
  readonly bytes: number;
  /** Files begun. */
  readonly files: number;
}

/** A file is written to once in so many milliseconds, or when a chunk is full: each write wakes another thread. */
const GATHER_MILLISECONDS = 10;
/** A file is full when so many bytes wait to be written. Its stream would stop at 16 KiB, which is less than one delivery. */
const FILE_QUEUE = 4 * CHUNK;

export function checkWritable(value: unknown, path: Path): Writable {
  const { write, end, on } = (value ?? {}) as Partial<Writable>;
  if (typeof write !== 'function' || typeof end !== 'function' || typeof on !== 'function') {
    throw typeError(path, 'a Writable', value);
  }
  return value as Writable;
}

export function checkRotation(value: unknown): Rotation | undefined {
  if (value === undefined) return undefined;
  checkObject(value, ['rotate'], ['bytes', 'seconds', 'next']);
  const { bytes, seconds, next } = value as Partial<Rotation>;
  if (bytes === undefined && seconds === undefined) throw typeError(['rotate'], '{ bytes } or { seconds }', value);
  if (bytes !== undefined) checkInteger(bytes, ['rotate', 'bytes'], 1024, Number.MAX_SAFE_INTEGER);
  // The longest time of setTimeout.
  if (seconds !== undefined) checkInteger(seconds, ['rotate', 'seconds'], 1, Math.floor(0x7fffffff / 1000));
  if (typeof next !== 'function') throw typeError(['rotate', 'next'], 'a function', next);
  return value as Rotation;
}

/** `finished` and `settled` of a sink. */
export class Ending {
  readonly finished: Promise<void>;
  readonly settled: Promise<void>;
  #settle!: (outcome: { error: unknown } | undefined) => void;
  done = false;

  constructor() {
    const outcome = new Promise<{ error: unknown } | undefined>(resolve => {
      this.#settle = resolve;
    });
    this.settled = outcome.then(() => {});
    this.finished = outcome.then(failed => {
      if (failed !== undefined) throw failed.error;
    });
  }

  /** The first call counts. */
  settle(outcome?: { error: unknown }): void {
    this.done = true;
    this.#settle(outcome);
  }
}

export class CaptureSink implements Consumer, Capture, LogSink {
  readonly #format: CaptureFormat;
  readonly #rotation: Rotation | undefined;
  readonly #backlog: Backlog;
  /** Packets that are encoded but not written. */
  readonly #output = new Output();
  #gathered = 0;
  #gathering: NodeJS.Timeout | undefined;
  #lastWrite = 0;
  /** How to continue when there is room again, and how to leave. */
  #log: { resume(): void; detach(): void } | undefined;
  /** The file that is written; undefined between two files. */
  #writable: Writable | undefined;
  /** Two reasons to take no packets: the Writable is full, or the next one is awaited. */
  #full = false;
  #opening = false;
  readonly #outcome = new Ending();
  #ending = false;
  #failure: { error: unknown } | undefined;
  #fileBytes = 0;
  #filePackets = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Files that have not been written to their end. */
  #unfinished = 0;
  packets = 0;
  bytes = 0;
  files = 0;

  constructor(
    format: CaptureFormat,
    writable: Writable,
    rotation: Rotation | undefined,
    backlog: Required<BacklogOptions>,
  ) {
    this.#format = format;
    this.#rotation = rotation;
    this.#backlog = new Backlog(backlog);
    this.#begin(writable);
  }

  /** Begins to take the packets of a log. */
  attach(log: { attach(consumer: Consumer): { resume(): void; detach(): void } }): this {
    this.#log = log.attach(this);
    return this;
  }

  get finished(): Promise<void> {
    return this.#outcome.finished;
  }
  get settled(): Promise<void> {
    return this.#outcome.settled;
  }

  get busy(): boolean {
    return this.#full || this.#opening;
  }

  get dropped(): number {
    return this.#backlog.dropped;
  }

  take(batch: PacketBatch): void {
    if (this.#ending || this.#outcome.done) return;
    if (this.busy) this.#backlog.push(batch.packets());
    else this.#write(batch);
  }

  /**
   * Do the other packets wait in the backlog? With 'leave-to-kernel' they have been read and are kept in any case. In
   * the Writable's own queue, as bytes, they cost less, and nothing more is read until that has drained. The other
   * policies may have to drop packets that wait.
   */
  get #waits(): boolean {
    return this.#opening || (this.#full && this.#backlog.when !== 'leave-to-kernel');
  }

  /** Writes as much as the Writable takes; the rest waits. */
  #write(packets: PacketBatch): void {
    const output = this.#output;
    for (let next = 0; next < packets.length; ) {
      if (this.#writable === undefined) this.#open();
      if (this.#outcome.done) return;
      if (this.#waits || this.#writable === undefined) {
        this.#keep(packets, next);
        return;
      }
      const left = (this.#rotation?.bytes ?? Number.POSITIVE_INFINITY) - this.#fileBytes;
      const only = this.#filePackets === 0;
      const force = only || left >= CHUNK;
      const before = output.length;
      const first = next;
      next = this.#format.encode(packets, first, Math.min(left, CHUNK), force, output);
      if (next === first) {
        // The file is not ended before its Writable has kept up: otherwise any number of files could be written at
        // once.
        this.#flush();
        if (this.#full) {
          this.#keep(packets, next);
          return;
        }
        this.#close();
        continue;
      }
      this.#gathered += next - first;
      this.#filePackets += next - first;
      this.#fileBytes += output.length - before;
      if (!output.forFile || output.length >= CHUNK) this.#flush();
    }
    if (output.length > 0) this.#flushSoon();
  }

  #keep(batch: PacketBatch, from: number): void {
    const packets = batch.packets();
    this.#backlog.push(from === 0 ? packets : packets.slice(from));
  }

  /** A file that is written to now and then gets its packets at once. */
  #flushSoon(): void {
    if (this.#gathering !== undefined) return;
    const wait = this.#lastWrite + GATHER_MILLISECONDS - performance.now();
    if (wait <= 0) this.#flush();
    else this.#gathering = setTimeout(() => this.#flush(), wait);
  }

  /** Writes what was gathered. */
  #flush(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    const output = this.#output;
    const writable = this.#writable;
    if (writable === undefined || output.length === 0) return;
    this.#lastWrite = performance.now();
    this.packets += this.#gathered;
    this.#gathered = 0;
    this.bytes += output.length;
    if (!output.flush(writable) && (!output.forFile || writable.writableLength >= FILE_QUEUE)) {
      this.#full = true;
      this.#log?.resume();
    }
  }

  #begin(writable: Writable): void {
    this.#writable = writable;
    this.#output.forFile = isFile(writable);
    this.#full = false;
    this.#fileBytes = 0;
    this.#filePackets = 0;
    this.files++;
    this.#unfinished++;
    // The standard streams stay open, so they never finish.
    finished(writable, { readable: false }, error => {
      const early =
        writable === this.#writable ? new StateError('ERR_CLOSED', 'the Writable has been ended') : undefined;
      this.#finish(error ?? early);
    });
    writable.on('drain', () => {
      if (this.#writable === writable) this.#drained();
    });
    const seconds = this.#rotation?.seconds;
    if (seconds !== undefined) {
      this.#timer = setTimeout(() => this.#aged(), seconds * 1000);
      this.#timer.unref();
    }
    const header = this.#format.begin();
    this.bytes += header.length;
    this.#fileBytes += header.length;
    if (!writable.write(header)) this.#full = true;
  }

  #drained(): void {
    this.#full = false;
    this.#resume();
  }

  #resume(): void {
    if (this.#outcome.done) return;
    if (this.#backlog.length > 0) this.#write(PacketBatch.of(this.#backlog.take()));
    if (this.#ending) this.#endFile();
    else if (!this.busy) this.#log?.resume();
  }

  /** Ends the file; the next one is opened when there is a packet for it. */
  #close(): void {
    this.#flush();
    clearTimeout(this.#timer);
    const writable = this.#writable!;
    this.#writable = undefined;
    this.#full = false;
    endOf(writable, () => this.#finish());
  }

  #aged(): void {
    if (this.#outcome.done || this.#writable === undefined) return;
    if (this.#filePackets === 0) this.#timer?.refresh();
    else {
      this.#close();
      this.#resume();
    }
  }

  #open(): void {
    if (this.#opening) return;
    let next: unknown;
    try {
      next = this.#rotation!.next(this.files);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (typeof (next as Promise<Writable>)?.then !== 'function') {
      this.#accept(next);
      return;
    }
    this.#opening = true;
    (next as Promise<Writable>).then(
      writable => {
        this.#opening = false;
        if (this.#accept(writable)) this.#resume();
      },
      error => this.#fail(error),
    );
  }

  #accept(writable: unknown): boolean {
    if (this.#outcome.done) return false;
    try {
      this.#begin(checkWritable(writable, ['rotate', 'next']));
      return true;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  end(): Promise<void> {
    this.endWith();
    return this.finished;
  }

  endWith(failure?: unknown): void {
    if (this.#ending || this.#outcome.done) return;
    this.#ending = true;
    if (failure !== undefined) this.#failure = { error: failure };
    this.#log?.detach();
    this.#endFile();
  }

  /** Writes the waiting packets even if the Writable is full: they are bounded, and nothing comes after them. */
  #endFile(): void {
    if (this.#opening || this.#outcome.done) return;
    this.#full = false;
    while (this.#backlog.length > 0 && !this.#opening && !this.#outcome.done) {
      this.#write(PacketBatch.of(this.#backlog.take()));
      this.#full = false;
    }
    if (this.#opening || this.#outcome.done) return;
    if (this.#writable !== undefined) this.#close();
    else this.#settle();
  }

  #finish(error?: Error | null): void {
    if (error) this.#fail(error);
    else {
      this.#unfinished--;
      this.#settle();
    }
  }

  #settle(): void {
    if (!this.#ending || this.#unfinished > 0 || this.#writable !== undefined || this.#opening) return;
    this.#outcome.settle(this.#failure);
  }

  #fail(error: unknown): void {
    if (this.#outcome.done) return;
    this.#outcome.settle({ error });
    clearTimeout(this.#timer);
    clearTimeout(this.#gathering);
    this.#output.length = 0;
    this.#gathered = 0;
    this.#backlog.clear();
    this.#opening = false;
    this.#full = false;
    this.#log?.detach();
    // Nobody else handles this Writable's error, and an open file would leak.
    this.#writable?.on('error', () => {}).destroy();
    this.#writable = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

/** The standard streams cannot be closed. They are only written to their end. */
function endOf(writable: Writable, done: () => void): void {
  if (writable === process.stdout || writable === process.stderr) writable.write('', () => done());
  else writable.end();
}
