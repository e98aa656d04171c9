import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Container, NetNsError } from 'netsteer';
import { Transaction } from 'netsteer/nftables';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { kernelSuite } from '../support/where.ts';

const NAME = `netsteer-find-${process.pid}`;
const LONG = process.env.NETSTEER_LONG === '1';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const run = (program: string, ...parameters: string[]): string =>
  execFileSync(program, parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 }).trim();

/** A root file system with one program, which sleeps. */
function rootFolder(): string {
  const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-root-'));
  cleanUps.push(() => fs.rmSync(folder, { recursive: true, force: true }));
  for (const name of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp']) fs.mkdirSync(join(folder, name));
  fs.copyFileSync('/usr/bin/busybox', join(folder, 'bin', 'busybox'));
  fs.symlinkSync('busybox', join(folder, 'bin', 'sleep'));
  return folder;
}

/** A container of runc's, with the namespaces that are given. */
function startRunc(network: object[]): void {
  const bundle = fs.mkdtempSync(join(tmpdir(), 'netsteer-bundle-'));
  const config = {
    ociVersion: '1.0.2',
    process: { cwd: '/', args: ['/bin/sleep', '1000'], user: { uid: 0, gid: 0 }, env: ['PATH=/bin'] },
    root: { path: rootFolder() },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, ...network] },
  };
  fs.writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
  cleanUps.push(() => {
    spawnSync('runc', ['delete', '--force', NAME], { stdio: 'ignore' });
    fs.rmSync(bundle, { recursive: true, force: true });
  });
  execFileSync('runc', ['run', '--detach', '--bundle', bundle, NAME], { stdio: 'ignore' });
}

/** It is the one that its runtime says it is, and can be programmed. */
async function expectFound(id: string, runtime: string, pid: string): Promise<void> {
  await using container = await Container.find(id, { runtime: runtime as 'runc' });
  expect(container.netns.inode).toBe(fs.statSync(`/proc/${pid}/ns/net`).ino);
  await container.nftables.commit(new Transaction().add({ table: { family: 'ip', name: 'found' } }));
  expect((await container.nftables.tables()).map(({ name }) => name)).toEqual(['found']);
}

