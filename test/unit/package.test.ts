import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { packedPage } from '../../packing/pages.ts';

interface Entry {
  readonly name?: string;
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly license?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
}

const manifest = JSON.parse(fs.readFileSync('package.json', 'utf8'));
const lock = JSON.parse(fs.readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, Entry> };
/** All but the project itself. */
const entries = Object.entries(lock.packages).filter(([place]) => place !== '');
const nameOf = ([place, { name }]: [string, Entry]): string => name ?? place.split('node_modules/').at(-1)!;

const npm = (...parameters: string[]): string =>
  execFileSync('npm', parameters, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024, stdio: ['ignore', 'pipe', 'pipe'] });

describe('package-lock.json', () => {
  test('has the SHA-512 of every package', () => {
    expect(entries.length).toBeGreaterThan(300);
    const without = entries.filter(([, { integrity = '' }]) => !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity));
    expect(without.map(([place]) => place)).toEqual([]);
  });

  test('has one checksum for each version of a package', () => {
    const known = new Map<string, string>();
    for (const entry of entries) {
      const id = `${nameOf(entry)}@${entry[1].version}`;
      expect(known.get(id) ?? entry[1].integrity, id).toBe(entry[1].integrity);
      known.set(id, entry[1].integrity!);
    }
  });

  test('names no registry, folder or link: packages are identified by checksum', () => {
    expect(entries.filter(([, { resolved, link }]) => resolved !== undefined || link)).toEqual([]);
  });

  test('matches the dependencies of package.json', () => {
    for (const field of ['dependencies', 'devDependencies', 'peerDependencies'])
      expect((lock.packages[''] as Record<string, unknown>)[field]).toEqual(manifest[field]);
  });
});

describe('the bill of materials (npm sbom)', () => {
  test.each([
    ['of all', [], entries],
    ['of what is shipped', ['--omit', 'dev'], entries.filter(([, { dev }]) => !dev)],
  ] as const)('has every package with version, licence and checksum: %s', (_, parameters, expected) => {
    const { components } = JSON.parse(
      npm('sbom', '--sbom-format', 'cyclonedx', '--package-lock-only', ...parameters),
    ) as {
      components: {
        purl: string;
        hashes?: { alg: string; content: string }[];
        licenses?: { license?: { id?: string }; expression?: string }[];
      }[];
    };
    const listed = components.map(({ purl, hashes, licenses = [] }) => ({
      purl: decodeURIComponent(purl),
      hashes,
      licensed: licenses.length > 0,
    }));
    const wanted = expected.map(entry => ({
      purl: `pkg:npm/${nameOf(entry)}@${entry[1].version}`,
      hashes: [{ alg: 'SHA-512', content: Buffer.from(entry[1].integrity!.slice(7), 'base64').toString('hex') }],
      licensed: true,
    }));
    const order = (a: { purl: string }, b: { purl: string }) => (a.purl < b.purl ? -1 : 1);
    // One that is installed in two places is listed twice, or once.
    const once = (list: typeof wanted) => [...new Map(list.map(each => [each.purl, each])).values()].sort(order);
    expect(once(listed as typeof wanted)).toEqual(once(wanted));
  });
});

describe('the package', () => {
  test('has the library, its program and its documents, and nothing else', () => {
    const answer: unknown = JSON.parse(npm('pack', '--dry-run', '--json', '--ignore-scripts'));
    // npm 11.19 names it; those before it give a list.
    const [packed] = (Array.isArray(answer) ? answer : Object.values(answer as object)) as {
      files: { path: string }[];
    }[];
    const files = packed!.files.map(({ path }) => path);
    const ofItself = ['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md', 'package.json'];
    expect(files.filter(path => !path.includes('/')).sort()).toEqual(ofItself);
    expect(files).toContain('bin/netsteer.js');
    expect(files.filter(path => path.includes('/') && !/^(bin\/netsteer|dist\/.*)\.(js|d\.ts)$/.test(path))).toEqual(
      [],
    );
    expect(files.filter(path => /(^|\/)(\.|node_modules)|\.test\.|\.(pem|key|tgz)$/.test(path))).toEqual([]);
  });

  test('does not promise provenance while it names no repository', () => {
    const named = manifest.repository !== undefined;
    expect(manifest.publishConfig.provenance ?? false).toBe(named);
  });

  test('runs nothing when it is installed', () => {
    const { scripts } = manifest as { scripts: Record<string, string> };
    expect(Object.keys(scripts).filter(name => /^(pre|post)?(install|prepare|publish)/.test(name))).toEqual([]);
  });
});

test('a packed page links into the repository that package.json names, at the tag of the version', () => {
  const page =
    '# netsteer\n\nSee [Balance](docs/guide/balance.md), [docs/ipvs.md](docs/ipvs.md#drain) and [SECURITY.md](SECURITY.md).\n';
  expect(packedPage(page, { version: '1.2.3', repository: { url: 'git+https://example.org/a/netsteer.git' } })).toBe(
    '# netsteer\n\nSee [Balance](https://example.org/a/netsteer/blob/v1.2.3/docs/guide/balance.md), ' +
      '[docs/ipvs.md](https://example.org/a/netsteer/blob/v1.2.3/docs/ipvs.md#drain) and [SECURITY.md](SECURITY.md).\n',
  );
  expect(packedPage(page, { version: '1.2.3' })).toBe(
    '# netsteer\n\nPaths like `docs/ipvs.md` are in the repository, at the tag v1.2.3.\n\n' +
      'See Balance (`docs/guide/balance.md`), `docs/ipvs.md` and [SECURITY.md](SECURITY.md).\n',
  );
});
