import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { NetNs } from 'netsteer';
import { expect, it } from 'vitest';
import { scratchFolder } from '../support/bundle.ts';
import { cleanUpsOfEach } from '../support/clean-ups.ts';
import { refuseControl } from '../support/fuzz/judge.ts';
import { kernelSuite } from '../support/where.ts';

const PROGRAM = new URL('../../bin/netsteer.js', import.meta.url).pathname;
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

const cleanUps = cleanUpsOfEach();

/** Runs the program as a user does, behind another program. */
function netsteer(
  parameters: string[],
  wrapper: string[] = [],
): { status: number | null; output: string; errors: string } {
  const [file, ...rest] = [...wrapper, process.execPath, PROGRAM, ...parameters];
  const { status, stdout, stderr } = spawnSync(file!, rest, { encoding: 'utf8' });
  return { status, output: stdout, errors: stderr };
}

const diagnosis = (parameters: string[], wrapper?: string[]) => {
  const { status, output } = netsteer(['doctor', '--json', ...parameters], wrapper);
  const found = JSON.parse(output);
  const by = Object.fromEntries(found.abilities.map((ability: { name: string }) => [ability.name, ability]));
  return { status, output, found, by };
};

/** A process with a name of its own, in a namespace of its own. */
async function inhabitant(name: string): Promise<{ pid: number; inode: number }> {
  const program = join(scratchFolder(cleanUps), name);
  fs.copyFileSync('/bin/sleep', program);
  const netns = NetNs.create();
  const child = netns.run(() => spawn(program, ['infinity'], { stdio: 'ignore' }));
  cleanUps.add(() => child.kill('SIGKILL'));
  const { inode } = netns;
  netns.close();
  await expect.poll(() => fs.readFileSync(`/proc/${child.pid}/comm`, 'utf8')).toBe(`${name}\n`);
  return { pid: child.pid!, inode };
}

const modules = (): string => (fs.existsSync('/proc/modules') ? fs.readFileSync('/proc/modules', 'utf8') : '');
const moduleNames = (text: string): string[] => text.split('\n').map(line => line.split(' ')[0]!);

kernelSuite('netsteer doctor', () => {
  it('reports what works in a container, and loads no module for it', async () => {
    const { pid, inode } = await inhabitant('web');
    const before = moduleNames(modules());
    const { status, found, by } = diagnosis(['--pid', String(pid)]);
    expect(found).toMatchObject({ process: { pid, name: 'web' }, netns: inode });
    expect(found.versions).toMatchObject({
      node: process.version,
      kernel: expect.any(String),
      ffi: expect.any(String),
    });
    for (const name of ['enter', 'nftables', 'redirect', 'log', 'nflog', 'conntrack'])
      expect(by[name]).toMatchObject({ works: true });
    expect(status).toBe(found.ok ? 0 : 1);
    expect(found.ok).toBe(by.ipvs.works);
    // Others may load some meanwhile, but not these.
    const loaded = moduleNames(modules()).filter(name => !before.includes(name) && /^(ip_vs|nft_redir)/.test(name));
    expect(loaded).toEqual([]);
  });

  it('prints words, and escapes names that could control a terminal', async () => {
    const name = '\u001b[2J\u009b\n\u202eok';
    const { pid } = await inhabitant(name);
    const { output } = netsteer(['doctor', '--pid', String(pid)]);
    refuseControl(output);
    expect(output).toContain(`process ${pid} (\\x1b[2J\\x9b\\x0a\\u202eok)`);
    expect(output).toMatch(/^works {2}nftables$/m);
    const { output: json, found } = diagnosis(['--pid', String(pid)]);
    refuseControl(json);
    expect(found.process.name).toBe(name);
  });

  it('reports which permissions a user lacks, and why', async () => {
    const weak = diagnosis([], NOBODY);
    expect(weak.status).toBe(1);
    expect(weak.by.nflog).toMatchObject({
      works: false,
      reason: 'capability',
      remedy: expect.stringContaining('root'),
    });
    expect(weak.by.nftables).toMatchObject({ works: false, reason: 'capability' });
    expect(weak.by.redirect).toMatchObject({ works: false, reason: 'base', why: 'needs nftables' });
    // Root of a user namespace of its own, in the network namespace of the machine.
    const elsewhere = diagnosis([], ['unshare', '--user', '--map-root-user']);
    expect(elsewhere.status).toBe(1);
    expect(elsewhere.by.nftables).toMatchObject({ works: false, reason: 'user-namespace' });
    expect(elsewhere.by.nflog).toMatchObject({ works: false, reason: 'user-namespace' });
    // With one capability of the three, the own namespace can be programmed, and no other be entered.
    const few = [...NOBODY, '--inh-caps=+net_admin', '--ambient-caps=+net_admin'];
    expect(diagnosis([], few).by).toMatchObject({ nftables: { works: true }, nflog: { works: true } });
    const { pid } = await inhabitant('web');
    const refused = diagnosis(['--pid', String(pid)], few);
    expect(refused).toMatchObject({ status: 1, found: { error: { code: 'EACCES' } } });
    expect(refused.found.error.message).toContain('CAP_SYS_PTRACE');
    const without = [...NOBODY, '--inh-caps=+net_admin,+sys_ptrace', '--ambient-caps=+net_admin,+sys_ptrace'];
    expect(diagnosis(['--pid', String(pid)], without).by.enter).toMatchObject({ works: false, reason: 'capability' });
  });

  it('rejects a missing container with ERR_NO_CONTAINER, and arguments that it does not know', () => {
    const dead = execFileSync('sh', ['-c', 'echo $$'], { encoding: 'utf8' }).trim();
    expect(diagnosis(['--pid', dead])).toMatchObject({ status: 1, found: { ok: false, error: { code: 'ESRCH' } } });
    expect(diagnosis(['--container', 'no-such'])).toMatchObject({
      status: 1,
      found: { ok: false, error: { code: 'ERR_NO_CONTAINER' } },
    });
    for (const wrong of [
      ['doctr'],
      ['doctor', '--pid', '-1'],
      ['doctor', '--what'],
      ['doctor', '--pid=1', '--container=a'],
    ]) {
      const { status, output, errors } = netsteer(wrong);
      expect({ status, output }).toEqual({ status: 2, output: '' });
      expect(errors).toMatch(/^netsteer: .+\n\nusage: /);
    }
    expect(netsteer(['--help'])).toMatchObject({ status: 0, errors: '' });
  });
});
