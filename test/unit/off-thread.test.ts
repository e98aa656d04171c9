import { describe, expect, test } from 'vitest';
import { configureOffThread } from '../../src/ffi/index.ts';
import { Closing, Pool } from '../../src/ffi/pool.ts';

interface Call {
  name: string;
  end(result?: number): void;
}

/** Calls that end when the test says so. */
function calls() {
  const running: Call[] = [];
  const call = (name: string) =>
    new Promise<number>(resolve => running.push({ name, end: (result = 0) => resolve(result) }));
  return { running, call, names: () => running.map(({ name }) => name) };
}

const settled = () => new Promise(resolve => setImmediate(resolve));

describe('calls off the thread', () => {
  test('run at most as many at once as configured, the others in order after them', async () => {
    const { threads } = configureOffThread();
    configureOffThread({ threads: 2 });
    try {
      const { running, call, names } = calls();
      const pool = new Pool();
      const results = ['a', 'b', 'c', 'd'].map(name => pool.run(() => call(name)));
      await settled();
      expect(names()).toEqual(['a', 'b']);
      running[1]!.end(7);
      await settled();
      expect(names()).toEqual(['a', 'b', 'c']);
      running[0]!.end();
      await settled();
      for (const each of running) each.end();
      expect(await Promise.all(results)).toEqual([0, 7, 0, 0]);
      expect(names()).toEqual(['a', 'b', 'c', 'd']);
    } finally {
      configureOffThread({ threads });
    }
  });

  test('release their place when they fail', async () => {
    const { threads } = configureOffThread();
    configureOffThread({ threads: 1 });
    try {
      const pool = new Pool();
      const failing = pool.run(async () => {
        throw new Error('broken');
      });
      const next = pool.run(async () => 3);
      await expect(failing).rejects.toThrow('broken');
      expect(await next).toBe(3);
    } finally {
      configureOffThread({ threads });
    }
  });

  test('leave half of the threads of libuv to others by default', () => {
    expect(configureOffThread()).toEqual({ threads: 2, bytes: 65536 });
  });

  test.each([
    [{ threads: 0 }, 'threads'],
    [{ threads: 1.5 }, 'threads'],
    [{ threads: 1025 }, 'threads'],
    [{ bytes: -1 }, 'bytes'],
    [{ bytes: '1' }, 'bytes'],
    [{ size: 1 }, 'size'],
  ])('reject the configuration %j', (options, attribute) => {
    const before = configureOffThread();
    expect(() => configureOffThread(options as never)).toThrow(expect.objectContaining({ attribute }));
    expect(configureOffThread()).toEqual(before);
  });
});

describe('descriptors that are closed off the thread', () => {
  test('are closed in one call at a time, neighbours together', async () => {
    const { running, call, names } = calls();
    const closing = new Closing((first, last) => call(`${first}-${last}`));
    const results = [7, 3, 4, 9, 5].map(fd => closing.close(fd));
    await settled();
    expect(names()).toEqual(['3-5']);
    // What comes meanwhile waits for the next batch, also where it would have fitted.
    results.push(closing.close(6), closing.close(8));
    running[0]!.end();
    await settled();
    expect(names()).toEqual(['3-5', '7-7']);
    running[1]!.end();
    await settled();
    running[2]!.end();
    await settled();
    expect(names()).toEqual(['3-5', '7-7', '9-9', '6-6']);
    running[3]!.end();
    await settled();
    running[4]!.end(-9);
    expect(await Promise.all(results)).toEqual([0, 0, 0, 0, 0, 0, -9]);
    expect(names()).toEqual(['3-5', '7-7', '9-9', '6-6', '8-8']);
  });

  test('do not wait for ever when a call fails', async () => {
    let failed = false;
    const closing = new Closing(async () => {
      if (failed) return 0;
      failed = true;
      throw new Error('no thread');
    });
    expect(await closing.close(3)).toBe(-5);
    expect(await closing.close(4)).toBe(0);
  });
});
