import fs from 'node:fs';
import fsp from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Budget, Exhausted } from './budget.ts';

/** State of a container is small; the config.json of a large one has some hundred kilobytes. */
const MAX_FILE = 8 << 20;
const CHUNK = 64 << 10;
const MAX_CHUNK = 1 << 20;
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

/** The kernel's own files belong to whom they are about. */
const KERNEL = /^(proc|sys)\//;

/**
 * The files of one folder, as a runtime has left them there; what cannot be read is undefined. Some of these folders are a user's, and whoever
 * may write there may lay traps for root: so nothing is followed out of the folder, what is no plain file is not read (the open of a FIFO
 * would never return), nor what is somebody else's, and there is an end to how much is read in all.
 */
export class Files {
  readonly #folder: string;
  readonly #budget: Budget;
  readonly #owner: number | undefined;
  #base: Promise<string> | undefined;

  /** @param owner whose the files may be, besides root's and this process's user's */
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

  /** The bytes of a file; of one that is larger than `most`, the first of them where `isStart`, or none. */
  async bytes(path: string, most = MAX_FILE, isStart = false): Promise<Buffer | undefined> {
    let fd = -1;
    try {
      this.#budget.file();
      fd = await open(join(this.#folder, path), O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
      // Asked of the descriptor: a path can be changed between the question and the open. The kernel knows it without looking at a disk.
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

  /** The value of a JSON text; undefined where it is none. */
  parse(bytes: Buffer): unknown {
    return this.#budget.parse(bytes.length, () => {
      try {
        return JSON.parse(bytes.toString('utf8'));
      } catch {
        return undefined;
      }
    });
  }

  /** Whether some bytes are among others. */
  includes(bytes: Buffer, needle: Buffer): boolean {
    return this.#budget.search(bytes.length, () => bytes.includes(needle));
  }

  /** Runs work that looks at so many bytes one by one. */
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

  /** The size of files under /proc and in cgroups is 0, and a file may grow while it is read: what has come is counted. */
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

/* They cost half of what the handles of fs.promises do, and there may be many files. */
const open = promisify<string, number, number>(fs.open);
const fstat = promisify<number, fs.Stats>(fs.fstat);
const read = promisify(fs.read);
const close = promisify(fs.close);

/** Whether nobody but root and this process's user is behind it. */
export const isOurs = (uid: number): boolean => uid === 0 || uid === process.geteuid?.();

export const record = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

export const list = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.map(record) : []);
