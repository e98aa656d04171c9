import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { NetNsError } from '../../src/errors.ts';
import { ffi } from '../../src/ffi/index.ts';
import { Ipvs } from '../../src/ipvs/index.ts';
import { NETLINK_ROUTE } from '../../src/linux/netlink.ts';
import { NetlinkSocket } from '../../src/netlink/index.ts';
import { NetNs, type NetNsReference } from '../../src/netns/index.ts';
import { openOfPidfd } from '../../src/netns/process.ts';
import { Nflog } from '../../src/nflog/index.ts';
import { Nftables, Transaction } from '../../src/nftables/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { compiledSources, evaluate } from '../support/compiled.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const here = () => fs.readlinkSync('/proc/thread-self/ns/net');
const inodeOf = (link: string) => Number(/^net:\[(\d+)\]$/.exec(link)?.[1]);
const descriptors = () => fs.readdirSync('/proc/self/fd').length;

const cleanUps: (() => unknown)[] = [];
/** Closing goes on elsewhere for a while: the next test counts descriptors. */
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function make(): NetNs {
  const netns = NetNs.create();
  cleanUps.push(() => netns.close());
  return netns;
}

/** A process that lives in a namespace until the test is over. */
function inhabitant(netns: NetNs): { pid: number; end: () => Promise<void> } {
  const child = netns.run(() => spawn('sleep', ['1000'], { stdio: 'ignore' }));
  cleanUps.push(() => void child.kill('SIGKILL'));
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()));
  const end = () => {
    child.kill('SIGKILL');
    return ended;
  };
  return { pid: child.pid!, end };
}

function scratch(): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netns-'));
  cleanUps.push(() => fs.rmSync(directory, { recursive: true }));
  return directory;
}

let names = 0;
/** A name under /run/netns that the test's end takes away. */
function freshName(): string {
  const name = `netsteer-${process.pid}-${names++}`;
  cleanUps.push(() => {
    try {
      execFileSync('umount', ['-l', `/run/netns/${name}`], { stdio: 'ignore' });
    } catch {}
    fs.rmSync(`/run/netns/${name}`, { force: true });
  });
  return name;
}

