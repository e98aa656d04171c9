import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { Ipvs } from '../../src/ipvs/index.ts';
import { NETLINK_ROUTE } from '../../src/linux/netlink.ts';
import { NetlinkSocket } from '../../src/netlink/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Nflog } from '../../src/nflog/index.ts';
import { Nftables, Transaction } from '../../src/nftables/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { compiledSources, evaluate } from '../support/compiled.ts';
import {
  caught,
  cleanUps,
  descriptors,
  freshName,
  here,
  home,
  inhabitant,
  inodeOf,
  make,
  staysHome,
} from '../support/namespaces.ts';
import { kernelSuite } from '../support/where.ts';

kernelSuite('a namespace', () => {
  staysHome();

  describe('run', () => {
    test('runs the function inside, returns its result, and comes back', () => {
      const netns = make();
      expect(netns.run(() => inodeOf(here()))).toBe(netns.inode);
      expect(here()).toBe(home);
    });

    test('comes back when the function throws', () => {
      const error = new Error('broken');
      const run = () =>
        make().run(() => {
          throw error;
        });
      expect(caught(run)).toBe(error);
      expect(here()).toBe(home);
    });

    test('rejects a promise with ERR_ASYNC_IN_NETNS, whatever becomes of it', async () => {
      const netns = make();
      const unhandled: unknown[] = [];
      const listen = (reason: unknown) => void unhandled.push(reason);
      process.on('unhandledRejection', listen);
      // biome-ignore lint/suspicious/noThenProperty: what only looks like a promise is refused as well
      const thenable = () => ({ then: () => {} });
      for (const inside of [async () => {}, () => Promise.reject(new Error('late')), thenable]) {
        const error = caught(() => netns.run(inside as () => unknown));
        expect(error).toBeInstanceOf(TypeError);
        expect(error.code).toBe('ERR_ASYNC_IN_NETNS');
        expect(here()).toBe(home);
      }
      await new Promise(resolve => setImmediate(resolve));
      process.off('unhandledRejection', listen);
      expect(unhandled).toEqual([]);
    });

    test('rejects what is not a function', () => {
      expect(caught(() => make().run('ls' as never))).toBeInstanceOf(TypeError);
    });

    test('starts the child processes of the function inside', async () => {
      const netns = make();
      const link = netns.run(() => execFileSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' }));
      expect(inodeOf(link.trim())).toBe(netns.inode);
      const { pid } = inhabitant(netns);
      expect(inodeOf(fs.readlinkSync(`/proc/${pid}/ns/net`))).toBe(netns.inode);
      expect(execFileSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' }).trim()).toBe(home);
    });

    test('nests, and may close its namespace from within, which then rejects with ERR_CLOSED', () => {
      const outer = NetNs.create();
      const inner = NetNs.create();
      const seen = outer.run(() => {
        outer.close();
        inner.run(() => inner.close());
        // Takes the numbers that were just given back, if they were.
        const other = make();
        return [other.run(() => inodeOf(here())) === other.inode, inodeOf(here()) === outer.inode];
      });
      expect(seen).toEqual([true, true]);
      expect(here()).toBe(home);
      expect(caught(() => outer.run(here)).code).toBe('ERR_CLOSED');
    });

    test('runs at home with NetNs.home(), also from inside another namespace', () => {
      expect(NetNs.home().run(here)).toBe(home);
      expect(make().run(() => NetNs.home().run(here))).toBe(home);
    });
  });

  describe('handles of subsystems', () => {
    const table = (name: string) => new Transaction().add({ table: { family: 'ip', name } });
    const tables = (netns: NetNs) => {
      const nft = Nftables.open({ netns });
      cleanUps.add(() => nft[Symbol.asyncDispose]());
      return nft.sync.tables().map(({ name }) => name);
    };

    test('program the namespace that they were opened with, wherever they are used', () => {
      const [a, b] = [make(), make()];
      const nft = b.run(() => Nftables.open({ netns: a }));
      cleanUps.add(() => nft[Symbol.asyncDispose]());
      nft.sync.commit(table('outside'));
      b.run(() => nft.sync.commit(table('inside')));
      expect(tables(a)).toEqual(['outside', 'inside']);
      expect(tables(b)).toEqual([]);
    });

    test('without a namespace program home, also where they are opened inside another', () => {
      const netns = make();
      // Each namespace lists the ports of its own sockets.
      const ports = (where: NetNs) =>
        where
          .readFile('/proc/net/netlink')
          .split('\n')
          .slice(1)
          .map(line => Number(line.split(/\s+/)[2]));
      const open = (options: object) => {
        const socket = netns.run(() => new NetlinkSocket({ protocol: NETLINK_ROUTE, ...options }));
        cleanUps.add(() => socket.close());
        return socket.port;
      };
      const atHome = open({});
      expect(ports(NetNs.home())).toContain(atHome);
      // 0 is the kernel.
      expect(ports(netns).filter(port => port > 0)).toEqual([]);
      const inside = open({ netns });
      expect(ports(netns).filter(port => port > 0)).toEqual([inside]);
    });

    test('work after the namespace is closed, and keep it alive', () => {
      const netns = NetNs.create();
      const nft = Nftables.open({ netns });
      cleanUps.add(() => nft[Symbol.asyncDispose]());
      netns.close();
      nft.sync.commit(table('kept'));
      expect(nft.sync.tables().map(({ name }) => name)).toEqual(['kept']);
    });

    test('rejects an undefined namespace with ERR_NETNS_UNDEFINED, and does not take home instead', () => {
      const opens = {
        nftables: (netns: never) => Nftables.open({ netns }),
        ipvs: (netns: never) => Ipvs.open({ netns }),
        rtnetlink: (netns: never) => Links.open({ netns }),
        nflog: (netns: never) => Nflog.open({ netns, groups: [] }),
      };
      const before = descriptors();
      for (const [name, open] of Object.entries(opens)) {
        const error = caught(() => open(undefined as never));
        expect(error, name).toBeInstanceOf(TypeError);
        expect(error, name).toMatchObject({ code: 'ERR_NETNS_UNDEFINED', attribute: 'netns' });
        for (const other of [null, {}, 5, '/proc/1/ns/net'])
          expect(
            caught(() => open(other as never)),
            name,
          ).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', attribute: 'netns' });
      }
      expect(descriptors()).toBe(before);
    });

    test('rejects a namespace that is closed with ERR_CLOSED', () => {
      const netns = NetNs.create();
      netns.close();
      expect(caught(() => Nftables.open({ netns })).code).toBe('ERR_CLOSED');
    });
  });

  describe('threads', () => {
    test('of the pool stay at home when they start while the main thread is inside', () => {
      const netns = make();
      const name = freshName();
      netns.pin(name);
      // Imports are read by the pool. A program that requires everything has not needed it when it enters.
      const script = `
        const fs = require('node:fs');
        const dns = require('node:dns');
        const crypto = require('node:crypto');
        const { NetNs } = require('./netns/index.js');
        const { ffi } = require('./ffi/index.js');
        const netns = NetNs.open({ name: '${name}' });
        const threads = () =>
          fs.readdirSync('/proc/self/task').map(tid => fs.readlinkSync('/proc/self/task/' + tid + '/ns/net'));
        const pending = netns.run(() => [
          new Promise(done => fs.readFile('/etc/passwd', done)),
          new Promise(done => dns.lookup('localhost', done)),
          new Promise(done => crypto.pbkdf2('a', 'b', 1, 8, 'sha1', done)),
          ffi().closeOffThread(fs.openSync('/dev/null')),
        ]);
        Promise.all(pending).then(() => {
          const inside = netns.run(() => threads().filter(link => link.includes(netns.inode)).length);
          const after = threads();
          console.log(JSON.stringify({ inside, threads: after.length, homes: [...new Set(after)] }));
        });`;
      const result = evaluate(script, { commonjs: true }) as { inside: number; threads: number; homes: string[] };
      expect(result.homes).toEqual([home]);
      expect(result.threads).toBeGreaterThan(4);
      // Only the thread that is inside is inside.
      expect(result.inside).toBe(1);
    });

    test('of a Worker enter and leave on their own', async () => {
      const [a, b] = [make(), make()];
      const name = freshName();
      a.pin(name);
      const release = new Int32Array(new SharedArrayBuffer(4));
      const worker = new Worker(
        `const { workerData, parentPort } = require('node:worker_threads');
         const fs = require('node:fs');
         import(workerData.module).then(({ NetNs }) => {
           const here = () => fs.readlinkSync('/proc/thread-self/ns/net');
           const home = NetNs.home().inode;
           const netns = NetNs.open({ name: workerData.name });
           const inside = netns.run(() => {
             parentPort.postMessage('inside');
             Atomics.wait(workerData.release, 0, 0);
             return here();
           });
           parentPort.postMessage({ home, inside, after: here(), devices: netns.readFile('/proc/net/dev') });
         });`,
        {
          eval: true,
          workerData: { module: pathToFileURL(path.join(compiledSources(), 'netns/index.js')).href, name, release },
        },
      );
      const message = () =>
        new Promise((resolve, reject) => {
          worker.once('message', resolve);
          worker.once('error', reject);
        });
      expect(await message()).toBe('inside');
      // It stays there meanwhile.
      expect(here()).toBe(home);
      expect(b.run(() => inodeOf(here()))).toBe(b.inode);
      expect(here()).toBe(home);
      const answer = message();
      Atomics.store(release, 0, 1);
      Atomics.notify(release, 0);
      expect(await answer).toEqual({
        home: inodeOf(home),
        inside: `net:[${a.inode}]`,
        after: home,
        devices: a.readFile('/proc/net/dev'),
      });
      await worker.terminate();
    });
  });
});
