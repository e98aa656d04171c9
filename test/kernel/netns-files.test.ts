import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { NetNs } from '../../src/netns/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { caught, cleanUps, freshName, here, home, inodeOf, make, staysHome } from '../support/namespaces.ts';
import { kernelSuite } from '../support/where.ts';

kernelSuite('a namespace', () => {
  staysHome();

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
      cleanUps.add(() => links.close());
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
      cleanUps.add(() => opened.close());
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
      cleanUps.add(() => again.close());
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
      cleanUps.add(() => opened.close());
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
});
