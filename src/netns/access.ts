import fs from 'node:fs';
import { Descriptor, type Ffi, ffi } from '../ffi/index.ts';
import { threadSwitcher } from './namespace-switcher.ts';
import { statOf } from './stat.ts';

/** The files of /proc that a namespace shows. Errors are those of node:fs. */
export interface NamespaceFiles {
  read(path: string): string;
  write(path: string, text: string): void;
  has(path: string): boolean;
  /** The names in a folder; none where there is no such folder. */
  list(path: string): readonly string[];
  /** A file that is read in parts, away from this thread. It stays with the namespace. */
  open(path: string): OpenFile;
}

export interface OpenFile {
  /** The next part, of at most so many bytes; empty at the end. */
  read(bytes: number): Promise<Uint8Array>;
  close(): void;
}

/** A kernel that tells itself what the files of this machine say of a real one. */
export interface KernelDescription {
  /** The release of Linux, such as '6.12'. */
  readonly release: string;
  hasModule(name: string): boolean;
  /** How a test gives the kernel a module that it lacks. */
  remedy(modules: readonly string[]): string;
  /** Whether the namespace belongs to a user namespace below the first one. */
  readonly userNamespace: boolean;
}

/**
 * What a namespace is to this library: an identity, the calls by which its sockets are opened, and its files. The kernel's namespaces are one
 * kind; those of a kernel in memory are another.
 */
export interface NamespaceAccess {
  /** Device and inode together are a namespace's identity; the device is the same for all of a kernel (nsfs). */
  readonly device: number;
  readonly inode: number;
  /** The C library of the kernel that has the namespace. */
  readonly ffi: Ffi;
  /** Its number, for a call of `ffi` that ends before anything else can run on this thread. Throws `ERR_CLOSED`. */
  readonly descriptor: number;
  readonly closed: boolean;
  readonly files: NamespaceFiles;
  /** Entering it moves this thread, so that many are entered faster one after the other. False for a kernel in memory. */
  readonly movesThread: boolean;
  /** Of a kernel in memory; undefined for this machine's kernel. */
  readonly described: KernelDescription | undefined;
  /** Runs a function inside, and returns home. */
  enter<T>(inside: () => T): T;
  /** Another namespace of the same kernel, by a number of `ffi`, which it then owns. */
  adopt(fd: number): NamespaceAccess;
  close(): Promise<void>;
}

/** A namespace of the kernel, by a descriptor. */
export class KernelAccess implements NamespaceAccess {
  readonly ffi = ffi();
  readonly movesThread = true;
  readonly described = undefined;
  readonly device: number;
  readonly inode: number;
  readonly #file: Descriptor | undefined;
  readonly #fd: number;

  /** @param owned whether the number is closed together with this */
  constructor(fd: number, owned: boolean) {
    this.#fd = fd;
    if (owned) this.#file = new Descriptor(this.ffi, fd, { what: 'a network namespace' });
    const { dev, ino } = statOf(fd);
    this.device = dev;
    this.inode = ino;
  }

  get descriptor(): number {
    return this.#file === undefined ? this.#fd : this.#file.fd;
  }
  get closed(): boolean {
    return this.#file?.closed ?? false;
  }

  readonly files: NamespaceFiles = {
    read: path => this.enter(() => fs.readFileSync(path, 'utf8')),
    write: (path, text) => this.enter(() => fs.writeFileSync(path, text)),
    has: path => this.enter(() => fs.existsSync(path)),
    list: path => this.enter(() => namesIn(path)),
    open: path => openFile(this.enter(() => fs.openSync(path, 'r'))),
  };

  enter<T>(inside: () => T): T {
    // The function may close this: its number must stay what it is until the thread is back.
    return threadSwitcher().enter(this.descriptor, inside, this.#file);
  }

  adopt(fd: number): NamespaceAccess {
    return new KernelAccess(fd, true);
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}

function namesIn(path: string): readonly string[] {
  try {
    return fs.readdirSync(path);
  } catch {
    return [];
  }
}

function openFile(fd: number): OpenFile {
  return {
    read: length =>
      new Promise((resolve, reject) => {
        fs.read(fd, Buffer.allocUnsafe(length), 0, length, null, (error, count, buffer) =>
          error === null ? resolve(buffer.subarray(0, count)) : reject(error),
        );
      }),
    close: () => fs.closeSync(fd),
  };
}
