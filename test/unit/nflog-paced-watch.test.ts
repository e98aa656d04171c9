import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PacedWatch } from '../../src/nflog/paced-watch.ts';

/** A descriptor in memory, and a reader of it. */
class Descriptor {
  datagrams = 0;
  reads = 0;
  /** The most that one read takes. */
  most = 1000;
  ready: (() => void) | undefined;
  referenced = true;

  watch(ready: () => void) {
    this.ready = ready;
    this.referenced = true;
    const set = (to: boolean) => {
      this.referenced = to;
    };
    const close = () => {
      this.ready = undefined;
    };
    return { ref: () => set(true), unref: () => set(false), close };
  }
  read = () => {
    this.reads++;
    const datagrams = Math.min(this.datagrams, this.most);
    this.datagrams -= datagrams;
    return { datagrams, more: this.datagrams > 0 };
  };
  /** The event loop while one datagram comes every so often: it wakes whoever watches. */
  flood(count: number, everyMilliseconds: number): void {
    for (let i = 0; i < count; i++) {
      this.datagrams++;
      this.ready?.();
      vi.advanceTimersByTime(everyMilliseconds);
    }
  }
}

describe('PacedWatch', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
  afterEach(() => void vi.useRealTimers());

  it('reads whenever there is something, up to 50,000 datagrams a second', () => {
    const descriptor = new Descriptor();
    const watch = new PacedWatch(descriptor, descriptor.read);
    descriptor.flood(2000, 0.025);
    expect(descriptor.reads).toBe(2000);
    watch.close();
    expect(descriptor.ready).toBeUndefined();
  });

  it('reads by a timer when there are more, loses none, and goes back when there are few', () => {
    const descriptor = new Descriptor();
    const watch = new PacedWatch(descriptor, descriptor.read);
    descriptor.flood(20_000, 0.01);
    expect(descriptor.ready).toBeUndefined();
    // 200 ms by the timer, behind the first 250.
    expect(descriptor.reads).toBeLessThan(250 + 210);
    vi.advanceTimersByTime(3);
    expect(descriptor.datagrams).toBe(0);
    expect(descriptor.ready).toBeDefined();
    const { reads } = descriptor;
    descriptor.flood(1, 0);
    expect(descriptor.reads).toBe(reads + 1);
    watch.close();
  });

  it('goes on at once if a turn ends before everything has been read', async () => {
    const descriptor = new Descriptor();
    const watch = new PacedWatch(descriptor, descriptor.read);
    descriptor.flood(250, 0.01);
    expect(descriptor.ready).toBeUndefined();
    descriptor.datagrams = 5000;
    vi.advanceTimersByTime(1);
    const begin = performance.now();
    for (let i = 0; i < 5; i++) await new Promise(resolve => setImmediate(resolve));
    expect(performance.now()).toBe(begin);
    expect(descriptor.datagrams).toBe(0);
    watch.close();
  });

  it('keeps the process alive or not, whatever wakes it', () => {
    const descriptor = new Descriptor();
    const watch = new PacedWatch(descriptor, descriptor.read);
    watch.unref();
    descriptor.flood(250, 0.01);
    expect(descriptor.ready).toBeUndefined();
    vi.advanceTimersByTime(5);
    // It watches again, and is still unreferenced.
    expect(descriptor.ready).toBeDefined();
    expect(descriptor.referenced).toBe(false);
    watch.ref();
    expect(descriptor.referenced).toBe(true);
    watch.close();
  });

  it('reads nothing more when it is closed, also by what it has read', () => {
    const descriptor = new Descriptor();
    const watch: PacedWatch = new PacedWatch(descriptor, () => {
      const read = descriptor.read();
      if (descriptor.reads > 250) watch.close();
      return read;
    });
    descriptor.flood(1000, 0.01);
    expect(descriptor.reads).toBe(251);
    vi.advanceTimersByTime(100);
    expect(descriptor.reads).toBe(251);
    expect(vi.getTimerCount()).toBe(0);
  });
});
