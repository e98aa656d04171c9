import { describeErrno, StateError } from '../../errors.ts';
import type { KernelDescription, NamespaceAccess, NamespaceFiles, OpenFile } from '../../netns/access.ts';
import { ENOENT } from '../refusal.ts';
import type { MemoryCalls } from './calls.ts';
import { deviceSysctl } from './device-sysctls.ts';
import type { Machine } from './machine.ts';
import { hasModule } from './state.ts';

const BEGINNING = '/proc/sys/';
/** No file system of a real kernel has this device. */
const DEVICE = 0x6e73;

/** A namespace of a kernel in memory, by a descriptor of its calls. */
export class MemoryAccess implements NamespaceAccess {
  readonly movesThread = false;
  readonly device = DEVICE;
  readonly inode: number;
  readonly ffi: MemoryCalls;
  readonly #machine: Machine;
  readonly #fd: number;
  closed = false;

  constructor(machine: Machine, calls: MemoryCalls, fd: number) {
    this.#machine = machine;
    this.ffi = calls;
    this.#fd = fd;
    this.inode = calls.namespaceAt(fd)!;
  }

  get described(): KernelDescription {
    const { release } = this.#machine;
    return {
      release: release.version.join('.'),
      hasModule: name => hasModule(release, name),
      remedy: modules => {
        const names = [...(release.modules ?? []), ...modules].map(name => `'${name}'`);
        return `MemoryKernel.create({ modules: [${names.join(', ')}] })`;
      },
      userNamespace: this.#machine.namespace(this.inode).userNamespace,
    };
  }

  get descriptor(): number {
    if (this.closed) throw new StateError('ERR_CLOSED', 'a network namespace is closed: open another one');
    return this.#fd;
  }

  readonly files: NamespaceFiles = {
    read: path => this.#file(path),
    write: (path, text) => {
      this.#file(path);
      const errno = this.#machine.writeSetting(this.inode, path.slice(BEGINNING.length), text);
      if (errno !== 0) throw failed(errno, 'write', path);
    },
    has: path => this.files.list(path).length > 0 || this.#sysctl(path) !== undefined,
    list: path => {
      const folder = path.slice(BEGINNING.length).replace(/\/?$/, '/');
      const { sysctls } = this.#machine.namespace(this.inode);
      return [...sysctls.keys()].filter(name => name.startsWith(folder)).map(name => name.slice(folder.length));
    },
    open: path => openText(this.#file(path)),
  };

  #sysctl(path: string): string | undefined {
    if (!path.startsWith(BEGINNING)) return undefined;
    const name = path.slice(BEGINNING.length);
    const namespace = this.#machine.namespace(this.inode);
    return namespace.sysctls.get(name) ?? deviceSysctl(namespace, name);
  }

  #file(path: string): string {
    void this.descriptor;
    const value = this.#sysctl(path);
    if (value !== undefined) return `${value}\n`;
    const content = this.#machine.file(this.inode, path);
    if (content !== undefined) return content;
    throw failed(ENOENT, 'open', path);
  }

  enter<T>(inside: () => T): T {
    void this.descriptor;
    return this.ffi.enter(this.inode, inside);
  }

  adopt(fd: number): MemoryAccess {
    return new MemoryAccess(this.#machine, this.ffi, fd);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.ffi.close(this.#fd);
  }
}

/** As node:fs throws it. */
function failed(errno: number, syscall: string, path: string): Error {
  const { code, text } = describeErrno(errno);
  return Object.assign(new Error(`${code}: ${text}, ${syscall} '${path}'`), { errno, code, syscall, path });
}

function openText(text: string): OpenFile {
  let rest = Buffer.from(text);
  return {
    read: async bytes => {
      const part = rest.subarray(0, bytes);
      rest = rest.subarray(bytes);
      return part;
    },
    close() {},
  };
}
