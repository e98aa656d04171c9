import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** The headers of a kernel that is newer than the installed linux-libc-dev. */
export interface Headers {
  /** '6.12.117' */
  kernel: string;
  /** The folder include/uapi. */
  uapi: string;
}

/** A package of Debian with the headers for building modules: 'linux-headers-6.12.117+deb12-common'. */
const PACKAGE = /^linux-headers-(\d+\.\d+\.\d+)[\w.+~-]*-common$/;

/** The newest such headers on this machine: installed, or in the cache that `fetchNewest` fills. */
export function newestHere(): Headers | undefined {
  const found = ['/usr/src', cache()].flatMap(directory =>
    list(directory).flatMap(name => {
      const kernel = PACKAGE.exec(name)?.[1];
      const uapi = path.join(directory, name, 'include/uapi');
      return kernel !== undefined && fs.existsSync(uapi) ? [{ kernel, uapi }] : [];
    }),
  );
  return found.sort((a, b) => compareVersions(a.kernel, b.kernel)).at(-1);
}

/** Downloads the newest such headers that apt knows into the cache, without installing them: needs no root. */
export function fetchNewest(): void {
  const names = run('apt-cache', ['pkgnames', 'linux-headers-'])
    .split('\n')
    .filter(name => PACKAGE.test(name));
  const newest = names.sort((a, b) => compareVersions(PACKAGE.exec(a)![1]!, PACKAGE.exec(b)![1]!)).at(-1);
  if (newest === undefined) throw new Error('apt knows no package linux-headers-*-common: apt-get update');
  const target = path.join(cache(), newest);
  if (fs.existsSync(target)) return;
  fs.mkdirSync(cache(), { recursive: true });
  const scratch = fs.mkdtempSync(path.join(cache(), '.new-'));
  try {
    // apt gives up its rights for downloads, and its user cannot enter root's folders.
    const sandbox = process.getuid?.() === 0 ? ['-o', 'APT::Sandbox::User=root'] : [];
    run('apt-get', [...sandbox, '-q', 'download', newest], scratch);
    const archive = list(scratch).find(file => file.endsWith('.deb'));
    if (archive === undefined) throw new Error(`apt-get download left no archive of ${newest}`);
    run('dpkg-deb', ['-x', archive, 'tree'], scratch);
    fs.renameSync(path.join(scratch, 'tree/usr/src', newest), target);
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/** Negative where the first version is the older one. Only as many numbers count as both have: 6.12.1 and 6.12 are equal. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map(text => text.split('.').map(Number)) as [number[], number[]];
  for (let i = 0; i < Math.min(left.length, right.length); i++)
    if (left[i] !== right[i]) return (left[i] ?? 0) - (right[i] ?? 0);
  return 0;
}

function cache(): string {
  return path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'netsteer/headers');
}

function list(directory: string): string[] {
  return fs.existsSync(directory) ? fs.readdirSync(directory) : [];
}

function run(command: string, parameters: string[], cwd?: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, parameters, {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    ...(cwd !== undefined && { cwd }),
  });
  if (status !== 0) throw new Error(`${command} ${parameters.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}
