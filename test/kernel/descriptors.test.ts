import { pbkdf2 } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Descriptor, type Ffi, ffi } from '../../src/ffi/index.ts';
import { NETLINK_NETFILTER } from '../../src/linux/netlink.ts';
import { AF_NETLINK, SO_SNDBUFFORCE, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET } from '../../src/linux/socket.ts';
import { NetlinkSocket } from '../../src/netlink/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Nflog } from '../../src/nflog/index.ts';
import { Nftables, Transaction } from '../../src/nftables/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { evaluate } from '../support/compiled.ts';
import { openDescriptors } from '../support/descriptors.ts';
import { WAITING } from '../support/wait.ts';
import { kernelSuite, where } from '../support/where.ts';

/** An emulated machine has the time for some of what this one does. */
const [ROUNDS, CYCLES, FAILURES, NAMESPACES] = where === 'host' ? [5, 10_000, 20, 400] : [1, 300, 2, 20];
/** Of a hash function: much longer than the main thread needs to open some sockets. */
const BUSY_ITERATIONS = where === 'host' ? 100_000 : 20_000;
const LONG = 300_000;

const cleanUps = cleanUpsOfEach();

function make(): NetNs {
  const netns = NetNs.create();
  cleanUps.add(() => netns.close());
  return netns;
}

const tablesOf = (netns: NetNs): string[] => {
  const nft = Nftables.open({ netns });
  try {
    return nft.sync.tables().map(({ name }) => name);
  } finally {
    nft.close();
  }
};

const tableOnly = new Transaction().add({ table: { family: 'ip', name: 'program' } });

function largeTransaction(): Transaction {
  const transaction = new Transaction().add({ table: { family: 'ip', name: 'large' } });
  for (let i = 0; i < 3000; i++) transaction.add({ chain: { family: 'ip', table: 'large', name: `chain-${i}` } });
  return transaction;
}

/** Nothing is open that was not before. What an earlier test had left to be closed may have gone meanwhile. */
const closed = (before: readonly string[]) => {
  const count = (all: readonly string[], each: string) => all.filter(other => other === each).length;
  const more = () => {
    const now = openDescriptors();
    return now.filter(each => count(now, each) > count(before, each));
  };
  return expect.poll(more).toEqual([]);
};

/** Keeps every thread of the pool busy: what is sent away from the main thread begins only after it. */
function occupyPool(): Promise<unknown> {
  const one = () => new Promise(resolve => pbkdf2('a', 'b', BUSY_ITERATIONS, 8, 'sha1', resolve));
  return Promise.all(Array.from({ length: 4 }, one));
}