function caught(run: () => unknown): Error & Record<string, unknown> {
  try {
    run();
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error('nothing was thrown');
}

const home = here();

kernelSuite('a namespace', () => {
  afterAll(() => expect(here()).toBe(home));

  describe('opened', () => {
    test('by each kind of reference is the same', () => {
      const netns = make();
      const { pid } = inhabitant(netns);
      const pidfd = ffi().pidfdOpen(pid);
      cleanUps.push(() => fs.closeSync(pidfd));
      const fd = fs.openSync(`/proc/${pid}/ns/net`, 'r');
      cleanUps.push(() => fs.closeSync(fd));
      const name = freshName();
      netns.pin(name);
      const link = path.join(scratch(), 'link');
      fs.symlinkSync(`/proc/${pid}/ns/net`, link);
      const references: NetNsReference[] = [
        { pid },
        { pidfd },
        { path: `/proc/${pid}/ns/net` },
        { path: `/proc/${pid}/task/${pid}/ns/net` },
        { path: link },
        { path: `/run/netns/${name}` },
        { name },
        { fd },
      ];
      for (const reference of references) {
        const opened = NetNs.open(reference);
        cleanUps.push(() => opened.close());
        expect(opened.equals(netns), JSON.stringify(reference)).toBe(true);
        expect(opened.run(here), JSON.stringify(reference)).toBe(netns.run(here));
      }
    });

    test('leaves a given descriptor or pidfd to its owner', () => {
      const netns = make();
      const { pid } = inhabitant(netns);
      const fd = fs.openSync(`/proc/${pid}/ns/net`, 'r');
      const pidfd = ffi().pidfdOpen(pid);
      NetNs.open({ fd }).close();
      NetNs.open({ pidfd }).close();
      expect(fs.fstatSync(fd).ino).toBe(netns.inode);
      fs.closeSync(fd);
      fs.closeSync(pidfd);
    });

    test('has the inode that the kernel shows elsewhere', () => {
      const netns = make();
      const { pid } = inhabitant(netns);
      expect(netns.inode).toBe(inodeOf(fs.readlinkSync(`/proc/${pid}/ns/net`)));
      expect(netns.device).toBe(fs.statSync('/proc/self/ns/net').dev);
      expect(netns.equals(make())).toBe(false);
      expect(NetNs.home().inode).toBe(inodeOf(home));
      expect(NetNs.home()).toBe(NetNs.home());
      expect(netns.equals(NetNs.home())).toBe(false);
    });

    test('leaves the mount of its name free to be unmounted by another process', () => {
      const bound = path.join(scratch(), 'bound');
      const ways: ((name: string) => { target: string; opened: NetNs })[] = [
        name => ({ target: `/run/netns/${name}`, opened: NetNs.open({ name }) }),
        name => ({ target: `/run/netns/${name}`, opened: NetNs.open({ path: `/run/netns/${name}` }) }),
        name => {
          const fd = fs.openSync(`/run/netns/${name}`, 'r');
          const opened = NetNs.open({ fd });
          fs.closeSync(fd);
          return { target: `/run/netns/${name}`, opened };
        },
        name => {
          fs.writeFileSync(bound, '');
          execFileSync('mount', ['--bind', `/run/netns/${name}`, bound]);
          return { target: bound, opened: NetNs.open({ path: bound }) };
        },
      ];
      for (const [i, way] of ways.entries()) {
        const netns = make();
        const name = freshName();
        netns.pin(name);
        const { target, opened } = way(name);
        cleanUps.push(() => opened.close());
        const before = descriptors();
        // Without -l: refused as long as anybody has a file of this mount open.
        execFileSync('umount', [target]);
        expect(descriptors(), String(i)).toBe(before);
        expect(opened.equals(netns), String(i)).toBe(true);
        expect(
          opened.run(() => inodeOf(here())),
          String(i),
        ).toBe(netns.inode);
        using links = Links.open({ netns: opened });
        expect(links.sync.list().map(({ name }) => name)).toEqual(['lo']);
      }
    });

    test('by a name takes one descriptor, and none where the name is rejected with ERR_NOT_A_NETNS', () => {
      const netns = make();
      const name = freshName();
      netns.pin(name);
      NetNs.home().run(() => {});
      const before = descriptors();
      const opened = NetNs.open({ name });
      expect(descriptors()).toBe(before + 1);
      opened.close();
      expect(caught(() => NetNs.open({ path: '/dev/null' }))).toMatchObject({ code: 'ERR_NOT_A_NETNS' });
      expect(descriptors()).toBe(before);
    });

    test('by a name may be opened by a user who must not enter it', () => {
      const netns = make();
      const name = freshName();
      netns.pin(name);
      const script = `
        import { NetNs } from ${JSON.stringify(pathToFileURL(path.join(compiledSources(), 'netns/index.js')).href)};
        const opened = NetNs.open({ name: ${JSON.stringify(name)} });
        let code = 'entered';
        try { opened.run(() => {}); } catch (error) { code = error.code; }
        console.log(JSON.stringify({ inode: opened.inode, code }));
        opened.close();`;
      const args = ['--bounding-set=-sys_admin', '--inh-caps=-sys_admin', process.execPath];
      const printed = execFileSync('setpriv', [...args, '--input-type=module', '-e', script], { encoding: 'utf8' });
      expect(JSON.parse(printed)).toEqual({ inode: netns.inode, code: 'EPERM' });
    });

    test('is not inherited by child processes', () => {
      const netns = make();
      const listing = execFileSync('sh', ['-c', 'ls -l /proc/self/fd'], { encoding: 'utf8' });
      expect(listing).not.toContain(`net:[${netns.inode}]`);
    });
  });

  describe('that cannot be opened', () => {
    test('rejects each reason with a code of its own, with ERR_NOT_A_NETNS and ERR_NOT_A_PIDFD among them, and leaves no descriptor', async () => {
      const netns = make();
      const directory = scratch();
      const fifo = path.join(directory, 'fifo');
      execFileSync('mkfifo', [fifo]);
      const plain = path.join(directory, 'plain');
      fs.writeFileSync(plain, '');
      const link = path.join(directory, 'link');
      fs.symlinkSync(plain, link);
      const dangling = path.join(directory, 'dangling');
      fs.symlinkSync(path.join(directory, 'nothing'), dangling);
      const dead = inhabitant(netns);
      await dead.end();
      const fd = fs.openSync(plain, 'r');
      cleanUps.push(() => fs.closeSync(fd));
      const cases: [NetNsReference, string][] = [
        [{ path: plain }, 'ERR_NOT_A_NETNS'],
        [{ path: link }, 'ERR_NOT_A_NETNS'],
        [{ path: fifo }, 'ERR_NOT_A_NETNS'],
        [{ path: directory }, 'ERR_NOT_A_NETNS'],
        [{ path: '/dev/null' }, 'ERR_NOT_A_NETNS'],
        [{ path: '/proc/self/ns/mnt' }, 'ERR_NOT_A_NETNS'],
        [{ fd }, 'ERR_NOT_A_NETNS'],
        [{ path: dangling }, 'ENOENT'],
        [{ path: path.join(directory, 'nothing') }, 'ENOENT'],
        [{ path: `${plain}/below` }, 'ENOTDIR'],
        [{ path: '' }, 'ENOENT'],
        [{ name: `netsteer-${process.pid}-no-such-name` }, 'ENOENT'],
        [{ fd: 0x7fffffff }, 'ENOENT'],
        [{ pid: dead.pid }, 'ESRCH'],
        [{ pid: 0x7fffffff }, 'ESRCH'],
        [{ pidfd: fd }, 'ERR_NOT_A_PIDFD'],
        [{ pidfd: 0x7fffffff }, 'EBADF'],
      ];
      const before = descriptors();
      for (const [reference, code] of cases) {
        const error = caught(() => NetNs.open(reference));
        expect(error, JSON.stringify(reference)).toBeInstanceOf(NetNsError);
        expect(error.code, JSON.stringify(reference)).toBe(code);
      }
      expect(descriptors()).toBe(before);
    });

    test('explains that the mount of its name is gone', () => {
      const plain = path.join(scratch(), 'plain');
      fs.writeFileSync(plain, '');
      expect(caught(() => NetNs.open({ path: plain })).message).toContain('a bind mount that is gone');
    });

    test.each([
      [undefined, 'TypeError'],
      [null, 'TypeError'],
      [5, 'TypeError'],
      [{}, 'TypeError'],
      [{ pid: 1, path: '/proc/1/ns/net' }, 'TypeError'],
      [{ container: 'web1' }, 'TypeError'],
      [{ pid: '1' }, 'TypeError pid'],
      [{ pid: undefined }, 'TypeError pid'],
      [{ pid: 0 }, 'RangeError pid'],
      [{ pid: -1 }, 'RangeError pid'],
      [{ pid: 1.5 }, 'RangeError pid'],
      [{ pid: 2 ** 31 }, 'RangeError pid'],
      [{ fd: -1 }, 'RangeError fd'],
      [{ pidfd: Number.NaN }, 'RangeError pidfd'],
      [{ path: 5 }, 'TypeError path'],
      [{ name: 5 }, 'TypeError name'],
      [{ name: '' }, 'RangeError name'],
      [{ name: '..' }, 'RangeError name'],
      [{ name: 'a/b' }, 'RangeError name'],
      [{ name: '../../etc/passwd' }, 'RangeError name'],
      [{ name: 'a\0b' }, 'RangeError name'],
    ])('explains that %j is no namespace', (reference, expected) => {
      const error = caught(() => NetNs.open(reference as unknown as NetNsReference));
      expect(`${error.constructor.name} ${error.attribute}`.trim()).toBe(expected);
    });

    test('explains that the process is a zombie', async () => {
      // The shell becomes a program that never asks what became of its child.
      const parent = spawn('sh', ['-c', 'sleep 1000 & echo $!; exec sleep 1000'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      cleanUps.push(() => void parent.kill('SIGKILL'));
      const zombie = Number(await new Promise<Buffer>(resolve => parent.stdout.once('data', resolve)));
      await until(() => fs.readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n');
      process.kill(zombie, 'SIGKILL');
      await until(() => /\) Z /.test(fs.readFileSync(`/proc/${zombie}/stat`, 'utf8')));
      expect(caught(() => NetNs.open({ pid: zombie }))).toMatchObject({ code: 'ESRCH' });
    });

    test('explains that its number belongs to another process now', async () => {
      const parent = spawn('sh', ['-c', 'sleep 1000 & echo $!; wait; sleep 1000'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      cleanUps.push(() => void parent.kill('SIGKILL'));
      const pid = Number(await new Promise<Buffer>(resolve => parent.stdout.once('data', resolve)));
      const pidfd = ffi().pidfdOpen(pid);
      cleanUps.push(() => fs.closeSync(pidfd));
      const before = descriptors();
      // Between the look at the pidfd and the opening of the file the process ends, and its number is given to another.
      const meanwhile = Object.create(ffi(), {
        open: {
          value: (file: string, flags: number) => {
            expect(file).toBe(`/proc/${pid}/ns/net`);
            process.kill(pid, 'SIGKILL');
            while (!fs.readFileSync(`/proc/self/fdinfo/${pidfd}`, 'utf8').includes('Pid:\t-1'));
            return ffi().open('/proc/self/ns/net', flags);
          },
        },
        close: { value: (fd: number) => ffi().close(fd) },
      });
      expect(caught(() => openOfPidfd(meanwhile, pidfd))).toMatchObject({ code: 'ESRCH' });
      expect(descriptors()).toBe(before);
      expect(caught(() => NetNs.open({ pidfd }))).toMatchObject({ code: 'ESRCH' });
    });
  });

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
      cleanUps.push(() => nft[Symbol.asyncDispose]());
      return nft.sync.tables().map(({ name }) => name);
    };

    test('program the namespace that they were opened with, wherever they are used', () => {
      const [a, b] = [make(), make()];
      const nft = b.run(() => Nftables.open({ netns: a }));
      cleanUps.push(() => nft[Symbol.asyncDispose]());
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
        cleanUps.push(() => socket.close());
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
      cleanUps.push(() => nft[Symbol.asyncDispose]());
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

  describe('sysctls', () => {
    test('are read and written in the namespace', () => {
      const [a, b] = [make(), make()];
      const before = NetNs.home().sysctl.get('net.ipv4.ip_forward');
      expect(a.sysctl.get('net.ipv4.conf.lo.forwarding')).toBe('0');
      a.sysctl.set('net.ipv4.conf.lo.forwarding', true);
      expect(a.sysctl.get('net.ipv4.conf.lo.forwarding')).toBe('1');
      expect(b.sysctl.get('net.ipv4.conf.lo.forwarding')).toBe('0');
      a.sysctl.set('net.ipv4.conf.lo.forwarding', 0);
      expect(a.sysctl.get('net.ipv4.conf.lo.forwarding')).toBe('0');
      a.sysctl.set('net.ipv4.ip_local_port_range', '20000 30000');
      expect(a.sysctl.get('net.ipv4.ip_local_port_range').split(/\s+/)).toEqual(['20000', '30000']);
      expect(NetNs.home().sysctl.get('net.ipv4.ip_forward')).toBe(before);
      expect(here()).toBe(home);
    });

    test('write a device whose name has a dot with a slash', () => {
      const netns = make();
      const links = Links.open({ netns });
      cleanUps.push(() => links.close());
      links.sync.createVeth({ name: 'eth0.1', peer: { name: 'peer' } });
      netns.sysctl.set('net.ipv4.conf.eth0/1.forwarding', 1);
      expect(netns.sysctl.get('net.ipv4.conf.eth0/1.forwarding')).toBe('1');
      expect(netns.sysctl.get('net.ipv4.conf.peer.forwarding')).toBe('0');
    });

    test.each([
      'kernel.hostname',
      'net',
      '',
      'net..ipv4',
      'net.',
      '.net',
      'net.//.kernel.hostname',
      'net.ipv4.a\0',
      '/proc/sys/net/ipv4/ip_forward',
    ])('reject %j with ERR_OUT_OF_RANGE: it does not belong to a namespace', name => {
      const { sysctl } = make();
      for (const use of [() => sysctl.get(name), () => sysctl.set(name, 1)])
        expect(caught(use)).toMatchObject({ code: 'ERR_OUT_OF_RANGE', attribute: 'name' });
    });

    test('report a sysctl that does not exist or does not take the value', () => {
      const { sysctl } = make();
      expect(caught(() => sysctl.get('net.ipv4.no_such_thing'))).toMatchObject({ name: 'NetNsError', code: 'ENOENT' });
      expect(caught(() => sysctl.set('net.ipv4.no_such_thing', 1))).toMatchObject({
        name: 'NetNsError',
        code: 'ENOENT',
      });
      expect(caught(() => sysctl.set('net.ipv4.ip_forward', 'perhaps'))).toMatchObject({ code: 'EINVAL' });
      expect(caught(() => sysctl.get('net.ipv4'))).toMatchObject({ code: 'EISDIR' });
      expect(here()).toBe(home);
    });

    test('take text, numbers and booleans, and reject anything else with ERR_INVALID_ARG_TYPE', () => {
      const { sysctl } = make();
      for (const value of [undefined, null, {}, [1], 1n])
        expect(caught(() => sysctl.set('net.ipv4.ip_forward', value as never))).toMatchObject({
          code: 'ERR_INVALID_ARG_TYPE',
          attribute: 'value',
        });
      expect(caught(() => sysctl.get(5 as never))).toBeInstanceOf(TypeError);
    });
  });

  describe('files', () => {
    test('read what /proc shows in the namespace', () => {
      const netns = make();
      expect(netns.readFile('/proc/net/dev')).toMatch(/^\s+lo:/m);
      expect(netns.readFile('/proc/net/dev').trim().split('\n')).toHaveLength(3);
      expect(netns.readFile('/proc/sys/net/ipv4/ip_forward')).toBe(`${netns.sysctl.get('net.ipv4.ip_forward')}\n`);
      expect(NetNs.home().readFile('/proc/net/dev')).toBe(fs.readFileSync('/proc/net/dev', 'utf8'));
    });

    test.each([
      '/etc/passwd',
      '/proc/net',
      '/proc/net/',
      '/proc/net/../1/environ',
      '/proc/net/../environ',
      '/proc/net/a/../../x',
      '/proc/sys/net/../kernel/hostname',
      '/proc/net/./dev',
      '/proc/sys/kernel/hostname',
      '/proc/1/net/dev',
      'proc/net/dev',
      '',
    ])('reject %j with ERR_OUT_OF_RANGE: it is outside /proc/net and /proc/sys/net', file =>
      expect(caught(() => make().readFile(file))).toMatchObject({ attribute: 'path', code: 'ERR_OUT_OF_RANGE' }),
    );

    test('report a file that does not exist', () => {
      expect(caught(() => make().readFile('/proc/net/no_such_file'))).toMatchObject({
        name: 'NetNsError',
        code: 'ENOENT',
      });
      expect(here()).toBe(home);
    });
  });

  describe('names', () => {
    test('are those of `ip netns`, in both directions', () => {
      const netns = make();
      const [mine, theirs] = [freshName(), freshName()];
      netns.pin(mine);
      execFileSync('ip', ['netns', 'add', theirs]);
      const listed = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
        .split('\n')
        .map(line => line.split(' ')[0]);
      expect(listed).toEqual(expect.arrayContaining([mine, theirs]));
      expect(NetNs.list()).toEqual(expect.arrayContaining([mine, theirs]));
      expect(NetNs.list()).toEqual([...NetNs.list()].sort());
      const inside = execFileSync('ip', ['netns', 'exec', mine, 'readlink', '/proc/self/ns/net'], { encoding: 'utf8' });
      expect(inodeOf(inside.trim())).toBe(netns.inode);
      const opened = NetNs.open({ name: theirs });
      cleanUps.push(() => opened.close());
      opened.unpin(theirs);
      expect(NetNs.list()).not.toContain(theirs);
      expect(fs.existsSync(`/run/netns/${theirs}`)).toBe(false);
    });

    test('keep a namespace alive without a process or a handle', () => {
      const netns = NetNs.create();
      const { inode } = netns;
      const name = freshName();
      netns.pin(name);
      netns.close();
      const again = NetNs.open({ name });
      cleanUps.push(() => again.close());
      expect(again.inode).toBe(inode);
      again.unpin(name);
      expect(NetNs.list()).not.toContain(name);
      expect(again.run(() => inodeOf(here()))).toBe(inode);
    });

    test('reject a name that is taken', () => {
      const [a, b] = [make(), make()];
      const name = freshName();
      a.pin(name);
      expect(caught(() => b.pin(name))).toMatchObject({ name: 'NetNsError', code: 'EEXIST' });
      const opened = NetNs.open({ name });
      cleanUps.push(() => opened.close());
      expect(opened.equals(a)).toBe(true);
    });

    test('are all removed by unpin() without a name, and only those of this namespace', () => {
      const [a, b] = [make(), make()];
      const [first, second, other] = [freshName(), freshName(), freshName()];
      a.pin(first);
      a.pin(second);
      b.pin(other);
      a.unpin();
      expect(NetNs.list().filter(name => [first, second, other].includes(name))).toEqual([other]);
      expect(() => a.unpin()).not.toThrow();
    });

    test('that are plain files are rejected with ERR_NOT_A_NETNS, and can be removed', () => {
      const netns = make();
      const name = freshName();
      // The directory is there from the first pin on.
      netns.pin(freshName());
      fs.writeFileSync(`/run/netns/${name}`, '');
      expect(NetNs.list()).not.toContain(name);
      expect(caught(() => NetNs.open({ name }))).toMatchObject({ code: 'ERR_NOT_A_NETNS' });
      netns.unpin(name);
      expect(fs.existsSync(`/run/netns/${name}`)).toBe(false);
    });

    test('that do not exist or could not be file names are rejected', () => {
      const netns = make();
      expect(caught(() => netns.unpin(freshName()))).toMatchObject({ name: 'NetNsError', code: 'ENOENT' });
      for (const bad of ['', '.', 'a/b', 5, null]) {
        expect(
          caught(() => netns.pin(bad as string)),
          String(bad),
        ).toMatchObject({ attribute: 'name' });
        expect(
          caught(() => netns.unpin(bad as string)),
          String(bad),
        ).toMatchObject({ attribute: 'name' });
      }
    });
  });

  describe('that is closed', () => {
    test('rejects everything but its identity with ERR_CLOSED, and may be closed again', async () => {
      const netns = NetNs.create();
      const { inode } = netns;
      netns.close();
      netns.close();
      await netns[Symbol.asyncDispose]();
      netns[Symbol.dispose]();
      const uses = [
        () => netns.run(() => 1),
        () => netns.sysctl.get('net.ipv4.ip_forward'),
        () => netns.sysctl.set('net.ipv4.ip_forward', 1),
        () => netns.readFile('/proc/net/dev'),
        () => netns.pin('netsteer-closed'),
      ];
      for (const use of uses) expect(caught(use).code).toBe('ERR_CLOSED');
      expect(netns.inode).toBe(inode);
    });

    test('is still usable where it is home', () => {
      NetNs.home().close();
      expect(NetNs.home().run(here)).toBe(home);
      expect(make().run(here)).not.toBe(home);
    });
  });

  describe('a caller without privileges', () => {
    const report = `
      import { NetNs } from './netns/index.js';
      import { Nftables, Transaction } from './nftables/index.js';
      import { isPermission } from './errors.js';
      import { ffi } from './ffi/index.js';
      // All that is on the disk is read as root: the checkout, and Node itself, may be where nobody else may look.
      ffi();
      process.setgroups([]);
      process.setgid(65534);
      process.setuid(65534);
      const results = {};
      const attempt = (name, run) => {
        try { results[name] = ['done', run()]; }
        catch (error) { results[name] = [error.name, error.code, error.hint ?? '', isPermission(error)]; }
      };`;

    test("cannot open the namespace of another user's process, may open a file without entering it, and cannot create one", () => {
      const netns = make();
      const { pid } = inhabitant(netns);
      const name = freshName();
      netns.pin(name);
      const results = evaluate(
        `${report}
        attempt('pid', () => NetNs.open({ pid: ${pid} }));
        attempt('path', () => NetNs.open({ path: '/proc/${pid}/ns/net' }));
        attempt('enter', () => NetNs.open({ name: '${name}' }).run(() => 'inside'));
        attempt('create', () => NetNs.create());
        attempt('pin', () => NetNs.home().pin('netsteer-nobody'));
        attempt('sysctl', () => NetNs.home().sysctl.set('net.ipv4.ip_forward', 1));
        attempt('home', () => NetNs.home().run(() => 'at home'));
        const nft = Nftables.open();
        attempt('commit', () => nft.sync.commit(new Transaction().add({ table: { family: 'ip', name: 'x' } })));
        console.log(JSON.stringify(results));`,
      );
      expect(results).toEqual({
        pid: ['NetNsError', 'EACCES', expect.stringContaining('CAP_SYS_PTRACE'), true],
        path: ['NetNsError', 'EACCES', '', true],
        enter: ['NetNsError', 'EPERM', expect.stringContaining('CAP_SYS_ADMIN'), true],
        create: ['NetNsError', 'EPERM', expect.stringContaining('CAP_SYS_ADMIN'), true],
        pin: ['NetNsError', expect.stringMatching(/^E(PERM|ACCES)$/), '', true],
        sysctl: ['NetNsError', 'EACCES', '', true],
        home: ['done', 'at home'],
        commit: ['NetlinkError', 'EPERM', expect.stringContaining('CAP_NET_ADMIN'), true],
      });
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
