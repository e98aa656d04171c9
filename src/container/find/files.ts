import fs from 'node:fs';
import fsp from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Budget, Exhausted } from './budget.ts';

/** The state of a container is small: the config.json of a large one has some hundred kilobytes. */
const MAX_FILE = 8 << 20;
const CHUNK = 64 << 10;
const MAX_CHUNK = 1 << 20;
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

/** The kernel's files. They belong to the user whom they describe, so their owner is not checked. */
const KERNEL = /^(proc|sys)\//;

/**
 * Reads the files of one folder in which a runtime keeps its state. A file that cannot be read is undefined. Some of these folders belong
 * to a user, who may set traps for root there. So no link leads out of the folder, only regular files are read (to open a FIFO would never
 * return), only those of that user, of root and of this process's user, and a budget limits how much is read.
 */
export class Files {
  readonly #folder: string;
  readonly #budget: Budget;
  readonly #owner: number | undefined;
  #base: Promise<string> | undefined;

  /** @param owner a user whose files are read, besides those of root and of this process's user */
  constructor(folder: string, budget: Budget, owner?: number) {
    this.#folder = folder;
    this.#budget = budget;
    this.#owner = owner;
  }

  /** The names in a folder. */
  async names(folder: string): Promise<string[]> {
    const path = join(this.#folder, folder);
    const names: string[] = [];
    try {
      this.#budget.file();
      if (!(await this.#holds(await fsp.realpath(path)))) return [];
      for await (const { name } of await fsp.opendir(path, { bufferSize: 256 })) {
        this.#budget.name();
        names.push(name);
      }
      return names;
    } catch (error) {
      if (error instanceof Exhausted) throw error;
      return [];
    }
  }

  /** The bytes of a file. If it has more than `most`: the first `most` bytes if `isStart`, otherwise undefined. */
  async bytes(path: string, most = MAX_FILE, isStart = false): Promise<Buffer | undefined> {
    let fd = -1;
    try {
      this.#budget.file();
      fd = await open(join(this.#folder, path), O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
      // The path of the open descriptor: the name could have been replaced before the open. This does not touch the disk.
      if (!(await this.#holds(fs.readlinkSync(`/proc/thread-self/fd/${fd}`)))) return undefined;
      const stat = await fstat(fd);
      if (!stat.isFile() || !(KERNEL.test(path) || this.#isTheirs(stat.uid))) return undefined;
      return await this.#contentOf(fd, stat.size, most, isStart);
    } catch (error) {
      if (error instanceof Exhausted) throw error;
      return undefined;
    } finally {
      if (fd >= 0) await close(fd);
    }
  }

  async text(path: string): Promise<string | undefined> {
    return (await this.bytes(path))?.toString('utf8');
  }

  async json(path: string): Promise<Record<string, unknown> | undefined> {
    const bytes = await this.bytes(path);
    return bytes === undefined ? undefined : record(this.parse(bytes));
  }

  /** The value of a JSON text; undefined if it is malformed. */
  parse(bytes: Buffer): unknown {
    return this.#budget.parse(bytes.length, () => {
      try {
        return JSON.parse(bytes.toString('utf8'));
      } catch {
        return undefined;
      }
    });
  }

  /** Whether `bytes` contain `needle`. */
  includes(bytes: Buffer, needle: Buffer): boolean {
    return this.#budget.search(bytes.length, () => bytes.includes(needle));
  }

  /** Runs work that looks at this many bytes one by one. */
  scan<T>(bytes: number, work: () => T): T {
    return this.#budget.scan(bytes, work);
  }

  #isTheirs(uid: number): boolean {
    return uid === this.#owner || isOurs(uid);
  }

  async #holds(path: string): Promise<boolean> {
    this.#base ??= fsp.realpath(this.#folder).then(base => join(base, '/'));
    return `${path}/`.startsWith(await this.#base);
  }

  /** Counts what it reads, and does not trust the size: files under /proc and in cgroups say 0, and a file may grow meanwhile. */
  async #contentOf(fd: number, expected: number, most: number, isStart: boolean): Promise<Buffer | undefined> {
    const chunks: Buffer[] = [];
    let length = 0;
    let size = Math.min(expected || CHUNK, CHUNK, most);
    for (;;) {
      const chunk = Buffer.allocUnsafe(size);
      const { bytesRead } = await read(fd, chunk, 0, size, null);
      this.#budget.read(bytesRead);
      length += bytesRead;
      chunks.push(chunk.subarray(0, bytesRead));
      if (length > most) return undefined;
      if (bytesRead === 0 || length === expected || (isStart && length === most)) return Buffer.concat(chunks);
      size = Math.min(size * 4, MAX_CHUNK, isStart ? most - length : MAX_CHUNK);
    }
  }
}

/* There may be many files, and these calls take half the time of fs.promises' handles. */
const open = promisify<string, number, number>(fs.open);
const fstat = promisify<number, fs.Stats>(fs.fstat);
const read = promisify(fs.read);
const close = promisify(fs.close);

/** Whether a user is root or the user of this process. */
export const isOurs = (uid: number): boolean => uid === 0 || uid === process.geteuid?.();

export const record = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

export const list = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.map(record) : []);