describe('the owner of a descriptor', () => {
  /** Closes are recorded, and end when the test says so. */
  function fake() {
    const closed: string[] = [];
    let finish = () => {};
    const finished = new Promise<void>(resolve => {
      finish = resolve;
    });
    const backend = {
      close: (fd: number) => closed.push(`${fd}`),
      closeOffThread: async (fd: number) => {
        closed.push(`${fd} away`);
        await finished;
        return 0;
      },
    } as unknown as Ffi;
    return { backend, closed, finish };
  }

  const gate = () => {
    let open = () => {};
    const promise = new Promise<void>(resolve => {
      open = resolve;
    });
    return { promise, open };
  };

  test('closes at once where no call is under way, and is then rejected with ERR_CLOSED', async () => {
    const { backend, closed } = fake();
    const descriptor = new Descriptor(backend, 7);
    expect([descriptor.fd, descriptor.closed]).toEqual([7, false]);
    const closing = descriptor.close();
    expect(closed).toEqual(['7']);
    await closing;
    expect(descriptor.closed).toBe(true);
    expect(() => descriptor.fd).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  test('closes after the last call under way, and rejects new calls meanwhile with ERR_CLOSED', async () => {
    const { backend, closed } = fake();
    const descriptor = new Descriptor(backend, 7);
    const [first, second] = [gate(), gate()];
    const calls = [descriptor.hold(() => first.promise), descriptor.hold(() => second.promise)];
    let gone = false;
    const closing = descriptor.close().then(() => {
      gone = true;
    });
    await expect(descriptor.hold(async () => 1)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    first.open();
    await calls[0];
    await turn();
    expect([closed, gone]).toEqual([[], false]);
    second.open();
    await calls[1];
    await closing;
    expect([closed, gone]).toEqual([['7'], true]);
  });

  test('closes also when the call under way fails', async () => {
    const { backend, closed } = fake();
    const descriptor = new Descriptor(backend, 7);
    const call = descriptor.hold(async () => {
      await turn();
      throw new Error('broken');
    });
    const closing = descriptor.close();
    expect(closed).toEqual([]);
    await expect(call).rejects.toThrow('broken');
    await closing;
    expect(closed).toEqual(['7']);
  });

  test('closes after a synchronous call during which it was closed, and is then rejected with ERR_CLOSED', () => {
    const { backend, closed } = fake();
    const descriptor = new Descriptor(backend, 7);
    const result = descriptor.holdNow(fd => {
      void descriptor.close();
      return [fd, closed.length];
    });
    expect(result).toEqual([7, 0]);
    expect(closed).toEqual(['7']);
    expect(() => descriptor.holdNow(() => 1)).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  test('closes once, however often close is called, and returns the same promise', async () => {
    const { backend, closed, finish } = fake();
    const descriptor = new Descriptor(backend, 7, { closeOffThread: true });
    const closings = [descriptor.close(), descriptor.close()];
    expect(closed).toEqual(['7 away']);
    finish();
    await Promise.all(closings);
    await descriptor.close();
    expect(closed).toHaveLength(1);
  });

  test('does not accumulate closes that take long', async () => {
    const { backend, closed, finish } = fake();
    const closings = Array.from({ length: 1000 }, (_, fd) =>
      new Descriptor(backend, fd, { closeOffThread: true }).close(),
    );
    const away = closed.filter(entry => entry.endsWith('away'));
    expect(closed).toHaveLength(1000);
    expect(away.length).toBeGreaterThan(0);
    expect(away.length).toBeLessThanOrEqual(256);
    finish();
    await Promise.all(closings);
    void new Descriptor(backend, 999, { closeOffThread: true }).close();
    expect(closed.at(-1)).toBe('999 away');
  });
});

kernelSuite('descriptors of handles', () => {
  test('are not reused for another namespace while a send is under way at close', async () => {
    const transaction = largeTransaction();
    for (let round = 0; round < ROUNDS; round++) {
      const [a, b] = [make(), make()];
      const nft = Nftables.open({ netns: a });
      const busy = occupyPool();
      const sending = nft.commit(transaction);
      nft.close();
      // Whoever opens sockets now would be given the number.
      const others = Array.from({ length: 20 }, () => Nftables.open({ netns: b }));
      await busy;
      expect(await sending).toBeUndefined();
      expect(tablesOf(a)).toEqual(['large']);
      expect(tablesOf(b)).toEqual([]);
      for (const other of others) other.close();
    }
  });

  test('are not reused while a send of a bare socket is under way', async () => {
    const { bytes } = largeTransaction().encode();
    for (let round = 0; round < ROUNDS; round++) {
      const [a, b] = [make(), make()];
      const socket = new NetlinkSocket({ netns: a, protocol: NETLINK_NETFILTER });
      socket.reserve(bytes.length, 100);
      const busy = occupyPool();
      const sending = socket.sendOffThread(bytes, bytes.length);
      const closing = socket.close();
      const others = Array.from({ length: 20 }, () => {
        const other = new NetlinkSocket({ netns: b, protocol: NETLINK_NETFILTER });
        other.reserve(bytes.length, 100);
        return other;
      });
      await busy;
      expect(await sending).toBe(bytes.length);
      await closing;
      expect(tablesOf(a)).toEqual(['large']);
      expect(tablesOf(b)).toEqual([]);
      await Promise.all(others.map(other => other.close()));
    }
  });

  test('would be reused without the count of calls: the tests above would notice', async () => {
    const { bytes } = largeTransaction().encode();
    const [a, b] = [make(), make()];
    const open = () => ffi().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    const fd = a.run(open);
    const busy = occupyPool();
    const sending = ffi().sendOffThread(fd, bytes, bytes.length, 0);
    ffi().close(fd);
    // The lowest number that is free is given out first.
    const opened = [b.run(open)];
    while (opened.at(-1) !== fd && opened.length < 1000) opened.push(b.run(open));
    expect(opened.at(-1)).toBe(fd);
    ffi().setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, new Uint8Array(new Int32Array([1 << 20]).buffer));
    await busy;
    expect(await sending).toBe(bytes.length);
    for (const each of opened) ffi().close(each);
    expect([tablesOf(a), tablesOf(b)]).toEqual([[], ['large']]);
  });

  test(
    `are all closed after ${CYCLES} cycles of opening, programming and closing`,
    async () => {
      const namespaces = Array.from({ length: 5 }, make);
      const paths = namespaces.map(netns => `/proc/self/fd/${netns.descriptor}`);
      const cycle = (i: number): void => {
        const netns = NetNs.open({ path: paths[i % paths.length]! });
        const nft = Nftables.open({ netns });
        nft.sync.commit(tableOnly);
        nft.close();
        netns.close();
      };
      cycle(0);
      await Nftables.open()[Symbol.asyncDispose]();
      await turn();
      const before = openDescriptors();
      for (let i = 0; i < CYCLES; i++) {
        cycle(i);
        // Closing goes on elsewhere: the loop is let run now and then, as any program does.
        if (i % 50 === 0) await turn();
      }
      const last = Nftables.open({ netns: namespaces[0]! });
      await last[Symbol.asyncDispose]();
      await closed(before);
      expect(namespaces.map(tablesOf)).toEqual(namespaces.map(() => ['program']));
    },
    LONG,
  );

  test('are all closed after failures', async () => {
    const netns = make();
    const log = Nflog.open({ netns, groups: [5] });
    cleanUps.add(() => log.close());
    const attempts = [
      () => NetNs.open({ path: '/dev/null' }),
      () => new NetlinkSocket({ netns, protocol: 31 }),
      () => Nflog.open({ netns, groups: [4, 5] }),
      () =>
        netns.run(() => {
          throw new Error('broken');
        }),
      () => {
        using nft = Nftables.open({ netns });
        nft.sync.commit(new Transaction().delete({ table: { family: 'ip', name: 'missing' } }));
      },
    ];
    const before = openDescriptors();
    for (let i = 0; i < FAILURES; i++) for (const attempt of attempts) expect(attempt).toThrow();
    await closed(before);
  });

  test('are all closed for handles of every kind', async () => {
    const netns = make();
    const before = openDescriptors();
    const handles = [
      Nftables.open({ netns }),
      Links.open({ netns }),
      Nflog.open({ netns, groups: [5] }),
      NetNs.open({ fd: netns.descriptor }),
    ];
    expect(openDescriptors().length).toBeGreaterThan(before.length + 3);
    for (const handle of handles) await handle[Symbol.asyncDispose]();
    await closed(before);
  });

  test(
    'keep no namespace alive: as many as the kernel allows can be made again',
    () => {
      // In a user namespace of its own the number of network namespaces can be limited, and so be counted.
      const result = evaluate(
        `
      import fs from 'node:fs';
      import { NetNs } from './netns/index.js';
      import { Nftables, Transaction } from './nftables/index.js';
      import { Links } from './rtnetlink/index.js';
      const limit = number => fs.writeFileSync('/proc/sys/user/max_net_namespaces', String(number));
      ${WAITING}
      /* The kernel clears a namespace away some time after its last user has gone. */
      const create = () => until(() => {
        try { return NetNs.create(); }
        catch (error) { if (error.code !== 'ENOSPC') throw error; }
      });
      const program = new Transaction().add({ table: { family: 'ip', name: 'program' } });
      limit(${NAMESPACES / 5});
      let made = 0;
      for (; made < ${NAMESPACES}; made++) {
        const netns = await create();
        const nft = Nftables.open({ netns });
        if (made % 2) nft.sync.commit(program);
        else await nft.commit(program);
        const links = Links.open({ netns });
        links.sync.set('lo', { up: true });
        for (const handle of [netns, nft, links]) handle.close();
      }
      /* The home of this process is the first of two; the other can be made only when none is left of all those before. */
      limit(2);
      const netns = await create();
      let another;
      try { NetNs.create(); } catch (error) { another = error.code; }
      console.log(JSON.stringify({ made, another }));`,
        { through: ['unshare', '--user', '--map-root-user', '--net'] },
      );
      expect(result).toEqual({ made: NAMESPACES, another: 'ENOSPC' });
    },
    LONG,
  );
});
