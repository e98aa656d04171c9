import { expect } from 'vitest';
import type { Ffi } from '../../src/ffi/index.ts';
import { O_CLOEXEC } from '../../src/linux/fcntl.ts';
import { CLONE_NEWNET } from '../../src/linux/sched.ts';
import { NamespaceSwitcher } from '../../src/netns/namespace-switcher.ts';

export const HOME = 'home';

/** A thread that can be in any namespace, and a kernel that can be told to refuse. */
export class FakeThread {
  /** Where the thread is. */
  at = HOME;
  /** The namespaces that descriptors mean. */
  readonly open = new Map<number, string>();
  readonly calls: string[] = [];
  /** What the next calls of setns and open return in place of success. */
  readonly setnsResults: number[] = [];
  openResult = 0;
  unshareResult = 0;
  #next = 10;
  #made = 0;

  add(namespace: string): number {
    const fd = this.#next++;
    this.open.set(fd, namespace);
    return fd;
  }

  readonly ffi = {
    open: (path: string, flags: number): number => {
      expect(path).toBe('/proc/thread-self/ns/net');
      expect(flags & O_CLOEXEC).toBe(O_CLOEXEC);
      return this.openResult < 0 ? this.openResult : this.add(this.at);
    },
    close: (fd: number): number => (this.open.delete(fd) ? 0 : -9),
    setns: (fd: number, type: number): number => {
      expect(type).toBe(CLONE_NEWNET);
      const result = this.setnsResults.shift() ?? 0;
      this.calls.push(`${result < 0 ? 'refused ' : ''}${this.open.get(fd) ?? 'closed'}`);
      if (result < 0) return result;
      const namespace = this.open.get(fd);
      if (namespace === undefined) return -9;
      this.at = namespace;
      return 0;
    },
    unshare: (flags: number): number => {
      expect(flags).toBe(CLONE_NEWNET);
      if (this.unshareResult < 0) return this.unshareResult;
      this.at = `made ${++this.#made}`;
      return 0;
    },
  } as unknown as Ffi;
}

export function setUp() {
  const thread = new FakeThread();
  const switcher = new NamespaceSwitcher(thread.ffi);
  const a = thread.add('a');
  const b = thread.add('b');
  return { thread, switcher, a, b };
}

export const caught = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
};

let restore = () => {};
/** To be called after each test. */
export const restoreListeners = (): void => restore();

/** What reaches the process as uncaught from here on; the test runner's own listeners do not hear of it. */
export function uncaughtErrors(): unknown[] {
  const errors: unknown[] = [];
  const others = process.listeners('uncaughtException');
  const own = (error: unknown) => void errors.push(error);
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', own);
  restore = () => {
    process.off('uncaughtException', own);
    for (const other of others) process.on('uncaughtException', other);
    restore = () => {};
  };
  return errors;
}

/** Uncaught exceptions are raised in a turn of their own. */
export const nextTurn = () => new Promise(resolve => setImmediate(resolve));
