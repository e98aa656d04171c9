import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Writer } from '../../src/codec/index.ts';
import { BatchError, NetlinkError } from '../../src/errors.ts';
import { ffi } from '../../src/ffi/index.ts';
import { CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_ID_CTRL } from '../../src/linux/genetlink.ts';
import { NETLINK_GENERIC, NETLINK_GET_STRICT_CHK, NETLINK_NETFILTER, NETLINK_ROUTE } from '../../src/linux/netlink.ts';
import { RTM_GETLINK } from '../../src/linux/rtnetlink.ts';
import {
  AF_NETLINK,
  MSG_DONTWAIT,
  SO_RCVBUF,
  SO_SNDBUF,
  SOCK_CLOEXEC,
  SOCK_RAW,
  SOL_NETLINK,
  SOL_SOCKET,
} from '../../src/linux/socket.ts';
import { Exchange, genlmsghdr, NetlinkSocket, type Operation, pipeline } from '../../src/netlink/index.ts';
import { runAway, runNow } from '../../src/netlink/operation.ts';
import { NOTHING } from '../../src/netlink/transport.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Nftables, Transaction } from '../../src/nftables/index.ts';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { evaluate } from '../support/compiled.ts';
import { kernelSuite, where } from '../support/where.ts';

const cleanUps = cleanUpsOfEach();

function make(): NetNs {
  const netns = NetNs.create();
  cleanUps.add(() => netns.close());
  return netns;
}

function open(netns: NetNs, protocol = NETLINK_ROUTE): NetlinkSocket {
  const socket = new NetlinkSocket({ netns, protocol });
  cleanUps.add(() => void socket.close());
  return socket;
}

function openTables(netns: NetNs): Nftables {
  const nft = Nftables.open({ netns });
  cleanUps.add(() => nft.close());
  return nft;
}

function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

const MiB = 1024 * 1024;
/** An emulated machine has the time for some of what this one does. */
const [LARGEST, REFUSALS] = where === 'host' ? [4, 5000] : [1, 300];

/** A transaction of at least so many bytes, all in one table. */
function large(bytes: number): { transaction: Transaction; chains: number } {
  const transaction = new Transaction().add({ table: { family: 'ip', name: 'large' } });
  let chains = 0;
  while (transaction.encode().bytes.length < bytes) {
    for (let i = 0; i < 2000; i++)
      transaction.add({ chain: { family: 'ip', table: 'large', name: `chain-${chains++}`.padEnd(60, '.') } });
  }
  return { transaction, chains };
}

/** Asks for all links, with something in the header that a strict kernel does not take. */
const badDump = (write: (writer: Writer) => void) => ({ type: RTM_GETLINK, syscall: 'RTM_GETLINK', write });

