import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { NetNsError } from '../../src/errors.ts';
import { ffi } from '../../src/ffi/index.ts';
import { NetNs, type NetNsReference } from '../../src/netns/index.ts';
import { openOfPidfd } from '../../src/netns/process.ts';
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
  scratch,
  staysHome,
} from '../support/namespaces.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

kernelSuite('a namespace', () => {
  staysHome();

  describe('opened', () => {
    test('by each kind of reference is the same', () => {
      const netns = make();
      const { pid } = inhabitant(netns);
      const pidfd = ffi().pidfdOpen(pid);
      cleanUps.add(() => fs.closeSync(pidfd));
      const fd = fs.openSync(`/proc/${pid}/ns/net`, 'r');
      cleanUps.add(() => fs.closeSync(fd));
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
        cleanUps.add(() => opened.close());
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
        cleanUps.add(() => opened.close());
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
      cleanUps.add(() => fs.closeSync(fd));
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
      cleanUps.add(() => void parent.kill('SIGKILL'));
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
      cleanUps.add(() => void parent.kill('SIGKILL'));
      const pid = Number(await new Promise<Buffer>(resolve => parent.stdout.once('data', resolve)));
      const pidfd = ffi().pidfdOpen(pid);
      cleanUps.add(() => fs.closeSync(pidfd));
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
});
