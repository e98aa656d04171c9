import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Container, Ipvs, NetNs, UnsupportedError } from 'netsteer';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const LOADER = '/proc/sys/kernel/modprobe';

/** The modules that hold ip_vs, and then itself: which are used by one another. */
function unload(): void {
  for (;;) {
    const lines = fs.readFileSync('/proc/modules', 'utf8').split('\n');
    const own = lines.map(line => line.split(' ')).filter(([name = '']) => /^ip_vs(_|$)/.test(name));
    if (own.length === 0) return;
    const free = own.filter(([, , , users]) => users === '-').map(([name]) => name!);
    execFileSync('rmmod', free);
  }
}

/** Namespaces of earlier tests end in their own time; until then their services hold the module. */
async function unloaded(): Promise<void> {
  await until(() => {
    try {
      unload();
      return true;
    } catch {
      return false;
    }
  }, 'the unloading of ip_vs');
}

kernelSuite('a kernel that has not loaded IPVS', () => {
  const loader = fs.readFileSync(LOADER, 'utf8').trim();
  let netns: NetNs;

  beforeEach(() => {
    netns = NetNs.create();
  });
  afterEach(() => {
    fs.writeFileSync(LOADER, loader);
    execFileSync('modprobe', ['-a', 'ip_vs', 'ip_vs_lblc', 'ip_vs_lblcr']);
    netns.close();
  });

  it('rejects each call with the reason while the module cannot be loaded, and works once it can', async () => {
    await using before = Ipvs.open({ netns, via: 'netlink' });
    await using sockopt = Ipvs.open({ netns, via: 'sockopt' });
    await using either = Ipvs.open({ netns });
    const version = await before.info();
    await unloaded();
    fs.writeFileSync(LOADER, '/bin/false');

    const missing = { code: 'ENOENT', hint: expect.stringContaining('modprobe ip_vs') };
    await using after = Ipvs.open({ netns, via: 'netlink' });
    for (const ipvs of [before, after, either]) {
      await expect(ipvs.info()).rejects.toMatchObject(missing);
      await expect(ipvs.batch(b => b.flush())).rejects.toMatchObject(missing);
      await expect(ipvs.snapshot()).rejects.toMatchObject(missing);
    }
    await expect(sockopt.info()).rejects.toMatchObject({
      code: 'ENOPROTOOPT',
      hint: expect.stringContaining('modprobe ip_vs'),
    });
    await expect(before.connections().next()).rejects.toMatchObject(missing);
    expect(() => before.settings.conntrack).toThrow(UnsupportedError);
    expect(() => before.settings.conntrack).toThrow('IPVS is not loaded');

    // Netlink makes the kernel load it (Linux 5.16), the socket options do not.
    fs.writeFileSync(LOADER, loader);
    await expect(sockopt.info()).rejects.toMatchObject({ code: 'ENOPROTOOPT' });
    expect(await before.info()).toEqual(version);
    expect(await sockopt.info()).toEqual(version);
    expect(before.settings.conntrack).toBe(false);
  });

  it('is reported by preflight, which loads the module only when it may', async () => {
    await using container = Container.open({ netns });
    const said = async (options = {}) =>
      (await container.preflight(options)).abilities.find(({ name }) => name === 'ipvs')!;
    const isLoaded = () => /^ip_vs /m.test(fs.readFileSync('/proc/modules', 'utf8'));
    await unloaded();
    for (const off of ['', '/bin/false']) {
      fs.writeFileSync(LOADER, `${off}\n`);
      expect(await said()).toMatchObject({ works: false, reason: 'sysctl', remedy: 'modprobe -a ip_vs' });
    }
    fs.writeFileSync(LOADER, loader);
    expect(await said()).toMatchObject({ works: true, reason: 'module', why: expect.stringContaining('first use') });
    // As `netsteer doctor` sees it where no module may be loaded until the next boot.
    const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-module-'));
    const disabled = join(folder, 'modules_disabled');
    fs.writeFileSync(disabled, '1\n');
    const script = 'mount --bind "$1" /proc/sys/kernel/modules_disabled && "$2" bin/netsteer.js doctor --json; :';
    const sh = ['sh', '-c', script, 'sh', disabled, process.execPath];
    const { abilities } = JSON.parse(execFileSync('unshare', ['--mount', ...sh], { encoding: 'utf8' }));
    fs.rmSync(folder, { recursive: true });
    expect(abilities).toContainEqual(
      expect.objectContaining({ name: 'ipvs', works: false, reason: 'sysctl', remedy: 'reboot' }),
    );
    expect(isLoaded()).toBe(false);
    expect(await said({ load: true })).toEqual({ name: 'ipvs', works: true });
    expect(isLoaded()).toBe(true);
  });
});
