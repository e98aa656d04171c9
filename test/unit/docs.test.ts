import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { permissionsTable } from '../support/permissions.ts';

const filesIn = (folder: string, ending: string) =>
  fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith(ending))
    .map(name => join(folder, name));

const documents = ['README.md', ...filesIn('docs', '.md')];

it('explains every error code of the library in docs/errors.md', () => {
  const codes = new Set(
    filesIn('src', '.ts').flatMap(file => fs.readFileSync(file, 'utf8').match(/\bERR_[A-Z_]+\b/g) ?? []),
  );
  expect(codes.size).toBeGreaterThan(15);
  const explained = new Set(fs.readFileSync('docs/errors.md', 'utf8').match(/\bERR_[A-Z_]+\b/g));
  expect([...codes].filter(code => !explained.has(code))).toEqual([]);
});

it.each(documents)('has no link in %s that leads nowhere', document => {
  const links = [...fs.readFileSync(document, 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)].map(match => match[1]!);
  expect(links.filter(link => !fs.existsSync(join(dirname(document), link)))).toEqual([]);
});

it('has the table of permissions that the guest tests measure', () => {
  expect(fs.readFileSync('docs/permissions.md', 'utf8')).toContain(`\n${permissionsTable()}\n`);
});

it('names in the README only npm scripts that exist', () => {
  const { scripts } = JSON.parse(fs.readFileSync('package.json', 'utf8'));
  const named = [...fs.readFileSync('README.md', 'utf8').matchAll(/npm run ([a-z:]+)/g)].map(match => match[1]!);
  expect(named.length).toBeGreaterThan(2);
  expect(named.filter(name => scripts[name] === undefined)).toEqual([]);
});
