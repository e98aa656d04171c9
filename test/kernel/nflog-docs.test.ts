import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { NetNs } from '../../src/netns/index.ts';
import { compiledSources, transpileSource } from '../support/compiled.ts';
import { nativeProgram, ROOT } from '../support/native.ts';
import { nft, Opened } from '../support/nflog-lab.ts';
import { SnippetsOf } from '../support/snippets.ts';
import { kernelSuite } from '../support/where.ts';

const page = new SnippetsOf('test/kernel/nflog-docs.test.ts');
const examples = page.all.map(({ code }) => code);

/* The examples of the page as they stand, in a namespace that logs. */
kernelSuite('docs/nflog.md', () => {
  const opened = new Opened();
  let ns: NetNs;
  let folder: string;
  const name = `nflog-docs-${process.pid}`;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nflog-docs-'));
    ns = opened.namespace();
    nft(
      ns,
      'table ip t { chain o { type filter hook output priority 0; udp dport 9999 log prefix "web1 " group 5; } }',
    );
    ns.pin(name);
  });
  afterEach(() => {
    ns.unpin(name);
    opened.close();
    fs.rmSync(folder, { recursive: true });
  });

  /** Runs an example, and sends packets when it listens. */
  async function run(example: string): Promise<string> {
    const sources = `${compiledSources()}/`;
    const script = transpileSource(example)
      .replaceAll(/'netsteer\/(\w+)'/g, `'${sources}$1/index.js'`)
      .replaceAll("'pino'", `'${ROOT}/node_modules/pino/pino.js'`);
    const file = path.join(folder, 'example.mjs');
    fs.writeFileSync(
      file,
      `import { NetNs } from '${sources}netns/index.js';\nconst netns = NetNs.open({ name: '${name}' });\n${script}`,
    );
    const child = spawn(process.execPath, [file], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
    const closed = once(child, 'close');
    await expect.poll(() => ns.readFile('/proc/net/netfilter/nfnetlink_log')).toMatch(/^ *5 /m);
    ns.run(() => execFileSync(nativeProgram('flood'), ['127.0.0.1', '9999', '3'], { stdio: 'pipe' }));
    expect(await closed).toEqual([0, null]);
    return output;
  }

  it('has four examples', () => {
    expect(examples).toHaveLength(4);
  });

  it('receives packets', async () => {
    const lines = (await run(page.take(examples[0]!.trimEnd()).code)).trim().split('\n');
    expect(lines).toHaveLength(6);
    expect(lines[0]).toMatch(/^web1 IN= OUT=lo SRC=127\.0\.0\.1 .* DPT=9999 /);
    expect(lines[1]).toMatch(/^127\.0\.0\.1 at 2\d{3}-/);
  });

  it('counts by columns', async () => {
    expect(
      await run(`${page.take(examples[1]!.trimEnd()).code}\nprocess.on('exit', () => console.log([...bytes]));`),
    ).toMatch(/^\[ \[ 'web1 ', \d+ \] \]\n$/);
  });

  it('writes records', async () => {
    const records = (await run(page.take(examples[2]!.trimEnd()).code))
      .trim()
      .split('\n')
      .map(line => JSON.parse(line));
    expect(records).toHaveLength(3);
    expect(records[0]).toMatchObject({ level: 40, container: 'web1', source: '127.0.0.0', destinationPort: 9999 });
  });

  it('writes files', async () => {
    expect(await run(page.take(examples[3]!.trimEnd()).code)).toMatch(/^3 packets, \d+ bytes in 1 files\n$/);
    const { size } = fs.statSync(path.join(folder, 'web1-0.pcapng'));
    expect(size).toBeGreaterThan(300);
  });

  it('has no example that this file does not run', () => {
    expect(page.left).toEqual([]);
  });
});
