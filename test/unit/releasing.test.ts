import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

/*
 * What docs/releasing.md tells to do, done: packing, signing and checking, on a copy that has what is shipped. Not the tests (this is one of
 * them), and not the publishing.
 */

/** The commands of one step of the page. */
function commandsOf(step: string): string {
  const page = fs.readFileSync('docs/releasing.md', 'utf8');
  const [, rest = ''] = page.split(`\n## ${step}\n`);
  return /```sh\n([\s\S]*?)```/.exec(rest.split('\n## ')[0]!)![1]!;
}

let folder: string;
let env: Record<string, string | undefined>;

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-release-'));
  for (const name of [
    'package.json',
    'package-lock.json',
    'bin',
    'build',
    'dist',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'SECURITY.md',
  ])
    fs.cpSync(name, join(folder, name), { recursive: true });
  const key = join(folder, 'key');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', key]);
  const signers = join(folder, 'allowed_signers');
  fs.writeFileSync(signers, `maintainer ${fs.readFileSync(`${key}.pub`, 'utf8')}`);
  env = { ...process.env, RELEASE_KEY: key, ALLOWED_SIGNERS: signers, MAINTAINER: 'maintainer' };
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const run = (commands: string): string =>
  execFileSync('sh', ['-euc', commands], { cwd: folder, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

test('the commands of docs/releasing.md pack, sign and check a release, and notice a changed file', () => {
  const pack = commandsOf('2. Pack');
  expect(pack).toContain('npm run build\n');
  // Built it is already, where it is: this is about what becomes of it.
  run(pack.replace('npm run build\n', ''));
  const packed = fs.readdirSync(join(folder, 'release'));
  const version = JSON.parse(fs.readFileSync('package.json', 'utf8')).version as string;
  expect(packed.sort()).toEqual(['SHA512SUMS', `netsteer-${version}.tgz`, 'sbom.cdx.json']);
  const tarball = join(folder, 'release', `netsteer-${version}.tgz`);
  const first = fs.readFileSync(tarball);
  run('npm pack --pack-destination release');
  expect(fs.readFileSync(tarball).equals(first)).toBe(true);
  const contents = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' });
  for (const name of ['SECURITY.md', 'LICENSE', 'CHANGELOG.md']) expect(contents).toContain(`package/${name}\n`);

  // npm has put back the pages of the repository.
  expect(fs.readFileSync(join(folder, 'README.md'), 'utf8')).toBe(fs.readFileSync('README.md', 'utf8'));

  run(commandsOf('3. Sign'));
  expect(run(commandsOf('4. Check'))).toMatch(/netsteer-.*\.tgz: OK\nsbom\.cdx\.json: OK\n/);

  fs.appendFileSync(tarball, 'x');
  expect(() => run(commandsOf('4. Check'))).toThrow(/did NOT match/);
  fs.writeFileSync(tarball, first);
  fs.appendFileSync(join(folder, 'release', 'SHA512SUMS'), '\n');
  expect(() => run(commandsOf('4. Check'))).toThrow(/incorrect signature|Could not verify/i);
});

test('every link of the packed pages leads to a file of the package', () => {
  const unpacked = join(folder, 'unpacked');
  fs.mkdirSync(unpacked);
  run(`npm pack --pack-destination ${unpacked}`);
  execFileSync('tar', ['-xzf', join(unpacked, fs.readdirSync(unpacked)[0]!), '-C', unpacked]);
  const pages = fs.readdirSync(join(unpacked, 'package')).filter(name => name.endsWith('.md'));
  expect(pages.sort()).toEqual(['CHANGELOG.md', 'README.md', 'SECURITY.md']);
  for (const page of pages) {
    const text = fs.readFileSync(join(unpacked, 'package', page), 'utf8');
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(match => match[1]!);
    expect(links.filter(link => !fs.existsSync(join(unpacked, 'package', link)))).toEqual([]);
    // What was a link still says where to look.
    const named = [...text.matchAll(/`((?:docs|examples|test)\/[^`]+\.(?:md|ts))`/g)].map(match => match[1]!);
    expect(named.filter(file => !fs.existsSync(file))).toEqual([]);
    if (page === 'README.md') expect(named).toContain('docs/guide/balance.md');
  }
});
