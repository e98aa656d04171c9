import { GroupReader, type GroupSocket } from 'netsteer/netlink';
import { expect, test } from 'vitest';

const [EAGAIN, ENOBUFS] = [-11, -105];
const MIB = 2 ** 20;

/** A kernel that has these datagrams, each a number; undefined is where it had no room for some. */
function kernelWith(datagrams: (number | undefined)[], bytes = 200): GroupSocket & { readonly left: number } {
  return {
    closed: false,
    get left() {
      return datagrams.length;
    },
    receiveFrom(into, sender) {
      if (datagrams.length === 0) return EAGAIN;
      const number = datagrams.shift();
      if (number === undefined) return ENOBUFS;
      sender.fill(0);
      new DataView(into.buffer, into.byteOffset).setUint32(bytes - 4, number);
      return bytes;
    },
    watch: () => ({ ref() {}, unref() {}, close() {} }),
    close: async () => {},
  };
}

async function read(reader: GroupReader): Promise<number | string> {
  const found = await reader.read();
  return typeof found === 'string' ? found : reader.source.view.getUint32(found.length - 4);
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

test('a flood is taken from the kernel before it is decoded, and comes in order', async () => {
  const kernel = kernelWith(numbers(20_000));
  const reader = new GroupReader(kernel, 16 * MIB);
  for (let i = 0; i < 20_000; i++) {
    expect(await read(reader)).toBe(i);
    if (i === 1000) expect(kernel.left).toBeLessThan(20_000 - 10_000);
  }
  expect(kernel.left).toBe(0);
});

test('a reader without room for a backlog leaves everything in the kernel', async () => {
  const kernel = kernelWith(numbers(1000));
  const reader = new GroupReader(kernel);
  for (let i = 0; i < 500; i++) expect(await read(reader)).toBe(i);
  expect(kernel.left).toBe(500);
});

test('the backlog is bounded by its bytes', async () => {
  const kernel = kernelWith(numbers(2000), 60_000);
  const reader = new GroupReader(kernel, 4 * MIB);
  let most = 0;
  for (let i = 0; i < 2000; i++) {
    expect(await read(reader)).toBe(i);
    most = Math.max(most, 2000 - kernel.left - i - 1);
  }
  expect(most).toBeGreaterThan(30);
  expect(most * 60_000).toBeLessThan(5 * MIB);
});

test('a loss is told where it was, and draining forgets what came behind it', async () => {
  const kernel = kernelWith([...numbers(300), undefined, ...numbers(300)]);
  const reader = new GroupReader(kernel, 16 * MIB);
  for (let i = 0; i < 300; i++) expect(await read(reader)).toBe(i);
  expect(await read(reader)).toBe('lost');
  expect(await read(reader)).toBe(0);
  reader.drain();
  expect(kernel.left).toBe(0);
  void reader.close();
  expect(await reader.read()).toBe('closed');
});
