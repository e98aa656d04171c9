import { afterEach, describe, expect, test } from 'vitest';
import { NetNsError } from '../../src/errors.ts';
import { runScript } from '../support/compiled.ts';
import { caught, HOME, nextTurn, restoreListeners, setUp, uncaughtErrors } from '../support/fake-switcher.ts';

afterEach(restoreListeners);

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
