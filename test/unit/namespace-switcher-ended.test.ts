import vm from 'node:vm';
import { afterEach, describe, expect, test } from 'vitest';
import type { NamespaceSwitcher } from '../../src/netns/namespace-switcher.ts';
import {
  caught,
  type FakeThread,
  HOME,
  nextTurn,
  restoreListeners,
  setUp,
  uncaughtErrors,
} from '../support/fake-switcher.ts';

afterEach(restoreListeners);

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
