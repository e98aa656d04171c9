import { describe, expect, test } from 'vitest';
import type { Operation, Step } from '../../src/netlink/index.ts';
import { acquireQueue, OperationQueue, releaseQueue } from '../../src/netlink/lifetime.ts';
import { runAway, runNow } from '../../src/netlink/operation.ts';

interface Gate {
  step: Step;
  open(result?: number): void;
  fail(error: Error): void;
}

/** A step that takes as long as the test wants. */
function gate(abortable = false): Gate {
  let open = (_result?: number) => {};
  let fail = (_error: Error) => {};
  const promise = new Promise<number>((resolve, reject) => {
    open = (result = 0) => resolve(result);
    fail = reject;
  });
  return { step: { now: () => 7, away: () => promise, abortable }, open, fail };
}

function* through(log: string[], name: string, step?: Step): Operation<string> {
  log.push(`${name} begins`);
  const result = step === undefined ? 0 : yield step;
  log.push(`${name} ends`);
  return `${name} ${result}`;
}

const settled = () => new Promise(resolve => setImmediate(resolve));

describe('an operation', () => {
  test('takes each step on this thread when it runs synchronously', () => {
    const { step } = gate();
    expect(runNow(through([], 'a', step))).toBe('a 7');
  });

  test('takes the steps elsewhere when it runs off the thread', async () => {
    const { step, open } = gate();
    const operation = through([], 'a', step);
    const promise = runAway(operation, operation.next());
    open(9);
    expect(await promise).toBe('a 9');
  });

  test('receives the error of a step that it awaits, in both ways', async () => {
    function* careful(step: Step): Operation<string> {
      try {
        yield step;
        return 'fine';
      } catch (error) {
        const result = yield { now: () => 1, away: async () => 1, abortable: false };
        return `${(error as Error).message} ${result}`;
      }
    }
    const failing: Step = {
      now: () => {
        throw new Error('broken');
      },
      away: async () => {
        throw new Error('broken');
      },
      abortable: false,
    };
    expect(runNow(careful(failing))).toBe('broken 1');
    const operation = careful(failing);
    expect(await runAway(operation, operation.next())).toBe('broken 1');
  });

  test('stops at an abortable step when it is aborted, before it or during it', async () => {
    const reason = new Error('enough');
    const before = through([], 'a', gate(true).step);
    await expect(runAway(before, before.next(), AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const { step, open } = gate(true);
    const during = through([], 'a', step);
    const promise = runAway(during, during.next(), controller.signal);
    controller.abort(reason);
    open();
    await expect(promise).rejects.toBe(reason);
  });

  test('does not stop at a step that cannot be undone', async () => {
    const { step, open } = gate(false);
    const operation = through([], 'a', step);
    const promise = runAway(operation, operation.next(), AbortSignal.abort());
    open(3);
    expect(await promise).toBe('a 3');
  });
});

describe('a queue', () => {
  test('runs a short operation at once when nothing is before it', async () => {
    const queue = new OperationQueue();
    const log: string[] = [];
    const promise = queue.run(() => through(log, 'a'));
    expect(log).toEqual(['a begins', 'a ends']);
    expect(queue.busy).toBe(false);
    expect(await promise).toBe('a 0');
  });

  test('keeps the order behind a long operation', async () => {
    const queue = new OperationQueue();
    const log: string[] = [];
    const slow = gate();
    const slower = gate();
    const all = Promise.all([
      queue.run(() => through(log, 'a', slow.step)),
      queue.run(() => through(log, 'b')),
      queue.run(() => through(log, 'c', slower.step)),
      queue.run(() => through(log, 'd')),
    ]);
    await settled();
    expect(log).toEqual(['a begins']);
    slow.open(1);
    await settled();
    expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins']);
    expect(queue.busy).toBe(true);
    slower.open(2);
    expect(await all).toEqual(['a 1', 'b 0', 'c 2', 'd 0']);
    expect(log.slice(5)).toEqual(['c ends', 'd begins', 'd ends']);
    expect(queue.busy).toBe(false);
  });

  test('rejects a synchronous call with ERR_BUSY while an operation is under way, and does not begin it', async () => {
    const queue = new OperationQueue();
    const log: string[] = [];
    const slow = gate();
    const promise = queue.run(() => through(log, 'a', slow.step));
    expect(() => queue.runNow(() => through(log, 'b'))).toThrow(expect.objectContaining({ code: 'ERR_BUSY' }));
    expect(log).toEqual(['a begins']);
    slow.open();
    await promise;
    expect(queue.runNow(() => through(log, 'b'))).toBe('b 0');
  });

  test('continues after a failure, which only its caller receives', async () => {
    const queue = new OperationQueue();
    const log: string[] = [];
    const slow = gate();
    const failing = queue.run(() => through(log, 'a', slow.step));
    const next = queue.run(() => through(log, 'b'));
    const bad = queue.run(() => {
      throw new TypeError('bad argument');
    });
    const last = queue.run(() => through(log, 'c'));
    slow.fail(new Error('broken'));
    await expect(failing).rejects.toThrow('broken');
    expect(await next).toBe('b 0');
    await expect(bad).rejects.toThrow(TypeError);
    expect(await last).toBe('c 0');
    expect(queue.busy).toBe(false);
  });

  test('does not begin an operation that was aborted while it waited', async () => {
    const queue = new OperationQueue();
    const log: string[] = [];
    const slow = gate();
    const controller = new AbortController();
    const reason = new Error('enough');
    const first = queue.run(() => through(log, 'a', slow.step));
    const waiting = queue.run(() => through(log, 'b'), controller.signal);
    const last = queue.run(() => through(log, 'c'));
    controller.abort(reason);
    slow.open();
    await first;
    await expect(waiting).rejects.toBe(reason);
    expect(await last).toBe('c 0');
    expect(log).toEqual(['a begins', 'a ends', 'c begins', 'c ends']);
  });

  test('rejects an operation that was aborted before, and never throws', async () => {
    const queue = new OperationQueue();
    const log: string[] = [];
    const reason = new Error('enough');
    const aborted = queue.run(() => through(log, 'a'), AbortSignal.abort(reason));
    await expect(aborted).rejects.toBe(reason);
    const bad = queue.run(() => {
      throw new TypeError('bad argument');
    });
    await expect(bad).rejects.toThrow(TypeError);
    expect(log).toEqual([]);
  });
});

describe('the queues of a thread', () => {
  test('are one for each namespace and subsystem', () => {
    const a = acquireQueue(1, 'ipvs');
    expect(acquireQueue(1, 'ipvs')).toBe(a);
    expect(acquireQueue(2, 'ipvs')).not.toBe(a);
    expect(acquireQueue(1, 'nftables')).not.toBe(a);
    for (const [inode, subsystem] of [
      [1, 'ipvs'],
      [1, 'ipvs'],
      [2, 'ipvs'],
      [1, 'nftables'],
    ] as const)
      releaseQueue(inode, subsystem);
  });

  test('live as long as a handle holds them', () => {
    const first = acquireQueue(9, 'ipvs');
    acquireQueue(9, 'ipvs');
    releaseQueue(9, 'ipvs');
    expect(acquireQueue(9, 'ipvs')).toBe(first);
    releaseQueue(9, 'ipvs');
    releaseQueue(9, 'ipvs');
    const second = acquireQueue(9, 'ipvs');
    expect(second).not.toBe(first);
    releaseQueue(9, 'ipvs');
    expect(() => releaseQueue(9, 'ipvs')).not.toThrow();
  });
});
