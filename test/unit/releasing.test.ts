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
    'src',
    'native',
    'dist',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'SECURITY.md',
  ])
    if (fs.existsSync(name)) fs.cpSync(name, join(folder, name), { recursive: true });
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

  run(commandsOf('3. Sign'));
  expect(run(commandsOf('4. Check'))).toMatch(/netsteer-.*\.tgz: OK\nsbom\.cdx\.json: OK\n/);

  fs.appendFileSync(tarball, 'x');
  expect(() => run(commandsOf('4. Check'))).toThrow(/did NOT match/);
  fs.writeFileSync(tarball, first);
  fs.appendFileSync(join(folder, 'release', 'SHA512SUMS'), '\n');
  expect(() => run(commandsOf('4. Check'))).toThrow(/incorrect signature|Could not verify/i);
});
