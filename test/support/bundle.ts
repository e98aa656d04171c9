import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CleanUps } from './clean-ups.ts';
import { PATIENCE_MILLISECONDS } from './wait.ts';

export const run = (program: string, ...parameters: string[]): string =>
  execFileSync(program, parameters, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: PATIENCE_MILLISECONDS,
  }).trim();

/** A folder that is gone after the test; anybody may enter it. */
export function scratchFolder(cleanUps: CleanUps): string {
  const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-runtime-'));
  fs.chmodSync(folder, 0o755);
  cleanUps.add(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A root file system with one program, which sleeps. */
export function rootFolder(cleanUps: CleanUps): string {
  const folder = scratchFolder(cleanUps);
  for (const name of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp', 'usr']) fs.mkdirSync(join(folder, name));
  fs.copyFileSync('/usr/bin/busybox', join(folder, 'bin', 'busybox'));
  fs.symlinkSync('busybox', join(folder, 'bin', 'sleep'));
  return folder;
}

/** The same as an archive, for runtimes that want an image. */
export function rootArchive(cleanUps: CleanUps): string {
  const root = rootFolder(cleanUps);
  const archive = join(scratchFolder(cleanUps), 'root.tar');
  run('tar', '-C', root, '-cf', archive, '.');
  return archive;
}

/** An OCI bundle whose program sleeps, with these namespaces beside those of pids and mounts. */
export function bundleFolder(cleanUps: CleanUps, namespaces: object[]): string {
  const bundle = scratchFolder(cleanUps);
  const config = {
    ociVersion: '1.0.2',
    process: { cwd: '/', args: ['/bin/sleep', '1000'], user: { uid: 0, gid: 0 }, env: ['PATH=/bin'] },
    root: { path: rootFolder(cleanUps) },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, ...namespaces] },
  };
  fs.writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
  return bundle;
}

/** A container of runc's, with these namespaces. */
export function startRunc(cleanUps: CleanUps, name: string, namespaces: object[]): void {
  const bundle = bundleFolder(cleanUps, namespaces);
  cleanUps.add(() => spawnSync('runc', ['delete', '--force', name], { stdio: 'ignore' }));
  execFileSync('runc', ['run', '--detach', '--bundle', bundle, name], { stdio: 'ignore' });
}

/** A container of crun's. It refuses cgroups of both versions at once, where it is not kept from seeing one of them. */
export function startCrun(cleanUps: CleanUps, name: string, namespaces: object[]): void {
  const bundle = bundleFolder(cleanUps, namespaces);
  cleanUps.add(() => spawnSync('crun', ['delete', '--force', name], { stdio: 'ignore' }));
  const script =
    'if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi; exec crun --cgroup-manager=disabled run --detach --bundle "$0" "$1"';
  execFileSync('unshare', ['--mount', 'sh', '-c', script, bundle, name], { stdio: 'ignore' });
}
