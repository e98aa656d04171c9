import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { compiledSources, transpileSource } from '../support/compiled.ts';
import { complaints, programOf } from '../support/public-api.ts';
import { SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const page = new SnippetsOf('test/kernel/observe-docs.test.ts');
/** OpenTelemetry is what a user has, and no dependency of this repository. */
const PACKAGES = ['@opentelemetry/api@1.9.0', '@opentelemetry/sdk-trace-base@2.12.1'];

const before = `
import { trace } from '@opentelemetry/api';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
const exporter = new InMemorySpanExporter();
trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
`;
const after = `
import { NetNs, Nftables, Transaction } from 'netsteer';
const netns = NetNs.create();
const nft = Nftables.open({ netns });
const create = () => new Transaction().create({ table: { family: 'inet', name: 't' } });
nft.sync.commit(create());
try { nft.sync.commit(create()); } catch {}
nft.close();
console.log(JSON.stringify(exporter.getFinishedSpans().map(({ name, kind, status, attributes, events }) =>
  ({ name, kind, status: status.code, inode: attributes['netsteer.netns'] === netns.inode, messages: attributes['netsteer.messages'], events: events.length }))));
`;

kernelSuite('the page on observing requests', () => {
  let folder: string;
  beforeAll(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-otel-'));
    fs.writeFileSync(join(folder, 'package.json'), '{"private":true,"type":"module"}');
    execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...PACKAGES], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  });
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

  it('has an example of OpenTelemetry that compiles under strict TypeScript, and makes a span of each request', () => {
    const { code } = page.take('@opentelemetry/api');
    const file = join(folder, 'snippet.ts');
    expect(complaints(programOf([], new Map([[file, code]])), [file])).toEqual([]);

    const sources = compiledSources();
    const parts = [before, code, after].map(text =>
      transpileSource(text).replaceAll("'netsteer'", `'${sources}/index.js'`),
    );
    fs.writeFileSync(join(folder, 'program.mjs'), programOfParts(parts));
    const { status, stdout, stderr } = spawnSync(process.execPath, ['program.mjs'], { cwd: folder, encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
    const commits = (JSON.parse(stdout) as { name: string }[]).filter(({ name }) => name === 'nftables.commit');
    expect(commits).toEqual([
      { name: 'nftables.commit', kind: 2, status: 0, inode: true, messages: 3, events: 0 },
      { name: 'nftables.commit', kind: 2, status: 2, inode: true, messages: 3, events: 1 },
    ]);
  });

  it('has no example that is not run', () => {
    expect(page.left).toEqual([]);
  });
});

/** One module of several: a name that two of them import is imported once. */
function programOfParts(parts: readonly string[]): string {
  const seen = new Set<string>();
  return parts
    .join('\n')
    .split('\n')
    .map(line => {
      const found = /^import \{ (.*) \} from ('@opentelemetry\/api');/.exec(line);
      if (found === null) return line;
      const names = found[1]!.split(', ').filter(name => !seen.has(name));
      for (const name of names) seen.add(name);
      return `import { ${names.join(', ')} } from ${found[2]};`;
    })
    .join('\n');
}
