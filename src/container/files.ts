import fs from 'node:fs';
import { join } from 'node:path';

/** State of a container is small; the config.json of a large one has some hundred kilobytes. */
const MAX_FILE = 8 << 20;
const CHUNK = 64 << 10;
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

/**
 * The files of one folder, as a runtime has left them there; what cannot be read is undefined. Some of these folders are a user's, and whoever
 * may write there may lay traps for root: so nothing is followed out of the folder, and what is no plain file is not read (the open of a FIFO
 * would never return).
 */
export class Files {
  readonly #folder: string;
  #base: string | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The names in a folder. */
  names(folder: string): string[] {
    const path = join(this.#folder, folder);
    try {
      return this.#holds(fs.realpathSync(path)) ? fs.readdirSync(path) : [];
    } catch {
      return [];
    }
  }

  text(path: string): string | undefined {
    let fd = -1;
    try {
      fd = fs.openSync(join(this.#folder, path), O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
      // Asked of the descriptor: a path can be changed between the question and the open.
      const inside = this.#holds(fs.readlinkSync(`/proc/thread-self/fd/${fd}`));
      return inside && fs.fstatSync(fd).isFile() ? textOf(fd) : undefined;
    } catch {
      return undefined;
    } finally {
      if (fd >= 0) fs.closeSync(fd);
    }
  }

  json(path: string): Record<string, unknown> | undefined {
    const text = this.text(path);
    try {
      return text === undefined ? undefined : record(JSON.parse(text));
    } catch {
      return undefined;
    }
  }

  #holds(path: string): boolean {
    this.#base ??= join(fs.realpathSync(this.#folder), '/');
    return `${path}/`.startsWith(this.#base);
  }
}

/** The size of files under /proc and in cgroups is 0, and a file may grow while it is read: what has come is counted. */
function textOf(fd: number): string | undefined {
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    const size = fs.readSync(fd, chunk);
    if (size === 0) return Buffer.concat(chunks).toString('utf8');
    length += size;
    if (length > MAX_FILE) return undefined;
    chunks.push(chunk.subarray(0, size));
  }
}

export const record = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

export const list = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.map(record) : []);