kernelSuite("a container of a real runtime's", () => {
  it('is found by runc', async () => {
    startRunc([{ type: 'network' }]);
    await expectFound(NAME, 'runc', String(JSON.parse(run('runc', 'state', NAME)).pid));
    run('runc', 'kill', NAME, 'KILL');
    await expect
      .poll(
        () =>
          Container.find(NAME).then(
            container => container.close(),
            error => error.code,
          ),
        { timeout: 30_000 },
      )
      .toMatch(/^(ERR_NO_CONTAINER|ESRCH)$/);
  });

  it("is refused by runc with the host's network, and with another container's, unless that is asked for", async () => {
    startRunc([]);
    await expect(Container.find(NAME)).rejects.toMatchObject({ code: 'ERR_HOST_NAMESPACE' });
    await expect(Container.find(NAME)).rejects.toBeInstanceOf(NetNsError);
    (await Container.find(NAME, { allowHost: true })).close();
    spawnSync('runc', ['delete', '--force', NAME], { stdio: 'ignore' });
    const other = spawn('unshare', ['--net', 'sleep', '1000'], { stdio: 'ignore' });
    cleanUps.push(() => other.kill('SIGKILL'));
    const home = fs.statSync('/proc/self/ns/net').ino;
    await expect.poll(() => fs.statSync(`/proc/${other.pid}/ns/net`).ino).not.toBe(home);
    startRunc([{ type: 'network', path: `/proc/${other.pid}/ns/net` }]);
    await expect(Container.find(NAME)).rejects.toMatchObject({ code: 'ERR_SHARED_NAMESPACE' });
    (await Container.find(NAME, { allowShared: true })).close();
  });

  it('is not found where there is none', async () => {
    await expect(Container.find(`${NAME}-absent`)).rejects.toMatchObject({ code: 'ERR_NO_CONTAINER' });
    await expect(Container.find('x', { runtime: 'rkt' as 'runc' })).rejects.toMatchObject({ attribute: 'runtime' });
    await expect(Container.find('x', { socket: '/nowhere.sock' })).rejects.toMatchObject({ code: 'ERR_RUNTIME' });
  });

  // They bring a hundred packages with them, which only `npm run test:long` installs.
  if (!LONG) return;
  describe('beside runc', () => {
    beforeAll(() => {
      run('apt-get', 'install', '--yes', '--no-install-recommends', 'podman', 'lxc', 'containerd');
    }, 600_000);

    it('is found by podman, in its storage and by its socket', async () => {
      const root = rootFolder();
      const archive = join(root, 'tmp', 'root.tar');
      run('tar', '-C', root, '--exclude', './tmp/*', '-cf', archive, '.');
      run('podman', 'import', archive, NAME);
      cleanUps.push(() => spawnSync('podman', ['rmi', '--force', NAME]));
      const limits = ['--ulimit', 'nofile=1000:1000', '--ulimit', 'nproc=100:100'];
      const program = [`localhost/${NAME}`, '/bin/sleep', '1000'];
      const options = ['--detach', '--name', NAME, '--network', 'none', ...limits, ...program];
      const id = run('podman', '--runtime', 'runc', '--cgroup-manager', 'cgroupfs', 'run', ...options);
      cleanUps.push(() => spawnSync('podman', ['rm', '--force', NAME]));
      const pid = run('podman', 'inspect', NAME, '--format', '{{.State.Pid}}');
      await expectFound(NAME, 'podman', pid);
      await expectFound(id.slice(0, 12), 'podman', pid);
      const socket = join(root, 'podman.sock');
      const service = spawn('podman', ['system', 'service', '--time', '60', `unix://${socket}`], { stdio: 'ignore' });
      cleanUps.push(() => service.kill('SIGKILL'));
      await expect.poll(() => fs.existsSync(socket), { timeout: 60_000 }).toBe(true);
      await using container = await Container.find(NAME, { runtime: 'podman', socket });
      expect(container.id).toBe(id);
      expect(container.netns.inode).toBe(fs.statSync(`/proc/${pid}/ns/net`).ino);
    });

    it('is found by LXC', async () => {
      const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-lxc-'));
      cleanUps.push(() => fs.rmSync(folder, { recursive: true, force: true }));
      fs.chmodSync(folder, 0o755);
      fs.mkdirSync(join(folder, NAME));
      const config = `lxc.uts.name = ${NAME}\nlxc.rootfs.path = dir:${rootFolder()}\nlxc.net.0.type = empty\nlxc.init.cmd = /bin/sleep 1000\nlxc.apparmor.profile = unconfined\n`;
      fs.writeFileSync(join(folder, NAME, 'config'), config);
      run('lxc-start', '--lxcpath', folder, '--name', NAME);
      cleanUps.push(() => spawnSync('lxc-stop', ['--kill', '--lxcpath', folder, '--name', NAME]));
      const pid = run('lxc-info', '--lxcpath', folder, '--name', NAME, '--pid', '--no-humanize');
      await expectFound(NAME, 'lxc', pid);
    });

    it("is found by containerd's shim", async () => {
      const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-containerd-'));
      const socket = join(folder, 'c.sock');
      const daemon = spawn('containerd', ['--root', join(folder, 'root'), '--address', socket], { stdio: 'ignore' });
      const ctr = (...parameters: string[]) => run('ctr', '--address', socket, ...parameters);
      cleanUps.push(() => {
        daemon.kill('SIGKILL');
        fs.rmSync(folder, { recursive: true, force: true });
      });
      await expect.poll(() => fs.existsSync(socket), { timeout: 60_000 }).toBe(true);
      ctr('run', '--detach', '--rootfs', rootFolder(), NAME, '/bin/sleep', '1000');
      cleanUps.push(() => {
        spawnSync('ctr', ['--address', socket, 'task', 'rm', '--force', NAME]);
        spawnSync('ctr', ['--address', socket, 'container', 'rm', NAME]);
      });
      const pid = new RegExp(`^${NAME}\\s+(\\d+)`, 'm').exec(ctr('task', 'ls'))![1]!;
      await expectFound(NAME, 'containerd', pid);
    });
  });
});
