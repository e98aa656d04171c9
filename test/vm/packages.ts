import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MAX_BUFFER = 64 * 1024 * 1024;

/**
 * What a guest takes beside Debian's essential packages: the emulator (its -common package, a dependency, holds
 * virtiofsd), a shell for the initramfs, and modprobe/depmod.
 */
export const GUEST_PACKAGES: readonly string[] = ['qemu-system-x86', 'busybox-static', 'kmod'];

export type KernelSeries = '6.1' | '6.12';

const META_PACKAGES: Record<KernelSeries, string> = {
  '6.1': 'linux-image-cloud-amd64',
  '6.12': 'linux-image-6.12-cloud-amd64',
};

/** Where both kernels are published, for machines whose own apt sources do not list them (or are not Debian 12). */
const BOOKWORM_SOURCES = `Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Architectures: amd64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Architectures: amd64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`;

/** A Debian kernel, unpacked into the cache and never installed. All paths are absolute and free of symlinks. */
export interface KernelPackage {
  /** The versioned package's name, e.g. `linux-image-6.1.0-56-cloud-amd64`. */
  readonly package: string;
  /** Debian's version, e.g. `6.1.192-2`. */
  readonly version: string;
  /** What `uname -r` says in the guest, e.g. `6.1.0-56-cloud-amd64`. */
  readonly release: string;
  readonly vmlinuz: string;
  /** Holds `kernel/` and depmod's indexes; becomes `/lib/modules/<release>` in the guest. */
  readonly modulesDirectory: string;
}

/** Whether this process may do everything, as opposed to what a user may. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * Makes sure Debian packages are installed: as root on Debian the missing ones are installed with apt-get.
 *
 * @throws Error that names what is missing and the one command to run, when this user or system cannot install it;
 *   or apt-get's own output, when it fails
 */
export async function ensurePackages(names: readonly string[]): Promise<void> {
  const missing = await missingPackages(names);
  if (missing.length === 0) return;
  const install = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  const debian = await exists('/etc/debian_version');
  if (!debian || !isRoot()) {
    throw new Error(
      `missing ${debian ? '' : '(this needs Debian 12) '}packages: ${missing.join(' ')}\n` +
        `run as root: apt-get update && ${install}`,
    );
  }
  // flock: two guests that start at once would otherwise fight over apt's lists, whose lock apt never waits for.
  // An update that fails (no network) is no reason to stop: the lists at hand may do.
  const script = `apt-get update; exec ${install.replace('apt-get', 'apt-get -o DPkg::Lock::Timeout=300')}`;
  const lock = join(await cacheDirectory(), 'apt.lock');
  await runCommand('flock', [lock, 'sh', '-c', script], { DEBIAN_FRONTEND: 'noninteractive' });
}

/**
 * A kernel of Debian 12, downloaded and unpacked once and cached in `$XDG_CACHE_HOME/netsteer/kernels` (default
 * `~/.cache/...`). The newest version the machine's apt lists know is taken; without network, whatever the cache
 * holds; and where apt knows none, Debian 12's own archive through private lists. Needs no root.
 *
 * @throws Error with every reason, when there is neither a download nor a cached version
 */
export function kernelPackage(series: KernelSeries): Promise<KernelPackage> {
  let found = kernels.get(series);
  if (!found) {
    found = findKernel(series);
    // A failure is not remembered: the network may be back for the next caller.
    found.catch(() => kernels.delete(series));
    kernels.set(series, found);
  }
  return found;
}

const kernels = new Map<KernelSeries, Promise<KernelPackage>>();

