import fs from 'node:fs';
import os from 'node:os';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { absence } from '../conformance/corpus.ts';
import { permissionsTable } from '../support/permissions.ts';

const filesIn = (folder: string, ending: string) =>
  fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith(ending))
    .map(name => join(folder, name));

const documents = ['README.md', ...filesIn('docs', '.md')];
const OTHER_PAGES = ['CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'native/README.md', 'test/README.md'];

it('docs/errors.md explains every error code of the library', () => {
  const codes = new Set(
    filesIn('src', '.ts').flatMap(file => fs.readFileSync(file, 'utf8').match(/\bERR_[A-Z_]+\b/g) ?? []),
  );
  expect(codes.size).toBeGreaterThan(15);
  const explained = new Set(fs.readFileSync('docs/errors.md', 'utf8').match(/\bERR_[A-Z_]+\b/g));
  expect([...codes].filter(code => !explained.has(code))).toEqual([]);
});

it.each([...documents, ...OTHER_PAGES])('%s has no broken link', document => {
  const links = [...fs.readFileSync(document, 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)].map(match => match[1]!);
  expect(links.filter(link => !fs.existsSync(join(dirname(document), link)))).toEqual([]);
});

/** The lines of a page that are no code and no table. */
function proseOf(document: string): { line: number; text: string }[] {
  let isCode = false;
  return fs
    .readFileSync(document, 'utf8')
    .split('\n')
    .flatMap((text, i) => {
      const isFence = text.trimStart().startsWith('```');
      if (isFence) isCode = !isCode;
      return isCode || isFence || /^(\|| {4})/.test(text) ? [] : [{ line: i + 1, text }];
    });
}

it.each([...documents, ...OTHER_PAGES])('%s has lines of at most 100 columns outside of code and tables', document => {
  const wide = proseOf(document).filter(({ text }) => [...text].length > 100);
  expect(wide.map(({ line, text }) => `${document}:${line} ${text}`)).toEqual([]);
});

it('docs/permissions.md has the table that the guest tests measure', () => {
  expect(fs.readFileSync('docs/permissions.md', 'utf8')).toContain(`\n${permissionsTable()}\n`);
});

it('the README names only npm scripts that exist', () => {
  const { scripts } = JSON.parse(fs.readFileSync('package.json', 'utf8'));
  const named = [...fs.readFileSync('README.md', 'utf8').matchAll(/npm run ([a-z:]+)/g)].map(match => match[1]!);
  expect(named.length).toBeGreaterThan(2);
  expect(named.filter(name => scripts[name] === undefined)).toEqual([]);
});

it('each decision has its date and status, and the list has both', () => {
  const list = fs.readFileSync('docs/decisions/README.md', 'utf8');
  const decisions = fs.readdirSync('docs/decisions').filter(name => name !== 'README.md');
  for (const name of decisions) {
    const text = fs.readFileSync(join('docs/decisions', name), 'utf8');
    const [, date, status] =
      /^# .+\n\nDate: (\d{4}-\d\d-\d\d)\. Status: (in force|replaced by \S+)\.\n/.exec(text) ?? [];
    expect(list, name).toMatch(
      new RegExp(`^\\| \\[${name}\\]\\(${name}\\) \\| .+ \\| ${date} \\| ${status} \\|$`, 'm'),
    );
  }
  expect(decisions.length).toBeGreaterThan(6);
});

it('the guide has a page for each task, which begins with code and is listed in the README', () => {
  const readme = fs.readFileSync('README.md', 'utf8');
  const tasks = fs.readdirSync('docs/guide');
  expect(tasks.length).toBeGreaterThanOrEqual(10);
  for (const name of tasks) {
    expect(readme).toContain(`](docs/guide/${name})`);
    const before = fs.readFileSync(join('docs/guide', name), 'utf8').split('```ts')[0]!;
    expect(before.split('\n').length, `${name}: lines before the code`).toBeLessThan(14);
  }
});

it('the README shows 8 to 20 lines of code on its first screen, and the two commands on its second', () => {
  const lines = fs.readFileSync('README.md', 'utf8').split('\n');
  const [begin, end] = [lines.indexOf('```js'), lines.indexOf('```')];
  expect(end).toBeLessThan(40);
  const code = lines.slice(begin + 1, end).filter(line => line.trim() !== '');
  expect(code.length).toBeGreaterThanOrEqual(8);
  expect(code.length).toBeLessThanOrEqual(20);
  const commands = ['npm run demo', 'npm test'].map(command =>
    lines.findIndex(line => line.includes(`npm ci && ${command}`)),
  );
  for (const command of commands) expect(command).toBeLessThan(70);
});

it('the README says what it is and is not behind the code, then the two commands, then the rest', () => {
  const readme = fs.readFileSync('README.md', 'utf8');
  const order = [
    '```js',
    '**It is**',
    '**It is not**',
    '## Two commands',
    '## Install',
    '## Guide',
    '## Modules',
    '## Comparison',
  ];
  const places = order.map(text => readme.indexOf(text));
  expect(places.filter(place => place < 0)).toEqual([]);
  expect(places).toEqual([...places].sort((a, b) => a - b));
});

it('each module of the README has a page that begins with code', () => {
  const modules = /## Modules\n(.*?)\n## /s.exec(fs.readFileSync('README.md', 'utf8'))?.[1] ?? '';
  const rows = (modules.match(/^\| `netsteer.*$/gm) ?? []).join('\n');
  const pages = [...rows.matchAll(/\((docs\/(?!architecture)\w+\.md)\)/g)].map(match => match[1]!);
  expect(pages.length).toBeGreaterThanOrEqual(7);
  for (const page of pages) {
    const lines = fs.readFileSync(page, 'utf8').split('\n');
    const before = lines.findIndex(line => /^```[jt]s$/.test(line));
    expect(before, `${page}: lines before the code`).toBeGreaterThan(0);
    expect(before, `${page}: lines before the code`).toBeLessThan(25);
  }
});

it('docs/architecture.md names every room of src, and explains each word of its glossary once', () => {
  const page = fs.readFileSync('docs/architecture.md', 'utf8');
  const shown = (/^## Rooms\n(.*?)^Each room/ms.exec(page)?.[1] ?? '').match(/^ {4}.*$/gm)?.join(' ') ?? '';
  const rooms = fs.readdirSync('src').map(name => name.replace(/\.ts$/, ''));
  expect(rooms.filter(room => room !== 'index' && !new RegExp(`\\b${room}\\b`).test(shown))).toEqual([]);
  const glossary = page.slice(page.indexOf('## Glossary'));
  const words = [...glossary.matchAll(/^\| ([^|]+) \| .+ \|$/gm)].flatMap(match => match[1]!.split(', ')).slice(1);
  expect(words.length).toBeGreaterThan(30);
  expect(words).toEqual([...new Set(words)]);
});

it('`npm run conformance` says in a clone without the recordings what it lacks and how to get it', () => {
  const folder = fs.mkdtempSync(join(os.tmpdir(), 'netsteer-unit-'));
  try {
    expect(absence(join(folder, 'none'))).toMatch(/there is no folder .*\/none\.\n[\s\S]*NETSTEER_CORPUS=/);
    fs.writeFileSync(join(folder, 'nft-1.1.6-rules.jsonl.gz'), '');
    expect(absence(folder)).toContain(
      'has no nft-1.1.6-rulesets.jsonl.gz, no iptables-nft-1.8.9-rules.jsonl.gz, no ipvsadm',
    );
    for (const name of ['nft-1.0.6-rulesets.jsonl.gz', 'iptables-nft-1.9-rules.jsonl.gz', 'ipvsadm-2.json'])
      fs.writeFileSync(join(folder, name), '');
    expect(absence(folder)).toBeUndefined();
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

it('tsconfig.json compiles only folders that exist', () => {
  const { include } = JSON.parse(fs.readFileSync('tsconfig.json', 'utf8')) as { include: string[] };
  expect(include.filter(each => !each.includes('*') && !fs.existsSync(each))).toEqual([]);
});