kernelSuite('a netlink socket', () => {
  test('belongs to its namespace and has its own port', () => {
    const [a, b] = [make(), make()];
    const sockets = [open(a), open(a), open(b)];
    expect(sockets.map(({ netnsInode }) => netnsInode)).toEqual([a.inode, a.inode, b.inode]);
    const [first, second] = sockets.map(({ port }) => port);
    expect(first).not.toBe(0);
    expect(first).not.toBe(second);
  });

  test('reports a protocol that the kernel lacks', () => {
    const error = caught(() => open(make(), 31));
    expect(error).toBeInstanceOf(NetlinkError);
    expect(error).toMatchObject({ code: 'EPROTONOSUPPORT', syscall: 'socket' });
    expect((error as NetlinkError).hint).toContain('no such netlink protocol');
  });

  test('rejects every call after close with ERR_CLOSED', async () => {
    const socket = open(make());
    await socket.close();
    await socket.close();
    expect(socket.closed).toBe(true);
    for (const use of [
      () => socket.send(new Uint8Array(16), 16),
      () => socket.receive(new Uint8Array(16)),
      () => socket.reserve(1 << 20, 1),
      () => socket.port,
      () => socket.watch(() => {}),
    ])
      expect(caught(use)).toMatchObject({ code: 'ERR_CLOSED' });
    await expect(socket.sendOffThread(new Uint8Array(16), 16)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await expect(socket.receiveOffThread(new Uint8Array(16))).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });

  test('is watched once, rejects a second watch with ERR_BUSY, and may be closed while it is watched', async () => {
    const socket = open(make());
    socket.watch(() => {});
    expect(caught(() => socket.watch(() => {}))).toMatchObject({ code: 'ERR_BUSY' });
    await socket.close();
  });

  test('reads nothing when nothing was requested', () => {
    expect(open(make()).receive(new Uint8Array(100))).toBe(NOTHING);
  });

  describe('beside forged messages', () => {
    /** What another process of the same namespace sends to a port, and what it gets. */
    const forge = (netns: NetNs, protocol: number, port: number) =>
      netns.run(() =>
        evaluate(`
          import { ffi } from './ffi/index.js';
          const fd = ffi().socket(${AF_NETLINK}, ${SOCK_RAW}, ${protocol});
          const address = new Uint8Array(12);
          new DataView(address.buffer).setUint16(0, ${AF_NETLINK}, true);
          ffi().bind(fd, address);
          new DataView(address.buffer).setUint32(4, ${port}, true);
          const connected = ffi().connect(fd, address);
          const bytes = new Uint8Array(20);
          const view = new DataView(bytes.buffer);
          view.setUint32(0, 20, true);
          view.setUint16(4, 2, true);
          const sent = ffi().send(fd, bytes, 20, 0);
          console.log(JSON.stringify({ connected, sent }));`),
      );

    test.each([
      ['rtnetlink', NETLINK_ROUTE],
      ['netfilter', NETLINK_NETFILTER],
      ['generic netlink', NETLINK_GENERIC],
    ])('is not reached by %s: the kernel refuses the forger', (_name, protocol) => {
      const netns = make();
      const socket = open(netns, protocol);
      const ECONNREFUSED = -111;
      expect(forge(netns, protocol, socket.port)).toEqual({ connected: 0, sent: ECONNREFUSED });
      expect(socket.receive(new Uint8Array(100))).toBe(NOTHING);
    });

    test('would be reached where it is not connected to the kernel: the test above would notice', () => {
      const netns = make();
      const fd = netns.run(() => ffi().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
      cleanUps.add(() => fs.closeSync(fd));
      const address = new Uint8Array(12);
      new DataView(address.buffer).setUint16(0, AF_NETLINK, true);
      ffi().bind(fd, address);
      ffi().getsockname(fd, address);
      const port = new DataView(address.buffer).getUint32(4, true);
      expect(forge(netns, NETLINK_ROUTE, port)).toEqual({ connected: 0, sent: 20 });
      expect(ffi().recv(fd, new Uint8Array(100), MSG_DONTWAIT, null)).toBe(20);
    });
  });

  describe('buffers', () => {
    test('grow with the request and the expected replies', () => {
      const socket = open(make(), NETLINK_NETFILTER);
      const size = (option: number) => socket.getOptions(SOL_SOCKET, option, 1)[0]!;
      const before = { send: size(SO_SNDBUF), receive: size(SO_RCVBUF) };
      expect(socket.reserve(100, 1)).toBe(before.send - 32);
      expect({ send: size(SO_SNDBUF), receive: size(SO_RCVBUF) }).toEqual(before);
      for (const bytes of [MiB, 3 * MiB + 1, 64 * MiB]) {
        expect(socket.reserve(bytes, 10_000)).toBeGreaterThanOrEqual(bytes);
        expect(size(SO_SNDBUF)).toBeGreaterThanOrEqual(bytes + 32);
        expect(size(SO_RCVBUF)).toBeGreaterThanOrEqual(10_000 * 1024);
      }
      // They do not shrink again.
      expect(socket.reserve(100, 1)).toBeGreaterThanOrEqual(64 * MiB);
    });

    test.each([0.2, LARGEST])('take a transaction of %d MiB at once', async mebibytes => {
      const nft = openTables(make());
      const { transaction, chains } = large(mebibytes * MiB);
      nft.sync.commit(transaction);
      expect(nft.sync.chains()).toHaveLength(chains);
      await nft.commit(transaction);
      expect(await nft.chains()).toHaveLength(chains);
    });

    test('that hold two or three of fifty replies keep those, and have room for the next request', async () => {
      class Narrow extends NetlinkSocket {
        override reserve(bytes: number): number {
          return super.reserve(bytes, 0);
        }
      }
      const socket = new Narrow({ netns: make(), protocol: NETLINK_GENERIC });
      cleanUps.add(() => void socket.close());
      socket.setOption(SOL_SOCKET, SO_RCVBUF, 0);
      const exchange = new Exchange(socket, 'transport');
      const family = (attributes: (writer: Writer) => void) => ({
        syscall: 'CTRL_CMD_GETFAMILY',
        type: GENL_ID_CTRL,
        write: (writer: Writer) => {
          genlmsghdr.write(writer, { cmd: CTRL_CMD_GETFAMILY, version: 1 });
          attributes(writer);
        },
      });
      const missing = family(writer => {
        const start = writer.beginAttribute(CTRL_ATTR_FAMILY_NAME);
        writer.string('no such one');
        writer.endAttribute(start);
      });
      const calls = Array.from({ length: 50 }, () => missing);
      const away = <T>(operation: Operation<T>) => runAway(operation, operation.next());
      for (const run of [runNow, away]) {
        const { failures, unknownFrom } = await run(pipeline(exchange, calls));
        expect(unknownFrom).toBe(0);
        expect(failures.map(({ index }) => index)).toEqual(failures.map((_, i) => i));
        expect(failures.length).toBeGreaterThan(0);
        expect(failures.length).toBeLessThan(10);
        const names = await run(
          exchange.dump(
            family(() => {}),
            () => true,
          ),
        );
        expect(names.length).toBeGreaterThan(1);
      }
    });

    test('hold the replies to every message of a transaction', () => {
      const nft = openTables(make());
      nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: 'there' } }));
      const count = REFUSALS;
      const transaction = new Transaction();
      for (let i = 0; i < count; i++) transaction.create({ table: { family: 'ip', name: 'there' } });
      const error = caught(() => nft.sync.commit(transaction)) as BatchError;
      expect(error).toBeInstanceOf(BatchError);
      expect(error.outcome).toBe('none');
      expect(error.failures.map(({ index }) => index)).toEqual(Array.from({ length: count }, (_, i) => i));
      expect(new Set(error.failures.map(({ code }) => code))).toEqual(new Set(['EEXIST']));
    });

    test('reject a transaction over the limit of an unprivileged caller with ERR_TRANSACTION_TOO_LARGE before sending', () => {
      const most = Number(fs.readFileSync('/proc/sys/net/core/wmem_max', 'utf8')) * 2;
      const result = evaluate(
        `
        import { Nftables, Transaction } from './nftables/index.js';
        const nft = Nftables.open();
        const build = bytes => {
          const transaction = new Transaction().add({ table: { family: 'ip', name: 'large' } });
          let i = 0;
          while (transaction.encode().bytes.length < bytes)
            for (let n = 0; n < 1000; n++) transaction.add({ chain: { family: 'ip', table: 'large', name: String(i++).padEnd(100, '.') } });
          return transaction;
        };
        const results = {};
        results.small = nft.sync.commit(build(100000)) ?? 'done';
        const tooLarge = build(${most});
        for (const form of ['sync', 'promise']) {
          try { form === 'sync' ? nft.sync.commit(tooLarge) : await nft.commit(tooLarge); }
          catch (error) { results[form] = [error.name, error.code, error.message]; }
        }
        results.chains = nft.sync.chains().length;
        results.after = nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: 'after' } })) ?? 'done';
        console.log(JSON.stringify(results));`,
        { through: ['unshare', '--user', '--map-root-user', '--net'] },
      ) as Record<string, unknown>;
      const refused = ['StateError', 'ERR_TRANSACTION_TOO_LARGE', expect.stringContaining('net.core.wmem_max')];
      expect(result).toEqual({ small: 'done', sync: refused, promise: refused, chains: 1000, after: 'done' });
    });
  });

  describe('extended acknowledgements', () => {
    const zeros = (writer: Writer) => writer.zeros(16);

    test('give a refusal its message and the path into the object', () => {
      const nft = openTables(make());
      const transaction = new Transaction()
        .add({ table: { family: 'ip', name: 't' } })
        .add({ chain: { family: 'ip', table: 'missing', name: 'c' } });
      const error = caught(() => nft.sync.commit(transaction)) as BatchError;
      expect(error.failures).toMatchObject([
        { index: 1, code: 'ENOENT', syscall: 'NFT_MSG_NEWCHAIN', path: ['chain', 'table'] },
      ]);
      expect(nft.sync.tables()).toEqual([]);
    });

    test('give the end of a dump that fails its message', () => {
      const socket = open(make());
      socket.setOption(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
      const exchange = new Exchange(socket, 'test');
      exchange.operation = 'test.links';
      const write = (writer: Writer) => {
        // ifi_change has to be zero.
        writer.zeros(12);
        writer.u32(7, true);
      };
      expect(caught(() => runNow(exchange.dump(badDump(write), () => 1)))).toMatchObject({
        code: 'EINVAL',
        kernelMessage: 'Invalid values in header for link dump request',
        operation: 'test.links',
      });
      // The socket is free for the next one.
      expect(runNow(exchange.dump(badDump(zeros), () => 1))).toEqual([1]);
    });

    test('leave the socket free after a dump that was given up halfway', () => {
      const netns = make();
      const nft = openTables(netns);
      nft.sync.commit(large(0.2 * MiB).transaction);
      const exchange = new Exchange(open(netns, NETLINK_NETFILTER), 'test');
      const NFT_MSG_GETCHAIN = (10 << 8) | 4;
      const call = {
        type: NFT_MSG_GETCHAIN,
        syscall: 'NFT_MSG_GETCHAIN',
        write: (writer: Writer) => writer.zeros(4),
      };
      const reader = () => {
        throw new Error('cannot read this');
      };
      for (let i = 0; i < 3; i++) expect(() => runNow(exchange.dump(call, reader))).toThrow('cannot read this');
      expect(runNow(exchange.dump(call, ({ source, payload }) => source.bytes[payload])).length).toBeGreaterThan(1000);
    });
  });

  test('reads a dump of many parts completely, in both forms', async () => {
    const netns = make();
    const nft = openTables(netns);
    const { transaction, chains } = large((LARGEST / 2) * MiB);
    await nft.commit(transaction);
    const listed = nft.sync.chains().map(({ name }) => name);
    expect(new Set(listed).size).toBe(chains);
    expect((await nft.chains()).map(({ name }) => name)).toEqual(listed);
  });

  test('keeps the order of promises of several handles of one namespace, and rejects a synchronous call meanwhile with ERR_BUSY', async () => {
    const netns = make();
    const [first, second] = [openTables(netns), openTables(netns)];
    const { transaction } = large(0.5 * MiB);
    const slow = first.commit(transaction);
    expect(caught(() => second.sync.generation())).toMatchObject({ code: 'ERR_BUSY' });
    const generation = await second.generation();
    await slow;
    expect(generation).toBe(first.sync.generation());
    expect(second.sync.tables()).toHaveLength(1);
  });

  test('tells a promise that was closed over what became of it, and rejects the next with ERR_CLOSED', async () => {
    const netns = make();
    const nft = openTables(netns);
    const slow = nft.commit(large(0.5 * MiB).transaction);
    nft.close();
    await expect(nft.tables()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    expect(await slow).toBeUndefined();
    expect(openTables(netns).sync.tables()).toHaveLength(1);
  });
});