async function findKernel(series: KernelSeries): Promise<KernelPackage> {
  const directory = join(await cacheDirectory(), 'kernels');
  await mkdir(directory, { recursive: true });
  await removeAbandoned(directory);
  const reasons: string[] = [];
  try {
    return await obtain(series, directory, []);
  } catch (error) {
    reasons.push(`apt: ${messageOf(error)}`);
  }
  const cached = await newestCached(series, directory);
  if (cached) return cached;
  const scratch = await mkdtemp(join(directory, '.apt-'));
  try {
    return await obtain(series, directory, await privateLists(scratch));
  } catch (error) {
    reasons.push(`deb.debian.org: ${messageOf(error)}`);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  throw new Error(`no ${META_PACKAGES[series]} to be had, and none in ${directory}\n${reasons.join('\n')}`);
}

async function obtain(series: KernelSeries, directory: string, aptOptions: string[]): Promise<KernelPackage> {
  const { name, version } = await candidate(series, aptOptions);
  const home = join(directory, cacheName(series, name, version));
  if (!(await exists(home))) await downloadAndUnpack(`${name}=${version}`, home, directory, aptOptions);
  return describe(home);
}

/** The meta package's dependency. Its name carries the ABI, so every kernel update is another package. */
async function candidate(series: KernelSeries, aptOptions: string[]): Promise<{ name: string; version: string }> {
  const shown = await runCommand('apt-cache', [...aptOptions, '--no-all-versions', 'show', META_PACKAGES[series]]);
  const version = /^Version: (.+)$/m.exec(shown)?.[1];
  const name = /^Depends:.*?(linux-image-[\w.+-]+)/m.exec(shown)?.[1];
  // The 6.1 meta package has no series in its name: on Debian 13 it would be 6.12.
  if (!name || !version?.startsWith(`${series}.`))
    throw new Error(`${META_PACKAGES[series]} is ${version ?? 'unknown'}`);
  return { name, version };
}

async function downloadAndUnpack(what: string, home: string, directory: string, aptOptions: string[]): Promise<void> {
  const scratch = await mkdtemp(join(directory, '.unpack-'));
  try {
    // apt drops its rights to _apt for downloads, who cannot enter root's cache; it warns and goes on without.
    const sandbox = isRoot() ? ['-o', 'APT::Sandbox::User=root'] : [];
    await runCommand('apt-get', [...aptOptions, ...sandbox, '-q', 'download', what], {}, scratch);
    const archive = (await readdir(scratch)).find(file => file.endsWith('.deb'));
    if (!archive) throw new Error(`apt-get download left no archive of ${what}`);
    const tree = join(scratch, 'tree');
    await runCommand('dpkg-deb', ['-x', join(scratch, archive), tree]);
    const [release] = await readdir(join(tree, 'lib/modules'));
    if (!release) throw new Error(`${what} has no modules`);
    // 6.12's modules are xz: unpacked here once, not in an emulated guest at every modprobe.
    await runCommand('find', [tree, '-name', '*.ko.xz', '-exec', 'busybox', 'unxz', '{}', '+']);
    await runCommand('depmod', ['-b', tree, release], { PATH: `${process.env.PATH}:/usr/sbin:/sbin` });
    await rename(tree, home).catch(async error => {
      // Somebody else unpacked the same version meanwhile: theirs is as good.
      if (!(await exists(home))) throw error;
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Options for apt that use Debian 12's archive with lists of their own and leave the machine's untouched. */
async function privateLists(directory: string): Promise<string[]> {
  const sources = join(directory, 'bookworm.sources');
  await writeFile(sources, BOOKWORM_SOURCES);
  await mkdir(join(directory, 'lists/partial'), { recursive: true });
  await mkdir(join(directory, 'cache/archives/partial'), { recursive: true });
  const options = [
    'Dir::Etc::sourcelist=/dev/null',
    `Dir::Etc::sourceparts=${directory}`,
    `Dir::State::lists=${join(directory, 'lists')}`,
    `Dir::Cache=${join(directory, 'cache')}`,
    'Acquire::Languages=none',
    // Without it an update that reached nothing counts as a success.
    'APT::Update::Error-Mode=any',
    ...(isRoot() ? ['APT::Sandbox::User=root'] : []),
  ].flatMap(option => ['-o', option]);
  await runCommand('apt-get', [...options, '-q', 'update']);
  return options;
}

async function newestCached(series: KernelSeries, directory: string): Promise<KernelPackage | undefined> {
  const names = (await readdir(directory)).filter(name => name.startsWith(`${series}_`));
  const dated = await Promise.all(names.map(async name => ({ name, at: (await stat(join(directory, name))).mtimeMs })));
  const newest = dated.sort((a, b) => b.at - a.at)[0];
  return newest && describe(join(directory, newest.name));
}

/** What an interrupted download left. Younger than an hour it may be one that is still under way. */
async function removeAbandoned(directory: string): Promise<void> {
  for (const name of (await readdir(directory)).filter(name => name.startsWith('.'))) {
    const path = join(directory, name);
    const age = Date.now() - (await stat(path).catch(() => ({ mtimeMs: Date.now() }))).mtimeMs;
    if (age > 3600_000) await rm(path, { recursive: true, force: true });
  }
}

function cacheName(series: KernelSeries, name: string, version: string): string {
  return `${series}_${name}_${version}`;
}

async function describe(home: string): Promise<KernelPackage> {
  const tree = await realpath(home);
  const [, name = '', version = ''] = home.slice(home.lastIndexOf('/') + 1).split('_');
  const release = name.replace('linux-image-', '');
  return {
    package: name,
    version,
    release,
    vmlinuz: join(tree, 'boot', `vmlinuz-${release}`),
    modulesDirectory: join(tree, 'lib/modules', release),
  };
}

async function cacheDirectory(): Promise<string> {
  const directory = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'netsteer');
  await mkdir(directory, { recursive: true }).catch(error => {
    throw new Error(`no cache directory (${messageOf(error)}): set XDG_CACHE_HOME to one this user can write`);
  });
  return directory;
}

async function missingPackages(names: readonly string[]): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the placeholders are dpkg's
  const format = '${db:Status-Status} ${Package}\n';
  // dpkg-query fails when it does not know one of the names, and still prints the others.
  const query = run('dpkg-query', ['-W', '-f', format, ...names]);
  const { stdout } = await query.catch((error: { stdout?: string }) => ({ stdout: error.stdout ?? '' }));
  const installed = new Set(stdout.split('\n'));
  return names.filter(name => !installed.has(`installed ${name}`));
}

async function runCommand(file: string, args: string[], env: NodeJS.ProcessEnv = {}, cwd?: string): Promise<string> {
  const options = { cwd, env: { ...process.env, LC_ALL: 'C', ...env }, maxBuffer: MAX_BUFFER };
  try {
    return (await run(file, args, options)).stdout;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${file} failed: ${`${stdout}${stderr}`.trim().slice(-2000) || messageOf(error)}`);
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
