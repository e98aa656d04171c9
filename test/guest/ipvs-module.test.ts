import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { Ipvs, NetNs, UnsupportedError } from 'netsteer';
import { afterEach, beforeEach, expect, it } from 'vitest';
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
  for (let tries = 120; ; tries--) {
    try {
      unload();
      return;
    } catch (error) {
      if (tries === 0) throw error;
      await new Promise(resolve => setTimeout(resolve, 250));
    }
  }
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

  it('and cannot: each way says so, and goes on once it can', async () => {
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
});
