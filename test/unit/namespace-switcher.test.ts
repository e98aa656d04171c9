import vm from 'node:vm';
import { afterEach, describe, expect, test } from 'vitest';
import { NetNsError } from '../../src/errors.ts';
import type { Ffi } from '../../src/ffi/index.ts';
import { O_CLOEXEC } from '../../src/linux/fcntl.ts';
import { CLONE_NEWNET } from '../../src/linux/sched.ts';
import { NamespaceSwitcher } from '../../src/netns/namespace-switcher.ts';
import { runScript } from '../support/compiled.ts';

const HOME = 'home';

/** A thread that can be in any namespace, and a kernel that can be told to refuse. */
class FakeThread {
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

function setUp() {
  const thread = new FakeThread();
  const switcher = new NamespaceSwitcher(thread.ffi);
  const a = thread.add('a');
  const b = thread.add('b');
  return { thread, switcher, a, b };
}

const caught = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
};

let restore = () => {};
afterEach(() => restore());

/** What reaches the process as uncaught from here on; the test runner's own listeners do not hear of it. */
function uncaughtErrors(): unknown[] {
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
const nextTurn = () => new Promise(resolve => setImmediate(resolve));

describe('entering a namespace', () => {
  test('runs the function inside, and returns its result at home', () => {
    const { thread, switcher, a } = setUp();
    expect(switcher.enter(a, () => `ran in ${thread.at}`)).toBe('ran in a');
    expect(thread.at).toBe(HOME);
    expect(thread.calls).toEqual(['a', HOME]);
  });

  test('returns home when the function throws', () => {
    const { thread, switcher, a } = setUp();
    const error = new Error('broken');
    expect(
      caught(() =>
        switcher.enter(a, () => {
          throw error;
        }),
      ),
    ).toBe(error);
    expect(thread.at).toBe(HOME);
  });

  test('opens the way home once, before the first entry', () => {
    const { thread, switcher, a, b } = setUp();
    const before = thread.open.size;
    switcher.enter(a, () => {});
    switcher.enter(b, () => {});
    expect(thread.open.size).toBe(before + 1);
    expect(thread.open.get(switcher.home)).toBe(HOME);
  });

  test('is rejected where there is no way home', () => {
    const { thread, switcher, a } = setUp();
    thread.openResult = -24;
    const error = caught(() => switcher.enter(a, () => {}));
    expect(error).toMatchObject({ code: 'EMFILE', syscall: 'open' });
    expect(thread.calls).toEqual([]);
  });

  test('nests: each returns to the surrounding one', () => {
    const { thread, switcher, a, b } = setUp();
    const seen: string[] = [];
    switcher.enter(a, () => {
      seen.push(thread.at);
      switcher.enter(b, () => {
        seen.push(thread.at);
        switcher.enter(a, () => seen.push(thread.at));
        seen.push(thread.at);
      });
      seen.push(thread.at);
    });
    expect(seen).toEqual(['a', 'b', 'a', 'b', 'a']);
    expect(thread.at).toBe(HOME);
  });

  test('returns to each surrounding one when the nested function fails', () => {
    const { thread, switcher, a, b } = setUp();
    const seen: string[] = [];
    switcher.enter(a, () => {
      caught(() =>
        switcher.enter(b, () => {
          throw new Error('broken');
        }),
      );
      seen.push(thread.at);
    });
    expect(seen).toEqual(['a']);
    expect(thread.at).toBe(HOME);
  });

  test('makes no call where the thread is inside already', () => {
    const { thread, switcher, a } = setUp();
    switcher.enter(a, () => switcher.enter(a, () => expect(thread.at).toBe('a')));
    expect(thread.calls).toEqual(['a', HOME]);
    thread.calls.length = 0;
    expect(switcher.enter(switcher.home, () => thread.at)).toBe(HOME);
    expect(switcher.atHome(() => thread.at)).toBe(HOME);
    expect(thread.calls).toEqual([]);
  });

  test('leads home from inside another namespace, and back into it', () => {
    const { thread, switcher, a } = setUp();
    const seen: string[] = [];
    switcher.enter(a, () => {
      switcher.atHome(() => seen.push(thread.at));
      seen.push(thread.at);
    });
    expect(seen).toEqual([HOME, 'a']);
    expect(thread.at).toBe(HOME);
  });

  test.each([
    [-1, 'EPERM', 'CAP_SYS_ADMIN'],
    [-3, 'ESRCH', 'gone'],
    [-22, 'EINVAL', 'no network namespace'],
    [-12, 'ENOMEM', undefined],
  ])('that fails with %i runs nothing and says why', (errno, code, hint) => {
    const { thread, switcher, a } = setUp();
    thread.setnsResults.push(errno);
    let ran = false;
    const error = caught(() =>
      switcher.enter(a, () => {
        ran = true;
      }),
    );
    expect(error).toBeInstanceOf(NetNsError);
    expect(error).toMatchObject({ code, errno, syscall: 'setns' });
    expect((error as NetNsError).hint ?? '').toContain(hint ?? '');
    expect([ran, thread.at, thread.calls.length]).toEqual([false, HOME, 1]);
    expect(switcher.enter(a, () => thread.at)).toBe('a');
  });
});

describe('making a namespace', () => {
  test('returns its descriptor, and the thread comes back', () => {
    const { thread, switcher } = setUp();
    const fd = switcher.create();
    expect(thread.open.get(fd)).toBe('made 1');
    expect(thread.at).toBe(HOME);
  });

  test('inside another one returns the thread to that', () => {
    const { thread, switcher, a } = setUp();
    const seen: string[] = [];
    switcher.enter(a, () => {
      switcher.create();
      seen.push(thread.at);
    });
    expect(seen).toEqual(['a']);
    expect(thread.at).toBe(HOME);
  });

  test.each([
    [-1, 'EPERM', 'CAP_SYS_ADMIN'],
    [-28, 'ENOSPC', 'user.max_net_namespaces'],
    [-12, 'ENOMEM', undefined],
  ])('that fails with %i leaves the thread where it was', (errno, code, hint) => {
    const { thread, switcher } = setUp();
    thread.unshareResult = errno;
    const error = caught(() => switcher.create());
    expect(error).toMatchObject({ code, syscall: 'unshare' });
    expect((error as NetNsError).hint).toEqual(hint === undefined ? undefined : expect.stringContaining(hint));
    expect(thread.at).toBe(HOME);
  });

  test('that cannot be opened returns the thread all the same', () => {
    const { thread, switcher } = setUp();
    expect(thread.open.get(switcher.home)).toBe(HOME);
    thread.openResult = -24;
    expect(caught(() => switcher.create())).toMatchObject({ code: 'EMFILE', syscall: 'open' });
    expect(thread.at).toBe(HOME);
  });
});

describe('a way home that fails', () => {
  const ENOMEM = -12;
  /** In, then as many failures as there are attempts. */
  const neverBack = [0, ENOMEM, ENOMEM, ENOMEM];

  test('is tried again, which the caller does not notice where it succeeds', async () => {
    const errors = uncaughtErrors();
    for (const failures of [1, 2]) {
      const { thread, switcher, a } = setUp();
      thread.setnsResults.push(0, ...Array.from({ length: failures }, () => ENOMEM));
      expect(switcher.enter(a, () => 'fine')).toBe('fine');
      expect(thread.at).toBe(HOME);
    }
    await nextTurn();
    expect(errors).toEqual([]);
  });

  test('rejects the call with ERR_NETNS_LOST, and is raised as uncaught besides: no catch may hide it', async () => {
    const errors = uncaughtErrors();
    const { thread, switcher, a } = setUp();
    thread.setnsResults.push(...neverBack);
    const error = caught(() => switcher.enter(a, () => 'lost'));
    expect(error).toBeInstanceOf(NetNsError);
    expect(error).toMatchObject({ code: 'ERR_NETNS_LOST', errno: ENOMEM, syscall: 'setns' });
    expect(thread.at).toBe('a');
    await nextTurn();
    expect(errors).toEqual([error]);
  });

  test('rejects the call with ERR_NETNS_LOST even where the function threw', async () => {
    uncaughtErrors();
    const { thread, switcher, a } = setUp();
    thread.setnsResults.push(...neverBack);
    const run = () =>
      switcher.enter(a, () => {
        throw new Error('broken');
      });
    expect(caught(run)).toMatchObject({ code: 'ERR_NETNS_LOST' });
    await nextTurn();
  });

  test('rejects every later entry with ERR_NETNS_LOST, and is raised as uncaught only once', async () => {
    const errors = uncaughtErrors();
    const { thread, switcher, a, b } = setUp();
    thread.setnsResults.push(...neverBack);
    caught(() => switcher.enter(a, () => {}));
    const attempts = [
      () => switcher.enter(b, () => 'ran'),
      () => switcher.enter(a, () => 'ran'),
      () => switcher.enter(switcher.home, () => 'ran'),
      () => switcher.atHome(() => 'ran'),
      () => switcher.create(),
    ];
    for (const attempt of attempts) {
      thread.setnsResults.push(ENOMEM, ENOMEM, ENOMEM);
      expect(caught(attempt)).toMatchObject({ code: 'ERR_NETNS_LOST' });
    }
    expect(thread.at).toBe('a');
    await nextTurn();
    expect(errors).toHaveLength(1);
  });

  test.each(['enter another', 'enter the same', 'go home', 'make one'] as const)(
    'is forgotten once the thread is home again: %s',
    async what => {
      uncaughtErrors();
      const { thread, switcher, a, b } = setUp();
      thread.setnsResults.push(...neverBack);
      caught(() => switcher.enter(a, () => {}));
      const actions = {
        'enter another': () => switcher.enter(b, () => thread.at),
        'enter the same': () => switcher.enter(a, () => thread.at),
        'go home': () => switcher.atHome(() => thread.at),
        'make one': () => thread.open.get(switcher.create()),
      };
      const where = { 'enter another': 'b', 'enter the same': 'a', 'go home': HOME, 'make one': 'made 1' };
      expect(actions[what]()).toBe(where[what]);
      expect(thread.at).toBe(HOME);
      expect(switcher.enter(a, () => thread.at)).toBe('a');
      expect(thread.at).toBe(HOME);
      await nextTurn();
    },
  );

  test('after making a namespace rejects with ERR_NETNS_LOST, and leaves no descriptor', async () => {
    const errors = uncaughtErrors();
    const { thread, switcher } = setUp();
    switcher.atHome(() => switcher.home);
    const before = thread.open.size;
    thread.setnsResults.push(ENOMEM, ENOMEM, ENOMEM);
    expect(caught(() => switcher.create())).toMatchObject({ code: 'ERR_NETNS_LOST' });
    expect(thread.open.size).toBe(before);
    await nextTurn();
    expect(errors).toHaveLength(1);
  });

  test('ends a process that catches everything', () => {
    const { status, stdout, stderr } = runScript(`
      import { NamespaceSwitcher } from './netns/namespace-switcher.js';
      const results = [0, -12, -12, -12];
      const switcher = new NamespaceSwitcher({ open: () => 3, setns: () => results.shift() ?? 0 });
      try { switcher.enter(9, () => {}); } catch (error) { console.log('caught', error.code); }
      setImmediate(() => console.log('still alive'));`);
    expect(stdout).toBe('caught ERR_NETNS_LOST\n');
    expect(stderr).toContain('ERR_NETNS_LOST: this thread cannot return to its own namespace');
    expect(status).not.toBe(0);
  });
});

describe('JavaScript that is terminated inside a namespace', () => {
  /** As the timeout of node:vm ends it: no `finally` is run. */
  const end = (work: (forever: () => never) => void) => {
    let reached = false;
    const forever = (): never => {
      reached = true;
      for (;;);
    };
    // A machine that is busy may need longer than that to come so far.
    for (let timeout = 20; !reached; timeout *= 2) {
      const script = () => vm.runInNewContext('work(forever)', { work, forever }, { timeout });
      expect(caught(script)).toMatchObject({ code: 'ERR_SCRIPT_EXECUTION_TIMEOUT' });
    }
  };

  test('is followed by a return home at the end of the turn, and by nothing else', async () => {
    const errors = uncaughtErrors();
    const { thread, switcher, a, b } = setUp();
    end(forever => switcher.enter(a, () => switcher.enter(b, forever)));
    expect(thread.at).toBe('b');
    await nextTurn();
    expect(thread.at).toBe(HOME);
    expect(thread.calls).toEqual(['a', 'b', HOME]);
    await nextTurn();
    expect(thread.calls).toHaveLength(3);
    expect(errors).toEqual([]);
  });

  test('is raised as uncaught where there is no way home, which rejects every entry with ERR_NETNS_LOST', async () => {
    const errors = uncaughtErrors();
    const { thread, switcher, a, b } = setUp();
    thread.setnsResults.push(0, -12, -12, -12);
    end(forever => switcher.enter(a, forever));
    await nextTurn();
    await nextTurn();
    expect(errors).toEqual([expect.objectContaining({ code: 'ERR_NETNS_LOST' })]);
    thread.setnsResults.push(-12, -12, -12);
    expect(caught(() => switcher.enter(b, () => {}))).toMatchObject({ code: 'ERR_NETNS_LOST' });
    expect(switcher.enter(b, () => thread.at)).toBe('b');
    expect(thread.at).toBe(HOME);
  });

  test('is followed by a return home, also in a pass through several namespaces and in making one', async () => {
    const { thread, switcher, a, b } = setUp();
    end(forever =>
      switcher.visitEach(
        2,
        i => [a, b][i]!,
        i => i === 1 && forever(),
      ),
    );
    expect(thread.at).toBe('b');
    expect(switcher.enter(a, () => thread.at)).toBe('a');
    expect(thread.at).toBe(HOME);
    const { unshare } = thread.ffi;
    end(forever => {
      thread.ffi.unshare = flags => [unshare(flags), forever()][0]!;
      switcher.create();
    });
    thread.ffi.unshare = unshare;
    expect(thread.at).toBe('made 1');
    expect(switcher.atHome(() => thread.at)).toBe(HOME);
    await nextTurn();
  });

  test.each(['before the thread is moved', 'after it'])('is noticed by the next entry: %s', async when => {
    const { thread, switcher, a, b } = setUp();
    const { setns } = thread.ffi;
    end(forever => {
      thread.ffi.setns = (fd, type) => {
        if (when === 'after it') setns(fd, type);
        return forever();
      };
      switcher.enter(a, () => {});
    });
    thread.ffi.setns = setns;
    expect(switcher.enter(a, () => thread.at)).toBe('a');
    expect(thread.at).toBe(HOME);
    expect(switcher.enter(b, () => thread.at)).toBe('b');
    await nextTurn();
  });

  test('on the way back is followed by a return home', async () => {
    const { thread, switcher, a } = setUp();
    const { setns } = thread.ffi;
    end(forever => {
      switcher.enter(a, () => {
        thread.ffi.setns = forever;
      });
    });
    thread.ffi.setns = setns;
    expect(thread.at).toBe('a');
    await nextTurn();
    expect(thread.at).toBe(HOME);
  });

  test('releases what was held for it once', async () => {
    const { thread, switcher, a, b } = setUp();
    let held = 0;
    const holder = { take: () => held++, release: () => held-- };
    switcher.enter(a, () => {
      end(forever => switcher.enter(b, () => [expect(held).toBe(1), forever()], holder));
      expect([held, thread.at]).toEqual([1, 'b']);
    });
    expect([held, thread.at]).toEqual([0, HOME]);
    end(forever => switcher.enter(b, forever, holder));
    expect(held).toBe(1);
    await nextTurn();
    expect([held, thread.at]).toEqual([0, HOME]);
  });
});

describe('a pass through several namespaces', () => {
  const visited = (
    thread: FakeThread,
    switcher: NamespaceSwitcher,
    fds: number[],
    visit: (i: number) => void = () => {},
  ) => {
    const seen: string[] = [];
    switcher.visitEach(
      fds.length,
      i => fds[i]!,
      i => {
        seen.push(thread.at);
        visit(i);
      },
    );
    return seen;
  };

  test('goes home once, after the last one', () => {
    const { thread, switcher, a, b } = setUp();
    expect(visited(thread, switcher, [a, b, b])).toEqual(['a', 'b', 'b']);
    expect(thread.calls).toEqual(['a', 'b', HOME]);
    expect(thread.at).toBe(HOME);
    expect(visited(thread, switcher, [])).toEqual([]);
    expect(thread.calls).toHaveLength(3);
  });

  test('enters no namespace twice that is also entered inside', () => {
    const { thread, switcher, a, b } = setUp();
    const inside: string[] = [];
    visited(thread, switcher, [a, b], i => switcher.enter([a, b][i]!, () => inside.push(thread.at)));
    expect(inside).toEqual(['a', 'b']);
    expect(thread.calls).toEqual(['a', 'b', HOME]);
  });

  test('leaves out what cannot be entered, and continues where something throws', () => {
    const { thread, switcher, a, b } = setUp();
    thread.setnsResults.push(-1);
    expect(visited(thread, switcher, [a, b])).toEqual(['b']);
    const fail = () => {
      throw new Error('not here');
    };
    expect(visited(thread, switcher, [a, b], fail)).toEqual(['a', 'b']);
    expect(visited(thread, switcher, [999, a])).toEqual(['a']);
    expect(thread.at).toBe(HOME);
  });

  test('returns to where it began', () => {
    const { thread, switcher, a, b } = setUp();
    switcher.enter(a, () => {
      expect(visited(thread, switcher, [b, a])).toEqual(['b', 'a']);
      expect(thread.at).toBe('a');
    });
    expect(thread.at).toBe(HOME);
  });

  test('rejects with ERR_NETNS_LOST without a way home, and enters nothing until there is one', async () => {
    const errors = uncaughtErrors();
    const { thread, switcher, a, b } = setUp();
    thread.setnsResults.push(0, -12, -12, -12);
    const lost = caught(() => visited(thread, switcher, [a]));
    expect(lost).toMatchObject({ code: 'ERR_NETNS_LOST' });
    thread.setnsResults.push(-12, -12, -12);
    expect(caught(() => visited(thread, switcher, [b]))).toMatchObject({ code: 'ERR_NETNS_LOST' });
    expect(visited(thread, switcher, [b])).toEqual(['b']);
    expect(thread.at).toBe(HOME);
    await nextTurn();
    expect(errors).toEqual([lost]);
  });
});
